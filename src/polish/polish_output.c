#include "polish/polish_output.h"

#include "cyclotomo/record.h"
#include "cyclotomo/report.h"
#include "polish/polish_start.h"
#include "project/labels.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

/* ---------------------------------------------------------------- one series */

cyc_status cyc_polished_create(cyc_polished *r, int32_t n_tilts, int32_t n_particles)
{
	cyc_status st = CYC_OK;
	size_t T = (size_t)n_tilts, N = (size_t)n_particles;
	memset(r, 0, sizeof *r);
	r->n_tilts = n_tilts;
	r->n_particles = n_particles;
	CYC_TRY(cyc_alloc(&r->tilts, T, sizeof *r->tilts));
	CYC_TRY(cyc_alloc(&r->offsets_A, N, sizeof *r->offsets_A));
	CYC_TRY(cyc_alloc(&r->displacement_A, 3 * T * N, sizeof *r->displacement_A));
	CYC_TRY(cyc_alloc(&r->tilt_errors, 5 * T, sizeof *r->tilt_errors));
	CYC_TRY(cyc_alloc(&r->particle_errors, 3 * N, sizeof *r->particle_errors));
	CYC_TRY(cyc_alloc(&r->motion_errors, T, sizeof *r->motion_errors));
	CYC_TRY(cyc_alloc(&r->held_errors, 3 * N, sizeof *r->held_errors));
	for (size_t f = 0; f < T; f++) r->tilts[f].Q = cyc_mat3_identity();
	/* Values that are not refined have no known error. */
	for (size_t i = 0; i < 5 * T; i++) r->tilt_errors[i] = CYC_NAN;
	for (size_t i = 0; i < 3 * N; i++) r->particle_errors[i] = CYC_NAN;
done:
	return st;
}

void cyc_polished_deinit(cyc_polished *r)
{
	cyc_free(r->tilts);
	cyc_free(r->offsets_A);
	cyc_free(r->displacement_A);
	cyc_free(r->tilt_errors);
	cyc_free(r->particle_errors);
	cyc_free(r->motion_errors);
	cyc_free(r->held_errors);
	cyc_free(r->deformation);
	memset(r, 0, sizeof *r);
}

cyc_status cyc_polished_take(cyc_polished *r, const cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	memcpy(r->tilts, a->tilts, (size_t)r->n_tilts * sizeof *r->tilts);
	memcpy(r->offsets_A, a->offsets_A, (size_t)r->n_particles * sizeof *r->offsets_A);
	memcpy(r->displacement_A, a->displacement_A,
	       3 * (size_t)r->n_tilts * (size_t)r->n_particles * sizeof *r->displacement_A);
	r->motion_speed = a->motion ? a->speed : 0;
	if (!a->do_deformation) goto done;
	size_t n = (size_t)a->deformation_model.n;
	r->deformation_type = a->deformation_model.type;
	memcpy(r->deformation_grid, a->deformation_model.grid, sizeof r->deformation_grid);
	CYC_TRY(cyc_alloc(&r->deformation, n * (size_t)r->n_tilts, sizeof *r->deformation));
	r->n_deformation = a->deformation_model.n;
	memcpy(r->deformation, a->deformation, n * (size_t)r->n_tilts * sizeof *r->deformation);
done:
	return st;
}

static const char KIND[] = "polished series",
				  CONSEQUENCE[] = "this tilt series is polished from the beginning";
enum { N_NUMBERS = 8, N_VALUES = 4, N_ARRAYS = 8, N_PARTS = 2 + N_ARRAYS };

