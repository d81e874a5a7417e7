#include "reference/reference.h"

#include "cyclotomo/map.h"
#include "cyclotomo/ranks.h"
#include "cyclotomo/survey.h"
#include "cyclotomo/images.h"
#include "map/half_map_fsc.h"
#include "map/map_files.h"

#include <math.h>
#include <string.h>

static const double FSC_THRESHOLD = 0.143;

void cyc_reference_destroy(cyc_reference **p)
{
	cyc_reference *r = *p;
	if (!r) return;
	for (int h = 0; h < 2; h++) cyc_buffer_destroy(&r->half[h]);
	cyc_free(r->wiener);
	cyc_free(r->noise);
	cyc_free(r);
	*p = NULL;
}

static cyc_status check_map(const cyc_volume *v, const char *name, int32_t box_px, double pixel_size_A)
{
	cyc_status st = CYC_OK;
	if (fabs(v->pixel_size_A / pixel_size_A - 1) > 2e-3) {
		cyc_error_raise(CYC_E_SHAPE, __FILE__, __LINE__, __func__,
		                "%s has a pixel size of %.4g Å, but the tilt series %.4g Å", name, v->pixel_size_A,
		                pixel_size_A);
		cyc_error_hint("a reference with the pixel size of the tilt series is needed: make one with "
		               "cyclotomo reconstruct --bin 1 --b %d ...",
		               box_px);
		st = CYC_E_SHAPE;
		goto done;
	}
	if (v->nx > box_px) {
		cyc_error_raise(CYC_E_SHAPE, __FILE__, __LINE__, __func__,
		                "%s has a box of %d px, larger than the box of the windows, %d px", name, v->nx,
		                box_px);
		cyc_error_hint(
			"use --b %d or more, or make a smaller reference: cyclotomo reconstruct --b %d --crop %d ...",
			v->nx, v->nx, box_px);
		st = CYC_E_SHAPE;
		goto done;
	}
done:
	return st;
}

typedef struct {
	cyc_volume *const *half;
	const cyc_volume *mask;
	const char *name;
} masking;

static cyc_status mask_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	cyc_status st = CYC_OK;
	const masking *a = arg;
	size_t plane = (size_t)a->mask->nx * (size_t)a->mask->ny;
	for (size_t i = (size_t)z * plane; i < (size_t)(z + 1) * plane; i++) {
		float w = a->mask->data[i];
		CYC_CHECK(w >= -1e-4F && w <= 1 + 1e-4F, CYC_E_DATA,
		          "the mask %s has a value of %g; masks must be between 0 and 1", a->name, (double)w);
		for (int h = 0; h < 2; h++) a->half[h]->data[i] *= w;
	}
done:
	return st;
}

static cyc_status apply_mask(cyc_volume *half[2], double *diameter_px, const char *mask_name,
                             const char *map_name, const char *root, int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_volume *mask = NULL;
	int32_t n = half[0]->nx;
	CYC_TRY(cyc__read_any_map(&mask, root, mask_name, n_threads));
	if (mask->nx != n || fabs(mask->pixel_size_A / half[0]->pixel_size_A - 1) > 2e-3) {
		cyc_error_raise(CYC_E_SHAPE, __FILE__, __LINE__, __func__,
		                "the mask %s (%d px of %.4g Å) does not fit the map %s (%d px of %.4g Å)", mask_name,
		                mask->nx, mask->pixel_size_A, map_name, n, half[0]->pixel_size_A);
		cyc_error_hint("make one from this map: cyclotomo mask --i %s --o mask.mrc", map_name);
		st = CYC_E_SHAPE;
		goto done;
	}
	masking a = { half, mask, mask_name };
	CYC_TRY(cyc_parallel_for(mask->nz, n_threads, mask_task, &a));
	double reach_px = cyc_mask_reach_px(mask);
	CYC_CHECK(reach_px >= 0, CYC_E_DATA, "the mask %s is zero everywhere", mask_name);
	CYC_CHECK(!cyc_mask_is_inverted(mask), CYC_E_DATA,
	          "the mask %s is inverted: it is 1 at the corners of the box and 0 in the centre", mask_name);
	CYC_CHECK(reach_px >= CYC_LEAST_MASK_RADIUS_PX, CYC_E_DATA,
	          "the mask %s reaches less than %d px from the centre: too small for a reference", mask_name,
	          CYC_LEAST_MASK_RADIUS_PX);
	*diameter_px = 2 * reach_px;
	for (int h = 0; h < 2; h++)
		CYC_TRY_CTX(cyc_half_map_check(half[h], h ? "half map 2" : "half map 1", map_name),
		            "under the mask %s", mask_name);
done:
	cyc_volume_destroy(&mask);
	return st;
}

