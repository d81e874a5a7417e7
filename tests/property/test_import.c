/* A simulated project, exported the way Warp, RELION-4, IMOD and AreTomo write it and imported, is the
 * project that it was: particles lie at the same places of the tilt images, in the same orientations, with
 * the same defocus and dose, and the map is the same. The exporters say what each program documents of its
 * files (docs/import.md) and share no code with the import; projections of IMOD are checked against its own
 * equation, too. */
#include "cyclotomo/array.h"
#include "cyclotomo/import.h"
#include "cyclotomo/reconstruct.h"
#include "cyclotomo/simulate.h"
#include "cyclotomo/tilt.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "temp_dir.h"

enum { N_SERIES = 2, N_TILTS = 7 };
static cyc_tomogram_set *g_tomograms;
static cyc_particle_set *g_particles;

/* Five or six decimals of angles and of shifts in tables, over the size of these tomograms. */
static const double PLACE_PX = 1e-3;

static int setup(void **state)
{
	cyc_simulate_options o;
	cyc_simulate_result result;
	assert_int_equal(temp_dir_make(state), 0);
	cyc_simulate_options_default(&o);
	cyc_simulate_options_preset(&o, CYC_SIMULATE_TINY);
	o.out_dir = temp_dir;
	o.force = true;
	o.as_stack = true;
	o.n_series = N_SERIES;
	o.n_tilts = N_TILTS;
	o.tilt_step_rad = cyc_deg_to_rad(15);
	o.n_particles = 5;
	o.image_nx = 170;
	o.image_ny = 157;
	o.symmetry = "O";
	o.noise_free = true;
	o.astigmatism_A = 300;
	o.error_shift_A = 8;
	o.error_angle_rad = cyc_deg_to_rad(1.5);
	o.subtomogram_angles = true;
	/* Scales of 1, which is all that IMOD and AreTomo know of them. */
	o.mean_free_path_A = 1e12;
	o.error_scale = 0;
	ASSERT_OK(cyc_simulate_run(&result, &o));
	ASSERT_OK(cyc_tomogram_set_read(&g_tomograms, "tomograms.star", temp_dir));
	ASSERT_OK(cyc_particle_set_read(&g_particles, "particles.star", NULL, g_tomograms, temp_dir));
	for (int32_t i = 0; i < g_tomograms->n_series; i++)
		ASSERT_OK(cyc_tilt_series_open(&g_tomograms->series[i], temp_dir));
	return 0;
}

static int teardown(void **state)
{
	cyc_particle_set_destroy(&g_particles);
	cyc_tomogram_set_destroy(&g_tomograms);
	return temp_dir_remove(state);
}

/* ---------------------------------------------------------------- comparison */

static double angle_between(cyc_mat3 a, cyc_mat3 b)
{
	cyc_mat3 d = cyc_mat3_mul(cyc_mat3_transpose(a), b);
	return acos(fmin(1, fmax(-1, 0.5 * (d.m[0][0] + d.m[1][1] + d.m[2][2] - 1))));
}

static void close_to(const char *what, double got, double wanted, double bound)
{
	if (!(fabs(got - wanted) <= bound)) fail_msg("%s: %.9g, wanted %.9g within %g", what, got, wanted, bound);
}

/* An imported project, read as any job reads it, and where it puts particles. */
typedef struct {
	cyc_tomogram_set *tomograms;
	cyc_particle_set *particles;
} imported;

static void destroy(imported *m)
{
	cyc_particle_set_destroy(&m->particles);
	cyc_tomogram_set_destroy(&m->tomograms);
}

static imported read_imported(const char *folder)
{
	imported m = { 0 };
	char name[128];
	snprintf(name, sizeof name, "%s/tomograms.star", folder);
	ASSERT_OK(cyc_tomogram_set_read(&m.tomograms, name, temp_dir));
	snprintf(name, sizeof name, "%s/particles.star", folder);
	ASSERT_OK(cyc_particle_set_read(&m.particles, name, NULL, m.tomograms, temp_dir));
	for (int32_t i = 0; i < m.tomograms->n_series; i++)
		ASSERT_OK(cyc_tilt_series_open(&m.tomograms->series[i], temp_dir));
	return m;
}

/* Row of the original that an imported row is of: the section of the stack that both name. */
static int32_t original_row(const cyc_tilt_series *ts, int32_t f) { return (int32_t)ts->image_section[f]; }

static void compare_tilt(const imported *m, int32_t i, int32_t f)
{
	const cyc_tilt_series *was = &g_tomograms->series[i], *is = &m->tomograms->series[i];
	const cyc_tilt *a = &was->tilts[original_row(is, f)], *b = &is->tilts[f];
	close_to("defocus U", b->defocus_u_A, a->defocus_u_A, 0.2);
	close_to("defocus V", b->defocus_v_A, a->defocus_v_A, 0.2);
	close_to("its angle", sin(2 * (b->defocus_angle_rad - a->defocus_angle_rad)), 0, 1e-4);
	close_to("dose", b->pre_exposure_e_per_A2, a->pre_exposure_e_per_A2, 1e-3);
}

/* What is the same in the frames of both. */
static void compare(const imported *m, bool with_angles)
{
	assert_int_equal(m->tomograms->n_series, N_SERIES);
	assert_int_equal(m->particles->n, g_particles->n);
	int64_t n_half[2] = { 0 };
	for (int64_t k = 0; k < g_particles->n; k++) {
		const cyc_particle *a = &g_particles->particles[k], *b = &m->particles->particles[k];
		const cyc_tilt_series *was = &g_tomograms->series[a->i_series],
							  *is = &m->tomograms->series[b->i_series];
		n_half[b->half]++;
		if (with_angles)
			close_to("orientation", angle_between(a->R_tomo_ref, b->R_tomo_ref), 0, cyc_deg_to_rad(2e-4));
		for (int32_t f = 0; f < is->n_tilts; f++) {
			cyc_projection p, q;
			ASSERT_OK(cyc_projection_of_tilt(&p, was, original_row(is, f)));
			ASSERT_OK(cyc_projection_of_tilt(&q, is, f));
			cyc_vec3 u = cyc_project(&p, a->position_A), v = cyc_project(&q, b->position_A);
			close_to("x in the image", v.x, u.x, PLACE_PX);
			close_to("y in the image", v.y, u.y, PLACE_PX);
			close_to("extra defocus", cyc_particle_extra_defocus_A(&q, is, b),
			         cyc_particle_extra_defocus_A(&p, was, a), 5);
		}
	}
	assert_true(llabs(n_half[0] - n_half[1]) <= 1);
	for (int32_t i = 0; i < N_SERIES; i++)
		for (int32_t f = 0; f < m->tomograms->series[i].n_tilts; f++) compare_tilt(m, i, f);
}

static void reconstruct(const char *set, const char *out)
{
	cyc_reconstruct_options r;
	cyc_reconstruct_options_default(&r);
	r.input.root = temp_dir;
	r.input.optimisation_set = set;
	r.out_dir = out;
	r.box_px = 48;
	r.crop_px = 32;
	r.symmetry = "O";
	r.no_backup = true;
	r.n_threads = 1;
	ASSERT_OK(cyc_reconstruct_run(NULL, &r));
}

static void compare_maps(const char *a, const char *b)
{
	cyc_volume *v[2];
	double d = 0, s = 0;
	ASSERT_OK(cyc_mrc_read(&v[0], temp_path(a)));
	ASSERT_OK(cyc_mrc_read(&v[1], temp_path(b)));
	for (size_t i = 0; i < cyc_volume_count(v[0]); i++) {
		d += cyc_square((double)(v[0]->data[i] - v[1]->data[i]));
		s += cyc_square((double)v[0]->data[i]);
	}
	for (int i = 0; i < 2; i++) cyc_volume_destroy(&v[i]);
	assert_true(s > 0);
	close_to("difference of the maps", sqrt(d / s), 0, 2e-3);
}