/* The arrays of a record, in the order of the file. */
static void record_arrays(cyc_record_part p[N_ARRAYS], const cyc_polished *r)
{
	size_t T = (size_t)r->n_tilts, N = (size_t)r->n_particles;
	const cyc_record_part list[N_ARRAYS] = { { r->tilts, sizeof *r->tilts, T },
		                                     { r->offsets_A, sizeof *r->offsets_A, N },
		                                     { r->displacement_A, sizeof(double), 3 * T * N },
		                                     { r->tilt_errors, sizeof(double), 5 * T },
		                                     { r->particle_errors, sizeof(double), 3 * N },
		                                     { r->motion_errors, sizeof(double), T },
		                                     { r->held_errors, sizeof(double), 3 * N },
		                                     { r->deformation, sizeof(double),
		                                       T * (size_t)r->n_deformation } };
	memcpy(p, list, sizeof list);
}

cyc_status cyc_polished_write(const char *path, const cyc_polished *r, uint64_t hash)
{
	const int64_t numbers[N_NUMBERS] = { r->outcome,
		                                 r->is_taken,
		                                 r->has_errors,
		                                 r->n_images,
		                                 r->deformation_type,
		                                 r->deformation_grid[0],
		                                 r->deformation_grid[1],
		                                 r->n_deformation };
	const double values[N_VALUES] = { r->heldout_before, r->heldout_after, r->heldout_error,
		                              r->motion_speed };
	cyc_record_part parts[N_PARTS] = { { numbers, sizeof *numbers, N_NUMBERS },
		                               { values, sizeof *values, N_VALUES } };
	record_arrays(parts + 2, r);
	return cyc_record_write(path, KIND, hash, parts, N_PARTS);
}

/* Whether the numbers fit a series of this size: the record is complete, but may be of something else. */
static bool are_numbers_possible(const int64_t n[N_NUMBERS])
{
	return n[0] >= 0 && n[0] <= CYC_POLISH_WORSE && n[3] >= 0 && n[4] >= 0 &&
	       n[4] <= CYC_DEFORMATION_FOURIER && n[7] >= 0 && n[7] <= 1 << 20;
}

static cyc_status read_result(bool *is_usable, cyc_polished *r, const cyc_record *record, int32_t n_tilts,
                              int32_t n_particles)
{
	cyc_status st = CYC_OK;
	int64_t n[N_NUMBERS];
	double v[N_VALUES];
	cyc_record_part arrays[N_ARRAYS];
	*is_usable =
		cyc_record_has(record, 0, sizeof *n, N_NUMBERS) && cyc_record_has(record, 1, sizeof *v, N_VALUES);
	if (!*is_usable) goto done;
	CYC_TRY(cyc_record_read(record, 0, n, sizeof *n, N_NUMBERS));
	CYC_TRY(cyc_record_read(record, 1, v, sizeof *v, N_VALUES));
	*is_usable = are_numbers_possible(n);
	if (!*is_usable) goto done;
	CYC_TRY(cyc_polished_create(r, n_tilts, n_particles));
	r->n_deformation = (int32_t)n[7];
	if (n[7] > 0) CYC_TRY(cyc_alloc(&r->deformation, (size_t)n[7] * (size_t)n_tilts, sizeof *r->deformation));
	record_arrays(arrays, r);
	for (int i = 0; i < N_ARRAYS; i++)
		*is_usable = *is_usable && cyc_record_has(record, 2 + i, arrays[i].size, arrays[i].count);
	void *const to[N_ARRAYS] = { r->tilts,           r->offsets_A,     r->displacement_A, r->tilt_errors,
		                         r->particle_errors, r->motion_errors, r->held_errors,    r->deformation };
	for (int i = 0; i < N_ARRAYS && *is_usable; i++)
		CYC_TRY(cyc_record_read(record, 2 + i, to[i], arrays[i].size, arrays[i].count));
	r->outcome = (cyc_polish_outcome)n[0];
	r->is_taken = n[1] != 0;
	r->has_errors = n[2] != 0;
	r->n_images = n[3];
	r->deformation_type = (cyc_deformation_type)n[4];
	r->deformation_grid[0] = (int32_t)n[5];
	r->deformation_grid[1] = (int32_t)n[6];
	r->heldout_before = v[0];
	r->heldout_after = v[1];
	r->heldout_error = v[2];
	r->motion_speed = v[3];
done:
	return st;
}

