/* Tilt images: central slices of the particle, each with the CTF of its own depth, then noise. */
#include "simulate/simulate_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- slices */

/* Interpolation in a transform of twice the box with the kernel exp(beta (sqrt(1 - x^2) - 1)) over six
 * points, divided out in real space (Barnett, Magland & af Klinteberg 2019, SIAM J Sci Comput 41:C479):
 * relative error about 1e-5. */
enum { TAPS = 6, PER_TAP = 512, MARGIN = TAPS };
static const double k_beta = 2.30 * TAPS;

struct cyc__sim_slicer {
	int32_t n, n2;                          /* box, and twice the box */
	int32_t row;                            /* MARGIN columns of negative kx, then 0 .. n + MARGIN */
	cyc_cfloat *ft;                         /* n2 x n2 x row */
	float kernel[(TAPS / 2) * PER_TAP + 2]; /* at distances i / PER_TAP */
};

static double kernel(double distance)
{
	double t = 1 - cyc_square(2 * distance / TAPS);
	return t >= 0 ? exp(k_beta * (sqrt(t) - 1)) : 0;
}

/* Continuous transform of the kernel at x voxels of a grid of n2. */
static double kernel_transform(double x, double n2)
{
	enum { N = 600 };
	double sum = 0;
	for (int i = 0; i < N; i++) {
		double u = (i + 0.5) * TAPS / (2.0 * N);
		sum += kernel(u) * cos(2 * CYC_PI * u * x / n2);
	}
	return 2 * sum * TAPS / (2.0 * N);
}

/* The padded map with its centre at voxel 0, divided by the transform of the kernel. */
static cyc_status pad_map(float **out, const cyc_volume *map)
{
	cyc_status st = CYC_OK;
	float *padded = NULL;
	double *inverse = NULL;
	int32_t n = map->nx, n2 = 2 * n;
	CYC_TRY(cyc_alloc(&padded, (size_t)n2 * (size_t)n2 * (size_t)n2, sizeof *padded));
	CYC_TRY(cyc_alloc(&inverse, n, sizeof *inverse));
	for (int32_t i = 0; i < n; i++) inverse[i] = 1 / kernel_transform(i - n / 2, n2);
	for (int32_t z = 0; z < n; z++)
		for (int32_t y = 0; y < n; y++)
			for (int32_t x = 0; x < n; x++) {
				size_t to = ((size_t)((z - n / 2 + n2) % n2) * (size_t)n2 + (size_t)((y - n / 2 + n2) % n2)) *
				                (size_t)n2 +
				            (size_t)((x - n / 2 + n2) % n2);
				double v = (double)map->data[((size_t)z * (size_t)n + (size_t)y) * (size_t)n + (size_t)x];
				padded[to] = (float)(v * inverse[x] * inverse[y] * inverse[z]);
			}
	*out = padded;
	padded = NULL;
done:
	cyc_free(padded);
	cyc_free(inverse);
	return st;
}

/* Value of the full transform at any index, by its period and Friedel's law. */
static cyc_cfloat full_value(const cyc_cfloat *half, int32_t n2, int32_t kx, int32_t ky, int32_t kz)
{
	bool is_mirrored = kx < 0 || kx > n2 / 2;
	if (is_mirrored) {
		kx = -kx;
		ky = -ky;
		kz = -kz;
	}
	if (kx < 0) kx += n2;
	ky = ((ky % n2) + n2) % n2;
	kz = ((kz % n2) + n2) % n2;
	cyc_cfloat v = half[((size_t)kz * (size_t)n2 + (size_t)ky) * (size_t)(n2 / 2 + 1) + (size_t)kx];
	return is_mirrored ? conjf(v) : v;
}

