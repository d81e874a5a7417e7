#include "ctfrefine/aberration_output.h"

#include "ctfrefine/tilt_result.h"
#include "cyclotomo/record.h"
#include "cyclotomo/report.h"
#include "project/labels.h"

#include <inttypes.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char KIND[] = "aberrations of a series",
				  CONSEQUENCE[] = "this tilt series is refined from the beginning";

static const char *const PARITY_NAMES[CYC_N_PARITIES] = { "even", "odd" };

/* ---------------------------------------------------------------- evidence of the data set */

cyc_status cyc_aberration_tally_create(cyc_aberration_tally *t, const cyc_aberrations *a, bool has_pictures)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_aberration_evidence_create(&t->total, a, has_pictures));
	CYC_TRY(cyc_alloc(&t->has_more, a->n_groups, sizeof *t->has_more));
done:
	return st;
}

void cyc_aberration_tally_deinit(cyc_aberration_tally *t, int32_t n_groups)
{
	cyc_aberration_evidence_destroy(&t->total, n_groups);
	cyc_free(t->has_more);
	memset(t, 0, sizeof *t);
}

void cyc_aberration_tally_add(cyc_aberration_tally *t, const cyc_aberrations *a,
                              const cyc_aberration_evidence *series, const bool *was_learned)
{
	for (int32_t g = 0; g < a->n_groups; g++) {
		cyc_aberration_evidence *to = &t->total[g];
		if (series[g].n_particles[0] + series[g].n_particles[1] == 0) continue;
		t->has_more[g] = t->has_more[g] || was_learned[g];
		for (size_t i = 0; to->picture && series[g].picture && i < 4 * (size_t)a->model->support->n; i++)
			to->picture[i] += series[g].picture[i];
		for (int h = 0; h < 2; h++) {
			to->n_particles[h] += series[g].n_particles[h];
			for (int p = 0; p < CYC_N_PARITIES; p++)
				for (int32_t j = 0; j < a->basis[p].n; j++) {
					to->half[h][p].g[j] += series[g].half[h][p].g[j];
					for (int32_t k = 0; k < a->basis[p].n; k++)
						to->half[h][p].H[j][k] += series[g].half[h][p].H[j][k];
				}
		}
	}
}

/* ---------------------------------------------------------------- records */

/* The numbers of one group in the order of the file; `visit` writes or reads each. */
static bool visit_group(cyc_group_aberration *group, cyc_aberration_evidence *e, const cyc_aberrations *a,
                        bool (*visit)(void *to, double *v), void *to)
{
	bool is_good = true;
	for (int p = 0; p < CYC_N_PARITIES; p++) {
		for (int32_t j = 0; j < a->basis[p].n; j++) is_good = is_good && visit(to, &group->theta[p][j]);
		for (int h = 0; h < 2; h++)
			for (int32_t j = 0; j < a->basis[p].n; j++) {
				is_good = is_good && visit(to, &e->half[h][p].g[j]);
				for (int32_t k = 0; k < a->basis[p].n; k++)
					is_good = is_good && visit(to, &e->half[h][p].H[j][k]);
			}
	}
	for (size_t i = 0; e->picture && i < 4 * (size_t)a->model->support->n; i++)
		is_good = is_good && visit(to, &e->picture[i]);
	return is_good;
}

static bool put_number(void *to, double *v)
{
	fprintf(to, "%a\n", *v);
	return true;
}

static bool get_number(void *from, double *v)
{
	char **at = from, *end;
	*v = strtod(*at, &end);
	if (end == *at) return false;
	*at = end;
	return true;
}