cyc_status cyc_polished_read(bool *found, int64_t *n_other, cyc_polished *r, const char *path,
                             int32_t n_tilts, int32_t n_particles, uint64_t hash)
{
	cyc_status st = CYC_OK;
	cyc_record *record = NULL;
	*found = false;
	CYC_TRY(cyc_record_open(&record, path, KIND, hash, CONSEQUENCE, n_other));
	if (!record) goto done;
	CYC_TRY(read_result(found, r, record, n_tilts, n_particles));
	if (*found) goto done;
	cyc_record_warn_unusable(record, CONSEQUENCE);
	cyc_polished_deinit(r);
done:
	if (st != CYC_OK) cyc_polished_deinit(r);
	cyc_record_close(&record);
	return st;
}

/* ---------------------------------------------------------------- project files */

cyc_status cyc_tilt_change_apply(cyc_tilt_series *ts, int32_t f, const cyc_tilt_change *change)
{
	cyc_status st = CYC_OK;
	cyc_projection p;
	cyc_tilt *t = &ts->tilts[f];
	CYC_TRY(cyc_projection_of_tilt(&p, ts, f));
	cyc_tilt_from_matrix(&t->xtilt_rad, &t->ytilt_rad, &t->zrot_rad, cyc_mat3_mul(change->Q, p.linear));
	cyc_mat3 R = cyc_tilt_to_matrix(t->xtilt_rad, t->ytilt_rad, t->zrot_rad);
	cyc_vec3 half = { 0.5 * (ts->size_px[0] % 2), 0.5 * (ts->size_px[1] % 2), 0.5 * (ts->size_px[2] % 2) },
			 o = cyc_mat3_apply(R, half);
	t->shift_x_A = ts->pixel_size_A * (p.origin_px.x - ts->image_nx / 2 - o.x) + change->shift_A[0];
	t->shift_y_A = ts->pixel_size_A * (p.origin_px.y - ts->image_ny / 2 - o.y) + change->shift_A[1];
	t->has_angles = true;
	t->has_matrix = false;
done:
	return st;
}

static cyc_status apply_to_series(cyc_tilt_series *ts, const cyc_polished *r)
{
	cyc_status st = CYC_OK;
	size_t n = (size_t)r->n_deformation;
	for (int32_t f = 0; f < r->n_tilts; f++) {
		cyc_tilt *t = &ts->tilts[f];
		CYC_TRY(cyc_tilt_change_apply(ts, f, &r->tilts[f]));
		if (n == 0) continue;
		cyc_free(t->deformation);
		t->deformation = NULL;
		t->n_deformation = 0;
		CYC_TRY(cyc_alloc(&t->deformation, n, sizeof *t->deformation));
		memcpy(t->deformation, r->deformation + (size_t)f * n, n * sizeof *t->deformation);
		t->n_deformation = r->n_deformation;
	}
	if (n == 0) goto done;
	ts->deformation_type = r->deformation_type;
	memcpy(ts->deformation_grid, r->deformation_grid, sizeof ts->deformation_grid);
done:
	return st;
}

