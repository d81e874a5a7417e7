#include "halfmaps/volume_sections.h"

#include "images/frame_share.h"
#include "images/tilt_batch.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>

static const double LARGEST_OFFSET = 0.25; /* of the box: volumes further off lack too much of the particle */
/* Angles beyond the bandwidth of D V*: its angular harmonics end softly. */
enum { SPARE_SECTIONS = 6 };
static const double LEAST_AROUND =
	0.02;                            /* of the box, around the particle: less tells nothing of the noise */
static const double NEGATIVE = 1e-3; /* of the largest weight: more is no rounding */

struct cyc_volume_sections {
	cyc_backend *be;
	cyc_volume_sections_spec spec;
	int32_t n, m; /* sections; edge of the transforms they are looked up in */
	int64_t i_particle;
	cyc_buffer *grid[2]; /* data, weight */
	cyc_buffer *ft[2];   /* of some sections */
	cyc_reference_scratch scratch;
	cyc_fft3 *fft;
	cyc_cfloat *transform;
	float *weight; /* half volume */
	cyc_volume *map;
	double *lookup;    /* N: transform of trilinear spreading along one axis */
	cyc_vec3 place_px; /* of the particle, from voxel N/2 */
	double mask2;
	cyc_mat3 axes[CYC_SECTIONS_AT_ONCE];
};

void cyc_volume_sections_destroy(cyc_volume_sections **p)
{
	cyc_volume_sections *s = *p;
	if (!s) return;
	for (int i = 0; i < 2; i++) {
		cyc_buffer_destroy(&s->grid[i]);
		cyc_buffer_destroy(&s->ft[i]);
	}
	cyc_reference_scratch_deinit(&s->scratch);
	cyc_fft3_destroy(&s->fft);
	cyc_free(s->transform);
	cyc_free(s->weight);
	cyc_volume_destroy(&s->map);
	cyc_free(s->lookup);
	cyc_free(s);
	*p = NULL;
}

int32_t cyc_volume_section_count(int32_t N, double radius_px)
{
	double reach = fmin(radius_px + 0.5 * CYC_PARTICLE_EDGE_PX, 0.5 * N);
	return (int32_t)ceil(2 * CYC_PI * (N / 2 - 1) * reach / N) + SPARE_SECTIONS;
}

int32_t cyc_volume_sections_n(const cyc_volume_sections *s) { return s->n; }
double cyc_volume_sections_mask2(const cyc_volume_sections *s) { return s->mask2; }

static int32_t common_divisor(int32_t a, int32_t b) { return b == 0 ? a : common_divisor(b, a % b); }

/* A few sections in a row are to be typical of all, also where some lie in a missing wedge. */
cyc_mat3 cyc_volume_section_axes(int32_t i, int32_t n)
{
	int32_t stride = (int32_t)(0.618 * n);
	while (common_divisor(n, stride) > 1) stride++;
	double angle = CYC_PI * (double)((int64_t)i * stride % n) / n, c = cos(angle), t = sin(angle);
	return (cyc_mat3){ { { c, 0, -t }, { 0, 1, 0 }, { t, 0, c } } };
}

double cyc_volume_sections_bytes(int32_t N, int32_t s, int n_threads)
{
	int32_t m = cyc_reference_grid(N, s);
	return cyc_reference_bytes(N, s) + cyc_reference_scratch_bytes(N, s) + cyc_fft3_bytes(m, n_threads) +
	       cyc_fft3_bytes(N, n_threads) + cyc_map_bytes(N) + 1.5 * cyc_transform_bytes(N) +
	       2.0 * CYC_SECTIONS_AT_ONCE * (double)cyc_half_count2(s) * sizeof(cyc_cfloat);
}

