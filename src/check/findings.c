/* From measurements to findings. */
#include "check/check_internal.h"

#include "cyclotomo/json.h"
#include "project/labels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * A finding takes both: that many standard errors between what is found and what the metadata says, and the
 * alternative more likely by as much (half the square, in units of log L). By chance once in two million.
 */
static const double ALARM_SIGMA = 5, ALARM_GAIN = 12.5;
/* Sizes of series whose pixel sizes are right scatter by this (seven simulated sets): positions and poses
 * leave it, whatever the number of images. */
static const double SIZE_FLOOR = 1e-3;
/*
 * Where the noise of series differs by more the maps are mostly those of one of them, and what images find of
 * themselves in these is not known well enough: their sizes are not compared.
 */
static const double MOST_NOISE_RATIO = 2;
/* Ice and exposure do not make images differ by more than this in their grey values. */
static const double MOST_GREY_RATIO = 3;
/* Of the logarithm of a noise level: tilts and tiles of a series agree better than that. */
static const double GREY_ERROR = 0.01;

static cyc_measured nothing(void) { return (cyc_measured){ CYC_NAN, CYC_NAN }; }

cyc_status cyc_check_add(cyc_finding **out, cyc_check *c, cyc_finding_level level, const char *kind,
                         int32_t i_series)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_finding_add(out, &c->result->found, level, kind));
	(*out)->i_series = i_series;
	if (i_series >= 0) CYC_TRY(cyc_strdup(&(*out)->series, c->result->series[i_series].name));
done:
	return st;
}

static double distance(cyc_measured m, double expected) { return fabs(m.value - expected) / m.error; }

/* Evidence that a slope is -1 and not 1: what lies beyond -1 counts no more. */
static double sign_distance(cyc_measured m) { return fmin(fmax(1 - m.value, 0), 2) / m.error; }

/* ---------------------------------------------------------------- what the images prove */

/* All series agree: then the whole geometry may be a mirror image as well. */
static bool is_hand_wrong(const cyc_series_evidence *e)
{
	return isfinite(e->hand.error) && e->hand.value < 0 && sign_distance(e->hand) >= ALARM_SIGMA &&
	       e->hand_gain >= ALARM_GAIN;
}

static cyc_status judge_hand(cyc_check *c, int32_t i, bool all)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	const cyc_series_evidence *e = &c->result->series[i];
	if (!is_hand_wrong(e)) goto done;
	int hand = c->tomograms->series[i].hand > 0 ? 1 : -1;
	CYC_TRY(cyc_check_add(&f, c, CYC_FINDING_ERROR, "hand", i));
	CYC_TRY(cyc_finding_put(f, c->set->tomograms, CYC_RLN_TOMO_HAND));
	f->measured = e->hand;
	f->expected = 1;
	f->sigma = sign_distance(e->hand);
	f->gain = e->hand_gain;
	f->can_fix = true;
	CYC_FINDING_SAY(f->found,
	                "the hand is wrong, defocus changes with height in the opposite direction: h = %.2f +- "
	                "%.2f (right hand 1, wrong hand -1)",
	                e->hand.value, e->hand.error);
	CYC_FINDING_SAY(f->wanted, "%s %d instead of %d", CYC_RLN_TOMO_HAND, -hand, hand);
	CYC_FINDING_SAY(f->action, "set %s to %d%s", CYC_RLN_TOMO_HAND, -hand,
	                all ? " (so in all series: if all tilt angles had the wrong sign it would look the same, "
	                      "and the map would be a mirror image)"
	                    : "");
done:
	return st;
}

static cyc_status judge_dose(cyc_check *c, int32_t i)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	const cyc_series_evidence *e = &c->result->series[i];
	if (!(isfinite(e->dose.error) && e->dose.value < 0 && sign_distance(e->dose) >= ALARM_SIGMA &&
	      e->dose_gain >= ALARM_GAIN))
		goto done;
	CYC_TRY(cyc_check_add(&f, c, CYC_FINDING_ERROR, "dose", i));
	CYC_TRY(cyc_finding_put(f, c->tomograms->series[i].table_path, CYC_RLN_MICROGRAPH_PRE_EXPOSURE));
	f->measured = e->dose;
	f->expected = 1;
	f->sigma = sign_distance(e->dose);
	f->gain = e->dose_gain;
	f->can_fix = true;
	CYC_FINDING_SAY(f->found,
	                "the tilts with the highest dose show the most detail: the dose seen in the images has a "
	                "slope of %.2f +- %.2f against that of the table (should be 1)",
	                e->dose.value, e->dose.error);
	CYC_FINDING_SAY(f->wanted, "doses in reversed order");
	CYC_FINDING_SAY(f->action, "reverse them: replace each %s d by (lowest + highest - d)",
	                CYC_RLN_MICROGRAPH_PRE_EXPOSURE);
