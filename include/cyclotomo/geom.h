/**
 * @file geom.h
 * Rotations, rigid transforms, Euler angles and point groups. Angles are radians here; degrees live in files.
 *
 * R_a_b maps b-coordinates to a-coordinates: x_a = R_a_b x_b. Frames: ref (map), part (subtomogram), tomo,
 * img.
 */
#ifndef CYCLOTOMO_GEOM_H
#define CYCLOTOMO_GEOM_H

#include "cyclotomo/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
	double m[3][3];
} cyc_mat3;
typedef struct {
	double x, y, z;
} cyc_vec3;

cyc_mat3 cyc_mat3_identity(void);
cyc_mat3 cyc_mat3_mul(cyc_mat3 a, cyc_mat3 b);
cyc_mat3 cyc_mat3_transpose(cyc_mat3 a);
cyc_vec3 cyc_mat3_apply(cyc_mat3 a, cyc_vec3 v);
double cyc_mat3_det(cyc_mat3 a);
/** Inverse of a regular matrix. */
cyc_mat3 cyc_mat3_inverse(cyc_mat3 a);
/** Largest absolute element of a a^T - 1: 0 for a rotation. */
double cyc_mat3_orthogonality_error(cyc_mat3 a);
/** Right-handed active rotations about the axes. */
cyc_mat3 cyc_rot_x(double angle);
cyc_mat3 cyc_rot_y(double angle);
cyc_mat3 cyc_rot_z(double angle);
/** Right-handed rotation by `angle` about an axis of any length. */
cyc_mat3 cyc_rot_axis(cyc_vec3 axis, double angle);
/** RELION's Euler matrix E(rot, tilt, psi) = Rz(-psi) Ry(-tilt) Rz(-rot); as a pose it is R_part_ref. */
cyc_mat3 cyc_euler_to_matrix(double rot, double tilt, double psi);
/** Inverse of cyc_euler_to_matrix(); rot = 0 at the poles. */
void cyc_euler_from_matrix(double *rot, double *tilt, double *psi, cyc_mat3 a);
/** Tilt-series geometry: R = Rz(zrot) Ry(ytilt) Rx(xtilt), R_img_tomo of a tilt image. */
cyc_mat3 cyc_tilt_to_matrix(double xtilt, double ytilt, double zrot);
/** Inverse of cyc_tilt_to_matrix(); xtilt = 0 when |ytilt| = 90 degrees. */
void cyc_tilt_from_matrix(double *xtilt, double *ytilt, double *zrot, cyc_mat3 r);

/** Share of a disc of radius r that is in another of radius R >= r, at a distance between the centres. */
double cyc_disc_coverage(double r, double R, double distance);

/** All n rotations of a point group, the identity first. Destroy with cyc_symmetry_destroy(). */
typedef struct {
	char name[16];
	int32_t n;
	cyc_mat3 *ops;
} cyc_symmetry;
/**
 * Cn, Dn, T, O, I (= I2), I1..I4 in RELION's settings (case-insensitive).
 * @return CYC_E_USAGE naming the groups that are known.
 */
CYC_MUST_CHECK cyc_status cyc_symmetry_create(cyc_symmetry **out, const char *name);
void cyc_symmetry_destroy(cyc_symmetry **s);
/** Number of its rotations, for plans of memory; 1 if the name is not one. */
int32_t cyc_symmetry_order(const char *name);

#ifdef __cplusplus
}
#endif
#endif
