/* Images: headers, sizes, one file in two places, grey values. The series that have particles are opened. */
#include "survey/survey_internal.h"
#include "project/labels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Pixel sizes of headers are rounded by many programs; more than this is another one. */
static const double SAME_PIXEL_SIZE = 1e-2;
/* Ice and exposure do not make images differ by more than this in their grey values. */
static const double MOST_GREY_RATIO = 4;
/* Of a failing series so many images are named. */
enum { NAMED_IMAGES = 3, GREY_ROWS = 8, GREY_STEPS = 512 };

/* ---------------------------------------------------------------- headers */

/* A series that does not open: what the opening said, and the next few images that are at fault by
 * themselves. */
static cyc_status explain(cyc_survey *s, int32_t i, cyc_status raised)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	cyc_finding *f;
	char *path = NULL;
	int n_bad = 0;
	CYC_TRY(cyc_finding_add_raised(&f, s->found, "image", raised));
	f->i_series = i;
	for (int32_t k = 0; k < ts->n_tilts && n_bad < NAMED_IMAGES && !ts->stack && ts->tilts[k].image; k++) {
		cyc_mrc_info info;
		cyc_free(path);
		CYC_TRY(cyc_mrc_join_name(&path, s->p->root, ts->tilts[k].image));
		cyc_status bad = cyc_mrc_read_info(&info, path);
		CYC_TRY(bad == CYC_E_NOMEM ? bad : CYC_OK);
		/* The opening failed at the first, and has counted those that are not there. */
		bool is_next = bad != CYC_OK && (bad != CYC_E_IO || n_bad > 0) && n_bad++ > 0;
		if (is_next) {
			CYC_TRY(cyc_finding_add_raised(&f, s->found, "image", bad));
			f->i_series = i;
			f->row = k + 1;
			CYC_TRY(cyc_strdup(&f->series, ts->name));
			CYC_TRY(cyc_finding_put(f, ts->table_path, CYC_RLN_MICROGRAPH_NAME));
		}
		cyc_error_clear();
	}
done:
	cyc_free(path);
	return st;
}

/* Pixel size of the headers against that of the table: of all images, the first that differs and how many do.
 */
static cyc_status check_pixel_size(cyc_survey *s, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	int64_t n = 0;
	int32_t first = -1;
	cyc_finding *f;
	for (int32_t k = 0; k < ts->n_tilts; k++) {
		double a = ts->image_info[k].pixel_size_A;
		if (!(a > 0) || fabs(a / ts->pixel_size_A - 1) <= SAME_PIXEL_SIZE) continue;
		if (n++ == 0) first = k;
	}
	if (n == 0) return CYC_OK;
	double header = ts->image_info[first].pixel_size_A;
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "header-pixel-size", i, ts->table_path,
	                       ts->stack ? NULL : CYC_RLN_MICROGRAPH_NAME));
	f->row = first + 1;
	f->n_more = n - 1;
	f->measured.value = header;
	f->expected = ts->pixel_size_A;
	CYC_FINDING_SAY(f->found, "the header of '%s' gives a pixel size of %.4g Å, but '%s' (_%s) %.4g Å",
	                ts->image_path[first], header, s->p->tomograms->path, CYC_RLN_TOMO_TILT_SERIES_PIXEL_SIZE,
	                ts->pixel_size_A);
	CYC_FINDING_SAY(f->wanted, "one pixel size");
	CYC_FINDING_SAY(f->action,
	                "that of the table is used: correct it if the header is right (a factor of 2 suggests "
	                "super-resolution%s)",
	                fabs(header - 1) < 1e-6 ? "; 1 Å in a header usually means that it was not set" : "");
done:
	return st;
}

/* Shifts are of the tomogram's centre: beyond the image nothing of it is seen. */
static cyc_status check_shifts(cyc_survey *s, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	int64_t n = 0;
	int32_t first = -1;
	cyc_finding *f;
	for (int32_t k = 0; k < ts->n_tilts; k++) {
		const cyc_tilt *t = &ts->tilts[k];
		if (t->scale == 0 || t->has_matrix) continue;
		bool is_far = fabs(t->shift_x_A) > ts->image_nx * ts->pixel_size_A ||
		              fabs(t->shift_y_A) > ts->image_ny * ts->pixel_size_A;
		if (is_far && n++ == 0) first = k;
	}
	if (n == 0) return CYC_OK;
	CYC_TRY(
		cyc_survey_add(&f, s, CYC_FINDING_WARNING, "shift", i, ts->table_path, CYC_RLN_TOMO_X_SHIFT_ANGST));
	f->row = first + 1;
	f->n_more = n - 1;
	CYC_FINDING_SAY(f->found, "shifts of %.5g and %.5g Å, further than the image is wide (%.0f x %.0f Å)",
	                ts->tilts[first].shift_x_A, ts->tilts[first].shift_y_A, ts->image_nx * ts->pixel_size_A,
	                ts->image_ny * ts->pixel_size_A);
	CYC_FINDING_SAY(f->wanted, "Å, within the image");
	CYC_FINDING_SAY(f->action,
	                "check whether they are in pixels, or the tilt is badly aligned; a _%s of 0 excludes it",
	                CYC_RLN_CTF_SCALEFACTOR);
done:
	return st;
}

