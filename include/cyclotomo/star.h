/**
 * @file star.h
 * STAR files as syntax: blocks of lists and tables of text values, read, edited and written losslessly.
 *
 * Anything this layer does not know is left untouched: unknown blocks, columns and their order survive a
 * read-write cycle. Labels are given without the leading underscore. Meaning (units, frames) lives in
 * project.h. Grammar: docs/formats/star.md.
 */
#ifndef CYCLOTOMO_STAR_H
#define CYCLOTOMO_STAR_H

#include "cyclotomo/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cyc_star cyc_star;             /**< a document: blocks in file order */
typedef struct cyc_star_block cyc_star_block; /**< one block: a list (one row) or a table (loop_) */
typedef enum { CYC_STAR_LIST, CYC_STAR_TABLE } cyc_star_kind;

/** Empty document. Destroy with cyc_star_destroy(). */
CYC_MUST_CHECK cyc_status cyc_star_create(cyc_star **out);
/**
 * Read a STAR file (RELION, the `starfile` Python package, WarpTools: blank or no blank after labels, LF or
 * CRLF, with or without blank line after a table, comments, quotes).
 * @return CYC_E_IO if it cannot be read; CYC_E_FORMAT naming file, line, what was expected and found
 *         (row with too few or too many values, value outside any block, NUL byte, duplicate label in a
 * block).
 */
CYC_MUST_CHECK cyc_status cyc_star_read(cyc_star **out, const char *path);
/** As cyc_star_read() from n bytes of memory (copied); `name` stands for the file in messages. */
CYC_MUST_CHECK cyc_status cyc_star_parse(cyc_star **out, const char *text, size_t n, const char *name);
void cyc_star_destroy(cyc_star **s);
CYC_MUST_CHECK cyc_status cyc_star_copy(cyc_star **out, const cyc_star *s);
/** Write in RELION-5's layout, to a temporary name first, then rename. Empty tables keep their header. */
CYC_MUST_CHECK cyc_status cyc_star_write(const cyc_star *s, const char *path);
/** As cyc_star_write() into a new NUL-terminated text (n excludes the NUL). Free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_star_print(char **out, size_t *n, const cyc_star *s);
/** Lines ("# text") to be written above the first block, e.g. "cyclotomo 0.2.0 reconstruct"; NULL: none.
 * Copied. */
CYC_MUST_CHECK cyc_status cyc_star_set_comment(cyc_star *s, const char *text);
/**
 * Hash of the content of a document, continuing `h`: kinds, names, labels and values of its blocks in their
 * order; not of its layout and comments. Written and read back it is the same.
 * @param[in] without  a block that is left out (to put the hash into); NULL: none
 */
uint64_t cyc_star_hash(uint64_t h, const cyc_star *s, const char *without);
/** Name given at reading, for messages; "" for a new document. */
const char *cyc_star_name(const cyc_star *s);
CYC_MUST_CHECK cyc_status cyc_star_set_name(cyc_star *s, const char *name);

int32_t cyc_star_n_blocks(const cyc_star *s);
/** Borrowed; NULL if out of range. */
cyc_star_block *cyc_star_block_at(const cyc_star *s, int32_t i);
/** Borrowed; NULL if there is none of this name ("" is the nameless block). */
cyc_star_block *cyc_star_find(const cyc_star *s, const char *block);
/** CYC_E_DATA with the lines if a later block has the same name, which would not be read; NULL is unique. */
CYC_MUST_CHECK cyc_status cyc_star_check_unique(const cyc_star_block *b);
/** As cyc_star_find(); CYC_E_FORMAT naming the file and the blocks that exist, CYC_E_DATA if it exists
 * twice. */
CYC_MUST_CHECK cyc_status cyc_star_require(cyc_star_block **out, const cyc_star *s, const char *block);
/** New empty block at the end; a list starts with its one row. Borrowed. Names may repeat only if the file
 * had it so. */
CYC_MUST_CHECK cyc_status cyc_star_add_block(cyc_star_block **out, cyc_star *s, const char *block,
                                             cyc_star_kind kind);
/** Deep copy of a block of another document to the end of this one. */
CYC_MUST_CHECK cyc_status cyc_star_add_copy(cyc_star_block **out, cyc_star *s, const cyc_star_block *b);
void cyc_star_remove_block(cyc_star *s, const char *block);

