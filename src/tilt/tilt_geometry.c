#include "cyclotomo/tilt.h"
#include "project/labels.h"

#include <math.h>

cyc_status cyc_projection_linear(cyc_mat3 *out, const cyc_tilt_series *ts, int32_t i_tilt)
{
	cyc_status st = CYC_OK;
	const cyc_tilt *t = &ts->tilts[i_tilt];
	CYC_CHECK(t->has_angles || t->has_matrix, CYC_E_DATA,
	          "tilt series %s, row %d: no geometry (%s, %s, ... or %s, ...)", ts->name, i_tilt + 1,
	          CYC_RLN_TOMO_Y_TILT, CYC_RLN_TOMO_Z_ROT, CYC_RLN_TOMO_PROJ_X);
	*out = cyc_tilt_to_matrix(t->xtilt_rad, t->ytilt_rad, t->zrot_rad);
	for (int i = 0; i < 9 && t->has_matrix; i++) out->m[i / 3][i % 3] = t->matrix[i / 3][i % 3];
done:
	return st;
}

cyc_status cyc_projection_of_tilt(cyc_projection *out, const cyc_tilt_series *ts, int32_t i_tilt)
{
	cyc_status st = CYC_OK;
	const cyc_tilt *t = &ts->tilts[i_tilt];
	CYC_CHECK(ts->image_nx > 0, CYC_E_INTERNAL, "tilt series %s has not been opened", ts->name);
	CYC_TRY(cyc_projection_linear(&out->linear, ts, i_tilt));
	out->pixel_size_A = ts->pixel_size_A;
	if (t->has_matrix) {
		double c[3], o[3];
		for (int i = 0; i < 3; i++) c[i] = 0.5 * ts->size_px[i];
		for (int i = 0; i < 3; i++) {
			o[i] = t->matrix[i][3];
			for (int j = 0; j < 3; j++) o[i] += t->matrix[i][j] * c[j];
		}
		out->origin_px = (cyc_vec3){ o[0], o[1], o[2] };
		goto done;
	}
	/* Coordinates are relative to size/2, the rotation is about floor(size/2): half a pixel apart for odd
	 * sizes. */
	cyc_vec3 half = { 0.5 * (ts->size_px[0] % 2), 0.5 * (ts->size_px[1] % 2), 0.5 * (ts->size_px[2] % 2) };
	cyc_vec3 o = cyc_mat3_apply(out->linear, half);
	out->origin_px = (cyc_vec3){ o.x + ts->image_nx / 2 + t->shift_x_A / ts->pixel_size_A,
		                         o.y + ts->image_ny / 2 + t->shift_y_A / ts->pixel_size_A, o.z };
done:
	return st;
}

cyc_vec3 cyc_project(const cyc_projection *p, cyc_vec3 x_A)
{
	double s = 1 / p->pixel_size_A;
	cyc_vec3 q = cyc_mat3_apply(p->linear, (cyc_vec3){ s * x_A.x, s * x_A.y, s * x_A.z });
	return (cyc_vec3){ q.x + p->origin_px.x, q.y + p->origin_px.y, q.z + p->origin_px.z };
}

void cyc_particle_position_px(double *x, double *y, const cyc_projection *p, const cyc_tilt_series *ts,
                              int32_t i_tilt, const cyc_particle *particle)
{
	cyc_vec3 r = particle->position_A;
	if (particle->motion_A) {
		const float *m = particle->motion_A + 3 * i_tilt;
		r = (cyc_vec3){ r.x + (double)m[0], r.y + (double)m[1], r.z + (double)m[2] };
	}
	cyc_vec3 q = cyc_project(p, r);
	double dx, dy;
	cyc_deformation(&dx, &dy, ts, i_tilt, q.x, q.y);
	*x = q.x + dx;
	*y = q.y + dy;
}

double cyc_particle_extra_defocus_A(const cyc_projection *p, const cyc_tilt_series *ts,
                                    const cyc_particle *particle)
{
	/* The resting position, also when the particle moves: as in RELION, so that refined defoci mean the same.
	 */
	cyc_vec3 r = particle->position_A;
	double depth_A = p->linear.m[2][0] * r.x + p->linear.m[2][1] * r.y + p->linear.m[2][2] * r.z;
	return ts->hand * ts->defocus_slope * depth_A;
}

bool cyc_is_visible(const cyc_tilt_series *ts, double x, double y, double margin)
{
	return x > margin && x < ts->image_nx - margin && y > margin && y < ts->image_ny - margin;
}

cyc_ctf cyc_ctf_of_tilt(const cyc_tilt_series *ts, int32_t i_tilt, const cyc_optics_group *group)
{
	const cyc_tilt *t = &ts->tilts[i_tilt];
	return (cyc_ctf){
		.wavelength_A = cyc_electron_wavelength_A(ts->voltage_kV),
		.spherical_aberration_mm = ts->spherical_aberration_mm,
		.amplitude_contrast_frac = ts->amplitude_contrast_frac,
		.phase_shift_rad = t->phase_shift_rad,
		.defocus_u_A = t->defocus_u_A,
		.defocus_v_A = t->defocus_v_A,
		.defocus_angle_rad = t->defocus_angle_rad,
		.scale = t->scale,
		.bfactor_A2 = t->bfactor_A2,
		.even_zernike = group ? group->even_zernike : NULL,
		.n_even = group ? group->n_even : 0,
	};
}
