/* The pretended CUDA runtime: devices, memory, streams, events; see cuda_runtime.h. */
#include "cuda_runtime.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>

#include <sys/mman.h>
#include <unistd.h>

enum { POISON = 0xff, MOST_LANES = 1024 };

struct pretended_stream {
	int device;
	std::deque<std::function<void()>> queue;
	int64_t n_queued, n_done;
};
struct pretended_event {
	pretended_stream *stream; /* of its last record; NULL: none */
	int64_t ticket;           /* the stream's n_queued then */
};
struct pretended_pool {
	int device;
};

namespace
{

struct piece {
	size_t bytes;
	int device;
	pretended_stream *stream; /* in whose order it is used; NULL: none */
};
/* All calls of the program come from one thread at a time; the mutex is for those that do not. */
std::recursive_mutex mutex;
std::map<char *, piece> memory, pinned; /* of devices; of the host, as the driver knows it */
std::set<pretended_stream *> streams;
std::map<std::string, long> n_calls;
cudaError_t lasting = cudaSuccess; /* an error of the device, which no call survives */
pid_t first_pid;
pretended_pool pools[64];
thread_local int current;
uint64_t chance_state;
bool is_open; /* all memory of devices, where it stays open */

long number(const char *name, long otherwise)
{
	const char *text = getenv(name);
	return text && *text ? atol(text) : otherwise;
}

int n_devices() { return (int)number("PRETEND_DEVICES", 1); }

/* CUDA does not work in a process that was forked from one which had begun to use it. */
cudaError_t begin()
{
	if (first_pid == 0) first_pid = getpid();
	return first_pid != getpid() ? cudaErrorInitializationError : lasting;
}

double chance()
{
	chance_state = chance_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (double)(chance_state >> 11) / 9007199254740992.0;
}

size_t page() { return (size_t)sysconf(_SC_PAGESIZE); }
size_t rounded(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

/* Memory ends where a page ends that is never opened, but for the alignment of 256 that CUDA has. */
char *first_page(char *address, size_t bytes)
{
	return address - (rounded(bytes, page()) - rounded(bytes, 256));
}

void protect(int how)
{
	static const bool stays_open = number("PRETEND_OPEN", 0) != 0;
	if (stays_open && (how == PROT_NONE || is_open)) return;
	is_open = stays_open;
	for (auto &m : memory)
		if (mprotect(first_page(m.first, m.second.bytes), rounded(m.second.bytes, page()), how) != 0) {
			perror("pretended CUDA: mprotect");
			abort();
		}
}

/* Work of a stream up to a ticket. */
void run(pretended_stream *s, int64_t ticket)
{
	if (s->n_done >= ticket) return;
	protect(PROT_READ | PROT_WRITE);
	while (s->n_done < ticket) {
		std::function<void()> work = s->queue.front();
		s->queue.pop_front();
		s->n_done++;
		if (lasting == cudaSuccess) work();
	}
	protect(PROT_NONE);
}

cudaError_t queue(pretended_stream *s, const std::function<void()> &work)
{
	cudaError_t e = begin();
	if (e != cudaSuccess) return e;
	if (!s || s->device != current) return cudaErrorInvalidResourceHandle;
	s->queue.push_back(work);
	s->n_queued++;
	if (number("PRETEND_SEED", 0) == 0) return cudaSuccess;
	if (chance_state == 0) chance_state = (uint64_t)number("PRETEND_SEED", 0);
	run(s, s->n_done + (int64_t)(chance() * chance() * (double)(s->n_queued - s->n_done + 1)));
	return cudaSuccess;
}

size_t used(int device)
{
	size_t n = 0;
	for (auto &m : memory)
		if (m.second.device == device) n += m.second.bytes;
	return n;
}

size_t used(const pretended_stream *s)
{
	size_t n = 0;
	for (auto &m : memory)
		if (m.second.stream == s) n += m.second.bytes;
	return n;
}

size_t all() { return (size_t)number("PRETEND_MEMORY", 1L << 34); }

cudaError_t take(void **address, size_t bytes, pretended_stream *stream)
{
	static bool is_taken = false;
	if (bytes == 0) return cudaErrorInvalidValue;
	is_taken = is_taken || pretended_failure("memory");
	if (is_taken || bytes > all() || used(current) > all() - bytes) return cudaErrorMemoryAllocation;
	void *p = mmap(nullptr, rounded(bytes, page()) + page(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	is_open = false;
	if (p == MAP_FAILED) return cudaErrorMemoryAllocation;
	char *at = (char *)p + (rounded(bytes, page()) - rounded(bytes, 256));
	memory[at] = { bytes, current, stream };
	*address = at;
	return cudaSuccess;
}

void give_back(void *address)
{
	auto m = memory.find((char *)address);
	if (m == memory.end()) {
		fprintf(stderr, "pretended CUDA: memory is freed that was not taken\n");
		abort();
	}
	munmap(first_page(m->first, m->second.bytes), rounded(m->second.bytes, page()) + page());
	memory.erase(m);
}

bool is_in(const std::map<char *, piece> &pieces, const void *address, size_t bytes)
{
	auto m = pieces.upper_bound((char *)address);
	if (m == pieces.begin()) return false;
	--m;
	size_t at = (size_t)((const char *)address - m->first);
	return at <= m->second.bytes && bytes <= m->second.bytes - at;
}

/* What is left at the end of the process. */
struct last_look {
	~last_look()
	{
		if (first_pid != getpid() || lasting != cudaSuccess || (memory.empty() && pinned.empty())) return;
		fprintf(stderr, "pretended CUDA: %zu pieces of devices and %zu of the host are not freed\n",
		        memory.size(), pinned.size());
		abort();
	}
} look;

} // namespace

bool pretended_is_live(const void *address, size_t bytes) { return is_in(memory, address, bytes); }

bool pretended_failure(const char *kind)
{
	const char *fail = getenv("PRETEND_FAIL");
	size_t n = strlen(kind);
	long k = ++n_calls[kind];
	return fail && strncmp(fail, kind, n) == 0 && fail[n] == ':' && atol(fail + n + 1) == k;
}

cudaError_t pretended_queue(const char *kind, const std::function<void()> &work, cudaStream_t stream)
{
	std::lock_guard<std::recursive_mutex> lock(mutex);
	bool fails = pretended_failure(kind),
		 is_wrong = strcmp(kind, "launch") == 0 && n_calls[kind] == number("PRETEND_WRONG", 0);
	return queue(stream, [fails, is_wrong, work] {
		if (fails) lasting = cudaErrorLaunchFailure;
		else if (!is_wrong) work();
	});
}

/* ---------------------------------------------------------------- devices */

cudaError_t cudaGetDeviceCount(int *n)
{
	*n = 0;
	if (number("PRETEND_DRIVER", CUDART_VERSION) < CUDART_VERSION) return cudaErrorInsufficientDriver;
	*n = n_devices();
	if (*n == 0) return cudaErrorNoDevice;
	return begin();
}

cudaError_t cudaDriverGetVersion(int *version)
{
	*version = (int)number("PRETEND_DRIVER", CUDART_VERSION);
	return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
	if (device < 0 || device >= n_devices()) return cudaErrorInvalidDevice;
	snprintf(p->name, sizeof p->name, "Pretended GPU");
	p->major = (int)number("PRETEND_MAJOR", 9);
	p->minor = 0;
	return begin();
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr, int)
{
	*value = (int)number("PRETEND_POOLS", 1);
	return begin();
}

cudaError_t cudaSetDevice(int device)
{
	if (device < 0 || device >= n_devices()) return cudaErrorInvalidDevice;
	current = device;
	return begin();
}

cudaError_t cudaGetLastError(void) { return lasting; }

const char *cudaGetErrorString(cudaError_t error)
{
	switch (error) {
	case cudaSuccess: return "no error";
	case cudaErrorInvalidValue: return "invalid argument";
	case cudaErrorMemoryAllocation: return "out of memory";
	case cudaErrorInitializationError: return "initialization error";
	case cudaErrorInsufficientDriver: return "CUDA driver version is insufficient for CUDA runtime version";
	case cudaErrorNoDevice: return "no CUDA-capable device is detected";
	case cudaErrorInvalidDevice: return "invalid device ordinal";
	case cudaErrorInvalidResourceHandle: return "invalid resource handle";
	case cudaErrorLaunchFailure: return "unspecified launch failure";
	}
	return "unknown error";
}

/* ---------------------------------------------------------------- memory */

cudaError_t cudaMemGetInfo(size_t *n_free, size_t *n_all)
{
	std::lock_guard<std::recursive_mutex> lock(mutex);
	*n_all = all();
	*n_free = all() - used(current);
	return begin();
}

cudaError_t cudaMalloc(void **address, size_t bytes)
{
	std::lock_guard<std::recursive_mutex> lock(mutex);
	cudaError_t e = begin();
	if (e == cudaSuccess) e = take(address, bytes, nullptr);
	if (e != cudaSuccess) return e;
	protect(PROT_READ | PROT_WRITE);
	memset(*address, POISON, bytes);
	protect(PROT_NONE);
	return cudaSuccess;
}

cudaError_t cudaFree(void *address)
{
	std::lock_guard<std::recursive_mutex> lock(mutex);
	for (pretended_stream *s : streams) run(s, s->n_queued); /* it waits for the device */
	give_back(address);
	return begin();
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int device)
{
	pools[device].device = device;
	*pool = &pools[device];
	return begin();
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *) { return begin(); }
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return begin(); }

cudaError_t cudaMallocFromPoolAsync(void **address, size_t bytes, cudaMemPool_t pool, cudaStream_t stream)
{
	std::lock_guard<std::recursive_mutex> lock(mutex);
	cudaError_t e = begin();
	if (e == cudaSuccess && pool->device != current) e = cudaErrorInvalidValue;
	if (e == cudaSuccess) e = take(address, bytes, stream);
	if (e != cudaSuccess) return e;
	void *p = *address;
	return queue(stream, [p, bytes] { memset(p, POISON, bytes); });
}

cudaError_t cudaFreeAsync(void *address, cudaStream_t stream)
{
	std::lock_guard<std::recursive_mutex> lock(mutex);
	if (lasting != cudaSuccess) { /* nothing is done any more; the memory goes with the device */
		give_back(address);
		return lasting;
	}
	return queue(stream, [address] { give_back(address); });
}

cudaError_t cudaMallocHost(void **address, size_t bytes)
{
	std::lock_guard<std::recursive_mutex> lock(mutex);
	cudaError_t e = begin();
	if (e != cudaSuccess) return e;
	if (pretended_failure("host")) return cudaErrorMemoryAllocation;
	*address = malloc(bytes);
	if (!*address) return cudaErrorMemoryAllocation;
	memset(*address, POISON, bytes);
	pinned[(char *)*address] = { bytes, current, nullptr };
	return cudaSuccess;
}

cudaError_t cudaFreeHost(void *address)
{
	std::lock_guard<std::recursive_mutex> lock(mutex);
	if (pinned.erase((char *)address) == 0) return cudaErrorInvalidValue;
	free(address);
	return begin();
}

cudaError_t cudaMemsetAsync(void *address, int byte, size_t bytes, cudaStream_t stream)
{
	std::lock_guard<std::recursive_mutex> lock(mutex);
	if (!pretended_is_live(address, bytes)) return cudaErrorInvalidValue;
	return queue(stream, [address, byte, bytes] { memset(address, byte, bytes); });
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
	std::lock_guard<std::recursive_mutex> lock(mutex);
	bool is_up = kind == cudaMemcpyHostToDevice;
	if (!is_in(memory, is_up ? to : from, bytes) || !is_in(pinned, is_up ? from : to, bytes))
		return cudaErrorInvalidValue;
	return pretended_queue(
		"copy", [to, from, bytes] { memcpy(to, from, bytes); }, stream);
}

/* ---------------------------------------------------------------- streams and events */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
	cudaError_t e = begin();
	if (e != cudaSuccess) return e;
	*stream = new pretended_stream{ current, {}, 0, 0 };
	streams.insert(*stream);
	return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
	std::lock_guard<std::recursive_mutex> lock(mutex);
	cudaError_t e = begin();
	if (e == cudaSuccess) run(stream, stream->n_queued);
	return e == cudaSuccess ? lasting : e;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
	std::lock_guard<std::recursive_mutex> lock(mutex);
	run(stream, stream->n_queued);
	if (lasting == cudaSuccess && used(stream) > 0) {
		fprintf(stderr, "pretended CUDA: a stream ends that %zu bytes of the device belong to\n",
		        used(stream));
		abort();
	}
	streams.erase(stream);
	delete stream;
	return lasting;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
	cudaError_t e = begin();
	if (e == cudaSuccess) *event = new pretended_event{ nullptr, 0 };
	return e;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
	std::lock_guard<std::recursive_mutex> lock(mutex);
	event->stream = stream;
	event->ticket = stream->n_queued;
	return begin();
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
	std::lock_guard<std::recursive_mutex> lock(mutex);
	cudaError_t e = begin();
	if (e == cudaSuccess && event->stream) run(event->stream, event->ticket);
	return e == cudaSuccess ? lasting : e;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
	delete event;
	return begin();
}

/* ---------------------------------------------------------------- kernels */

__thread int64_t pretended_block;
__thread const int16_t *pretended_order;
__thread int32_t pretended_lanes;

cudaError_t pretended_launch(const std::function<void()> &body, unsigned n_blocks, unsigned n_lanes,
                             cudaStream_t stream)
{
	if (n_blocks == 0 || n_lanes == 0 || n_lanes > MOST_LANES) return cudaErrorInvalidValue;
	return pretended_queue(
		"launch",
		[body, n_blocks, n_lanes] {
			int16_t order[MOST_LANES];
			for (unsigned i = 0; i < n_lanes; i++) order[i] = (int16_t)i;
			pretended_order = order;
			pretended_lanes = (int32_t)n_lanes;
			for (unsigned i = 0; i < n_blocks; i++) {
				pretended_block = i;
				body();
			}
		},
		stream);
}