typedef struct {
	cyc_volume *v;
	double *sums; /* per plane: weighted sum and sum of weights */
	float mean;
	bool is_second;
} tapering;

static cyc_status taper_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const tapering *t = arg;
	int32_t n = t->v->nx;
	double R = n / 2.0, edge = fmin(10, R / 4), sum = 0, count = 0;
	for (int32_t y = 0; y < n; y++) {
		float *row = t->v->data + ((size_t)z * (size_t)n + (size_t)y) * (size_t)n;
		for (int32_t x = 0; x < n; x++) {
			double r = sqrt(cyc_square(x - R) + cyc_square(y - R) + cyc_square((double)z - R));
			double g = r >= R ? 0 : r < R - edge ? 1 : 0.5 - 0.5 * cos(CYC_PI * (R - r) / edge);
			if (t->is_second) {
				row[x] = (float)g * (row[x] - t->mean);
			} else {
				sum += g * (double)row[x];
				count += g;
			}
		}
	}
	t->sums[2 * z] = sum;
	t->sums[2 * z + 1] = count;
	return CYC_OK;
}

/* Remove the mean inside a soft sphere and everything outside: no box edge, no strong zero frequency to leak.
 */
static cyc_status taper(cyc_volume *v, int n_threads)
{
	cyc_status st = CYC_OK;
	tapering t = { .v = v };
	double sum = 0, count = 0;
	CYC_TRY(cyc_alloc(&t.sums, 2 * (size_t)v->nx, sizeof *t.sums));
	CYC_TRY(cyc_parallel_for(v->nx, n_threads, taper_task, &t));
	for (int32_t z = 0; z < v->nx; z++) {
		sum += t.sums[2 * z];
		count += t.sums[2 * z + 1];
	}
	t.mean = count > 0 ? (float)(sum / count) : 0;
	t.is_second = true;
	CYC_TRY(cyc_parallel_for(v->nx, n_threads, taper_task, &t));
done:
	cyc_free(t.sums);
	return st;
}

static double map_scale(const cyc_reference *r)
{
	/* The unitary 2D transform of a projection is 1/s times the unscaled one. */
	return 1 / (r->box_px * r->grey_scale);
}

static cyc_status transform(cyc_cfloat *ft[2], cyc_volume *const half[2], int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_fft3 *plan = NULL;
	CYC_TRY(cyc_fft3_create(&plan, half[0]->nx, n_threads));
	for (int h = 0; h < 2; h++) {
		CYC_TRY(cyc_alloc(&ft[h], cyc_half_count3(half[0]->nx), sizeof *ft[h]));
		CYC_TRY(cyc_fft3_forward(ft[h], plan, half[h]->data));
	}
done:
	cyc_fft3_destroy(&plan);
	return st;
}