cyc_status cyc_volume_sections_create(cyc_volume_sections **out, cyc_backend *be,
                                      const cyc_volume_sections_spec *spec)
{
	cyc_status st = CYC_OK;
	cyc_volume_sections *s = NULL;
	int32_t N = spec->stacks->box_px;
	*out = NULL;
	CYC_CHECK(!spec->stacks->are_2d && spec->box_px >= N, CYC_E_INTERNAL, "sections of %d px of %s of %d px",
	          spec->box_px, spec->stacks->are_2d ? "stacks" : "volumes", N);
	CYC_TRY(cyc_alloc(&s, 1, sizeof *s));
	s->be = be;
	s->spec = *spec;
	s->n = cyc_volume_section_count(N, spec->radius_px);
	s->m = cyc_reference_grid(N, spec->box_px);
	for (int i = 0; i < 2; i++) {
		CYC_TRY(cyc_buffer_create(&s->grid[i], be, cyc_reference_count(s->m), sizeof(cyc_cfloat)));
		CYC_TRY(cyc_buffer_create(&s->ft[i], be, CYC_SECTIONS_AT_ONCE * cyc_half_count2(spec->box_px),
		                          sizeof(cyc_cfloat)));
	}
	CYC_TRY(cyc_fft3_create(&s->fft, N, cyc_backend_n_threads(be)));
	CYC_TRY(cyc_alloc(&s->transform, cyc_half_count3(N), sizeof *s->transform));
	CYC_TRY(cyc_alloc(&s->weight, cyc_half_count3(N), sizeof *s->weight));
	CYC_TRY(cyc_volume_create(&s->map, N, N, N, spec->stacks->pixel_size_A));
	CYC_TRY(cyc_alloc(&s->lookup, N, sizeof *s->lookup));
	for (int32_t i = 0; i < N; i++) s->lookup[i] = cyc_square(cyc_sinc((double)(i - N / 2) / N));
	*out = s;
	s = NULL;
done:
	cyc_volume_sections_destroy(&s);
	return st;
}

/* ---------------------------------------------------------------- reading */

static cyc_status check_weight(const cyc_volume_sections *s, const char *file)
{
	cyc_status st = CYC_OK;
	float least = 0, most = 0;
	for (size_t i = 0; i < cyc_half_count3(s->spec.stacks->box_px); i++) {
		CYC_CHECK(isfinite(s->weight[i]), CYC_E_DATA, "'%s' has weights that are not numbers", file);
		if (s->weight[i] < least) least = s->weight[i];
		if (s->weight[i] > most) most = s->weight[i];
	}
	CYC_CHECK(most > 0, CYC_E_DATA, "'%s': the weights are zero everywhere, so that the volume says nothing",
	          file);
	CYC_CHECK(
		s->spec.stacks->is_premultiplied[s->spec.stacks->particles->particles[s->i_particle].i_optics] == 0 ||
			(double)least >= -NEGATIVE * (double)most,
		CYC_E_DATA,
		"'%s' has a weight of %g; the squared CTF of volumes that are multiplied by it (%s is 1) is never "
		"negative",
		file, (double)least, CYC_RLN_CTF_DATA_ARE_CTF_PREMULTIPLIED);
done:
	return st;
}

static cyc_status check_data(const cyc_volume_sections *s, const char *file)
{
	cyc_status st = CYC_OK;
	bool is_zero = true;
	for (size_t i = 0; i < cyc_volume_count(s->map); i++) {
		CYC_CHECK(isfinite(s->map->data[i]), CYC_E_DATA,
		          "'%s' has values that are not numbers (NaN or infinite)", file);
		if (s->map->data[i] != 0) is_zero = false;
	}
	CYC_CHECK(!is_zero, CYC_E_DATA, "'%s': the volume is zero everywhere", file);
	double shift_px = hypot(hypot(s->place_px.x, s->place_px.y), s->place_px.z);
	if (!(shift_px <= LARGEST_OFFSET * s->map->nx)) {
		st = cyc_error_raise(
			CYC_E_DATA, __FILE__, __LINE__, __func__,
			"'%s': its offsets (rlnOrigin...) shift the particle by %.1f px, out of its volume of "
			"%d px",
			file, shift_px, s->map->nx);
		cyc_error_hint("extract again: 'cyclotomo extract' cuts at the refined positions");
	}
done:
	return st;
}

