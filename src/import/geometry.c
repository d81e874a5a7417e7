/* Projection matrices of other programs' alignments, and RELION-5's five numbers of a matrix. */
#include "import/import_internal.h"

#include <math.h>

void cyc__projection_of_view(double P[3][4], const cyc__view *v, const cyc__view_series *s,
                             cyc_import_axes axes)
{
	/* IMOD's x' = x cos b + t sin b, with t the thickness as tilt writes it. -rx turns t over: z = -t. */
	bool is_relion = axes == CYC_IMPORT_AXES_RELION;
	double sign = axes == CYC_IMPORT_AXES_ROTX || axes == CYC_IMPORT_AXES_RAW ? -1 : 1;
	const double(*a)[2] = (const double(*)[2])v->matrix;
	double det = a[0][0] * a[1][1] - a[0][1] * a[1][0];
	cyc_mat3 back = {
		{ { a[1][1] / det, -a[0][1] / det, 0 }, { -a[1][0] / det, a[0][0] / det, 0 }, { 0, 0, 1 } }
	};
	cyc_mat3 tilt = cyc_mat3_mul(cyc_rot_y(sign * v->ytilt_rad), cyc_rot_x(sign * v->xtilt_rad));
	cyc_mat3 L = cyc_mat3_mul(back, tilt);
	double c[3], shift[3] = { s->tomogram_shift_px[0], 0, sign * s->tomogram_shift_px[1] };
	for (int k = 0; k < 3; k++)
		c[k] = is_relion ? (double)(s->size_px[k] / 2) : 0.5 * (s->size_px[k] - 1) + shift[k];
	double b[3] = { is_relion ? (double)(s->image_nx / 2) : 0.5 * (s->image_nx - 1),
		            is_relion ? (double)(s->image_ny / 2) : 0.5 * (s->image_ny - 1), 0 };
	cyc_vec3 d = cyc_mat3_apply(back, (cyc_vec3){ v->shift_px[0], v->shift_px[1], 0 });
	double moved[3] = { b[0] - d.x, b[1] - d.y, 0 };
	for (int i = 0; i < 3; i++) {
		P[i][3] = moved[i];
		for (int k = 0; k < 3; k++) {
			P[i][k] = L.m[i][k];
			P[i][3] -= L.m[i][k] * c[k];
		}
	}
}

/* The rotation nearest to a matrix, by Newton's iteration of its polar decomposition (Higham 1986). */
static cyc_mat3 nearest_rotation(cyc_mat3 a)
{
	for (int n = 0; n < 50 && cyc_mat3_orthogonality_error(a) > 1e-15; n++) {
		cyc_mat3 b = cyc_mat3_transpose(cyc_mat3_inverse(a));
		for (int i = 0; i < 9; i++) a.m[i / 3][i % 3] = 0.5 * (a.m[i / 3][i % 3] + b.m[i / 3][i % 3]);
	}
	return a;
}

cyc__angles cyc__angles_of(const double P[3][4], const int32_t size_px[3], int32_t image_nx, int32_t image_ny)
{
	cyc__angles a = { 0 };
	cyc_mat3 L;
	for (int i = 0; i < 9; i++) L.m[i / 3][i % 3] = P[i / 3][i % 3];
	cyc_tilt_from_matrix(&a.angle_rad[0], &a.angle_rad[1], &a.angle_rad[2], nearest_rotation(L));
	cyc_mat3 R = cyc_tilt_to_matrix(a.angle_rad[0], a.angle_rad[1], a.angle_rad[2]);
	double centre[2] = { (double)(image_nx / 2), (double)(image_ny / 2) };
	for (int i = 0; i < 2; i++) {
		a.shift_px[i] = P[i][3] - centre[i];
		for (int k = 0; k < 3; k++) a.shift_px[i] += P[i][k] * (double)(size_px[k] / 2);
	}
	/* The same at the centre, so the difference is that of the linear parts. */
	for (int corner = 0; corner < 4; corner++) {
		double off[2] = { 0 };
		for (int k = 0; k < 3; k++) {
			double x = (corner >> k & 1 ? 0.5 : -0.5) * size_px[k];
			for (int i = 0; i < 2; i++) off[i] += (L.m[i][k] - R.m[i][k]) * x;
		}
		a.worst_px = fmax(a.worst_px, hypot(off[0], off[1]));
	}
	return a;
}
