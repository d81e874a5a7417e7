/**
 * @file summary.h
 * RUN/summary.json and summary.html: the sentences, and data beyond the steps' own figures: the CTF of every
 * tilt before and after refinement, and pictures.
 */
#ifndef CYC_SUMMARY_SUMMARY_H
#define CYC_SUMMARY_SUMMARY_H

#include "run/run.h"

#include "cyclotomo/json.h"

#include <stdio.h>

/** RUN/summary.json and RUN/summary.html for the steps so far. */
CYC_MUST_CHECK cyc_status cyc__summary_write(const cyc__cycle *c, const char *verdict);
CYC_MUST_CHECK cyc_status cyc__summary_json(char **out, const cyc__cycle *c, const char *verdict);
CYC_MUST_CHECK cyc_status cyc__summary_html(char **out, const cyc__cycle *c, const char *verdict);
/** Sentences on what the run did to the map. */
CYC_MUST_CHECK cyc_status cyc__verdict(char **out, const cyc__cycle *c);
/** Whether post-processing found that the half maps of a state share more than signal, or are equal. */
bool cyc__are_halves_suspect(const cyc__step *s);

/** Tilts of one series; arrays of n, NaN where not known. */
typedef struct {
	const char *name; /**< borrowed */
	int32_t n;
	double *tilt_deg;
	double *defocus_um[2], *scale[2];       /**< before, after */
	double *defocus_error_um, *scale_error; /**< standard errors of the refined values */
	bool has_errors;
} cyc__ctf_series;
typedef struct {
	int32_t n; /**< series with particles; 0 if no CTF was refined */
	cyc__ctf_series *series;
	const cyc__step *step; /**< the refinement that `after` is of; borrowed */
	bool is_taken;
} cyc__ctf_summary;
/** Of the newest accepted CTF refinement, else of the newest. */
CYC_MUST_CHECK cyc_status cyc__ctf_summary_read(cyc__ctf_summary *out, const cyc__cycle *c);
void cyc__ctf_summary_deinit(cyc__ctf_summary *s);
/** The refinement it is of; NULL without any. */
const cyc__step *cyc__shown_ctf_refinement(const cyc__cycle *c, bool *is_taken);

/** Append a sentence to a text, which may be NULL. */
CYC_MUST_CHECK cyc_status cyc__append_sentence(char **text, const char *more);

/* ---------------------------------------------------------------- findings.c: what was warned about, found
 * bad or doubtful */

/** Sentences with the numbers of tilts found bad, of doubtful particles, of warnings; nothing where there are
 * none. */
CYC_MUST_CHECK cyc_status cyc__add_findings_to_verdict(char **text, const cyc__cycle *c);
CYC_MUST_CHECK cyc_status cyc__put_findings_json(cyc_json *j, const cyc__cycle *c);
/** Table of the tilts that were found bad; nothing without any. */
CYC_MUST_CHECK cyc_status cyc__put_bad_tilts(FILE *f, const cyc__cycle *c);
/** True if a step before this one gave the same warning. */
bool cyc__was_warned_before(const cyc__cycle *c, int32_t i_step, const char *text);

/** Text as HTML. */
void cyc__put_escaped(FILE *f, const char *s);

#endif