/* A volume that was not multiplied by its CTF is, and the weight becomes the square of the CTF. */
static cyc_status multiply_by_ctf(cyc_volume_sections *s)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_fft3_forward(s->transform, s->fft, s->map->data));
	for (size_t i = 0; i < cyc_half_count3(s->map->nx); i++) {
		s->transform[i] *= s->weight[i];
		s->weight[i] *= s->weight[i];
	}
	CYC_TRY(cyc_fft3_inverse(s->map->data, s->fft, s->transform));
done:
	return st;
}

/* ---------------------------------------------------------------- transforms */

typedef struct {
	cyc_volume_sections *s;
	bool is_spread; /* of a sum of spread slices */
} smoothing;
typedef struct {
	cyc_volume_sections *s;
	bool is_spread;        /* of a sum of spread slices */
	double *sum, *count;   /* per plane: outside of the mask, and its squares */
	double *square, level; /* that is taken off */
} masking;

static double distance_px(const cyc_volume_sections *s, int32_t x, int32_t y, int32_t z)
{
	int32_t c = s->map->nx / 2;
	return sqrt(cyc_square(x - c - s->place_px.x) + cyc_square(y - c - s->place_px.y) +
	            cyc_square(z - c - s->place_px.z));
}

static double mask_at(const cyc_volume_sections *s, double r_px)
{
	return cyc_particle_mask(r_px, s->spec.radius_px);
}

static cyc_status level_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	masking *a = arg;
	int32_t n = a->s->map->nx;
	for (int32_t y = 0; y < n; y++)
		for (int32_t x = 0; x < n; x++) {
			double r = distance_px(a->s, x, y, (int32_t)z), w = mask_at(a->s, r);
			a->square[z] += w * w;
			/* The corners are beyond the circles that the particle's images were cropped to. */
			if (r > 0.5 * n) continue;
			a->sum[z] += (1 - w) *
			             (double)a->s->map->data[((size_t)z * (size_t)n + (size_t)y) * (size_t)n + (size_t)x];
			a->count[z] += 1 - w;
		}
	return CYC_OK;
}

static cyc_status mask_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const masking *a = arg;
	const cyc_volume_sections *s = a->s;
	int32_t n = s->map->nx;
	for (int32_t y = 0; y < n; y++)
		for (int32_t x = 0; x < n; x++) {
			float *v = &s->map->data[((size_t)z * (size_t)n + (size_t)y) * (size_t)n + (size_t)x];
			double w = mask_at(s, distance_px(s, x, y, (int32_t)z));
			if (a->is_spread) w /= s->lookup[x] * s->lookup[y] * s->lookup[z];
			*v = (float)(w * ((double)*v - a->level));
		}
	return CYC_OK;
}

/* The particle's sphere, the level around it taken off, and what spreading by trilinear weights made of it
 * undone. */
static cyc_status mask_data(cyc_volume_sections *s, bool is_spread)
{
	cyc_status st = CYC_OK;
	int32_t n = s->map->nx;
	int n_threads = cyc_backend_n_threads(s->be);
	masking a = { .s = s, .is_spread = is_spread };
	double sum = 0, count = 0;
	CYC_TRY(cyc_alloc(&a.sum, n, sizeof *a.sum));
	CYC_TRY(cyc_alloc(&a.count, n, sizeof *a.count));
	CYC_TRY(cyc_alloc(&a.square, n, sizeof *a.square));
	CYC_TRY(cyc_parallel_for(n, n_threads, level_task, &a));
	s->mask2 = 0;
	for (int32_t z = 0; z < n; z++) {
		sum += a.sum[z];
		count += a.count[z];
		s->mask2 += a.square[z] / pow(n, 3);
	}
	a.level = count > 0 ? sum / count : 0;
	CYC_TRY(cyc_parallel_for(n, n_threads, mask_task, &a));
done:
	cyc_free(a.sum);
	cyc_free(a.count);
	cyc_free(a.square);
	return st;
}

