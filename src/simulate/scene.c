/* The specimen and the microscope: tilt geometry, CTFs, particles, their motion, and the errors in what is
 * said of them. */
#include "simulate/simulate_internal.h"

#include <math.h>
#include <string.h>

/* Habits of a microscope; what a user may want to change is an option. */
static const double k_tilt_axis_deg = 84.5, k_tilt_offset_deg = 0.7, k_tilt_jitter_deg = 0.05,
					k_stage_shift_A = 20, k_focus_drift_A = 250, k_focus_jitter_A = 150;
enum { MAX_PLACE_TRIALS = 20000, N_MOTION_WAVES = 16 };

/* ---------------------------------------------------------------- tilt series */

/* 0, 1, -1, -2, 2, 3, -3, ...: the dose-symmetric scheme of Hagen, Wan & Briggs 2017, J Struct Biol 197:191.
 */
static int32_t dose_symmetric(int32_t i)
{
	int32_t group = (i + 1) / 2, sign = group % 2 ? 1 : -1;
	return group * (i % 2 ? sign : -sign);
}

static void make_truth_geometry(cyc__sim_tilt *t, int32_t n, int32_t i_series, const cyc_simulate_options *o)
{
	cyc_rng r = cyc_rng_make((uint64_t)o->seed, CYC__SIM_GEOMETRY, (uint64_t)i_series);
	double x0 = k_tilt_offset_deg * cyc_rng_normal(&r), y0 = k_tilt_offset_deg * cyc_rng_normal(&r),
		   z0 = k_tilt_offset_deg * cyc_rng_normal(&r);
	for (int32_t i = 0; i < n; i++) {
		t[i].nominal_tilt_rad = dose_symmetric(i) * o->tilt_step_rad;
		t[i].pre_exposure_e_per_A2 = i * o->dose_e_per_A2;
		t[i].xtilt_rad = cyc_deg_to_rad(x0 + k_tilt_jitter_deg * cyc_rng_normal(&r));
		t[i].ytilt_rad = t[i].nominal_tilt_rad + cyc_deg_to_rad(y0 + k_tilt_jitter_deg * cyc_rng_normal(&r));
		t[i].zrot_rad = cyc_deg_to_rad(k_tilt_axis_deg + z0 + k_tilt_jitter_deg * cyc_rng_normal(&r));
		t[i].shift_x_A = k_stage_shift_A * cyc_rng_normal(&r);
		t[i].shift_y_A = k_stage_shift_A * cyc_rng_normal(&r);
	}
}

static void make_truth_optics(cyc__sim_tilt *t, int32_t n, int32_t i_series, const cyc_simulate_options *o)
{
	cyc_rng r = cyc_rng_make((uint64_t)o->seed, CYC__SIM_OPTICS, (uint64_t)i_series);
	double mean = o->defocus_min_A + (o->defocus_max_A - o->defocus_min_A) * cyc_rng_uniform(&r);
	double drift = k_focus_drift_A * cyc_rng_normal(&r), angle = CYC_PI * cyc_rng_uniform(&r);
	for (int32_t i = 0; i < n; i++) {
		double d = mean + drift * i / n + k_focus_jitter_A * cyc_rng_normal(&r);
		double a = o->astigmatism_A * (1 + 0.1 * cyc_rng_normal(&r));
		t[i].defocus_u_A = d + a;
		t[i].defocus_v_A = d - a;
		t[i].defocus_angle_rad = angle + cyc_deg_to_rad(5) * cyc_rng_normal(&r);
		/* Beer & Lambert: electrons that pass the ice without energy loss make the image and its contrast. */
		double cosine = fabs(cyc_tilt_to_matrix(t[i].xtilt_rad, t[i].ytilt_rad, t[i].zrot_rad).m[2][2]);
		t[i].scale = exp(-o->thickness_A / o->mean_free_path_A * (1 / cosine - 1));
		t[i].mean_e_per_px = o->dose_e_per_A2 * cyc_square(o->pixel_size_A) *
		                     exp(-o->thickness_A / o->mean_free_path_A) * t[i].scale;
	}
}