static cyc_status write_particles(const cyc_polish_files *f, const char *path)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t column[3], origin[3];
	CYC_TRY(cyc_polish_keep_original_positions(f->particles));
	CYC_TRY(cyc_star_require(&b, f->particles->star, "particles"));
	for (int k = 0; k < 3; k++) {
		CYC_TRY(cyc_star_ensure_column(&column[k], b, CYC_LABELS_CENTRED[k], "0"));
		CYC_TRY(cyc_star_ensure_column(&origin[k], b, CYC_LABELS_ORIGIN[k], "0"));
		cyc_star_remove_column(b, CYC_LABELS_COORDINATE[k]);
	}
	for (int k = 0; k < 3; k++) { /* removing may have moved them */
		column[k] = cyc_star_column(b, CYC_LABELS_CENTRED[k]);
		origin[k] = cyc_star_column(b, CYC_LABELS_ORIGIN[k]);
	}
	for (int64_t i = 0; i < f->particles->n; i++) {
		const cyc_particle *p = &f->particles->particles[i];
		const cyc_polished *r = &f->results[p->i_series];
		cyc_vec3 o = r->offsets_A[i - f->particles->series_first[p->i_series]];
		const double x[3] = { p->position_A.x + o.x, p->position_A.y + o.y, p->position_A.z + o.z };
		for (int k = 0; k < 3; k++) {
			CYC_TRY(cyc_star_set_double(b, p->row, column[k], x[k]));
			CYC_TRY(cyc_star_set_double(b, p->row, origin[k], 0));
		}
		/* Positions refined later with these tilts and this motion inherit their errors (T6.15). */
		for (int k = 0; k < 3 && r->is_taken && r->has_errors; k++)
			CYC_TRY(cyc_label_put(b, p->row, CYC_LABELS_ALIGNMENT_ERROR[k],
			                      r->held_errors[3 * (i - f->particles->series_first[p->i_series]) + k]));
	}
	CYC_TRY(cyc_star_write(f->particles->star, path));
done:
	return st;
}

static cyc_status write_motion(const cyc_polish_files *f, const char *path)
{
	cyc_status st = CYC_OK;
	cyc_trajectory_file file = { 0 };
	double(*moved)[3] = NULL;
	int32_t most = 0;
	for (int32_t i = 0; i < f->tomograms->n_series; i++)
		if (f->tomograms->series[i].n_tilts > most) most = f->tomograms->series[i].n_tilts;
	CYC_TRY(cyc_alloc(&moved, most, sizeof *moved));
	CYC_TRY(cyc_trajectory_file_open(&file, path, f->particles->n));
	for (int64_t i = 0; i < f->particles->n; i++) {
		const cyc_particle *p = &f->particles->particles[i];
		const cyc_polished *r = &f->results[p->i_series];
		size_t local = (size_t)(i - f->particles->series_first[p->i_series]), T = (size_t)r->n_tilts;
		for (size_t t = 0; t < T; t++)
			for (size_t k = 0; k < 3; k++) /* A series whose result was rejected keeps the motion it had. */
				moved[t][k] = r->is_taken   ? r->displacement_A[3 * (local * T + t) + k]
				              : p->motion_A ? (double)p->motion_A[3 * t + k]
				                            : 0;
		CYC_TRY(cyc_trajectory_file_add(&file, p->name, (const double(*)[3])moved, r->n_tilts));
	}
	CYC_TRY(cyc_trajectory_file_commit(&file));
done:
	cyc_trajectory_file_abandon(&file);
	cyc_free(moved);
	return st;
}

static const char UNCERTAINTY_COMMENT[] =
	"Standard errors of what the images determine (docs/theory/06-polishing.md, T6.15). A common shift and "
	"a\n"
	"common rotation of specimen and tilts do not change the images, and are not included."
	"\ncycAngleX, Y, ZErrorDeg: rotations of a tilt about the image axis across the tilt axis, about the "
	"tilt\n"
	"axis and about the beam, without the mean rotation of the tilts in the specimen."
	"\ncycShiftX, YErrorAngst: shifts, without the best-fitting offset of the specimen."
	"\ncycMotionErrorAngst: motion since the lowest dose (where it is 0 by definition), RMS over particles "
	"and\n"
	"axes."
	"\ncycPositionX, Y, ZErrorAngst: positions along the specimen's axes, mean over the tilts, without the\n"
	"best-fitting offset and rotation of all particles of the series (kept fixed if there are fewer than "
	"four\n"
	"particles).\n"
	"-1: unknown, because it was not refined.\n";

