#include "refine3d/pose_model.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

typedef float v4 __attribute__((vector_size(16)));

/* Terms of the curvature are summed in LANES columns, so that vector instructions add in a fixed order. */
enum { LANES = 16, BLOCK = 256 };

struct cyc_pose_work {
	const cyc_coefficients *list;
	cyc_pose_room room;
	int32_t n_padded;
	cyc_cfloat *slices;  /* room.n_slice */
	cyc_cfloat *shifted; /* room.n_shift */
	cyc_cfloat *ramp_x, *ramp_y;
	float *v;              /* 8 arrays of n_padded: value, three slopes, re and im each */
	float *y;              /* 2 arrays of n_padded: shifted data */
	float *weight, *share; /* n_padded: W and what multiplies the data, where predictions are uncertain */
};

void cyc_pose_work_destroy(cyc_pose_work **p)
{
	cyc_pose_work *w = *p;
	if (!w) return;
	cyc_free(w->slices);
	cyc_free(w->shifted);
	cyc_free(w->ramp_x);
	cyc_free(w->ramp_y);
	cyc_free(w->v);
	cyc_free(w->y);
	cyc_free(w->weight);
	cyc_free(w->share);
	cyc_free(w);
	*p = NULL;
}

cyc_status cyc_pose_work_create(cyc_pose_work **out, const cyc_coefficients *list, int32_t max_slices,
                                int32_t max_shifts)
{
	const cyc_pose_room room = { (size_t)max_slices * (size_t)list->n, (size_t)max_shifts * (size_t)list->n };
	return cyc_pose_work_create_room(out, list, &room);
}

static int32_t padded(const cyc_coefficients *list) { return (list->n + LANES - 1) / LANES * LANES; }

double cyc_pose_work_bytes(const cyc_coefficients *list, const cyc_pose_room *room)
{
	return (double)(room->n_slice + room->n_shift + 2 * (size_t)list->box_px) * sizeof(cyc_cfloat) +
	       12.0 * padded(list) * sizeof(float);
}

cyc_status cyc_pose_work_create_room(cyc_pose_work **out, const cyc_coefficients *list,
                                     const cyc_pose_room *room)
{
	cyc_status st = CYC_OK;
	cyc_pose_work *w = NULL;
	*out = NULL;
	CYC_ASSERT(room->n_slice >= (size_t)list->n && room->n_shift >= (size_t)list->n);
	CYC_TRY(cyc_alloc(&w, 1, sizeof *w));
	w->list = list;
	w->room = *room;
	w->n_padded = padded(list);
	CYC_TRY(cyc_alloc(&w->slices, room->n_slice, sizeof *w->slices));
	CYC_TRY(cyc_alloc(&w->shifted, room->n_shift, sizeof *w->shifted));
	CYC_TRY(cyc_alloc(&w->ramp_x, list->box_px, sizeof *w->ramp_x));
	CYC_TRY(cyc_alloc(&w->ramp_y, list->box_px, sizeof *w->ramp_y));
	CYC_TRY(cyc_alloc(&w->v, 8 * (size_t)w->n_padded, sizeof *w->v));
	CYC_TRY(cyc_alloc(&w->y, 2 * (size_t)w->n_padded, sizeof *w->y));
	CYC_TRY(cyc_alloc(&w->weight, w->n_padded, sizeof *w->weight));
	CYC_TRY(cyc_alloc(&w->share, w->n_padded, sizeof *w->share));
	*out = w;
	w = NULL;
done:
	cyc_pose_work_destroy(&w);
	return st;
}

/*
 * The first n weights of an image for this reference: the noise of an image is its own and that of its
 * prediction, 1/W + s^2 spread in units of the prediction. (T8.19)
 */
static void weigh(cyc_pose_work *w, const cyc_particle_image *image, const cyc_pose_reference *r, int32_t n)
{
	const int32_t *shell = w->list->shell;
	float s2 = (float)(r->amplitude * r->amplitude);
	for (int32_t j = 0; j < n; j++) {
		w->share[j] = r->spread ? 1 / (1 + s2 * image->weight[j] * r->spread[shell[j]]) : 1;
		w->weight[j] = w->share[j] * image->weight[j];
	}
}

/* ---------------------------------------------------------------- slices */