/* FSC of the file per shell of the map's box, or of the maps themselves. */
static cyc_status read_fsc(double **fsc, int32_t *n_shells, int32_t *box, cyc_reference *r,
                           cyc_volume *const half[2], const char *name, const char *root, int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_fsc_file *file = NULL;
	char *path = NULL;
	cyc_cfloat *ft[2] = { NULL, NULL };
	if (!name) {
		cyc_warn("no FSC file is given: the FSC of the masked half maps is used, which is too optimistic "
		         "because both contain the mask; give --fsc postprocess.star");
		r->fsc_is_own = true;
		*box = half[0]->nx;
		*n_shells = *box / 2 + 1;
		CYC_TRY(cyc_alloc(fsc, *n_shells, sizeof **fsc));
		CYC_TRY(transform(ft, half, n_threads));
		CYC_TRY(cyc__fsc_compute_threads(*fsc, ft[0], ft[1], *box, n_threads));
		goto done;
	}
	CYC_TRY(cyc_path_join(&path, root, name));
	CYC_TRY(cyc_fsc_file_read(&file, path));
	*n_shells = file->n_shells;
	*box = file->box;
	if (file->pixel_size_A > 0 && fabs(file->pixel_size_A / r->pixel_size_A - 1) > 5e-3) {
		cyc_error_raise(
			CYC_E_SHAPE, __FILE__, __LINE__, __func__,
			"the FSC in %s is for maps with a pixel size of %.4g Å, but the tilt series has %.4g Å", name,
			file->pixel_size_A, r->pixel_size_A);
		cyc_error_hint("post-process the half maps that are used here: cyclotomo postprocess --i half1.mrc "
		               "--mask ... --o ...");
		st = CYC_E_SHAPE;
		goto done;
	}
	CYC_TRY(cyc_alloc(fsc, *n_shells, sizeof **fsc));
	memcpy(*fsc, file->corrected, (size_t)*n_shells * sizeof **fsc);
done:
	for (int h = 0; h < 2; h++) cyc_free(ft[h]);
	cyc_free(path);
	cyc_fsc_file_destroy(&file);
	return st;
}

typedef struct {
	cyc_cfloat *const *ft;
	int32_t n;
	double *sums; /* of each plane: of a shell the power, and the number of samples */
} differing;

static cyc_status difference_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const differing *a = arg;
	int32_t n = a->n, n_shells = n / 2 + 1, kz = z < n / 2 ? (int32_t)z : (int32_t)z - n;
	double *sum = a->sums + 2 * (size_t)z * (size_t)n_shells, *count = sum + n_shells;
	for (int32_t y = 0; y < n; y++)
		for (int32_t x = 0; x <= n / 2; x++) {
			int32_t ky = y < n / 2 ? y : y - n,
					shell = (int32_t)(sqrt((double)(x * x + ky * ky + kz * kz)) + 0.5);
			size_t i = ((size_t)z * (size_t)n + (size_t)y) * (size_t)n_shells + (size_t)x;
			if (shell >= n_shells) continue;
			cyc_cfloat d = a->ft[0][i] - a->ft[1][i];
			sum[shell] += (double)(crealf(d) * crealf(d) + cimagf(d) * cimagf(d));
			count[shell]++;
		}
	return CYC_OK;
}

/* Noise power of one half per shell: half the mean square of the halves' difference. */
static cyc_status noise_power(cyc_reference *r, cyc_volume *const half[2], int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_cfloat *ft[2] = { NULL, NULL };
	double *sum = NULL, *count = NULL, unit = cyc_square(map_scale(r));
	int32_t n = half[0]->nx, n_shells = n / 2 + 1;
	differing a = { .ft = ft, .n = n };
	CYC_TRY(transform(ft, half, n_threads));
	CYC_TRY(cyc_alloc(&a.sums, 2 * (size_t)n * (size_t)n_shells, sizeof *a.sums));
	CYC_TRY(cyc_parallel_for(n, n_threads, difference_task, &a));
	sum = a.sums;
	count = sum + n_shells;
	for (int32_t z = 1; z < n; z++)
		for (int32_t i = 0; i < 2 * n_shells; i++)
			sum[i] += a.sums[2 * (size_t)z * (size_t)n_shells + (size_t)i];
	for (int32_t i = 0; i < n_shells; i++) sum[i] *= 0.5 * unit / count[i];
	for (int32_t i = 0; i <= r->box_px / 2; i++)
		r->noise[i] = cyc_radial_at(sum, n_shells, (double)i * n / r->box_px);
done:
	for (int h = 0; h < 2; h++) cyc_free(ft[h]);
	cyc_free(a.sums);
	return st;
}

