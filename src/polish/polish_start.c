#include "polish/polish_start.h"

#include "polish/image_shift.h"
#include "project/labels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- lost tilts */

/* Odds that a position must have over no particles and over nearby positions. */
static const double LEAST_ODDS = 100;

typedef struct {
	double ratio, power; /* agreement over power, and the weight of it */
} seen_tilt;

/* Highest agreement of all particles of a tilt under one shift, and their power. */
typedef struct {
	const cyc_alignment *a;
	double *agreement, *power;
} nearby;

static cyc_status nearby_task(void *arg, int64_t f, int i_thread)
{
	cyc_status st = CYC_OK;
	(void)i_thread;
	const nearby *w = arg;
	const cyc_alignment *a = w->a;
	size_t n = (size_t)a->grid.n * (size_t)a->grid.n;
	double reach = cyc_local_map_reach(a->grid), step = 0.5 * a->grid.step_px, g[2], best = -HUGE_VAL;
	int32_t half = (int32_t)(reach / step);
	float *sum = NULL;
	CYC_TRY(cyc_alloc(&sum, n, sizeof *sum));
	for (int32_t p = 0; p < a->n_particles; p++) {
		if (!cyc_pair_is_seen(a, p, (int32_t)f)) continue;
		for (size_t i = 0; i < n; i++) sum[i] += cyc_pair_of(a, p, (int32_t)f)->map[i];
		w->power[f] += cyc_pair_of(a, p, (int32_t)f)->power;
	}
	for (int32_t y = -half; y <= half; y++)
		for (int32_t x = -half; x <= half; x++)
			best = fmax(best, cyc_local_map_value(g, sum, a->grid, x * step, y * step));
	w->agreement[f] = best;
done:
	cyc_free(sum);
	return st;
}

static int by_ratio(const void *a, const void *b)
{
	double x = ((const seen_tilt *)a)->ratio, y = ((const seen_tilt *)b)->ratio;
	return (x > y) - (x < y);
}

/* Strength of the series: the median of its tilts', each counted by its power. */
static cyc_status median_strength(double *strength, const nearby *w)
{
	cyc_status st = CYC_OK;
	seen_tilt *t = NULL;
	size_t n = 0;
	double all = 0, sum = 0;
	*strength = 0;
	CYC_TRY(cyc_alloc(&t, w->a->n_tilts, sizeof *t));
	for (int32_t f = 0; f < w->a->n_tilts; f++) {
		if (!(w->power[f] > 0)) continue;
		t[n++] = (seen_tilt){ w->agreement[f] / w->power[f], w->power[f] };
		all += w->power[f];
	}
	qsort(t, n, sizeof *t, by_ratio);
	for (size_t i = 0; i < n && sum < 0.5 * all; i++) {
		sum += t[i].power;
		*strength = t[i].ratio;
	}
done:
	cyc_free(t);
	return st;
}

/* Gain of the log-likelihood by the place found over all places near the expected one. */
static double gain_over_near(const cyc_image_shift *found, double strength)
{
	return strength * (found->top - found->near);
}

bool cyc__is_found_elsewhere(const cyc_image_shift *found, double strength, double log_n_places)
{
	double none = 0.5 * strength * strength * found->power,
		   gain = strength * found->top - none - log_n_places,
		   over_near = gain_over_near(found, strength) - log_n_places;
	return found->n_images > 0 && found->is_found && fmin(gain, over_near) > log(LEAST_ODDS);
}

static cyc_status look_for_tilt(double shift_A[2], bool *is_moved, const cyc_alignment *a, int32_t f,
                                double strength, cyc_prediction_pass *pass, const cyc_particle_set *set,
                                int32_t i_series)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = a->ts;
	cyc_image_shift found;
	CYC_TRY(cyc_image_shift_find(&found, pass, ts, f, set, i_series, cyc_local_map_reach(a->grid)));
	double log_n_places = log((double)ts->image_nx * ts->image_ny);
	*is_moved = cyc__is_found_elsewhere(&found, strength, log_n_places);
	for (int k = 0; k < 2 && *is_moved; k++) shift_A[k] = found.shift_px[k] * ts->pixel_size_A;
	if (*is_moved)
		cyc_warn("tilt series %s, row %d: its particles are %.1f Å from where its shift puts them "
		         "(log-likelihood +%.0f over all nearby positions, less %.0f for the number of positions): "
		         "the refinement starts from there",
		         ts->name, f + 1, hypot(shift_A[0], shift_A[1]), gain_over_near(&found, strength),
		         log_n_places);
	else
		cyc_warn("tilt series %s, row %d: its particles are not found, neither where expected nor elsewhere "
		         "in the image; its shift and angles follow the prior",
		         ts->name, f + 1);