cyc_status cyc_aberration_record_write(const char *path, const cyc_aberrations *a,
                                       const cyc_aberration_evidence *series, const bool *was_learned,
                                       uint64_t hash)
{
	cyc_status st = CYC_OK;
	cyc_text_stream o = { 0 };
	CYC_TRY(cyc_text_stream_open(&o));
	fprintf(o.f, "%d\n", a->n_groups);
	for (int32_t g = 0; g < a->n_groups; g++) {
		cyc_group_aberration group = a->groups[g];
		cyc_aberration_evidence e = series[g];
		if (e.n_particles[0] + e.n_particles[1] == 0) continue;
		fprintf(o.f, "group %d %d %d %d %" PRId64 " %" PRId64 "\n", g, was_learned[g],
		        group.is_rejected[CYC_EVEN], group.is_rejected[CYC_ODD], e.n_particles[0], e.n_particles[1]);
		visit_group(&group, &e, a, put_number, o.f);
	}
	fprintf(o.f, "end\n");
	CYC_TRY(cyc_text_stream_finish(&o));
	CYC_TRY(cyc_record_write_text(path, KIND, hash, o.text));
done:
	cyc_text_stream_deinit(&o);
	return st;
}

cyc_status cyc_aberration_record_read(bool *found, cyc_aberrations *a, cyc_aberration_evidence *series,
                                      bool *was_learned, const char *path, uint64_t hash)
{
	cyc_status st = CYC_OK;
	char *text = NULL, *at;
	int n_groups = 0, used = 0;
	*found = false;
	CYC_TRY(cyc_record_read_text(&text, path, KIND, hash, CONSEQUENCE, NULL));
	if (!text || sscanf(text, "%d\n%n", &n_groups, &used) < 1 || n_groups != a->n_groups) goto done;
	size_t n = strlen(text);
	if (n < 5 || strcmp(text + n - 5, "\nend\n") != 0) goto done;
	at = text + used;
	for (;;) {
		int g = -1, learned = 0, rejected[2] = { 0, 0 };
		long long particles[2] = { 0, 0 };
		if (sscanf(at, " group %d %d %d %d %lld %lld%n", &g, &learned, &rejected[0], &rejected[1],
		           &particles[0], &particles[1], &used) < 6)
			break;
		if (g < 0 || g >= a->n_groups) goto done;
		at += used;
		cyc_group_aberration group = a->groups[g];
		if (!visit_group(&group, &series[g], a, get_number, &at)) goto done;
		group.is_learned = true;
		for (int p = 0; p < CYC_N_PARITIES; p++) {
			group.is_rejected[p] = rejected[p] != 0;
			series[g].n_particles[p] = particles[p];
		}
		a->groups[g] = group;
		was_learned[g] = learned != 0;
	}
	*found = true;
	cyc_aberrations_update(a);
done:
	cyc_free(text);
	return st;
}

/* ---------------------------------------------------------------- results */

static void add_models(cyc_quadratic *sum, const cyc_quadratic half[2], int32_t n)
{
	*sum = half[0];
	for (int32_t j = 0; j < n; j++) {
		sum->g[j] += half[1].g[j];
		for (int32_t k = 0; k < n; k++) sum->H[j][k] += half[1].H[j][k];
	}
}

/* Move the point a model is about. */
static void move_model(cyc_quadratic *q, const double *by, int32_t n)
{
	for (int32_t j = 0; j < n; j++)
		for (int32_t k = 0; k < n; k++) q->g[j] -= q->H[j][k] * by[k];
}

/* Root mean square of the phase over the coefficients used: what remains after the low terms are fitted to
 * it. */
static cyc_status phase_rms(double *rms, const cyc_aberrations *a, int parity, const double *theta)
{
	cyc_status st = CYC_OK;
	const cyc_power_basis *b = &a->basis[parity];
	const float *share = a->model->support->share;
	size_t n = (size_t)a->model->support->n, n_low = (size_t)b->n_low;
	double A[4][4] = { { 0 } }, v[4] = { 0 }, sum = 0, weight = 0;
	for (size_t i = 0; i < n; i++) {
		double phase = 0, w = (double)share[i];
		for (int32_t j = 0; j < b->n; j++) phase += theta[j] * (double)b->value[(size_t)j * n + i];
		for (size_t j = 0; j < n_low; j++) {
			double x = w * (double)b->value[j * n + i];
			v[j] += x * phase;
			for (size_t k = 0; k < n_low; k++) A[j][k] += x * (double)b->value[k * n + i];
		}
	}
	CYC_CHECK(LAPACKE_dposv(LAPACK_ROW_MAJOR, 'U', b->n_low, 1, &A[0][0], 4, v, 1) == 0, CYC_E_NUMERIC,
	          "too few coefficients for the phases of aberrations");
	for (size_t i = 0; i < n; i++) {
		double phase = 0;
		for (int32_t j = 0; j < b->n; j++)
			phase += (theta[j] - (j < b->n_low ? v[j] : 0)) * (double)b->value[(size_t)j * n + i];
		sum += (double)share[i] * phase * phase;
		weight += (double)share[i];
	}
	*rms = sqrt(sum / weight);
done:
	return st;
}