/* What of a ball of radius r is within one of radius R, their centres l apart. */
static double kept_of_ball(double r, double R, double l)
{
	if (l <= R - r) return 1;
	if (l >= R + r) return 0;
	double lens =
		CYC_PI * cyc_square(R + r - l) * (l * l + 2 * l * (r + R) - 3 * cyc_square(r - R)) / (12 * l);
	return lens / (4 * CYC_PI / 3 * pow(r, 3));
}

/* Oscillations of the weights belong to signal that lies off the particle, and is lost where the mask ends.
 */
static cyc_status smooth_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const smoothing *a = arg;
	cyc_volume_sections *s = a->s;
	int32_t n = s->map->nx, c = n / 2;
	double R = fmin(s->spec.radius_px + 0.5 * CYC_PARTICLE_EDGE_PX, 0.5 * n);
	for (int32_t y = 0; y < n; y++)
		for (int32_t x = 0; x < n; x++) {
			double l = sqrt(cyc_square(x - c) + cyc_square(y - c) + cyc_square((double)z - c)),
				   w = kept_of_ball(CYC_PARTICLE_SHARE * R, R, l);
			if (a->is_spread) w /= s->lookup[x] * s->lookup[y] * s->lookup[z];
			s->map->data[((size_t)z * (size_t)n + (size_t)y) * (size_t)n + (size_t)x] *= (float)w;
		}
	return CYC_OK;
}

/* The weights as a map: the mask mixes neighbouring coefficients, and so their weights. */
static cyc_status smooth_weight(cyc_volume_sections *s, bool is_spread)
{
	cyc_status st = CYC_OK;
	int32_t n = s->map->nx, sh = n / 2 + 1;
	for (int32_t z = 0; z < n; z++)
		for (int32_t y = 0; y < n; y++)
			for (int32_t x = 0; x < sh; x++) {
				size_t i = ((size_t)z * (size_t)n + (size_t)y) * (size_t)sh + (size_t)x;
				s->transform[i] = (x + y + z) % 2 ? -s->weight[i] : s->weight[i];
			}
	CYC_TRY(cyc_fft3_inverse(s->map->data, s->fft, s->transform));
	CYC_TRY(cyc_parallel_for(n, cyc_backend_n_threads(s->be), smooth_task,
	                         &(smoothing){ .s = s, .is_spread = is_spread }));
done:
	return st;
}

/* ---------------------------------------------------------------- noise */

/* Work of the noise: what lies around the particle, in the sphere that images are cropped to. */
typedef struct {
	const cyc_volume_sections *s;
	float *out;
	bool is_spread;
	double *sum, *square; /* per plane */
	double mean;          /* of what lies there */
	bool is_second;
} surroundings;

static double around(const cyc_volume_sections *s, int32_t x, int32_t y, int32_t z)
{
	int32_t n = s->map->nx, c = n / 2;
	double r = sqrt(cyc_square(x - c) + cyc_square(y - c) + cyc_square(z - c)),
		   edge = (r - 0.5 * n + CYC_PARTICLE_EDGE_PX) / CYC_PARTICLE_EDGE_PX;
	if (edge >= 1) return 0;
	double outer = edge <= 0 ? 1 : 0.5 + 0.5 * cos(CYC_PI * edge);
	return outer * (1 - mask_at(s, distance_px(s, x, y, z)));
}

static cyc_status around_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const surroundings *a = arg;
	const cyc_volume_sections *s = a->s;
	int32_t n = s->map->nx;
	for (int32_t y = 0; y < n; y++)
		for (int32_t x = 0; x < n; x++) {
			size_t i = ((size_t)z * (size_t)n + (size_t)y) * (size_t)n + (size_t)x;
			double w = around(s, x, y, (int32_t)z), v = (double)s->map->data[i];
			if (a->is_second) {
				if (a->is_spread) v /= s->lookup[x] * s->lookup[y] * s->lookup[z];
				a->out[i] = (float)(w * (v - a->mean));
				continue;
			}
			a->sum[2 * z] += w * v;
			a->sum[2 * z + 1] += w;
			a->square[z] += w * w;
		}
	return CYC_OK;
}

