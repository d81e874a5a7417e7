#include "command.h"

#include "cyclotomo/git_state.h"
#include "cyclotomo/version.h"

#include <cairo.h>
#include <fftw3.h>
#include <gnu/libc-version.h>

cyc_status cyc_cmd_version(int argc, char **argv);

typedef struct {
	cyc_common_options common;
} version_args;

static const cyc_option OPTIONS[] = {
	CYC_COMMON_OPTIONS(version_args, common),
};
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("version", "Print the version; with --verbose also how it was built", NULL, OPTIONS);

cyc_status cyc_cmd_version(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	version_args a = { 0 };
	cyc_run run = { 0 };
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	printf("cyclotomo %s (git %s)\n", CYCLOTOMO_VERSION, CYCLOTOMO_GIT_STATE);
	if (a.common.is_verbose) {
		printf("compiler: %s, %s\n", CYCLOTOMO_COMPILER, CYCLOTOMO_BUILD_TYPE);
		printf("libraries: %s, cairo %s, glibc %s\n", fftwf_version, cairo_version_string(),
		       gnu_get_libc_version());
		printf("processors: %d\n", cyc_n_processors());
	}
	run.has_begun = false; /* nothing to time */
done:
	return cyc_run_end(&run, st);
}