/* Zernike coefficients and their errors from those of the powers. */
static void to_zernike(cyc_aberration_result *r, const cyc_power_basis *b, int parity,
                       double (*covariance)[CYC_MAX_TERMS])
{
	double powers[CYC_MAX_TERMS],
		T[CYC_MAX_TERMS][CYC_MAX_TERMS]; /* T[k]: the Zernike coefficients of power k */
	for (int32_t k = 0; k < b->n; k++) {
		memset(powers, 0, sizeof powers);
		powers[k] = 1 / pow(b->k_max_invA, b->order[k]);
		cyc_zernike_from_powers(T[k], powers, b->n, parity == CYC_ODD);
	}
	for (int32_t j = 0; j < b->n; j++) {
		double variance = 0;
		r->zernike[j] = 0;
		for (int32_t k = 0; k < b->n; k++) {
			r->zernike[j] += r->theta[k] * T[k][j];
			for (int32_t l = 0; l < b->n; l++) variance += T[k][j] * covariance[k][l] * T[l][j];
		}
		r->zernike_error[j] = sqrt(fmax(variance, 0));
	}
}

static cyc_status result_of(cyc_aberration_result *r, cyc_aberrations *a, int32_t g, int parity,
                            const cyc_aberration_tally *tally)
{
	cyc_status st = CYC_OK;
	const cyc_power_basis *b = &a->basis[parity];
	cyc_group_aberration *group = &a->groups[g];
	double step[CYC_MAX_TERMS], covariance[CYC_MAX_TERMS][CYC_MAX_TERMS];
	cyc_quadratic both, half[2] = { tally->total[g].half[0][parity], tally->total[g].half[1][parity] };
	*r = (cyc_aberration_result){ .is_asked = a->is_asked[parity], .n = b->n };
	if (!r->is_asked || tally->total[g].n_particles[0] == 0 || tally->total[g].n_particles[1] == 0) goto done;
	add_models(&both, half, b->n);
	memcpy(r->theta, group->theta[parity], sizeof r->theta);
	CYC_TRY(cyc_aberration_step(step, covariance, a, parity, r->theta, &both));
	if (tally->has_more[g]) {
		/* Series that were not learned from: one step with all of them, low terms included, as the tilts are
		 * finished. */
		const double zero[CYC_MAX_TERMS] = { 0 };
		cyc_aberration_check check;
		CYC_TRY(cyc_aberration_test(&check, a, parity, zero, &half[0], &half[1]));
		if (group->is_rejected[parity] ? cyc_aberration_is_confirmed(&check) : check.gain > 0) {
			group->is_rejected[parity] = false;
			for (int32_t j = 0; j < b->n; j++) r->theta[j] += step[j];
			for (int h = 0; h < 2; h++) move_model(&half[h], step, b->n);
		}
	}
	memcpy(group->theta[parity], r->theta, sizeof r->theta);
	if (group->is_rejected[parity]) {
		/* The rejected result, for the report: one step from zero. */
		for (int32_t j = 0; j < b->n; j++) r->theta[j] = step[j];
		for (int h = 0; h < 2; h++) move_model(&half[h], step, b->n);
	}
	CYC_TRY(cyc_aberration_test(&r->check, a, parity, r->theta, &half[0], &half[1]));
	for (int32_t j = 0; j < b->n; j++) r->theta_error[j] = sqrt(covariance[j][j]);
	r->is_written = !group->is_rejected[parity];
	to_zernike(r, b, parity, covariance);
	CYC_TRY(phase_rms(&r->rms_rad, a, parity, r->theta));
done:
	return st;
}

