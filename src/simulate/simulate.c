/* The job: checks, scene, images, files. */
#include "simulate/simulate_internal.h"

#include "cyclotomo/map.h"

#include "cyclotomo/outputs.h"

#include <math.h>
#include <string.h>

void cyc_simulate_options_preset(cyc_simulate_options *o, cyc_simulate_preset preset)
{
	const char *out_dir = o->out_dir;
	bool force = o->force;
	int32_t n_threads = o->n_threads;
	*o = (cyc_simulate_options){
		.n_series = 2,
		.n_particles = 25,
		.image_nx = 440,
		.image_ny = 400,
		.edge_px = 66,
		.box_px = 96,
		.pixel_size_A = 2.0,
		.symmetry = "O",
		.bfactor_A2 = 100,
		.thickness_A = 600,
		.n_tilts = 41,
		.tilt_step_rad = cyc_deg_to_rad(3),
		.dose_e_per_A2 = 3,
		.voltage_kV = 300,
		.spherical_aberration_mm = 2.7,
		.amplitude_contrast_frac = 0.1,
		.hand = -1,
		.defocus_min_A = 20000,
		.defocus_max_A = 30000,
		.astigmatism_A = 150,
		.mean_free_path_A = 3000,
		.motion_length_A = 3000,
		.signal = 1,
		.ice_noise = 0.5,
		.error_defocus_A = 700,
		.error_astigmatism_A = 150,
		.error_scale = 0.15,
		.error_shift_A = 0.5,
		.error_position_A = 0.5,
		.error_orientation_rad = cyc_deg_to_rad(0.5),
		.seed = 1,
	};
	if (preset == CYC_SIMULATE_TINY) {
		o->n_series = 1;
		o->n_particles = 4;
		o->image_nx = 160;
		o->image_ny = 144;
		o->box_px = 32;
		o->edge_px = 0;
		o->pixel_size_A = 4;
		o->symmetry = "D2";
		o->n_tilts = 11;
		o->tilt_step_rad = cyc_deg_to_rad(10);
		o->dose_e_per_A2 = 8;
		o->thickness_A = 400;
		o->signal = 1;
		o->float32 = true;
	} else if (preset == CYC_SIMULATE_LARGE) {
		o->n_series = 1;
		o->n_particles = 50;
		o->image_nx = o->image_ny = 2400;
		o->box_px = 160;
		o->pixel_size_A = 1.5;
		o->thickness_A = 1000;
		o->edge_px = 260;
		o->n_tilts = 11;
		o->tilt_step_rad = cyc_deg_to_rad(10);
		o->dose_e_per_A2 = 8;
	}
	o->out_dir = out_dir;
	o->force = force;
	o->n_threads = n_threads;
}

void cyc_simulate_options_default(cyc_simulate_options *o)
{
	memset(o, 0, sizeof *o);
	o->n_threads = 1;
	cyc_simulate_options_preset(o, CYC_SIMULATE_DEMO);
}

/* ---------------------------------------------------------------- checks */

static cyc_status check_sizes(const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(o->out_dir && o->out_dir[0], CYC_E_USAGE, "no output folder is given");
	CYC_CHECK(o->n_series >= 1 && o->n_series <= 999, CYC_E_USAGE,
	          "the number of tilt series must be 1 to 999, got %d", (int)o->n_series);
	CYC_CHECK(o->n_particles >= 1 && o->n_particles <= 100000, CYC_E_USAGE,
	          "the number of particles per series must be 1 to 100000, got %d", (int)o->n_particles);
	CYC_CHECK(o->n_tilts >= 1 && o->n_tilts <= 999, CYC_E_USAGE,
	          "the number of tilts must be 1 to 999, got %d", (int)o->n_tilts);
	CYC_CHECK(o->image_nx >= 32 && o->image_nx <= 16384 && o->image_ny <= 16384 &&
	              (o->image_ny <= 0 || o->image_ny >= 32),
	          CYC_E_USAGE, "images must have 32 to 16384 px, got %d x %d", (int)o->image_nx,
	          (int)o->image_ny);
	CYC_CHECK(o->box_px >= 16 && o->box_px <= 512 && o->box_px % 2 == 0, CYC_E_USAGE,
	          "the box must be even and 16 to 512 px, got %d", (int)o->box_px);
	CYC_CHECK(o->pixel_size_A >= 0.2 && o->pixel_size_A <= 50, CYC_E_USAGE,
	          "the pixel size must be 0.2 to 50 Å, got %g", o->pixel_size_A);
	CYC_CHECK(o->tilt_step_rad >= 0 && o->tilt_step_rad * (o->n_tilts / 2) < cyc_deg_to_rad(80), CYC_E_USAGE,
	          "%d tilts in steps of %g degrees reach beyond 80 degrees", (int)o->n_tilts,
	          cyc_rad_to_deg(o->tilt_step_rad));
	CYC_CHECK(o->hand == 1 || o->hand == -1, CYC_E_USAGE, "the hand must be 1 or -1, got %d", (int)o->hand);
done:
	return st;
}

