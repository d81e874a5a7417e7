/* Warnings and findings of the steps: bad tilts, and particles that are probably something else. */
#include "summary/page.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>

/* So many tilts are listed by name. */
enum { N_LISTED = 20 };

bool cyc__are_halves_suspect(const cyc__step *s)
{
	/* Independent halves never have a mean of 1.0000. */
	const double SAME = 0.99995;
	return s->are_halves_suspect > 0.0 || s->mean_fsc >= SAME;
}

/* ---------------------------------------------------------------- tables of the jobs */

typedef struct {
	char *series, *status;
	int64_t row; /* from 1 */
} bad_tilt;

typedef struct {
	int32_t n_bad_tilts, n_tilts;
	bad_tilt *bad_tilts;
	const cyc__step *tilts_of;       /* the CTF refinement whose table it is; NULL: none */
	int64_t n_doubtful, n_particles; /* n_particles 0: the table has no probabilities */
	char *particles;                 /* its name */
	int32_t n_warnings;              /* different texts of all steps */
} findings;

static void findings_deinit(findings *f)
{
	for (int32_t i = 0; i < f->n_bad_tilts; i++) {
		cyc_free(f->bad_tilts[i].series);
		cyc_free(f->bad_tilts[i].status);
	}
	cyc_free(f->bad_tilts);
	cyc_free(f->particles);
	*f = (findings){ 0 };
}

/* Statuses of images that are bad, or whose input values are wrong. */
static bool is_bad(const char *status)
{
	static const char *const BAD[] = { "bad", "shifted", "at-limit" };
	for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
		if (strcmp(status, BAD[i]) == 0) return true;
	}
	return false;
}

static cyc_status add_tilts(findings *f, const cyc_star_block *b)
{
	cyc_status st = CYC_OK;
	for (int64_t i = 0; i < cyc_star_n_rows(b); i++) {
		const char *status = cyc_star_text_of(b, i, CYC_OWN_TILT_STATUS);
		if (!status) return CYC_OK;
		f->n_tilts++;
		if (!is_bad(status)) continue;
		CYC_TRY(cyc_realloc(&f->bad_tilts, (size_t)f->n_bad_tilts, (size_t)f->n_bad_tilts + 1,
		                    sizeof *f->bad_tilts));
		bad_tilt *t = &f->bad_tilts[f->n_bad_tilts++];
		*t = (bad_tilt){ .row = i + 1 };
		CYC_TRY(cyc_strdup(&t->series, cyc_star_block_name(b)));
		CYC_TRY(cyc_strdup(&t->status, status));
	}
done:
	return st;
}

static cyc_status read_tilts(findings *f, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	bool is_taken;
	char *path = NULL;
	cyc_star *star = NULL;
	f->tilts_of = cyc__shown_ctf_refinement(c, &is_taken);
	const char *table = f->tilts_of ? cyc__pairs_get(&f->tilts_of->outputs, "standard errors") : NULL;
	if (!table) return CYC_OK;
	CYC_TRY(cyc_path_join(&path, c->o->input.root, table));
	CYC_TRY(cyc_star_read(&star, path));
	for (int32_t i = 0; i < cyc_star_n_blocks(star); i++) CYC_TRY(add_tilts(f, cyc_star_block_at(star, i)));
done:
	cyc_star_destroy(&star);
	cyc_free(path);
	return st;
}

/* Of the state that the run is in. */
static cyc_status read_particles(findings *f, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	const double DOUBTFUL = 0.5;
	cyc_optimisation_set *set = NULL;
	cyc_star *star = NULL;
	cyc_star_block *b;
	char *path = NULL;
	CYC_TRY(cyc_path_join(&path, c->o->input.root, c->steps[c->i_best].output_set));
	CYC_TRY(cyc_optimisation_set_read(&set, path));
	if (!set->particles) goto done;
	cyc_free(path);
	path = NULL;
	CYC_TRY(cyc_path_join(&path, c->o->input.root, set->particles));
	CYC_TRY(cyc_star_read(&star, path));
	CYC_TRY(cyc_star_require(&b, star, "particles"));
	int32_t column = cyc_star_column(b, CYC_OWN_PARTICLE_PROBABILITY);
	if (column < 0) goto done;
	f->n_particles = cyc_star_n_rows(b);
	for (int64_t i = 0; i < f->n_particles; i++) {
		double p;
		CYC_TRY(cyc_star_double(&p, b, i, column));
		f->n_doubtful += p < DOUBTFUL;
	}
	CYC_TRY(cyc_strdup(&f->particles, set->particles));
done:
	cyc_optimisation_set_destroy(&set);
	cyc_star_destroy(&star);
	cyc_free(path);
	return st;
}

/* True if an earlier step gave the same warning. */
bool cyc__was_warned_before(const cyc__cycle *c, int32_t i_step, const char *text)
{
	for (int32_t i = 0; i < i_step; i++) {
		for (int32_t k = 0; k < c->steps[i].n_warnings; k++) {
			if (strcmp(c->steps[i].warnings[k], text) == 0) return true;
		}
	}
	return false;
}

