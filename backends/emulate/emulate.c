/*
 * A pretended device: the kernels of a GPU as loops on the host. Blocks and lanes run in an order that a
 * seed shuffles ("emulate:SEED"), shared memory is poisoned before each block, scratch memory when it is
 * made, and all memory is closed except while something of the device runs. What depends on an order, needs
 * a barrier that is not there, or touches memory of the other side shows on any machine.
 */
#include "backends/emulate/emulate.h"

#include "backends/device/device.h"
#include "backends/guarded.h"
#include "cyclotomo/version.h"

#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- kernels */

#define CYC_EMULATE_RUN(name, lanes)                                                                         \
	static void run_##name(const void *args, cyc_block block, void *shared)                                  \
	{                                                                                                        \
		cyc_##name##_kernel(args, block, shared);                                                            \
	}
CYC_KERNEL_LIST(CYC_EMULATE_RUN)

#define CYC_EMULATE_ROW(name, lanes) [CYC_KERNEL_##name] = { run_##name, lanes, sizeof(cyc_##name##_shared) },
static const cyc_emulated_kernel KERNELS[CYC_N_KERNELS] = { CYC_KERNEL_LIST(CYC_EMULATE_ROW) };

const cyc_emulated_kernel *cyc__emulated_kernel(cyc_kernel_id kernel) { return &KERNELS[kernel]; }

/* ---------------------------------------------------------------- order */

enum { MOST_LANES = 1024, N_ORDERS = 16, BLOCKS_AT_ONCE = 16, POISON = 0xff };

static void shuffle(int16_t *order, int32_t n, uint64_t seed, uint64_t index)
{
	for (int32_t i = 0; i < n; i++) order[i] = (int16_t)i;
	for (int32_t i = n - 1; i > 0; i--) {
		int32_t j = (int32_t)(cyc_rng_uniform_at(seed, 0, index, (uint64_t)i) * (i + 1));
		int16_t t = order[i];
		order[i] = order[j];
		order[j] = t;
	}
}

static int64_t common_divisor(int64_t a, int64_t b)
{
	while (b != 0) {
		int64_t r = a % b;
		a = b;
		b = r;
	}
	return a;
}

typedef struct {
	const cyc_emulated_kernel *kernel;
	const void *args;
	int64_t n_blocks, factor, shift; /* block i of the order is i x factor + shift, modulo their number */
	int16_t orders[N_ORDERS][MOST_LANES];
	char *shared; /* n_threads x shared_bytes */
	size_t shared_bytes;
} launch;

static cyc_status blocks_task(void *arg, int64_t i_task, int i_thread)
{
	const launch *l = arg;
	int64_t end = (i_task + 1) * BLOCKS_AT_ONCE < l->n_blocks ? (i_task + 1) * BLOCKS_AT_ONCE : l->n_blocks;
	char *shared = l->shared + (size_t)i_thread * l->shared_bytes;
	for (int64_t i = i_task * BLOCKS_AT_ONCE; i < end; i++) {
		cyc_block block = { .index = (i * l->factor + l->shift) % l->n_blocks,
			                .order = l->orders[i % N_ORDERS],
			                .n_lanes = l->kernel->n_lanes };
		memset(shared, POISON, l->shared_bytes);
		l->kernel->run(l->args, block, shared);
	}
	return CYC_OK;
}

cyc_status cyc__emulate_launch(const cyc_emulated_kernel *kernel, const void *args, int64_t n_blocks,
                               uint64_t seed, int n_threads)
{
	cyc_status st = CYC_OK;
	launch *l = NULL;
	int64_t n_tasks = cyc_n_blocks(n_blocks, BLOCKS_AT_ONCE);
	if (n_blocks == 0) return CYC_OK;
	CYC_TRY(cyc_alloc(&l, 1, sizeof *l));
	CYC_CHECK(kernel->n_lanes <= MOST_LANES, CYC_E_INTERNAL, "a kernel of %d lanes", kernel->n_lanes);
	l->kernel = kernel;
	l->args = args;
	l->n_blocks = n_blocks;
	l->factor = 1 + (int64_t)(cyc_rng_uniform_at(seed, 1, 0, 0) * (double)n_blocks);
	while (common_divisor(l->factor, n_blocks) != 1) l->factor++;
	l->shift = (int64_t)(cyc_rng_uniform_at(seed, 1, 1, 0) * (double)n_blocks);
	for (int k = 0; k < N_ORDERS; k++) shuffle(l->orders[k], kernel->n_lanes, seed, (uint64_t)k);
	l->shared_bytes = (kernel->shared_bytes + 63) / 64 * 64;
	CYC_TRY(cyc_alloc(&l->shared, (size_t)cyc_n_workers(n_tasks, n_threads), l->shared_bytes));
	CYC_TRY(cyc_parallel_for(n_tasks, n_threads, blocks_task, l));
done:
	if (l) cyc_free(l->shared);
	cyc_free(l);
	return st;
}

/* ---------------------------------------------------------------- the device */

enum { MOST_PIECES = CYC_N_SCRATCH + 32 };
typedef struct {
	void *address;
	size_t bytes;
} piece;