int32_t cyc_reference_last_shell(const double *fsc, int32_t n_shells)
{
	int32_t first_bad = 1;
	while (first_bad < n_shells && fsc[first_bad] >= FSC_THRESHOLD) first_bad++;
	return first_bad - 1;
}

/* Wiener factors per shell of the s-box; the FSC is cut where it first falls below the threshold. */
static cyc_status shell_weights(cyc_reference *r, const double *fsc, int32_t n_shells, int32_t box,
                                double cutoff_A)
{
	cyc_status st = CYC_OK;
	double ratio = (double)box / r->box_px;
	r->radius = (int32_t)(cyc_reference_last_shell(fsc, n_shells) / ratio);
	if (cutoff_A > 0) r->radius = (int32_t)fmin(r->radius, r->box_px * r->pixel_size_A / cutoff_A);
	if (r->radius > r->box_px / 2 - 1) r->radius = r->box_px / 2 - 1;
	CYC_CHECK(r->radius >= 3, CYC_E_DATA,
	          "the half maps agree (FSC >= %.3f) only to %.1f Å: too low a resolution to refine with",
	          FSC_THRESHOLD, r->box_px * r->pixel_size_A / fmax(r->radius, 1));
	for (int32_t i = 1; i <= r->radius; i++)
		r->wiener[i] = fmin(fmax(cyc_radial_at(fsc, n_shells, i * ratio), 0), 1);
done:
	return st;
}

/* ---------------------------------------------------------------- before a reference is loaded */

/* As read_fsc() compares them, where the mask fits; what does not is refused when they are loaded. */
static cyc_status compare_halves(double *invA, const cyc_reference_files *files, int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_volume *half[2] = { NULL, NULL }, *mask = NULL;
	cyc_cfloat *ft[2] = { NULL, NULL };
	double *fsc = NULL;
	for (int h = 0; h < 2; h++)
		CYC_TRY_CTX(cyc__read_any_map(&half[h], files->root, files->half[h], n_threads), "half map %d",
		            h + 1);
	int32_t n = half[0]->nx;
	if (half[1]->nx != n) goto done;
	if (files->mask) CYC_TRY(cyc__read_any_map(&mask, files->root, files->mask, n_threads));
	for (int h = 0; h < 2 && mask && mask->nx == n; h++)
		for (size_t i = 0; i < cyc_volume_count(mask); i++) half[h]->data[i] *= mask->data[i];
	cyc_volume_destroy(&mask);
	CYC_TRY(transform(ft, half, n_threads));
	CYC_TRY(cyc_alloc(&fsc, (size_t)n / 2 + 1, sizeof *fsc));
	cyc_fsc_compute(fsc, ft[0], ft[1], n);
	*invA = cyc_reference_last_shell(fsc, n / 2 + 1) / (n * half[0]->pixel_size_A);
done:
	for (int h = 0; h < 2; h++) {
		cyc_volume_destroy(&half[h]);
		cyc_free(ft[h]);
	}
	cyc_volume_destroy(&mask);
	cyc_free(fsc);
	cyc_memory_give_back();
	return st;
}