static cyc_status check_physics(const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	const struct {
		const char *what;
		double value;
		bool may_be_zero;
	} numbers[] = {
		{ "dose", o->dose_e_per_A2, false },
		{ "voltage", o->voltage_kV, false },
		{ "thickness", o->thickness_A, false },
		{ "mean free path", o->mean_free_path_A, false },
		{ "motion length", o->motion_length_A, false },
		{ "spherical aberration", o->spherical_aberration_mm, true },
		{ "B-factor", o->bfactor_A2, true },
		{ "astigmatism", o->astigmatism_A, true },
		{ "motion", o->motion_A, true },
		{ "signal", o->signal, true },
		{ "ice noise", o->ice_noise, true },
		{ "defocus error", o->error_defocus_A, true },
		{ "astigmatism error", o->error_astigmatism_A, true },
		{ "scale error", o->error_scale, true },
		{ "shift error", o->error_shift_A, true },
		{ "angle error", o->error_angle_rad, true },
		{ "position error", o->error_position_A, true },
		{ "orientation error", o->error_orientation_rad, true },
	};
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		CYC_CHECK(isfinite(numbers[i].value) &&
		              (numbers[i].value > 0 || (numbers[i].may_be_zero && numbers[i].value >= 0)),
		          CYC_E_USAGE, "the %s must %s, got %g", numbers[i].what,
		          numbers[i].may_be_zero ? "not be negative" : "be positive", numbers[i].value);
	CYC_CHECK(o->thickness_A <= 1e5 && !(fabs(o->radius_A) > 1e4), CYC_E_USAGE,
	          "the ice must be at most 100000 Å and particles at most 10000 Å, got %g and %g", o->thickness_A,
	          o->radius_A);
	CYC_CHECK(o->amplitude_contrast_frac >= 0 && o->amplitude_contrast_frac < 1, CYC_E_USAGE,
	          "the amplitude contrast must be in [0, 1), got %g", o->amplitude_contrast_frac);
	CYC_CHECK(fabs(o->aberration_rad) <= 20, CYC_E_USAGE, "aberrations must be -20 to 20 rad, got %g",
	          o->aberration_rad);
	CYC_CHECK(fabs(o->magnification_frac) <= 0.1, CYC_E_USAGE,
	          "the anisotropic magnification must be -0.1 to 0.1, got %g", o->magnification_frac);
	CYC_CHECK(o->defocus_min_A > 0 && o->defocus_min_A <= o->defocus_max_A && o->defocus_max_A <= 2e5,
	          CYC_E_USAGE,
	          "the defocus must be 0 to 200000 Å, the minimum not above the maximum, got %g to %g",
	          o->defocus_min_A, o->defocus_max_A);
done:
	return st;
}

static cyc_status check_particle_fits(const cyc__sim_model *m, const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	double farthest = 0;
	for (int64_t i = 0; i < m->n_atoms; i++)
		farthest =
			fmax(farthest, cyc_square(m->atoms[i].x) + cyc_square(m->atoms[i].y) + cyc_square(m->atoms[i].z));
	/* Atoms have a width, and the map must fall off before the box ends. */
	double needed = sqrt(farthest) + 4 * o->pixel_size_A;
	if (needed > 0.5 * o->box_px * o->pixel_size_A) {
		st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__,
		                     "a particle of radius %.1f Å does not fit into a box of %d px of %g Å",
		                     m->radius_A, (int)o->box_px, o->pixel_size_A);
		cyc_error_hint("use a box of at least %d px", 2 * (int)ceil(needed / o->pixel_size_A));
	}
	return st;
}

static cyc_status check_free(const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	char *path = NULL, *set = NULL, *map = NULL;
	CYC_TRY(cyc_outputs_find(&path, CYC_OUTPUT_SIMULATE, NULL, o->out_dir));
	CYC_TRY(cyc_path_join(&set, o->out_dir, "optimisation_set.star"));
	CYC_TRY(cyc_path_join(&map, o->out_dir, "truth/map.mrc"));
	/* The map is written first, the set last: one without the other is left from a run that was interrupted.
	 */
	bool is_leftover = cyc_path_exists(map) && !cyc_path_exists(set);
	if (!o->force && path && !is_leftover) {
		cyc_error_raise(CYC_E_IO, __FILE__, __LINE__, __func__,
		                "a project exists already: %s would be overwritten", path);
		cyc_error_hint("choose another folder, or overwrite it with --force");
		st = CYC_E_IO;
	}
done:
	cyc_free(path);
	cyc_free(set);
	cyc_free(map);
	return st;
}

/* ---------------------------------------------------------------- images */

typedef struct {
	cyc__sim_renderer *renderer;
	const cyc__sim_scene *scene;
	const cyc_simulate_options *o;
	cyc_volume *stack; /* of the series being made, or NULL: a file per image */
	int32_t i_series;
} image_job;