/* ---------------------------------------------------------------- one image in two places */

typedef struct {
	dev_t device;
	ino_t inode;
	int64_t section;
	int32_t i_series, row;
} image_id;

static int compare_ids(const void *a, const void *b)
{
	const image_id *x = a, *y = b;
	if (x->device != y->device) return x->device < y->device ? -1 : 1;
	if (x->inode != y->inode) return x->inode < y->inode ? -1 : 1;
	if (x->section != y->section) return x->section < y->section ? -1 : 1;
	if (x->i_series != y->i_series) return x->i_series < y->i_series ? -1 : 1;
	return (x->row > y->row) - (x->row < y->row);
}

static void add_ids(image_id *ids, size_t *n, const cyc_tilt_series *ts, int32_t i)
{
	struct stat file = { 0 };
	bool is_there = false;
	for (int32_t k = 0; k < ts->n_tilts; k++) {
		if (k == 0 || strcmp(ts->image_path[k], ts->image_path[k - 1]) != 0)
			is_there = stat(ts->image_path[k], &file) == 0;
		if (is_there) ids[(*n)++] = (image_id){ file.st_dev, file.st_ino, ts->image_section[k], i, k };
	}
}

static cyc_status add_same(cyc_survey *s, const image_id *a, const image_id *b)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *first = &s->p->tomograms->series[a->i_series],
						  *ts = &s->p->tomograms->series[b->i_series];
	bool is_within = a->i_series == b->i_series;
	cyc_finding *f;
	if (is_within && (ts->tilts[a->row].scale == 0 || ts->tilts[b->row].scale == 0)) return CYC_OK;
	CYC_TRY(cyc_survey_add(&f, s, is_within ? CYC_FINDING_ERROR : CYC_FINDING_WARNING, "image-twice",
	                       b->i_series, ts->table_path, ts->stack ? NULL : CYC_RLN_MICROGRAPH_NAME));
	f->row = b->row + 1;
	CYC_FINDING_SAY(f->found, "the image '%s'%s%.0lld is also used in row %d of tilt series %s ('%s')",
	                ts->image_path[b->row], ts->image_info[b->row].nz > 1 ? ", section " : "",
	                (long long)(ts->image_info[b->row].nz > 1 ? b->section + 1 : 0), a->row + 1, first->name,
	                first->table_path);
	CYC_FINDING_SAY(f->wanted, "a different image in each row");
	CYC_FINDING_SAY(f->action, "%s",
	                is_within ? "correct the name, or exclude one of the two with a contrast scale of 0"
	                          : "if the tilt series is in the project twice, leave one out");
done:
	return st;
}

static cyc_status check_same_images(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	const cyc_tomogram_set *set = s->p->tomograms;
	image_id *ids = NULL;
	size_t n = 0, most = 0;
	for (int32_t i = 0; i < set->n_series; i++) most += (size_t)set->series[i].n_tilts;
	CYC_TRY(cyc_alloc(&ids, most, sizeof *ids));
	for (int32_t i = 0; i < set->n_series; i++)
		if (cyc_survey_has_particles(s, i) && set->series[i].image_info) add_ids(ids, &n, &set->series[i], i);
	if (n > 1) qsort(ids, n, sizeof *ids, compare_ids);
	for (size_t k = 1; k < n; k++) {
		const image_id *a = &ids[k - 1], *b = &ids[k];
		if (a->device == b->device && a->inode == b->inode && a->section == b->section)
			CYC_TRY(add_same(s, a, b));
	}
done:
	cyc_free(ids);
	return st;
}

/* ---------------------------------------------------------------- grey values */

/* Steps of one row, some hundred of them. In images of real numbers equal neighbours are no noise but filled
 * in. */
static void add_steps(double *steps, size_t *n, const float *row, const cyc_mrc_info *info)
{
	bool is_real = info->mode == 2 || info->mode == 12;
	int32_t stride = 1 + (info->nx - 1) / GREY_STEPS;
	for (int32_t x = 1; x < info->nx; x += stride) {
		double step = fabs((double)row[x] - (double)row[x - 1]);
		if (step > 0 || !is_real) steps[(*n)++] = step;
	}
}

/*
 * Noise of an image from a few of its rows: the step between neighbouring pixels, which shading, particles
 * and beads hardly change. The mean of the lower nine tenths: X-ray hits do not count. 0 if all steps are.
 */
