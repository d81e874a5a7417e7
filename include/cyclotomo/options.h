/**
 * @file options.h
 * Options as tables: one row has everything about an option. A job has a struct of options and, beside
 * it, the table of its rows; defaults, command lines, help, job.star, run.json, hashes, the options of the
 * cycle and the documents are made from it (docs/dev/options.md).
 */
#ifndef CYCLOTOMO_OPTIONS_H
#define CYCLOTOMO_OPTIONS_H

#include "cyclotomo/base.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
	CYC_OPT_HEADING, /**< not an option: `name` is a heading in --help */
	CYC_OPT_ARG,     /**< const char *: a bare word of the command line, required; `name` as in "MAP1" */
	CYC_OPT_FLAG,    /**< bool set to true */
	CYC_OPT_CLEAR,   /**< bool set to false, for switches of things that are on ("skip-scale") */
	CYC_OPT_INT,     /**< int32_t */
	CYC_OPT_INT64,   /**< int64_t or uint64_t below 2^63 (seeds) */
	CYC_OPT_DOUBLE,  /**< double */
	CYC_OPT_ANGLE,   /**< double in radians, given and shown in degrees */
	CYC_OPT_TEXT,    /**< const char *, borrowed (from argv, which lives as long as the process) */
	CYC_OPT_FILE,    /**< const char *, borrowed: a file whose content results depend on (an MTF) */
	CYC_OPT_CHOICE,  /**< enum of int size: index into `choices`; upper and lower case are the same */
	CYC_OPT_TABLE    /**< the rows of `table`, of a struct that is a member of this one */
} cyc_option_type;

/** What an option is for. */
typedef enum {
	CYC_FOR_RESULT, /**< results depend on it */
	CYC_FOR_END,    /**< results depend on it, but not what an unfinished run keeps: it may be changed then */
	CYC_FOR_FILES,  /**< the files that the job reads and writes, whose content counts, not their names */
	CYC_FOR_RUN     /**< how it runs: results are the same */
} cyc_option_purpose;

typedef struct cyc_option_table cyc_option_table;

typedef struct {
	cyc_option_type type;
	cyc_option_purpose purpose;
	const char *name;  /**< long name with hyphens, without "--". TABLE: what stands before the names of its
	                      rows, "ctfrefine" for --ctfrefine.kmin; NULL: nothing */
	size_t offset;     /**< of the member in the struct */
	size_t is_set;     /**< offset of a bool that becomes true when the option is given; 0: none */
	const char *alias; /**< other spellings, comma separated, with their dashes ("--b,--box_size"). TABLE:
	                      plain names of rows whose own name is not unique, "kmin=kmin,range=polish-range" */
	/** RELION's spellings, with their dashes, which are accepted too; NULL: RELION has no such option, or one
	 * that needs more than another name (src/cli/relion_*.c). */
	const char *relion;
	const char *relion_default; /**< as text; passed on under RELION's names if the own default is another */
	/** What stands for the value, with its unit: "<px>", "<Å>", "<file>"; NULL for flags. A number of Å may
	   be given as 300, 300A or 30nm, one of px as 64 or 64px, one of degrees as 30 or 30deg. */
	const char *unit;
	/** Default, as it would be given; NULL: 0, no text, the first choice; FLAG and CLEAR: not given. TABLE:
	 * defaults of its rows that are others here, "healpix-order=5,offset-range=3". */
	const char *value;
	const char *range;      /**< numbers: what is allowed, "[8," "(0," "[0,1)"; NULL: what the unit allows */
	const char *choices;    /**< CHOICE: comma list of words */
	const char *no_default; /**< shown for the default instead of the value that stands for it: "all", "no
	                           limit"; or NULL */
	const char *help;       /**< a sentence; the default is added */
	const cyc_option_table *table; /**< TABLE */
	const char *hides;             /**< TABLE: comma list of rows that are not options of this struct */
} cyc_option;

struct cyc_option_table {
	const char *name; /**< of the job: "ctfrefine" */
	const cyc_option *rows;
	int n;
};
#define CYC_OPTION_TABLE(name, rows)                                                                         \
	{                                                                                                        \
		(name), (rows), (int)(sizeof(rows) / sizeof *(rows))                                                 \
	}

/**
 * A row for a member of the struct T, which must be of the type's kind; more of the row follows:
 *   CYC_OPTION(cyc_ctfrefine_options, DOUBLE, "kmin", k_min_A, .unit = "<Å>", .value = "30", .help = "...")
 */
#define CYC_OPTION(T, type_, name_, member_, ...)                                                            \
	{                                                                                                        \
		.type = CYC_OPT_##type_, .name = name_,                                                              \
		.offset = offsetof(T, member_) + 0 * sizeof(char[CYC_OPTION_FITS(T, type_, member_) ? 1 : -1]),      \
		__VA_ARGS__                                                                                          \
	}