cyc_status cyc_aberration_results(cyc_aberration_result (*results)[CYC_N_PARITIES], cyc_aberrations *a,
                                  const cyc_aberration_tally *tally)
{
	cyc_status st = CYC_OK;
	for (int32_t g = 0; g < a->n_groups; g++)
		for (int p = 0; p < CYC_N_PARITIES; p++) CYC_TRY(result_of(&results[g][p], a, g, p, tally));
	cyc_aberrations_update(a);
done:
	return st;
}

cyc_status cyc_aberration_results_apply(cyc_particle_set *set,
                                        cyc_aberration_result (*results)[CYC_N_PARITIES])
{
	cyc_status st = CYC_OK;
	double *sum[CYC_N_PARITIES] = { NULL, NULL };
	for (int32_t g = 0; g < set->n_optics; g++) {
		int32_t n[CYC_N_PARITIES] = { 0, 0 };
		for (int p = 0; p < CYC_N_PARITIES; p++) {
			const cyc_optics_group *o = &set->optics[g];
			const cyc_aberration_result *r = &results[g][p];
			const double *old = p == CYC_EVEN ? o->even_zernike : o->odd_zernike;
			int32_t n_old = p == CYC_EVEN ? o->n_even : o->n_odd;
			if (!r->is_written) continue;
			/* Higher terms that the file has are kept. */
			n[p] = n_old > r->n ? n_old : r->n;
			CYC_TRY(cyc_alloc(&sum[p], n[p], sizeof *sum[p]));
			for (int32_t j = 0; j < n[p]; j++)
				sum[p][j] = (j < n_old ? old[j] : 0) + (j < r->n ? r->zernike[j] : 0);
		}
		CYC_TRY(
			cyc_particle_set_put_aberrations(set, g, sum[CYC_EVEN], n[CYC_EVEN], sum[CYC_ODD], n[CYC_ODD]));
		for (int p = 0; p < CYC_N_PARITIES; p++) {
			cyc_free(sum[p]);
			sum[p] = NULL;
		}
	}
done:
	for (int p = 0; p < CYC_N_PARITIES; p++) cyc_free(sum[p]);
	return st;
}

static cyc_status add_row(cyc_star_block *b, const cyc_particle_set *set, int32_t g, int parity,
                          const cyc_aberration_result *r, int32_t j)
{
	cyc_status st = CYC_OK;
	int32_t n, m;
	int64_t row;
	const cyc_optics_group *o = &set->optics[g];
	const double *all = parity == CYC_EVEN ? o->even_zernike : o->odd_zernike;
	int32_t n_all = parity == CYC_EVEN ? o->n_even : o->n_odd;
	if (parity == CYC_ODD) cyc_zernike_odd_index(&n, &m, j);
	else cyc_zernike_even_index(&n, &m, j);
	CYC_TRY(cyc_star_add_row(&row, b));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_OPTICS_GROUP, g + 1));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_ZERNIKE_ORDER, n));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_ZERNIKE_FREQUENCY, m));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_IS_WRITTEN, r->is_written));
	CYC_TRY(cyc_label_put_text(b, row, CYC_OWN_ABERRATION_PARITY, PARITY_NAMES[parity]));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_PHASE_AT_LIMIT, r->theta[j]));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_PHASE_AT_LIMIT_ERROR, r->theta_error[j]));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_ZERNIKE_CHANGE, r->zernike[j]));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_ZERNIKE_ERROR, r->zernike_error[j]));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_ZERNIKE, j < n_all ? all[j] : 0));
done:
	return st;
}