static void plant_tilt_errors(cyc__sim_tilt *t, int32_t n, int32_t i_series, const cyc_simulate_options *o)
{
	cyc_rng r = cyc_rng_make((uint64_t)o->seed, CYC__SIM_ERROR_TILT, (uint64_t)i_series);
	for (int32_t i = 0; i < n; i++) {
		double e[9];
		for (int j = 0; j < 9; j++) e[j] = cyc_rng_normal(&r);
		double d = 0.5 * (t[i].defocus_u_A + t[i].defocus_v_A) + o->error_defocus_A * e[0];
		double a = 0.5 * (t[i].defocus_u_A - t[i].defocus_v_A), two = 2 * t[i].defocus_angle_rad;
		/* rms of the length of a 2D vector: half its square on each axis. */
		double ax = a * cos(two) + o->error_astigmatism_A * sqrt(0.5) * e[1],
			   ay = a * sin(two) + o->error_astigmatism_A * sqrt(0.5) * e[2];
		if (o->error_astigmatism_A > 0) {
			a = hypot(ax, ay);
			t[i].defocus_angle_rad = 0.5 * atan2(ay, ax);
		}
		t[i].defocus_u_A = d + a;
		t[i].defocus_v_A = d - a;
		t[i].scale *= exp(o->error_scale * e[3]);
		t[i].shift_x_A += o->error_shift_A * e[4];
		t[i].shift_y_A += o->error_shift_A * e[5];
		t[i].xtilt_rad += o->error_angle_rad * e[6];
		t[i].ytilt_rad += o->error_angle_rad * e[7];
		t[i].zrot_rad += o->error_angle_rad * e[8];
	}
}

/* ---------------------------------------------------------------- geometry */

cyc_vec3 cyc__sim_project(const cyc__sim_scene *s, const cyc__sim_tilt *t, cyc_vec3 position_A)
{
	/* P = T(shift) T(image centre) R T(-volume centre); positions count from size/2, P from floor(size/2). */
	double half[3];
	for (int d = 0; d < 3; d++) half[d] = 0.5 * s->size_px[d] - s->size_px[d] / 2;
	cyc_vec3 p = { position_A.x / s->pixel_size_A + half[0], position_A.y / s->pixel_size_A + half[1],
		           position_A.z / s->pixel_size_A + half[2] };
	cyc_vec3 q = cyc_mat3_apply(cyc_tilt_to_matrix(t->xtilt_rad, t->ytilt_rad, t->zrot_rad), p);
	q.x += s->image_nx / 2 + t->shift_x_A / s->pixel_size_A;
	q.y += s->image_ny / 2 + t->shift_y_A / s->pixel_size_A;
	return q;
}

cyc_vec3 cyc__sim_centre(const cyc__sim_pose *p)
{
	cyc_vec3 o = cyc_mat3_apply(p->R_tomo_part, p->origin_A);
	return (cyc_vec3){ p->position_A.x - o.x, p->position_A.y - o.y, p->position_A.z - o.z };
}

/* ---------------------------------------------------------------- particles */

/* Uniform over the rotations: a random unit quaternion. */
static cyc_mat3 random_rotation(cyc_rng *r)
{
	double a = cyc_rng_normal(r), b = cyc_rng_normal(r), c = cyc_rng_normal(r), d = cyc_rng_normal(r);
	double n = sqrt(a * a + b * b + c * c + d * d);
	if (n < 1e-9) return cyc_mat3_identity();
	return cyc_rot_axis(fabs(b) + fabs(c) + fabs(d) > 0 ? (cyc_vec3){ b, c, d } : (cyc_vec3){ 0, 0, 1 },
	                    2 * acos(a / n));
}

static bool is_inside(const cyc__sim_scene *s, const cyc__sim_tilt *tilts, cyc_vec3 p, double edge)
{
	for (int32_t f = 0; f < s->n_tilts; f++) {
		cyc_vec3 q = cyc__sim_project(s, &tilts[f], p);
		if (q.x <= edge || q.y <= edge || q.x >= s->image_nx - edge || q.y >= s->image_ny - edge)
			return false;
	}
	return true;
}