/* ---------------------------------------------------------------- exporting */

static FILE *file_for(const char *fmt, const char *name)
{
	char path[256];
	snprintf(path, sizeof path, fmt, name);
	ASSERT_OK(cyc_make_parent_dirs(temp_path(path)));
	FILE *f = fopen(temp_path(path), "w");
	assert_non_null(f);
	return f;
}

/* Coordinates of RELION and Warp in pixels from the corner: voxel 0 is at 0, and the centre at size/2. */
static void corner_px(double v[3], const cyc_particle *p)
{
	const cyc_tilt_series *ts = &g_tomograms->series[p->i_series];
	const double at[3] = { p->position_A.x, p->position_A.y, p->position_A.z };
	for (int k = 0; k < 3; k++) v[k] = at[k] / ts->pixel_size_A + 0.5 * ts->size_px[k];
}

static void angles_deg(double v[3], cyc_mat3 R)
{
	cyc_euler_from_matrix(&v[0], &v[1], &v[2], R);
	for (int k = 0; k < 3; k++) v[k] = cyc_rad_to_deg(v[k]);
}

/* Warp: particles in a table without optics, named after the .tomostar. */
static void write_warp_particles(double binning)
{
	FILE *f = file_for("warp/particles%s.star", "");
	fprintf(f,
	        "data_\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n_rlnAngleRot\n_rlnAngleTilt\n"
	        "_rlnAnglePsi\n_rlnMicrographName\n_rlnOpticsGroup\n_rlnImageName\n_rlnCtfImage\n");
	for (int64_t k = 0; k < g_particles->n; k++) {
		const cyc_particle *p = &g_particles->particles[k];
		double v[3], e[3];
		corner_px(v, p);
		angles_deg(e, p->R_tomo_ref);
		fprintf(f, "%.9f %.9f %.9f %.9f %.9f %.9f %s.tomostar 1 sub/%d.mrc sub/%d_ctf.mrc\n", v[0] / binning,
		        v[1] / binning, v[2] / binning, e[0], e[1], e[2], g_tomograms->series[p->i_series].name,
		        (int)k, (int)k);
	}
	fclose(f);
}

/* tomograms.star with matrices: rotations alone as Warp writes them, or whole as RELION-4 did. */
static void write_matrices(bool has_shifts)
{
	FILE *f = file_for("warp/tomograms%s.star", "");
	fprintf(f,
	        "data_global\n\nloop_\n_rlnTomoName\n_rlnTomoTiltSeriesName\n_rlnTomoFrameCount\n_rlnTomoSizeX\n"
	        "_rlnTomoSizeY\n_rlnTomoSizeZ\n_rlnTomoHand\n_rlnOpticsGroupName\n_rlnTomoTiltSeriesPixelSize\n"
	        "_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n_rlnTomoImportFractionalDose\n");
	for (int32_t i = 0; i < N_SERIES; i++) {
		const cyc_tilt_series *s = &g_tomograms->series[i];
		fprintf(f, "%s.tomostar dummy_tiltseries.mrc %d %d %d %d %g opticsGroup%d %.9g %g %g %g %g\n",
		        s->name, s->n_tilts, s->size_px[0], s->size_px[1], s->size_px[2], s->hand, i + 1,
		        s->pixel_size_A, s->voltage_kV, s->spherical_aberration_mm, s->amplitude_contrast_frac,
		        s->fractional_dose_e_per_A2);
	}
	for (int32_t i = 0; i < N_SERIES; i++) {
		const cyc_tilt_series *s = &g_tomograms->series[i];
		fprintf(
			f,
			"\n\ndata_%s.tomostar\n\nloop_\n_rlnTomoProjX\n_rlnTomoProjY\n_rlnTomoProjZ\n_rlnTomoProjW\n"
			"_rlnDefocusU\n_rlnDefocusV\n_rlnDefocusAngle\n_rlnCtfScalefactor\n_rlnMicrographPreExposure\n",
			s->name);
		for (int32_t t = 0; t < s->n_tilts; t++) {
			const cyc_tilt *a = &s->tilts[t];
			cyc_projection p;
			ASSERT_OK(cyc_projection_of_tilt(&p, s, t));
			double half = -0.5 * s->pixel_size_A;
			cyc_vec3 o = cyc_project(
				&p, (cyc_vec3){ half * s->size_px[0], half * s->size_px[1], half * s->size_px[2] });
			const double origin[3] = { o.x, o.y, o.z };
			for (int k = 0; k < 3; k++)
				fprintf(f, "[%.9g,%.9g,%.9g,%.12g] ", p.linear.m[k][0], p.linear.m[k][1], p.linear.m[k][2],
				        has_shifts ? origin[k] : 0.0);
			fprintf(f, "[0,0,0,1] %.3f %.3f %.6f %.4f %.6f\n", a->defocus_u_A, a->defocus_v_A,
			        cyc_rad_to_deg(a->defocus_angle_rad), a->scale, a->pre_exposure_e_per_A2);
		}
	}
	fclose(f);
}

/* Warp's file of a tilt series: shifts of the tilt axis in Å, image axes. */
static void write_xml(void)
{
	for (int32_t i = 0; i < N_SERIES; i++) {
		const cyc_tilt_series *s = &g_tomograms->series[i];
		FILE *f = file_for("warp/xml/%s.xml", s->name);
		fprintf(f, "<?xml version=\"1.0\"?>\n<TiltSeries AreAnglesInverted=\"False\">\n  <Angles>");
		for (int32_t t = 0; t < s->n_tilts; t++)
			fprintf(f, "%s%.4f", t ? "\n" : "", cyc_rad_to_deg(s->tilts[t].ytilt_rad));
		fprintf(f, "</Angles>\n  <Dose>");
		for (int32_t t = 0; t < s->n_tilts; t++)
			fprintf(f, "%s%.4f", t ? "\n" : "", s->tilts[t].pre_exposure_e_per_A2);
		fprintf(f, "</Dose>\n  <AxisOffsetX>");
		for (int32_t t = 0; t < s->n_tilts; t++) fprintf(f, "%s%.6f", t ? "\n" : "", s->tilts[t].shift_x_A);
		fprintf(f, "</AxisOffsetX>\n  <AxisOffsetY>");
		for (int32_t t = 0; t < s->n_tilts; t++) fprintf(f, "%s%.6f", t ? "\n" : "", s->tilts[t].shift_y_A);
		fprintf(f, "</AxisOffsetY>\n  <MoviePath>");
		for (int32_t t = 0; t < s->n_tilts; t++)
			fprintf(f, "%s../frames/%s_%03d.eer", t ? "\n" : "", s->name, t);
		fprintf(f, "</MoviePath>\n</TiltSeries>\n");
		fclose(f);
	}
}

static cyc_import_options base(const char *out)
{
	cyc_import_options o;
	cyc_import_options_default(&o);
	o.root = temp_dir;
	o.out_dir = out;
	o.images = "stacks/*.mrcs";
	return o;
}

/* ---------------------------------------------------------------- Warp, RELION-4 */

static void warp(void **state)
{
	(void)state;
	cyc_import_result result;
	write_matrices(false);
	write_xml();
	write_warp_particles(4);
	cyc_import_options o = base("W/job001/");
	o.tomograms = "warp/tomograms.star";
	o.particles = "warp/particles.star";
	ASSERT_FAILS(cyc_import_run(&result, &o), CYC_E_USAGE, "have no shifts");
	assert_non_null(strstr(cyc_error_get()->hint, "--warp"));
	o.warp = "warp/xml/*.xml";
	ASSERT_FAILS(cyc_import_run(&result, &o), CYC_E_USAGE, "--binning");
	assert_false(temp_exists("W"));
	o.has_binning = true;
	o.binning = 4;
	ASSERT_OK(cyc_import_run(&result, &o));
	assert_int_equal(result.n_tilts, N_SERIES * N_TILTS);
	assert_int_equal(result.n_matrices, 0);
	assert_true(result.made_halves);
	imported m = read_imported("W/job001");
	assert_string_equal(m.tomograms->series[0].name, "TS_01.tomostar");
	assert_null(m.tomograms->series[0].stack);
	assert_false(m.tomograms->series[0].tilts[0].has_nominal_tilt);
	compare(&m, true);
	destroy(&m);
	reconstruct("optimisation_set.star", "R");
	reconstruct("W/job001/optimisation_set.star", "RW");
	compare_maps("R/merged.mrc", "RW/merged.mrc");
}

