/* docs/errors.md lists each status with its exit code and text, and no other. */
#include "cyclotomo/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_table_is_complete(void **state)
{
	(void)state;
	char *text = NULL;
	size_t n;
	int n_rows = 0;
	assert_int_equal(cyc_read_file(&text, &n, "../docs/errors.md"), CYC_OK);
	for (int i = 0; i < CYC_N_STATUS; i++) {
		char row[160];
		cyc_status st = (cyc_status)i;
		snprintf(row, sizeof row, "\n| `%s` | %d | %s |\n", cyc_status_name(st), cyc_status_exit_code(st),
		         cyc_status_text(st));
		if (!strstr(text, row)) fail_msg("docs/errors.md has no row '%s'", row);
	}
	for (const char *p = text; (p = strstr(p, "\n| `CYC_")); p++) n_rows++;
	assert_int_equal(n_rows, CYC_N_STATUS);
	cyc_free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_table_is_complete) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
