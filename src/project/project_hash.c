#include "cyclotomo/project.h"

#include <string.h>

static uint64_t hash_count(uint64_t h, int64_t n) { return cyc_hash(h, &n, sizeof n); }

/* With its length, so that consecutive arrays cannot be confused. */
static uint64_t hash_numbers(uint64_t h, const double *v, int64_t n)
{
	h = hash_count(h, v ? n : -1);
	return v ? cyc_hash(h, v, (size_t)n * sizeof *v) : h;
}

static uint64_t hash_tilt(uint64_t h, const cyc_tilt *t)
{
	const double v[] = { t->pre_exposure_e_per_A2,
		                 t->xtilt_rad,
		                 t->ytilt_rad,
		                 t->zrot_rad,
		                 t->shift_x_A,
		                 t->shift_y_A,
		                 t->defocus_u_A,
		                 t->defocus_v_A,
		                 t->defocus_angle_rad,
		                 t->phase_shift_rad,
		                 t->scale,
		                 t->bfactor_A2,
		                 t->has_nominal_tilt ? t->nominal_tilt_rad : 0.0 };
	const int64_t has = t->has_angles + 2 * t->has_matrix + 4 * t->has_nominal_tilt;
	h = cyc_hash_string(h, t->image);
	h = hash_count(cyc_hash(h, v, sizeof v), has);
	h = hash_numbers(h, t->deformation, t->n_deformation);
	return t->has_matrix ? cyc_hash(h, t->matrix, sizeof t->matrix) : h;
}

static uint64_t hash_series(uint64_t h, const cyc_tilt_series *ts)
{
	const double v[] = {
		ts->pixel_size_A, ts->voltage_kV,    ts->spherical_aberration_mm, ts->amplitude_contrast_frac,
		ts->hand,         ts->defocus_slope, ts->bfactor_per_dose_A2,     ts->fractional_dose_e_per_A2
	};
	const int64_t sizes[] = { ts->size_px[0],       ts->size_px[1],          ts->size_px[2],
		                      ts->deformation_type, ts->deformation_grid[0], ts->deformation_grid[1],
		                      ts->n_tilts,          ts->keep_outliers,       ts->erase_beads };
	h = cyc_hash_string(cyc_hash_string(cyc_hash_string(h, ts->name), ts->stack), ts->optics_group_name);
	h = cyc_hash(cyc_hash(h, v, sizeof v), sizes, sizeof sizes);
	for (int32_t f = 0; f < ts->n_tilts; f++) h = hash_tilt(h, &ts->tilts[f]);
	return h;
}

static uint64_t hash_optics(uint64_t h, const cyc_optics_group *o)
{
	const double v[] = { o->voltage_kV, o->spherical_aberration_mm, o->amplitude_contrast_frac,
		                 o->pixel_size_A };
	h = cyc_hash(cyc_hash_string(h, o->name), v, sizeof v);
	h = hash_numbers(h, o->even_zernike, o->n_even);
	h = hash_numbers(h, o->odd_zernike, o->n_odd);
	return hash_numbers(h, o->has_magnification ? &o->magnification[0][0] : NULL, 4);
}

static uint64_t hash_particle(uint64_t h, const cyc_particle *p, int32_t n_tilts)
{
	const int64_t where[] = { p->i_series, p->i_optics,         p->half,
		                      p->row,      p->motion_A != NULL, p->visible_frames != NULL };
	h = cyc_hash(cyc_hash_string(h, p->name), where, sizeof where);
	h = cyc_hash(h, &p->position_A, sizeof p->position_A);
	h = cyc_hash(h, &p->R_tomo_part, sizeof p->R_tomo_part);
	h = cyc_hash(h, &p->R_tomo_ref, sizeof p->R_tomo_ref);
	h = cyc_hash(h, &p->probability, sizeof p->probability);
	if (p->motion_A) h = cyc_hash(h, p->motion_A, 3 * sizeof(float) * (size_t)n_tilts);
	return p->visible_frames ? cyc_hash(h, p->visible_frames, (size_t)n_tilts) : h;
}

uint64_t cyc_project_hash(uint64_t h, const cyc_tomogram_set *tomograms, const cyc_particle_set *particles)
{
	const int64_t counts[] = { tomograms->n_series, particles->n_optics, particles->n, particles->has_halves,
		                       particles->are_2d_stacks };
	h = cyc_hash(h, counts, sizeof counts);
	for (int32_t i = 0; i < tomograms->n_series; i++) h = hash_series(h, &tomograms->series[i]);
	for (int32_t g = 0; g < particles->n_optics; g++) h = hash_optics(h, &particles->optics[g]);
	for (int64_t i = 0; i < particles->n; i++) {
		const cyc_particle *p = &particles->particles[i];
		h = hash_particle(h, p, tomograms->series[p->i_series].n_tilts);
	}
	/* Jobs read columns that the structs do not have, and pass all on: the tables themselves. */
	if (tomograms->star) h = cyc_star_hash(h, tomograms->star, NULL);
	for (int32_t i = 0; i < tomograms->n_series && tomograms->series_star; i++)
		if (tomograms->series_star[i]) h = cyc_star_hash(h, tomograms->series_star[i], NULL);
	return particles->star ? cyc_star_hash(h, particles->star, NULL) : h;
}