static cyc_status write_uncertainty(const cyc_polish_files *f, const char *path)
{
	cyc_status st = CYC_OK;
	static const char *const TILT[5] = { CYC_OWN_ANGLE_X_ERROR_DEG, CYC_OWN_ANGLE_Y_ERROR_DEG,
		                                 CYC_OWN_ANGLE_Z_ERROR_DEG, CYC_OWN_SHIFT_X_ERROR_ANGST,
		                                 CYC_OWN_SHIFT_Y_ERROR_ANGST };
	static const char *const PARTICLE[3] = { CYC_OWN_POSITION_X_ERROR_ANGST, CYC_OWN_POSITION_Y_ERROR_ANGST,
		                                     CYC_OWN_POSITION_Z_ERROR_ANGST };
	cyc_star *s = NULL;
	cyc_star_block *b;
	int64_t row;
	int32_t column;
	CYC_TRY(cyc_star_create(&s));
	CYC_TRY(cyc_star_set_comment(s, UNCERTAINTY_COMMENT));
	for (int32_t i = 0; i < f->tomograms->n_series; i++) {
		const cyc_polished *r = &f->results[i];
		if (!r->has_errors) continue;
		CYC_TRY(cyc_star_add_block(&b, s, f->tomograms->series[i].name, CYC_STAR_TABLE));
		for (int32_t t = 0; t < r->n_tilts; t++) {
			CYC_TRY(cyc_star_add_row(&row, b));
			for (int k = 0; k < 5; k++) CYC_TRY(cyc_label_put(b, row, TILT[k], r->tilt_errors[5 * t + k]));
			if (r->motion_speed > 0)
				CYC_TRY(cyc_label_put(b, row, CYC_OWN_MOTION_ERROR_ANGST, r->motion_errors[t]));
		}
	}
	CYC_TRY(cyc_star_add_block(&b, s, "particles", CYC_STAR_TABLE));
	CYC_TRY(cyc_star_ensure_column(&column, b, CYC_RLN_TOMO_PARTICLE_NAME, ""));
	for (int64_t i = 0; i < f->particles->n; i++) {
		const cyc_particle *p = &f->particles->particles[i];
		const cyc_polished *r = &f->results[p->i_series];
		const double *errors = r->particle_errors + 3 * (i - f->particles->series_first[p->i_series]);
		if (!r->has_errors || isnan(errors[0])) continue;
		CYC_TRY(cyc_star_add_row(&row, b));
		CYC_TRY(cyc_star_set_text(b, row, column, p->name));
		for (int k = 0; k < 3; k++) CYC_TRY(cyc_label_put(b, row, PARTICLE[k], errors[k]));
	}
	CYC_TRY(cyc_star_write(s, path));
done:
	cyc_star_destroy(&s);
	return st;
}

/* ---------------------------------------------------------------- figures */

enum { MAX_TRACKS = 60 };

/*
 * Tracks are magnified until the longer ones, the 90th percentile of their extents, are a twelfth of the
 * field: 1, 2 or 5 times a power of ten. Smaller motion is not magnified further: it would be noise alone.
 */
static const double TRACK_SHARE = 1.0 / 12, LEAST_MOTION_A = 0.02;

static double extent_A(const double *displacement_A, int32_t n_tilts)
{
	double low[2] = { HUGE_VAL, HUGE_VAL }, high[2] = { -HUGE_VAL, -HUGE_VAL };
	for (int32_t t = 0; t < n_tilts; t++)
		for (int k = 0; k < 2; k++) {
			low[k] = fmin(low[k], displacement_A[3 * t + k]);
			high[k] = fmax(high[k], displacement_A[3 * t + k]);
		}
	return n_tilts > 0 ? fmax(high[0] - low[0], high[1] - low[1]) : 0;
}

