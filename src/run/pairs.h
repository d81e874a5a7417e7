/**
 * @file pairs.h
 * Names with texts, and hashes as text: what the records of a run are made of.
 */
#ifndef CYC_RUN_PAIRS_H
#define CYC_RUN_PAIRS_H

#include "cyclotomo/base.h"

typedef struct {
	char *name, *value;
} cyc__pair;
/** Ordered names and texts: options, outputs. Zeroed: empty. */
typedef struct {
	int32_t n;
	cyc__pair *items;
} cyc__pairs;
CYC_MUST_CHECK cyc_status cyc__pairs_add(cyc__pairs *p, const char *name, const char *fmt, ...)
	CYC_PRINTF(3, 4);
/** Borrowed; NULL if there is none. */
const char *cyc__pairs_get(const cyc__pairs *p, const char *name);
void cyc__pairs_deinit(cyc__pairs *p);

/** 16 hexadecimal digits and the terminating zero. */
typedef struct {
	char text[17];
} cyc__hash_text;
cyc__hash_text cyc__hash_format(uint64_t h);

#endif
