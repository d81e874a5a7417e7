/**
 * @file outputs.h
 * Where a run may write: never over its inputs.
 *
 * One table (src/project/outputs.c) lists the files that each job may write, as patterns below its output.
 * Before a job writes anything, existing files of these names are compared with all that the job reads:
 * the files it is given, the STAR files these name, the tilt tables and images that those name. Files are the
 * same if device and inode are, so other spellings of a path, links of both kinds and folders that are links
 * make no difference.
 */
#ifndef CYCLOTOMO_OUTPUTS_H
#define CYCLOTOMO_OUTPUTS_H

#include "cyclotomo/project.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What writes. Most write into a folder; post-processing starts its names with a root name, mask and star
 * write one file. */
typedef enum {
	CYC_OUTPUT_RECONSTRUCT,
	CYC_OUTPUT_POSTPROCESS,
	CYC_OUTPUT_MASK,
	CYC_OUTPUT_CTFREFINE,
	CYC_OUTPUT_CTFREFINE_TILTS, /**< CTF refinement that leaves optics groups, and so particles, as they are
	                             */
	CYC_OUTPUT_POLISH,
	CYC_OUTPUT_REFINE_TILTS,
	CYC_OUTPUT_EXTRACT,
	CYC_OUTPUT_REFINE,
	CYC_OUTPUT_JUDGE, /**< refinement that only judges particles */
	CYC_OUTPUT_SEPARATE,
	CYC_OUTPUT_CYCLE,
	CYC_OUTPUT_CHECK,
	CYC_OUTPUT_SIMULATE,
	CYC_OUTPUT_STAR,
	CYC_OUTPUT_IMPORT,
	CYC_N_OUTPUTS
} cyc_output_kind;

/** Of the output's files: what the job itself writes, or also job.star, note.txt, run.json and exit flags
 * around it. */
typedef enum { CYC_OUTPUT_RESULTS, CYC_OUTPUT_ALL } cyc_output_extent;

/** The files of a run. Borrowed strings, relative to the root. */
typedef struct {
	cyc_output_kind kind;
	const char *out;                /**< --o; NULL or "": nothing is written, nothing is refused */
	const char *root;               /**< NULL or "": current folder */
	const cyc_project_input *input; /**< NULL: none */
	bool reads_stacks;              /**< the images that the particles name are read, too */
	const char *const *files;       /**< other files that are read; NULL entries are skipped */
	int32_t n_files;
} cyc_output_plan;

/**
 * Refuse a run that would overwrite one of its inputs, or whose folder is the project root. Nothing is
 * written. Inputs that are not there or cannot be read are passed over: the job itself reports them.
 * @return CYC_E_USAGE with the output, the input and what to do. Thread-safe.
 */
CYC_MUST_CHECK cyc_status cyc_outputs_spare_inputs(const cyc_output_plan *plan, cyc_output_extent extent);

/**
 * An existing file that a run of this kind would write: its path in *found (cyc_free), else
 * NULL. For what must not be overwritten at all.
 */
CYC_MUST_CHECK cyc_status cyc_outputs_find(char **found, cyc_output_kind kind, const char *root,
                                           const char *out);

/** May a run of this kind write `name`, the path after its folder (after its root name for
 * post-processing)? */
bool cyc_outputs_may_write(cyc_output_kind kind, const char *name);
/** Is `name`, after the folder, one of the files around a job (job.star, exit flags ...)? */
bool cyc_outputs_is_record(const char *name);

/**
 * Keep a list of the files written into a job folder (full path), in a hidden file there, until
 * cyc_outputs_forget(). Files that the same command wrote there in an earlier run, unchanged since, are
 * removed when the first result of this one is complete, so that no results of other options remain;
 * not on a resumed run, which builds on them. One folder at a time for the whole process.
 */
CYC_MUST_CHECK cyc_status cyc_outputs_keep_list(const char *dir, cyc_output_kind kind, bool is_resumed);
/** Note a file that another process has written for this run (full path). */
void cyc_outputs_note(const char *path);
/** The same for results that share a prefix and not a folder: without a list, so that nothing of earlier runs
 * is removed. */
void cyc_outputs_watch(cyc_output_kind kind);
/** What has been written is complete, and a later run resumes from it: an iteration, a block. A failure
 * after this leaves it. */
void cyc_outputs_settle(void);
/** Of a run that failed: remove what it wrote into the folder of the list, or since it is watched, after the
 * last cyc_outputs_settle(). Not for jobs that resume from single files (extract, cycle). */
void cyc_outputs_discard(void);
/** Results written since the list or the watch began. */
int64_t cyc_outputs_n_written(void);
/** End of the list. *n_old: files of an earlier run that are still there, as no result of this run replaced
 * them. May be NULL. */
void cyc_outputs_forget(int64_t *n_old);

#ifdef __cplusplus
}
#endif
#endif
