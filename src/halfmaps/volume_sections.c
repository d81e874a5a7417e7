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
static const double FEW = 0.1;       /* of the mean multiplicity of a shell */
static const double LEAST_FEW = 20;  /* coefficients, to tell sums from means */

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
	float *weight, *multiplicity; /* half volumes */
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
	cyc_free(s->multiplicity);
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
	return 2.0 * (double)cyc_reference_count(m) * sizeof(cyc_cfloat) +
	       cyc_fft3_padded_bytes(N, m, m, n_threads) + cyc_fft3_bytes(N, n_threads) + cyc_map_bytes(N) +
	       2 * cyc_transform_bytes(N) +
	       2.0 * CYC_SECTIONS_AT_ONCE * (double)cyc_half_count2(s) * sizeof(cyc_cfloat) +
	       (double)N * (N + 2) * sizeof(double);
}

double cyc_volume_sections_device_bytes(int32_t N, int32_t s)
{
	return 2.0 * sizeof(cyc_cfloat) *
	       ((double)cyc_reference_count(cyc_reference_grid(N, s)) +
	        CYC_SECTIONS_AT_ONCE * (double)cyc_half_count2(s));
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
	CYC_TRY(cyc_alloc(&s->multiplicity, cyc_half_count3(N), sizeof *s->multiplicity));
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

/* What a plane of values has, so that all of them are looked at by all threads. */
typedef struct {
	const float *values;
	size_t n; /* of a plane */
	float *least, *most;
	bool *is_finite;
} looking;

static cyc_status look_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const looking *a = arg;
	const float *v = a->values + (size_t)z * a->n;
	a->is_finite[z] = true;
	for (size_t i = 0; i < a->n; i++) {
		if (!isfinite(v[i])) a->is_finite[z] = false;
		if (v[i] < a->least[z]) a->least[z] = v[i];
		if (v[i] > a->most[z]) a->most[z] = v[i];
	}
	return CYC_OK;
}

/* The least and the largest of n_planes x n values, 0 being among them. */
static cyc_status find_range(float range[2], bool *are_finite, const float *values, int32_t n_planes,
                             size_t n, int n_threads)
{
	cyc_status st = CYC_OK;
	looking a = { .values = values, .n = n };
	CYC_TRY(cyc_alloc(&a.least, n_planes, sizeof *a.least));
	CYC_TRY(cyc_alloc(&a.most, n_planes, sizeof *a.most));
	CYC_TRY(cyc_alloc(&a.is_finite, n_planes, sizeof *a.is_finite));
	CYC_TRY(cyc_parallel_for(n_planes, n_threads, look_task, &a));
	range[0] = range[1] = 0;
	*are_finite = true;
	for (int32_t z = 0; z < n_planes; z++) {
		range[0] = fminf(range[0], a.least[z]);
		range[1] = fmaxf(range[1], a.most[z]);
		*are_finite = *are_finite && a.is_finite[z];
	}
done:
	cyc_free(a.least);
	cyc_free(a.most);
	cyc_free(a.is_finite);
	return st;
}

static cyc_status check_weight(const cyc_volume_sections *s, const char *file, bool is_premultiplied)
{
	cyc_status st = CYC_OK;
	int32_t N = s->spec.stacks->box_px;
	float range[2];
	bool are_finite;
	CYC_TRY(find_range(range, &are_finite, s->weight, N, cyc_half_count2(N), cyc_backend_n_threads(s->be)));
	CYC_CHECK(are_finite, CYC_E_DATA, "'%s' has weights that are not numbers", file);
	CYC_CHECK(range[1] > 0, CYC_E_DATA,
	          "'%s': the weights are zero everywhere, so that the volume says nothing", file);
	CYC_CHECK(
		!is_premultiplied || (double)range[0] >= -NEGATIVE * (double)range[1], CYC_E_DATA,
		"'%s' has a weight of %g; the squared CTF of volumes that are multiplied by it (%s is 1) is never "
		"negative",
		file, (double)range[0], CYC_RLN_CTF_DATA_ARE_CTF_PREMULTIPLIED);
done:
	return st;
}

static cyc_status check_data(const cyc_volume_sections *s, const char *file)
{
	cyc_status st = CYC_OK;
	int32_t N = s->map->nx;
	float range[2];
	bool are_finite;
	CYC_TRY(
		find_range(range, &are_finite, s->map->data, N, (size_t)N * (size_t)N, cyc_backend_n_threads(s->be)));
	CYC_CHECK(are_finite, CYC_E_DATA, "'%s' has values that are not numbers (NaN or infinite)", file);
	CYC_CHECK(range[0] < 0 || range[1] > 0, CYC_E_DATA, "'%s': the volume is zero everywhere", file);
	double shift_px = hypot(hypot(s->place_px.x, s->place_px.y), s->place_px.z);
	if (!(shift_px <= LARGEST_OFFSET * N)) {
		st = cyc_error_raise(
			CYC_E_DATA, __FILE__, __LINE__, __func__,
			"'%s': its offsets (rlnOrigin...) shift the particle by %.1f px, out of its volume of "
			"%d px",
			file, shift_px, N);
		cyc_error_hint("extract again: 'cyclotomo extract' cuts at the refined positions");
	}
done:
	return st;
}