static void relion4(void **state)
{
	(void)state;
	cyc_import_result result;
	write_matrices(true);
	write_warp_particles(1);
	cyc_import_options o = base("R4");
	o.tomograms = "warp/tomograms.star";
	o.particles = "warp/particles.star";
	o.has_binning = true;
	ASSERT_OK(cyc_import_run(&result, &o));
	imported m = read_imported("R4");
	assert_false(m.tomograms->series[0].tilts[0].has_matrix);
	compare(&m, true);
	destroy(&m);
	/* The same particles in other rows, and another seed: half-sets go by name, so those of the rows move. */
	cyc_import_options other = o;
	other.out_dir = "R4b";
	other.seed = 2;
	ASSERT_OK(cyc_import_run(&result, &other));
	char *text[2];
	size_t n;
	ASSERT_OK(cyc_read_file(&text[0], &n, temp_path("R4/particles.star")));
	ASSERT_OK(cyc_read_file(&text[1], &n, temp_path("R4b/particles.star")));
	assert_string_not_equal(text[0], text[1]);
	cyc_free(text[0]);
	cyc_free(text[1]);
}

/* Excluded tilts: kept as rows of scale 0 where the stack has them, left out where it does not. */
static void warp_excluded(void **state)
{
	(void)state;
	cyc_import_result result;
	cyc_volume *v = NULL;
	cyc_tilt *t = &g_tomograms->series[0].tilts[2];
	t->scale = 0;
	t[2].scale = 0.8125;
	write_matrices(false);
	t->scale = t[2].scale = 1;
	write_xml();
	write_warp_particles(1);
	cyc_import_options o = base("X1");
	o.tomograms = "warp/tomograms.star";
	o.particles = "warp/particles.star";
	o.warp = "warp/xml/*.xml";
	o.has_binning = true;
	ASSERT_OK(cyc_import_run(&result, &o));
	assert_int_equal(result.n_excluded, 1);
	assert_int_equal(result.n_left_out, 0);
	/* Stacks of the tilts that are used. */
	for (int32_t i = 0; i < N_SERIES; i++) {
		char name[64];
		snprintf(name, sizeof name, "stacks/TS_%02d.mrcs", i + 1);
		ASSERT_OK(cyc_mrc_read(&v, temp_path(name)));
		cyc_volume *w = NULL;
		ASSERT_OK(cyc_volume_create(&w, v->nx, v->ny, i == 0 ? N_TILTS - 1 : N_TILTS, v->pixel_size_A));
		size_t image = (size_t)v->nx * (size_t)v->ny;
		for (int32_t f = 0, to = 0; f < N_TILTS; f++)
			if (i > 0 || f != 2)
				memcpy(w->data + image * (size_t)to++, v->data + image * (size_t)f, image * sizeof *v->data);
		snprintf(name, sizeof name, "used/TS_%02d.st", i + 1);
		ASSERT_OK(cyc_make_parent_dirs(temp_path(name)));
		ASSERT_OK(cyc_mrc_write(temp_path("used/w.mrcs"), w, 2, NULL));
		assert_int_equal(rename(temp_path("used/w.mrcs"), temp_path(name)), 0);
		cyc_volume_destroy(&v);
		cyc_volume_destroy(&w);
	}
	o.out_dir = "X2";
	o.images = "used/*.st";
	ASSERT_OK(cyc_import_run(&result, &o));
	assert_int_equal(result.n_left_out, 1);
	imported m = read_imported("X2");
	assert_int_equal(m.tomograms->series[0].n_tilts, N_TILTS - 1);
	assert_string_equal(m.tomograms->series[0].tilts[2].image, "000003@used/TS_01.st");
	close_to("dose of the tilt behind", m.tomograms->series[0].tilts[2].pre_exposure_e_per_A2,
	         g_tomograms->series[0].tilts[3].pre_exposure_e_per_A2, 1e-3);
	close_to("a scale", m.tomograms->series[0].tilts[3].scale, 0.8125, 1e-4);
	close_to("its shift", m.tomograms->series[0].tilts[2].shift_x_A,
	         g_tomograms->series[0].tilts[3].shift_x_A, 1e-3);
	destroy(&m);
}

/* ---------------------------------------------------------------- IMOD */

/* What IMOD would know of a tilt. A voxel (x, t, y) of what `tilt` writes, first one 0, t its second axis, is
 * first turned about X by alpha and then projected at beta:
 *   X = x cos b + (y sin a + t cos a) sin b,  Y = y cos a - t sin a
 * from the middle of the volume, (n - 1) / 2, moved by SHIFT; the aligned image is at X, Y from its middle,
 * and the raw one where xf takes to there:  aligned = A raw + d, from the middles of both. */
typedef struct {
	double A[2][2], d[2], alpha, beta; /* rad */
	double volume[3], shift[2];        /* sizes x, t, y; SHIFT */
	double image[2];
} imod_tilt;

static void imod_project(double q[2], const imod_tilt *m, double vx, double vt, double vy)
{
	double x = vx - 0.5 * (m->volume[0] - 1) - m->shift[0], t = vt - 0.5 * (m->volume[1] - 1) - m->shift[1],
		   y = vy - 0.5 * (m->volume[2] - 1);
	double X = x * cos(m->beta) + (y * sin(m->alpha) + t * cos(m->alpha)) * sin(m->beta),
		   Y = y * cos(m->alpha) - t * sin(m->alpha);
	X -= m->d[0];
	Y -= m->d[1];
	double det = m->A[0][0] * m->A[1][1] - m->A[0][1] * m->A[1][0];
	q[0] = (m->A[1][1] * X - m->A[0][1] * Y) / det + 0.5 * (m->image[0] - 1);
	q[1] = (m->A[0][0] * Y - m->A[1][0] * X) / det + 0.5 * (m->image[1] - 1);
}

/* The tilt of the original such that a voxel (x, y, z) of its tomogram is the voxel (x, t, y) of IMOD's with
 * z = t, or turned over as -rx does. */
static imod_tilt imod_of(const cyc_tilt_series *s, int32_t f, bool is_turned, double magnification)
{
	const cyc_tilt *a = &s->tilts[f];
	double c = cos(a->zrot_rad), n = sin(a->zrot_rad), sign = is_turned ? -1 : 1;
	imod_tilt m = { .A = { { c * magnification, n * magnification },
		                   { -n * magnification, c * magnification } },
		            .alpha = sign * a->xtilt_rad,
		            .beta = sign * a->ytilt_rad,
		            .volume = { s->size_px[0], s->size_px[2], s->size_px[1] },
		            .shift = { 3, -2 },
		            .image = { s->image_nx, s->image_ny } };
	/* d brings the centre of the tomogram to where it was. */
	cyc_projection p;
	ASSERT_OK(cyc_projection_of_tilt(&p, s, f));
	double q[2], z = 0.5 * s->size_px[2];
	imod_project(q, &m, 0.5 * s->size_px[0], is_turned ? s->size_px[2] - 1 - z : z, 0.5 * s->size_px[1]);
	double off[2] = { p.origin_px.x - q[0], p.origin_px.y - q[1] };
	for (int k = 0; k < 2; k++) m.d[k] = -(m.A[k][0] * off[0] + m.A[k][1] * off[1]);
	return m;
}

