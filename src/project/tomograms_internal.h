/* Shared by tomograms_write.c and outputs.c only. */
#ifndef CYC_PROJECT_TOMOGRAMS_INTERNAL_H
#define CYC_PROJECT_TOMOGRAMS_INTERNAL_H

/* The part of a path behind its last "jobNNN/" component, or the whole path if it has none; borrowed from
 * `path`. */
const char *cyc__behind_job(const char *path);

#endif
