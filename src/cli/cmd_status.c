#include "command.h"

#include "cyclotomo/cycle.h"

typedef struct {
	cyc_common_options common;
	const char *run;
} status_args;

static const cyc_option OPTIONS[] = {
	{ .name = "RUN",
	  .type = CYC_OPT_ARG,
	  .offset = offsetof(status_args, run),
	  .help = "Folder of a cycle: the --o of 'cyclotomo cycle'." },
	CYC_COMMON_OPTIONS(status_args, common),
};
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("status", "Show the progress of a running cycle",
                    "Shows the current step and its speed, the time left for it and for the run, and the "
                    "results so far. Times are estimated\n"
                    "from finished steps and are guesses until a step of each kind has run. Only reads; can "
                    "be used from another terminal.\n"
                    "\n"
                    "  cyclotomo status Cycle/",
                    OPTIONS);

cyc_status cyc_cmd_status(int argc, char **argv);
cyc_status cyc_cmd_status(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	status_args a = { 0 };
	cyc_run run = { 0 };
	char *text = NULL;
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	CYC_TRY(cyc_cycle_status(&text, NULL, a.common.root, a.run));
	fputs(text, stdout);
	run.has_begun = false; /* a look is nothing to time */
done:
	cyc_free(text);
	return cyc_run_end(&run, st);
}