/* Angles of the stage, which IMOD's .tlt begins with. */
static void write_mdoc(double sign)
{
	for (int32_t i = 0; i < N_SERIES; i++) {
		const cyc_tilt_series *s = &g_tomograms->series[i];
		FILE *f = file_for("imod/%s.mdoc", s->name);
		fprintf(f, "PixelSpacing = %g\nVoltage = 300\n\n[T = SerialEM: tilt series]\n", s->pixel_size_A);
		for (int32_t t = 0; t < s->n_tilts; t++) {
			int before = (int)lround(s->tilts[t].pre_exposure_e_per_A2 / s->fractional_dose_e_per_A2);
			fprintf(
				f,
				"\n[ZValue = %d]\nTiltAngle = %.2f\nExposureDose = %.6f\nSubFramePath = D:\\x, y\\%d.tif\n"
				"DateTime = 24-Nov-19  %02d:%02d:00\n",
				t, sign * cyc_rad_to_deg(s->tilts[t].ytilt_rad), s->fractional_dose_e_per_A2, t,
				10 + before / 60, before % 60);
		}
		fclose(f);
	}
}

/* ctfplotter's file of version 3 with astigmatism, angles in degrees; nm. */
static void write_defocus(void)
{
	for (int32_t i = 0; i < N_SERIES; i++) {
		const cyc_tilt_series *s = &g_tomograms->series[i];
		FILE *f = file_for("imod/%s.defocus", s->name);
		fprintf(f, "1 0 0. 0. 0 3\n");
		for (int32_t t = 0; t < s->n_tilts; t++) {
			const cyc_tilt *a = &s->tilts[t];
			double deg = cyc_rad_to_deg(a->ytilt_rad);
			fprintf(f, "%d %d %.2f %.2f %.2f %.2f %.3f\n", t + 1, t + 1, deg, deg, 0.1 * a->defocus_u_A,
			        0.1 * a->defocus_v_A, cyc_rad_to_deg(a->defocus_angle_rad));
		}
		fclose(f);
	}
}

static const double OFFSET_DEG = 2.5, X_AXIS_TILT_DEG = -1.25;

static void write_imod(bool is_turned, double magnification)
{
	for (int32_t i = 0; i < N_SERIES; i++) {
		const cyc_tilt_series *s = &g_tomograms->series[i];
		FILE *xf = file_for("imod/%s.xf", s->name), *tlt = file_for("imod/%s.tlt", s->name),
			 *xtilt = file_for("imod/%s.xtilt", s->name), *com = file_for("imod/%s_tilt.com", s->name);
		for (int32_t t = 0; t < s->n_tilts; t++) {
			imod_tilt m = imod_of(s, t, is_turned, magnification);
			fprintf(xf, "%14.9f%14.9f%14.9f%14.9f%14.6f%14.6f\n", m.A[0][0], m.A[0][1], m.A[1][0], m.A[1][1],
			        m.d[0], m.d[1]);
			fprintf(tlt, "%.6f\n", cyc_rad_to_deg(m.beta) - OFFSET_DEG);
			fprintf(xtilt, "%.6f\n", cyc_rad_to_deg(m.alpha) - X_AXIS_TILT_DEG);
		}
		fprintf(com,
		        "# tilt\n$setenv IMOD_OUTPUT_FORMAT MRC\n$tilt -StandardInput\nInputProjections %s.ali\n"
		        "FULLIMAGE %d %d\nIMAGEBINNED 2\nTHICKNESS %d\nOFFSET %g\nXAXISTILT %g\nSHIFT 3.0 -2.0\n"
		        "MODE 2\nEXCLUDELIST2 2,6-%d\n$if (-e ./savework) ./savework\n",
		        s->name, s->size_px[0], s->size_px[1], s->size_px[2], OFFSET_DEG, X_AXIS_TILT_DEG, N_TILTS);
		fclose(xf);
		fclose(tlt);
		fclose(xtilt);
		fclose(com);
	}
}

/* The list as somebody writes it who picked in the binned volume: IMOD's binned voxel is the mean of b. */
static void write_picks(bool is_turned, bool is_raw, double binning, double first)
{
	FILE *f = file_for("imod/picks%s.csv", "");
	static const cyc_mat3 BACK = { { { 1, 0, 0 }, { 0, 0, -1 }, { 0, 1, 0 } } };
	fprintf(f, "name,x,y,z,rot,tilt,psi\n");
	for (int64_t k = 0; k < g_particles->n; k++) {
		const cyc_particle *p = &g_particles->particles[k];
		const cyc_tilt_series *s = &g_tomograms->series[p->i_series];
		double v[3], e[3];
		corner_px(v, p);
		cyc_mat3 R = p->R_tomo_ref;
		if (is_raw) {
			/* (x, y, z) of the original is (x, t = n - 1 - z, y). */
			double t = s->size_px[2] - 1 - v[2];
			v[2] = v[1];
			v[1] = t;
			R = cyc_mat3_mul(BACK, R);
		}
		assert_true(is_turned || !is_raw);
		angles_deg(e, R);
		fprintf(f, "%s", s->name);
		for (int a = 0; a < 3; a++) fprintf(f, ",%.9f", (v[a] + 0.5) / binning - 0.5 + first);
		fprintf(f, ", %.9f,%.9f,%.9f\n", e[0], e[1], e[2]);
	}
	fclose(f);
}

static cyc_import_options microscope(cyc_import_options o)
{
	const cyc_tilt_series *s = &g_tomograms->series[0];
	o.has_pixel_size = o.has_voltage = o.has_cs = o.has_amplitude_contrast = o.has_hand = true;
	o.pixel_size_A = s->pixel_size_A;
	o.voltage_kV = s->voltage_kV;
	o.spherical_aberration_mm = s->spherical_aberration_mm;
	o.amplitude_contrast_frac = s->amplitude_contrast_frac;
	o.hand = (int32_t)s->hand;
	o.flat_scales = true;
	o.particles = "imod/picks.csv";
	o.has_binning = o.has_first_voxel = true;
	return o;
}

static cyc_import_options imod_options(const char *out, cyc_import_axes axes)
{
	cyc_import_options o = microscope(base(out));
	o.xf = "imod/*.xf";
	o.tilts = "imod/*.tlt";
	o.x_tilts = "imod/*.xtilt";
	o.tilt_com = "imod/*_tilt.com";
	o.mdoc = "imod/*.mdoc";
	o.ctf = "imod/*.defocus";
	o.axes = axes;
	return o;
}

/* Where IMOD's own equation puts the particles. */
static void compare_imod(const imported *m, bool is_turned, double magnification)
{
	for (int64_t k = 0; k < m->particles->n; k++) {
		const cyc_particle *b = &m->particles->particles[k];
		const cyc_tilt_series *is = &m->tomograms->series[b->i_series],
							  *was = &g_tomograms->series[b->i_series];
		double v[3];
		corner_px(v, &g_particles->particles[k]);
		for (int32_t f = 0; f < is->n_tilts; f++) {
			imod_tilt t = imod_of(was, original_row(is, f), is_turned, magnification);
			double q[2];
			imod_project(q, &t, v[0], is_turned ? was->size_px[2] - 1 - v[2] : v[2], v[1]);
			cyc_projection p;
			ASSERT_OK(cyc_projection_of_tilt(&p, is, f));
			cyc_vec3 u = cyc_project(&p, b->position_A);
			close_to("x by IMOD's equation", u.x, q[0], PLACE_PX);
			close_to("y by IMOD's equation", u.y, q[1], PLACE_PX);
		}
	}
}