static cyc_status step_of_image(double *out, const cyc_tilt_series *ts, int32_t tilt)
{
	cyc_status st = CYC_OK;
	const cyc_mrc_info *info = &ts->image_info[tilt];
	float *row = NULL;
	double *steps = NULL, sum = 0;
	size_t n = 0;
	int32_t n_rows = info->ny < GREY_ROWS ? info->ny : GREY_ROWS;
	cyc_mrc_info line = *info;
	*out = 0;
	CYC_TRY(cyc_alloc(&row, info->nx, sizeof *row));
	CYC_TRY(cyc_alloc(&steps, (size_t)GREY_STEPS * (size_t)n_rows + (size_t)n_rows, sizeof *steps));
	/* The file as one of rows: sections of height 1. */
	line.ny = 1;
	line.nz = INT32_MAX;
	for (int32_t k = 0; k < n_rows; k++) {
		int64_t y = (2 * (int64_t)k + 1) * info->ny / (2 * (int64_t)n_rows);
		CYC_TRY(
			cyc_mrc_read_section(row, &line, ts->image_path[tilt], ts->image_section[tilt] * info->ny + y));
		add_steps(steps, &n, row, info);
	}
	cyc_sort(steps, n);
	for (size_t k = 0; k < n - n / 10; k++) sum += steps[k];
	if (n > 0) *out = sum / (double)(n - n / 10);
done:
	cyc_free(row);
	cyc_free(steps);
	return st;
}

/* The tilt that came first is the least damaged, and of much the same thickness in all series. */
static int32_t first_tilt(const cyc_tilt_series *ts)
{
	int32_t best = -1;
	for (int32_t k = 0; k < ts->n_tilts; k++) {
		if (ts->tilts[k].scale == 0) continue;
		if (best < 0 || ts->tilts[k].pre_exposure_e_per_A2 < ts->tilts[best].pre_exposure_e_per_A2) best = k;
	}
	return best;
}

static cyc_status measure_grey(double *step, cyc_survey *s, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	cyc_finding *f;
	float *image = NULL;
	int32_t tilt = first_tilt(ts);
	*step = 0;
	if (tilt < 0) return CYC_OK;
	st = step_of_image(step, ts, tilt);
	if (st == CYC_OK || st == CYC_E_NOMEM) return st;
	/* Once more as a whole: then the message says which pixel. */
	cyc_error_clear();
	CYC_TRY(cyc_alloc(&image, (size_t)ts->image_nx * (size_t)ts->image_ny, sizeof *image));
	st = cyc_tilt_series_read_image(image, ts, tilt);
	if (st == CYC_OK) goto done;
	CYC_TRY(cyc_finding_add_raised(&f, s->found, "image", st));
	f->i_series = i;
	f->row = tilt + 1;
	CYC_TRY(cyc_finding_put(f, ts->table_path, ts->stack ? NULL : CYC_RLN_MICROGRAPH_NAME));
done:
	cyc_free(image);
	return st;
}

static cyc_status check_grey(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	const cyc_tomogram_set *set = s->p->tomograms;
	double *step = NULL, *sorted = NULL;
	size_t n = 0;
	CYC_TRY(cyc_alloc(&step, set->n_series, sizeof *step));
	CYC_TRY(cyc_alloc(&sorted, set->n_series, sizeof *sorted));
	for (int32_t i = 0; i < set->n_series; i++) {
		if (!cyc_survey_has_particles(s, i) || !set->series[i].image_info) continue;
		CYC_TRY(measure_grey(&step[i], s, i));
		/* Scales hold contrast that was fitted; noise depends on the grey values alone. */
		if (step[i] > 0) sorted[n++] = step[i];
	}
	double middle = cyc_median_or_lower(sorted, n);
	for (int32_t i = 0; i < set->n_series && n > 1; i++) {
		double ratio = step[i] / middle;
		cyc_finding *f;
		if (!(step[i] > 0) || (ratio < MOST_GREY_RATIO && ratio > 1 / MOST_GREY_RATIO)) continue;
		CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "grey-values", i, set->series[i].table_path,
		                       set->series[i].stack ? NULL : CYC_RLN_MICROGRAPH_NAME));
		f->measured.value = ratio;
		f->expected = 1;
		CYC_FINDING_SAY(f->found, "the grey values of its images are %.3g times those of other series",
		                ratio);
		CYC_FINDING_SAY(f->wanted, "grey values on one scale");
		CYC_FINDING_SAY(f->action, "normalise the images of all series in the same way; cyclotomo weights "
		                           "images by their noise, other programs may not");
	}
done:
	cyc_free(step);
	cyc_free(sorted);
	return st;
}

cyc_status cyc_survey_images(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	for (int32_t i = 0; i < s->p->tomograms->n_series; i++) {
		cyc_tilt_series *ts = &s->p->tomograms->series[i];
		if (!cyc_survey_has_particles(s, i)) continue;
		if (i % 64 == 0) CYC_TRY(cyc_cancel_check());
		st = cyc_tilt_series_open(ts, s->p->root);
		if (st != CYC_OK) {
			CYC_TRY(explain(s, i, st));
			continue;
		}
		CYC_TRY(check_pixel_size(s, i));
		if (!s->is_broken[i]) CYC_TRY(check_shifts(s, i));
	}
	CYC_TRY(check_same_images(s));
	CYC_TRY(check_grey(s));
done:
	return st;
}
