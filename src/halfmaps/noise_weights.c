/* Weights of images by their noise: docs/theory/02-reconstruct.md, (T2.8) and (T2.9). */
#include "halfmaps/noise_weights.h"

#include "images/read_ahead.h"
#include "images/tilt_image.h"

#include <math.h>

enum { N_IMAGES = 3 };
/*
 * Signal over noise of a particle's image does not differ more than this between the first tilts of two
 * series: sixteen times the dose, or several hundred nanometres more of ice. What differs more has grey
 * values of another unit.
 */
static const double MOST_RATIO = 4;
/* Scales that nobody has fitted are 1 or the cosine of the tilt. */
static const double SAME_SCALE = 5e-3;

void cyc_noise_weights_deinit(cyc_noise_weights *w)
{
	cyc_free(w->gain);
	*w = (cyc_noise_weights){ 0 };
}

/* The logarithm of noise over contrast: median of the images of least exposure; NAN where none has data. */
static cyc_status series_ratio(double *ratio, cyc_ready_image *image, const cyc_tilt_series *ts)
{
	cyc_status st = CYC_OK;
	int32_t *order = NULL, n = 0;
	double found[N_IMAGES];
	CYC_TRY(cyc_alloc(&order, ts->n_tilts, sizeof *order));
	cyc_tilt_series_chronological(order, ts);
	for (int32_t i = 0; i < ts->n_tilts && n < N_IMAGES; i++) {
		const cyc_tilt *tilt = &ts->tilts[order[i]];
		if (!(tilt->scale > 0)) continue;
		CYC_TRY(cyc_ready_image_make(image, ts, order[i]));
		if (!(image->state.variance > 0)) continue;
		double value = 0.5 * log(image->state.variance) - log(tilt->scale);
		int32_t k = n++;
		for (; k > 0 && found[k - 1] > value; k--) found[k] = found[k - 1];
		found[k] = value;
	}
	*ratio = n > 0 ? found[n / 2] : (double)NAN;
done:
	cyc_free(order);
	return st;
}

static bool is_unfitted(const cyc_tilt_series *ts)
{
	bool are_ones = true, are_cosines = true;
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		const cyc_tilt *t = &ts->tilts[f];
		if (t->scale == 0) continue;
		if (fabs(t->scale - 1) > SAME_SCALE) are_ones = false;
		if (!t->has_angles || fabs(t->scale - cos(t->ytilt_rad)) > SAME_SCALE) are_cosines = false;
	}
	return are_ones || are_cosines;
}

/* The series with which the most particles agree within MOST_RATIO. */
static double find_level(const double *ratio, const cyc_particle_set *set, int32_t n_series)
{
	double level = (double)NAN;
	int64_t most = 0;
	for (int32_t i = 0; i < n_series; i++) {
		int64_t n = 0;
		double sum = 0;
		for (int32_t k = 0; k < n_series && !isnan(ratio[i]); k++) {
			int64_t count = set->series_first[k + 1] - set->series_first[k];
			if (isnan(ratio[k]) || fabs(ratio[k] - ratio[i]) > log(MOST_RATIO)) continue;
			n += count;
			sum += (double)count * ratio[k];
		}
		if (n <= most) continue;
		most = n;
		level = sum / (double)n;
	}
	return level;
}

static void find_gains(cyc_noise_weights *w, const double *ratio, const cyc_tomogram_set *tomograms,
                       const cyc_particle_set *set)
{
	bool are_unfitted = true;
	double level = find_level(ratio, set, w->n_series);
	for (int32_t i = 0; i < w->n_series; i++) {
		w->gain[i] = 1;
		if (set->series_first[i + 1] > set->series_first[i])
			are_unfitted = are_unfitted && is_unfitted(&tomograms->series[i]);
	}
	w->level = isnan(level) ? 0 : exp(level);
	for (int32_t i = 0; i < w->n_series && w->level > 0; i++) {
		if (isnan(ratio[i]) || set->series_first[i + 1] == set->series_first[i]) continue;
		bool is_far = fabs(ratio[i] - level) > log(MOST_RATIO);
		if (is_far || are_unfitted) w->gain[i] = exp(ratio[i] - level);
		if (is_far)
			cyc_warn("tilt series %s: its noise relative to its contrast scale is %.3g times that of most "
			         "particles, which ice or dose cannot explain; its grey values are assumed to have "
			         "another unit, and its contrast scales are multiplied by that",
			         tomograms->series[i].name, w->gain[i]);
	}
}

/* What is found in an image beside its noise is told when it is used. */
typedef struct {
	cyc_tomogram_set *tomograms;
	const cyc_particle_set *set;
	const char *root;
	double *ratio;           /* of each series */
	cyc_ready_image *images; /* of each thread */
} learning;

static cyc_status learn_series(void *arg, int64_t i, int i_thread)
{
	cyc_status st = CYC_OK;
	learning *l = arg;
	cyc_tilt_series *ts = &l->tomograms->series[i];
	cyc_ready_image *image = &l->images[i_thread];
	l->ratio[i] = (double)NAN;
	if (l->set->series_first[i + 1] == l->set->series_first[i]) return CYC_OK;
	CYC_TRY(cyc_tilt_series_open(ts, l->root));
	CYC_TRY(cyc_ready_image_reserve(image, ts));
	CYC_TRY(series_ratio(&l->ratio[i], image, ts));
done:
	return st;
}

cyc_status cyc_noise_weights_learn(cyc_noise_weights *out, cyc_tomogram_set *tomograms,
                                   const cyc_particle_set *set, const char *root, int n_threads)
{
	cyc_status st = CYC_OK;
	learning l = { .tomograms = tomograms, .set = set, .root = root };
	/* As many images at a time as the passes over the images that follow have. */
	int n_workers = cyc_n_workers(tomograms->n_series, cyc_n_readers(n_threads) + 1);
	*out = (cyc_noise_weights){ .n_series = tomograms->n_series };
	CYC_TRY(cyc_alloc(&out->gain, tomograms->n_series, sizeof *out->gain));
	CYC_TRY(cyc_alloc(&l.ratio, tomograms->n_series, sizeof *l.ratio));
	CYC_TRY(cyc_alloc(&l.images, n_workers, sizeof *l.images));
	CYC_TRY(cyc_parallel_for(tomograms->n_series, n_workers, learn_series, &l));
	find_gains(out, l.ratio, tomograms, set);
done:
	for (int t = 0; l.images && t < n_workers; t++) cyc_free(l.images[t].pixels);
	cyc_free(l.images);
	cyc_free(l.ratio);
	if (st != CYC_OK) cyc_noise_weights_deinit(out);
	return st;
}

double cyc_noise_weight(double *scale, const cyc_noise_weights *w, int32_t i_series, const cyc_tilt *tilt,
                        double variance)
{
	*scale = tilt->scale * w->gain[i_series];
	if (!(variance > 0) || !(w->level > 0)) return 0;
	double noise = sqrt(variance), most = MOST_RATIO * noise / w->level;
	/* An image that seems better than any can be has grey values of another unit, too, and must not swamp the
	 * map. */
	if (*scale > most) *scale = noise / w->level;
	return cyc_square(w->level / noise);
}