cyc_status cyc__sim_slicer_create(cyc__sim_slicer **out, const cyc_volume *map, int n_threads)
{
	cyc_status st = CYC_OK;
	cyc__sim_slicer *s = NULL;
	cyc_fft3 *plan = NULL;
	float *padded = NULL;
	cyc_cfloat *half = NULL;
	int32_t n2 = 2 * map->nx;
	CYC_TRY(cyc_alloc(&s, 1, sizeof *s));
	s->n = map->nx;
	s->n2 = n2;
	s->row = s->n + 2 * MARGIN + 1;
	for (int32_t i = 0; i <= TAPS / 2 * PER_TAP; i++) s->kernel[i] = (float)kernel((double)i / PER_TAP);
	CYC_TRY(pad_map(&padded, map));
	CYC_TRY(cyc_alloc(&half, cyc_half_count3(n2), sizeof *half));
	CYC_TRY(cyc_fft3_create(&plan, n2, n_threads));
	CYC_TRY(cyc_fft3_forward(half, plan, padded));
	cyc_free(padded);
	padded = NULL;
	CYC_TRY(cyc_alloc(&s->ft, (size_t)n2 * (size_t)n2 * (size_t)s->row, sizeof *s->ft));
	for (int32_t z = 0; z < n2; z++)
		for (int32_t y = 0; y < n2; y++)
			for (int32_t x = 0; x < s->row; x++)
				s->ft[((size_t)z * (size_t)n2 + (size_t)y) * (size_t)s->row + (size_t)x] =
					full_value(half, n2, x - MARGIN, y, z);
	*out = s;
	s = NULL;
done:
	cyc_free(padded);
	cyc_free(half);
	cyc_fft3_destroy(&plan);
	cyc__sim_slicer_destroy(&s);
	return st;
}

double cyc__sim_slicer_bytes(int32_t n) { return 4.0 * n * n * (n + 2.0 * MARGIN + 1) * sizeof(cyc_cfloat); }

void cyc__sim_slicer_destroy(cyc__sim_slicer **s)
{
	if (!*s) return;
	cyc_free((*s)->ft);
	cyc_free(*s);
	*s = NULL;
}

/* Weights of the TAPS grid points around k; returns the first of them. */
static int32_t tap_weights(float w[TAPS], const cyc__sim_slicer *s, double k)
{
	int32_t first = (int32_t)ceil(k - 0.5 * TAPS);
	for (int i = 0; i < TAPS; i++) {
		double d = fabs(first + i - k) * PER_TAP;
		int32_t j = (int32_t)d;
		float f = (float)(d - j);
		w[i] = j < TAPS / 2 * PER_TAP ? (1 - f) * s->kernel[j] + f * s->kernel[j + 1] : 0;
	}
	return first;
}

static cyc_cfloat sample(const cyc__sim_slicer *s, cyc_vec3 k)
{
	float wx[TAPS], wy[TAPS], wz[TAPS];
	bool is_mirrored = k.x < 0;
	if (is_mirrored) k = (cyc_vec3){ -k.x, -k.y, -k.z };
	int32_t x = tap_weights(wx, s, k.x) + MARGIN, y = tap_weights(wy, s, k.y), z = tap_weights(wz, s, k.z);
	float re = 0, im = 0;
	for (int c = 0; c < TAPS; c++) {
		size_t plane = (size_t)((z + c + s->n2) % s->n2) * (size_t)s->n2;
		for (int b = 0; b < TAPS; b++) {
			const float *p =
				(const float *)(s->ft + (plane + (size_t)((y + b + s->n2) % s->n2)) * (size_t)s->row +
			                    (size_t)x);
			float r = 0, i = 0;
			for (int a = 0; a < TAPS; a++) {
				r += wx[a] * p[2 * a];
				i += wx[a] * p[2 * a + 1];
			}
			float w = wz[c] * wy[b];
			re += w * r;
			im += w * i;
		}
	}
	return re + (is_mirrored ? -im : im) * I;
}

