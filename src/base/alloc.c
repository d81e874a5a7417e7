#include "cyclotomo/base.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

static _Atomic int64_t g_count, g_fail_at;

void cyc_alloc_fail_at(int64_t n) { g_fail_at = n > 0 ? g_count + n : 0; }
int64_t cyc_alloc_count(void) { return g_count; }

static bool must_fail(void)
{
	int64_t i = ++g_count, at = g_fail_at;
	return at > 0 && i == at;
}

/* malloc's 16-byte alignment would make FFTW choose other code, and other rounding, from run to run. */
static const size_t ALIGNMENT = 64;
static const size_t HUGE_BYTES = 4U << 20, HUGE_PAGE_BYTES = 2U << 20, PAGE_BYTES = 4096;

/* ---------------------------------------------------------------- where addresses are limited */

/* FFTW aborts and OpenBLAS hangs without memory; planning a transform and drawing a figure take less than
 * this. */
static const double ALWAYS_RESERVED = 32e6;
/* Small pieces are counted together, and looked at when they make up so much. */
static const int64_t LOOK_EVERY = 1 << 16;
static const char *const RAISE_THE_LIMIT =
	"raise the address space limit (ulimit -v), or use fewer threads (--j)";
static _Atomic double g_reserved;
static _Atomic int64_t g_since_look;

static bool is_limited(void)
{
	struct rlimit r;
	return getrlimit(RLIMIT_AS, &r) == 0 && r.rlim_cur != RLIM_INFINITY;
}

double cyc_reserved_addresses(void) { return is_limited() ? ALWAYS_RESERVED + g_reserved : 0; }

static bool has_addresses(double bytes)
{
	void *p = mmap(NULL, (size_t)bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) return false;
	munmap(p, (size_t)bytes);
	return true;
}

cyc_status cyc_reserve_addresses(double bytes)
{
	cyc_status st = CYC_OK;
	if (bytes > g_reserved) g_reserved = bytes;
	if (!is_limited() || has_addresses(cyc_reserved_addresses())) goto done;
	st = cyc_error_raise(CYC_E_NOMEM, __FILE__, __LINE__, __func__,
	                     "threads and libraries need %.0f MB of address space, and less than that is left of "
	                     "what is allowed (ulimit -v)",
	                     cyc_reserved_addresses() / 1e6);
	cyc_error_hint("%s", RAISE_THE_LIMIT);
done:
	return st;
}

/* Whether enough addresses are left after `bytes` more were taken. */
static bool leaves_enough(size_t bytes)
{
	int64_t since = atomic_fetch_add(&g_since_look, (int64_t)bytes) + (int64_t)bytes;
	if (since < LOOK_EVERY) return true;
	g_since_look = 0;
	return !is_limited() || has_addresses(cyc_reserved_addresses());
}

/* ---------------------------------------------------------------- large blocks */

/*
 * Blocks from this size on come from the system as zeros, and go back to it when they are freed. They need
 * not be written before they are used: their pages are cleared by the threads that first write to them, side
 * by side and near to them, and those that nobody writes to never. malloc maps large blocks, too, but once
 * one was freed it takes the next ones up to 32 MB from its heap, where what is freed between blocks in use
 * stays: a tenth of the peak of a refinement. The sanitizers see what malloc gives only.
 */
#ifdef CYC_SANITIZED
static const size_t MAPPED_BYTES = SIZE_MAX;
#else
static const size_t MAPPED_BYTES = CYC_MAPPED_BYTES;
#endif

typedef struct mapped_block {
	struct mapped_block *next;
	void *p;
	size_t bytes;
} mapped_block;

static mapped_block *g_mapped;
static _Atomic int64_t g_n_mapped;
static pthread_mutex_t g_mapped_lock = PTHREAD_MUTEX_INITIALIZER;

/* Grids of hundreds of megabytes: a fault per 2 MB instead of one per 4 kB. Where they are not available
 * nothing is lost. */