static void imod_axes(cyc_import_axes axes, const char *out, double first)
{
	cyc_import_result result;
	bool is_turned = axes != CYC_IMPORT_AXES_YZ;
	write_imod(is_turned, 1);
	write_mdoc(1);
	write_defocus();
	write_picks(is_turned, axes == CYC_IMPORT_AXES_RAW, 4, first);
	cyc_import_options o = imod_options(out, axes);
	o.binning = 4;
	o.first_voxel = first;
	if (is_turned) {
		/* Of the other order. */
		ASSERT_FAILS(cyc_import_run(&result, &o), CYC_E_DATA, ".mdoc", "tilt angle of ZValue");
		write_mdoc(-1);
	}
	ASSERT_OK(cyc_import_run(&result, &o));
	assert_int_equal(result.n_matrices, 0);
	assert_int_equal(result.n_left_out, N_SERIES * 3);
	imported m = read_imported(out);
	assert_int_equal(m.tomograms->series[0].n_tilts, N_TILTS - 3);
	assert_string_equal(m.tomograms->series[0].tilts[1].image, "000003@stacks/TS_01.mrcs");
	compare(&m, true);
	compare_imod(&m, is_turned, 1);
	for (int32_t f = 0; f < m.tomograms->series[1].n_tilts; f++) {
		const cyc_tilt *t = &m.tomograms->series[1].tilts[f];
		assert_true(t->has_nominal_tilt);
		close_to("stage", cyc_rad_to_deg(t->nominal_tilt_rad - t->ytilt_rad), 0, 0.01);
	}
	destroy(&m);
}

static void imod(void **state)
{
	(void)state;
	imod_axes(CYC_IMPORT_AXES_YZ, "IY", 0);
	imod_axes(CYC_IMPORT_AXES_ROTX, "IX", 0.5);
	imod_axes(CYC_IMPORT_AXES_RAW, "IR", 1);
}

/* A change of magnification is no angle: matrices stay. */
static void imod_magnification(void **state)
{
	(void)state;
	cyc_import_result result;
	write_imod(true, 1.01);
	write_picks(true, false, 1, 0);
	cyc_import_options o = imod_options("IM", CYC_IMPORT_AXES_ROTX);
	o.mdoc = NULL;
	o.no_dose = true;
	o.flat_scales = false;
	ASSERT_OK(cyc_import_run(&result, &o));
	assert_int_equal(result.n_matrices, N_SERIES * (N_TILTS - 3));
	assert_true(result.worst_px > 0.5);
	imported m = read_imported("IM");
	assert_true(m.tomograms->series[0].tilts[0].has_matrix && m.tomograms->series[0].tilts[0].has_angles);
	compare_imod(&m, true, 1.01);
	for (int32_t f = 0; f < m.tomograms->series[1].n_tilts; f++) {
		const cyc_tilt *t = &m.tomograms->series[1].tilts[f];
		close_to("scale", t->scale, cos(t->ytilt_rad), 1e-6);
	}
	destroy(&m);
}

/* RELION makes tomograms of the same .xf: about voxel and pixel n/2, without tilt.com's shifts. */
static void imod_in_relion(void **state)
{
	(void)state;
	cyc_import_result result;
	for (int32_t i = 0; i < N_SERIES; i++) {
		const cyc_tilt_series *s = &g_tomograms->series[i];
		FILE *xf = file_for("imod/%s.xf", s->name), *tlt = file_for("imod/%s.tlt", s->name),
			 *xtilt = file_for("imod/%s.xtilt", s->name);
		for (int32_t t = 0; t < s->n_tilts; t++) {
			const cyc_tilt *a = &s->tilts[t];
			double c = cos(a->zrot_rad), n = sin(a->zrot_rad), x = a->shift_x_A / s->pixel_size_A,
				   y = a->shift_y_A / s->pixel_size_A;
			fprintf(xf, "%.9f %.9f %.9f %.9f %.6f %.6f\n", c, n, -n, c, -(c * x + n * y), -(-n * x + c * y));
			fprintf(tlt, "%.6f\n", cyc_rad_to_deg(a->ytilt_rad));
			fprintf(xtilt, "%.6f\n", cyc_rad_to_deg(a->xtilt_rad));
		}
		fclose(xf);
		fclose(tlt);
		fclose(xtilt);
	}
	write_mdoc(1);
	write_defocus();
	cyc_import_options o = imod_options("IN", CYC_IMPORT_AXES_RELION);
	o.tilt_com = NULL;
	o.particles = "particles.star";
	o.tomogram_size = "1,2";
	ASSERT_FAILS(cyc_import_run(&result, &o), CYC_E_USAGE, "--tomogram-size", "1,2");
	char size[64];
	const int32_t *n = g_tomograms->series[0].size_px;
	snprintf(size, sizeof size, "%d,%d,%d", n[0], n[1], n[2]);
	o.tomogram_size = size;
	ASSERT_OK(cyc_import_run(&result, &o));
	assert_false(result.made_halves);
	imported m = read_imported("IN");
	compare(&m, true);
	for (int64_t k = 0; k < g_particles->n; k++)
		assert_int_equal(m.particles->particles[k].half, g_particles->particles[k].half);
	destroy(&m);
	reconstruct("IN/optimisation_set.star", "RI");
	reconstruct("optimisation_set.star", "R");
	compare_maps("R/half1.mrc", "RI/half1.mrc");
}

/* ---------------------------------------------------------------- AreTomo */

/* SEC counted from `first`; the tilts of `dark` are in comments. CTFs have a row for each aligned tilt. */
static void write_aretomo(int first, int32_t dark)
{
	for (int32_t i = 0; i < N_SERIES; i++) {
		const cyc_tilt_series *s = &g_tomograms->series[i];
		FILE *f = file_for("are/%s.aln", s->name), *ctf = file_for("are/%s_CTF.txt", s->name);
		fprintf(f, "# AreTomo Alignment / Priims bprmMn\n# RawSize = %d %d %d\n# NumPatches = 0\n",
		        s->image_nx, s->image_ny, s->n_tilts);
		fprintf(f, "# DarkFrame = %4d %4d %8.2f\n# AlphaOffset = 0.00\n", dark + first, dark + first,
		        cyc_rad_to_deg(s->tilts[dark].ytilt_rad));
		fprintf(f, "# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE    "
		           " TILT\n");
		fprintf(ctf, "# Columns: #1 micrograph number; #2 - defocus 1 [A]; #3 - defocus 2; ...\n");
		for (int32_t t = 0, n = 0; t < s->n_tilts; t++) {
			const cyc_tilt *a = &s->tilts[t];
			if (t == dark) continue;
			/* The middle of the image, plus the shift, shows the middle of the tomogram. */
			cyc_projection p;
			ASSERT_OK(cyc_projection_of_tilt(&p, s, t));
			double h = -0.5 * s->pixel_size_A;
			cyc_vec3 q = cyc_project(&p, (cyc_vec3){ h, h, h });
			fprintf(f, "%5d  %12.7f  %9.5f  %12.6f %12.6f  1.00 1.00 1.00 0.00 %13.7f\n", t + first,
			        cyc_rad_to_deg(a->zrot_rad), 1.0, q.x - 0.5 * (s->image_nx - 1),
			        q.y - 0.5 * (s->image_ny - 1), cyc_rad_to_deg(a->ytilt_rad));
			fprintf(ctf, "%d %.2f %.2f %.4f 0.0 0.1 8.0\n", ++n, a->defocus_u_A, a->defocus_v_A,
			        cyc_rad_to_deg(a->defocus_angle_rad));
		}
		fprintf(f, "# Local Alignment\n   0   0   1.0 2.0\n");
		fclose(f);
		fclose(ctf);
	}
}