void cyc__sim_slice(cyc_cfloat *ft, const cyc__sim_slicer *s, cyc_mat3 R_img_ref, double shift_x_px,
                    double shift_y_px)
{
	int32_t n = s->n;
	double ratio = (double)s->n2 / n;
	for (int32_t y = 0; y < n; y++) {
		int32_t ky = y < n / 2 ? y : y - n;
		for (int32_t x = 0; x <= n / 2; x++) {
			cyc_cfloat *out = &ft[(size_t)y * (size_t)(n / 2 + 1) + (size_t)x];
			*out = 0;
			if (4 * (x * x + ky * ky) >= n * n) continue;
			/* k_ref = R_ref_img (kx, ky, 0). */
			cyc_vec3 k = { ratio * (R_img_ref.m[0][0] * x + R_img_ref.m[1][0] * ky),
				           ratio * (R_img_ref.m[0][1] * x + R_img_ref.m[1][1] * ky),
				           ratio * (R_img_ref.m[0][2] * x + R_img_ref.m[1][2] * ky) };
			double phase = -2 * CYC_PI * (x * (shift_x_px / n + 0.5) + ky * (shift_y_px / n + 0.5));
			*out = sample(s, k) * ((float)cos(phase) + (float)sin(phase) * I);
		}
	}
}

/* ---------------------------------------------------------------- optics */

cyc__sim_optics cyc__sim_optics_make(double u_A, double v_A, double angle_rad, const cyc_simulate_options *o)
{
	double lambda = cyc__sim_wavelength_A(o->voltage_kV), mean = 0.5 * (u_A + v_A), half = 0.5 * (u_A - v_A);
	/* Defocus along a direction: mean + half difference times cos 2 (direction - angle). */
	return (cyc__sim_optics){
		.xx = CYC_PI * lambda * (mean + half * cos(2 * angle_rad)),
		.yy = CYC_PI * lambda * (mean - half * cos(2 * angle_rad)),
		.xy = CYC_PI * lambda * 2 * half * sin(2 * angle_rad),
		.k4 = -0.5 * CYC_PI * o->spherical_aberration_mm * 1e7 * pow(lambda, 3),
		.offset = asin(o->amplitude_contrast_frac),
		.even = o->aberration_rad,
		.pixel_size_A = o->pixel_size_A,
	};
}

double cyc__sim_ctf(const cyc__sim_optics *c, double kx, double ky)
{
	double even = c->even != 0 ? c->even * cyc__sim_even_phase(kx, ky, c->pixel_size_A) : 0;
	return sin(c->xx * kx * kx + c->yy * ky * ky + c->xy * kx * ky + c->k4 * cyc_square(kx * kx + ky * ky) +
	           c->offset - even);
}

double cyc__sim_even_phase(double kx, double ky, double px)
{
	double x = 2 * px * kx, y = 2 * px * ky;
	return x * x * x * x - 6 * x * x * y * y + y * y * y * y + 0.5 * cyc_square(x * x + y * y);
}

double cyc__sim_odd_phase(double kx, double ky, double px)
{
	double x = 2 * px * kx, y = 2 * px * ky;
	return (x * x + y * y) * (0.8 * x - 0.3 * y) + 0.5 * (x * x * x - 3 * x * y * y);
}

void cyc__sim_magnification(double M[2][2], const cyc_simulate_options *o)
{
	double a = o->magnification_frac;
	M[0][0] = 1 + a;
	M[1][1] = 1 - a;
	M[0][1] = M[1][0] = 0.5 * a;
}

double cyc__sim_damage(double k, double exposure)
{
	/* Critical exposure of Grant & Grigorieff 2015, eLife 4:e06980. */
	return k > 0 ? exp(-0.5 * exposure / (0.245 * pow(k, -1.665) + 2.81)) : 1;
}

int32_t cyc__sim_stamp_px(const cyc_simulate_options *o)
{
	/* Fringes at frequency k lie lambda defocus k away; the farthest at Nyquist. */
	double fringe_A = cyc__sim_wavelength_A(o->voltage_kV) * o->defocus_max_A * 0.5 / o->pixel_size_A;
	return cyc_fft_good_size(o->box_px + 2 * (int32_t)ceil(fringe_A / o->pixel_size_A));
}

/* ---------------------------------------------------------------- images */

typedef struct {
	cyc_cfloat *slice, *stamp_ft, *image_ft;
	float *small, *stamp, *noise, *damage;
} scratch;

