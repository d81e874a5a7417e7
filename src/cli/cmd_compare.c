#include "command.h"

#include "cyclotomo/compare.h"
#include "cyclotomo/mrc.h"

#include <math.h>
#include <string.h>

typedef struct {
	cyc_common_options common;
	const char *first, *second;
	const char *mask;
	double resolution_A;
	bool mirror_z, all_shells;
	double tolerance, relative, min_fsc, max_scale_error;
	bool has_min_fsc, has_scale;
	cyc_star_compare_options star;
	bool all_columns;
} compare_args;

#define ARG(type, name, member, ...) CYC_OPTION(compare_args, type, name, member, __VA_ARGS__)
static const cyc_option OPTIONS[] = {
	ARG(ARG, "FILE1", first, .help = "Map (.mrc) or STAR file."),
	ARG(ARG, "FILE2", second, .help = "File of the same kind."),
	CYC_HEADING("What counts as equal"),
	ARG(DOUBLE, "tolerance", tolerance, .alias = "--tol", .unit = "<number>", .range = "[0,",
	    .help = "Largest difference allowed between numbers, or voxels."),
	ARG(DOUBLE, "relative", relative, .alias = "--rtol", .unit = "<fraction>", .range = "[0,",
	    .help = "Also allowed: this fraction of the larger number, or of the map's standard deviation."),
	CYC_HEADING("Maps"),
	ARG(TEXT, "mask", mask, .unit = "<map>", .help = "Multiply both maps by this mask."),
	ARG(DOUBLE, "resolution", resolution_A, .alias = "--res", .unit = "<Å>", .no_default = "Nyquist",
	    .help = "Print correlation, scale and lowest FSC up to this resolution."),
	ARG(DOUBLE, "min-fsc", min_fsc, .is_set = offsetof(compare_args, has_min_fsc), .unit = "<number>",
	    .no_default = "off",
	    .help = "Maps count as equal if no shell up to --resolution has a lower FSC, whatever the voxels."),
	ARG(DOUBLE, "max-scale-error", max_scale_error, .is_set = offsetof(compare_args, has_scale),
	    .unit = "<fraction>", .range = "[0,", .no_default = "off",
	    .help =
	        "Maps count as equal if their scale up to --resolution is 1 within this, whatever the voxels."),
	ARG(FLAG, "z-mirror", mirror_z, .alias = "--mirror-z",
	    .help = "Mirror the second map in z first (the other hand)."),
	ARG(FLAG, "all-shells", all_shells, .help = "Print the FSC of every shell."),
	CYC_HEADING("STAR files"),
	ARG(TEXT, "column", star.columns, .unit = "<LABEL=TOLERANCE,...>", .no_default = "none",
	    .help = "Tolerances for single columns."),
	ARG(TEXT, "ignore", star.ignore, .unit = "<LABEL,...>", .no_default = "none",
	    .help = "Columns that may differ."),
	ARG(TEXT, "key", star.key, .unit = "<LABEL>",
	    .no_default = "particle, micrograph or tomogram name, else the order of rows",
	    .help = "Match rows by this column."),
	ARG(TEXT, "block", star.block, .unit = "<name>", .no_default = "all", .help = "Compare only this block."),
	ARG(FLAG, "common", star.common_only,
	    .help = "Ignore blocks, columns and rows that only one of the files has."),
	ARG(FLAG, "all-columns", all_columns, .help = "Also print columns without any difference."),
	CYC_COMMON_OPTIONS(compare_args, common),
};
static const cyc_command COMMAND = CYC_COMMAND_DEF(
	"compare", "Compare two maps or two STAR files",
	"The exit code is 0 if they are equal within the tolerances, else 1. Labels are given without the "
	"underscore.\n"
	"  cyclotomo compare --mask mask.mrc --resolution 4.2 --min-fsc 0.995 a.mrc b.mrc\n"
	"  cyclotomo compare --tolerance 1e-5 --column rlnDefocusU=0.5,rlnDefocusV=0.5 a.star b.star",
	OPTIONS);

/* ---------------------------------------------------------------- maps */

