/* Memory of a device, and the operations that are a kernel and nothing else. */
#include "backends/device/device.h"
#include "backends/kernels/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static cyc_status status_of(cyc_device_result result)
{
	switch (result) {
	case CYC_DEVICE_OK: return CYC_OK;
	case CYC_DEVICE_USAGE: return CYC_E_USAGE;
	case CYC_DEVICE_UNUSABLE: return CYC_E_UNSUPPORTED;
	case CYC_DEVICE_NO_MEMORY: return CYC_E_DEVICE_NOMEM;
	case CYC_DEVICE_NO_HOST_MEMORY: return CYC_E_NOMEM;
	case CYC_DEVICE_FAILED: break;
	}
	return CYC_E_DEVICE;
}

cyc_status cyc__device_check(const cyc_device *d, cyc_device_result result, const char *what)
{
	cyc_status st = CYC_OK;
	/* Who is asked to stop says that, and not that the device did not finish. */
	if (result != CYC_DEVICE_OK) CYC_TRY(cyc_cancel_check());
	CYC_CHECK(result == CYC_DEVICE_OK, status_of(result), "%s: %s", what, d->api->what(d->device));
done:
	if (st == CYC_E_DEVICE && !d->is_stepwise)
		cyc_error_hint(
			"with CYCLOTOMO_DEVICE_STEPWISE=1 in the environment the operation is named that fails; "
			"'--backend cpu' needs no GPU");
	return st;
}

cyc_status cyc__device_create(void **self, const cyc_device_api *api, int n_threads, const char *options)
{
	cyc_status st = CYC_OK;
	cyc_device *d = NULL;
	char why[512] = "";
	CYC_TRY(cyc_alloc(&d, 1, sizeof *d));
	d->api = api;
	d->n_threads = n_threads < 1 ? 1 : n_threads;
	const char *stepwise = getenv("CYCLOTOMO_DEVICE_STEPWISE");
	d->is_stepwise = stepwise && stepwise[0];
	cyc_device_result result = api->open(&d->device, options, d->n_threads, why, sizeof why);
	CYC_CHECK(result == CYC_DEVICE_OK, status_of(result), "%s", why);
	*self = d;
	d = NULL;
done:
	cyc_free(d);
	return st;
}

const char *cyc__device_name(const void *self)
{
	const cyc_device *d = self;
	return d->api->name(d->device);
}

cyc_status cyc__device_room(double *bytes, const void *self)
{
	cyc_status st = CYC_OK;
	const cyc_device *d = self;
	size_t n = 0;
	*bytes = HUGE_VAL;
	if (!d->api->room) goto done;
	CYC_TRY(cyc__device_check(d, d->api->room(d->device, &n), "memory"));
	*bytes = (double)n + (double)d->held;
done:
	return st;
}

double cyc__device_peak_bytes(const void *self) { return (double)((const cyc_device *)self)->peak; }

static cyc_status take(void **address, cyc_device *d, size_t bytes, bool is_scratch)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc__device_check(d, d->api->alloc(d->device, address, bytes, is_scratch),
	                          is_scratch ? "scratch memory" : "a work buffer"));
	d->held += bytes;
	if (d->held > d->peak) d->peak = d->held;
done:
	return st;
}

static void give_back(cyc_device *d, void *address, size_t bytes)
{
	d->api->free(d->device, address, bytes);
	d->held -= bytes;
}

static void destroy(void *self)
{
	cyc_device *d = self;
	if (!d) return;
	for (int i = 0; i < CYC_N_SCRATCH; i++)
		if (d->scratch[i].address) give_back(d, d->scratch[i].address, d->scratch[i].bytes);
	d->api->close(d->device);
	cyc_free(d);
}

static cyc_status alloc(void *self, void **address, size_t bytes)
{
	cyc_status st = CYC_OK;
	cyc_device *d = self;
	void *p = NULL;
	CYC_TRY(take(&p, d, bytes, false));
	CYC_TRY(cyc__device_check(d, d->api->fill(d->device, p, 0, bytes), "a work buffer"));
	*address = p;
	p = NULL;
done:
	if (p) give_back(d, p, bytes);
	return st;
}

static void free_(void *self, void *address, size_t bytes) { give_back(self, address, bytes); }

static size_t piece_at(const cyc_device *d, size_t at, size_t bytes)
{
	return bytes - at < d->api->piece_bytes ? bytes - at : d->api->piece_bytes;
}

static cyc_status upload(void *self, void *address, const void *host, size_t bytes)
{
	cyc_status st = CYC_OK;
	cyc_device *d = self;
	static const char what[] = "a copy to the device";
	for (size_t at = 0, n; at < bytes; at += n) {
		void *stage;
		n = piece_at(d, at, bytes);
		CYC_TRY(cyc__device_check(d, d->api->stage(d->device, &stage, n), what));
		CYC_TRY(cyc_copy(stage, (const char *)host + at, n, d->n_threads));
		CYC_TRY(cyc__device_check(d, d->api->send(d->device, (char *)address + at, n), what));
	}
done:
	return st;
}

