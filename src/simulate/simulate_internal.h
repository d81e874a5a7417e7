/* Parts of the simulator. It uses containers, transforms and file writers of the library, but has its own
 * optics, projection and slicing: a mistake in those of the jobs then shows against simulated data. Å and rad
 * throughout. */
#ifndef CYC_SIMULATE_INTERNAL_H
#define CYC_SIMULATE_INTERNAL_H

#include "cyclotomo/geom.h"
#include "cyclotomo/mrc.h"
#include "cyclotomo/simulate.h"

/* Keys of the random streams (cyc_rng_make). */
enum {
	CYC__SIM_MODEL = 0x5101,
	CYC__SIM_GEOMETRY,
	CYC__SIM_OPTICS,
	CYC__SIM_PLACES,
	CYC__SIM_POSES,
	CYC__SIM_HALVES,
	CYC__SIM_MOTION,
	CYC__SIM_ERROR_TILT,
	CYC__SIM_ERROR_PARTICLE,
	CYC__SIM_SHOT,
	CYC__SIM_ICE
};

/* ---------------------------------------------------------------- model.c: the particle */

typedef struct {
	double x, y, z, weight;
} cyc__sim_atom; /* relative to the particle's centre; weight: f_e(0) in Å */
typedef struct {
	cyc__sim_atom *atoms; /* all symmetry copies */
	cyc_vec3 *ca;         /* C-alpha positions, all copies */
	int64_t n_atoms, n_ca;
	double radius_A;
} cyc__sim_model;
cyc_status cyc__sim_model_make(cyc__sim_model *m, const cyc_simulate_options *o);
void cyc__sim_model_deinit(cyc__sim_model *m);
double cyc__sim_wavelength_A(double voltage_kV);
/* Transform of the particle at spatial frequency k (1/Å) is sum_atoms weight exp(-2 pi i k.x) times this:
 * atomic B-factor, the ice it displaces, the band limit of the true map, and electrons per px for a unit of
 * weight. */
double cyc__sim_filter(double k_invA, const cyc_simulate_options *o);
/* True map: expected electrons per px lost along a column of voxels at CTF 1, tilt 0 = sum of the column. */
cyc_status cyc__sim_map(cyc_volume **out, const cyc__sim_model *m, const cyc_simulate_options *o);
/* 1 within `distance` of a C-alpha, falling to 0 over `edge`. */
cyc_status cyc__sim_mask(cyc_volume **out, const cyc__sim_model *m, double distance_A, double edge_A,
                         const cyc_simulate_options *o);

/* ---------------------------------------------------------------- scene.c: tilt series and particles */

typedef struct {
	double nominal_tilt_rad, pre_exposure_e_per_A2;
	double xtilt_rad, ytilt_rad, zrot_rad, shift_x_A, shift_y_A;
	double defocus_u_A, defocus_v_A, defocus_angle_rad, scale;
	double mean_e_per_px; /* expected electrons per px without particles */
} cyc__sim_tilt;

typedef struct {
	cyc_vec3 position_A; /* relative to the tomogram centre; before the origin offset */
	cyc_vec3 origin_A;   /* subtomogram frame */
	cyc_mat3 R_tomo_part, R_part_ref;
} cyc__sim_pose;

typedef struct {
	int32_t i_series, i_in_series, half;
	cyc__sim_pose truth, given;
	double *motion_A; /* n_tilts x 3 */
} cyc__sim_particle;

typedef struct {
	int32_t n_series, n_tilts, n_particles; /* particles: all series */
	int32_t size_px[3];                     /* of the tomograms */
	int32_t image_nx, image_ny;
	double pixel_size_A;
	cyc__sim_tilt *truth, *given; /* n_series x n_tilts, increasing dose */
	cyc__sim_particle *particles; /* series after series */
	double *motion_data;
} cyc__sim_scene;
cyc_status cyc__sim_scene_make(cyc__sim_scene *s, double particle_radius_A, const cyc_simulate_options *o);
void cyc__sim_scene_deinit(cyc__sim_scene *s);
/* Image px (x, y) and depth (px) of a point given in Å relative to the tomogram centre. */
cyc_vec3 cyc__sim_project(const cyc__sim_scene *s, const cyc__sim_tilt *t, cyc_vec3 position_A);
/* Centre of a particle in one tilt without motion: position with the origin offset taken in. */
cyc_vec3 cyc__sim_centre(const cyc__sim_pose *p);

/* ---------------------------------------------------------------- render.c: images */

/* Oversampled transform of the true map, for central slices. */
typedef struct cyc__sim_slicer cyc__sim_slicer;
cyc_status cyc__sim_slicer_create(cyc__sim_slicer **out, const cyc_volume *map, int n_threads);
/* Bytes of the transform that it holds. */
double cyc__sim_slicer_bytes(int32_t n);
void cyc__sim_slicer_destroy(cyc__sim_slicer **s);
/* ft (n x (n/2+1), corner origin, phase origin at pixel n/2 + shift): slice of the map seen along R_img_ref.
 */
void cyc__sim_slice(cyc_cfloat *ft, const cyc__sim_slicer *s, cyc_mat3 R_img_ref, double shift_x_px,
                    double shift_y_px);
/* CTF without the contrast scale, positive at k = 0 for underfocus: sin(xx kx^2 + yy ky^2 + xy kx ky + k4
 * |k|^4 + offset - even). */
typedef struct {
	double xx, yy, xy, k4, offset, even, pixel_size_A;
} cyc__sim_optics; /* even: aberrations, rad at Nyquist */
/* Planted phases of the aberrations at k, for a phase of 1 rad at Nyquist. */
double cyc__sim_even_phase(double kx_invA, double ky_invA, double pixel_size_A);
double cyc__sim_odd_phase(double kx_invA, double ky_invA, double pixel_size_A);
/* Planted magnification: image frequency -> object frequency. */
void cyc__sim_magnification(double M[2][2], const cyc_simulate_options *o);
cyc__sim_optics cyc__sim_optics_make(double u_A, double v_A, double angle_rad, const cyc_simulate_options *o);
double cyc__sim_ctf(const cyc__sim_optics *c, double kx_invA, double ky_invA);
/* Amplitude left of spatial frequency k after an exposure. */
double cyc__sim_damage(double k_invA, double exposure_e_per_A2);
/* Edge of the square a particle's image with its CTF fringes is computed in. */
int32_t cyc__sim_stamp_px(const cyc_simulate_options *o);

typedef struct cyc__sim_renderer cyc__sim_renderer;
cyc_status cyc__sim_renderer_create(cyc__sim_renderer **out, const cyc__sim_scene *scene,
                                    const cyc_volume *map, const cyc_simulate_options *o);
void cyc__sim_renderer_destroy(cyc__sim_renderer **r);
/* Image of tilt i_tilt of series i_series (image_ny x image_nx floats) with scratch of thread i_thread. */
cyc_status cyc__sim_render(float *image, cyc__sim_renderer *r, int32_t i_series, int32_t i_tilt,
                           int i_thread);

/* ---------------------------------------------------------------- write.c: files */

/* Name of a series ("TS_01") and of a tilt image as it stands in the STAR file, relative to the project root.
 */
cyc_status cyc__sim_series_name(char **out, int32_t i_series);
cyc_status cyc__sim_image_name(char **out, int32_t i_series, int32_t i_tilt, const cyc_simulate_options *o);
cyc_status cyc__sim_write_stars(const cyc__sim_scene *s, const cyc_simulate_options *o);

#endif