static void aretomo(void **state)
{
	(void)state;
	cyc_import_result result;
	char size[64];
	const int32_t *n = g_tomograms->series[0].size_px;
	snprintf(size, sizeof size, "%d,%d,%d", n[0], n[1], n[2]);
	/* AreTomo knows of no tilt about x. */
	double xtilt[N_SERIES][N_TILTS];
	for (int32_t i = 0; i < N_SERIES; i++)
		for (int32_t f = 0; f < N_TILTS; f++) {
			xtilt[i][f] = g_tomograms->series[i].tilts[f].xtilt_rad;
			g_tomograms->series[i].tilts[f].xtilt_rad = 0;
		}
	for (int first = 0; first < 2; first++) {
		write_aretomo(first, first == 0 ? 0 : N_TILTS - 1);
		write_mdoc(1);
		write_picks(false, false, 2, 0);
		cyc_import_options o = microscope(base(first ? "A1" : "A0"));
		o.aln = "are/*.aln";
		o.ctf = "are/*_CTF.txt";
		o.mdoc = "imod/*.mdoc";
		o.axes = CYC_IMPORT_AXES_YZ;
		o.binning = 2;
		o.tomogram_size = size;
		ASSERT_OK(cyc_import_run(&result, &o));
		assert_int_equal(result.n_left_out, N_SERIES);
		imported m = read_imported(first ? "A1" : "A0");
		assert_string_equal(m.tomograms->series[0].tilts[0].image,
		                    first ? "000001@stacks/TS_01.mrcs" : "000002@stacks/TS_01.mrcs");
		compare(&m, true);
		destroy(&m);
	}
	for (int32_t i = 0; i < N_SERIES; i++)
		for (int32_t f = 0; f < N_TILTS; f++) g_tomograms->series[i].tilts[f].xtilt_rad = xtilt[i][f];
}

/* ---------------------------------------------------------------- what must be told */

static void required(void **state)
{
	(void)state;
	cyc_import_result result;
	write_imod(true, 1);
	write_defocus();
	write_picks(true, false, 1, 0);
	const cyc_import_options whole = imod_options("N", CYC_IMPORT_AXES_ROTX);
	static const struct {
		size_t offset;
		const char *option;
	} FLAGS[] = { { offsetof(cyc_import_options, has_pixel_size), "--pixel-size" },
		          { offsetof(cyc_import_options, has_voltage), "--voltage" },
		          { offsetof(cyc_import_options, has_cs), "--cs" },
		          { offsetof(cyc_import_options, has_amplitude_contrast), "--amplitude-contrast" },
		          { offsetof(cyc_import_options, has_hand), "--hand" },
		          { offsetof(cyc_import_options, has_binning), "--binning" } };
	for (size_t i = 0; i < sizeof FLAGS / sizeof *FLAGS; i++) {
		cyc_import_options o = whole;
		o.mdoc = NULL;
		o.no_dose = true;
		*(bool *)((char *)&o + FLAGS[i].offset) = false;
		ASSERT_FAILS(cyc_import_run(&result, &o), CYC_E_USAGE, FLAGS[i].option);
	}
	cyc_import_options o = whole;
	o.axes = CYC_IMPORT_AXES_UNKNOWN;
	ASSERT_FAILS(cyc_import_run(&result, &o), CYC_E_USAGE, "--tomogram-axes");
	o = whole;
	o.mdoc = NULL;
	ASSERT_FAILS(cyc_import_run(&result, &o), CYC_E_USAGE, "--mdoc, --exposures, or --no-dose");
	o = whole;
	o.ctf = NULL;
	ASSERT_FAILS(cyc_import_run(&result, &o), CYC_E_USAGE, "--ctf, or --defocus");
	o = whole;
	o.aln = "are/*.aln";
	ASSERT_FAILS(cyc_import_run(&result, &o), CYC_E_USAGE, "one alignment");
	o = whole;
	o.mdoc = NULL;
	o.no_dose = true;
	o.binning = 40;
	ASSERT_FAILS(cyc_import_run(&result, &o), CYC_E_DATA, "outside their tomograms");
	assert_false(temp_exists("N/optimisation_set.star"));
}

/* ---------------------------------------------------------------- single files */

/* One series of IMOD's for what follows; IMPORTED with these files in place of others. */
static cyc_status import_one(cyc_import_result *result, const char *mdoc, const char *ctf)
{
	cyc_import_options o = imod_options("F", CYC_IMPORT_AXES_YZ);
	o.tilt_com = NULL;
	o.tomogram_size = "160,144,120";
	o.mdoc = mdoc ? "imod/one.mdoc" : NULL;
	o.no_dose = !mdoc;
	o.ctf = ctf;
	o.binning = 1;
	if (mdoc) temp_write("imod/one.mdoc", mdoc);
	return cyc_import_run(result, &o);
}

static void views(void)
{
	write_imod(false, 1);
	write_picks(false, false, 1, 0);
}

/* Doses of an mdoc: before every section, whatever the order of the sections. */
static void mdoc(void **state)
{
	(void)state;
	cyc_import_result result;
	char text[4096];
	views();
	write_defocus();
	/* Recorded from the last section to the first, over midnight and a month's end. */
	int n = 0;
	for (int k = 0; k < N_TILTS; k++)
		n += snprintf(text + n, sizeof text - (size_t)n,
		              "[ZValue = %d]\r\nTiltAngle = %g\r\nExposureDose = %d\r\nDateTime = %s\r\n", k,
		              cyc_rad_to_deg(g_tomograms->series[0].tilts[k].ytilt_rad), k + 1,
		              k < 3 ? (k == 0   ? "01-Dec-2021  00:10:03"
		                       : k == 1 ? "01-Dec-2021  00:10:02"
		                                : "01-Dec-2021  00:01:01")
		                    : (k == 3   ? "30-Nov-2021  23:59:01"
		                       : k == 4 ? "30-Nov-2021  23:58:01"
		                       : k == 5 ? "30-Nov-2021  22:59:59"
		                                : "29-Nov-2021  23:59:59"));
	ASSERT_OK(import_one(&result, text, "imod/*.defocus"));
	imported m = read_imported("F");
	double before = 0;
	for (int k = N_TILTS - 1; k >= 0; k--) {
		close_to("dose before", m.tomograms->series[0].tilts[k].pre_exposure_e_per_A2, before, 1e-6);
		before += k + 1;
	}
	destroy(&m);
	char *at = strstr(text, "[ZValue = 3]");
	at[10] = '9';
	ASSERT_FAILS(import_one(&result, text, "imod/*.defocus"), CYC_E_DATA, "one.mdoc",
	             "ZValue 9 is not a section");
	at[10] = '2';
	ASSERT_FAILS(import_one(&result, text, "imod/*.defocus"), CYC_E_DATA, "ZValue 2 occurs twice");
	at[0] = '#';
	ASSERT_FAILS(import_one(&result, text, "imod/*.defocus"), CYC_E_DATA, "no section [ZValue = 3]");
	at[0] = '[';
	at[10] = '3';
	memcpy(strstr(text, "DateTime"), "DuteTime", 8);
	ASSERT_FAILS(import_one(&result, text, "imod/*.defocus"), CYC_E_USAGE, "does not give the dose");
}

static void write_all_of_imod(void)
{
	write_imod(false, 1);
	write_mdoc(1);
	write_defocus();
	write_picks(false, false, 4, 0);
}

static cyc_import_options all_of_imod(const char *out)
{
	cyc_import_options o = imod_options(out, CYC_IMPORT_AXES_YZ);
	o.binning = 4;
	return o;
}

/* A text file as another system or program writes it. */
static void rewrite(const char *name, const char *line_end, char from, char to, const char *head)
{
	char *text = NULL;
	size_t n;
	ASSERT_OK(cyc_read_file(&text, &n, temp_path(name)));
	FILE *f = file_for(name, "");
	fputs(head, f);
	for (const char *c = text; *c; c++) {
		if (*c == '\n') fputs(line_end, f);
		else fputc(*c == from ? to : *c, f);
	}
	fclose(f);
	cyc_free(text);
}

