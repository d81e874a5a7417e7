#include "relion.h"

#include "backends/backend.h"
#include "cyclotomo/ctfrefine.h"
#include "cyclotomo/extract.h"
#include "cyclotomo/polish.h"
#include "cyclotomo/ranks.h"
#include "cyclotomo/reconstruct.h"
#include "cyclotomo/refine3d.h"
#include "cyclotomo/version.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define CYC_COMMAND(name, function, group, summary) cyc_status function(int argc, char **argv);
#include "commands.def"
#undef CYC_COMMAND

static const struct {
	const char *name, *group, *summary;
	cyc_command_fn run;
} COMMANDS[] = {
#define CYC_COMMAND(name, function, group, summary) { #name, group, summary, function },
#include "commands.def"
#undef CYC_COMMAND
};
enum { N_COMMANDS = sizeof COMMANDS / sizeof *COMMANDS };

enum { MOST_DEVICES = 64 };

static void print_help(FILE *f)
{
	fprintf(f,
	        "cyclotomo %s: subtomogram refinement for cryo-electron tomography, on RELION-5 projects\n"
	        "\n"
	        "usage: cyclotomo <command> [options]\n",
	        CYCLOTOMO_VERSION);
	const char *group = "";
	for (int i = 0; i < N_COMMANDS; i++) {
		if (strcmp(group, COMMANDS[i].group) != 0) fprintf(f, "\n%s\n", COMMANDS[i].group);
		group = COMMANDS[i].group;
		fprintf(f, "  %-12s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
	}
	fputs("\n'cyclotomo <command> --help' shows the options of a command with their defaults and units.\n",
	      f);
}

/* The page that those of the commands belong to. */
static void print_man(FILE *f)
{
	fprintf(f,
	        ".TH CYCLOTOMO 1 \"\" \"cyclotomo %s\"\n"
	        ".SH NAME\ncyclotomo \\- subtomogram refinement for cryo\\-electron tomography\n"
	        ".SH SYNOPSIS\n.B cyclotomo\n.I command\n[options]\n"
	        ".SH DESCRIPTION\nRefines RELION\\-5 projects of tilt series: "
	        "reconstructs the particle directly from the tilt images and refines\n"
	        "tilt geometry, positions, motion, CTFs and orientations; each step is judged by the map "
	        "that it leads to.\n"
	        "Each command has a page of its own,\n.BR cyclotomo\\- command (1),\nand\n"
	        ".BR \"cyclotomo command \\-\\-help\" .\n",
	        CYCLOTOMO_VERSION);
	const char *group = "";
	for (int i = 0; i < N_COMMANDS; i++) {
		if (strcmp(group, COMMANDS[i].group) != 0) fprintf(f, ".SH %s\n", COMMANDS[i].group);
		group = COMMANDS[i].group;
		fprintf(f, ".TP\n.B %s\n%s\n", COMMANDS[i].name, COMMANDS[i].summary);
	}
	fputs(".SH EXIT STATUS\n0 success, 1 run time, 2 usage, 3 input data, 130 interrupted.\n"
	      ".SH EXAMPLE\n.nf\ncyclotomo simulate \\-\\-preset tiny \\-\\-o tiny\n"
	      "cyclotomo check \\-\\-root tiny \\-\\-i optimisation_set.star\n.fi\n",
	      f);
}

static int find_command(const char *name)
{
	for (int i = 0; i < N_COMMANDS; i++) {
		if (strcmp(name, COMMANDS[i].name) == 0) return i;
	}
	return -1;
}

static int unknown_command(const char *name)
{
	const char *names[N_COMMANDS];
	for (int i = 0; i < N_COMMANDS; i++) names[i] = COMMANDS[i].name;
	const char *nearest = cyc_nearest(name, names, N_COMMANDS);
	fprintf(stderr, "cyclotomo: error: unknown command '%s'\n", name);
	if (nearest) fprintf(stderr, "  hint: did you mean '%s'?\n", nearest);
	else fputs("  hint: 'cyclotomo --help' lists the commands\n", stderr);
	return cyc_status_exit_code(CYC_E_USAGE);
}

static void on_signal(int number)
{
	cyc_cancel_request(number == SIGINT   ? "interrupted"
	                   : number == SIGHUP ? "interrupted: the terminal or the connection was closed (SIGHUP)"
	                                      : "interrupted (SIGTERM)");
}

static void catch_signals(void)
{
	/* SA_RESETHAND: the second Ctrl-C ends the process at once. */
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };
	sigemptyset(&action.sa_mask);
	static const int NUMBERS[] = { SIGINT, SIGTERM, SIGHUP };
	for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++) {
		struct sigaction old;
		/* Ignored on purpose, by nohup or a shell that put the program into the background. */
		bool is_ignored = sigaction(NUMBERS[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN;
		if (!is_ignored) sigaction(NUMBERS[i], &action, NULL);
	}
	/* A write beyond `ulimit -f` fails then, with an error that names the file. */
	signal(SIGXFSZ, SIG_IGN);
}

/* `program` is what was called: "cyclotomo mask", or a name of RELION's. */
static void print_error(const char *program, cyc_status st)
{
	const cyc_error *e = cyc_error_get();
	cyc_console_clear();
	fflush(stdout);
	fprintf(stderr, "%s: error: %s\n", program,
	        e->status == st && e->message[0] ? e->message : cyc_status_text(st));
	if (e->status != st) return;
	if (e->hint[0]) fprintf(stderr, "  hint: %s\n", e->hint);
	for (int i = 0; cyc_console_is_verbose() && i < e->n_frames; i++) {
		fprintf(stderr, "  at %s:%d %s\n", e->frames[i].file, e->frames[i].line, e->frames[i].function);
	}
}

static int finish(const char *program, cyc_status st)
{
	if (st != CYC_OK) print_error(program, st);
	/* Results that could not be written to stdout (full disk behind a redirection) are a failure too. */
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "%s: error: cannot write to standard output\n", program);
		if (st == CYC_OK) st = CYC_E_IO;
	}
	return cyc_status_exit_code(st);
}