static void ask_for_huge_pages(void *p, size_t bytes)
{
#ifdef MADV_HUGEPAGE
	uintptr_t first = ((uintptr_t)p + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
	(void)madvise((void *)first, bytes - (size_t)(first - (uintptr_t)p), MADV_HUGEPAGE);
#else
	(void)p;
	(void)bytes;
#endif
}

static void *map_pages(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

/*
 * Huge pages from the first byte on: what lies before the first and behind the last boundary of 2 MB takes a
 * fault for each 4 kB, up to a thousand of them, which is longer than to clear the block. A page of which
 * more than half would be used is taken as a whole.
 */
static void *map_huge_pages(size_t *bytes)
{
	size_t rest = *bytes % HUGE_PAGE_BYTES,
		   n = *bytes + (rest > HUGE_PAGE_BYTES / 2 ? HUGE_PAGE_BYTES - rest : 0);
	n = (n + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
	char *all = map_pages(n + HUGE_PAGE_BYTES);
	if (!all) return NULL;
	size_t before = (HUGE_PAGE_BYTES - (uintptr_t)all % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
	if (before > 0) munmap(all, before);
	munmap(all + before + n, HUGE_PAGE_BYTES - before);
	*bytes = n;
	ask_for_huge_pages(all + before, n);
	return all + before;
}

/* NULL: no memory. */
static void *map_block(size_t bytes)
{
	mapped_block *b = malloc(sizeof *b);
	if (!b) return NULL;
	b->bytes = bytes;
	b->p = map_huge_pages(&b->bytes);
	if (!b->p) b->p = map_pages(b->bytes);
	if (!b->p) {
		free(b);
		return NULL;
	}
	pthread_mutex_lock(&g_mapped_lock);
	b->next = g_mapped;
	g_mapped = b;
	g_n_mapped++;
	pthread_mutex_unlock(&g_mapped_lock);
	return b->p;
}

/* False: p is malloc's. */
static bool unmap_block(void *p)
{
	mapped_block *found = NULL;
	if (g_n_mapped == 0 || (uintptr_t)p % PAGE_BYTES != 0) return false;
	pthread_mutex_lock(&g_mapped_lock);
	for (mapped_block **b = &g_mapped; *b; b = &(*b)->next) {
		if ((*b)->p != p) continue;
		found = *b;
		*b = found->next;
		g_n_mapped--;
		break;
	}
	pthread_mutex_unlock(&g_mapped_lock);
	if (!found) return false;
	munmap(p, found->bytes);
	free(found);
	return true;
}

static void release(void *p)
{
	if (p && !unmap_block(p)) free(p);
}

/* ---------------------------------------------------------------- memory */

static cyc_status allocate(void *out, size_t n, size_t size, const char *what)
{
	cyc_status st = CYC_OK;
	void *p = NULL;
	memcpy(out, &p, sizeof p);
	if (what[0] == '&') what++; /* of cyc_alloc(&name, ...) */
	CYC_CHECK(size == 0 || n <= (SIZE_MAX - ALIGNMENT) / size, CYC_E_NOMEM,
	          "cannot allocate %zu x %zu bytes for %s", n, size, what);
	size_t bytes = (n * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	if (bytes == 0) bytes = ALIGNMENT;
	bool is_mapped = bytes >= MAPPED_BYTES;
	if (!must_fail()) p = is_mapped ? map_block(bytes) : aligned_alloc(ALIGNMENT, bytes);
	if (p && !leaves_enough(bytes)) {
		release(p);
		p = NULL;
	}
	if (!p) {
		st = cyc_error_raise(CYC_E_NOMEM, __FILE__, __LINE__, __func__,
		                     "not enough memory: %.1f MB are needed for %s", (double)bytes / 1e6, what);
		cyc_error_hint(
			"%s", is_limited()
					  ? RAISE_THE_LIMIT
					  : "use fewer threads (--j), a smaller box (--b, --crop) or a machine with more memory; "
						"--dry-run prints what a job needs");
		goto done;
	}
	if (!is_mapped && bytes >= HUGE_BYTES) ask_for_huge_pages(p, bytes);
	if (!is_mapped) memset(p, 0, bytes);
	memcpy(out, &p, sizeof p);
done:
	return st;
}

cyc_status cyc_alloc_(void *out, size_t n, size_t size, const char *what)
{
	return allocate(out, n, size, what);
}

cyc_status cyc_realloc(void *inout, size_t n_old, size_t n_new, size_t size)
{
	cyc_status st = CYC_OK;
	void *p = NULL, *old;
	memcpy(&old, inout, sizeof old);
	CYC_TRY(allocate(&p, n_new, size, "a growing array"));
	size_t keep = n_old < n_new ? n_old : n_new;
	if (old && keep) memcpy(p, old, keep * size);
	release(old);
	memcpy(inout, &p, sizeof p);
done:
	return st;
}

void cyc_free(void *p) { release(p); }

cyc_status cyc_strdup(char **out, const char *s)
{
	cyc_status st = CYC_OK;
	size_t n = strlen(s) + 1;
	CYC_TRY(cyc_alloc_(out, n, 1, "a text"));
	memcpy(*out, s, n);
done:
	return st;
}

static cyc_status print(char **out, const char *fmt, va_list ap)
{
	cyc_status st = CYC_OK;
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	*out = NULL;
	CYC_CHECK(n >= 0, CYC_E_INTERNAL, "bad format '%s'", fmt);
	CYC_TRY(cyc_alloc_(out, (size_t)n + 1, 1, "a text"));
	vsnprintf(*out, (size_t)n + 1, fmt, again);
done:
	va_end(again);
	return st;
}

cyc_status cyc_asprintf(char **out, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	cyc_status st = print(out, fmt, ap);
	va_end(ap);
	return st;
}

cyc_status cyc_reprintf(char **inout, const char *fmt, ...)
{
	char *text;
	va_list ap;
	va_start(ap, fmt);
	cyc_status st = print(&text, fmt, ap);
	va_end(ap);
	if (st != CYC_OK) return st;
	cyc_free(*inout);
	*inout = text;
	return CYC_OK;
}

double cyc_clock_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double cyc_cpu_s(void)
{
	struct rusage u;
	if (getrusage(RUSAGE_SELF, &u) != 0) return 0;
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

void cyc_memory_keep_freed(void)
{
#ifdef __GLIBC__
	enum { MOST_KEPT_BYTES = 64 << 20 }; /* at the end of the heap */
	mallopt(M_MMAP_THRESHOLD, 2 * CYC_MAPPED_BYTES);
	mallopt(M_TRIM_THRESHOLD, MOST_KEPT_BYTES);
#endif
}

void cyc_memory_give_back(void)
{
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}

int64_t cyc_peak_memory_bytes(void)
{
	struct rusage u;
	return getrusage(RUSAGE_SELF, &u) == 0 ? (int64_t)u.ru_maxrss * 1024 : 0;
}
