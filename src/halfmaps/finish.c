/* From sums to maps: docs/theory/02-reconstruct.md, (T2.4) to (T2.6). */
#include "halfmaps/sums.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double GRIDDING_FLOOR = 0.01, WEIGHT_FLOOR = 0.001;

typedef struct {
	int32_t s, top;
	const cyc_half_sum *sum1, *sum2; /* sum2 may be NULL */
	cyc_cfloat *ft;
	float *real;
	const cyc_finish_spec *spec;
	double *radial_weight; /* per plane, then summed: s x (s/2 + 1) x 2 */
	const double *mean_weight;
	float *gridding;
} work;

/* Row (z, y) of the sums, and how many of its voxels lie in them: none beyond the sphere. */
typedef struct {
	const float *v1, *v2;
	int32_t n;
} sum_row;

static sum_row row_of(const work *a, int32_t kz, int32_t ky)
{
	const cyc_ball *ball = a->sum1->ball;
	int64_t left = (int64_t)a->sum1->radius * a->sum1->radius - (int64_t)kz * kz - (int64_t)ky * ky;
	if (left < 0 || abs(kz) > a->top || abs(ky) > a->top) return (sum_row){ NULL, NULL, 0 };
	size_t at = 4 * ball->first[cyc_ball_row(ball, kz, ky)];
	return (sum_row){ a->sum1->value + at, a->sum2 ? a->sum2->value + at : NULL,
		              (int32_t)sqrt((double)left) + 1 };
}

static float value_of(const sum_row *r, int32_t x, int component)
{
	if (x >= r->n) return 0;
	return r->v1[4 * x + component] + (r->v2 ? r->v2[4 * x + component] : 0);
}

/* Sum of the data, with the checkerboard that puts the centre of the map at voxel s/2. */
static cyc_status data_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const work *a = arg;
	int32_t s = a->s, sh = s / 2 + 1, kz = z < s / 2 ? (int32_t)z : (int32_t)z - s;
	for (int32_t y = 0; y < s; y++) {
		const sum_row r = row_of(a, kz, y < s / 2 ? y : y - s);
		cyc_cfloat *to = a->ft + ((size_t)z * (size_t)s + (size_t)y) * (size_t)sh;
		for (int32_t x = 0; x < sh; x++) {
			float sign = (x + y + (int32_t)z) % 2 ? -1.F : 1.F;
			to[x] = sign * value_of(&r, x, 0) + sign * value_of(&r, x, 1) * I;
		}
	}
	return CYC_OK;
}

/* Bilinear look-up in the slice and the triangle across it are convolutions: their transform is divided out.
 */
static cyc_status gridding_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const work *a = arg;
	int32_t s = a->s, dz = (int32_t)z - s / 2;
	for (int32_t y = 0; y < s; y++) {
		float *row = a->real + ((size_t)z * (size_t)s + (size_t)y) * (size_t)s;
		int32_t dy = y - s / 2;
		for (int32_t x = 0; x < s; x++) row[x] *= a->gridding[(x - s / 2) * (x - s / 2) + dy * dy + dz * dz];
	}
	return CYC_OK;
}

/* The correction by squared radius, a whole number; with it goes the scale of the transforms. */
static cyc_status gridding_table(float **out, int32_t s, double grey_scale)
{
	cyc_status st = CYC_OK;
	int32_t n = 3 * (s / 2) * (s / 2) + 1;
	/* The transforms here are forward 1, inverse 1/s^3; RELION's scale is forward and inverse s^-3/2 each. */
	double scale = grey_scale * pow((double)s, 1.5);
	CYC_TRY(cyc_alloc(out, n, sizeof **out));
	for (int32_t i = 0; i < n; i++) {
		double k = cyc_square(cyc_sinc(sqrt((double)i) / s));
		(*out)[i] = (float)(scale / (k < GRIDDING_FLOOR ? GRIDDING_FLOOR : k));
	}
done:
	return st;
}