/* Under a name of RELION's, whose options it has then. */
static int run_as_relion(const cyc_relion_program *p, bool is_mpi, int argc, char **argv)
{
	if (argc < 2) {
		cyc_relion_print_help(stderr, p);
		return cyc_status_exit_code(CYC_E_USAGE);
	}
	cyc_console_begin(p->command);
	catch_signals();
	return finish(p->name, cyc_relion_main(p, is_mpi, argc, argv));
}

static int run_command(int argc, char **argv)
{
	bool is_mpi = false;
	char program[64];
	int i = find_command(argv[0]);
	const cyc_relion_program *relion = i < 0 ? cyc_relion_find(&is_mpi, argv[0]) : NULL;
	if (relion) return run_as_relion(relion, is_mpi, argc, argv);
	if (i < 0) return unknown_command(argv[0]);
	snprintf(program, sizeof program, "cyclotomo %s", COMMANDS[i].name);
	cyc_console_begin(COMMANDS[i].name);
	catch_signals();
	return finish(program, COMMANDS[i].run(argc, argv));
}

/* A closed standard stream would be the next file that is opened, and messages would go into it. */
static void open_closed_streams(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) == -1 && errno == EBADF && open("/dev/null", O_RDWR) != fd) return;
}

static int run_program(int argc, char **argv)
{
	bool is_mpi = false;
	const cyc_relion_program *relion = argc > 0 ? cyc_relion_find(&is_mpi, argv[0]) : NULL;
	if (relion) return run_as_relion(relion, is_mpi, argc, argv);
	if (argc < 2) {
		print_help(stderr);
		fputs("\ncyclotomo: error: no command given\n", stderr);
		return cyc_status_exit_code(CYC_E_USAGE);
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("cyclotomo %s\n", CYCLOTOMO_VERSION);
		return 0;
	}
	if (strcmp(argv[1], "--help-man") == 0) {
		print_man(stdout);
		return 0;
	}
	bool is_help =
		strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
	if (is_help && argc < 3) {
		cyc_help_ends_with_pipe();
		print_help(stdout);
		return 0;
	}
	if (is_help) {
		static char help[] = "--help";
		char *help_argv[] = { argv[2], help, NULL };
		return run_command(2, help_argv);
	}
	return run_command(argc - 1, argv + 1);
}

