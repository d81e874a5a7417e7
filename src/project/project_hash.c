#include "cyclotomo/project.h"

#include <string.h>

static uint64_t hash_tilt(uint64_t h, const cyc_tilt *t)
{
	const double v[] = { t->pre_exposure_e_per_A2, t->xtilt_rad, t->ytilt_rad, t->zrot_rad, t->shift_x_A, t->shift_y_A, t->defocus_u_A, t->defocus_v_A,
		                 t->defocus_angle_rad, t->phase_shift_rad, t->scale, t->bfactor_A2 };
	h = cyc_hash_string(h, t->image);
	h = cyc_hash(h, v, sizeof v);
	if (t->deformation) h = cyc_hash(h, t->deformation, (size_t)t->n_deformation * sizeof *t->deformation);
	return t->has_matrix ? cyc_hash(h, t->matrix, sizeof t->matrix) : h;
}

uint64_t cyc_project_hash(uint64_t h, const cyc_tomogram_set *tomograms, const cyc_particle_set *particles)
{
	for (int32_t i = 0; i < tomograms->n_series; i++) {
		const cyc_tilt_series *ts = &tomograms->series[i];
		const double v[] = { ts->pixel_size_A, ts->voltage_kV, ts->spherical_aberration_mm, ts->amplitude_contrast_frac, ts->hand, ts->defocus_slope,
			                 ts->bfactor_per_dose_A2, ts->size_px[0], ts->size_px[1], ts->size_px[2] };
		h = cyc_hash_string(h, ts->name);
		h = cyc_hash_string(h, ts->stack);
		h = cyc_hash(h, v, sizeof v);
		h = cyc_hash_string(h, ts->keep_outliers ? "outliers kept" : "outliers replaced");
		if (ts->erase_beads) h = cyc_hash_string(h, "beads replaced");
		for (int32_t f = 0; f < ts->n_tilts; f++) h = hash_tilt(h, &ts->tilts[f]);
	}
	for (int32_t g = 0; g < particles->n_optics; g++) {
		const cyc_optics_group *o = &particles->optics[g];
		if (o->even_zernike) h = cyc_hash(h, o->even_zernike, (size_t)o->n_even * sizeof(double));
		if (o->has_magnification) h = cyc_hash(h, o->magnification, sizeof o->magnification);
		if (o->odd_zernike) h = cyc_hash(h, o->odd_zernike, (size_t)o->n_odd * sizeof(double));
	}
	for (int64_t i = 0; i < particles->n; i++) {
		const cyc_particle *p = &particles->particles[i];
		h = cyc_hash_string(h, p->name);
		h = cyc_hash(h, &p->half, sizeof p->half);
		h = cyc_hash(h, &p->i_optics, sizeof p->i_optics);
		h = cyc_hash(h, &p->position_A, sizeof p->position_A);
		h = cyc_hash(h, &p->R_tomo_ref, sizeof p->R_tomo_ref);
		h = cyc_hash(h, &p->probability, sizeof p->probability);
		if (p->motion_A) h = cyc_hash(h, p->motion_A, 3 * sizeof(float) * (size_t)tomograms->series[p->i_series].n_tilts);
	}
	return h;
}
