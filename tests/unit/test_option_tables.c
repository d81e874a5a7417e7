/* Every row of every job's table: it fits its member, has a default in its range, and is wherever an option
 * has to be. */
#include "cycle/records.h"
#include "cli/command.h"
#include "cyclotomo/extract.h"
#include "cyclotomo/import.h"
#include "cyclotomo/joint.h"
#include "cyclotomo/simulate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef union {
	cyc_reconstruct_options reconstruct;
	cyc_postprocess_options postprocess;
	cyc_ctfrefine_options ctfrefine;
	cyc_polish_options polish;
	cyc_refine3d_options refine;
	cyc_extract_options extract;
	cyc_refine_tilts_options tilts;
	cyc_mask_options mask;
	cyc_check_options check;
	cyc_simulate_options simulate;
	cyc_import_options import;
	cyc_cycle_options cycle;
} any_options;

static const cyc_option_table *const TABLES[] = {
	&cyc_reconstruct_table, &cyc_postprocess_table,  &cyc_ctfrefine_table, &cyc_polish_table,
	&cyc_refine3d_table,    &cyc_extract_table,      &cyc_mask_table,      &cyc_check_table,
	&cyc_simulate_table,    &cyc_refine_tilts_table, &cyc_cycle_table,     &cyc_import_table,
};
enum { N_TABLES = sizeof TABLES / sizeof *TABLES };

static bool is_option(const cyc_option *o) { return o->type != CYC_OPT_HEADING && o->type != CYC_OPT_TABLE; }

/* A value that is allowed and not the default. */
static const char *other_value(const cyc_option *o)
{
	static const char *const NUMBERS[] = { "11", "10", "5", "1", "0.5", "0.25", "0" };
	any_options a = { 0 };
	if (o->type == CYC_OPT_TEXT || o->type == CYC_OPT_FILE || o->type == CYC_OPT_ARG) return "other";
	if (cyc_option_is_flag(o)) return "";
	if (o->type == CYC_OPT_CHOICE) {
		const char *last = strrchr(o->choices, ',');
		assert_non_null(last);
		return last + 1;
	}
	for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++) {
		if (cyc_option_set(&a, o, o->name, NUMBERS[i]) == CYC_OK && !cyc_option_is_default(&a, o))
			return NUMBERS[i];
	}
	fail_msg("no other value for --%s", o->name);
	return NULL;
}

static void rows_are_complete(void **state)
{
	(void)state;
	for (int t = 0; t < N_TABLES; t++) {
		any_options a = { 0 };
		cyc_option_list list;
		assert_int_equal(cyc_option_list_make(&list, TABLES[t]), CYC_OK);
		cyc_options_set_defaults(&a, TABLES[t]);
		if (cyc_options_check(&a, TABLES[t]) != CYC_OK)
			fail_msg("%s: %s", TABLES[t]->name, cyc_error_get()->message);
		for (int i = 0; i < list.n; i++) {
			const cyc_option *o = &list.rows[i];
			char *value = NULL, *shown = NULL;
			if (!is_option(o)) continue;
			if (!o->help || !o->help[0]) fail_msg("%s --%s has no help", TABLES[t]->name, o->name);
			if (o->type == CYC_OPT_CHOICE && !o->choices)
				fail_msg("%s --%s: no choices", TABLES[t]->name, o->name);
			if (!cyc_option_is_default(&a, o))
				fail_msg("%s --%s is not at its default", TABLES[t]->name, o->name);
			assert_int_equal(cyc_option_value(&value, &a, o), CYC_OK);
			assert_int_equal(cyc_option_default_value(&shown, o), CYC_OK);
			assert_string_equal(value, shown);
			/* A default that is not in the range stands for something else, which is said. */
			if (o->range && value[0] && !o->no_default &&
			    cyc_option_set(&(any_options){ 0 }, o, o->name, value) != CYC_OK)
				fail_msg("%s: default of %s", TABLES[t]->name, cyc_error_get()->message);
			char *spellings = NULL, *next = NULL;
			assert_int_equal(cyc_option_spellings(&spellings, o), CYC_OK);
			for (char *word = strtok_r(spellings, ",", &next); word; word = strtok_r(NULL, ",", &next)) {
				int k = cyc_option_find(list.rows, list.n, word, strlen(word));
				if (k != i)
					fail_msg("%s %s is --%s and --%s", TABLES[t]->name, word, o->name, list.rows[k].name);
			}
			cyc_free(spellings);
			cyc_free(value);
			cyc_free(shown);
		}
		cyc_option_list_deinit(&list);
	}
}