/* Two neighbours in x are one 16-byte load: {re0, im0, re1, im1}. */
static inline v4 pair(const cyc_cfloat *p)
{
	const float *f = (const float *)p;
	return (v4){ f[0], f[1], f[2], f[3] };
}

/* The cell around a point: its corner, its fractions, and -1 if the conjugate half is looked up. */
typedef struct {
	v4 a, b, c, d; /* (y0, z0), (y1, z0), (y0, z1), (y1, z1); neighbours in x each */
	float fx, fy, fz, mirror;
} cell;

static inline cell look_up(const cyc_cfloat *F, int32_t m, float x, float y, float z)
{
	cell q;
	q.mirror = x < 0 ? -1.F : 1.F;
	x *= q.mirror;
	y *= q.mirror;
	z *= q.mirror;
	float yf = floorf(y), zf = floorf(z);
	int32_t x0 = (int32_t)x, y0 = (int32_t)yf, z0 = (int32_t)zf, y1 = y0 + 1, z1 = z0 + 1;
	q.fx = x - (float)x0;
	q.fy = y - yf;
	q.fz = z - zf;
	if (y0 < 0) y0 += m;
	if (y1 < 0) y1 += m;
	if (z0 < 0) z0 += m;
	if (z1 < 0) z1 += m;
	size_t width = (size_t)(m / 2 + 2), slab = width * (size_t)m;
	const cyc_cfloat *p = F + (size_t)x0;
	q.a = pair(p + (size_t)z0 * slab + (size_t)y0 * width);
	q.b = pair(p + (size_t)z0 * slab + (size_t)y1 * width);
	q.c = pair(p + (size_t)z1 * slab + (size_t)y0 * width);
	q.d = pair(p + (size_t)z1 * slab + (size_t)y1 * width);
	return q;
}

/* Reference index of (1, 0) and (0, 1) of an image. */
typedef struct {
	float x[3], y[3];
} axes;

static axes axes_of(cyc_mat3 R_img_ref, const cyc_pose_reference *r)
{
	axes a;
	double zoom = (double)r->m / r->box_px;
	for (int k = 0; k < 3; k++) {
		a.x[k] = (float)(zoom * R_img_ref.m[0][k]);
		a.y[k] = (float)(zoom * R_img_ref.m[1][k]);
	}
	return a;
}

/* Central slice at the first n coefficients; returns sum W |V|^2. */
CYC_SIMD static double slice(cyc_cfloat *out, const cyc_coefficients *list, const cyc_pose_reference *r,
                             axes a, const float *weight, int32_t n)
{
	double sum = 0;
	for (int32_t first = 0; first < n; first += BLOCK) {
		int32_t end = first + BLOCK < n ? first + BLOCK : n;
		float part = 0;
		for (int32_t j = first; j < end; j++) {
			float kx = list->fx[j], ky = list->fy[j];
			cell q = look_up(r->grid, r->m, a.x[0] * kx + a.y[0] * ky, a.x[1] * kx + a.y[1] * ky,
			                 a.x[2] * kx + a.y[2] * ky);
			v4 low = q.a + q.fy * (q.b - q.a), high = q.c + q.fy * (q.d - q.c), v = low + q.fz * (high - low);
			float re = v[0] + q.fx * (v[2] - v[0]), im = q.mirror * (v[1] + q.fx * (v[3] - v[1]));
			((float *)out)[2 * j] = re;
			((float *)out)[2 * j + 1] = im;
			part += weight[j] * (re * re + im * im);
		}
		sum += (double)part;
	}
	return sum;
}

