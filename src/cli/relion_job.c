#include "relion.h"
#include "project/labels.h"

#include <string.h>

/* What every job.star has: queues, and the ranks that mpirun would start, which are not needed here. */
static const char QUEUE[] = "the GUI does it";
static const cyc_job_variable COMMON[] = {
	{ .variable = "do_queue", .becomes = CYC_JOB_NOTHING, .what = "submit to a queue", .note = QUEUE },
	{ .variable = "queuename", .becomes = CYC_JOB_NOTHING, .what = "queue", .note = QUEUE },
	{ .variable = "qsub*", .becomes = CYC_JOB_NOTHING, .what = "its command and script", .note = QUEUE },
	{ .variable = "min_dedicated", .becomes = CYC_JOB_NOTHING, .what = "cores per node", .note = QUEUE },
	{ .variable = "nr_mpi",
	  .becomes = CYC_JOB_NOTHING,
	  .what = "MPI processes",
	  .note = "the GUI starts them with mpirun; they share the tilt series" },
	{ .variable = "other_args",
	  .becomes = CYC_JOB_READ,
	  .what = "additional arguments",
	  .note = "RELION's options, or cyclotomo's own" },
};
enum { N_COMMON = sizeof COMMON / sizeof *COMMON };

/* ---------------------------------------------------------------- values */

/* Row of the variable in the job's values, -1 if it is not there. */
static int64_t row_of(const cyc_star_block *values, const char *variable)
{
	int32_t column = cyc_star_column(values, CYC_RLN_JOB_OPTION_VARIABLE);
	for (int64_t row = 0; row < cyc_star_n_rows(values); row++)
		if (strcmp(cyc_star_text(values, row, column), variable) == 0) return row;
	return -1;
}

const char *cyc_job_text(const cyc_relion_job *j, const char *variable)
{
	int64_t row = row_of(j->values, variable);
	return row < 0 ? "" : cyc_star_text(j->values, row, cyc_star_column(j->values, CYC_RLN_JOB_OPTION_VALUE));
}

/* As RELION's GUI and its pipeliner write them. */
static bool is_yes(const char *text)
{
	return strcmp(text, "Yes") == 0 || strcmp(text, "yes") == 0 || strcmp(text, "True") == 0 ||
	       strcmp(text, "true") == 0;
}

bool cyc_job_is_yes(const cyc_relion_job *j, const char *variable)
{
	return is_yes(cyc_job_text(j, variable));
}

cyc_status cyc_job_emit(cyc_relion_job *j, const char *option, const char *value)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_words_add(&j->words, &j->n_words, option));
	if (value) CYC_TRY(cyc_words_add(&j->words, &j->n_words, value));
done:
	return st;
}

/* ---------------------------------------------------------------- what several types have */

cyc_status cyc_job_emit_project_as(cyc_relion_job *j, const char *const options[4])
{
	static const char *const SINGLE[] = { "in_particles", "in_tomograms", "in_trajectories" };
	cyc_status st = CYC_OK;
	/* Files that the GUI keeps in the fields that its switch has turned off are not used. Older jobs have no
	 * switch: both count. */
	bool has_switch = cyc_job_text(j, "use_direct_entries")[0] != '\0',
		 is_direct = cyc_job_is_yes(j, "use_direct_entries");
	if (!(has_switch && is_direct) && cyc_job_text(j, "in_optimisation")[0])
		CYC_TRY(cyc_job_emit(j, options[0], cyc_job_text(j, "in_optimisation")));
	for (size_t i = 0; i < sizeof SINGLE / sizeof *SINGLE && (!has_switch || is_direct); i++) {
		const char *file = cyc_job_text(j, SINGLE[i]);
		if (file[0]) CYC_TRY(cyc_job_emit(j, options[i + 1], file));
	}
done:
	return st;
}

cyc_status cyc_job_emit_project(cyc_relion_job *j)
{
	return cyc_job_emit_project_as(j, (const char *const[4]){ "--i", "--p", "--t", "--mot" });
}