done:
	return st;
}

/* Doses that are not given: which order the images show. */
static cyc_status judge_order(cyc_check *c, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_series_evidence *e = &c->result->series[i];
	if (!e->order) goto done;
	for (int32_t k = 0; k < c->result->found.n; k++) {
		cyc_finding *f = &c->result->found.items[k];
		if (f->i_series != i || strcmp(f->kind, "no-dose") != 0) continue;
		f->level = CYC_FINDING_ERROR;
		f->measured = e->order_dose;
		f->expected = 0;
		f->sigma = distance(e->order_dose, 0);
		cyc_free(f->action);
		f->action = NULL;
		CYC_FINDING_SAY(f->action,
		                "according to the images the tilts were taken %s, with %.2f +- %.2f e/Å2 each: give "
		                "them doses in this order",
		                e->order, e->order_dose.value, e->order_dose.error);
	}
done:
	return st;
}

static cyc_status add_contrast(cyc_check *c, int32_t i, cyc_measured m, const char *found)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	CYC_TRY(cyc_check_add(&f, c, CYC_FINDING_ERROR, "contrast", i));
	CYC_TRY(cyc_finding_put(f, c->tomograms->series[i].table_path, CYC_RLN_PHASE_SHIFT));
	f->measured = m;
	f->expected = fabs(m.value);
	f->sigma = distance(m, 0);
	f->can_fix = true;
	CYC_TRY(cyc_strdup(&f->found, found));
	CYC_FINDING_SAY(f->wanted, "dark particles in the images, or a phase shift of 180 degrees");
	CYC_FINDING_SAY(f->action, "invert the images; in the table adding 180 to %s does the same",
	                CYC_RLN_PHASE_SHIFT);
done:
	return st;
}

/*
 * The map shows which sign most images have, each series which sign it has against the map. No column says
 * "inverted", but a phase shift of 180 degrees turns the CTF's sign, in every program.
 */
static cyc_status judge_contrast(cyc_check *c)
{
	cyc_status st = CYC_OK;
	const cyc_measured *d = &c->result->density;
	char *text = NULL;
	bool is_inverted = isfinite(d->error) && d->value + ALARM_SIGMA * d->error < 0;
	for (int32_t i = 0; i < c->result->n_series; i++) {
		const cyc_series_evidence *e = &c->result->series[i];
		if (!(isfinite(e->contrast.error)) || distance(e->contrast, 0) < ALARM_SIGMA) continue;
		if (is_inverted == (e->contrast.value < 0)) continue;
		if (is_inverted)
			CYC_TRY(cyc_asprintf(&text,
			                     "contrast is inverted: the map has its detail in its low densities "
			                     "(correlation %.2f +- %.2f), and these images agree with the map",
			                     d->value, d->error));
		else
			CYC_TRY(cyc_asprintf(&text,
			                     "contrast is inverted relative to the map of all series: images are %.2f +- "
			                     "%.2f times their predictions",
			                     e->contrast.value, e->contrast.error));
		CYC_TRY(add_contrast(c, i, is_inverted ? *d : e->contrast, text));
		cyc_free(text);
		text = NULL;
	}
done:
	cyc_free(text);
	return st;
}

/* Of a series against the mean of the others, with their errors and the floor. */
static cyc_measured against_others(const cyc_check_result *r, int32_t i)
{
	double W = 0, sum = 0;
	const cyc_measured *own = &r->series[i].stretch;
	double noise = r->series[i].noise;
	for (int32_t k = 0; k < r->n_series; k++) {
		const cyc_measured *m = &r->series[k].stretch;
		if (k == i || !isfinite(m->error)) continue;
		if (!(fabs(log(r->series[k].noise / noise)) < log(MOST_NOISE_RATIO))) continue;
		double w = 1 / (cyc_square(m->error) + cyc_square(SIZE_FLOOR));
		W += w;
		sum += w * m->value;
	}
	if (!(W > 0) || !isfinite(own->error)) return nothing();
	return (cyc_measured){ own->value - sum / W,
		                   sqrt(cyc_square(own->error) + cyc_square(SIZE_FLOOR) + 1 / W) };
}