cyc_status cyc_reference_frequency(double *invA, const cyc_reference_files *files, double cutoff_A,
                                   int n_threads)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	cyc_mrc_info info;
	cyc_fsc_file *file = NULL;
	*invA = 0;
	CYC_TRY(cyc_path_join(&path, files->root, files->half[0]));
	CYC_TRY_CTX(cyc_mrc_read_info(&info, path), "half map 1");
	if (files->fsc) {
		cyc_free(path);
		CYC_TRY(cyc_path_join(&path, files->root, files->fsc));
		CYC_TRY(cyc_fsc_file_read(&file, path));
		double pixel_size_A = file->pixel_size_A > 0 ? file->pixel_size_A : info.pixel_size_A;
		*invA = cyc_reference_last_shell(file->corrected, file->n_shells) / (file->box * pixel_size_A);
	} else if (files->half[1]) {
		double bytes = 3 * cyc_map_bytes(info.nx) + 2 * cyc_transform_bytes(info.nx) +
		               cyc_fft3_bytes(info.nx, n_threads);
		if (bytes <= cyc_memory_available_bytes() - cyc_reserved_addresses())
			CYC_TRY(compare_halves(invA, files, n_threads));
	}
	if (cutoff_A > 0 && *invA > 1 / cutoff_A) *invA = 1 / cutoff_A;
done:
	cyc_free(path);
	cyc_fsc_file_destroy(&file);
	return st;
}

/* ---------------------------------------------------------------- transforms */

typedef struct {
	const cyc_volume *map;
	double *lookup; /* map->nx: transform of trilinear look-up along one axis */
	cyc_cfloat *to;
	int32_t m, edge, reach; /* beyond `reach` samples of `to` are zero, and stay so */
	const cyc_reference *r;
	double scale;
} work;

/* Where row (z, y) of a grid begins, -edge/2 <= z, y < edge/2. */
static size_t row_start(int32_t edge, int32_t z, int32_t y)
{
	size_t row = (size_t)(z < 0 ? z + edge : z) * (size_t)edge + (size_t)(y < 0 ? y + edge : y);
	return row * (size_t)(edge / 2 + 2);
}

/* A row of the map, divided by the transform of trilinear look-up. */
static void fill_row(float *to, const void *arg, int32_t y, int32_t z)
{
	const work *a = arg;
	int32_t n = a->map->nx;
	const float *from = a->map->data + ((size_t)z * (size_t)n + (size_t)y) * (size_t)n;
	double scale = a->scale / (a->lookup[z] * a->lookup[y]);
	for (int32_t x = 0; x < n; x++) to[x] = (float)((double)from[x] * scale / a->lookup[x]);
}

/* Wiener factor at a distance of `shell` shells of the windows' box. */
static double weight_at(const cyc_reference *r, double shell)
{
	int32_t i = (int32_t)shell;
	if (i <= r->radius) {
		double next = i + 1 <= r->radius ? r->wiener[i + 1] : r->wiener[i];
		return r->wiener[i] + (shell - i) * (next - r->wiener[i]);
	}
	/* One shell beyond the last is kept, so that look-ups at the rim do not fade. */
	return i <= r->radius + 2 ? r->wiener[r->radius] : 0;
}

/* Checkerboard (phase origin at the map's centre), Wiener factor of the shell; the spare column stays zero.
 */
static void take_samples(const void *arg, const cyc_cfloat *from, int32_t n, int32_t first, int32_t ky,
                         int32_t kz)
{
	const work *a = arg;
	cyc_cfloat *to = a->to + row_start(a->edge, kz, ky) + first;
	for (int32_t i = 0; i < n; i++) {
		int32_t x = first + i;
		double w =
			a->r ? weight_at(a->r, sqrt((double)(x * x + ky * ky + kz * kz)) * a->r->box_px / a->m) : 1;
		to[i] = (float)((x + ky + kz) % 2 ? -w : w) * from[i];
	}
}

void cyc_reference_scratch_deinit(cyc_reference_scratch *s) { cyc_fft3_padded_destroy(&s->fft); }