/* A change of any option that results depend on is another hash; of others it is not. */
static void rows_are_hashed(void **state)
{
	(void)state;
	for (int t = 0; t < N_TABLES; t++) {
		cyc_option_list list;
		assert_int_equal(cyc_option_list_make(&list, TABLES[t]), CYC_OK);
		for (int i = 0; i < list.n; i++) {
			const cyc_option *o = &list.rows[i];
			any_options a = { 0 };
			uint64_t before = CYC_HASH_INIT, after = CYC_HASH_INIT,
					 unfinished[2] = { CYC_HASH_INIT, CYC_HASH_INIT };
			if (!is_option(o)) continue;
			cyc_options_set_defaults(&a, TABLES[t]);
			assert_int_equal(cyc_options_hash(&before, &a, TABLES[t], CYC_OPTIONS_RESULT), CYC_OK);
			assert_int_equal(cyc_options_hash(&unfinished[0], &a, TABLES[t], CYC_OPTIONS_UNFINISHED), CYC_OK);
			assert_int_equal(cyc_option_set(&a, o, o->name, other_value(o)), CYC_OK);
			assert_int_equal(cyc_options_hash(&after, &a, TABLES[t], CYC_OPTIONS_RESULT), CYC_OK);
			assert_int_equal(cyc_options_hash(&unfinished[1], &a, TABLES[t], CYC_OPTIONS_UNFINISHED), CYC_OK);
			bool counts = o->purpose == CYC_FOR_RESULT || o->purpose == CYC_FOR_END;
			if ((before != after) != counts) fail_msg("%s --%s in the hash", TABLES[t]->name, o->name);
			if ((unfinished[0] != unfinished[1]) != (o->purpose == CYC_FOR_RESULT))
				fail_msg("%s --%s in the hash of an unfinished run", TABLES[t]->name, o->name);
		}
		cyc_option_list_deinit(&list);
	}
}

static bool is_in_list(const char *list, const char *name)
{
	size_t n = strlen(name);
	for (const char *at = list; at && *at; at += strcspn(at, ",") + (at[strcspn(at, ",")] == ',')) {
		if (strcspn(at, ",") == n && strncmp(at, name, n) == 0) return true;
	}
	return false;
}

static void set_in_cycle(cyc_cycle_options *o, const cyc_option_list *list, const char *option,
                         const char *value)
{
	char word[80];
	snprintf(word, sizeof word, "--%s", option);
	char *argv[3] = { (char *)"cycle", word, (char *)value };
	cyc_help help;
	cyc_cycle_options_default(o);
	if (cyc_options_parse(o, &help, list->rows, list->n, value[0] ? 3 : 2, argv, "cycle") != CYC_OK)
		fail_msg("cycle %s %s: %s", word, value, cyc_error_get()->message);
}

/* All options of all jobs, but the few that the cycle has for all or decides: set by the cycle they arrive,
 * and are in its record. */
static void cycle_has_all_rows(void **state)
{
	(void)state;
	/* What may be hidden at all: a row more here is a decision. */
	static const char MAY_HIDE[] =
		"box,crop,bin,symmetry,whole-windows,from-stacks,resume,part,no-figures,backend,dry-run,"
		"crop-images,no-maps,pixel-size,only-judge,deep,fix,max-images";
	cyc_option_list list;
	cyc_cycle_options o;
	int n_jobs = 0, n_rows = 0;
	assert_int_equal(cyc_option_list_make(&list, &cyc_cycle_table), CYC_OK);
	for (int t = 0; t < cyc_cycle_table.n; t++) {
		const cyc_option *job = &cyc_cycle_table.rows[t];
		if (job->type != CYC_OPT_TABLE || !job->name) continue;
		n_jobs++;
		for (int i = 0; i < job->table->n; i++) {
			const cyc_option *row = &job->table->rows[i];
			char name[80];
			if (!is_option(row) || row->purpose == CYC_FOR_FILES) continue;
			if (is_in_list(job->hides, row->name)) {
				if (!is_in_list(MAY_HIDE, row->name)) fail_msg("--%s.%s is hidden", job->name, row->name);
				continue;
			}
			snprintf(name, sizeof name, "%s.%s", job->name, row->name);
			if (strcmp(name, "polish.motion") == 0) continue; /* on, and --skip-motion turns it off */
			/* With the defaults of the cycle. */
			char word[84];
			snprintf(word, sizeof word, "--%s", name);
			int k = cyc_option_find(list.rows, list.n, word, strlen(word));
			if (k < 0) fail_msg("cycle has no %s", word);
			set_in_cycle(&o, &list, name, other_value(&list.rows[k]));
			const char *member = (const char *)&o + job->offset;
			if (cyc_option_is_default(&o, &list.rows[k])) fail_msg("%s does not arrive", word);
			char *of_job = NULL, *of_cycle = NULL;
			assert_int_equal(cyc_option_value(&of_job, member, row), CYC_OK);
			assert_int_equal(cyc_option_value(&of_cycle, &o, &list.rows[k]), CYC_OK);
			assert_string_equal(of_job, of_cycle);
			cyc__cycle c = { .o = &o, .list = list };
			assert_int_equal(cyc__record_options(&c.options, &c), CYC_OK);
			const char *recorded = cyc__pairs_get(&c.options, list.rows[k].name);
			if (row->purpose == CYC_FOR_RUN) assert_null(recorded);
			else if (!recorded || strcmp(recorded, of_cycle) != 0) fail_msg("%s is not in the record", word);
			if (recorded) assert_int_not_equal(cyc__dependents(list.rows[k].name, &c), 0);
			cyc__pairs_deinit(&c.options);
			cyc_free(of_job);
			cyc_free(of_cycle);
			n_rows++;
		}
	}
	print_message("%d options of %d jobs\n", n_rows, n_jobs);
	assert_true(n_jobs >= 6 && n_rows > 100);
	cyc_option_list_deinit(&list);
}

