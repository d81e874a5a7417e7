#include "command.h"

#include "cyclotomo/check.h"

#include <stdio.h>

typedef struct {
	cyc_common_options common;
	cyc_check_options o;
	bool as_json;
} check_args;

#define ARG(type, name, member, ...) CYC_OPTION(check_args, type, name, member, __VA_ARGS__)
static const cyc_option OPTIONS[] = {
	CYC_NESTED(check_args, o, &cyc_check_table),
	CYC_HEADING("On the command line"),
	ARG(FLAG, "json", as_json, .help = "Print everything as JSON."),
	CYC_COMMON_OPTIONS(check_args, common),
};
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("check", "Find errors in the metadata, from its tables and from the images",
                    "  cyclotomo check --i PostProcess/job002/postprocess_optimisation_set.star --mask "
                    "mask.mrc --deep --fix Fixed/\n"
                    "compares all images with projections of the half maps and reports what in the tables "
                    "cannot be right, with standard errors.\n"
                    "Without --deep it checks tables, image headers, masks and maps, in seconds, as every "
                    "job does before it starts; docs/checks.md has the list.\n"
                    "The exit code is 3 if there are findings that would spoil a refinement.",
                    OPTIONS);

static void print_number(cyc_measured m, int digits, double unit)
{
	if (isfinite(m.error)) printf(" %8.*f +- %-6.*f", digits, unit * m.value, digits, unit * m.error);
	else printf(" %8s    %-6s", "-", "");
}

static void print_series(const cyc_check_result *r)
{
	printf("%-16s %7s %18s %18s %18s %18s %9s\n", "tilt series", "images", "hand", "dose", "stage", "size, %",
	       "contrast");
	for (int32_t i = 0; i < r->n_series; i++) {
		const cyc_series_evidence *e = &r->series[i];
		printf("%-16s %7lld", e->name, (long long)e->n_images);
		print_number(e->hand, 2, 1);
		print_number(e->dose, 2, 1);
		print_number(e->stage, 3, 1);
		print_number(e->stretch, 2, 100);
		if (isfinite(e->contrast.error)) printf(" %9.2f\n", e->contrast.value);
		else printf(" %9s\n", "-");
	}
	if (isfinite(r->density.error))
		printf("density and detail of the map: correlation %.2f +- %.2f\n", r->density.value,
		       r->density.error);
}

static cyc_status print_findings(const cyc_check_result *r)
{
	cyc_status st = CYC_OK;
	static const char *const LEVELS[] = { "note", "warning", "error" };
	char *text = NULL;
	for (int32_t i = 0; i < r->found.n; i++) {
		CYC_TRY(cyc_finding_text(&text, &r->found.items[i]));
		printf("%s: %s\n", LEVELS[r->found.items[i].level], text);
		cyc_free(text);
		text = NULL;
	}
	if (r->found.n == 0) printf("nothing wrong was found\n");
done:
	cyc_free(text);
	return st;
}

static cyc_status print_result(const check_args *a, const cyc_check_result *r)
{
	cyc_status st = CYC_OK;
	char *text = NULL;
	if (a->as_json) {
		CYC_TRY(cyc_check_json(&text, r));
		fputs(text, stdout);
		goto done;
	}
	if (a->o.is_deep) print_series(r);
	CYC_TRY(print_findings(r));
	if (r->fixed_set)
		printf("%d of them corrected in %s: start again from that project with a reconstruction\n",
		       r->n_fixed, r->fixed_set);
	else if (a->o.fix_dir) printf("nothing to correct: %s was not written\n", a->o.fix_dir);
done:
	cyc_free(text);
	return st;
}

cyc_status cyc_cmd_check(int argc, char **argv);
cyc_status cyc_cmd_check(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	check_args a = { 0 };
	cyc_run run = { 0 };
	cyc_check_result result = { 0 };
	cyc_check_options_default(&a.o);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	a.o.input.root = a.common.root;
	a.o.n_threads = a.common.n_threads;
	st = cyc_check_run(&result, &a.o);
	/* Without half maps to compare with there are findings nevertheless. */
	bool has_result = st == CYC_OK || (st == CYC_E_USAGE && result.found.n > 0);
	if (has_result) {
		const cyc_error error = *cyc_error_get();
		cyc_status printed = print_result(&a, &result);
		if (st != CYC_OK) cyc_error_set(&error);
		else st = printed;
	}
	CYC_TRY(st);
	int32_t n = cyc_finding_count(&result.found, CYC_FINDING_ERROR);
	CYC_CHECK(n == 0, CYC_E_DATA, "%d finding%s that spoil%s a refinement", n, n == 1 ? "" : "s",
	          n == 1 ? "s" : "");
done:
	cyc_check_result_deinit(&result);
	return cyc_run_end(&run, st);
}