static cyc_status prepare_scratch(cyc_reference_scratch *s, const work *a, int n_threads)
{
	cyc_status st = CYC_OK;
	if (s->fft && s->n == a->map->nx && s->m == a->m && s->reach == a->reach) goto done;
	cyc_fft3_padded_destroy(&s->fft);
	s->n = a->map->nx;
	s->m = a->m;
	s->reach = a->reach;
	CYC_TRY(cyc_fft3_padded_create(&s->fft, s->n, s->m, s->reach, n_threads));
done:
	return st;
}

static cyc_status make_grid(cyc_buffer *to, cyc_backend *be, work *a, cyc_reference_scratch *scratch)
{
	cyc_status st = CYC_OK;
	int32_t n = a->map->nx;
	CYC_TRY(cyc_alloc(&a->lookup, n, sizeof *a->lookup));
	for (int32_t i = 0; i < n; i++) a->lookup[i] = cyc_square(cyc_sinc((double)(i - n / 2) / a->m));
	CYC_TRY(prepare_scratch(scratch, a, cyc_backend_n_threads(be)));
	CYC_TRY(cyc_buffer_map(&a->to, to));
	st = cyc_fft3_padded_forward(scratch->fft, &(cyc_fft3_padded_io){ fill_row, take_samples, a });
	cyc_status unmapped = cyc_buffer_unmap(to);
	CYC_TRY(st);
	CYC_TRY(unmapped);
done:
	cyc_free(a->lookup);
	return st;
}

static cyc_status make_half(cyc_reference *r, cyc_backend *be, int h, const cyc_volume *map,
                            cyc_reference_scratch *scratch)
{
	work a = {
		.map = map, .m = r->n_grid, .edge = r->edge, .reach = r->reach[h], .r = r, .scale = map_scale(r)
	};
	return make_grid(r->half[h], be, &a, scratch);
}

cyc_status cyc_reference_transform(cyc_buffer *to, cyc_backend *be, const cyc_volume *map, int32_t m,
                                   double scale, cyc_reference_scratch *scratch)
{
	work a = { .map = map, .m = m, .edge = m, .reach = m, .scale = scale };
	return make_grid(to, be, &a, scratch);
}

static cyc_status create(cyc_reference **out, int32_t box_px, double pixel_size_A, double grey_scale,
                         double map_diameter_px)
{
	cyc_status st = CYC_OK;
	cyc_reference *r = NULL;
	CYC_TRY(cyc_alloc(&r, 1, sizeof *r));
	r->box_px = box_px;
	r->pixel_size_A = pixel_size_A;
	r->grey_scale = grey_scale;
	r->map_diameter_px = map_diameter_px;
	CYC_TRY(cyc_alloc(&r->wiener, (size_t)box_px / 2 + 1, sizeof *r->wiener));
	CYC_TRY(cyc_alloc(&r->noise, (size_t)box_px / 2 + 1, sizeof *r->noise));
	*out = r;
	r = NULL;
done:
	cyc_reference_destroy(&r);
	return st;
}

/* Memory of a half, zero where the reference that it is for carries no signal. */
static cyc_status make_room(cyc_reference *r, cyc_backend *be, int h, int32_t reach)
{
	cyc_status st = CYC_OK;
	if (!r->half[h]) {
		CYC_TRY(cyc_buffer_create(&r->half[h], be, cyc_reference_count(r->edge), sizeof(cyc_cfloat)));
	} else if (r->reach[h] > reach) {
		void *grid;
		CYC_TRY(cyc_buffer_map_discard(&grid, r->half[h]));
		memset(grid, 0, cyc_reference_count(r->edge) * sizeof(cyc_cfloat));
		CYC_TRY(cyc_buffer_unmap(r->half[h]));
	}
	r->reach[h] = reach;
done:
	return st;
}