/* Power by shell over the share of the volume, and the weights there. */
static void add_shells(double *power, double *expected, const cyc_volume_sections *s, double unit)
{
	int32_t n = s->map->nx, sh = n / 2 + 1;
	for (int32_t z = 0; z < n; z++)
		for (int32_t y = 0; y < n; y++)
			for (int32_t x = 0; x < sh; x++) {
				int32_t kz = z < n / 2 ? z : z - n, ky = y < n / 2 ? y : y - n,
						shell = (int32_t)(sqrt((double)(x * x + ky * ky + kz * kz)) + 0.5);
				size_t i = ((size_t)z * (size_t)n + (size_t)y) * (size_t)sh + (size_t)x;
				double count = x == 0 ? 1 : 2, re = (double)crealf(s->transform[i]),
					   im = (double)cimagf(s->transform[i]);
				if (shell > n / 2) continue;
				power[shell] += count * unit * (re * re + im * im);
				expected[shell] += count * (double)s->weight[i];
			}
}

/* A particle in three dimensions is stronger than its noise, so that the noise is taken from around it.
 * (T8.28) */
static cyc_status add_noise(double *power, double *expected, cyc_volume_sections *s, bool is_spread)
{
	cyc_status st = CYC_OK;
	int32_t n = s->map->nx;
	int n_threads = cyc_backend_n_threads(s->be);
	surroundings a = { .s = s, .is_spread = is_spread };
	double sum = 0, count = 0, square = 0;
	CYC_TRY(cyc_alloc(&a.out, (size_t)n * (size_t)n * (size_t)n, sizeof *a.out));
	CYC_TRY(cyc_alloc(&a.sum, 2 * (size_t)n, sizeof *a.sum));
	CYC_TRY(cyc_alloc(&a.square, n, sizeof *a.square));
	CYC_TRY(cyc_parallel_for(n, n_threads, around_task, &a));
	for (int32_t z = 0; z < n; z++) {
		sum += a.sum[2 * z];
		count += a.sum[2 * z + 1];
		square += a.square[z] / pow(n, 3);
	}
	if (square < LEAST_AROUND) goto done;
	a.mean = sum / count;
	a.is_second = true;
	CYC_TRY(cyc_parallel_for(n, n_threads, around_task, &a));
	CYC_TRY(cyc_fft3_forward(s->transform, s->fft, a.out));
	add_shells(power, expected, s, pow(n, -3) / s->spec.stacks->binning / square);
done:
	cyc_free(a.out);
	cyc_free(a.sum);
	cyc_free(a.square);
	return st;
}

cyc_status cyc_volume_sections_load(cyc_volume_sections *s, double *power, double *expected, int64_t i)
{
	cyc_status st = CYC_OK;
	const cyc_stacks *stacks = s->spec.stacks;
	const cyc_particle *p = &stacks->particles->particles[i];
	bool is_premultiplied = stacks->is_premultiplied[p->i_optics];
	double a = stacks->pixel_size_A, b = stacks->binning;
	cyc_vec3 o = stacks->origins_A[i];
	s->i_particle = i;
	/* The offset moves data towards the reference: the particle itself lies the other way. */
	s->place_px = (cyc_vec3){ -o.x / a, -o.y / a, -o.z / a };
	CYC_TRY(cyc_stacks_read_volume(s->map->data, s->weight, NULL, stacks, i));
	CYC_TRY(check_data(s, stacks->data_files[i]));
	CYC_TRY(check_weight(s, stacks->weight_files[i]));
	if (!is_premultiplied) CYC_TRY(multiply_by_ctf(s));
	if (power) CYC_TRY(add_noise(power, expected, s, is_premultiplied));
	CYC_TRY(mask_data(s, is_premultiplied));
	/* Unitary; volumes have sqrt(b) times the grey scale of stacks (T7.2), (T7.4). */
	CYC_TRY(cyc_reference_transform(s->grid[0], s->be, s->map, s->m, pow(s->map->nx, -1.5) / sqrt(b),
	                                &s->scratch));
	CYC_TRY(smooth_weight(s, is_premultiplied));
	CYC_TRY(cyc_reference_transform(s->grid[1], s->be, s->map, s->m, 1, &s->scratch));
done:
	if (st != CYC_OK) cyc_error_context("particle '%s'", p->name);
	return st;
}