/* Plain names where they are unique, and the names that the cycle has for those that are not. */
static void plain_names(void **state)
{
	(void)state;
	cyc_option_list list;
	cyc_cycle_options o;
	assert_int_equal(cyc_option_list_make(&list, &cyc_cycle_table), CYC_OK);
	set_in_cycle(&o, &list, "sigma-defocus", "700");
	assert_true(o.ctfrefine.sigma_defocus_A >= 700);
	set_in_cycle(&o, &list, "kmin", "25");
	assert_true(o.ctfrefine.k_min_A <= 25 && !(o.polish.k_min_A > 0));
	set_in_cycle(&o, &list, "polish.kmin", "25");
	assert_true(o.ctfrefine.k_min_A > 25 && o.polish.k_min_A >= 25);
	set_in_cycle(&o, &list, "polish-range", "4");
	assert_true(o.polish.range_px <= 4);
	set_in_cycle(&o, &list, "s_vel", "0.3");
	assert_true(o.polish.motion_sigma_A_per_dose >= 0.3);
	set_in_cycle(&o, &list, "skip-motion", "");
	assert_false(o.polish.do_motion);
	cyc_cycle_options_default(&o);
	assert_true(o.polish.do_motion);
	assert_int_equal(o.refine.healpix_order, 5);
	assert_int_equal(cyc_option_find(list.rows, list.n, "--resolution", 12), -1);
	assert_int_equal(cyc_option_find(list.rows, list.n, "--ref1", 6), -1);
	cyc_option_list_deinit(&list);
}

/* Where the struct lies in another one is of no importance, and no member has two rows. */
static void tables_in_structs(void **state)
{
	(void)state;
	typedef struct {
		double before[5];
		cyc_cycle_options o;
	} args;
	static const cyc_option ROWS[] = { CYC_NESTED(args, o, &cyc_cycle_table) };
	static const cyc_option_table TABLE = CYC_OPTION_TABLE("test", ROWS);
	cyc_option_list here, there;
	assert_int_equal(cyc_option_list_make(&here, &cyc_cycle_table), CYC_OK);
	assert_int_equal(cyc_option_list_make(&there, &TABLE), CYC_OK);
	assert_int_equal(here.n, there.n);
	for (int i = 0; i < here.n; i++) {
		assert_string_equal(here.rows[i].name, there.rows[i].name);
		if (!is_option(&here.rows[i])) continue;
		assert_int_equal(here.rows[i].offset + offsetof(args, o), there.rows[i].offset);
		for (int k = 0; k < i; k++) {
			if (is_option(&here.rows[k]) && here.rows[k].offset == here.rows[i].offset)
				fail_msg("--%s and --%s are one", here.rows[k].name, here.rows[i].name);
		}
	}
	cyc_option_list_deinit(&here);
	cyc_option_list_deinit(&there);
}

static void ranges(void **state)
{
	(void)state;
	cyc_ctfrefine_options o;
	cyc_ctfrefine_options_default(&o);
	o.cutoff_frac = 1;
	assert_int_equal(cyc_options_check(&o, &cyc_ctfrefine_table), CYC_E_USAGE);
	assert_string_equal(cyc_error_get()->message, "--dose-cutoff must be at least 0 and below 1, got 1");
	o.cutoff_frac = CYC_NAN;
	assert_int_equal(cyc_options_check(&o, &cyc_ctfrefine_table), CYC_E_USAGE);
}

static void out_of_memory(void **state)
{
	(void)state;
	for (int64_t i = 1;; i++) {
		cyc_option_list list;
		uint64_t h = 0;
		any_options a = { 0 };
		cyc_options_set_defaults(&a, &cyc_cycle_table);
		a.cycle.box_px = 64;
		cyc_alloc_fail_at(i);
		cyc_status st = cyc_option_list_make(&list, &cyc_cycle_table);
		if (st == CYC_OK) st = cyc_options_hash(&h, &a, &cyc_cycle_table, CYC_OPTIONS_ALL);
		cyc_alloc_fail_at(0);
		cyc_option_list_deinit(&list);
		if (st == CYC_OK) break;
		assert_int_equal(st, CYC_E_NOMEM);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_complete),  cmocka_unit_test(rows_are_hashed),
		cmocka_unit_test(cycle_has_all_rows), cmocka_unit_test(plain_names),
		cmocka_unit_test(tables_in_structs),  cmocka_unit_test(ranges),
		cmocka_unit_test(out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
