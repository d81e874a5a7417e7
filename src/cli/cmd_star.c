#include "command.h"

#include "cyclotomo/star.h"

#include <string.h>

typedef struct {
	cyc_common_options common;
	const char *input, *output, *block, *print;
} star_args;

#define ARG(type, name, member, ...) CYC_OPTION(star_args, type, name, member, __VA_ARGS__)
static const cyc_option OPTIONS[] = {
	ARG(ARG, "FILE", input, .help = "STAR file of RELION or of another program."),
	CYC_HEADING("STAR file"),
	ARG(TEXT, "output", output, .alias = "--o", .unit = "<file>", .no_default = "none",
	    .help = "Write all blocks and values to this file, in a layout that RELION can read."),
	ARG(TEXT, "print", print, .unit = "<LABEL,...>", .no_default = "none",
	    .help = "Print these columns, separated by tabs."),
	ARG(TEXT, "block", block, .unit = "<name>", .no_default = "the last one", .help = "Block for --print."),
	CYC_COMMON_OPTIONS(star_args, common),
};
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("star", "Show what is in a STAR file, print columns, copy it in RELION's layout",
                    "Labels are given without the underscore.\n"
                    "  cyclotomo star particles.star\n"
                    "  cyclotomo star particles.star --print rlnTomoName,rlnOriginXAngst\n"
                    "  cyclotomo star warp.star --o relion.star",
                    OPTIONS);

static void list_blocks(const cyc_star *s)
{
	for (int32_t i = 0; i < cyc_star_n_blocks(s); i++) {
		const cyc_star_block *b = cyc_star_block_at(s, i);
		bool is_list = cyc_star_block_kind(b) == CYC_STAR_LIST;
		printf("data_%s: %s", cyc_star_block_name(b), is_list ? "list" : "table");
		if (!is_list) printf(" of %lld rows", (long long)cyc_star_n_rows(b));
		putchar('\n');
		for (int32_t j = 0; j < cyc_star_n_columns(b); j++) {
			printf("  %-40s %.60s\n", cyc_star_label(b, j),
			       cyc_star_n_rows(b) > 0 ? cyc_star_text(b, 0, j) : "");
		}
	}
}

static cyc_status print_columns(const cyc_star *s, const char *block, const char *labels)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b = cyc_star_block_at(s, cyc_star_n_blocks(s) - 1);
	int32_t *columns = NULL, n = 0;
	char *list = NULL, *save = NULL;
	if (block || !b) CYC_TRY(cyc_star_require(&b, s, block ? block : ""));
	CYC_TRY(cyc_strdup(&list, labels));
	CYC_TRY(cyc_alloc(&columns, strlen(labels) + 1, sizeof *columns));
	for (char *label = strtok_r(list, ",", &save); label; label = strtok_r(NULL, ",", &save)) {
		CYC_TRY(cyc_star_require_column(&columns[n++], b, label));
	}
	CYC_CHECK(n > 0, CYC_E_USAGE, "--print names no column");
	for (int64_t i = 0; i < cyc_star_n_rows(b); i++) {
		for (int32_t k = 0; k < n; k++) printf("%s%s", k ? "\t" : "", cyc_star_text(b, i, columns[k]));
		putchar('\n');
	}
done:
	cyc_free(columns);
	cyc_free(list);
	return st;
}

cyc_status cyc_cmd_star(int argc, char **argv);
cyc_status cyc_cmd_star(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	star_args a = { 0 };
	cyc_run run = { 0 };
	cyc_star *s = NULL;
	char *path = NULL;
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	cyc_output_plan plan = {
		.kind = CYC_OUTPUT_STAR, .out = a.output, .root = a.common.root, .files = &a.input, .n_files = 1
	};
	CYC_TRY(cyc_outputs_spare_inputs(&plan, CYC_OUTPUT_ALL));
	CYC_TRY(cyc_path_join(&path, a.common.root, a.input));
	CYC_TRY(cyc_star_read(&s, path));
	if (a.print) CYC_TRY(print_columns(s, a.block, a.print));
	if (!a.print && !a.output) list_blocks(s);
	if (a.output) {
		cyc_free(path);
		path = NULL;
		CYC_TRY(cyc_path_join(&path, a.common.root, a.output));
		CYC_TRY(cyc_star_write(s, path));
	}
	run.has_begun = false; /* a look at a file is nothing to time */
done:
	cyc_star_destroy(&s);
	cyc_free(path);
	return cyc_run_end(&run, st);
}