static void print_shells(const cyc_map_comparison *c, double pixel_size_A, bool all)
{
	int32_t n = 2 * (c->n_shells - 1), step = all ? 1 : (c->n_shells + 27) / 28;
	printf("\n  shell  resolution (Å)       FSC     scale\n");
	for (int32_t i = step; i < c->n_shells; i += step) {
		printf("  %5d  %14.2f  %8.4f  %8.4f\n", i, pixel_size_A > 0.0 ? n * pixel_size_A / i : 0.0, c->fsc[i],
		       c->scale[i]);
	}
}

static void print_maps(const cyc_map_comparison *c, const cyc_volume *v, const compare_args *a)
{
	printf("maps of %d x %d x %d voxels, %.4f Å/px%s%s\n", v->nx, v->ny, v->nz, v->pixel_size_A,
	       a->mask ? ", masked by " : "", a->mask ? a->mask : "");
	printf("standard deviation     %.6g, %.6g\n", c->rms_a, c->rms_b);
	printf("RMS difference         %.6g\n", c->rms_difference);
	printf("largest difference     %.6g at x %d, y %d, z %d\n", c->max_difference, c->max_at[0], c->max_at[1],
	       c->max_at[2]);
	printf("correlation            %.6f\n", c->correlation);
	printf("scale of the second    %.6f\n", c->scale_all);
	if (c->n_shells == 0) return;
	printf("to %.2f Å: correlation %.6f, scale %.6f, lowest FSC %.6f\n", c->limit_A, c->correlation_to_limit,
	       c->scale_to_limit, c->min_fsc);
	printf("FSC = 0.143 at %.3f Å, 0.5 at %.3f Å; mean FSC %.4f\n", c->resolution_0143_A, c->resolution_05_A,
	       c->mean_fsc);
	print_shells(c, v->pixel_size_A, a->all_shells);
}

static cyc_status judge_maps(const cyc_map_comparison *c, const compare_args *a)
{
	cyc_status st = CYC_OK;
	CYC_CHECK((!a->has_min_fsc && !a->has_scale) || c->n_shells > 0, CYC_E_SHAPE,
	          "an FSC needs cubic maps with an even box");
	CYC_CHECK(!a->has_min_fsc || c->min_fsc >= a->min_fsc, CYC_E_DIFFERENT,
	          "the FSC falls to %.6f up to %.2f Å; it must be at least %g", c->min_fsc, c->limit_A,
	          a->min_fsc);
	CYC_CHECK(!a->has_scale || fabs(c->scale_to_limit - 1.0) <= a->max_scale_error, CYC_E_DIFFERENT,
	          "the scale is %.6f up to %.2f Å; it must be 1 within %g", c->scale_to_limit, c->limit_A,
	          a->max_scale_error);
	double allowed = a->tolerance + a->relative * c->rms_a;
	CYC_CHECK(a->has_min_fsc || a->has_scale || c->max_difference <= allowed, CYC_E_DIFFERENT,
	          "voxels differ by up to %.6g; allowed: %.6g", c->max_difference, allowed);
	printf("\nthe same%s\n",
	       a->has_min_fsc || a->has_scale || allowed > 0.0 ? " within the bounds given" : "");
done:
	return st;
}

static cyc_status read_map(cyc_volume **out, cyc_run *run, const char *label, const char *name)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	CYC_TRY(cyc_run_input(run, label, name));
	CYC_TRY(cyc_mrc_join_name(&path, run->common->root, name));
	CYC_TRY(cyc_mrc_read(out, path));
done:
	cyc_free(path);
	return st;
}

static cyc_status compare_maps(cyc_run *run, const compare_args *a)
{
	cyc_status st = CYC_OK;
	cyc_volume *x = NULL, *y = NULL, *mask = NULL;
	cyc_map_comparison *c = NULL;
	cyc_map_compare_options options = { a->resolution_A, a->mirror_z, a->common.n_threads };
	CYC_TRY(read_map(&x, run, "first map", a->first));
	CYC_TRY(read_map(&y, run, "second map", a->second));
	if (a->mask) CYC_TRY(read_map(&mask, run, "mask", a->mask));
	CYC_TRY(cyc_map_compare(&c, x, y, mask, &options));
	print_maps(c, x, a);
	CYC_TRY(judge_maps(c, a));
done:
	cyc_map_comparison_destroy(&c);
	cyc_volume_destroy(&x);
	cyc_volume_destroy(&y);
	cyc_volume_destroy(&mask);
	return st;
}

