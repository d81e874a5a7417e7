/**
 * @file options.h
 * Command lines from tables of options: parsing, --help with its live defaults, man pages, run.json.
 */
#ifndef CYC_CLI_OPTIONS_H
#define CYC_CLI_OPTIONS_H

#include "cyclotomo/json.h"
#include "cyclotomo/options.h"

/** What a command's --help says around its table. */
typedef struct {
	const char *name;    /**< "reconstruct" */
	const char *summary; /**< a sentence */
	const char *details; /**< a paragraph, an example; NULL: none */
} cyc_usage;

typedef enum {
	CYC_HELP_NONE,
	CYC_HELP_PAGE,
	CYC_HELP_MAN,
	CYC_HELP_MARKDOWN,
	CYC_HELP_BASH, /**< the command's part of a script for completion (completion.h) */
	CYC_HELP_ZSH
} cyc_help;
/**
 * Parse argv[1..] into `target`, which holds the defaults. Forms: --name value and --name=value; flags alone.
 * @param[out] help  set if --help, -h or one of --help-man, -markdown, -bash and -zsh was there; then nothing
 * else was looked at.
 * @return CYC_E_USAGE naming the option and the text: unknown (with the nearest known one as hint), given
 * twice, without value, a value that is not of its type. `target` is then partly filled.
 */
CYC_MUST_CHECK cyc_status cyc_options_parse(void *target, cyc_help *help, const cyc_option *rows, int n,
                                            int argc, char **argv, const char *command);
/** Help page with the values `target` holds as defaults. */
void cyc_options_print_help(FILE *f, const void *target, const cyc_option *rows, int n,
                            const cyc_usage *usage);
/** The same as a man page (section 1, roff). */
void cyc_options_print_man(FILE *f, const void *target, const cyc_option *rows, int n,
                           const cyc_usage *usage);
/** The same as a table of docs/options.md. */
void cyc_options_print_markdown(FILE *f, const void *target, const cyc_option *rows, int n,
                                const cyc_usage *usage);
/** All options and their values as a JSON object `key`. */
void cyc_options_json(cyc_json *j, const char *key, const void *target, const cyc_option *rows, int n);
/** The name of `candidates` nearest to a mistyped word, NULL if none is near. */
const char *cyc_nearest(const char *word, const char *const *candidates, int n);
/** The same of a comma list, which is split for it: what is returned is a part of it. */
CYC_MUST_CHECK cyc_status cyc_nearest_in(const char **out, const char *word, char *list);

#endif