static cyc_status radial_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const work *a = arg;
	int32_t s = a->s, sh = s / 2 + 1, kz = z < s / 2 ? (int32_t)z : (int32_t)z - s;
	double *sum = a->radial_weight + (size_t)z * (size_t)sh * 2, *count = sum + sh;
	for (int32_t y = 0; y < s; y++) {
		int32_t ky = y < s / 2 ? y : y - s;
		const sum_row row = row_of(a, kz, ky);
		for (int32_t x = 0; x < sh; x++) {
			double r = sqrt((double)(x * x + ky * ky + kz * kz)), w = (double)value_of(&row, x, 2);
			int32_t i = (int32_t)r;
			if (i >= sh) continue;
			double f = r - i;
			sum[i] += (1 - f) * w;
			count[i] += 1 - f;
			if (i + 1 >= sh) continue;
			sum[i + 1] += f * w;
			count[i + 1] += f;
		}
	}
	return CYC_OK;
}

static cyc_status divide_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const work *a = arg;
	int32_t s = a->s, sh = s / 2 + 1, kz = z < s / 2 ? (int32_t)z : (int32_t)z - s;
	for (int32_t y = 0; y < s; y++) {
		int32_t ky = y < s / 2 ? y : y - s;
		const sum_row row = row_of(a, kz, ky);
		for (int32_t x = 0; x < sh; x++) {
			size_t i = ((size_t)z * (size_t)s + (size_t)y) * (size_t)sh + (size_t)x;
			double w = (double)value_of(&row, x, 2);
			if (a->spec->snr > 0) {
				a->ft[i] *= (float)(1 / (w + 1 / a->spec->snr));
				continue;
			}
			double r = sqrt((double)(x * x + ky * ky + kz * kz));
			int32_t shell = (int32_t)r;
			if (shell + 1 > s / 2) {
				a->ft[i] = 0;
				continue;
			}
			double f = r - shell,
				   floor_ = WEIGHT_FLOOR * ((1 - f) * a->mean_weight[shell] + f * a->mean_weight[shell + 1]);
			if (w < floor_) w = floor_;
			if (w > 0) a->ft[i] *= (float)(1 / w);
		}
	}
	return CYC_OK;
}

static cyc_status mean_weights(double *mean, work *a, int n_threads)
{
	cyc_status st = CYC_OK;
	int32_t sh = a->s / 2 + 1;
	CYC_TRY(cyc_alloc(&a->radial_weight, (size_t)a->s * (size_t)sh * 2, sizeof *a->radial_weight));
	CYC_TRY(cyc_parallel_for(a->s, n_threads, radial_task, a));
	for (int32_t i = 0; i < sh; i++) {
		double sum = 0, count = 0;
		for (int32_t z = 0; z < a->s; z++) {
			sum += a->radial_weight[(size_t)z * (size_t)sh * 2 + (size_t)i];
			count += a->radial_weight[(size_t)z * (size_t)sh * 2 + (size_t)sh + (size_t)i];
		}
		mean[i] = count > 0 ? sum / count : 0;
	}
done:
	cyc_free(a->radial_weight);
	a->radial_weight = NULL;
	return st;
}

/* The weights as a full centred volume, zero frequency at voxel s/2. */
static cyc_status weight_volume(cyc_volume **out, const work *a)
{
	cyc_status st = CYC_OK;
	int32_t s = a->s;
	CYC_TRY(cyc_volume_create(out, s, s, s, 1 / a->spec->pixel_size_A));
	for (int32_t kz = -s / 2; kz < s / 2; kz++)
		for (int32_t ky = -s / 2; ky < s / 2; ky++) {
			const sum_row row = row_of(a, kz, ky), mate = row_of(a, -kz, -ky);
			float *to = (*out)->data + ((size_t)(kz + s / 2) * (size_t)s + (size_t)(ky + s / 2)) * (size_t)s;
			for (int32_t kx = -s / 2; kx < s / 2; kx++)
				to[kx + s / 2] = kx < 0 ? value_of(&mate, -kx, 2) : value_of(&row, kx, 2);
		}
done:
	return st;
}

