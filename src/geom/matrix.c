#include "cyclotomo/geom.h"

#include <float.h>
#include <math.h>

cyc_mat3 cyc_mat3_identity(void) { return (cyc_mat3){ { { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 } } }; }

cyc_mat3 cyc_mat3_mul(cyc_mat3 a, cyc_mat3 b)
{
	cyc_mat3 c;
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 3; j++)
			c.m[i][j] = a.m[i][0] * b.m[0][j] + a.m[i][1] * b.m[1][j] + a.m[i][2] * b.m[2][j];
	return c;
}

cyc_mat3 cyc_mat3_transpose(cyc_mat3 a)
{
	cyc_mat3 t;
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 3; j++) t.m[i][j] = a.m[j][i];
	return t;
}

cyc_vec3 cyc_mat3_apply(cyc_mat3 a, cyc_vec3 v)
{
	return (cyc_vec3){ a.m[0][0] * v.x + a.m[0][1] * v.y + a.m[0][2] * v.z,
		               a.m[1][0] * v.x + a.m[1][1] * v.y + a.m[1][2] * v.z,
		               a.m[2][0] * v.x + a.m[2][1] * v.y + a.m[2][2] * v.z };
}

double cyc_mat3_det(cyc_mat3 a)
{
	return a.m[0][0] * (a.m[1][1] * a.m[2][2] - a.m[1][2] * a.m[2][1]) -
	       a.m[0][1] * (a.m[1][0] * a.m[2][2] - a.m[1][2] * a.m[2][0]) +
	       a.m[0][2] * (a.m[1][0] * a.m[2][1] - a.m[1][1] * a.m[2][0]);
}

cyc_mat3 cyc_mat3_inverse(cyc_mat3 a)
{
	cyc_mat3 b;
	double det = cyc_mat3_det(a);
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 3; j++) {
			int r0 = (j + 1) % 3, r1 = (j + 2) % 3, c0 = (i + 1) % 3, c1 = (i + 2) % 3;
			b.m[i][j] = (a.m[r0][c0] * a.m[r1][c1] - a.m[r0][c1] * a.m[r1][c0]) / det;
		}
	return b;
}

double cyc_mat3_orthogonality_error(cyc_mat3 a)
{
	cyc_mat3 p = cyc_mat3_mul(a, cyc_mat3_transpose(a));
	double worst = 0;
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 3; j++) worst = fmax(worst, fabs(p.m[i][j] - (i == j ? 1.0 : 0.0)));
	return worst;
}

cyc_mat3 cyc_rot_x(double angle)
{
	double c = cos(angle), s = sin(angle);
	return (cyc_mat3){ { { 1, 0, 0 }, { 0, c, -s }, { 0, s, c } } };
}

cyc_mat3 cyc_rot_y(double angle)
{
	double c = cos(angle), s = sin(angle);
	return (cyc_mat3){ { { c, 0, s }, { 0, 1, 0 }, { -s, 0, c } } };
}

cyc_mat3 cyc_rot_z(double angle)
{
	double c = cos(angle), s = sin(angle);
	return (cyc_mat3){ { { c, -s, 0 }, { s, c, 0 }, { 0, 0, 1 } } };
}

cyc_mat3 cyc_rot_axis(cyc_vec3 axis, double angle)
{
	double n = sqrt(axis.x * axis.x + axis.y * axis.y + axis.z * axis.z);
	double x = axis.x / n, y = axis.y / n, z = axis.z / n, c = cos(angle), s = sin(angle), d = 1 - c;
	return (cyc_mat3){ { { c + x * x * d, x * y * d - z * s, x * z * d + y * s },
		                 { y * x * d + z * s, c + y * y * d, y * z * d - x * s },
		                 { z * x * d - y * s, z * y * d + x * s, c + z * z * d } } };
}

cyc_mat3 cyc_euler_to_matrix(double rot, double tilt, double psi)
{
	return cyc_mat3_mul(cyc_rot_z(-psi), cyc_mat3_mul(cyc_rot_y(-tilt), cyc_rot_z(-rot)));
}

void cyc_euler_from_matrix(double *rot, double *tilt, double *psi, cyc_mat3 a)
{
	double s = hypot(a.m[0][2], a.m[1][2]);
	*tilt = atan2(s, a.m[2][2]);
	/* At the poles rot and psi turn about one axis: all of it goes to psi. */
	if (s > 16 * DBL_EPSILON) {
		*rot = atan2(a.m[2][1], a.m[2][0]);
		*psi = atan2(a.m[1][2], -a.m[0][2]);
	} else {
		*rot = 0;
		*psi = a.m[2][2] > 0 ? atan2(-a.m[1][0], a.m[0][0]) : atan2(a.m[1][0], -a.m[0][0]);
	}
}

cyc_mat3 cyc_tilt_to_matrix(double xtilt, double ytilt, double zrot)
{
	return cyc_mat3_mul(cyc_rot_z(zrot), cyc_mat3_mul(cyc_rot_y(ytilt), cyc_rot_x(xtilt)));
}

void cyc_tilt_from_matrix(double *xtilt, double *ytilt, double *zrot, cyc_mat3 r)
{
	double c = hypot(r.m[0][0], r.m[1][0]);
	*ytilt = atan2(-r.m[2][0], c); /* asin loses half the digits near 90 degrees */
	if (c > 16 * DBL_EPSILON) {
		*xtilt = atan2(r.m[2][1], r.m[2][2]);
		*zrot = atan2(r.m[1][0], r.m[0][0]);
	} else {
		*xtilt = 0;
		*zrot = atan2(-r.m[0][1], r.m[1][1]);
	}
}

double cyc_disc_coverage(double r, double R, double distance)
{
	if (distance <= R - r) return 1;
	if (distance >= R + r) return 0;
	double a = (distance * distance + r * r - R * R) / (2 * distance), b = distance - a;
	double area =
		r * r * acos(a / r) - a * sqrt(r * r - a * a) + R * R * acos(b / R) - b * sqrt(R * R - b * b);
	return area / (CYC_PI * r * r);
}