static void same_project(const imported *a, const imported *b)
{
	assert_true(a->particles->n == b->particles->n);
	for (int64_t i = 0; i < a->particles->n; i++)
		assert_memory_equal(&a->particles->particles[i].position_A, &b->particles->particles[i].position_A,
		                    sizeof(cyc_vec3));
	for (int32_t f = 0; f < b->tomograms->series[0].n_tilts; f++) {
		const cyc_tilt *s = &a->tomograms->series[0].tilts[f], *t = &b->tomograms->series[0].tilts[f];
		close_to("tilt", s->ytilt_rad, t->ytilt_rad, 0);
		close_to("shift", s->shift_x_A, t->shift_x_A, 0);
		close_to("defocus", s->defocus_u_A, t->defocus_u_A, 0);
		close_to("dose", s->pre_exposure_e_per_A2, t->pre_exposure_e_per_A2, 0);
	}
}

static const char *const FILES_OF_IMOD[] = { "imod/TS_01.xf",      "imod/TS_01.tlt",  "imod/TS_01.xtilt",
	                                         "imod/TS_01.defocus", "imod/TS_01.mdoc", "imod/TS_01_tilt.com",
	                                         "imod/picks.csv" };
enum { N_FILES_OF_IMOD = sizeof FILES_OF_IMOD / sizeof *FILES_OF_IMOD };

/* Line ends of Windows and old Macs, a byte order mark, and tabs change nothing. */
static void other_systems(void **state)
{
	(void)state;
	static const struct {
		const char *line_end;
		char to;
		const char *head;
	} cases[] = { { "\r\n", ' ', "" }, { "\r", ' ', "" }, { "\n", '\t', "\xEF\xBB\xBF" } };
	cyc_import_options o = all_of_imod("Plain");
	cyc_import_result result;
	write_all_of_imod();
	ASSERT_OK(cyc_import_run(&result, &o));
	imported plain = read_imported("Plain");
	for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
		write_all_of_imod();
		for (int i = 0; i < N_FILES_OF_IMOD; i++)
			rewrite(FILES_OF_IMOD[i], cases[k].line_end, ' ', cases[k].to, cases[k].head);
		o.out_dir = "Other";
		ASSERT_OK(cyc_import_run(&result, &o));
		imported m = read_imported("Other");
		same_project(&m, &plain);
		destroy(&m);
	}
	destroy(&plain);
}

/* Decimal commas are refused, not cut off or taken for two columns; commas that separate columns are not. */
static void decimal_commas(void **state)
{
	(void)state;
	cyc_import_options o = all_of_imod("Commas");
	cyc_import_result result;
	for (int i = 0; i < 4; i++) {
		write_all_of_imod();
		rewrite(FILES_OF_IMOD[i], "\n", '.', ',', "");
		ASSERT_FAILS(cyc_import_run(&result, &o), CYC_E_FORMAT, FILES_OF_IMOD[i], "decimal commas");
	}
	write_all_of_imod();
	temp_write("imod/picks.csv", "TS_01\t12,5\t3,25\t4,5\n");
	ASSERT_FAILS(cyc_import_run(&result, &o), CYC_E_FORMAT, "picks.csv", "line 1", "decimal commas");
	temp_write("imod/picks.csv", "TS_01 12,5 3 4\n");
	ASSERT_FAILS(cyc_import_run(&result, &o), CYC_E_FORMAT, "picks.csv", "line 1", "decimal commas");
	assert_false(temp_exists("Commas/optimisation_set.star"));
	temp_write("imod/picks.csv", "TS_01,12,3,4\nTS_02, 5,6,7\n");
	ASSERT_OK(cyc_import_run(&result, &o));
}

static void ctf_files(void **state)
{
	(void)state;
	cyc_import_result result;
	views();
	/* Version 2: ranges, with the number behind the first row; nm. Views 1 to 3 have their middle at 2, 5 to
	 * 7 at 6: view 4 is between, view 1 has what view 2 has. */
	for (int i = 0; i < N_SERIES; i++) {
		char name[64];
		snprintf(name, sizeof name, "imod/TS_%02d.defocus", i + 1);
		temp_write(name, "1 3 -45 -15 3000 2\n5 7 15 45 2000\n");
	}
	ASSERT_OK(import_one(&result, NULL, "imod/*.defocus"));
	imported m = read_imported("F");
	static const double WANTED[N_TILTS] = { 30000, 30000, 27500, 25000, 22500, 20000, 20000 };
	for (int k = 0; k < N_TILTS; k++) {
		close_to("defocus U", m.tomograms->series[1].tilts[k].defocus_u_A, WANTED[k], 1e-6);
		close_to("defocus V", m.tomograms->series[1].tilts[k].defocus_v_A, WANTED[k], 1e-6);
	}
	destroy(&m);
	/* Version 3, flags 1 + 2 + 4 + 8: astigmatism and phase shift, all in rad. */
	for (int i = 0; i < N_SERIES; i++) {
		char name[64];
		snprintf(name, sizeof name, "imod/TS_%02d.defocus", i + 1);
		temp_write(name, "15 0 0. 0. 0 3\n1 7 0 0 3000 2900 0.5235987756 1.5707963268\n");
	}
	ASSERT_OK(import_one(&result, NULL, "imod/*.defocus"));
	m = read_imported("F");
	const cyc_tilt *t = &m.tomograms->series[0].tilts[4];
	close_to("defocus U", t->defocus_u_A, 30000, 1e-6);
	close_to("defocus V", t->defocus_v_A, 29000, 1e-6);
	close_to("axis", t->defocus_angle_rad, cyc_deg_to_rad(30), 1e-7);
	close_to("phase", t->phase_shift_rad, cyc_deg_to_rad(90), 1e-7);
	destroy(&m);
	temp_write("imod/TS_01.defocus", "15 0 0. 0. 0 3\n1 8 0 0 3000 2900 0.5 1\n");
	ASSERT_FAILS(import_one(&result, NULL, "imod/*.defocus"), CYC_E_DATA, "line 2", "views 1 to 8");
	temp_write("imod/TS_01.defocus", "1 7 0 0 3000 7\n");
	ASSERT_FAILS(import_one(&result, NULL, "imod/*.defocus"), CYC_E_UNSUPPORTED, "version 7");
	/* CTFFIND 5 has more columns, and a phase in rad. */
	for (int i = 0; i < N_SERIES; i++) {
		char name[64],
			text[1024] = "# Output from CTFFind version 5.0\n# Columns: #1 - micrograph number; ...\n";
		snprintf(name, sizeof name, "imod/TS_%02d_ctf.txt", i + 1);
		for (int k = 0; k < N_TILTS; k++)
			snprintf(text + strlen(text), sizeof text - strlen(text),
			         "%d.000000 %d.5 %d.25 -60.5 1.5707963268 0.05 inf 0.1 0.2 300\n", k + 1, 20000 + k,
			         19000 + k);
		temp_write(name, text);
	}
	ASSERT_OK(import_one(&result, NULL, "imod/*_ctf.txt"));
	m = read_imported("F");
	t = &m.tomograms->series[1].tilts[3];
	close_to("defocus U", t->defocus_u_A, 20003.5, 1e-6);
	close_to("defocus V", t->defocus_v_A, 19003.25, 1e-6);
	close_to("azimuth", t->defocus_angle_rad, cyc_deg_to_rad(-60.5), 1e-7);
	close_to("phase", t->phase_shift_rad, cyc_deg_to_rad(90), 1e-7);
	destroy(&m);
	temp_write("imod/TS_01_ctf.txt",
	           "2 1 1 0 0\n1 1 1 0 0\n3 1 1 0 0\n4 1 1 0 0\n5 1 1 0 0\n6 1 1 0 0\n7 1 1 0 0\n");
	ASSERT_FAILS(import_one(&result, NULL, "imod/*_ctf.txt"), CYC_E_DATA, "line 2", "order of the stack");
	temp_write("imod/TS_01_ctf.txt", "1 20000 20000 0 0\n");
	ASSERT_FAILS(import_one(&result, NULL, "imod/*_ctf.txt"), CYC_E_DATA, "has 1 fits", "7 sections");
}