/* Also the 90th percentile itself, for the title. */
static cyc_status track_magnification(double *out, double *long_A, const cyc_polished *r,
                                      const cyc_particle *particles, int32_t n_tracks)
{
	cyc_status st = CYC_OK;
	double *extents = NULL, low = HUGE_VAL, high = -HUGE_VAL;
	*out = 1;
	*long_A = 0;
	if (n_tracks == 0) return CYC_OK;
	CYC_TRY(cyc_alloc(&extents, n_tracks, sizeof *extents));
	for (int32_t p = 0; p < n_tracks; p++) {
		extents[p] = extent_A(r->displacement_A + 3 * (size_t)p * (size_t)r->n_tilts, r->n_tilts);
		low = fmin(low, fmin(particles[p].position_A.x, particles[p].position_A.y));
		high = fmax(high, fmax(particles[p].position_A.x, particles[p].position_A.y));
	}
	cyc_sort(extents, (size_t)n_tracks);
	*long_A = extents[(size_t)(0.9 * (n_tracks - 1))];
	double wanted = fmax(1, TRACK_SHARE * fmax(high - low, 100) / fmax(*long_A, LEAST_MOTION_A));
	double power = pow(10, floor(log10(wanted))), m = wanted / power;
	*out = power * (m >= 5 ? 5 : m >= 2 ? 2 : 1);
done:
	cyc_free(extents);
	return st;
}

/* One series' figure, with the arrays that its panels point to. */
typedef struct {
	double *values;
	char *title;
	unsigned char *marks; /* of the shifts */
	cyc_plot_series *tracks, shifts[2];
	cyc_plot panels[2];
	int32_t n_panels;
} figure;