/* Value and slopes along the reference's axes (per index) as eight arrays. */
CYC_SIMD static void slice_and_slopes(float *v, size_t stride, const cyc_coefficients *list,
                                      const cyc_pose_reference *r, axes a, int32_t n)
{
	for (int32_t j = 0; j < n; j++) {
		float kx = list->fx[j], ky = list->fy[j];
		cell q = look_up(r->grid, r->m, a.x[0] * kx + a.y[0] * ky, a.x[1] * kx + a.y[1] * ky,
		                 a.x[2] * kx + a.y[2] * ky);
		v4 dy_low = q.b - q.a, dy_high = q.d - q.c, low = q.a + q.fy * dy_low, high = q.c + q.fy * dy_high;
		v4 dz = high - low, value = low + q.fz * dz, dy = dy_low + q.fz * (dy_high - dy_low);
		/* V(-k) = V(k)*: slopes of the mirrored half change sign, and so does the imaginary part once more.
		 */
		float m = q.mirror;
		v[(size_t)j] = value[0] + q.fx * (value[2] - value[0]);
		v[stride + (size_t)j] = m * (value[1] + q.fx * (value[3] - value[1]));
		v[2 * stride + (size_t)j] = m * (value[2] - value[0]);
		v[3 * stride + (size_t)j] = value[3] - value[1];
		v[4 * stride + (size_t)j] = m * (dy[0] + q.fx * (dy[2] - dy[0]));
		v[5 * stride + (size_t)j] = dy[1] + q.fx * (dy[3] - dy[1]);
		v[6 * stride + (size_t)j] = m * (dz[0] + q.fx * (dz[2] - dz[0]));
		v[7 * stride + (size_t)j] = dz[1] + q.fx * (dz[3] - dz[1]);
	}
}

/* ---------------------------------------------------------------- shifts */

static void displacement(double d[2], const cyc_particle_image *image, cyc_vec3 offset_A)
{
	cyc_vec3 x = cyc_mat3_apply(image->R_img_tomo, offset_A);
	d[0] = image->px_per_A * x.x;
	d[1] = image->px_per_A * x.y;
}

/* exp(2 pi i k d / s) for the frequencies of both axes; row s + ky for negative ky. */
static void ramps(cyc_pose_work *w, const double d[2])
{
	int32_t s = w->list->box_px;
	for (int32_t k = 0; k < s; k++) {
		double fx = 2 * CYC_PI * k * d[0] / s, fy = 2 * CYC_PI * (k < s / 2 ? k : k - s) * d[1] / s;
		w->ramp_x[k] = (float)cos(fx) + (float)sin(fx) * I;
		w->ramp_y[k] = (float)cos(fy) + (float)sin(fy) * I;
	}
}

CYC_SIMD static void shift(cyc_cfloat *out, const cyc_pose_work *w, const cyc_cfloat *data, int32_t n)
{
	const int16_t *kx = w->list->kx, *ky = w->list->ky;
	int32_t s = w->list->box_px;
	for (int32_t j = 0; j < n; j++)
		out[j] = data[j] * (w->ramp_x[kx[j]] * w->ramp_y[ky[j] < 0 ? ky[j] + s : ky[j]]);
}

static int32_t count_within(const cyc_particle_image *image, int32_t within)
{
	return image->n < within ? image->n : within;
}

void cyc_pose_scores(float *scores, cyc_pose_work *w, const cyc_pose_data *data, const cyc_pose_reference *r,
                     const cyc_pose_grid *grid, int32_t radius)
{
	int32_t n_o = grid->n_rotations, n_t = grid->n_offsets;
	int32_t within = cyc_coefficients_within(w->list, radius < r->radius ? radius : r->radius);
	float s2 = (float)(r->amplitude * r->amplitude);
	memset(scores, 0, (size_t)n_o * (size_t)n_t * sizeof *scores);
	for (int32_t f = 0; f < data->n_images; f++) {
		const cyc_particle_image *image = &data->images[f];
		int32_t n = count_within(image, within);
		if (n == 0 || (data->use && !data->use[f])) continue;
		CYC_ASSERT((size_t)n_o * (size_t)n <= w->room.n_slice && (size_t)n_t * (size_t)n <= w->room.n_shift);
		weigh(w, image, r, n);
		for (int32_t t = 0; t < n_t; t++) {
			double d[2];
			displacement(d, image, grid->offsets_A[t]);
			ramps(w, d);
			shift(w->shifted + (size_t)t * (size_t)n, w, image->data, n);
			for (int32_t k = 0; k < n && r->spread; k++)
				w->shifted[(size_t)t * (size_t)n + (size_t)k] *= w->share[k];
		}
		for (int32_t o = 0; o < n_o; o++) {
			double power =
				slice(w->slices + (size_t)o * (size_t)n, w->list, r,
			          axes_of(cyc_mat3_mul(image->R_img_tomo, grid->rotations[o]), r), w->weight, n);
			for (int32_t t = 0; t < n_t; t++)
				scores[(size_t)o * (size_t)n_t + (size_t)t] -= s2 * (float)power;
		}
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n_o, n_t, 2 * n, (float)(2 * r->amplitude),
		            (const float *)w->slices, 2 * n, (const float *)w->shifted, 2 * n, 1.F, scores, n_t);
	}
}