/* The series that stands out most is the one that is wrong; the others are then looked at without it. */
static cyc_status judge_size(cyc_check *c)
{
	cyc_status st = CYC_OK;
	cyc_check_result *r = c->result;
	cyc_measured *kept = NULL;
	int32_t n_measured = 0;
	CYC_TRY(cyc_alloc(&kept, r->n_series, sizeof *kept));
	for (int32_t i = 0; i < r->n_series; i++) {
		kept[i] = r->series[i].stretch;
		n_measured += isfinite(kept[i].error);
	}
	for (int32_t left = n_measured; left > 1; left--) {
		cyc_finding *f;
		int32_t worst = -1;
		cyc_measured most = nothing();
		for (int32_t i = 0; i < r->n_series; i++) {
			cyc_measured m = against_others(r, i);
			bool is_farther = worst >= 0 && distance(m, 0) > distance(most, 0),
				 is_weaker = worst >= 0 && distance(m, 0) == distance(most, 0) &&
			                 r->series[i].n_images < r->series[worst].n_images;
			if (!isfinite(m.error) || (worst >= 0 && !is_farther && !is_weaker)) continue;
			worst = i;
			most = m;
		}
		if (worst < 0 || distance(most, 0) < ALARM_SIGMA) break;
		const cyc_tilt_series *ts = &c->tomograms->series[worst];
		CYC_TRY(cyc_check_add(&f, c, CYC_FINDING_ERROR, "pixel-size", worst));
		CYC_TRY(cyc_finding_put(f, c->set->tomograms, CYC_RLN_TOMO_TILT_SERIES_PIXEL_SIZE));
		f->measured = most;
		f->expected = 0;
		f->sigma = distance(most, 0);
		f->can_fix = true;
		CYC_FINDING_SAY(f->found, "particles are %.2f +- %.2f %% %s than in the other series",
		                100 * fabs(most.value), 100 * most.error, most.value > 0 ? "larger" : "smaller");
		CYC_FINDING_SAY(
			f->wanted, "pixels of %.4g Å instead of %.4g%s", ts->pixel_size_A / (1 + most.value),
			ts->pixel_size_A,
			left == 2
				? ", or the other way round in the other series (with two series it cannot be decided which)"
				: "");
		CYC_FINDING_SAY(f->action,
		                "give the series its own optics group and multiply its %s and %s (1 if missing) by "
		                "%.4f, or import it with its own pixel size",
		                CYC_RLN_MAG_MAT00, CYC_RLN_MAG_MAT11, 1 + most.value);
		r->series[worst].stretch = nothing();
	}
	for (int32_t i = 0; i < r->n_series; i++) r->series[i].stretch = kept[i];
done:
	cyc_free(kept);
	return st;
}

/* A glance at the images may have found the same already: then it only gets the better number. */
static cyc_status add_grey(cyc_finding **out, cyc_check *c, int32_t i)
{
	for (int32_t k = 0; k < c->result->found.n; k++) {
		cyc_finding *f = &c->result->found.items[k];
		if (f->i_series != i || strcmp(f->kind, "grey-values") != 0) continue;
		cyc_free(f->found);
		cyc_free(f->wanted);
		cyc_free(f->action);
		cyc_free(f->file);
		cyc_free(f->column);
		f->found = f->wanted = f->action = f->file = f->column = NULL;
		*out = f;
		return CYC_OK;
	}
	return cyc_check_add(out, c, CYC_FINDING_WARNING, "grey-values", i);
}

/* Grey values of series against the median of all, from the noise of their images, which exists whatever
 * the map. */