cyc_status cyc_job_emit_reference(cyc_relion_job *j)
{
	cyc_status st = CYC_OK;
	const char *half = cyc_job_text(j, "in_halfmaps"), *mask = cyc_job_text(j, "in_refmask"),
			   *post = cyc_job_text(j, "in_post");
	char *both[2] = { NULL, NULL };
	if (half[0]) {
		const char *slash = strrchr(half, '/');
		for (int h = 0; h < 2; h++) {
			CYC_TRY(cyc_strdup(&both[h], half));
			char *found = strstr(both[h] + (slash ? slash - half : 0), "half");
			CYC_CHECK(found && (found[4] == '1' || found[4] == '2'), CYC_E_DATA,
			          "in_halfmaps: the name '%s' contains neither 'half1' nor 'half2'", half);
			found[4] = h == 0 ? '1' : '2';
		}
		CYC_TRY(cyc_job_emit(j, "--ref1", both[0]));
		CYC_TRY(cyc_job_emit(j, "--ref2", both[1]));
	}
	if (mask[0]) CYC_TRY(cyc_job_emit(j, "--mask", mask));
	if (post[0]) CYC_TRY(cyc_job_emit(j, "--fsc", post));
done:
	cyc_free(both[0]);
	cyc_free(both[1]);
	return st;
}

/* ---------------------------------------------------------------- the table */

static bool is_variable(const cyc_job_variable *v, const char *name)
{
	size_t n = strlen(v->variable);
	return n > 0 && v->variable[n - 1] == '*' ? strncmp(name, v->variable, n - 1) == 0
	                                          : strcmp(name, v->variable) == 0;
}

/* Nothing of a job.star is passed over in silence. */
static cyc_status check_variables(const cyc_relion_job *j)
{
	const cyc_relion_program *p = j->program;
	int64_t n_rows = cyc_star_n_rows(j->values), n_known = 0;
	int32_t column = cyc_star_column(j->values, CYC_RLN_JOB_OPTION_VARIABLE);
	for (int64_t row = 0; row < n_rows; row++) {
		const char *name = cyc_star_text(j->values, row, column);
		bool is_common = false, is_known = false;
		for (int i = 0; i < N_COMMON; i++) is_common = is_common || is_variable(&COMMON[i], name);
		for (int i = 0; i < p->n_variables; i++) is_known = is_known || is_variable(&p->variables[i], name);
		n_known += is_known;
		if (!is_common && !is_known) cyc_warn("the variable '%s' is unknown and was ignored", name);
	}
	if (n_known > 0) return CYC_OK;
	cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
	                "none of the %lld variables is one of RELION's for this type of job", (long long)n_rows);
	cyc_error_hint("the command of a job.star that cyclotomo wrote is in the note.txt in the same folder");
	return CYC_E_DATA;
}

static cyc_status emit_variables(cyc_relion_job *j)
{
	cyc_status st = CYC_OK;
	for (int i = 0; i < j->program->n_variables; i++) {
		const cyc_job_variable *v = &j->program->variables[i];
		bool is_plain = v->becomes == CYC_JOB_VALUE || v->becomes == CYC_JOB_FLAG;
		const char *text = is_plain ? cyc_job_text(j, v->variable) : "";
		if (!text[0] || (v->needs && !cyc_job_is_yes(j, v->needs))) continue;
		if (v->becomes == CYC_JOB_VALUE) CYC_TRY(cyc_job_emit(j, v->option, text));
		else if (is_yes(text)) CYC_TRY(cyc_job_emit(j, v->option, NULL));
	}
done:
	return st;
}

/* "Additional arguments" of the GUI: words, with quotes as a shell has them. */
static cyc_status emit_other_args(cyc_relion_job *j)
{
	cyc_status st = CYC_OK;
	char *word = NULL;
	const char *c = cyc_job_text(j, "other_args");
	CYC_TRY(cyc_alloc(&word, strlen(c) + 1, 1));
	while (*(c += strspn(c, " \t")) != '\0') {
		size_t n = 0;
		char quote = '\0';
		for (; *c && (quote || !strchr(" \t", *c)); c++) {
			if (quote ? *c == quote : *c == '\'' || *c == '"') quote = quote ? '\0' : *c;
			else word[n++] = *c;
		}
		CYC_CHECK(!quote, CYC_E_DATA, "other_args: a quote is not closed: %s", cyc_job_text(j, "other_args"));
		word[n] = '\0';
		CYC_TRY(cyc_job_emit(j, word, NULL));
	}
done:
	cyc_free(word);
	return st;
}