/* ---------------------------------------------------------------- derivatives */

enum { N_IMAGE = 5, N_PRODUCTS = N_IMAGE * (N_IMAGE + 1) / 2 }; /* three angles, two displacements */

/* Sums of one image, lane by lane. */
typedef struct {
	float cross[LANES], power[LANES];  /* Re[Y V*], W |V|^2 */
	float by[N_IMAGE][LANES];          /* Re[(Y - s W V) dV*] */
	float products[N_PRODUCTS][LANES]; /* W Re[dV dV*] */
} lane_sums;

/* One block of coefficients; dV of the angles is q x grad V, that of the displacements -2 pi i k/s V. Signs
 * come later. */
typedef struct {
	const float *v;
	size_t stride; /* between re, im and their slopes */
	const float *y_re, *y_im, *weight, *kx, *ky;
} block;

CYC_SIMD static void add_block(lane_sums *sum, const block *b, axes a, float s, float per_px)
{
	const float *v = b->v, *y_re = b->y_re, *y_im = b->y_im, *weight = b->weight, *kx = b->kx, *ky = b->ky;
	size_t stride = b->stride;
	float re[N_IMAGE][LANES], im[N_IMAGE][LANES], res_re[LANES], res_im[LANES];
	for (int l = 0; l < LANES; l++) {
		float q0 = a.x[0] * kx[l] + a.y[0] * ky[l], q1 = a.x[1] * kx[l] + a.y[1] * ky[l],
			  q2 = a.x[2] * kx[l] + a.y[2] * ky[l];
		const float *g = v + l;
		float v_re = g[0], v_im = g[stride];
		re[0][l] = q2 * g[4 * stride] - q1 * g[6 * stride];
		im[0][l] = q2 * g[5 * stride] - q1 * g[7 * stride];
		re[1][l] = q0 * g[6 * stride] - q2 * g[2 * stride];
		im[1][l] = q0 * g[7 * stride] - q2 * g[3 * stride];
		re[2][l] = q1 * g[2 * stride] - q0 * g[4 * stride];
		im[2][l] = q1 * g[3 * stride] - q0 * g[5 * stride];
		re[3][l] = per_px * kx[l] * v_im;
		im[3][l] = -per_px * kx[l] * v_re;
		re[4][l] = per_px * ky[l] * v_im;
		im[4][l] = -per_px * ky[l] * v_re;
		sum->cross[l] += y_re[l] * v_re + y_im[l] * v_im;
		sum->power[l] += weight[l] * (v_re * v_re + v_im * v_im);
		res_re[l] = y_re[l] - s * weight[l] * v_re;
		res_im[l] = y_im[l] - s * weight[l] * v_im;
	}
	for (int i = 0, p = 0; i < N_IMAGE; i++) {
		for (int l = 0; l < LANES; l++) sum->by[i][l] += res_re[l] * re[i][l] + res_im[l] * im[i][l];
		for (int j = 0; j <= i; j++, p++)
			for (int l = 0; l < LANES; l++)
				sum->products[p][l] += weight[l] * (re[i][l] * re[j][l] + im[i][l] * im[j][l]);
	}
}

static double total(const float *lanes)
{
	double sum = 0;
	for (int l = 0; l < LANES; l++) sum += (double)lanes[l];
	return sum;
}

/* Sums of one image in double. */
typedef struct {
	double cross, power, by[N_IMAGE], products[N_PRODUCTS];
} image_sums;

static void add_lanes(image_sums *to, const lane_sums *from)
{
	to->cross += total(from->cross);
	to->power += total(from->power);
	for (int i = 0; i < N_IMAGE; i++) to->by[i] += total(from->by[i]);
	for (int i = 0; i < N_PRODUCTS; i++) to->products[i] += total(from->products[i]);
}