/* The grids of both halves; tapers the maps. */
static cyc_status make_halves(cyc_reference *r, cyc_backend *be, cyc_volume *const half[2],
                              const bool skip_grid[2], cyc_reference_scratch *scratch)
{
	cyc_status st = CYC_OK;
	cyc_reference_scratch own = { NULL, 0, 0, 0 };
	/* Twice the map: trilinear look-up is then good to 2 % at its rim (sinc^2 there is 0.81 of the centre's).
	 */
	r->n_grid = cyc_reference_grid(half[0]->nx, r->box_px);
	int32_t reach = cyc_reference_reach(r->n_grid, r->box_px, r->radius),
			edge = cyc_reference_edge(r->n_grid, reach);
	for (int h = 0; h < 2 && edge != r->edge; h++) cyc_buffer_destroy(&r->half[h]);
	r->edge = edge;
	for (int h = 0; h < 2; h++) {
		CYC_TRY(make_room(r, be, h, reach));
		if (skip_grid[h]) continue;
		CYC_TRY(taper(half[h], cyc_backend_n_threads(be)));
		CYC_TRY(make_half(r, be, h, half[h], scratch ? scratch : &own));
	}
done:
	cyc_reference_scratch_deinit(&own);
	return st;
}

int cyc_reference_maker(int32_t i, int half) { return cyc_ranks_maker(2 * (int64_t)i + half); }

/* Samples of a grid that are within reach, from there to `ball` or back; ball NULL: only counted. */
static size_t move_ball(cyc_cfloat *ball, cyc_cfloat *grid, int32_t edge, int32_t reach, bool is_back)
{
	size_t count = 0;
	for (int32_t z = -edge / 2; z < edge / 2; z++)
		for (int32_t y = -edge / 2; y < edge / 2; y++) {
			size_t n = (size_t)cyc_row_within(reach, edge / 2 + 1, z, y);
			cyc_cfloat *row = grid ? grid + row_start(edge, z, y) : NULL;
			if (ball && n > 0)
				memcpy(is_back ? row : ball + count, is_back ? ball + count : row, n * sizeof *row);
			count += n;
		}
	return count;
}

static cyc_status pass_half(cyc_reference *r, int32_t i, int h)
{
	cyc_status st = CYC_OK;
	int32_t edge = r->edge, reach = r->reach[h];
	cyc_cfloat *ball = NULL, *grid = NULL;
	size_t count = move_ball(NULL, NULL, edge, reach, false);
	bool is_maker = cyc_reference_maker(i, h) == cyc_rank();
	CYC_TRY(cyc_alloc_(&ball, count, sizeof *ball, "a reference on its way to other ranks"));
	CYC_TRY(cyc_buffer_map(&grid, r->half[h]));
	if (is_maker) move_ball(ball, grid, edge, reach, false);
	st = cyc_ranks_pass_on(ball, count * sizeof *ball, 2 * (int64_t)i + h);
	if (st == CYC_OK && !is_maker) move_ball(ball, grid, edge, reach, true);
	cyc_status unmapped = cyc_buffer_unmap(r->half[h]);
	CYC_TRY(st);
	CYC_TRY(unmapped);
done:
	cyc_free(ball);
	return st;
}

cyc_status cyc_reference_pass_on(cyc_reference *r, int32_t i)
{
	cyc_status st = CYC_OK;
	/* Between machines each rank has made its own. */
	if (cyc_ranks_in_job() == 1 || !cyc_ranks_are_together()) return CYC_OK;
	for (int h = 0; h < 2; h++) CYC_TRY(pass_half(r, i, h));
done:
	return st;
}

/* One name for both is a known map, given on purpose; two names of one map are a mistake. */
static cyc_status check_halves(cyc_volume *const half[2], const char *const names[2], int n_threads)
{
	if (strcmp(names[0], names[1]) == 0) return cyc_half_map_check(half[0], "the reference", names[0]);
	return cyc_half_maps_check(half, names, n_threads);
}

