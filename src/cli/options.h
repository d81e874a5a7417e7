/**
 * @file options.h
 * Command lines as typed tables: one table per command is the single source of parsing, of --help with its
 * live defaults, and of the effective options in run.json and job.star.
 */
#ifndef CYC_CLI_OPTIONS_H
#define CYC_CLI_OPTIONS_H

#include "cyclotomo/json.h"

typedef enum {
	CYC_OPT_HEADING, /**< not an option: `name` is a heading in --help */
	CYC_OPT_ARG,     /**< const char *: a bare word of the command line, required; `name` as in "MAP1" */
	CYC_OPT_FLAG,    /**< bool set to true */
	CYC_OPT_CLEAR,   /**< bool set to false (for RELION's --no_... switches of things that are on) */
	CYC_OPT_INT,     /**< int32_t */
	CYC_OPT_INT64,   /**< int64_t or uint64_t below 2^63 (seeds) */
	CYC_OPT_DOUBLE,  /**< double */
	CYC_OPT_ANGLE,   /**< double in radians, given and shown in degrees */
	CYC_OPT_TEXT,    /**< const char * (points into argv, which lives as long as the process) */
	CYC_OPT_CHOICE   /**< enum of int size: index into `choices` */
} cyc_option_type;

typedef struct {
	const char *name;  /**< long name with hyphens, without "--" */
	const char *alias; /**< other spellings, comma separated, with their dashes ("--i,--ios"), or NULL */
	cyc_option_type type;
	size_t offset; /**< of the member in the command's struct: offsetof */
	/** What stands for the value, with its unit: "<px>", "<Å>", "<file>"; NULL for flags. A number of Å may
	   be given as 300, 300A or 30nm, one of px as 64 or 64px, one of degrees as 30 or 30deg. */
	const char *unit;
	const char *help;       /**< a sentence; the default is added from the live struct */
	const char *choices;    /**< CYC_OPT_CHOICE: comma list of words; else NULL */
	size_t is_set;          /**< offset of a bool that becomes true when the option is given; 0: none */
	const char *no_default; /**< shown for the default instead of the value that stands for it: "all", "no
	                           limit"; or NULL */
	const char *min;        /**< numbers: smallest value allowed, as text ("0", "1"); NULL: no limit */
} cyc_option;

/** What a command's --help says around its table. */
typedef struct {
	const char *name;    /**< "reconstruct" */
	const char *summary; /**< a sentence */
	const char *details; /**< a paragraph, an example; NULL: none */
} cyc_usage;

typedef enum { CYC_HELP_NONE, CYC_HELP_PAGE, CYC_HELP_MAN } cyc_help;
/**
 * Parse argv[1..] into `target`, which holds the defaults. Forms: --name value and --name=value; flags alone.
 * @param[out] help  set if --help, -h or --help-man was there; then nothing else was looked at.
 * @return CYC_E_USAGE naming the option and the text: unknown (with the nearest known one as hint), given
 * twice, without value, a value that is not of its type. `target` is then partly filled.
 */
CYC_MUST_CHECK cyc_status cyc_options_parse(void *target, cyc_help *help, const cyc_option *table, int n,
                                            int argc, char **argv, const char *command);
/** Help page with the values `target` holds as defaults. */
void cyc_options_print_help(FILE *f, const void *target, const cyc_option *table, int n,
                            const cyc_usage *usage);
/** The same as a man page (section 1, roff). */
void cyc_options_print_man(FILE *f, const void *target, const cyc_option *table, int n,
                           const cyc_usage *usage);
/** Value of one option as text, in the option's own unit; "" for a text that is not set. Free with
 * cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_option_value(char **out, const void *target, const cyc_option *option);
/** All options and their values as a JSON object `key`. */
void cyc_options_json(cyc_json *j, const char *key, const void *target, const cyc_option *table, int n);
/** The name of `candidates` nearest to a mistyped word, NULL if none is near. */
const char *cyc_nearest(const char *word, const char *const *candidates, int n);

#endif