done:
	return st;
}

cyc_status cyc_polish_find_lost_tilts(double *shifts_A, bool *is_moved, const cyc_alignment *a,
                                      cyc_prediction_pass *pass, const cyc_particle_set *set,
                                      int32_t i_series)
{
	cyc_status st = CYC_OK;
	size_t T = (size_t)a->n_tilts;
	double *work = NULL, strength, least = log((double)a->ts->image_nx * a->ts->image_ny) + log(LEAST_ODDS);
	CYC_TRY(cyc_alloc(&work, 2 * T, sizeof *work));
	nearby w = { .a = a, .agreement = work, .power = work + T };
	CYC_TRY(cyc_parallel_for(a->n_tilts, a->n_threads, nearby_task, &w));
	CYC_TRY(median_strength(&strength, &w));
	for (int32_t f = 0; f < a->n_tilts; f++) {
		shifts_A[2 * f] = shifts_A[2 * f + 1] = 0;
		is_moved[f] = false;
		/* log L = 2 S C - S^2 P against no particles: the position must be likelier, and large enough a
		 * signal to be found at all. */
		double power = strength * strength * w.power[f];
		if (!(strength > 0) || power < least || 2 * strength * w.agreement[f] > power) continue;
		CYC_TRY(cyc_cancel_check());
		CYC_TRY(look_for_tilt(shifts_A + 2 * f, &is_moved[f], a, f, strength, pass, set, i_series));
	}
done:
	cyc_free(work);
	return st;
}

/* ---------------------------------------------------------------- original input */

static cyc_status present_numbers(double x[5], cyc_tilt_series *ts, int32_t f)
{
	cyc_status st = CYC_OK;
	cyc_tilt t = ts->tilts[f];
	cyc_projection p;
	if (t.has_matrix) {
		CYC_TRY(cyc_projection_of_tilt(&p, ts, f));
		cyc_tilt_from_matrix(&t.xtilt_rad, &t.ytilt_rad, &t.zrot_rad, p.linear);
		cyc_vec3 half = { 0.5 * (ts->size_px[0] % 2), 0.5 * (ts->size_px[1] % 2),
			              0.5 * (ts->size_px[2] % 2) };
		cyc_vec3 o = cyc_mat3_apply(cyc_tilt_to_matrix(t.xtilt_rad, t.ytilt_rad, t.zrot_rad), half);
		t.shift_x_A = ts->pixel_size_A * (p.origin_px.x - ts->image_nx / 2 - o.x);
		t.shift_y_A = ts->pixel_size_A * (p.origin_px.y - ts->image_ny / 2 - o.y);
	}
	const double now[5] = { cyc_rad_to_deg(t.xtilt_rad), cyc_rad_to_deg(t.ytilt_rad),
		                    cyc_rad_to_deg(t.zrot_rad), t.shift_x_A, t.shift_y_A };
	memcpy(x, now, sizeof now);
done:
	return st;
}