/* A place in the ice, away from the other particles of the series, seen in all tilts. */
static cyc_status find_place(cyc_vec3 *out, cyc_rng *r, const cyc__sim_scene *s, int32_t i_series,
                             int32_t n_placed, double radius, const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	const cyc__sim_particle *others = &s->particles[i_series * o->n_particles];
	const cyc__sim_tilt *tilts = &s->truth[i_series * s->n_tilts];
	int32_t edge = o->edge_px > 0 ? o->edge_px : o->box_px / 2;
	/* Planted errors and motion must not push a window out either: four sigma, and a pixel for rounding. */
	double margin =
		4 * (o->error_position_A + o->error_shift_A + o->motion_A * sqrt(s->n_tilts)) / s->pixel_size_A + 1;
	double z_range = o->thickness_A - 2 * radius;
	for (int trial = 0; trial < MAX_PLACE_TRIALS; trial++) {
		cyc_vec3 p = { (cyc_rng_uniform(r) - 0.5) * s->size_px[0] * s->pixel_size_A,
			           (cyc_rng_uniform(r) - 0.5) * s->size_px[1] * s->pixel_size_A,
			           (cyc_rng_uniform(r) - 0.5) * z_range };
		bool is_free = true;
		for (int32_t i = 0; i < n_placed && is_free; i++) {
			cyc_vec3 c = cyc__sim_centre(&others[i].truth);
			is_free = cyc_square(c.x - p.x) + cyc_square(c.y - p.y) + cyc_square(c.z - p.z) >
			          cyc_square(2 * radius);
		}
		if (!is_free || !is_inside(s, tilts, p, edge + margin)) continue;
		*out = p;
		goto done;
	}
	cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
	                "only %d of %d particles of radius %.0f Å fit into tilt series %d at a distance of %d px "
	                "from the image border in all tilts",
	                (int)n_placed, (int)o->n_particles, radius, (int)i_series + 1, (int)edge);
	cyc_error_hint("lower --particles or --edge-px, or raise --size or --thickness");
	st = CYC_E_DATA;
done:
	return st;
}

static void set_pose(cyc__sim_pose *p, cyc_vec3 centre, cyc_mat3 R_tomo_ref, bool is_split, cyc_rng *r)
{
	p->position_A = centre;
	p->R_tomo_part = cyc_mat3_identity();
	p->R_part_ref = R_tomo_ref;
	if (!is_split) return;
	p->R_tomo_part = random_rotation(r);
	p->R_part_ref = cyc_mat3_mul(cyc_mat3_transpose(p->R_tomo_part), R_tomo_ref);
	p->origin_A = (cyc_vec3){ 3 * cyc_rng_normal(r), 3 * cyc_rng_normal(r), 3 * cyc_rng_normal(r) };
	cyc_vec3 o = cyc_mat3_apply(p->R_tomo_part, p->origin_A);
	p->position_A = (cyc_vec3){ centre.x + o.x, centre.y + o.y, centre.z + o.z };
}

static void plant_particle_errors(cyc__sim_pose *p, int64_t i_particle, const cyc_simulate_options *o)
{
	cyc_rng r = cyc_rng_make((uint64_t)o->seed, CYC__SIM_ERROR_PARTICLE, (uint64_t)i_particle);
	p->position_A.x += o->error_position_A * cyc_rng_normal(&r);
	p->position_A.y += o->error_position_A * cyc_rng_normal(&r);
	p->position_A.z += o->error_position_A * cyc_rng_normal(&r);
	double angle = o->error_orientation_rad * cyc_rng_normal(&r);
	cyc_vec3 axis = { cyc_rng_normal(&r), cyc_rng_normal(&r), cyc_rng_normal(&r) };
	if (angle != 0) p->R_part_ref = cyc_mat3_mul(cyc_rot_axis(axis, angle), p->R_part_ref);
}

/* Beam-induced motion: in each tilt a step that is a smooth random field of the position, a sum of plane
 * waves whose covariance falls off as a Gaussian (Rahimi & Recht 2007). The first tilt is where positions are
 * given. */
static void make_motion(const cyc__sim_scene *s, int32_t i_series, const cyc_simulate_options *o)
{
	if (!(o->motion_A > 0)) return;
	for (int32_t f = 1; f < s->n_tilts; f++)
		for (int c = 0; c < 3; c++) {
			double wave[N_MOTION_WAVES][4];
			cyc_rng r = cyc_rng_make((uint64_t)o->seed, CYC__SIM_MOTION,
			                         ((uint64_t)i_series * 1000 + (uint64_t)f) * 3 + (uint64_t)c);
			for (int m = 0; m < N_MOTION_WAVES; m++) {
				for (int d = 0; d < 3; d++) wave[m][d] = cyc_rng_normal(&r) / o->motion_length_A;
				wave[m][3] = 2 * CYC_PI * cyc_rng_uniform(&r);
			}
			for (int32_t i = 0; i < o->n_particles; i++) {
				const cyc__sim_particle *p = &s->particles[i_series * o->n_particles + i];
				cyc_vec3 x = cyc__sim_centre(&p->truth);
				double v = 0;
				for (int m = 0; m < N_MOTION_WAVES; m++)
					v += cos(wave[m][0] * x.x + wave[m][1] * x.y + wave[m][2] * x.z + wave[m][3]);
				p->motion_A[3 * f + c] =
					p->motion_A[3 * (f - 1) + c] + o->motion_A * sqrt(2.0 / N_MOTION_WAVES) * v;
			}
		}
}