/* Shifts against the tilt's row, and the particles' tracks in the plane of the tomogram, magnified. */
static cyc_status figure_create(figure *g, const cyc_polish_files *f, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_polished *r = &f->results[i];
	const cyc_tilt_series *ts = &f->tomograms->series[i];
	const cyc_particle *particles = &f->particles->particles[f->particles->series_first[i]];
	int32_t T = r->n_tilts,
			n_tracks = f->write_motion ? (r->n_particles < MAX_TRACKS ? r->n_particles : MAX_TRACKS) : 0,
			*order = NULL;
	size_t n = (size_t)T;
	double magnification, long_A;
	CYC_TRY(track_magnification(&magnification, &long_A, r, particles, n_tracks));
	CYC_TRY(cyc_alloc(&g->values, n * (5 + 2 * (size_t)n_tracks), sizeof *g->values));
	CYC_TRY(cyc_alloc(&order, n, sizeof *order));
	CYC_TRY(cyc_alloc(&g->marks, n, 1));
	CYC_TRY(cyc_alloc(&g->tracks, (size_t)n_tracks + 1, sizeof *g->tracks));
	double *v = g->values;
	cyc_tilt_series_chronological(order, ts);
	for (size_t t = 0; t < n; t++) {
		size_t row = (size_t)order[t];
		v[t] = ts->tilts[row].pre_exposure_e_per_A2;
		if (!(ts->tilts[row].scale > 0)) g->marks[t] = CYC_MARK_EXCLUDED;
		for (size_t k = 0; k < 2; k++) {
			v[(1 + k) * n + t] = r->tilts[row].shift_A[k];
			v[(3 + k) * n + t] = r->tilt_errors[5 * row + 3 + k];
		}
		for (size_t p = 0; p < (size_t)n_tracks; p++) {
			const double *m = r->displacement_A + 3 * (p * n + row);
			v[(5 + 2 * p) * n + t] = 0.1 * (particles[p].position_A.x + magnification * m[0]);
			v[(6 + 2 * p) * n + t] = 0.1 * (particles[p].position_A.y + magnification * m[1]);
		}
	}
	for (int32_t p = 0; p < n_tracks; p++)
		g->tracks[p] = (cyc_plot_series){ .n = T,
			                              .x = v + (5 + 2 * (size_t)p) * n,
			                              .y = v + (6 + 2 * (size_t)p) * n,
			                              .style = CYC_PLOT_LINE,
			                              .colour = 0 };
	g->shifts[0] = (cyc_plot_series){ .label = "x",
		                              .n = T,
		                              .x = v,
		                              .y = v + n,
		                              .y_error = v + 3 * n,
		                              .marks = g->marks,
		                              .style = CYC_PLOT_LINE_POINTS,
		                              .colour = 0 };
	g->shifts[1] = (cyc_plot_series){ .label = "y",
		                              .n = T,
		                              .x = v,
		                              .y = v + 2 * n,
		                              .y_error = v + 4 * n,
		                              .marks = g->marks,
		                              .style = CYC_PLOT_LINE_POINTS,
		                              .colour = 1 };
	CYC_TRY(cyc_asprintf(&g->title, "%s: motion of %d particles, magnified %.0f times (up to %.2g Å)",
	                     ts->name, n_tracks, magnification, long_A));
	g->panels[0] = (cyc_plot){ .title = ts->name,
		                       .x_label = "dose (e/Å²)",
		                       .y_label = "change of shift (Å)",
		                       .h_line = 0,
		                       .n_series = 2,
		                       .series = g->shifts };
	/* With room at the sides, so that no track begins at the border. */
	double low = HUGE_VAL, high = -HUGE_VAL;
	for (size_t k = 5 * n; k < 5 * n + 2 * n * (size_t)n_tracks; k++) {
		if (k / n % 2 == 0) continue; /* y */
		low = fmin(low, v[k]);
		high = fmax(high, v[k]);
	}
	double room = 0.04 * fmax(high - low, 1);
	g->panels[1] = (cyc_plot){ .title = g->title,
		                       .x_label = "x (nm)",
		                       .y_label = "y (nm)",
		                       .x_min = n_tracks > 0 ? low - room : 0,
		                       .x_max = n_tracks > 0 ? high + room : 0,
		                       .h_line = (double)NAN,
		                       .n_series = n_tracks,
		                       .series = g->tracks };
	g->n_panels = n_tracks > 0 ? 2 : 1;
done:
	cyc_free(order);
	return st;
}

typedef struct {
	const cyc_polish_files *f;
	figure *figures; /* per series; without panels where nothing was accepted */
} figures_work;

static cyc_status figure_task(void *arg, int64_t i, int i_thread)
{
	figures_work *w = arg;
	(void)i_thread;
	return w->f->results[i].is_taken ? figure_create(&w->figures[i], w->f, (int32_t)i) : CYC_OK;
}

/* A picture per series that was polished, and all of them in logfile.pdf. */
static cyc_status write_figures(const cyc_polish_files *f)
{
	cyc_status st = CYC_OK;
	int32_t n_series = f->tomograms->n_series, n = 0, *n_panels = NULL;
	figures_work w = { .f = f };
	const cyc_plot **pages = NULL;
	char *path = NULL, **pictures = NULL;
	CYC_TRY(cyc_alloc(&pictures, n_series, sizeof *pictures));
	CYC_TRY(cyc_alloc(&w.figures, n_series, sizeof *w.figures));
	CYC_TRY(cyc_alloc(&pages, n_series, sizeof *pages));
	CYC_TRY(cyc_alloc(&n_panels, n_series, sizeof *n_panels));
	CYC_TRY(cyc_parallel_for(n_series, f->n_threads, figure_task, &w));
	for (int32_t i = 0; i < n_series; i++) {
		if (w.figures[i].n_panels == 0) continue;
		CYC_TRY(cyc_asprintf(&pictures[n], "%s%s_polish.png", f->out, f->tomograms->series[i].file_name));
		pages[n] = w.figures[i].panels;
		n_panels[n++] = w.figures[i].n_panels;
	}
	if (n == 0) goto done;
	CYC_TRY(cyc_asprintf(&path, "%slogfile.pdf", f->out));
	CYC_TRY(cyc_plot_write_book(path, (const char *const *)pictures, pages, n_panels, n, f->n_threads));
done:
	for (int32_t i = 0; pictures && i < n_series; i++) cyc_free(pictures[i]);
	cyc_free(pictures);
	for (int32_t i = 0; w.figures && i < n_series; i++) {
		cyc_free(w.figures[i].values);
		cyc_free(w.figures[i].title);
		cyc_free(w.figures[i].tracks);
		cyc_free(w.figures[i].marks);
	}
	cyc_free(w.figures);
	cyc_free(pages);
	cyc_free(n_panels);
	cyc_free(path);
	return st;
}