/* Jobs that ranks share. */
static const cyc_rank_job *const RANK_JOBS[] = { &cyc_reconstruct_rank_job, &cyc_refine3d_rank_job,
	                                             &cyc_ctfrefine_rank_job, &cyc_polish_rank_job,
	                                             &cyc_extract_rank_job };

/* --gpu 0,2 is short for --backend cuda:0,2, but under RELION's names, which have a --gpu of their own. */
static void spell_out_gpus(int argc, char **argv)
{
	static char option[] = "--backend", value[256], both[256];
	bool is_mpi;
	if (argc < 3 || cyc_relion_find(&is_mpi, argv[0]) || cyc_relion_find(&is_mpi, argv[1])) return;
	for (int i = 2; i < argc; i++) {
		if (strncmp(argv[i], "--gpu=", 6) == 0) {
			snprintf(both, sizeof both, "--backend=cuda:%s", argv[i] + 6);
			argv[i] = both;
			return;
		}
		if (strcmp(argv[i], "--gpu") != 0 || i + 1 == argc) continue;
		snprintf(value, sizeof value, "cuda:%s", argv[i + 1]);
		argv[i] = option;
		argv[i + 1] = value;
		return;
	}
}

/* A process for each device that the command line lists. They have to be started before anything else is
 * done, and so before the options are read. */
static int n_devices_asked_for(int argc, char **argv)
{
	static const char OPTION[] = "--backend";
	const size_t length = sizeof OPTION - 1;
	int n = 1;
	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], OPTION, length) != 0) continue;
		if (argv[i][length] == '=') n = cyc_backend_n_devices(argv[i] + length + 1);
		else if (argv[i][length] == '\0' && i + 1 < argc) n = cyc_backend_n_devices(argv[i + 1]);
	}
	return n < MOST_DEVICES ? n : MOST_DEVICES;
}

/* The program on rank 0; the others do what its jobs ask of them. */
static int run_on_ranks(int argc, char **argv)
{
	int code = 0;
	cyc_relion_hand_on_early(argc, argv);
	spell_out_gpus(argc, argv);
	cyc_status st = cyc_ranks_join(n_devices_asked_for(argc, argv));
	cyc_backend_set_place(cyc_rank_on_machine());
	if (st != CYC_OK) code = finish("cyclotomo", st);
	else if (cyc_is_first_rank()) code = run_program(argc, argv);
	else {
		catch_signals();
		st = cyc_ranks_serve(RANK_JOBS, sizeof RANK_JOBS / sizeof *RANK_JOBS);
		code = cyc_status_exit_code(st);
	}
	cyc_ranks_leave();
	return code;
}

typedef struct {
	int argc;
	char **argv;
	int result;
} call;

static void *call_program(void *arg)
{
	call *c = arg;
	c->result = run_on_ranks(c->argc, c->argv);
	return NULL;
}

/* With a small `ulimit -s` on a thread that has the stack that libraries need. */
static bool call_on_larger_stack(call *c)
{
	const size_t LEAST = 1 << 20, WANTED = 8 << 20;
	struct rlimit limit;
	pthread_attr_t attributes;
	pthread_t thread;
	if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= LEAST) return false;
	if (pthread_attr_init(&attributes) != 0) return false;
	bool has_started = pthread_attr_setstacksize(&attributes, WANTED) == 0 &&
	                   pthread_create(&thread, &attributes, call_program, c) == 0;
	pthread_attr_destroy(&attributes);
	if (has_started) pthread_join(thread, NULL);
	return has_started;
}

int main(int argc, char **argv)
{
	call c = { argc, argv, 0 };
	cyc_memory_keep_freed();
	open_closed_streams();
	return call_on_larger_stack(&c) ? c.result : run_on_ranks(argc, argv);
}