cyc_status cyc_aberration_results_write(const char *path, const cyc_particle_set *set,
                                        const cyc_aberrations *a,
                                        cyc_aberration_result (*results)[CYC_N_PARITIES])
{
	cyc_status st = CYC_OK;
	cyc_star *s = NULL;
	cyc_star_block *b;
	CYC_TRY(cyc_star_create(&s));
	CYC_TRY(cyc_star_add_block(&b, s, "checks", CYC_STAR_TABLE));
	for (int32_t g = 0; g < set->n_optics; g++)
		for (int p = 0; p < CYC_N_PARITIES; p++) {
			const cyc_aberration_result *r = &results[g][p];
			int64_t row;
			if (!r->is_asked) continue;
			CYC_TRY(cyc_star_add_row(&row, b));
			CYC_TRY(cyc_label_put(b, row, CYC_RLN_OPTICS_GROUP, g + 1));
			CYC_TRY(cyc_label_put_text(b, row, CYC_OWN_ABERRATION_PARITY, PARITY_NAMES[p]));
			CYC_TRY(cyc_label_put(b, row, CYC_OWN_IS_WRITTEN, r->is_written));
			CYC_TRY(cyc_label_put(b, row, CYC_OWN_LIMIT_ANGST,
			                      a->basis[p].k_max_invA > 0 ? 1 / a->basis[p].k_max_invA : 0));
			CYC_TRY(cyc_label_put(b, row, CYC_OWN_PHASE_RMS, r->rms_rad));
			CYC_TRY(cyc_label_put(b, row, CYC_OWN_GAIN_IN_OTHER_HALF, r->check.gain));
			CYC_TRY(cyc_label_put(b, row, CYC_OWN_CHI_SQUARE, r->check.chi2));
			CYC_TRY(cyc_label_put(b, row, CYC_OWN_TERMS_TESTED, r->check.n_free));
		}
	CYC_TRY(cyc_star_add_block(&b, s, "coefficients", CYC_STAR_TABLE));
	for (int32_t g = 0; g < set->n_optics; g++)
		for (int p = 0; p < CYC_N_PARITIES; p++)
			for (int32_t j = 0; j < results[g][p].n && results[g][p].is_asked; j++)
				CYC_TRY(add_row(b, set, g, p, &results[g][p], j));
	CYC_TRY(cyc_star_write(s, path));
done:
	cyc_star_destroy(&s);
	return st;
}

/* ---------------------------------------------------------------- pictures */

/* Phases are averaged over this many coefficients each way: single ones are mostly noise. */
enum { SMOOTH = 2 };
/* A phase known to this is drawn half. */
static const double HALF_SEEN_RAD = 0.5;

/* Both lists of the support as full planes of edge 2 r + 1 with zero in the middle; sign: of the other half
 * plane. */
static void to_plane(double *plane, int32_t r, const cyc_ctf_support *s, const double *list, double sign)
{
	int32_t edge = 2 * r + 1;
	for (int32_t i = 0; i < s->n; i++) {
		plane[(size_t)(r + s->y[i]) * (size_t)edge + (size_t)(r + s->x[i])] = list[i];
		plane[(size_t)(r - s->y[i]) * (size_t)edge + (size_t)(r - s->x[i])] = sign * list[i];
	}
}

static double smoothed(const double *plane, int32_t edge, int32_t x, int32_t y)
{
	double sum = 0;
	for (int32_t j = y - SMOOTH; j <= y + SMOOTH; j++)
		for (int32_t i = x - SMOOTH; i <= x + SMOOTH; i++)
			if (i >= 0 && i < edge && j >= 0 && j < edge) sum += plane[(size_t)j * (size_t)edge + (size_t)i];
	return sum;
}

/* Planes of 2 r + 1 by 2 r + 1. */
typedef struct {
	float *seen, *fitted, *opacity;
	double limit;
	int32_t r;
} phase_planes;