/* Data times a factor, and the weight times it once more. */
typedef struct {
	cyc_volume_sections *s;
	const float *factor;
} multiplying;

static cyc_status multiply_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const multiplying *a = arg;
	size_t n = cyc_half_count2(a->s->map->nx);
	for (size_t i = (size_t)z * n; i < (size_t)(z + 1) * n; i++) {
		float factor = a->factor[i];
		a->s->transform[i] *= factor;
		a->s->weight[i] *= factor;
	}
	return CYC_OK;
}

static cyc_status multiply(cyc_volume_sections *s, const float *factor)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_fft3_forward(s->transform, s->fft, s->map->data));
	CYC_TRY(cyc_parallel_for(s->map->nx, cyc_backend_n_threads(s->be), multiply_task,
	                         &(multiplying){ .s = s, .factor = factor }));
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

static cyc_status centre_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	cyc_volume_sections *s = arg;
	int32_t n = s->map->nx, sh = n / 2 + 1;
	for (int32_t y = 0; y < n; y++)
		for (int32_t x = 0; x < sh; x++) {
			size_t i = ((size_t)z * (size_t)n + (size_t)y) * (size_t)sh + (size_t)x;
			s->transform[i] = (x + y + z) % 2 ? -s->weight[i] : s->weight[i];
		}
	return CYC_OK;
}

/* The weights as a map: the mask mixes neighbouring coefficients, and so their weights. */
static cyc_status smooth_weight(cyc_volume_sections *s, bool is_spread)
{
	cyc_status st = CYC_OK;
	int n_threads = cyc_backend_n_threads(s->be);
	CYC_TRY(cyc_parallel_for(s->map->nx, n_threads, centre_task, s));
	CYC_TRY(cyc_fft3_inverse(s->map->data, s->fft, s->transform));
	CYC_TRY(
		cyc_parallel_for(s->map->nx, n_threads, smooth_task, &(smoothing){ .s = s, .is_spread = is_spread }));
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

/* The shell of a coefficient, N/2 + 1 or more beyond the last one. */
static int32_t shell_of(int32_t n, int32_t x, int32_t y, int32_t z)
{
	int32_t kz = z < n / 2 ? z : z - n, ky = y < n / 2 ? y : y - n;
	return (int32_t)(sqrt((double)(x * x + ky * ky + kz * kz)) + 0.5);
}

typedef struct {
	const cyc_volume_sections *s;
	double unit;
	double *sums; /* per plane: power and weights of N/2 + 1 shells each */
} shell_sums;

static cyc_status shell_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const shell_sums *a = arg;
	const cyc_volume_sections *s = a->s;
	int32_t n = s->map->nx, sh = n / 2 + 1;
	double *power = a->sums + (size_t)z * 2 * (size_t)sh, *expected = power + sh;
	for (int32_t y = 0; y < n; y++)
		for (int32_t x = 0; x < sh; x++) {
			int32_t shell = shell_of(n, x, y, (int32_t)z);
			size_t i = ((size_t)z * (size_t)n + (size_t)y) * (size_t)sh + (size_t)x;
			double count = x == 0 ? 1 : 2, re = (double)crealf(s->transform[i]),
				   im = (double)cimagf(s->transform[i]);
			if (shell > n / 2) continue;
			power[shell] += count * a->unit * (re * re + im * im);
			expected[shell] += count * (double)s->weight[i];
		}
	return CYC_OK;
}

/* Power by shell over the share of the volume, and the weights there; added plane by plane, whatever the
 * number of threads. */
static cyc_status add_shells(double *power, double *expected, const cyc_volume_sections *s, double unit)
{
	cyc_status st = CYC_OK;
	int32_t n = s->map->nx, sh = n / 2 + 1;
	shell_sums a = { .s = s, .unit = unit };
	CYC_TRY(cyc_alloc(&a.sums, (size_t)n * 2 * (size_t)sh, sizeof *a.sums));
	CYC_TRY(cyc_parallel_for(n, cyc_backend_n_threads(s->be), shell_task, &a));
	for (int32_t z = 0; z < n; z++)
		for (int32_t r = 0; r < sh; r++) {
			power[r] += a.sums[(size_t)z * 2 * (size_t)sh + (size_t)r];
			expected[r] += a.sums[((size_t)z * 2 + 1) * (size_t)sh + (size_t)r];
		}
done:
	cyc_free(a.sums);
	return st;
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
	CYC_TRY(add_shells(power, expected, s, pow(n, -3) / s->spec.stacks->binning / square));
done:
	cyc_free(a.out);
	cyc_free(a.sum);
	cyc_free(a.square);
	return st;
}