const char *cyc_star_block_name(const cyc_star_block *b);
cyc_star_kind cyc_star_block_kind(const cyc_star_block *b);
int32_t cyc_star_n_columns(const cyc_star_block *b);
int64_t cyc_star_n_rows(const cyc_star_block *b);
/** Label of column i without underscore; borrowed. */
const char *cyc_star_label(const cyc_star_block *b, int32_t column);
/** Column of a label, or -1. */
int32_t cyc_star_column(const cyc_star_block *b, const char *label);
/** As cyc_star_column(); CYC_E_FORMAT naming file and block. */
CYC_MUST_CHECK cyc_status cyc_star_require_column(int32_t *out, const cyc_star_block *b, const char *label);

/** Text of a value, NUL-terminated, quotes removed; borrowed until the value or its block changes. */
const char *cyc_star_text(const cyc_star_block *b, int64_t row, int32_t column);
/** Numbers; CYC_E_FORMAT naming file, line, label and the text found. Doubles: any C float syntax, NaN and
 * Inf refused. */
CYC_MUST_CHECK cyc_status cyc_star_double(double *out, const cyc_star_block *b, int64_t row, int32_t column);
CYC_MUST_CHECK cyc_status cyc_star_int(int64_t *out, const cyc_star_block *b, int64_t row, int32_t column);
/** "[a,b,c]" into a new array (free with cyc_free()); n = 0 for "[]". */
CYC_MUST_CHECK cyc_status cyc_star_vector(double **out, int32_t *n, const cyc_star_block *b, int64_t row,
                                          int32_t column);
/** By label; `fallback` if the column is not there. */
CYC_MUST_CHECK cyc_status cyc_star_double_or(double *out, const cyc_star_block *b, int64_t row,
                                             const char *label, double fallback);
/** By label; CYC_E_FORMAT if the column is not there. */
CYC_MUST_CHECK cyc_status cyc_star_double_of(double *out, const cyc_star_block *b, int64_t row,
                                             const char *label);
/** Text by label, NULL if the column is not there. */
const char *cyc_star_text_of(const cyc_star_block *b, int64_t row, const char *label);
/** Line of a row in the file it was read from, 0 if it was not; for messages. */
int64_t cyc_star_row_line(const cyc_star_block *b, int64_t row);
/** CYC_E_DATA/FORMAT raised with "file: line N (block, row R): text"; for semantic errors found by callers.
 */
cyc_status cyc_star_raise(cyc_status code, const cyc_star_block *b, int64_t row, const char *fmt, ...)
	CYC_PRINTF(4, 5);

/** Column of a label, added at the end filled with `fill` if it is not there. */
CYC_MUST_CHECK cyc_status cyc_star_ensure_column(int32_t *out, cyc_star_block *b, const char *label,
                                                 const char *fill);
void cyc_star_remove_column(cyc_star_block *b, const char *label);
/** Append a row of empty ("" ) values; its index. */
CYC_MUST_CHECK cyc_status cyc_star_add_row(int64_t *out, cyc_star_block *b);
/** Keep only the rows with keep[row] true, in order. */
void cyc_star_keep_rows(cyc_star_block *b, const bool *keep);
CYC_MUST_CHECK cyc_status cyc_star_set_text(cyc_star_block *b, int64_t row, int32_t column, const char *text);
/** RELION's form: 6 decimals (5 if negative) in 12 characters, scientific outside [0.001, 1e5]; never loses
 * the exponent. */
CYC_MUST_CHECK cyc_status cyc_star_set_double(cyc_star_block *b, int64_t row, int32_t column, double v);
CYC_MUST_CHECK cyc_status cyc_star_set_int(cyc_star_block *b, int64_t row, int32_t column, int64_t v);
CYC_MUST_CHECK cyc_status cyc_star_set_vector(cyc_star_block *b, int64_t row, int32_t column, const double *v,
                                              int32_t n);
/** List blocks: set one label, adding it if needed. */
CYC_MUST_CHECK cyc_status cyc_star_list_set_text(cyc_star_block *b, const char *label, const char *text);
CYC_MUST_CHECK cyc_status cyc_star_list_set_double(cyc_star_block *b, const char *label, double v);
CYC_MUST_CHECK cyc_status cyc_star_list_set_int(cyc_star_block *b, const char *label, int64_t v);

#ifdef __cplusplus
}
#endif
#endif