/* The data of an image shifted, split into re and im, zero beyond n up to the next full block. */
static void load_shifted(cyc_pose_work *w, const cyc_particle_image *image, const cyc_pose_reference *r,
                         cyc_vec3 offset_A, int32_t n)
{
	double d[2];
	weigh(w, image, r, n);
	displacement(d, image, offset_A);
	ramps(w, d);
	shift(w->shifted, w, image->data, n);
	float *re = w->y, *im = w->y + w->n_padded;
	for (int32_t j = 0; j < n; j++) {
		re[j] = w->share[j] * crealf(w->shifted[j]);
		im[j] = w->share[j] * cimagf(w->shifted[j]);
	}
}

static void sum_image(image_sums *sum, cyc_pose_work *w, const cyc_pose_reference *r, axes a, int32_t n)
{
	const cyc_coefficients *list = w->list;
	size_t stride = (size_t)w->n_padded;
	float per_px = (float)(2 * CYC_PI / list->box_px);
	memset(sum, 0, sizeof *sum);
	slice_and_slopes(w->v, stride, list, r, a, n);
	for (int32_t first = 0; first < n; first += BLOCK) {
		lane_sums part;
		int32_t end = first + BLOCK < n ? first + BLOCK : n;
		memset(&part, 0, sizeof part);
		for (int32_t j = first; j + LANES <= end; j += LANES)
			add_block(&part,
			          &(block){ w->v + j, stride, w->y + j, w->y + stride + j, w->weight + j, list->fx + j,
			                    list->fy + j },
			          a, (float)r->amplitude, per_px);
		if (end % LANES) { /* the end of the list; blocks are whole numbers of lanes */
			float weight[LANES] = { 0 }, y[2 * LANES] = { 0 };
			int32_t from = end / LANES * LANES;
			for (int32_t j = from; j < end; j++) {
				weight[j - from] = w->weight[j];
				y[j - from] = w->y[j];
				y[LANES + j - from] = w->y[w->n_padded + j];
			}
			add_block(&part,
			          &(block){ w->v + from, stride, y, y + LANES, weight, list->fx + from, list->fy + from },
			          a, (float)r->amplitude, per_px);
		}
		add_lanes(sum, &part);
	}
}

static void keep_terms(cyc_image_terms *t, const cyc_particle_image *image, const image_sums *sum, double s)
{
	t->i_tilt = image->i_tilt;
	t->is_used = true;
	for (int i = 0; i < N_IMAGE; i++) t->gradient[i] = (float)(2 * s * sum->by[i]);
	for (int i = 0; i < N_PRODUCTS; i++) t->curvature[i] = (float)(2 * s * s * sum->products[i]);
	for (int i = 0; i < 2; i++)
		for (int k = 0; k < 3; k++) t->axes[i][k] = (float)(image->px_per_A * image->R_img_tomo.m[i][k]);
}

void cyc_pose_evaluate(cyc_pose_derivatives *out, cyc_image_terms *terms, cyc_pose_work *w,
                       const cyc_pose_data *data, const cyc_pose_reference *r, const cyc_pose *pose,
                       int32_t radius)
{
	int32_t within = cyc_coefficients_within(w->list, radius < r->radius ? radius : r->radius), n_terms = 0;
	double s = r->amplitude;
	memset(out, 0, sizeof *out);
	for (int32_t f = 0; f < data->n_images; f++) {
		const cyc_particle_image *image = &data->images[f];
		int32_t n = count_within(image, within);
		image_sums sum;
		double J[N_IMAGE][CYC_POSE_PARAMETERS] = { { 0 } };
		if (n == 0 || (data->use && !data->use[f])) continue;
		axes a = axes_of(cyc_mat3_mul(image->R_img_tomo, pose->R_tomo_ref), r);
		load_shifted(w, image, r, pose->offset_A, n);
		sum_image(&sum, w, r, a, n);
		if (terms) keep_terms(&terms[n_terms++], image, &sum, s);
		/* Image parameters to those of the particle. */
		for (int k = 0; k < 3; k++) {
			J[k][k] = 1;
			for (int i = 0; i < 2; i++) J[3 + i][3 + k] = image->px_per_A * image->R_img_tomo.m[i][k];
		}
		out->value += 2 * s * sum.cross - s * s * sum.power;
		for (int i = 0, p = 0; i < N_IMAGE; i++) {
			for (int k = 0; k < CYC_POSE_PARAMETERS; k++) out->gradient[k] += 2 * s * sum.by[i] * J[i][k];
			for (int j = 0; j <= i; j++, p++)
				for (int k = 0; k < CYC_POSE_PARAMETERS; k++)
					for (int l = 0; l < CYC_POSE_PARAMETERS; l++) {
						double c = 2 * s * s * sum.products[p] * J[i][k] * J[j][l];
						out->curvature[k][l] += c;
						if (i != j) out->curvature[l][k] += c;
					}
		}
	}
	if (terms) memset(&terms[n_terms], 0, sizeof *terms);
}