/* ---------------------------------------------------------------- STAR files */

static void print_column(const cyc_column_comparison *c, bool all, bool common_only)
{
	switch (c->state) {
	case CYC_COLUMN_ONLY_FIRST:
	case CYC_COLUMN_ONLY_SECOND:
		if (!common_only || all)
			printf("  %-36s only in the %s file\n", c->label,
			       c->state == CYC_COLUMN_ONLY_FIRST ? "first" : "second");
		return;
	case CYC_COLUMN_IGNORED:
		if (all) printf("  %-36s ignored\n", c->label);
		return;
	case CYC_COLUMN_SAME:
	case CYC_COLUMN_DIFFERENT: break;
	}
	if (c->row_a < 0 && !all) return;
	printf("  %-36s %9lld  ", c->label, (long long)c->n_different);
	if (c->n_numbers > 0) printf("%12.5g %12.5g", c->max_difference, c->rms_difference);
	else printf("%12s %12s", "-", "-");
	if (c->text_a) printf("  row %lld: %.60s / %.60s", (long long)c->row_a + 1, c->text_a, c->text_b);
	putchar('\n');
}

static void print_block(const cyc_block_comparison *b, const compare_args *a)
{
	if (!b->in_a || !b->in_b) {
		printf("block '%s': only in the %s file\n", b->name, b->in_a ? "first" : "second");
		return;
	}
	printf("block '%s': %lld and %lld rows, %lld matched by %s%s%s\n", b->name, (long long)b->n_rows_a,
	       (long long)b->n_rows_b, (long long)b->n_matched, b->key ? b->key : "order",
	       b->is_reordered ? ", in another order" : "", b->is_same ? ": the same" : "");
	bool has_header = false;
	for (int32_t j = 0; j < b->n_columns; j++) {
		bool has_figures =
			(b->columns[j].row_a >= 0 || a->all_columns) && b->columns[j].state <= CYC_COLUMN_DIFFERENT;
		if (has_figures && !has_header)
			printf("  %-36s %9s  %12s %12s\n", "column", "different", "largest", "RMS");
		has_header = has_header || has_figures;
		print_column(&b->columns[j], a->all_columns, a->star.common_only);
	}
}

static cyc_status read_star(cyc_star **out, cyc_run *run, const char *label, const char *name)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	CYC_TRY(cyc_run_input(run, label, name));
	CYC_TRY(cyc_path_join(&path, run->common->root, name));
	CYC_TRY(cyc_star_read(out, path));
done:
	cyc_free(path);
	return st;
}

static cyc_status compare_stars(cyc_run *run, const compare_args *a)
{
	cyc_status st = CYC_OK;
	cyc_star *x = NULL, *y = NULL;
	cyc_star_comparison *c = NULL;
	cyc_star_compare_options options = a->star;
	options.tolerance = a->tolerance;
	options.relative = a->relative;
	CYC_TRY(read_star(&x, run, "first file", a->first));
	CYC_TRY(read_star(&y, run, "second file", a->second));
	CYC_TRY(cyc_star_compare(&c, x, y, &options));
	for (int32_t i = 0; i < c->n_blocks; i++) print_block(&c->blocks[i], a);
	CYC_CHECK(c->is_same, CYC_E_DIFFERENT, "'%s' and '%s' differ", a->first, a->second);
	printf("the same%s\n",
	       a->tolerance > 0.0 || a->relative > 0.0 || a->star.columns ? " within the tolerances" : "");
done:
	cyc_star_comparison_destroy(&c);
	cyc_star_destroy(&x);
	cyc_star_destroy(&y);
	return st;
}

/* ---------------------------------------------------------------- command */

static bool is_star(const char *name)
{
	size_t n = strlen(name);
	return n >= 5 && strcmp(name + n - 5, ".star") == 0;
}

cyc_status cyc_cmd_compare(int argc, char **argv);
cyc_status cyc_cmd_compare(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	compare_args a = { 0 };
	cyc_run run = { 0 };
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	CYC_CHECK(is_star(a.first) == is_star(a.second), CYC_E_USAGE,
	          "'%s' and '%s' are not files of the same kind", a.first, a.second);
	CYC_TRY(is_star(a.first) ? compare_stars(&run, &a) : compare_maps(&run, &a));
done:
	return cyc_run_end(&run, st);
}
