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
	  .help = "Folder of a cycle: what --o of 'cyclotomo cycle' was." },
	CYC_COMMON_OPTIONS(status_args, common),
};
static const cyc_command COMMAND = CYC_COMMAND_DEF(
	"status", "what a cycle is doing, from another terminal",
	"The step at work with its rate, the time left of it and of the run, and what was reached so far. Times "
	"are those of steps that are done;\nuntil a kind of step has been done once they are a guess. Reads "
	"only.\n\n  cyclotomo status Cycle/",
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