cyc_status cyc_reference_load(cyc_reference **out, cyc_backend *be, const cyc_reference_files *files,
                              double cutoff_A, int32_t box_px, double pixel_size_A)
{
	cyc_status st = CYC_OK;
	cyc_reference *r = NULL;
	cyc_volume *half[2] = { NULL, NULL };
	const char *const *names = files->half, *root = files->root;
	double *curve = NULL;
	int32_t n_shells = 0, fsc_box = 0;
	int n_threads = cyc_backend_n_threads(be);
	*out = NULL;
	/* The maps hold sqrt(s) times the density; s, the box of their reconstruction, is taken to be the box
	 * here. */
	CYC_TRY(create(&r, box_px, pixel_size_A, sqrt((double)box_px), 0));
	for (int h = 0; h < 2; h++) {
		CYC_TRY_CTX(cyc__read_any_map(&half[h], root, names[h], n_threads), "half map %d", h + 1);
		CYC_TRY(check_map(half[h], names[h], box_px, pixel_size_A));
	}
	CYC_CHECK(half[0]->nx == half[1]->nx, CYC_E_SHAPE,
	          "the half maps have different boxes: %s %d px, %s %d px", names[0], half[0]->nx, names[1],
	          half[1]->nx);
	CYC_TRY(check_halves(half, names, n_threads));
	r->map_diameter_px = half[0]->nx;
	if (files->mask) CYC_TRY(apply_mask(half, &r->map_diameter_px, files->mask, names[0], root, n_threads));
	CYC_TRY(noise_power(r, half, n_threads));
	CYC_TRY(read_fsc(&curve, &n_shells, &fsc_box, r, half, files->fsc, root, n_threads));
	CYC_TRY(shell_weights(r, curve, n_shells, fsc_box, cutoff_A));
	const bool skip[2] = { cyc_reference_maker(0, 0) != cyc_rank(), cyc_reference_maker(0, 1) != cyc_rank() };
	CYC_TRY(make_halves(r, be, half, skip, NULL));
	CYC_TRY(cyc_reference_pass_on(r, 0));
	*out = r;
	r = NULL;
done:
	cyc_free(curve);
	for (int h = 0; h < 2; h++) cyc_volume_destroy(&half[h]);
	cyc_memory_give_back();
	cyc_reference_destroy(&r);
	return st;
}

cyc_status cyc_reference_update(cyc_reference *r, cyc_backend *be, cyc_volume *const half[2],
                                const cyc_reference_spec *spec)
{
	cyc_status st = CYC_OK;
	CYC_ASSERT(r->box_px == spec->box_px && half[0]->nx == half[1]->nx && half[0]->nx <= spec->box_px);
	memset(r->wiener, 0, ((size_t)r->box_px / 2 + 1) * sizeof *r->wiener);
	if (!spec->no_noise) CYC_TRY(noise_power(r, half, cyc_backend_n_threads(be)));
	CYC_TRY(shell_weights(r, spec->fsc, spec->n_fsc, spec->fsc_box, spec->frequency_cutoff_A));
	if (!spec->no_grids) CYC_TRY(make_halves(r, be, half, spec->skip_grid, spec->scratch));
done:
	return st;
}

cyc_status cyc_reference_from_maps(cyc_reference **out, cyc_backend *be, cyc_volume *const half[2],
                                   const cyc_reference_spec *spec)
{
	cyc_status st = CYC_OK;
	cyc_reference *r = NULL;
	*out = NULL;
	CYC_CHECK(half[0]->nx == half[1]->nx && half[0]->nx <= spec->box_px, CYC_E_SHAPE,
	          "half maps of %d and %d px do not fit a box of %d px", half[0]->nx, half[1]->nx, spec->box_px);
	CYC_TRY(create(&r, spec->box_px, spec->pixel_size_A, spec->grey_scale, spec->map_diameter_px));
	CYC_TRY(cyc_reference_update(r, be, half, spec));
	*out = r;
	r = NULL;
done:
	cyc_reference_destroy(&r);
	return st;
}