struct cyc__sim_renderer {
	const cyc__sim_scene *scene;
	const cyc_simulate_options *o;
	cyc__sim_slicer *slicer;
	cyc_fft2 *small_plan, *stamp_plan, *image_plan;
	int32_t n_stamp;
	int n_threads;
	scratch *threads;
};

cyc_status cyc__sim_renderer_create(cyc__sim_renderer **out, const cyc__sim_scene *scene,
                                    const cyc_volume *map, const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	cyc__sim_renderer *r = NULL;
	size_t n_image = (size_t)scene->image_nx * (size_t)scene->image_ny;
	CYC_TRY(cyc_alloc(&r, 1, sizeof *r));
	r->scene = scene;
	r->o = o;
	r->n_stamp = cyc__sim_stamp_px(o);
	r->n_threads = cyc_n_workers(o->n_tilts, o->n_threads);
	CYC_TRY(cyc__sim_slicer_create(&r->slicer, map, r->n_threads));
	CYC_TRY(cyc_fft2_create(&r->small_plan, map->nx, map->nx));
	CYC_TRY(cyc_fft2_create(&r->stamp_plan, r->n_stamp, r->n_stamp));
	CYC_TRY(cyc_fft2_create(&r->image_plan, scene->image_nx, scene->image_ny));
	CYC_TRY(cyc_alloc(&r->threads, r->n_threads, sizeof *r->threads));
	for (int t = 0; t < r->n_threads; t++) {
		scratch *w = &r->threads[t];
		CYC_TRY(cyc_alloc(&w->slice, cyc_half_count2(map->nx), sizeof *w->slice));
		CYC_TRY(cyc_alloc(&w->small, (size_t)map->nx * (size_t)map->nx, sizeof *w->small));
		CYC_TRY(cyc_alloc(&w->stamp, (size_t)r->n_stamp * (size_t)r->n_stamp, sizeof *w->stamp));
		CYC_TRY(cyc_alloc(&w->stamp_ft, cyc_half_count2(r->n_stamp), sizeof *w->stamp_ft));
		CYC_TRY(cyc_alloc(&w->damage, cyc_half_count2(r->n_stamp), sizeof *w->damage));
		CYC_TRY(cyc_alloc(&w->noise, n_image, sizeof *w->noise));
		CYC_TRY(cyc_alloc(&w->image_ft, (size_t)(scene->image_nx / 2 + 1) * (size_t)scene->image_ny,
		                  sizeof *w->image_ft));
	}
	*out = r;
	r = NULL;
done:
	cyc__sim_renderer_destroy(&r);
	return st;
}

void cyc__sim_renderer_destroy(cyc__sim_renderer **r)
{
	if (!*r) return;
	for (int t = 0; (*r)->threads && t < (*r)->n_threads; t++) {
		scratch *w = &(*r)->threads[t];
		cyc_free(w->slice);
		cyc_free(w->small);
		cyc_free(w->stamp);
		cyc_free(w->stamp_ft);
		cyc_free(w->damage);
		cyc_free(w->noise);
		cyc_free(w->image_ft);
	}
	cyc_free((*r)->threads);
	cyc__sim_slicer_destroy(&(*r)->slicer);
	cyc_fft2_destroy(&(*r)->small_plan);
	cyc_fft2_destroy(&(*r)->stamp_plan);
	cyc_fft2_destroy(&(*r)->image_plan);
	cyc_free(*r);
	*r = NULL;
}

/* What one tilt does to the transform of any particle: damage and contrast; 0 outside the Nyquist circle. */
static void fill_damage(float *damage, const cyc__sim_renderer *r, const cyc__sim_tilt *t)
{
	int32_t n = r->n_stamp;
	double px = r->scene->pixel_size_A;
	for (int32_t y = 0; y < n; y++)
		for (int32_t x = 0; x <= n / 2; x++) {
			double ky = y < n / 2 ? y : y - n, k = sqrt(x * (double)x + ky * ky) / (n * px);
			damage[(size_t)y * (size_t)(n / 2 + 1) + (size_t)x] =
				k < 0.5 / px ? (float)(t->scale * cyc__sim_damage(k, t->pre_exposure_e_per_A2)) : 0;
		}
}

