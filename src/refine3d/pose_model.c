#include "refine3d/pose_model.h"

#include "array/reference_cell.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 256 }; /* sums of single precision end here */
_Static_assert((int)BLOCK <= (int)CYC_CELLS, "a block of coefficients is listed at once");

struct cyc_pose_work {
	const cyc_coefficients *list;
	int32_t n;
	cyc_cfloat *slice, *shifted; /* n */
	cyc_cfloat *ramp_x, *ramp_y;
	float *y;              /* 2 arrays of n: shifted data */
	float *weight, *share; /* n: W and what multiplies the data, where predictions are uncertain */
};

void cyc_pose_work_destroy(cyc_pose_work **p)
{
	cyc_pose_work *w = *p;
	if (!w) return;
	cyc_free(w->slice);
	cyc_free(w->shifted);
	cyc_free(w->ramp_x);
	cyc_free(w->ramp_y);
	cyc_free(w->y);
	cyc_free(w->weight);
	cyc_free(w->share);
	cyc_free(w);
	*p = NULL;
}

double cyc_pose_work_bytes(const cyc_coefficients *list)
{
	return 2.0 * (list->n + list->box_px) * sizeof(cyc_cfloat) + 4.0 * list->n * sizeof(float);
}

cyc_status cyc_pose_work_create(cyc_pose_work **out, const cyc_coefficients *list)
{
	cyc_status st = CYC_OK;
	cyc_pose_work *w = NULL;
	*out = NULL;
	CYC_TRY(cyc_alloc(&w, 1, sizeof *w));
	w->list = list;
	w->n = list->n;
	CYC_TRY(cyc_alloc(&w->slice, w->n, sizeof *w->slice));
	CYC_TRY(cyc_alloc(&w->shifted, w->n, sizeof *w->shifted));
	CYC_TRY(cyc_alloc(&w->ramp_x, list->box_px, sizeof *w->ramp_x));
	CYC_TRY(cyc_alloc(&w->ramp_y, list->box_px, sizeof *w->ramp_y));
	CYC_TRY(cyc_alloc(&w->y, 2 * (size_t)w->n, sizeof *w->y));
	CYC_TRY(cyc_alloc(&w->weight, w->n, sizeof *w->weight));
	CYC_TRY(cyc_alloc(&w->share, w->n, sizeof *w->share));
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
	cyc_cells l;
	for (int32_t first = 0; first < n; first += BLOCK) {
		int32_t end = first + BLOCK < n ? first + BLOCK : n;
		float part = 0;
		cyc__cells_of_slice(&l, r->grid, r->edge, a.x, a.y, list->fx + first, list->fy + first, end - first);
		for (int32_t j = first; j < end; j++) {
			const cyc_cell q = cyc__cell_next(&l, r->grid, r->edge, j - first, end - first);
			cyc_v4 v = cyc__cell_along_x(&q);
			float re = v[0] + q.fx * (v[2] - v[0]), im = q.mirror * (v[1] + q.fx * (v[3] - v[1]));
			((float *)out)[2 * j] = re;
			((float *)out)[2 * j + 1] = im;
			part += weight[j] * (re * re + im * im);
		}
		sum += (double)part;
	}
	return sum;
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

/* ---------------------------------------------------------------- agreement */

/* The data of an image shifted, split into re and im, weighed for this reference. */
static void load_shifted(cyc_pose_work *w, const cyc_particle_image *image, const cyc_pose_reference *r,
                         cyc_vec3 offset_A, int32_t n)
{
	double d[2];
	weigh(w, image, r, n);
	displacement(d, image, offset_A);
	ramps(w, d);
	shift(w->shifted, w, image->data, n);
	float *re = w->y, *im = w->y + w->n;
	for (int32_t j = 0; j < n; j++) {
		re[j] = w->share[j] * crealf(w->shifted[j]);
		im[j] = w->share[j] * cimagf(w->shifted[j]);
	}
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
		(void)slice(w->slice, w->list, r, axes_of(cyc_mat3_mul(image->R_img_tomo, pose->R_tomo_ref), r),
		            w->weight, n);
		for (int32_t j = 0; j < n; j++) {
			float re = crealf(w->slice[j]), im = cimagf(w->slice[j]), *to = by_shell[w->list->shell[j]];
			to[0] += w->y[j] * re + w->y[w->n + j] * im;
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
		(void)slice(w->slice, w->list, r, axes_of(cyc_mat3_mul(image->R_img_tomo, pose->R_tomo_ref), r),
		            w->weight, n);
		for (int32_t j = 0; j < n; j++) {
			cyc_pose_agreement *to = &shells[w->list->shell[j]];
			float W = w->weight[j], re = crealf(w->slice[j]), im = cimagf(w->slice[j]), y_re = w->y[j],
				  y_im = w->y[w->n + j];
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
