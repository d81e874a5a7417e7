/*
 * A fake device: the cpu's operations on memory that host code may not touch. Its pages are closed except
 * while one of its operations runs, and mapping gives a copy: host access to device memory and forgotten
 * unmaps show here, on any machine, before they do on a real device.
 */
#include "backends/cpu/cpu_internal.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t rounded(size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	return (bytes + page - 1) / page * page;
}

/* A page that could not be closed: from then on this backend finds no mistakes any more, and may not look as
 * if it did. */
static atomic_bool g_is_open;

static void enter(void *self, void *address, size_t bytes)
{
	(void)self;
	if (mprotect(address, rounded(bytes), PROT_READ | PROT_WRITE) != 0) atomic_store(&g_is_open, true);
}

static void leave(void *self, void *address, size_t bytes)
{
	(void)self;
	if (mprotect(address, rounded(bytes), PROT_NONE) != 0) atomic_store(&g_is_open, true);
}

static cyc_status check_closed(void)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(!atomic_load(&g_is_open), CYC_E_DEVICE,
	          "memory of the fake device could not be opened or closed (mprotect)");
done:
	return st;
}

static cyc_status create(void **self, int n_threads) { return cyc_backend_cpu.create(self, n_threads); }
static void destroy(void *self) { cyc_backend_cpu.destroy(self); }

static cyc_status alloc(void *self, void **address, size_t bytes)
{
	cyc_status st = CYC_OK;
	void *p = mmap(NULL, rounded(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CYC_CHECK(p != MAP_FAILED, CYC_E_DEVICE_NOMEM, "not enough device memory: %.1f MB were asked for",
	          (double)bytes / 1e6);
	leave(self, p, bytes);
	if ((st = check_closed()) != CYC_OK) munmap(p, rounded(bytes));
	else *address = p;
done:
	return st;
}

static void free_(void *self, void *address, size_t bytes)
{
	(void)self;
	munmap(address, rounded(bytes));
}

static cyc_status upload(void *self, void *address, const void *host, size_t bytes)
{
	enter(self, address, bytes);
	memcpy(address, host, bytes);
	leave(self, address, bytes);
	return check_closed();
}

static cyc_status download(void *self, void *host, const void *address, size_t bytes)
{
	void *p;
	memcpy(&p, &address, sizeof p);
	enter(self, p, bytes);
	memcpy(host, address, bytes);
	leave(self, p, bytes);
	return check_closed();
}

/* A copy, as on a device whose memory the host cannot reach. */
static cyc_status map(void *self, void **host, void *address, size_t bytes)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_alloc_(host, bytes, 1, "a copy of device memory"));
	CYC_TRY(download(self, *host, address, bytes));
done:
	return st;
}

static cyc_status unmap(void *self, void *host, void *address, size_t bytes)
{
	cyc_status st = upload(self, address, host, bytes);
	cyc_free(host);
	return st;
}

const struct cyc_backend_ops cyc_backend_strict = {
	.name = "strict",
	.create = create,
	.destroy = destroy,
	.alloc = alloc,
	.free = free_,
	.upload = upload,
	.download = download,
	.map = map,
	.unmap = unmap,
	.enter = enter,
	.leave = leave,
	.window = cyc_window_cpu,
	.ctf = cyc_ctf_cpu,
	.particle_image = cyc_particle_image_cpu,
	.pack = cyc_pack_cpu,
	.modulate = cyc_modulate_cpu,
	.slice_insert = cyc_slice_insert_cpu,
	.slice_extract = cyc_slice_extract_cpu,
	.ctf_sums = cyc_ctf_sums_cpu,
	.correlate = cyc_correlate_cpu,
	.fft3_forward = cyc_fft3_forward_cpu,
	.fft3_inverse = cyc_fft3_inverse_cpu,
};