static void apply_optics(cyc_cfloat *ft, const float *damage, const cyc__sim_renderer *r,
                         const cyc__sim_tilt *t, double defocus_offset_A)
{
	int32_t n = r->n_stamp;
	double step = 1 / (n * r->scene->pixel_size_A), scale = -1.0 / ((double)n * n);
	cyc__sim_optics c = cyc__sim_optics_make(t->defocus_u_A + defocus_offset_A,
	                                         t->defocus_v_A + defocus_offset_A, t->defocus_angle_rad, r->o);
	double M[2][2];
	cyc__sim_magnification(M, r->o);
	for (int32_t y = 0; y < n; y++)
		for (int32_t x = 0; x <= n / 2; x++) {
			size_t i = (size_t)y * (size_t)(n / 2 + 1) + (size_t)x;
			double u = x * step, v = (y < n / 2 ? y : y - n) * step, kx = M[0][0] * u + M[0][1] * v,
				   ky = M[1][0] * u + M[1][1] * v;
			ft[i] *= damage[i] > 0 ? (float)(scale * cyc__sim_ctf(&c, kx, ky)) * damage[i] : 0;
			if (r->o->aberration_rad == 0) continue;
			double odd = r->o->aberration_rad * cyc__sim_odd_phase(kx, ky, r->o->pixel_size_A);
			ft[i] *= (float)cos(odd) + (float)sin(odd) * I;
		}
}

static void add_stamp(float *image, const cyc__sim_renderer *r, const float *stamp, int32_t x0, int32_t y0)
{
	int32_t n = r->n_stamp, nx = r->scene->image_nx, ny = r->scene->image_ny;
	for (int32_t y = 0; y < n; y++) {
		if (y + y0 < 0 || y + y0 >= ny) continue;
		for (int32_t x = 0; x < n; x++)
			if (x + x0 >= 0 && x + x0 < nx)
				image[(size_t)(y + y0) * (size_t)nx + (size_t)(x + x0)] +=
					stamp[(size_t)y * (size_t)n + (size_t)x];
	}
}

/* (T5.3) */
static void add_particle(float *image, const cyc__sim_renderer *r, scratch *w, const cyc__sim_particle *p,
                         int32_t i_tilt)
{
	const cyc__sim_scene *s = r->scene;
	const cyc__sim_tilt *t = &s->truth[p->i_series * s->n_tilts + i_tilt];
	int32_t n = s->n_particles ? r->o->box_px : 0, ns = r->n_stamp, pad = (ns - n) / 2;
	cyc_vec3 centre = cyc__sim_centre(&p->truth), moved = centre;
	moved.x += p->motion_A[3 * i_tilt];
	moved.y += p->motion_A[3 * i_tilt + 1];
	moved.z += p->motion_A[3 * i_tilt + 2];
	cyc_vec3 q = cyc__sim_project(s, t, moved);
	/* Depth counts from the tomogram centre; it is that of the static position. */
	double depth_px = cyc__sim_project(s, t, centre).z - cyc__sim_project(s, t, (cyc_vec3){ 0, 0, 0 }).z;
	cyc_mat3 R_img_tomo = cyc_tilt_to_matrix(t->xtilt_rad, t->ytilt_rad, t->zrot_rad);
	cyc_mat3 R_img_ref = cyc_mat3_mul(R_img_tomo, cyc_mat3_mul(p->truth.R_tomo_part, p->truth.R_part_ref));
	int32_t x0 = (int32_t)lround(q.x), y0 = (int32_t)lround(q.y);
	/* The transform of the magnified image at k is that of the particle at M k. */
	double M[2][2];
	cyc__sim_magnification(M, r->o);
	R_img_ref = cyc_mat3_mul((cyc_mat3){ { { M[0][0], M[1][0], 0 }, { M[0][1], M[1][1], 0 }, { 0, 0, 1 } } },
	                         R_img_ref);
	cyc__sim_slice(w->slice, r->slicer, R_img_ref, q.x - x0, q.y - y0);
	cyc_fft2_inverse(w->small, r->small_plan, w->slice);
	memset(w->stamp, 0, (size_t)ns * (size_t)ns * sizeof *w->stamp);
	float scale = 1 / ((float)n * (float)n);
	for (int32_t y = 0; y < n; y++)
		for (int32_t x = 0; x < n; x++)
			w->stamp[(size_t)(y + pad) * (size_t)ns + (size_t)(x + pad)] =
				scale * w->small[(size_t)y * (size_t)n + (size_t)x];
	cyc_fft2_forward(w->stamp_ft, r->stamp_plan, w->stamp);
	apply_optics(w->stamp_ft, w->damage, r, t, r->o->hand * s->pixel_size_A * depth_px);
	cyc_fft2_inverse(w->stamp, r->stamp_plan, w->stamp_ft);
	add_stamp(image, r, w->stamp, x0 - n / 2 - pad, y0 - n / 2 - pad);
}