/* ---------------------------------------------------------------- sections */

typedef struct {
	const cyc_volume_sections *s;
	const cyc_cfloat *from[2];
	cyc_cfloat *data;
	float *weight;
	int32_t first;
} filling;

/* The coefficient in the same direction that is `share` as far out. */
static size_t rim_place(int32_t kx, int32_t ky, double share, int32_t s)
{
	int32_t x = (int32_t)(kx * share), y = (int32_t)(ky * share);
	return (size_t)(y < 0 ? y + s : y) * (size_t)(s / 2 + 1) + (size_t)x;
}

/* Data around the particle, unitary in the plane of s. */
static cyc_status fill_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const filling *a = arg;
	int32_t s = a->s->spec.box_px, sh = s / 2 + 1, N = a->s->map->nx;
	int32_t reach = (int32_t)((N / 2 - 1) * (double)s / N);
	double step = CYC_PI / a->s->n, scale = (double)N / s;
	cyc_vec3 d = cyc_mat3_apply(cyc_volume_section_axes(a->first + (int32_t)i, a->s->n), a->s->place_px);
	for (int32_t y = 0; y < s; y++)
		for (int32_t x = 0; x < sh; x++) {
			size_t plane = (size_t)i * (size_t)s * (size_t)sh,
				   at = plane + (size_t)y * (size_t)sh + (size_t)x;
			int32_t ky = y < s / 2 ? y : y - s;
			double k = hypot(x, ky), phase = 2 * CYC_PI * (x * d.x + ky * d.y) / s,
				   area = step * (x > 0 ? (double)x : 1.0 / 6); /* |x| integrated around 0 */
			bool is_known = k <= reach;
			float w = is_known ? crealf(a->from[1][at])
			          : a->s->spec.extends_weights
			              ? crealf(a->from[1][plane + rim_place(x, ky, reach / k, s)])
			              : 0;
			w = fmaxf(w, 0);
			a->weight[at] = (float)area * w;
			a->data[at] = !is_known || !(w > 0) ? 0
			                                    : (float)(area * scale) * a->from[0][at] *
			                                          ((float)cos(phase) + (float)sin(phase) * I);
		}
	return CYC_OK;
}

cyc_status cyc_volume_sections_fill(cyc_cfloat *data, float *weight, cyc_volume_sections *s, int32_t first,
                                    int32_t count)
{
	cyc_status st = CYC_OK;
	filling a = { .s = s, .data = data, .weight = weight, .first = first };
	CYC_ASSERT(count <= CYC_SECTIONS_AT_ONCE && first + count <= s->n);
	for (int32_t i = 0; i < count; i++) s->axes[i] = cyc_volume_section_axes(first + i, s->n);
	for (int i = 0; i < 2; i++)
		CYC_TRY(cyc_op_slice_extract(s->ft[i], s->be,
		                             &(cyc_slice_extract_in){ .reference = s->grid[i],
		                                                      .m = s->m,
		                                                      .M = s->axes,
		                                                      .radius = s->spec.box_px / 2 - 1,
		                                                      .n = count,
		                                                      .s = s->spec.box_px }));
	for (int i = 0; i < 2; i++) CYC_TRY(cyc_buffer_map(&a.from[i], s->ft[i]));
	CYC_TRY(cyc_parallel_for(count, cyc_backend_n_threads(s->be), fill_task, &a));
	for (int i = 0; i < 2; i++) CYC_TRY(cyc_buffer_unmap(s->ft[i]));
done:
	return st;
}
