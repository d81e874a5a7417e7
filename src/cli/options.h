/**
 * @file options.h
 * Command lines as typed tables: one table per command is the single source of parsing, --help with live defaults,
 * the effective options in run.json and the documentation.
 */
#ifndef CYC_CLI_OPTIONS_H
#define CYC_CLI_OPTIONS_H

#include "cyclotomo/base.h"

typedef enum {
	CYC_OPT_FLAG,   /**< bool set to true; "--no-x" forms do not exist */
	CYC_OPT_CLEAR,  /**< bool set to false (for RELION's --no_... switches of things that are on) */
	CYC_OPT_INT,    /**< int32_t */
	CYC_OPT_INT64,  /**< int64_t (seeds) */
	CYC_OPT_DOUBLE, /**< double */
	CYC_OPT_ANGLE,  /**< double in radians, given and shown in degrees */
	CYC_OPT_TEXT,   /**< const char * (points into argv; lives as long as the process) */
	CYC_OPT_CHOICE  /**< int-sized enum: index into `choices`, a comma list */
} cyc_option_type;

typedef struct {
	const char *name;    /**< long name with hyphens, without "--" */
	const char *alias;   /**< RELION's spelling(s), comma separated, with dashes ("--i,--ios"), or NULL */
	cyc_option_type type;
	size_t offset;       /**< of the member in the command's struct */
	const char *unit;    /**< metavariable with unit: "<px>", "<Å>", "<file>"; NULL for flags. <Å> accepts 300, 300A, 30nm */
	const char *help;    /**< one sentence; the default is appended from the live struct */
	const char *choices; /**< CYC_OPT_CHOICE only */
	size_t is_set;       /**< offset of a bool set when the option is given; 0: none */
} cyc_option;

/**
 * Parse argv[1..] into `target` (already holding the defaults) by a table. Forms: --name value, --name=value.
 * Unknown option: CYC_E_USAGE with a did-you-mean hint. A value out of its type: CYC_E_USAGE naming option and text.
 * `--help` prints usage to stdout and sets *help.
 */
cyc_status cyc_options_parse(void *target, const cyc_option *table, int n, int argc, char **argv, bool *help,
                             const char *command, const char *summary);
/** Effective options as a JSON object (for run.json). Free with cyc_free(). */
cyc_status cyc_options_json(char **out, const void *target, const cyc_option *table, int n);
/** Effective options as job.star pairs; strings live in `storage` (free with cyc_free()). */
cyc_status cyc_options_show(const void *target, const cyc_option *table, int n);

/** What every command shares; put first in the table of a command with CYC_COMMON_OPTIONS(struct, member). */
typedef struct {
	int32_t n_threads;
	bool quiet, verbose;
	const char *root;
	const char *pipeline_control; /**< RELION's: folder for exit flags and abort requests */
} cyc_common_options;

/** A command: parse, call the library, report. Returns the library's status. */
typedef cyc_status (*cyc_command_fn)(int argc, char **argv);

#endif