/* The host copies a piece while the next one is under way. */
cyc_status cyc__device_get(cyc_device *d, void *host, const void *address, size_t bytes)
{
	cyc_status st = CYC_OK;
	static const char what[] = "a copy from the device";
	size_t asked = 0, had = 0;
	void *stage;
	for (size_t at = 0; at < bytes; at = had) {
		while (asked < bytes && asked < at + 2 * d->api->piece_bytes) {
			size_t n = piece_at(d, asked, bytes);
			CYC_TRY(cyc__device_check(d, d->api->receive(d->device, (const char *)address + asked, n), what));
			asked += n;
		}
		had += piece_at(d, at, bytes);
		CYC_TRY(cyc__device_check(d, d->api->received(d->device, &stage), what));
		CYC_TRY(cyc_copy((char *)host + at, stage, had - at, d->n_threads));
	}
done:
	for (; had < asked; had += piece_at(d, had, bytes)) (void)d->api->received(d->device, &stage);
	return st;
}

static cyc_status download(void *self, void *host, const void *address, size_t bytes)
{
	return cyc__device_get(self, host, address, bytes);
}

static void enter(void *self, void *address, size_t bytes)
{
	cyc_device *d = self;
	if (d->api->enter) d->api->enter(d->device, address, bytes);
}

static void leave(void *self, void *address, size_t bytes)
{
	cyc_device *d = self;
	if (d->api->leave) d->api->leave(d->device, address, bytes);
}

/* Operations are queued. Waiting for each is for profiles, and to find the one that fails. */
static cyc_status finish(void *self)
{
	cyc_device *d = self;
	return d->is_stepwise ? cyc__device_check(d, d->api->finish(d->device), "an operation") : CYC_OK;
}

cyc_status cyc__device_scratch(void *address_out, cyc_device *d, int slot, size_t bytes)
{
	cyc_status st = CYC_OK;
	void *p = d->scratch[slot].address;
	if (!p || d->scratch[slot].bytes < bytes) {
		if (p) give_back(d, p, d->scratch[slot].bytes);
		d->scratch[slot].address = NULL;
		p = NULL;
		CYC_TRY(take(&p, d, bytes, true));
		d->scratch[slot].address = p;
		d->scratch[slot].bytes = bytes;
	}
	memcpy(address_out, &p, sizeof p);
done:
	return st;
}

cyc_status cyc__device_put(void *address_out, cyc_device *d, int slot, const void *host, size_t bytes)
{
	cyc_status st = CYC_OK;
	void *p;
	CYC_TRY(cyc__device_scratch(&p, d, slot, bytes > 0 ? bytes : 1));
	CYC_TRY(upload(d, p, host, bytes));
	memcpy(address_out, &p, sizeof p);
done:
	return st;
}

/* ---------------------------------------------------------------- operations */

static int64_t blocks_of_planes(int64_t n, int64_t count, int32_t lanes)
{
	return n * cyc_n_blocks(count, lanes);
}

cyc_status cyc_ctf_device(void *self, float *ctf, float *quadrature, const cyc_ctf_in *in)
{
	cyc_status st = CYC_OK;
	cyc_device *d = self;
	cyc_ctf_args a = { .ctf = ctf,
		               .quadrature = quadrature,
		               .turns = cyc_buffer_address(in->turns),
		               .envelope = cyc_buffer_address(in->envelope),
		               .k2 = cyc_buffer_address(in->k2),
		               .s = in->s };
	CYC_TRY(
		cyc__device_put(&a.turns_per_k2, d, CYC_SCRATCH_A, in->turns_per_k2, (size_t)in->n * sizeof(double)));
	CYC_TRY(cyc__device_launch(d, ctf, &a,
	                           blocks_of_planes(in->n, (int64_t)cyc_half_count2(in->s), CYC_CTF_LANES)));
done:
	return st;
}

cyc_status cyc_modulate_device(void *self, float *packed, const cyc_modulate_in *in)
{
	cyc_status st = CYC_OK;
	cyc_device *d = self;
	cyc_modulate_args a = { .packed = (void *)(packed + (size_t)in->first * cyc_packed_count(in->s)),
		                    .ft = cyc_buffer_address(in->ft),
		                    .ctf = cyc_buffer_address(in->ctf),
		                    .phase = cyc_buffer_address(in->phase),
		                    .whiten = cyc_buffer_address(in->whiten),
		                    .s = in->s };
	if (in->particle_weight)
		CYC_TRY(cyc__device_put(&a.particle_weight, d, CYC_SCRATCH_A, in->particle_weight,
		                        (size_t)in->n * sizeof(double)));
	CYC_TRY(cyc__device_launch(
		d, modulate, &a, blocks_of_planes(in->n, (int64_t)cyc_packed_count(in->s) / 4, CYC_MODULATE_LANES)));
done:
	return st;
}

