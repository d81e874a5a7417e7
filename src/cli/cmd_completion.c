#include "command.h"

cyc_status cyc_cmd_completion(int argc, char **argv);

#define CYC_COMMAND(name, function, group, summary) cyc_status function(int argc, char **argv);
#include "commands.def"
#undef CYC_COMMAND

static const struct {
	const char *name, *summary;
	cyc_command_fn run;
} COMMANDS[] = {
#define CYC_COMMAND(name, function, group, summary) { #name, summary, function },
#include "commands.def"
#undef CYC_COMMAND
};
enum { N_COMMANDS = sizeof COMMANDS / sizeof *COMMANDS };

typedef enum { SHELL_BASH, SHELL_ZSH } shell;
typedef struct {
	cyc_common_options common;
	shell shell;
} completion_args;

static const cyc_option OPTIONS[] = {
	CYC_OPTION(completion_args, CHOICE, "shell", shell, .choices = "bash,zsh",
	           .help = "Shell that the script is for."),
	CYC_COMMON_OPTIONS(completion_args, common),
};
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("completion", "Script by which a shell completes commands and options",
                    "  source <(cyclotomo completion --shell bash)\n"
                    "in ~/.bashrc, or for zsh the output as the file _cyclotomo in a folder of $fpath. "
                    "Packages install both.",
                    OPTIONS);

/* Each command prints its own part, as it prints its own help. */
static cyc_status print_parts(const char *option)
{
	cyc_status st = CYC_OK;
	char *word = NULL, *name = NULL;
	CYC_TRY(cyc_strdup(&word, option));
	for (int i = 0; i < N_COMMANDS; i++) {
		CYC_TRY(cyc_strdup(&name, COMMANDS[i].name));
		char *argv[] = { name, word, NULL };
		CYC_TRY(COMMANDS[i].run(2, argv));
		cyc_free(name);
		name = NULL;
	}
done:
	cyc_free(name);
	cyc_free(word);
	return st;
}

static cyc_status print_bash(void)
{
	cyc_status st = CYC_OK;
	fputs("# Completion of cyclotomo for bash, made by `cyclotomo completion --shell bash`.\n"
	      "_cyclotomo()\n"
	      "{\n"
	      "\tlocal now=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} "
	      "command=${COMP_WORDS[1]}\n"
	      "\tlocal options='' values='' words='' commands='help",
	      stdout);
	for (int i = 0; i < N_COMMANDS; i++) printf(" %s", COMMANDS[i].name);
	fputs("'\n"
	      "\tCOMPREPLY=()\n"
	      "\tif [ \"$COMP_CWORD\" = 1 ] || { [ \"$COMP_CWORD\" = 2 ] && [ \"$command\" = help ]; }; then\n"
	      "\t\tmapfile -t COMPREPLY < <(compgen -W \"$commands --help --version\" -- \"$now\")\n"
	      "\t\treturn\n"
	      "\tfi\n"
	      "\tcase $command in\n",
	      stdout);
	CYC_TRY(print_parts("--help-bash"));
	fputs("\tesac\n"
	      "\tcase $values in\n"
	      "\twords) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$now\") ;;\n"
	      "\tfolder) mapfile -t COMPREPLY < <(compgen -d -- \"$now\") ;;\n"
	      "\tfile) mapfile -t COMPREPLY < <(compgen -f -- \"$now\") ;;\n"
	      "\tother) ;;\n"
	      "\t*)\n"
	      "\t\tif [[ $now == -* ]]; then mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$now\")\n"
	      "\t\telse mapfile -t COMPREPLY < <(compgen -f -- \"$now\"); fi ;;\n"
	      "\tesac\n"
	      "\tif [[ $values == f* || ( -z $values && $now != -* ) ]]; then compopt -o filenames 2>/dev/null; "
	      "fi\n"
	      "\treturn 0\n"
	      "}\n"
	      "complete -F _cyclotomo cyclotomo\n",
	      stdout);
done:
	return st;
}

static cyc_status print_zsh(void)
{
	cyc_status st = CYC_OK;
	fputs("#compdef cyclotomo\n"
	      "# Completion of cyclotomo for zsh, made by `cyclotomo completion --shell zsh`.\n"
	      "_cyclotomo()\n"
	      "{\n"
	      "\tlocal -a commands specs\n"
	      "\tcommands=(\n"
	      "\t\t'help:Show the options of a command'\n",
	      stdout);
	for (int i = 0; i < N_COMMANDS; i++) {
		printf("\t\t'%s:", COMMANDS[i].name);
		for (const char *c = COMMANDS[i].summary; *c; c++) {
			if (*c == '\'') fputs("'\\''", stdout);
			else putchar(*c);
		}
		fputs("'\n", stdout);
	}
	fputs("\t)\n"
	      "\tif (( CURRENT == 2 )) || [[ $CURRENT$words[2] == 3help ]]; then\n"
	      "\t\t_describe -t commands command commands\n"
	      "\t\treturn\n"
	      "\tfi\n"
	      "\tcase $words[2] in\n",
	      stdout);
	CYC_TRY(print_parts("--help-zsh"));
	fputs("\tesac\n"
	      "\tshift words\n"
	      "\t(( CURRENT-- ))\n"
	      "\t_arguments -s -S \"$specs[@]\"\n"
	      "}\n"
	      "_cyclotomo \"$@\"\n",
	      stdout);
done:
	return st;
}

cyc_status cyc_cmd_completion(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	completion_args a = { 0 };
	cyc_run run = { 0 };
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	run.has_begun = false; /* nothing to time */
	CYC_TRY(a.shell == SHELL_BASH ? print_bash() : print_zsh());
done:
	return cyc_run_end(&run, st);
}
