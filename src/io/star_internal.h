/* Shared by the star_*.c files only. */
#ifndef CYC_IO_STAR_INTERNAL_H
#define CYC_IO_STAR_INTERNAL_H

#include "cyclotomo/star.h"

typedef struct cyc__chunk cyc__chunk;

struct cyc_star_block {
	cyc_star *star; /* parent: owner of every text below */
	const char *name;
	cyc_star_kind kind;
	int32_t n_columns, stride; /* stride: columns there is room for */
	int64_t n_rows, row_capacity;
	const char **labels;
	const char **values; /* row_capacity x stride texts */
	int64_t *lines;      /* row_capacity line numbers, 0 for rows made by the program */
	bool is_repeated;    /* a later block has the same name */
};

struct cyc_star {
	char *name;
	char *text;    /* the file; values point into it */
	char *comment; /* lines written above the first block, or NULL */
	cyc__chunk *chunks;
	size_t chunk_used, chunk_size;
	cyc_star_block **blocks;
	int32_t n_blocks, block_capacity;
	int32_t *hash; /* open addressing by block name: index + 1, 0 = free; the first of equal names */
	int32_t hash_size;
};

/* Memory that lives as long as the document: blocks, labels, values. Zeroed, 16-byte aligned. */
CYC_MUST_CHECK cyc_status cyc__star_memory(void *out, cyc_star *s, size_t n, size_t size);
CYC_MUST_CHECK cyc_status cyc__star_keep_text(const char **out, cyc_star *s, const char *text, size_t n);
/* As cyc_star_add_block() without the check for an existing name; `name` is not copied. */
CYC_MUST_CHECK cyc_status cyc__star_append_block(cyc_star_block **out, cyc_star *s, const char *name,
                                                 cyc_star_kind kind);
/* Room for n_columns and n_rows; keeps the content. */
CYC_MUST_CHECK cyc_status cyc__star_reserve(cyc_star_block *b, int32_t n_columns, int64_t n_rows);

/* Numbers that do not depend on the locale. */
bool cyc__parse_double(double *out, const char *text);
bool cyc__parse_int(int64_t *out, const char *text);
/* RELION's text form without its padding; `out` has room for CYC__NUMBER_TEXT. */
enum { CYC__NUMBER_TEXT = 40 };
void cyc__format_double(char *out, double v);
void cyc__format_significant(char *out, double v, int n_digits);

/* A value must be put into quotes to be read back as it is. */
bool cyc__star_needs_quotes(const char *text);

static inline bool cyc__is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

#endif
