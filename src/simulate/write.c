/* The STAR files of a simulated project, with the errors and without. */
#include "simulate/simulate_internal.h"

#include "cyclotomo/project.h"
#include "project/labels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

cyc_status cyc__sim_series_name(char **out, int32_t i_series)
{
	return cyc_asprintf(out, "TS_%02d", (int)i_series + 1);
}

cyc_status cyc__sim_image_name(char **out, int32_t i_series, int32_t i_tilt, const cyc_simulate_options *o)
{
	if (o->as_stack) return cyc_asprintf(out, "%06d@stacks/TS_%02d.mrcs", (int)i_tilt + 1, (int)i_series + 1);
	return cyc_asprintf(out, "frames/TS_%02d_%03d.mrc", (int)i_series + 1, (int)i_tilt + 1);
}

static cyc_status write_at(const cyc_star *star, const char *folder, const char *name)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	CYC_TRY(cyc_path_join(&path, folder, name));
	CYC_TRY(cyc_make_parent_dirs(path));
	CYC_TRY(cyc_star_write(star, path));
done:
	cyc_free(path);
	return st;
}

/* ---------------------------------------------------------------- tomograms */

static cyc_status add_tilt(cyc_star_block *b, const cyc__sim_tilt *t, const char *image)
{
	cyc_status st = CYC_OK;
	int64_t row;
	CYC_TRY(cyc_star_add_row(&row, b));
	CYC_TRY(cyc_label_put_text(b, row, CYC_RLN_MICROGRAPH_NAME, image));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_TOMO_NOMINAL_STAGE_TILT_ANGLE, t->nominal_tilt_rad));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_MICROGRAPH_PRE_EXPOSURE, t->pre_exposure_e_per_A2));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_TOMO_X_TILT, t->xtilt_rad));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_TOMO_Y_TILT, t->ytilt_rad));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_TOMO_Z_ROT, t->zrot_rad));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_TOMO_X_SHIFT_ANGST, t->shift_x_A));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_TOMO_Y_SHIFT_ANGST, t->shift_y_A));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_DEFOCUS_U, t->defocus_u_A));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_DEFOCUS_V, t->defocus_v_A));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_DEFOCUS_ANGLE, t->defocus_angle_rad));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_CTF_SCALEFACTOR, t->scale));
done:
	return st;
}

/* `folder` is where the files go, `prefix` how the project root sees it: "" or "truth/". */
static cyc_status write_series(const cyc__sim_scene *s, const cyc__sim_tilt *tilts, int32_t i_series,
                               const char *folder, const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	cyc_star_block *b = NULL;
	char *name = NULL, *image = NULL, file[64];
	CYC_TRY(cyc__sim_series_name(&name, i_series));
	CYC_TRY(cyc_star_create(&star));
	CYC_TRY(cyc_star_add_block(&b, star, name, CYC_STAR_TABLE));
	for (int32_t f = 0; f < s->n_tilts; f++) {
		CYC_TRY(cyc__sim_image_name(&image, i_series, f, o));
		CYC_TRY(add_tilt(b, &tilts[i_series * s->n_tilts + f], image));
		cyc_free(image);
		image = NULL;
	}
	snprintf(file, sizeof file, "tilt_series/%s.star", name);
	CYC_TRY(write_at(star, folder, file));
done:
	cyc_free(name);
	cyc_free(image);
	cyc_star_destroy(&star);
	return st;
}

static cyc_status add_tomogram(cyc_star_block *b, const cyc__sim_scene *s, int32_t i_series,
                               const char *prefix, const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	char *name = NULL, *path = NULL;
	int64_t row;
	CYC_TRY(cyc__sim_series_name(&name, i_series));
	CYC_TRY(cyc_asprintf(&path, "%stilt_series/%s.star", prefix, name));
	CYC_TRY(cyc_star_add_row(&row, b));
	CYC_TRY(cyc_label_put_text(b, row, CYC_RLN_TOMO_NAME, name));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_VOLTAGE, o->voltage_kV));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_SPHERICAL_ABERRATION, o->spherical_aberration_mm));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_AMPLITUDE_CONTRAST, o->amplitude_contrast_frac));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_MICROGRAPH_ORIGINAL_PIXEL_SIZE, s->pixel_size_A));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_TOMO_HAND, o->hand));
	CYC_TRY(cyc_label_put_text(b, row, CYC_RLN_OPTICS_GROUP_NAME, "opticsGroup1"));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_TOMO_TILT_SERIES_PIXEL_SIZE, s->pixel_size_A));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_TOMO_IMPORT_FRACTIONAL_DOSE, o->dose_e_per_A2));
	CYC_TRY(cyc_label_put_text(b, row, CYC_RLN_TOMO_TILT_SERIES_STAR_FILE, path));
	for (int d = 0; d < 3; d++) CYC_TRY(cyc_label_put(b, row, CYC_LABELS_SIZE[d], s->size_px[d]));