static cyc_status judge_grey(cyc_check *c)
{
	cyc_status st = CYC_OK;
	cyc_check_result *r = c->result;
	double *values = NULL, sum = 0;
	size_t n = 0;
	CYC_TRY(cyc_alloc(&values, r->n_series, sizeof *values));
	for (int32_t i = 0; i < r->n_series; i++) {
		if (!(r->series[i].noise > 0)) continue;
		values[n++] = 0.5 * log(r->series[i].noise);
		sum += log(r->series[i].noise);
	}
	if (n == 0) goto done;
	double middle = cyc_median_or_lower(values, n);
	for (int32_t i = 0; i < r->n_series; i++) {
		cyc_series_evidence *e = &r->series[i];
		cyc_finding *f;
		if (!(e->noise > 0)) continue;
		e->log_grey = (cyc_measured){ 0.5 * log(e->noise) - middle, GREY_ERROR };
		e->noise /= exp(sum / (double)n);
		if (n < 2 || fabs(e->log_grey.value) - log(MOST_GREY_RATIO) < ALARM_SIGMA * e->log_grey.error)
			continue;
		CYC_TRY(add_grey(&f, c, i));
		CYC_TRY(cyc_finding_put(f, c->tomograms->series[i].table_path, CYC_RLN_MICROGRAPH_NAME));
		f->measured = e->log_grey;
		f->expected = 0;
		f->sigma = distance(e->log_grey, 0);
		CYC_FINDING_SAY(f->found, "the grey values of its images are %.3g times those of other series",
		                exp(e->log_grey.value));
		CYC_FINDING_SAY(f->wanted, "grey values on one scale, or weights by noise");
		CYC_FINDING_SAY(f->action,
		                "normalise the images of all series in the same way, or weight them by their noise");
	}
done:
	cyc_free(values);
	return st;
}

cyc_status cyc_check_judge(cyc_check *c)
{
	cyc_status st = CYC_OK;
	int32_t n_wrong = 0, n_measured = 0;
	for (int32_t i = 0; i < c->result->n_series; i++) {
		n_wrong += is_hand_wrong(&c->result->series[i]);
		n_measured += isfinite(c->result->series[i].hand.error);
	}
	for (int32_t i = 0; i < c->result->n_series; i++) {
		CYC_TRY(judge_hand(c, i, n_wrong == n_measured));
		CYC_TRY(judge_dose(c, i));
		CYC_TRY(judge_order(c, i));
	}
	CYC_TRY(judge_contrast(c));
	CYC_TRY(judge_size(c));
	CYC_TRY(judge_grey(c));
	cyc_finding_sort(&c->result->found);
done:
	return st;
}

/* ---------------------------------------------------------------- as text */

static void put_series(cyc_json *j, const cyc_series_evidence *e)
{
	cyc_json_begin_object(j, NULL);
	cyc_json_text(j, "name", e->name);
	cyc_json_int(j, "particles", e->n_particles);
	cyc_json_int(j, "images", e->n_images);
	cyc_measured_json(j, "contrast", e->contrast);
	cyc_measured_json(j, "hand", e->hand);
	cyc_json_double(j, "hand_gain", e->hand_gain);
	cyc_measured_json(j, "dose", e->dose);
	cyc_json_double(j, "dose_gain", e->dose_gain);
	cyc_measured_json(j, "stage", e->stage);
	cyc_measured_json(j, "size", e->stretch);
	cyc_measured_json(j, "log_grey", e->log_grey);
	cyc_json_double(j, "noise", e->noise);
	cyc_json_text(j, "order", e->order);
	cyc_measured_json(j, "order_dose", e->order_dose);
	cyc_json_end_object(j);
}

cyc_status cyc_check_json(char **out, const cyc_check_result *r)
{
	cyc_status st = CYC_OK;
	cyc_json j = { 0 };
	cyc_json_begin_object(&j, NULL);
	cyc_measured_json(&j, "density", r->density);
	cyc_json_begin_array(&j, "series");
	for (int32_t i = 0; i < r->n_series; i++) put_series(&j, &r->series[i]);
	cyc_json_end_array(&j);
	cyc_json_begin_array(&j, "findings");
	for (int32_t i = 0; i < r->found.n; i++) cyc_finding_json(&j, &r->found.items[i]);
	cyc_json_end_array(&j);
	cyc_json_text(&j, "fixed_set", r->fixed_set);
	cyc_json_end_object(&j);
	CYC_TRY(cyc_json_finish(out, &j));
done:
	cyc_json_deinit(&j);
	return st;
}
