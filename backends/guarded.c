#include "backends/guarded.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

/* A page that could not be opened or closed: memory that is open finds no mistakes any more, and may not look
 * as if it did. */
static atomic_bool g_is_broken;

static size_t page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }
static size_t rounded(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

/* From the beginning of the first page to the memory, which ends with the last one. */
static size_t offset_of(size_t bytes) { return rounded(bytes, page_size()) - rounded(bytes, 64); }

cyc_status cyc__guarded_alloc(void **address, size_t bytes)
{
	cyc_status st = CYC_OK;
	size_t n_bytes = rounded(bytes, page_size()) + page_size();
	void *first = mmap(NULL, n_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CYC_CHECK(first != MAP_FAILED, CYC_E_DEVICE_NOMEM, "not enough device memory: %.1f MB were asked for",
	          (double)bytes / 1e6);
	*address = (char *)first + offset_of(bytes);
done:
	return st;
}

void cyc__guarded_free(void *address, size_t bytes)
{
	munmap((char *)address - offset_of(bytes), rounded(bytes, page_size()) + page_size());
}

/* All pages that the bytes lie in. */
static void protect(void *address, size_t bytes, int how)
{
	size_t page = page_size(), offset = (size_t)((uintptr_t)address % page);
	if (bytes > 0 && mprotect((char *)address - offset, rounded(offset + bytes, page), how) != 0)
		atomic_store(&g_is_broken, true);
}

void cyc__guarded_open(void *address, size_t bytes) { protect(address, bytes, PROT_READ | PROT_WRITE); }
void cyc__guarded_close(void *address, size_t bytes) { protect(address, bytes, PROT_NONE); }

cyc_status cyc__guarded_check(void)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(!atomic_load(&g_is_broken), CYC_E_DEVICE,
	          "memory of the fake device could not be opened or closed (mprotect)");
done:
	return st;
}