cyc_status cyc_pack_device(void *self, float *packed, const cyc_pack_in *in)
{
	cyc_pack_args a = { .packed = (void *)(packed + (size_t)in->first * cyc_packed_count(in->s)),
		                .ft = cyc_buffer_address(in->ft),
		                .ctf = cyc_buffer_address(in->ctf),
		                .share = cyc_buffer_address(in->share),
		                .rest = cyc_buffer_address(in->rest),
		                .is_premultiplied = in->is_premultiplied,
		                .s = in->s };
	return cyc__device_launch((cyc_device *)self, pack, &a,
	                          blocks_of_planes(in->n, (int64_t)cyc_packed_count(in->s) / 4, CYC_PACK_LANES));
}

/* Numbers of the items with use[i] = select, in order. */
static int32_t selected(int32_t *which, const int8_t *use, int8_t select, int32_t n)
{
	int32_t n_selected = 0;
	for (int32_t i = 0; i < n; i++)
		if (!use || use[i] == select) which[n_selected++] = i;
	return n_selected;
}

cyc_status cyc_slice_extract_device(void *self, cyc_cfloat *ft, const cyc_slice_extract_in *in)
{
	cyc_status st = CYC_OK;
	cyc_device *d = self;
	int32_t *which = NULL;
	cyc_mat3 *M = NULL;
	cyc_slice_extract_args a = { .ft = (void *)ft,
		                         .reference = cyc_buffer_address(in->reference),
		                         .m = in->m,
		                         .edge = in->edge,
		                         .radius = in->radius,
		                         .s = in->s };
	CYC_TRY(cyc_alloc(&which, in->n, sizeof *which));
	CYC_TRY(cyc_alloc(&M, in->n, sizeof *M));
	int32_t n = selected(which, in->use, in->select, in->n);
	for (int32_t i = 0; i < n; i++) M[i] = in->M[which[i]];
	if (n == 0) goto done;
	CYC_TRY(cyc__device_put(&a.which, d, CYC_SCRATCH_A, which, (size_t)n * sizeof *which));
	CYC_TRY(cyc__device_put(&a.M, d, CYC_SCRATCH_B, M, (size_t)n * sizeof *M));
	CYC_TRY(cyc__device_launch(
		d, slice_extract, &a, blocks_of_planes(n, (int64_t)cyc_half_count2(in->s), CYC_SLICE_EXTRACT_LANES)));
done:
	cyc_free(which);
	cyc_free(M);
	return st;
}

cyc_status cyc_ctf_sums_device(void *self, double *sums, const cyc_ctf_sums_in *in)
{
	cyc_status st = CYC_OK;
	cyc_device *d = self;
	int32_t *which = NULL;
	_Static_assert((int)CYC_CTF_SUMS_COUNT == (int)CYC_N_SUMS, "the kernel has these sums, in this order");
	cyc_ctf_sums_args a = { .sums = sums,
		                    .ft = cyc_buffer_address(in->ft),
		                    .prediction = cyc_buffer_address(in->prediction),
		                    .ctf = cyc_buffer_address(in->ctf),
		                    .quadrature = cyc_buffer_address(in->quadrature),
		                    .phase = cyc_buffer_address(in->phase),
		                    .radius = in->radius,
		                    .s = in->s };
	CYC_TRY(cyc_alloc(&which, in->n, sizeof *which));
	a.n = selected(which, in->use, in->select, in->n);
	CYC_TRY(cyc__device_put(&a.which, d, CYC_SCRATCH_A, which, (size_t)a.n * sizeof *which));
	CYC_TRY(cyc__device_launch(d, ctf_sums, &a,
	                           cyc_n_blocks((int64_t)cyc_half_count2(in->s), CYC_CTF_SUMS_LANES)));
done:
	cyc_free(which);
	return st;
}

static cyc_status fft3(cyc_device *d, float *real, cyc_cfloat *ft, int32_t s, bool is_forward)
{
	const cyc_fft3_call call = { .real = real, .ft = (void *)ft, .s = s, .is_forward = is_forward };
	return cyc__device_check(d, d->api->fft3(d->device, &call), "a transform of a map");
}

static cyc_status fft3_forward(void *self, cyc_cfloat *ft, const float *real, int32_t s)
{
	float *p; /* is not written to */
	memcpy(&p, &real, sizeof p);
	return fft3(self, p, ft, s, true);
}

static cyc_status fft3_inverse(void *self, float *real, cyc_cfloat *ft, int32_t s)
{
	return fft3(self, real, ft, s, false);
}

const struct cyc_backend_ops cyc__device_ops = {
	.destroy = destroy,
	.alloc = alloc,
	.free = free_,
	.upload = upload,
	.download = download,
	.enter = enter,
	.leave = leave,
	.finish = finish,
	.window = cyc_window_device,
	.ctf = cyc_ctf_device,
	.particle_image = cyc_particle_image_device,
	.pack = cyc_pack_device,
	.modulate = cyc_modulate_device,
	.slice_insert = cyc_slice_insert_device,
	.slice_extract = cyc_slice_extract_device,
	.ctf_sums = cyc_ctf_sums_device,
	.correlate = cyc_correlate_device,
	.pose_terms = cyc_pose_terms_device,
	.pose_scores = cyc_pose_scores_device,
	.fft3_forward = fft3_forward,
	.fft3_inverse = fft3_inverse,
};