cyc_status cyc_polish_original_input(bool *is_found, double *angles_rad, double *shifts_A,
                                     const cyc_tomogram_set *tomograms, int32_t i)
{
	cyc_status st = CYC_OK;
	cyc_tilt_series *ts = &tomograms->series[i];
	const cyc_star_block *b = cyc_star_find(tomograms->series_star[i], ts->name);
	int32_t column[5];
	*is_found = b != NULL;
	for (int k = 0; k < 5 && *is_found; k++) {
		column[k] = cyc_star_column(b, CYC_LABELS_INPUT_TILT[k]);
		*is_found = column[k] >= 0;
	}
	for (int32_t f = 0; f < ts->n_tilts && *is_found; f++) {
		double now[5], original;
		CYC_TRY(present_numbers(now, ts, f));
		for (int k = 0; k < 5; k++) {
			CYC_TRY(cyc_star_double(&original, b, f, column[k]));
			CYC_CHECK(isfinite(original), CYC_E_DATA, "tilt series %s, row %d: _%s is not a number", ts->name,
			          f + 1, CYC_LABELS_INPUT_TILT[k]);
			if (k < 3) angles_rad[3 * f + k] = remainder(cyc_deg_to_rad(original - now[k]), 2 * CYC_PI);
			else shifts_A[2 * f + k - 3] = original - now[k];
		}
	}
done:
	return st;
}

cyc_status cyc_polish_keep_original_input(cyc_tomogram_set *tomograms)
{
	cyc_status st = CYC_OK;
	for (int32_t i = 0; i < tomograms->n_series; i++) {
		cyc_tilt_series *ts = &tomograms->series[i];
		cyc_star_block *b = cyc_star_find(tomograms->series_star[i], ts->name);
		bool is_kept = b != NULL;
		for (int k = 0; k < 5 && is_kept; k++) is_kept = cyc_star_column(b, CYC_LABELS_INPUT_TILT[k]) >= 0;
		if (is_kept || !b) continue;
		for (int32_t f = 0; f < ts->n_tilts; f++) {
			double x[5];
			CYC_TRY(present_numbers(x, ts, f));
			for (int k = 0; k < 5; k++) {
				int32_t column;
				CYC_TRY(cyc_star_ensure_column(&column, b, CYC_LABELS_INPUT_TILT[k], "0"));
				CYC_TRY(cyc_star_set_double(b, f, column, x[k]));
			}
		}
	}
done:
	return st;
}

cyc_status cyc_polish_is_result(bool *is_result, const char *path, const char *root)
{
	cyc_status st = CYC_OK;
	char *folder = NULL, *file = NULL;
	cyc_star *star = NULL;
	const char *slash = strrchr(path, '/');
	*is_result = false;
	if (!slash) goto done;
	CYC_TRY(cyc_asprintf(&folder, "%.*s/job.star", (int)(slash - path), path));
	CYC_TRY(cyc_path_join(&file, root, folder));
	if (!cyc_path_exists(file)) goto done;
	st = cyc_star_read(&star, file);
	if (st == CYC_E_FORMAT) { /* not judged here */
		cyc_error_clear();
		st = CYC_OK;
		goto done;
	}
	CYC_TRY(st);
	const cyc_star_block *b = cyc_star_find(star, "job");
	int32_t column = b ? cyc_star_column(b, CYC_RLN_JOB_TYPE_LABEL) : -1;
	*is_result = column >= 0 &&
	             strncmp(cyc_star_text(b, 0, column), "relion.framealign", strlen("relion.framealign")) == 0;
done:
	cyc_free(folder);
	cyc_free(file);
	cyc_star_destroy(&star);
	return st;
}

/* ---------------------------------------------------------------- the particles' own frame */

/* sum f ds/dx of one with the other, against the sizes of both: 0 but for rounding where symmetry holds the
 * centre. */
static const double HELD = 1e-4;

typedef struct {
	double slope[3], squares[2], slopes2[3];
} slope_sums;

typedef struct {
	cyc_volume *const *half;
	slope_sums *section;
} sloping;

static cyc_status slope_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const sloping *s = arg;
	int32_t n = s->half[0]->nx;
	const size_t step[3] = { 1, (size_t)n, (size_t)n * (size_t)n };
	slope_sums sum = { 0 };
	for (int32_t y = 1; y + 1 < n && z > 0 && z + 1 < n; y++)
		for (int32_t x = 1; x + 1 < n; x++) {
			size_t i = (size_t)x + step[1] * (size_t)y + step[2] * (size_t)z;
			const float *a = s->half[0]->data + i, *b = s->half[1]->data + i;
			sum.squares[0] += (double)*a * (double)*a;
			sum.squares[1] += (double)*b * (double)*b;
			for (int k = 0; k < 3; k++) {
				double da = (double)(*(a + step[k]) - *(a - step[k])),
					   db = (double)(*(b + step[k]) - *(b - step[k]));
				sum.slope[k] += (double)*a * db - (double)*b * da;
				sum.slopes2[k] += da * da + db * db;
			}
		}
	s->section[z] = sum;
	return CYC_OK;
}