#define CYC_OPTION_FITS(T, type_, member_)                                                                   \
	(_Generic(((T *)0)->member_, bool : 1 << CYC_OPT_FLAG | 1 << CYC_OPT_CLEAR, int32_t : 1 << CYC_OPT_INT,  \
	          int64_t : 1 << CYC_OPT_INT64, uint64_t : 1 << CYC_OPT_INT64,                                   \
	          double : 1 << CYC_OPT_DOUBLE | 1 << CYC_OPT_ANGLE,                                             \
	          const char * : 1 << CYC_OPT_TEXT | 1 << CYC_OPT_FILE | 1 << CYC_OPT_ARG,                       \
	          default : 1 << CYC_OPT_CHOICE) >>                                                              \
	     CYC_OPT_##type_ &                                                                                   \
	 1)
#define CYC_HEADING(text)                                                                                    \
	{                                                                                                        \
		.type = CYC_OPT_HEADING, .name = (text)                                                              \
	}
/** The rows of a table, which is given next, of the struct that is the member; more of the row may follow. */
#define CYC_NESTED(T, member_, ...)                                                                          \
	{                                                                                                        \
		.type = CYC_OPT_TABLE, .offset = offsetof(T, member_), .table = __VA_ARGS__                          \
	}
/** Rows that are the same in all jobs: members `backend`, `no_figures` and `dry_run` of T. */
#define CYC_BACKEND_OPTION(T)                                                                                \
	CYC_OPTION(T, TEXT, "backend", backend, .unit = "<name>", .value = "cpu", .purpose = CYC_FOR_RUN,        \
	           .help = "Compute backend: cpu; cuda:<number>,<number>, NVIDIA GPUs (untested), with a"        \
	                   " process for each (short: --gpu <number>,<number>); cuda, the first;"                \
	                   " auto, a GPU if one can be used; strict and emulate are for testing.")
#define CYC_NO_FIGURES_OPTION(T)                                                                             \
	CYC_OPTION(T, FLAG, "no-figures", no_figures, .purpose = CYC_FOR_RUN, .help = "Write no plots.")
#define CYC_DRY_RUN_OPTION(T)                                                                                \
	CYC_OPTION(T, FLAG, "dry-run", dry_run, .purpose = CYC_FOR_RUN,                                          \
	           .help = "Check everything, print the plan, and stop.")

/* ---------------------------------------------------------------- a struct and its table */

/** Set every member that the table has to its default, those of nested tables first. */
void cyc_options_set_defaults(void *target, const cyc_option_table *table);
/**
 * Whether all numbers are in the ranges of their rows.
 * @return CYC_E_USAGE naming the option, what is expected and what was found
 */
CYC_MUST_CHECK cyc_status cyc_options_check(const void *target, const cyc_option_table *table);
/** Purposes whose options make another result, and others that make what an unfinished run keeps another. */
enum {
	CYC_OPTIONS_UNFINISHED = 1 << CYC_FOR_RESULT,
	CYC_OPTIONS_RESULT = 1 << CYC_FOR_RESULT | 1 << CYC_FOR_END,
	CYC_OPTIONS_ALL = CYC_OPTIONS_RESULT | 1 << CYC_FOR_FILES
};
/**
 * Continue a hash with all options of these purposes that differ from their defaults, by name and value: a
 * later version with more options gives the same.
 */
CYC_MUST_CHECK cyc_status cyc_options_hash(uint64_t *h, const void *target, const cyc_option_table *table,
                                           unsigned purposes);

/* ---------------------------------------------------------------- all rows in one list */

/** Rows of a table and of those in it, with offsets in the outermost struct. Zeroed: empty. */
typedef struct {
	int n;
	cyc_option *rows;
	int n_texts;
	char **texts; /**< owner of what rows do not borrow */
} cyc_option_list;
/**
 * Make the list. Rows of a nested table with a name N get names "N.kmin", and as aliases, where they are
 * unique, the plain name and the other spellings. Of those not in the list: rows whose member an outer table
 * has, rows that it hides, and its files (CYC_FOR_FILES), which the outer struct has itself.
 */
CYC_MUST_CHECK cyc_status cyc_option_list_make(cyc_option_list *out, const cyc_option_table *table);
void cyc_option_list_deinit(cyc_option_list *list);
/** Does the word (of n_word bytes, with dashes, without "=value") name this option? */
bool cyc_option_is_named(const cyc_option *o, const char *word, size_t n_word);
/** All spellings, each once, the name first: "--box,--b". Free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_option_spellings(char **out, const cyc_option *o);
/** Index of the row that the word names, -1 if none does. */
int cyc_option_find(const cyc_option *rows, int n, const char *word, size_t n_word);

/* ---------------------------------------------------------------- values */

/** FLAG and CLEAR take no value; HEADING and TABLE are no options. */
bool cyc_option_is_flag(const cyc_option *o);
/**
 * Set a member from text, as given by a user.
 * @param[in] given  the option as it was spelled, for messages
 * @return CYC_E_USAGE: not of the option's type, or out of its range
 */
CYC_MUST_CHECK cyc_status cyc_option_set(void *target, const cyc_option *o, const char *given,
                                         const char *text);
/** Value as text, in the option's own unit, with as many digits as give the same number; "" for a text or
 * number that is not set; "yes" or "no" for flags. Free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_option_value(char **out, const void *target, const cyc_option *o);
/** The same of the default. */
CYC_MUST_CHECK cyc_status cyc_option_default_value(char **out, const cyc_option *o);
bool cyc_option_is_default(const void *target, const cyc_option *o);

#ifdef __cplusplus
}
#endif
#endif