done:
	cyc_free(name);
	cyc_free(path);
	return st;
}

static cyc_status write_tomograms(const cyc__sim_scene *s, const cyc__sim_tilt *tilts, const char *folder,
                                  const char *prefix, const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	cyc_star_block *b = NULL;
	CYC_TRY(cyc_star_create(&star));
	CYC_TRY(cyc_star_add_block(&b, star, "global", CYC_STAR_TABLE));
	for (int32_t i = 0; i < s->n_series; i++) {
		CYC_TRY(write_series(s, tilts, i, folder, o));
		CYC_TRY(add_tomogram(b, s, i, prefix, o));
	}
	CYC_TRY(write_at(star, folder, "tomograms.star"));
done:
	cyc_star_destroy(&star);
	return st;
}

/* ---------------------------------------------------------------- particles */

static cyc_status put_euler(cyc_star_block *b, int64_t row, const char *const labels[3], cyc_mat3 m)
{
	cyc_status st = CYC_OK;
	double angle[3];
	cyc_euler_from_matrix(&angle[0], &angle[1], &angle[2], m);
	CYC_TRY(cyc_label_put_three(b, row, labels, angle));
done:
	return st;
}

static cyc_status particle_name(char **out, const cyc__sim_particle *p)
{
	return cyc_asprintf(out, "TS_%02d/%d", (int)p->i_series + 1, (int)p->i_in_series + 1);
}

static cyc_status add_particle(cyc_star_block *b, const cyc__sim_particle *p, const cyc__sim_pose *pose,
                               const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	char *name = NULL, *series = NULL;
	const double place[3] = { pose->position_A.x, pose->position_A.y, pose->position_A.z },
				 origin[3] = { pose->origin_A.x, pose->origin_A.y, pose->origin_A.z };
	int64_t row;
	CYC_TRY(particle_name(&name, p));
	CYC_TRY(cyc__sim_series_name(&series, p->i_series));
	CYC_TRY(cyc_star_add_row(&row, b));
	CYC_TRY(cyc_label_put_text(b, row, CYC_RLN_TOMO_NAME, series));
	CYC_TRY(cyc_label_put_text(b, row, CYC_RLN_TOMO_PARTICLE_NAME, name));
	CYC_TRY(cyc_label_put_three(b, row, CYC_LABELS_CENTRED, place));
	if (o->subtomogram_angles) CYC_TRY(put_euler(b, row, CYC_LABELS_SUBTOMOGRAM, pose->R_tomo_part));
	CYC_TRY(put_euler(b, row, CYC_LABELS_ANGLE, pose->R_part_ref));
	CYC_TRY(cyc_label_put_three(b, row, CYC_LABELS_ORIGIN, origin));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_RANDOM_SUBSET, p->half + 1));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_OPTICS_GROUP, 1));
done:
	cyc_free(name);
	cyc_free(series);
	return st;
}

/* What was planted, as RELION's columns. k^2 kx = (Z31 + 2 Z11)/3, k^4 = (Z40 + 3 Z20 + 2 Z00)/6; k in 1/Å.
 */
static cyc_status put_aberrations(cyc_star_block *b, int64_t row, const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	int32_t column;
	double M[2][2], k3 = o->aberration_rad * pow(2 * o->pixel_size_A, 3), k4 = k3 * 2 * o->pixel_size_A;
	const double even[9] = { k4 * 0.5 / 3, 0, k4 * 0.5 / 2, 0, 0, 0, k4 * 0.5 / 6, 0, k4 };
	const double odd[6] = { -k3 * 0.3 * 2 / 3, k3 * 0.8 * 2 / 3, 0, -k3 * 0.3 / 3, k3 * 0.8 / 3, k3 * 0.5 };
	if (o->aberration_rad != 0) {
		CYC_TRY(cyc_star_ensure_column(&column, b, CYC_RLN_EVEN_ZERNIKE, "[]"));
		CYC_TRY(cyc_star_set_vector(b, row, column, even, 9));
		CYC_TRY(cyc_star_ensure_column(&column, b, CYC_RLN_ODD_ZERNIKE, "[]"));
		CYC_TRY(cyc_star_set_vector(b, row, column, odd, 6));
	}
	if (o->magnification_frac == 0) goto done;
	cyc__sim_magnification(M, o);
	for (int i = 0; i < 2; i++)
		for (int j = 0; j < 2; j++) CYC_TRY(cyc_label_put(b, row, CYC_LABELS_MAGNIFICATION[i][j], M[i][j]));
done:
	return st;
}

