/**
 * @file sealed.h
 * Records as STAR files with a checksum over every byte, and pairs as tables in them.
 */
#ifndef CYC_RUN_SEALED_H
#define CYC_RUN_SEALED_H

#include "run/pairs.h"

#include "cyclotomo/star.h"

/** Write a document with a block "end" behind it, which has a hash of the text before. */
CYC_MUST_CHECK cyc_status cyc__write_sealed(const cyc_star *s, const char *path);
/** Read such a file; NULL if there is none, or a byte of it has changed. Only CYC_E_NOMEM is an
 * error. */
CYC_MUST_CHECK cyc_status cyc__read_sealed(cyc_star **out, const char *path);
/** A block of two columns of texts, to and from pairs. */
CYC_MUST_CHECK cyc_status cyc__add_table(cyc_star *star, const char *name, const char *label1,
                                         const char *label2, const cyc__pairs *p);
CYC_MUST_CHECK cyc_status cyc__read_table(cyc__pairs *out, const cyc_star *star, const char *name,
                                          const char *label1, const char *label2);

#endif