static cyc_status findings_read(findings *f, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	*f = (findings){ 0 };
	CYC_TRY(read_tilts(f, c));
	CYC_TRY(read_particles(f, c));
	for (int32_t i = 0; i < c->n_steps; i++) {
		for (int32_t k = 0; k < c->steps[i].n_warnings; k++)
			f->n_warnings += !cyc__was_warned_before(c, i, c->steps[i].warnings[k]);
	}
done:
	return st;
}

/* ---------------------------------------------------------------- words */

cyc_status cyc__add_findings_to_verdict(char **text, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	findings f = { 0 };
	char sentence[400];
	CYC_TRY(findings_read(&f, c));
	int64_t n_left_out = c->in.particles->n - cyc__inputs_n_particles(&c->in, c->o);
	if (n_left_out > 0) {
		snprintf(sentence, sizeof sentence, "%lld particle%s listed twice, in both half-sets, and left out.",
		         (long long)n_left_out, n_left_out == 1 ? " was" : "s were");
		CYC_TRY(cyc__append_sentence(text, sentence));
	} else if (c->in.duplicates.n_across > 0) {
		snprintf(sentence, sizeof sentence,
		         "%lld pairs of particles in different half-sets are duplicates, so the FSC is too good.",
		         (long long)c->in.duplicates.n_across);
		CYC_TRY(cyc__append_sentence(text, sentence));
	}
	if (f.n_bad_tilts > 0) {
		snprintf(sentence, sizeof sentence,
		         "%d of %d tilts are bad, shifted or at the limit of the defocus search.", f.n_bad_tilts,
		         f.n_tilts);
		CYC_TRY(cyc__append_sentence(text, sentence));
	}
	if (f.n_doubtful > 0) {
		snprintf(sentence, sizeof sentence,
		         "%lld of %lld picks probably do not show the particle, or have a wrong pose.",
		         (long long)f.n_doubtful, (long long)f.n_particles);
		CYC_TRY(cyc__append_sentence(text, sentence));
	}
	if (f.n_warnings > 0) {
		snprintf(sentence, sizeof sentence, "The steps gave %d warning%s, listed in summary.html.",
		         f.n_warnings, f.n_warnings == 1 ? "" : "s");
		CYC_TRY(cyc__append_sentence(text, sentence));
	}
done:
	findings_deinit(&f);
	return st;
}

cyc_status cyc__put_findings_json(cyc_json *j, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	findings f = { 0 };
	CYC_TRY(findings_read(&f, c));
	if (f.n_tilts > 0) {
		cyc_json_int(j, "n_bad_tilts", f.n_bad_tilts);
		cyc_json_begin_array(j, "bad_tilts");
		for (int32_t i = 0; i < f.n_bad_tilts; i++) {
			cyc_json_begin_object(j, NULL);
			cyc_json_text(j, "series", f.bad_tilts[i].series);
			cyc_json_int(j, "row", f.bad_tilts[i].row);
			cyc_json_text(j, "status", f.bad_tilts[i].status);
			cyc_json_end_object(j);
		}
		cyc_json_end_array(j);
	}
	if (f.n_particles > 0) cyc_json_int(j, "n_doubtful_particles", f.n_doubtful);
	cyc_json_begin_array(j, "warnings");
	for (int32_t i = 0; i < c->n_steps; i++) {
		for (int32_t k = 0; k < c->steps[i].n_warnings; k++) {
			if (cyc__was_warned_before(c, i, c->steps[i].warnings[k])) continue;
			cyc_json_begin_object(j, NULL);
			cyc_json_text(j, "job", c->steps[i].name);
			cyc_json_text(j, "text", c->steps[i].warnings[k]);
			cyc_json_end_object(j);
		}
	}
	cyc_json_end_array(j);
done:
	findings_deinit(&f);
	return st;
}

static cyc_status put_bad_tilts(FILE *f, const cyc__cycle *c, const findings *found)
{
	cyc_status st = CYC_OK;
	static const char *const COLUMNS[] = { "Tilt series", "=Row", "Status" };
	fprintf(f,
	        "<h3>Bad tilts</h3><p>%d of %d tilts are bad, shifted or at the limit of the defocus search "
	        "according to ",
	        found->n_bad_tilts, found->n_tilts);
	CYC_TRY(cyc__put_link(f, c, found->tilts_of->dir, found->tilts_of->name));
	fputs(".</p>\n", f);
	cyc__begin_table(f, "Bad tilts", COLUMNS, 3);
	for (int32_t i = 0; i < found->n_bad_tilts && i < N_LISTED; i++) {
		const bad_tilt *t = &found->bad_tilts[i];
		fputs("<tr><td>", f);
		cyc__put_escaped(f, t->series);
		fprintf(f, "</td><td class=\"n\">%lld</td><td>", (long long)t->row);
		cyc__put_escaped(f, t->status);
		fputs("</td></tr>\n", f);
	}
	cyc__end_table(f);
	if (found->n_bad_tilts > N_LISTED)
		fprintf(f, "<p class=\"note\">%d more are in its table of tilts.</p>\n",
		        found->n_bad_tilts - N_LISTED);
done:
	return st;
}

cyc_status cyc__put_bad_tilts(FILE *f, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	findings found = { 0 };
	CYC_TRY(findings_read(&found, c));
	if (found.n_bad_tilts > 0) CYC_TRY(put_bad_tilts(f, c, &found));
done:
	findings_deinit(&found);
	return st;
}
