/* The cpu backend: the host's memory and threads. */
#include "backends/cpu/cpu_internal.h"

#include <string.h>

static cyc_status create(void **self, int n_threads, const char *options)
{
	cyc_status st = CYC_OK;
	(void)options;
	cyc_cpu *cpu = NULL;
	CYC_TRY(cyc_alloc(&cpu, 1, sizeof *cpu));
	cpu->n_threads = n_threads < 1 ? 1 : n_threads;
	*self = cpu;
done:
	return st;
}

static void destroy(void *self)
{
	cyc_cpu *cpu = self;
	if (!cpu) return;
	for (int i = 0; i < CYC_CPU_WINDOW_PLANS; i++) cyc__window_plan_destroy(&cpu->window[i]);
	cyc__image_plan_destroy(&cpu->image);
	cyc_fft3_destroy(&cpu->fft3);
	cyc_free(cpu->scratch);
	cyc_free(cpu);
}

static cyc_status alloc(void *self, void **address, size_t bytes)
{
	(void)self;
	return cyc_alloc_(address, bytes, 1, "a work buffer");
}

static void free_(void *self, void *address, size_t bytes)
{
	(void)self;
	(void)bytes;
	cyc_free(address);
}

static cyc_status upload(void *self, void *address, const void *host, size_t bytes)
{
	return cyc_copy(address, host, bytes, ((cyc_cpu *)self)->n_threads);
}

static cyc_status download(void *self, void *host, const void *address, size_t bytes)
{
	return cyc_copy(host, address, bytes, ((cyc_cpu *)self)->n_threads);
}

static cyc_status map(void *self, void **host, void *address, size_t bytes, bool is_discarded)
{
	(void)self;
	(void)bytes;
	(void)is_discarded;
	*host = address;
	return CYC_OK;
}

static cyc_status unmap(void *self, void *host, void *address, size_t bytes)
{
	(void)self;
	(void)host;
	(void)address;
	(void)bytes;
	return CYC_OK;
}

cyc_status cyc__cpu_scratch(cyc_cpu *cpu, int64_t n_items, size_t bytes)
{
	cyc_status st = CYC_OK;
	int n = cyc_n_workers(n_items, cpu->n_threads);
	bytes = (bytes + 63) / 64 * 64;
	if (bytes <= cpu->scratch_bytes && n <= cpu->n_scratch) return CYC_OK;
	if (bytes < cpu->scratch_bytes) bytes = cpu->scratch_bytes;
	if (n < cpu->n_scratch) n = cpu->n_scratch;
	cyc_free(cpu->scratch);
	cpu->scratch = NULL;
	cpu->scratch_bytes = 0;
	cpu->n_scratch = 0;
	CYC_TRY(cyc_alloc(&cpu->scratch, (size_t)n, bytes));
	cpu->scratch_bytes = bytes;
	cpu->n_scratch = n;
done:
	return st;
}

static cyc_status fft3_plan(cyc_cpu *cpu, int32_t s)
{
	cyc_status st = CYC_OK;
	if (cpu->fft3 && cpu->fft3_n == s) return CYC_OK;
	cyc_fft3_destroy(&cpu->fft3);
	CYC_TRY(cyc_fft3_create(&cpu->fft3, s, cpu->n_threads));
	cpu->fft3_n = s;
done:
	return st;
}

cyc_status cyc_fft3_forward_cpu(void *self, cyc_cfloat *ft, const float *real, int32_t s)
{
	cyc_status st = CYC_OK;
	CYC_TRY(fft3_plan(self, s));
	CYC_TRY(cyc_fft3_forward(ft, ((cyc_cpu *)self)->fft3, real));
done:
	return st;
}

cyc_status cyc_fft3_inverse_cpu(void *self, float *real, cyc_cfloat *ft, int32_t s)
{
	cyc_status st = CYC_OK;
	CYC_TRY(fft3_plan(self, s));
	CYC_TRY(cyc_fft3_inverse(real, ((cyc_cpu *)self)->fft3, ft));
done:
	return st;
}

const struct cyc_backend_ops cyc_backend_cpu = {
	.name = "cpu",
	.uses_host_memory = true,
	.create = create,
	.destroy = destroy,
	.alloc = alloc,
	.free = free_,
	.upload = upload,
	.download = download,
	.map = map,
	.unmap = unmap,
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