/* Structure of the ice and of the buffer: white noise through a Lorentzian low-pass of 20 Å. */
static void add_ice_noise(float *image, const cyc__sim_renderer *r, scratch *w, double power, uint64_t stream)
{
	int32_t nx = r->scene->image_nx, ny = r->scene->image_ny;
	size_t n = (size_t)nx * (size_t)ny;
	cyc_rng rng = cyc_rng_make((uint64_t)r->o->seed, CYC__SIM_ICE, stream);
	for (size_t i = 0; i < n; i++) w->noise[i] = (float)cyc_rng_normal(&rng);
	cyc_fft2_forward(w->image_ft, r->image_plan, w->noise);
	for (int32_t y = 0; y < ny; y++)
		for (int32_t x = 0; x <= nx / 2; x++) {
			double kx = x / (nx * r->scene->pixel_size_A),
				   ky = (y < (ny + 1) / 2 ? y : y - ny) / (ny * r->scene->pixel_size_A);
			double amplitude = sqrt(power / (1 + cyc_square(20) * (kx * kx + ky * ky)));
			w->image_ft[(size_t)y * (size_t)(nx / 2 + 1) + (size_t)x] *=
				x + abs(y) > 0 ? (float)(amplitude / (double)n) : 0;
		}
	cyc_fft2_inverse(w->noise, r->image_plan, w->image_ft);
	for (size_t i = 0; i < n; i++) image[i] += w->noise[i];
}

cyc_status cyc__sim_render(float *image, cyc__sim_renderer *r, int32_t i_series, int32_t i_tilt, int i_thread)
{
	const cyc__sim_scene *s = r->scene;
	const cyc__sim_tilt *t = &s->truth[i_series * s->n_tilts + i_tilt];
	scratch *w = &r->threads[i_thread];
	size_t n = (size_t)s->image_nx * (size_t)s->image_ny;
	uint64_t stream = (uint64_t)i_series * 1000 + (uint64_t)i_tilt;
	memset(image, 0, n * sizeof *image);
	fill_damage(w->damage, r, t);
	if (r->o->signal > 0)
		for (int32_t i = 0; i < s->n_particles; i++)
			if (s->particles[i].i_series == i_series) add_particle(image, r, w, &s->particles[i], i_tilt);
	for (size_t i = 0; i < n; i++) image[i] += (float)t->mean_e_per_px;
	if (r->o->noise_free) return CYC_OK;
	/* Shot noise of the expected counts, as a normal distribution; none is left where nothing arrives. */
	cyc_rng rng = cyc_rng_make((uint64_t)r->o->seed, CYC__SIM_SHOT, stream);
	for (size_t i = 0; i < n; i++)
		image[i] += (float)(sqrt(fmax(0, (double)image[i])) * cyc_rng_normal(&rng));
	if (r->o->ice_noise > 0) add_ice_noise(image, r, w, r->o->ice_noise * t->mean_e_per_px, stream);
	return CYC_OK;
}