static cyc_status write_particles(const cyc__sim_scene *s, bool is_truth, const char *folder,
                                  const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	cyc_star_block *b = NULL;
	int64_t row;
	CYC_TRY(cyc_star_create(&star));
	CYC_TRY(cyc_star_add_block(&b, star, "general", CYC_STAR_LIST));
	CYC_TRY(cyc_star_list_set_int(b, CYC_RLN_TOMO_SUB_TOMOS_ARE_2D_STACKS, 1));
	CYC_TRY(cyc_star_add_block(&b, star, "optics", CYC_STAR_TABLE));
	CYC_TRY(cyc_star_add_row(&row, b));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_OPTICS_GROUP, 1));
	CYC_TRY(cyc_label_put_text(b, row, CYC_RLN_OPTICS_GROUP_NAME, "opticsGroup1"));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_SPHERICAL_ABERRATION, o->spherical_aberration_mm));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_VOLTAGE, o->voltage_kV));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_AMPLITUDE_CONTRAST, o->amplitude_contrast_frac));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_TOMO_TILT_SERIES_PIXEL_SIZE, s->pixel_size_A));
	if (is_truth) CYC_TRY(put_aberrations(b, row, o));
	CYC_TRY(cyc_star_add_block(&b, star, "particles", CYC_STAR_TABLE));
	for (int32_t i = 0; i < s->n_particles; i++)
		CYC_TRY(
			add_particle(b, &s->particles[i], is_truth ? &s->particles[i].truth : &s->particles[i].given, o));
	CYC_TRY(write_at(star, folder, "particles.star"));
done:
	cyc_star_destroy(&star);
	return st;
}

static cyc_status write_motion(const cyc__sim_scene *s, const char *folder)
{
	cyc_status st = CYC_OK;
	cyc_trajectory_file file = { 0 };
	double(*moved_A)[3] = NULL;
	char *name = NULL, *path = NULL;
	CYC_TRY(cyc_path_join(&path, folder, "motion.star"));
	CYC_TRY(cyc_make_parent_dirs(path));
	CYC_TRY(cyc_alloc(&moved_A, s->n_tilts, sizeof *moved_A));
	CYC_TRY(cyc_trajectory_file_open(&file, path, s->n_particles));
	for (int32_t i = 0; i < s->n_particles; i++) {
		CYC_TRY(particle_name(&name, &s->particles[i]));
		for (int32_t f = 0; f < s->n_tilts; f++)
			for (int c = 0; c < 3; c++) moved_A[f][c] = s->particles[i].motion_A[3 * f + c];
		CYC_TRY(cyc_trajectory_file_add(&file, name, (const double(*)[3])moved_A, s->n_tilts));
		cyc_free(name);
		name = NULL;
	}
	CYC_TRY(cyc_trajectory_file_commit(&file));
done:
	cyc_trajectory_file_abandon(&file);
	cyc_free(moved_A);
	cyc_free(name);
	cyc_free(path);
	return st;
}

/* ---------------------------------------------------------------- project */

static cyc_status write_optimisation_set(const char *folder, const char *prefix, bool with_motion)
{
	cyc_status st = CYC_OK;
	cyc_optimisation_set set = { 0 };
	char *path = NULL;
	CYC_TRY(cyc_asprintf(&set.particles, "%sparticles.star", prefix));
	CYC_TRY(cyc_asprintf(&set.tomograms, "%stomograms.star", prefix));
	if (with_motion) CYC_TRY(cyc_asprintf(&set.trajectories, "%smotion.star", prefix));
	CYC_TRY(cyc_path_join(&path, folder, "optimisation_set.star"));
	CYC_TRY(cyc_optimisation_set_write(&set, path));
done:
	cyc_free(set.particles);
	cyc_free(set.tomograms);
	cyc_free(set.trajectories);
	cyc_free(path);
	return st;
}

cyc_status cyc__sim_write_stars(const cyc__sim_scene *s, const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	char *truth = NULL;
	CYC_TRY(cyc_path_join(&truth, o->out_dir, "truth"));
	CYC_TRY(write_tomograms(s, s->truth, truth, "truth/", o));
	CYC_TRY(write_particles(s, true, truth, o));
	CYC_TRY(write_motion(s, truth));
	CYC_TRY(write_optimisation_set(truth, "truth/", true));
	CYC_TRY(write_tomograms(s, s->given, o->out_dir, "", o));
	CYC_TRY(write_particles(s, false, o->out_dir, o));
	/* Last: who finds this file finds the whole project. */
	CYC_TRY(write_optimisation_set(o->out_dir, "", false));
done:
	cyc_free(truth);
	return st;
}
