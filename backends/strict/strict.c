/*
 * A fake device: the cpu's operations on memory that host code may not touch. Its pages are closed except
 * while one of its operations runs, and mapping gives a copy: host access to device memory and forgotten
 * unmaps show here, on any machine, before they do on a real device.
 */
#include "backends/cpu/cpu_internal.h"
#include "backends/guarded.h"

#include <string.h>

static void enter(void *self, void *address, size_t bytes)
{
	(void)self;
	cyc__guarded_open(address, bytes);
}

static void leave(void *self, void *address, size_t bytes)
{
	(void)self;
	cyc__guarded_close(address, bytes);
}

static cyc_status create(void **self, int n_threads, const char *options)
{
	return cyc_backend_cpu.create(self, n_threads, options);
}

static void destroy(void *self) { cyc_backend_cpu.destroy(self); }

static cyc_status alloc(void *self, void **address, size_t bytes)
{
	(void)self;
	return cyc__guarded_alloc(address, bytes);
}

static void free_(void *self, void *address, size_t bytes)
{
	(void)self;
	cyc__guarded_free(address, bytes);
}

static cyc_status upload(void *self, void *address, const void *host, size_t bytes)
{
	enter(self, address, bytes);
	memcpy(address, host, bytes);
	leave(self, address, bytes);
	return cyc__guarded_check();
}

static cyc_status download(void *self, void *host, const void *address, size_t bytes)
{
	void *p;
	memcpy(&p, &address, sizeof p);
	enter(self, p, bytes);
	memcpy(host, address, bytes);
	leave(self, p, bytes);
	return cyc__guarded_check();
}

const struct cyc_backend_ops cyc_backend_strict = {
	.name = "strict",
	.create = create,
	.destroy = destroy,
	.alloc = alloc,
	.free = free_,
	.upload = upload,
	.download = download,
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
	.pose_terms = cyc_pose_terms_cpu,
	.pose_scores = cyc_pose_scores_cpu,
	.fft3_forward = cyc_fft3_forward_cpu,
	.fft3_inverse = cyc_fft3_inverse_cpu,
};
