/** @file learned.h  Parameters that CTF refinement learns from a few series and uses for all, as a record. */
#ifndef CYC_CTFREFINE_LEARNED_H
#define CYC_CTFREFINE_LEARNED_H

#include "ctfrefine/aberration.h"

/** Where it is kept while the job runs. Borrowed. */
typedef struct {
	cyc_ctf_model *model; /**< its alpha */
	cyc_ctf_widths *widths;
	double *gauge;
	cyc_aberrations *aberrations; /**< NULL: not refined */
} cyc_ctf_learned;

/** As text that is exact to the bit: a resumed run, and all parts, must use the same. */
CYC_MUST_CHECK cyc_status cyc_ctf_learned_write(const char *path, const cyc_ctf_learned *l, uint64_t key);
/** The text of a record that can be used, else NULL; cyc_free(). Changes nothing else. */
CYC_MUST_CHECK cyc_status cyc_ctf_learned_open(char **text, const char *path, uint64_t key);
/** Restore the parameters from such a text. *found: false, and nothing is changed, if it belongs to another
 * model. */
void cyc_ctf_learned_read(bool *found, const cyc_ctf_learned *to, const char *text);

#endif