cyc_status cyc_finish_map(cyc_volume **full, cyc_volume **data, cyc_volume **weight, cyc_backend *be,
                          const cyc_half_sum *sum1, const cyc_half_sum *sum2, const cyc_finish_spec *spec)
{
	cyc_status st = CYC_OK;
	int32_t s = sum1->box_px;
	int n_threads = cyc_backend_n_threads(be);
	size_t half = cyc_half_count3(s);
	work a = { .s = s, .top = cyc_half_sum_top(sum1), .sum1 = sum1, .sum2 = sum2, .spec = spec };
	cyc_buffer *ft = NULL, *real = NULL;
	cyc_volume *v = NULL;
	double *mean = NULL;
	*full = NULL;
	CYC_TRY(cyc_alloc(&mean, (size_t)s / 2 + 2, sizeof *mean));
	CYC_TRY(mean_weights(mean, &a, n_threads));
	a.mean_weight = mean;
	CYC_TRY(cyc_buffer_create(&ft, be, half, sizeof(cyc_cfloat)));
	CYC_TRY(cyc_buffer_map(&a.ft, ft));
	CYC_TRY(cyc_parallel_for(s, n_threads, data_task, &a));
	CYC_TRY(cyc_buffer_unmap(ft));
	CYC_TRY(cyc_buffer_create(&real, be, (size_t)s * (size_t)s * (size_t)s, sizeof(float)));
	CYC_TRY(cyc_op_fft3_inverse(real, be, ft, s));
	CYC_TRY(gridding_table(&a.gridding, s, spec->grey_scale));
	CYC_TRY(cyc_buffer_map(&a.real, real));
	CYC_TRY(cyc_parallel_for(s, n_threads, gridding_task, &a));
	if (data) {
		CYC_TRY(cyc_volume_create(data, s, s, s, spec->pixel_size_A));
		CYC_TRY(cyc_copy((*data)->data, a.real, cyc_volume_count(*data) * sizeof(float), n_threads));
	}
	CYC_TRY(cyc_buffer_unmap(real));
	CYC_TRY(cyc_op_fft3_forward(ft, be, real, s));
	CYC_TRY(cyc_buffer_map(&a.ft, ft));
	CYC_TRY(cyc_parallel_for(s, n_threads, divide_task, &a));
	CYC_TRY(cyc_buffer_unmap(ft));
	CYC_TRY(cyc_op_fft3_inverse(real, be, ft, s));
	cyc_buffer_destroy(&ft);
	CYC_TRY(cyc_volume_create(&v, s, s, s, spec->pixel_size_A));
	CYC_TRY(cyc_buffer_download(v->data, real, cyc_volume_count(v) * sizeof(float)));
	if (weight) CYC_TRY(weight_volume(weight, &a));
	*full = v;
	v = NULL;
done:
	cyc_free(mean);
	cyc_free(a.gridding);
	cyc_buffer_destroy(&ft);
	cyc_buffer_destroy(&real);
	cyc_volume_destroy(&v);
	return st;
}

double cyc_taper_weight(double r_px, double R_px, double taper_px)
{
	if (r_px >= R_px) return 0;
	return r_px < R_px - taper_px ? 1 : 0.5 - 0.5 * cos(CYC_PI * (R_px - r_px) / taper_px);
}

typedef struct {
	cyc_volume *v;
	double taper_px;
	double *sum, *weight; /* per plane */
	float mean;
	bool is_measuring;
} tapering;

static cyc_status taper_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const tapering *t = arg;
	int32_t n = t->v->nx;
	double R = n / 2.0, sum = 0, weight = 0, dz2 = cyc_square((double)z - n / 2);
	float *value = t->v->data + (size_t)z * (size_t)n * (size_t)n;
	for (int32_t y = 0; y < n; y++)
		for (int32_t x = 0; x < n; x++, value++) {
			double r = sqrt(cyc_square(x - n / 2) + cyc_square(y - n / 2) + dz2),
				   g = cyc_taper_weight(r, R, t->taper_px);
			sum += g * (double)*value;
			weight += g;
			if (!t->is_measuring) *value = (float)g * (*value - t->mean);
		}
	if (t->is_measuring) {
		t->sum[z] = sum;
		t->weight[z] = weight;
	}
	return CYC_OK;
}

cyc_status cyc_taper_map(cyc_volume *v, double taper_px, int n_threads)
{
	cyc_status st = CYC_OK;
	int32_t n = v->nx;
	double sum = 0, weight = 0;
	tapering t = { .v = v, .taper_px = taper_px, .is_measuring = true };
	CYC_TRY(cyc_alloc(&t.sum, 2 * (size_t)n, sizeof *t.sum));
	t.weight = t.sum + n;
	CYC_TRY(cyc_parallel_for(n, n_threads, taper_task, &t));
	for (int32_t z = 0; z < n; z++) {
		sum += t.sum[z];
		weight += t.weight[z];
	}
	t.mean = weight > 0 ? (float)(sum / weight) : 0;
	t.is_measuring = false;
	CYC_TRY(cyc_parallel_for(n, n_threads, taper_task, &t));
done:
	cyc_free(t.sum);
	return st;
}