cyc_status cyc_polish_held_axes(bool is_held[3], const char *half1, const char *half2, const char *root,
                                int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_volume *v[2] = { NULL };
	char *path = NULL;
	const char *const names[2] = { half1, half2 };
	sloping s = { .half = v };
	for (int h = 0; h < 2; h++) {
		CYC_TRY(cyc_path_join(&path, root, names[h]));
		CYC_TRY(cyc_mrc_read_threaded(&v[h], path, n_threads));
		cyc_free(path);
		path = NULL;
	}
	int32_t n = v[0]->nx;
	is_held[0] = is_held[1] = is_held[2] = false;
	if (v[1]->nx != n || v[0]->ny != n || v[1]->ny != n || v[0]->nz != n || v[1]->nz != n)
		goto done; /* reported where the reference is made */
	CYC_TRY(cyc_alloc(&s.section, n, sizeof *s.section));
	CYC_TRY(cyc_parallel_for(n, n_threads, slope_task, &s));
	slope_sums all = { 0 };
	for (int32_t z = 0; z < n; z++) {
		const slope_sums *sum = &s.section[z];
		for (int k = 0; k < 2; k++) all.squares[k] += sum->squares[k];
		for (int k = 0; k < 3; k++) {
			all.slope[k] += sum->slope[k];
			all.slopes2[k] += sum->slopes2[k];
		}
	}
	for (int k = 0; k < 3; k++)
		is_held[k] = fabs(all.slope[k]) <= HELD * sqrt((all.squares[0] + all.squares[1]) * all.slopes2[k]);
done:
	cyc_free(path);
	cyc_free(s.section);
	for (int h = 0; h < 2; h++) cyc_volume_destroy(&v[h]);
	return st;
}

cyc_status cyc_polish_original_positions(cyc_vec3 *positions_A, const cyc_particle_set *set)
{
	cyc_status st = CYC_OK;
	double *values = NULL;
	for (int64_t i = 0; i < set->n; i++) positions_A[i] = set->particles[i].position_A;
	const cyc_star_block *b = cyc_star_find(set->star, "particles");
	for (int k = 0; k < 3; k++)
		if (!b || cyc_star_column(b, CYC_LABELS_INPUT_COORDINATE[k]) < 0) goto done;
	CYC_TRY(cyc_alloc(&values, set->n, sizeof *values));
	for (int k = 0; k < 3; k++) {
		CYC_TRY(cyc_particle_column(values, set, CYC_LABELS_INPUT_COORDINATE[k]));
		for (int64_t i = 0; i < set->n; i++)
			*(k == 0 ? &positions_A[i].x : k == 1 ? &positions_A[i].y : &positions_A[i].z) = values[i];
	}
done:
	cyc_free(values);
	return st;
}

cyc_status cyc_polish_keep_original_positions(cyc_particle_set *set)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t column[3];
	CYC_TRY(cyc_star_require(&b, set->star, "particles"));
	for (int k = 0; k < 3; k++)
		if (cyc_star_column(b, CYC_LABELS_INPUT_COORDINATE[k]) >= 0) goto done;
	for (int k = 0; k < 3; k++)
		CYC_TRY(cyc_star_ensure_column(&column[k], b, CYC_LABELS_INPUT_COORDINATE[k], "0"));
	for (int64_t i = 0; i < set->n; i++) {
		const cyc_particle *p = &set->particles[i];
		const double x[3] = { p->position_A.x, p->position_A.y, p->position_A.z };
		for (int k = 0; k < 3; k++) CYC_TRY(cyc_star_set_double(b, p->row, column[k], x[k]));
	}
done:
	return st;
}