/* The fit, and the fit plus the residual of the images, of one parity. */
static cyc_status draw_parity(phase_planes *out, const cyc_aberrations *a, int32_t g, int parity,
                              const double *picture)
{
	cyc_status st = CYC_OK;
	const cyc_ctf_support *s = a->model->support;
	int32_t r = out->r, edge = 2 * r + 1;
	size_t n = (size_t)s->n, area = (size_t)edge * (size_t)edge;
	double *planes = NULL, *list = NULL, sign = parity == CYC_ODD ? -1 : 1;
	CYC_TRY(cyc_alloc(&planes, 3 * area, sizeof *planes));
	CYC_TRY(cyc_alloc(&list, n, sizeof *list));
	for (size_t i = 0; i < n; i++) list[i] = cyc_aberration_phase(a, g, parity, (int32_t)i);
	to_plane(planes, r, s, picture + 2 * (size_t)parity * n, sign);
	to_plane(planes + area, r, s, picture + (2 * (size_t)parity + 1) * n, 1);
	to_plane(planes + 2 * area, r, s, list, sign);
	out->limit = 0.1;
	for (size_t i = 0; i < n; i++) out->limit = fmax(out->limit, fabs(list[i]));
	out->limit = fmin(out->limit, CYC_PI);
	for (int32_t y = 0; y < edge; y++)
		for (int32_t x = 0; x < edge; x++) {
			size_t at = (size_t)y * (size_t)edge + (size_t)x;
			double bend = smoothed(planes + area, edge, x, y), fit = planes[2 * area + at];
			bool is_used = planes[area + at] > 0;
			out->fitted[at] = (float)fit;
			out->seen[at] = is_used ? (float)(fit + smoothed(planes, edge, x, y) / bend) : 0;
			/* Standard error 1/sqrt(bend): log-likelihoods, each pair of coefficients counted once but summed
			 * twice. */
			out->opacity[at] = is_used ? (float)(1 / (1 + 2 / (bend * HALF_SEEN_RAD * HALF_SEEN_RAD))) : 0;
		}
done:
	cyc_free(planes);
	cyc_free(list);
	return st;
}

static cyc_status write_picture(const char *path, const char *title, const cyc_aberrations *a, int32_t g,
                                const double *picture)
{
	static const char *const TITLES[CYC_N_PARITIES][2] = { { "even phase, images", "even phase, fit" },
		                                                   { "odd phase, images", "odd phase, fit" } };
	cyc_status st = CYC_OK;
	cyc_value_panel panels[2 * CYC_N_PARITIES];
	float *memory = NULL;
	int32_t r = a->model->n_shells - 1, edge = 2 * r + 1, n_panels = 0;
	size_t area = (size_t)edge * (size_t)edge;
	CYC_TRY(cyc_alloc(&memory, 3 * CYC_N_PARITIES * area, sizeof *memory));
	for (int p = 0; p < CYC_N_PARITIES; p++) {
		float *at = memory + 3 * (size_t)p * area;
		phase_planes o = { .seen = at, .fitted = at + area, .opacity = at + 2 * area, .r = r };
		if (!a->is_asked[p]) continue;
		CYC_TRY(draw_parity(&o, a, g, p, picture));
		panels[n_panels++] = (cyc_value_panel){ TITLES[p][0], edge, o.seen, o.opacity, o.limit, "rad" };
		panels[n_panels++] = (cyc_value_panel){ TITLES[p][1], edge, o.fitted, NULL, o.limit, "rad" };
	}
	CYC_TRY(cyc_values_write(path, title, panels, n_panels));
done:
	cyc_free(memory);
	return st;
}

cyc_status cyc_aberration_pictures_write(const char *out_dir, const cyc_particle_set *set,
                                         const cyc_aberrations *a, const cyc_aberration_tally *tally)
{
	cyc_status st = CYC_OK;
	char *path = NULL, *title = NULL;
	for (int32_t g = 0; g < a->n_groups; g++) {
		if (!tally->total[g].picture || tally->total[g].n_particles[0] + tally->total[g].n_particles[1] == 0)
			continue;
		CYC_TRY(cyc_asprintf(&path, "%saberrations_group%d.png", out_dir, g + 1));
		CYC_TRY(cyc_asprintf(&title, "%s: aberrations to %.2f Å", set->optics[g].name,
		                     1 / a->basis[a->is_asked[CYC_EVEN] ? CYC_EVEN : CYC_ODD].k_max_invA));
		CYC_TRY(write_picture(path, title, a, g, tally->total[g].picture));
		cyc_free(path);
		cyc_free(title);
		path = title = NULL;
	}
done:
	cyc_free(path);
	cyc_free(title);
	return st;
}