/* ---------------------------------------------------------------- multiplicity */

/* The outer shells of a volume, each divided into coefficients that few spread images reached and others. */
typedef struct {
	const cyc_volume_sections *s;
	const double *mean; /* multiplicity by shell; NULL: sums for it */
	double *sums;       /* per plane */
} division;
enum { FEW_WEIGHT, FEW_MULTIPLICITY, FEW_COUNT, MANY_WEIGHT, MANY_MULTIPLICITY, MANY_COUNT, N_DIVISION };

static cyc_status division_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const division *a = arg;
	const cyc_volume_sections *s = a->s;
	int32_t n = s->map->nx, sh = n / 2 + 1;
	double *sums = a->sums + (size_t)z * (a->mean ? N_DIVISION : 2 * (size_t)sh);
	for (int32_t y = 0; y < n; y++)
		for (int32_t x = 0; x < sh; x++) {
			size_t i = ((size_t)z * (size_t)n + (size_t)y) * (size_t)sh + (size_t)x;
			int32_t shell = shell_of(n, x, y, (int32_t)z);
			double multiplicity = (double)s->multiplicity[i];
			if (shell < n / 4 || shell > n / 2 || !(multiplicity > 0)) continue;
			if (a->mean) {
				double *to = sums + (multiplicity < FEW * a->mean[shell] ? FEW_WEIGHT : MANY_WEIGHT);
				to[0] += (double)s->weight[i];
				to[1] += multiplicity;
				to[2] += 1;
			} else {
				sums[shell] += multiplicity;
				sums[sh + shell] += 1;
			}
		}
	return CYC_OK;
}

/* Weights of a sum grow with the number of images that were spread there; those of a mean, which is what
 * RELION calls normalised, do not. */
static bool is_mean(const double sums[N_DIVISION])
{
	if (sums[FEW_COUNT] < LEAST_FEW || sums[MANY_COUNT] < LEAST_FEW || !(sums[MANY_WEIGHT] > 0)) return false;
	double of_means = sums[FEW_COUNT] / sums[MANY_COUNT],
		   of_sums = sums[FEW_MULTIPLICITY] / sums[MANY_MULTIPLICITY];
	return sums[FEW_WEIGHT] / sums[MANY_WEIGHT] > sqrt(of_means * of_sums);
}

/* A volume that was divided by its multiplicity is a sum again, as its weights are. */
static cyc_status undo_division(cyc_volume_sections *s)
{
	cyc_status st = CYC_OK;
	int32_t n = s->map->nx;
	size_t sh = (size_t)n / 2 + 1;
	int n_threads = cyc_backend_n_threads(s->be);
	division a = { .s = s };
	double *mean = NULL, sums[N_DIVISION] = { 0 };
	CYC_TRY(cyc_alloc(&mean, 2 * sh, sizeof *mean));
	CYC_TRY(cyc_alloc(&a.sums, (size_t)n * 2 * sh, sizeof *a.sums));
	CYC_TRY(cyc_parallel_for(n, n_threads, division_task, &a));
	for (size_t i = 0; i < (size_t)n * 2 * sh; i++) mean[i % (2 * sh)] += a.sums[i];
	for (size_t r = 0; r < sh; r++) mean[r] = mean[sh + r] > 0 ? mean[r] / mean[sh + r] : 0;
	memset(a.sums, 0, (size_t)n * 2 * sh * sizeof *a.sums);
	a.mean = mean;
	CYC_TRY(cyc_parallel_for(n, n_threads, division_task, &a));
	for (size_t i = 0; i < (size_t)n * N_DIVISION; i++) sums[i % N_DIVISION] += a.sums[i];
	if (is_mean(sums)) CYC_TRY(multiply(s, s->multiplicity));
done:
	cyc_free(mean);
	cyc_free(a.sums);
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
	CYC_TRY(cyc_stacks_read_volume(s->map->data, s->weight, s->multiplicity, stacks, i));
	CYC_TRY(check_data(s, stacks->data_files[i]));
	CYC_TRY(check_weight(s, stacks->weight_files[i], is_premultiplied));
	/* A volume that was not multiplied by its CTF is, and the weight becomes the square of the CTF. */
	if (!is_premultiplied) CYC_TRY(multiply(s, s->weight));
	else if (stacks->has_multiplicity[i]) CYC_TRY(undo_division(s));
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
		                                                      .edge = s->m,
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