typedef struct {
	uint64_t seed;
	int n_threads;
	piece pieces[MOST_PIECES]; /* scratch memory, and arguments of the operation that runs */
	int n_pieces;
	cyc_fft2_band *band; /* the last plans */
	int32_t band_s, band_columns;
	cyc_fft2 *fft2;
	int32_t fft2_s;
	cyc_fft3 *fft3;
	int32_t fft3_s;
	void *stage, *received[2]; /* copies to the device, and from it */
	int64_t n_asked, n_received;
	char what[CYC_ERROR_TEXT];
} emulated;

/* A status of the library as a result of the device; the error record becomes the text of what(). */
static cyc_device_result result_of(emulated *e, cyc_status st)
{
	if (st == CYC_OK) st = cyc__guarded_check();
	if (st == CYC_OK) return CYC_DEVICE_OK;
	snprintf(e->what, sizeof e->what, "%s", cyc_error_get()->message);
	cyc_error_clear();
	return st == CYC_E_NOMEM          ? CYC_DEVICE_NO_HOST_MEMORY
	       : st == CYC_E_DEVICE_NOMEM ? CYC_DEVICE_NO_MEMORY
	                                  : CYC_DEVICE_FAILED;
}

static cyc_device_result open_(void **device, const char *options, int32_t n_threads, char *why, size_t n_why)
{
	emulated *e = NULL;
	char *end = NULL;
	if (strncmp(options, "next:", 5) == 0) options += 5;
	unsigned long long seed = strtoull(options, &end, 10);
	if (options[0] && (*end || options[0] < '0' || options[0] > '9')) {
		snprintf(why, n_why, "the seed in 'emulate:%s' must be a whole number", options);
		return CYC_DEVICE_USAGE;
	}
	if (cyc_alloc(&e, 1, sizeof *e) != CYC_OK) {
		snprintf(why, n_why, "%s", cyc_error_get()->message);
		cyc_error_clear();
		return CYC_DEVICE_NO_HOST_MEMORY;
	}
	e->seed = seed;
	e->n_threads = n_threads;
	*device = e;
	return CYC_DEVICE_OK;
}

static void close_(void *device)
{
	emulated *e = device;
	if (!e) return;
	cyc_fft2_band_destroy(&e->band);
	cyc_fft2_destroy(&e->fft2);
	cyc_fft3_destroy(&e->fft3);
	cyc_free(e->stage);
	for (int i = 0; i < 2; i++) cyc_free(e->received[i]);
	cyc_free(e);
}

static const char *name_(void *device)
{
	(void)device;
	return "kernels of the GPU, emulated";
}

static const char *what_(void *device) { return ((emulated *)device)->what; }

static cyc_status add_piece(emulated *e, void *address, size_t bytes)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(e->n_pieces < MOST_PIECES, CYC_E_INTERNAL, "an operation with more than %d buffers",
	          MOST_PIECES);
	e->pieces[e->n_pieces++] = (piece){ address, bytes };
done:
	return st;
}

static void remove_piece(emulated *e, const void *address)
{
	for (int i = 0; i < e->n_pieces; i++)
		if (e->pieces[i].address == address) {
			e->pieces[i] = e->pieces[--e->n_pieces];
			return;
		}
}

static cyc_device_result fill(void *device, void *address, int32_t byte, size_t bytes)
{
	cyc__guarded_open(address, bytes);
	memset(address, byte, bytes);
	cyc__guarded_close(address, bytes);
	return result_of(device, CYC_OK);
}

static cyc_device_result alloc(void *device, void **address, size_t bytes, int32_t is_scratch)
{
	cyc_status st = CYC_OK;
	emulated *e = device;
	void *p = NULL;
	CYC_TRY(cyc__guarded_alloc(&p, bytes));
	if (is_scratch) CYC_TRY(add_piece(e, p, bytes));
	(void)fill(device, p, POISON, bytes);
	*address = p;
	p = NULL;
done:
	if (p) cyc__guarded_free(p, bytes);
	return result_of(e, st);
}

static void free_(void *device, void *address, size_t bytes)
{
	remove_piece(device, address);
	cyc__guarded_free(address, bytes);
}

static cyc_device_result stage(void *device, void **host, size_t bytes)
{
	emulated *e = device;
	cyc_free(e->stage);
	cyc_status st = cyc_alloc(&e->stage, bytes, 1);
	*host = e->stage;
	return result_of(e, st);
}

static cyc_device_result send_(void *device, void *address, size_t bytes)
{
	emulated *e = device;
	cyc__guarded_open(address, bytes);
	memcpy(address, e->stage, bytes);
	cyc__guarded_close(address, bytes);
	cyc_free(e->stage);
	e->stage = NULL;
	return result_of(e, CYC_OK);
}