static cyc_status image_task(void *arg, int64_t i, int i_thread)
{
	cyc_status st = CYC_OK;
	const image_job *j = arg;
	cyc_volume *v = NULL;
	char *name = NULL, *path = NULL;
	int32_t nx = j->scene->image_nx, ny = j->scene->image_ny, f = (int32_t)i;
	if (j->stack) {
		CYC_TRY(cyc__sim_render(j->stack->data + (size_t)f * (size_t)nx * (size_t)ny, j->renderer,
		                        j->i_series, f, i_thread));
	} else {
		CYC_TRY(cyc_volume_create(&v, nx, ny, 1, j->scene->pixel_size_A));
		CYC_TRY(cyc__sim_render(v->data, j->renderer, j->i_series, f, i_thread));
		CYC_TRY(cyc__sim_image_name(&name, j->i_series, f, j->o));
		CYC_TRY(cyc_path_join(&path, j->o->out_dir, name));
		CYC_TRY(cyc_mrc_write(path, v, j->o->float32 ? 2 : 12, NULL));
	}
done:
	cyc_free(name);
	cyc_free(path);
	cyc_volume_destroy(&v);
	return st;
}

static cyc_status make_images(const cyc__sim_scene *s, const cyc_volume *map, const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	image_job j = { .scene = s, .o = o };
	char *path = NULL;
	CYC_TRY(cyc_path_join(&path, o->out_dir, o->as_stack ? "stacks" : "frames"));
	CYC_TRY(cyc_make_dirs(path));
	CYC_TRY(cyc__sim_renderer_create(&j.renderer, s, map, o));
	for (j.i_series = 0; j.i_series < s->n_series; j.i_series++) {
		cyc_progress("simulate tilt images", j.i_series, s->n_series);
		if (o->as_stack)
			CYC_TRY(cyc_volume_create(&j.stack, s->image_nx, s->image_ny, s->n_tilts, s->pixel_size_A));
		CYC_TRY(cyc_parallel_for(s->n_tilts, o->n_threads > 0 ? o->n_threads : 1, image_task, &j));
		if (!o->as_stack) continue;
		cyc_free(path);
		path = NULL;
		CYC_TRY(cyc_asprintf(&path, "%s/stacks/TS_%02d.mrcs", o->out_dir, (int)j.i_series + 1));
		CYC_TRY(cyc_mrc_write(path, j.stack, o->float32 ? 2 : 12, NULL));
		cyc_volume_destroy(&j.stack);
	}
	cyc_progress("simulate tilt images", s->n_series, s->n_series);
done:
	cyc_free(path);
	cyc_volume_destroy(&j.stack);
	cyc__sim_renderer_destroy(&j.renderer);
	return st;
}

/* ---------------------------------------------------------------- job */

static cyc_status write_masks(const cyc__sim_model *m, const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	cyc_volume *v = NULL;
	CYC_TRY(cyc__sim_mask(&v, m, 14, 6 * o->pixel_size_A, o));
	CYC_TRY(cyc_map_write(o->out_dir, "mask_align.mrc", v, NULL, o->n_threads));
	cyc_volume_destroy(&v);
	CYC_TRY(cyc__sim_mask(&v, m, 7, 5 * o->pixel_size_A, o));
	CYC_TRY(cyc_map_write(o->out_dir, "mask_fsc.mrc", v, NULL, o->n_threads));
done:
	cyc_volume_destroy(&v);
	return st;
}

cyc_status cyc_simulate_run(cyc_simulate_result *result, const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	cyc__sim_model model = { 0 };
	cyc__sim_scene scene = { 0 };
	cyc_volume *map = NULL;
	char *truth = NULL;
	if (result) memset(result, 0, sizeof *result);
	CYC_TRY(check_sizes(o));
	CYC_TRY(check_physics(o));
	CYC_TRY(cyc_memory_require(cyc_simulate_memory_bytes(o), o->n_threads,
	                           "use a smaller box (--box), smaller images (--size), or fewer threads (--j)"));
	CYC_TRY(cyc__sim_model_make(&model, o));
	CYC_TRY(check_particle_fits(&model, o));
	CYC_TRY(cyc__sim_scene_make(&scene, model.radius_A, o));
	CYC_TRY(check_free(o));
	CYC_TRY(cyc_path_join(&truth, o->out_dir, "truth"));
	CYC_TRY(cyc_make_dirs(truth));
	CYC_TRY(cyc__sim_map(&map, &model, o));
	CYC_TRY(cyc_map_write(o->out_dir, "truth/map.mrc", map, NULL, o->n_threads));
	CYC_TRY(write_masks(&model, o));
	CYC_TRY(make_images(&scene, map, o));
	CYC_TRY(cyc__sim_write_stars(&scene, o));
	if (result) {
		result->n_images = (int64_t)scene.n_series * scene.n_tilts;
		result->n_atoms = model.n_atoms;
		result->radius_A = model.radius_A;
		result->mass_kDa = 0.11 * (double)model.n_ca;
		result->image_bytes = result->n_images * scene.image_nx * scene.image_ny * (o->float32 ? 4 : 2);
	}
done:
	cyc_free(truth);
	cyc_volume_destroy(&map);
	cyc__sim_scene_deinit(&scene);
	cyc__sim_model_deinit(&model);
	return st;
}