static cyc_status read_head(cyc_relion_job *j, const cyc_star *star)
{
	cyc_status st = CYC_OK;
	cyc_star_block *head = NULL, *values = NULL;
	int32_t column;
	CYC_TRY(cyc_star_require(&head, star, "job"));
	CYC_TRY(cyc_star_require(&values, star, "joboptions_values"));
	CYC_TRY(cyc_star_require_column(&column, values, CYC_RLN_JOB_OPTION_VARIABLE));
	CYC_TRY(cyc_star_require_column(&column, values, CYC_RLN_JOB_OPTION_VALUE));
	CYC_TRY(cyc_star_require_column(&column, head, CYC_RLN_JOB_TYPE_LABEL));
	const char *label = cyc_star_text(head, 0, column),
			   *is_continued = cyc_star_text_of(head, 0, CYC_RLN_JOB_IS_CONTINUE);
	j->values = values;
	j->is_continued = is_continued && (strcmp(is_continued, "1") == 0 || is_yes(is_continued));
	j->program = cyc_relion_find_job(label);
	if (!j->program) {
		st = cyc_error_raise(CYC_E_UNSUPPORTED, __FILE__, __LINE__, __func__,
		                     "%s: jobs of the type '%s' are not supported here", cyc_star_name(star), label);
		cyc_error_hint(
			"supported: relion.reconstructparticletomo, relion.ctfrefinetomo, relion.framealigntomo, "
			"relion.pseudosubtomo, relion.refine3d.tomo, relion.postprocess and relion.maskcreate");
	}
done:
	return st;
}

cyc_status cyc_relion_job_map(cyc_relion_job *j, const cyc_star *star, const char *folder)
{
	cyc_status st = CYC_OK;
	*j = (cyc_relion_job){ .folder = folder };
	CYC_TRY(read_head(j, star));
	CYC_TRY_CTX(check_variables(j), "%s", cyc_star_name(star));
	CYC_TRY(cyc_words_add(&j->words, &j->n_words, j->program->name));
	if (j->program->map_job) CYC_TRY_CTX(j->program->map_job(j), "%s", cyc_star_name(star));
	CYC_TRY(emit_variables(j));
	CYC_TRY_CTX(emit_other_args(j), "%s", cyc_star_name(star));
	/* As RELION's pipeline does; also, the job.star there stays as it is. */
	CYC_TRY(cyc_job_emit(j, "--pipeline_control", folder));
done:
	return st;
}

void cyc_relion_job_deinit(cyc_relion_job *j)
{
	cyc_words_free(&j->words, &j->n_words);
	*j = (cyc_relion_job){ 0 };
}

/* ---------------------------------------------------------------- the table for the documents */

static cyc_job_fate fate_of(const cyc_job_variable *v, const cyc_relion_option *o)
{
	if (v->fate != CYC_JOB_BY_OPTION) return v->fate;
	if (v->becomes == CYC_JOB_NOTHING) return CYC_JOB_NEEDLESS;
	if (!o) return CYC_JOB_HONOURED;
	switch (o->becomes) {
	case CYC_RELION_SAME:
	case CYC_RELION_READ:
	case CYC_RELION_OWN: return CYC_JOB_HONOURED;
	case CYC_RELION_ALWAYS: return CYC_JOB_NEEDLESS;
	case CYC_RELION_UNUSED:
	case CYC_RELION_INERT: return CYC_JOB_IGNORED;
	case CYC_RELION_UNSUPPORTED: break;
	}
	return CYC_JOB_REFUSED;
}

static void print_variable(FILE *f, const cyc_relion_program *p, const cyc_job_variable *v)
{
	static const char *const FATES[] = {
		[CYC_JOB_HONOURED] = "honoured",
		[CYC_JOB_NEEDLESS] = "nothing to do",
		[CYC_JOB_IGNORED] = "ignored, with a warning",
		[CYC_JOB_REFUSED] = "refused, or handed on to RELION's program",
	};
	int row = v->option ? cyc_relion_find_option(p, v->option) : -1;
	const cyc_relion_option *o = row >= 0 ? &cyc_relion_rows_of(p).rows[row] : NULL;
	cyc_job_fate fate = fate_of(v, o);
	const char *note = v->note ? v->note : o && fate != CYC_JOB_HONOURED ? o->note : NULL;
	fprintf(f, "| %s | `%s` | %s%.*s%s | %s%s%s |\n", v->what ? v->what : "", v->variable, o ? "`" : "",
	        o ? (int)strcspn(o->name, ",") : 0, o ? o->name : "", o ? "`" : "", FATES[fate], note ? ": " : "",
	        note ? note : "");
}

void cyc_relion_print_tab(FILE *f, const cyc_relion_program *p)
{
	fputs("\nFields of its tab in the GUI:\n\n| field | variable in job.star | option | here "
	      "|\n|---|---|---|---|\n",
	      f);
	for (int i = 0; i < p->n_variables; i++) print_variable(f, p, &p->variables[i]);
	for (int i = 0; i < N_COMMON; i++) print_variable(f, p, &COMMON[i]);
}