static cyc_device_result receive(void *device, const void *address, size_t bytes)
{
	cyc_status st = CYC_OK;
	emulated *e = device;
	void *p, **host = &e->received[e->n_asked % 2];
	memcpy(&p, &address, sizeof p);
	CYC_CHECK(e->n_asked - e->n_received < 2, CYC_E_INTERNAL, "a third copy from the device is under way");
	cyc_free(*host);
	CYC_TRY(cyc_alloc(host, bytes, 1));
	e->n_asked++;
	cyc__guarded_open(p, bytes);
	memcpy(*host, p, bytes);
	cyc__guarded_close(p, bytes);
done:
	return result_of(e, st);
}

static cyc_device_result received(void *device, void **host)
{
	cyc_status st = CYC_OK;
	emulated *e = device;
	CYC_CHECK(e->n_received < e->n_asked, CYC_E_INTERNAL, "no copy from the device is under way");
	*host = e->received[e->n_received++ % 2];
done:
	return result_of(e, st);
}

static cyc_device_result finish(void *device) { return result_of(device, CYC_OK); }

static void open_pieces(const emulated *e, bool is_open)
{
	for (int i = 0; i < e->n_pieces; i++)
		(is_open ? cyc__guarded_open : cyc__guarded_close)(e->pieces[i].address, e->pieces[i].bytes);
}

static cyc_device_result launch_(void *device, cyc_kernel_id kernel, const void *args, int64_t n_blocks)
{
	emulated *e = device;
	open_pieces(e, true);
	cyc_status st = cyc__emulate_launch(&KERNELS[kernel], args, n_blocks, e->seed, e->n_threads);
	open_pieces(e, false);
	return result_of(e, st);
}

static void enter(void *device, void *address, size_t bytes)
{
	emulated *e = device;
	if (add_piece(e, address, bytes) != CYC_OK) cyc_error_clear(); /* the operation will fault */
}

static void leave(void *device, void *address, size_t bytes)
{
	(void)bytes;
	remove_piece(device, address);
}

/* ---------------------------------------------------------------- transforms: those of the cpu backend */

typedef struct {
	const emulated *e;
	const cyc_fft2_call *call;
} fft2_work;

static cyc_status fft2_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const fft2_work *w = arg;
	float *real = w->call->real + i * w->call->real_distance;
	cyc_cfloat *ft = (void *)(w->call->ft + i * w->call->ft_distance);
	if (w->call->is_forward) cyc_fft2_band_forward(ft, w->e->band, real);
	else cyc_fft2_inverse(real, w->e->fft2, ft);
	return CYC_OK;
}

static cyc_status plan2(emulated *e, const cyc_fft2_call *call)
{
	cyc_status st = CYC_OK;
	int32_t s = call->s;
	if (call->is_forward && !(e->band && e->band_s == s && e->band_columns == call->n_columns)) {
		cyc_fft2_band_destroy(&e->band);
		CYC_TRY(cyc_fft2_band_create(&e->band, s, s, call->n_columns, 0, s));
		e->band_s = s;
		e->band_columns = call->n_columns;
	}
	if (!call->is_forward && !(e->fft2 && e->fft2_s == s)) {
		cyc_fft2_destroy(&e->fft2);
		CYC_TRY(cyc_fft2_create(&e->fft2, s, s));
		e->fft2_s = s;
	}
done:
	return st;
}

static cyc_device_result fft2(void *device, const cyc_fft2_call *call)
{
	cyc_status st = CYC_OK;
	emulated *e = device;
	fft2_work w = { e, call };
	CYC_TRY(plan2(e, call));
	open_pieces(e, true);
	st = cyc_parallel_for(call->n, e->n_threads, fft2_task, &w);
	open_pieces(e, false);
done:
	return result_of(e, st);
}

static cyc_device_result fft3(void *device, const cyc_fft3_call *call)
{
	cyc_status st = CYC_OK;
	emulated *e = device;
	if (!e->fft3 || e->fft3_s != call->s) {
		cyc_fft3_destroy(&e->fft3);
		CYC_TRY(cyc_fft3_create(&e->fft3, call->s, e->n_threads));
		e->fft3_s = call->s;
	}
	open_pieces(e, true);
	if (call->is_forward) st = cyc_fft3_forward((void *)call->ft, e->fft3, call->real);
	else st = cyc_fft3_inverse(call->real, e->fft3, (void *)call->ft);
	open_pieces(e, false);
done:
	return result_of(e, st);
}

#define CYC_EMULATE_BYTES(name, lanes) [CYC_KERNEL_##name] = sizeof(cyc_##name##_args),
static const cyc_device_api API = {
	.abi = CYC_DEVICE_ABI,
	.version = CYCLOTOMO_VERSION,
	.kernel_bytes = { CYC_KERNEL_LIST(CYC_EMULATE_BYTES) },
	.piece_bytes = 100000, /* of which many copies have several */
	.open = open_,
	.close = close_,
	.name = name_,
	.what = what_,
	.alloc = alloc,
	.free = free_,
	.fill = fill,
	.stage = stage,
	.send = send_,
	.receive = receive,
	.received = received,
	.finish = finish,
	.launch = launch_,
	.fft2 = fft2,
	.fft3 = fft3,
	.enter = enter,
	.leave = leave,
};

cyc_status cyc__emulate_create(void **self, int n_threads, const char *options)
{
	return cyc__device_create(self, &API, n_threads, options);
}