static cyc_status place_particles(cyc__sim_scene *s, int32_t i_series, double radius,
                                  const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	cyc_rng places = cyc_rng_make((uint64_t)o->seed, CYC__SIM_PLACES, (uint64_t)i_series);
	cyc_rng poses = cyc_rng_make((uint64_t)o->seed, CYC__SIM_POSES, (uint64_t)i_series);
	for (int32_t i = 0; i < o->n_particles; i++) {
		int64_t i_particle = (int64_t)i_series * o->n_particles + i;
		cyc__sim_particle *p = &s->particles[i_particle];
		cyc_vec3 centre = { 0, 0, 0 };
		CYC_TRY(find_place(&centre, &places, s, i_series, i, radius, o));
		p->i_series = i_series;
		p->i_in_series = i;
		/* Each pair of particles is shared out by a coin: random, yet balanced. */
		int32_t coin =
			cyc_rng_uniform_at((uint64_t)o->seed, CYC__SIM_HALVES, (uint64_t)(i_particle / 2), 0) < 0.5;
		p->half = (int32_t)((i_particle + coin) % 2);
		p->motion_A = s->motion_data + (size_t)i_particle * (size_t)s->n_tilts * 3;
		set_pose(&p->truth, centre, random_rotation(&poses), o->subtomogram_angles, &poses);
		p->given = p->truth;
		plant_particle_errors(&p->given, i_particle, o);
	}
	make_motion(s, i_series, o);
done:
	return st;
}

cyc_status cyc__sim_scene_make(cyc__sim_scene *s, double particle_radius_A, const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	memset(s, 0, sizeof *s);
	s->n_series = o->n_series;
	s->n_tilts = o->n_tilts;
	s->n_particles = o->n_series * o->n_particles;
	s->image_nx = o->image_nx;
	s->image_ny = o->image_ny > 0 ? o->image_ny : o->image_nx;
	s->pixel_size_A = o->pixel_size_A;
	/* Even, so that the two centres of the data model are one. */
	s->size_px[0] = s->image_nx + s->image_nx % 2;
	s->size_px[1] = s->image_ny + s->image_ny % 2;
	s->size_px[2] = 2 * (int32_t)ceil(0.6 * o->thickness_A / o->pixel_size_A);
	CYC_CHECK(o->thickness_A >= 2 * particle_radius_A, CYC_E_USAGE,
	          "ice of %.0f Å is too thin for particles of radius %.0f Å", o->thickness_A, particle_radius_A);
	size_t n_tilts = (size_t)s->n_series * (size_t)s->n_tilts;
	CYC_TRY(cyc_alloc(&s->truth, n_tilts, sizeof *s->truth));
	CYC_TRY(cyc_alloc(&s->given, n_tilts, sizeof *s->given));
	CYC_TRY(cyc_alloc(&s->particles, s->n_particles, sizeof *s->particles));
	CYC_TRY(
		cyc_alloc(&s->motion_data, (size_t)s->n_particles * (size_t)s->n_tilts * 3, sizeof *s->motion_data));
	for (int32_t i = 0; i < s->n_series; i++) {
		cyc__sim_tilt *truth = &s->truth[i * s->n_tilts], *given = &s->given[i * s->n_tilts];
		make_truth_geometry(truth, s->n_tilts, i, o);
		make_truth_optics(truth, s->n_tilts, i, o);
		memcpy(given, truth, (size_t)s->n_tilts * sizeof *given);
		plant_tilt_errors(given, s->n_tilts, i, o);
		CYC_TRY(place_particles(s, i, particle_radius_A, o));
	}
done:
	if (st != CYC_OK) cyc__sim_scene_deinit(s);
	return st;
}

void cyc__sim_scene_deinit(cyc__sim_scene *s)
{
	cyc_free(s->truth);
	cyc_free(s->given);
	cyc_free(s->particles);
	cyc_free(s->motion_data);
	memset(s, 0, sizeof *s);
}