void cyc_pose_amplitudes(float (*by_shell)[2], double *own, cyc_pose_work *w, const cyc_pose_data *data,
                         const cyc_pose_reference *r, const cyc_pose *pose, int32_t radius)
{
	int32_t within = cyc_coefficients_within(w->list, radius < r->radius ? radius : r->radius);
	for (int32_t f = 0; f < data->n_images; f++) {
		const cyc_particle_image *image = &data->images[f];
		int32_t n = count_within(image, within);
		if (n == 0 || (data->use && !data->use[f])) continue;
		load_shifted(w, image, r, pose->offset_A, n);
		(void)slice(w->slices, w->list, r, axes_of(cyc_mat3_mul(image->R_img_tomo, pose->R_tomo_ref), r),
		            w->weight, n);
		for (int32_t j = 0; j < n; j++) {
			float re = crealf(w->slices[j]), im = cimagf(w->slices[j]), *to = by_shell[w->list->shell[j]];
			to[0] += w->y[j] * re + w->y[w->n_padded + j] * im;
			to[1] += w->weight[j] * (re * re + im * im);
		}
		for (int32_t j = 0; j < n && r->own_share && image->is_in_map; j++)
			*own += (double)(image->weight[j] * r->own_share[w->list->shell[j]]);
	}
}

void cyc_pose_agree(cyc_pose_agreement *shells, cyc_pose_work *w, const cyc_pose_data *data,
                    const cyc_pose_reference *r, const cyc_pose *pose, int32_t radius)
{
	int32_t within = cyc_coefficients_within(w->list, radius < r->radius ? radius : r->radius);
	float s = (float)r->amplitude;
	for (int32_t f = 0; f < data->n_images; f++) {
		const cyc_particle_image *image = &data->images[f];
		int32_t n = count_within(image, within);
		if (n == 0 || (data->use && !data->use[f])) continue;
		load_shifted(w, image, r, pose->offset_A, n);
		(void)slice(w->slices, w->list, r, axes_of(cyc_mat3_mul(image->R_img_tomo, pose->R_tomo_ref), r),
		            w->weight, n);
		for (int32_t j = 0; j < n; j++) {
			cyc_pose_agreement *to = &shells[w->list->shell[j]];
			float W = w->weight[j], re = crealf(w->slices[j]), im = cimagf(w->slices[j]), y_re = w->y[j],
				  y_im = w->y[w->n_padded + j];
			float left_re = y_re - s * W * re, left_im = y_im - s * W * im;
			to->cross += (double)(y_re * re + y_im * im);
			if (r->own_share && image->is_in_map) to->own += (double)(W * r->own_share[w->list->shell[j]]);
			to->power += (double)(W * (re * re + im * im));
			to->residual += (double)(left_re * left_re + left_im * left_im);
			to->noise += (double)W;
		}
	}
}

cyc_pose cyc_pose_step(const cyc_pose *pose, const double step[CYC_POSE_PARAMETERS])
{
	cyc_pose p = *pose;
	double angle = sqrt(step[0] * step[0] + step[1] * step[1] + step[2] * step[2]);
	if (angle > 0)
		p.R_tomo_ref =
			cyc_mat3_mul(pose->R_tomo_ref, cyc_rot_axis((cyc_vec3){ step[0], step[1], step[2] }, angle));
	p.offset_A =
		(cyc_vec3){ pose->offset_A.x + step[3], pose->offset_A.y + step[4], pose->offset_A.z + step[5] };
	return p;
}