/* ---------------------------------------------------------------- all of it */

static cyc_status named(char **relative, char **path, const cyc_polish_files *f, const char *name)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_asprintf(relative, "%s%s", f->out_dir, name));
	CYC_TRY(cyc_path_join(path, f->root, *relative));
done:
	return st;
}

static cyc_status write_optimisation_set(cyc_polish_result *result, const cyc_polish_files *f)
{
	cyc_status st = CYC_OK;
	/* The maps are of the old alignment. */
	const cyc_set_changes now = { .tomograms = result->tomograms,
		                          .particles = result->particles,
		                          .trajectories = result->trajectories };
	CYC_TRY(cyc_asprintf(&result->optimisation_set, "%soptimisation_set.star", f->out_dir));
	CYC_TRY(cyc_optimisation_set_write_result(f->root, result->optimisation_set, f->input, &now));
done:
	return st;
}

static cyc_status remove_records(const cyc_polish_files *f)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	for (int32_t i = 0; i < f->tomograms->n_series; i++) {
		CYC_TRY(cyc_asprintf(&path, "%stemp/%s.polish", f->out, f->tomograms->series[i].file_name));
		unlink(path);
		cyc_free(path);
		path = NULL;
	}
	CYC_TRY(cyc_parts_forget(f->out));
	CYC_TRY(cyc_asprintf(&path, "%stemp", f->out));
	rmdir(path); /* stays if something else is in it */
done:
	cyc_free(path);
	return st;
}

cyc_status cyc_polish_write(cyc_polish_result *result, const cyc_polish_files *f)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	if (f->write_figures) CYC_TRY(write_figures(f));
	CYC_TRY(cyc_asprintf(&path, "%suncertainty.star", f->out));
	CYC_TRY(write_uncertainty(f, path));
	cyc_free(path);
	path = NULL;
	if (f->write_particles) {
		CYC_TRY(named(&result->particles, &path, f, "particles.star"));
		CYC_TRY(write_particles(f, path));
		cyc_free(path);
		path = NULL;
	}
	if (f->write_motion) {
		CYC_TRY(named(&result->trajectories, &path, f, "motion.star"));
		CYC_TRY(write_motion(f, path));
		cyc_free(path);
		path = NULL;
	}
	CYC_TRY(cyc_polish_keep_original_input(f->tomograms));
	unsigned what = CYC_WRITE_GEOMETRY;
	for (int32_t i = 0; i < f->tomograms->n_series; i++) {
		if (!f->results[i].is_taken) continue;
		CYC_TRY(apply_to_series(&f->tomograms->series[i], &f->results[i]));
		if (f->results[i].n_deformation > 0) what |= CYC_WRITE_DEFORMATION;
	}
	CYC_TRY(cyc_tomogram_set_write(f->tomograms, f->out_dir, f->root, what));
	CYC_TRY(named(&result->tomograms, &path, f, "tomograms.star"));
	CYC_TRY(remove_records(f));
	CYC_TRY(write_optimisation_set(result, f)); /* last: it marks the output as complete */
done:
	cyc_free(path);
	return st;
}