/* Averages of Warp are named after movies. */
static void averages(void **state)
{
	(void)state;
	cyc_import_result result;
	cyc_volume *v = NULL;
	write_matrices(false);
	write_xml();
	write_warp_particles(1);
	ASSERT_OK(cyc_volume_create(&v, 170, 157, 1, g_tomograms->series[0].pixel_size_A));
	for (int i = 0; i < N_SERIES; i++)
		for (int t = 0; t < N_TILTS; t++) {
			char name[64];
			snprintf(name, sizeof name, "average/TS_%02d_%03d.mrc", i + 1, t);
			ASSERT_OK(cyc_make_parent_dirs(temp_path(name)));
			v->data[0] = (float)t;
			ASSERT_OK(cyc_mrc_write(temp_path(name), v, 2, NULL));
		}
	cyc_volume_destroy(&v);
	cyc_import_options o = base("V");
	o.images = NULL;
	o.averages = "average";
	o.tomograms = "warp/tomograms.star";
	o.particles = "warp/particles.star";
	o.has_binning = true;
	ASSERT_FAILS(cyc_import_run(&result, &o), CYC_E_USAGE, "--warp");
	o.warp = "warp/xml/*.xml";
	ASSERT_OK(cyc_import_run(&result, &o));
	imported m = read_imported("V");
	assert_string_equal(m.tomograms->series[1].tilts[4].image, "average/TS_02_004.mrc");
	destroy(&m);
	ASSERT_OK(cyc_volume_create(&v, 170, 157, 1, 2 * g_tomograms->series[0].pixel_size_A));
	ASSERT_OK(cyc_mrc_write(temp_path("average/TS_01_000.mrc"), v, 2, NULL));
	cyc_volume_destroy(&v);
	ASSERT_FAILS(cyc_import_run(&result, &o), CYC_E_SHAPE, "TS_01_000.mrc", "pixel size");
}

/* Elements inside of elements, carriage returns, what is no number. */
static void broken_xml(void **state)
{
	(void)state;
	static const struct {
		const char *offsets, *wanted;
	} CASES[] = { { "1\r2\r3\r4\r5\r6\r7", NULL },
		          { "1\r\n2\r\n3\r\n4\n\n5\n6\n7\n", NULL },
		          { "1\n2<a><b>\n<<<\n<\n<\n6\n7", "value 2 is '2<a><b>'" },
		          { "1\n2\n3\n4\n5\n6\n7\n8", "<AxisOffsetY> has 7" },
		          { "", "no element <AxisOffsetX>" },
		          { "1\n2\n3\n4\n5\n6\nnan", "value 7 is 'nan'" } };
	cyc_import_result result;
	write_matrices(false);
	write_xml();
	write_warp_particles(1);
	cyc_import_options o = base("B");
	o.tomograms = "warp/tomograms.star";
	o.particles = "warp/particles.star";
	o.has_binning = true;
	o.warp = "warp/xml/*.xml";
	for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
		char text[512];
		snprintf(text, sizeof text,
		         "<TiltSeries><AxisOffsetY>1\n2\n3\n4\n5\n6\n7</AxisOffsetY><AxisOffsetX>%s</AxisOffsetX></"
		         "TiltSeries>",
		         CASES[i].offsets);
		temp_write("warp/xml/TS_01.xml", text);
		if (!CASES[i].wanted) ASSERT_OK(cyc_import_run(&result, &o));
		else ASSERT_FAILS(cyc_import_run(&result, &o), CYC_E_FORMAT, "TS_01.xml", CASES[i].wanted);
	}
	write_xml();
}

/* A .tomostar has the same as the .xml, if it is of an aligned series. */
static void tomostar(void **state)
{
	(void)state;
	cyc_import_result result;
	write_matrices(false);
	write_warp_particles(1);
	for (int has_offsets = 0; has_offsets < 2; has_offsets++) {
		for (int32_t i = 0; i < N_SERIES; i++) {
			const cyc_tilt_series *s = &g_tomograms->series[i];
			FILE *f = file_for("warp/tomostar/%s.tomostar", s->name);
			fprintf(f, "\ndata_\n\nloop_\n_wrpMovieName #1\n_wrpAngleTilt #2\n_wrpDose #3\n%s",
			        has_offsets ? "_wrpAxisOffsetX #4\n_wrpAxisOffsetY #5\n" : "");
			for (int32_t t = 0; t < s->n_tilts; t++) {
				fprintf(f, "../a/b_%d.mrc %.3f %.4f", t, cyc_rad_to_deg(s->tilts[t].ytilt_rad),
				        s->tilts[t].pre_exposure_e_per_A2);
				if (has_offsets) fprintf(f, " %.6f %.6f", s->tilts[t].shift_x_A, s->tilts[t].shift_y_A);
				fprintf(f, "\n");
			}
			fclose(f);
		}
		cyc_import_options o = base("T");
		o.tomograms = "warp/tomograms.star";
		o.particles = "warp/particles.star";
		o.has_binning = true;
		o.warp = "warp/tomostar/*.tomostar";
		if (!has_offsets) {
			ASSERT_FAILS(cyc_import_run(&result, &o), CYC_E_FORMAT, "wrpAxisOffsetX");
			continue;
		}
		ASSERT_OK(cyc_import_run(&result, &o));
		imported m = read_imported("T");
		compare(&m, true);
		destroy(&m);
	}
}

/* Each allocation that fails is told, and nothing is finished; afterwards all is as always. */
static void no_memory(void **state)
{
	(void)state;
	cyc_import_result result;
	write_matrices(false);
	write_xml();
	write_warp_particles(1);
	write_imod(false, 1);
	write_mdoc(1);
	write_defocus();
	for (int kind = 0; kind < 2; kind++) {
		write_picks(false, false, 1, 0);
		cyc_import_options o = kind ? imod_options("M1", CYC_IMPORT_AXES_YZ) : base("M0");
		const char *set = kind ? "M1/optimisation_set.star" : "M0/optimisation_set.star";
		if (!kind) {
			o.tomograms = "warp/tomograms.star";
			o.particles = "warp/particles.star";
			o.warp = "warp/xml/*.xml";
			o.has_binning = true;
		}
		cyc_status st = CYC_E_NOMEM;
		int64_t n = 1, n_tried = 0;
		for (; st == CYC_E_NOMEM; n += 1 + n / 40, n_tried++) {
			cyc_alloc_fail_at(n);
			st = cyc_import_run(&result, &o);
			cyc_alloc_fail_at(0);
			assert_true(st == CYC_OK || st == CYC_E_NOMEM);
			assert_int_equal(temp_exists(set), st == CYC_OK);
		}
		if (n_tried <= 50) fail_msg("only %d allocations", (int)n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(warp),
		                                cmocka_unit_test(relion4),
		                                cmocka_unit_test(warp_excluded),
		                                cmocka_unit_test(imod),
		                                cmocka_unit_test(imod_magnification),
		                                cmocka_unit_test(imod_in_relion),
		                                cmocka_unit_test(aretomo),
		                                cmocka_unit_test(required),
		                                cmocka_unit_test(mdoc),
		                                cmocka_unit_test(other_systems),
		                                cmocka_unit_test(decimal_commas),
		                                cmocka_unit_test(ctf_files),
		                                cmocka_unit_test(averages),
		                                cmocka_unit_test(broken_xml),
		                                cmocka_unit_test(tomostar),
		                                cmocka_unit_test(no_memory) };
	return cmocka_run_group_tests(tests, setup, teardown);
}
