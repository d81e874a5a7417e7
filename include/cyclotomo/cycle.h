/**
 * @file cycle.h
 * The refinement cycle: the jobs in their order, each fed by the one before, in job folders of one run
 * folder.
 *
 *   start:       Reconstruct/job001, PostProcess/job002 (and the metadata compared with the images)
 *   each cycle:  Polish/job003,      Reconstruct/job004, PostProcess/job005
 *                CtfRefine/job006,   Reconstruct/job007, PostProcess/job008   (particles judged first)
 *                Refine3D/job009,    Reconstruct/job010, PostProcess/job011
 *
 * With in_project the folders are those of the project, with the numbers that its pipeline gives.
 *
 * Refinements that are skipped (skip_polish, skip_refine, or both skip_defocus and skip_scale) have no
 * folders, and numbers close up.
 *
 * A turn is a refinement with the reconstruction and post-processing that judge it, by the mean over all
 * shells of the FSC of the half maps, corrected for the mask, and how much that differs from the state before
 * (T3.17). A difference of two standard errors or more is "better" or "worse", a smaller one "no difference".
 * Worse turns are rejected: the run continues from the state before them.
 *
 * A run that was killed resumes where it stopped: the record of a finished step is cyclotomo_step.star in its
 * folder, written last; that of the run is cyclotomo_cycle.star in the run folder (docs/dev/records.md).
 */
#ifndef CYCLOTOMO_CYCLE_H
#define CYCLOTOMO_CYCLE_H

#include "cyclotomo/check.h"
#include "cyclotomo/ctfrefine.h"
#include "cyclotomo/map.h"
#include "cyclotomo/polish.h"
#include "cyclotomo/reconstruct.h"
#include "cyclotomo/refine3d.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Particles that are in both half-sets: leave one of each out of the run's own copy; refuse to start; keep
 * them, with a warning. */
typedef enum { CYC_DUPLICATES_REMOVE, CYC_DUPLICATES_REFUSE, CYC_DUPLICATES_KEEP } cyc_duplicates_mode;

/**
 * Options of the run itself, which are the same for all jobs, and those of each job. Of a job's options the
 * cycle sets its files and the members with a namesake here (box, crop, symmetry, whole_windows, threads,
 * backend, figures), and resume; see the table (src/run/cycle_options.c).
 */
typedef struct {
	cyc_project_input input;
	const char *mask_align; /**< applied to the half maps before they are references; NULL: mask_fsc, else the
	                           set's mask */
	const char *mask_fsc;   /**< for the FSC; NULL: mask_align, else the set's mask, else none */
	const char *out_dir;    /**< run folder, relative to the root */
	/** The jobs are jobs of the project: in its own job folders, numbered by its default_pipeline.star, and
	 * listed there. The run folder has the page and the records. */
	bool in_project;
	double pipeline_wait_s;  /**< how long to wait for a pipeline that another program has locked */
	double run_wait_s;       /**< how long to wait while another run has the run folder */
	int32_t box_px, crop_px; /**< as in cyc_reconstruct_options; the box is that of all jobs */
	const char *symmetry;
	bool whole_windows; /**< leave out windows that are partly outside their image */
	bool skip_crop; /**< insert windows as they are, instead of cropping images to crop_px after the CTF */
	int32_t n_cycles;
	bool skip_polish; /**< leave tilt geometry, particle positions and motion, which come before the CTFs in
	                     each cycle */
	bool skip_check;  /**< do not compare the metadata with the images after the first maps */
	bool skip_refine; /**< leave the particles' orientations, which come last in each cycle */
	cyc_duplicates_mode duplicates; /**< what to do if particles are in both half-sets */
	bool accept_worse;              /**< accept turns that are worse too */
	bool no_figures;
	int32_t
		n_parts; /**< > 0: stop before each step that can be dealt, until so many parts of it have finished */
	int32_t n_threads;
	const char *backend;
	cyc_reconstruct_options reconstruct;
	cyc_postprocess_options postprocess;
	cyc_ctfrefine_options ctfrefine; /**< neither defocus nor scale nor others: CTFs are not refined */
	cyc_polish_options polish;       /**< motion is refined unless do_motion is set to false */
	cyc_check_options check;         /**< of the metadata, after the first maps */
	cyc_refine3d_options refine;     /**< local searches: healpix_order 5 (1.9 degrees, halved) by default */
} cyc_cycle_options;
extern const cyc_option_table cyc_cycle_table;
void cyc_cycle_options_default(cyc_cycle_options *o);

/** The library calls behind the steps; tests put others in their place. */
typedef struct {
	cyc_status (*reconstruct)(cyc_reconstruct_result *result, const cyc_reconstruct_options *options);
	cyc_status (*postprocess)(cyc_postprocess_result *result, const cyc_postprocess_options *options);
	cyc_status (*ctfrefine)(cyc_ctfrefine_result *result, const cyc_ctfrefine_options *options);
	cyc_status (*polish)(cyc_polish_result *result, const cyc_polish_options *options);
	cyc_status (*refine3d)(cyc_refine3d_result *result, const cyc_refine3d_options *options);
	cyc_status (*check)(cyc_check_result *result,
	                    const cyc_check_options *options); /**< NULL: the metadata is not checked */
	/** A first look at the particles before CTF refinement; NULL: none. */
	cyc_status (*judge)(cyc_refine3d_result *result, const cyc_refine3d_options *options);
} cyc_cycle_ops;

typedef struct {
	double resolution_before_A, resolution_after_A;
	double mean_fsc_before, mean_fsc_after;
	int32_t n_steps, n_steps_kept;  /**< all of the run; those that an earlier run had finished */
	int32_t n_turns, n_turns_taken; /**< accepted: better, no difference, or worse and accepted as asked */
	int32_t n_better, n_same;       /**< of these the better ones, and those that made no difference */
	char *verdict;                  /**< sentences for the user */
	char *final_map, *final_set, *summary; /**< relative to the root */
	char *waiting; /**< folder of the step before whose parts the run has stopped, and nothing else is set;
	                  NULL: it has ended */
} cyc_cycle_result;
void cyc_cycle_result_deinit(cyc_cycle_result *r);

/**
 * Run the cycle, or continue it.
 * @param[in] ops  NULL: the library's own steps.
 * @return CYC_E_USAGE if the run folder was started with other options, CYC_E_DATA if inputs or finished
 * steps have changed since (both name what changed), CYC_E_IO if another process uses the folder; the
 * statuses of the steps.
 */
CYC_MUST_CHECK cyc_status cyc_cycle_run(cyc_cycle_result *result, const cyc_cycle_options *options,
                                        const cyc_cycle_ops *ops);
/** Refuse to overwrite inputs: cyc_outputs_spare_inputs() for a run. Part of it. */
CYC_MUST_CHECK cyc_status cyc_cycle_spare_inputs(const cyc_cycle_options *o);

/**
 * What cyc_cycle_run() would do: steps and folders, particles per series and half-set, sizes, memory and disk
 * need, and whether all jobs' own checks pass; and what prevents the run: missing images, negative contrast
 * scales, findings of the check of the project. Writes nothing.
 * @param[out] text     lines for the user; cyc_free.
 * @param[out] outcome  the status of the run's own checks: CYC_OK if it can start, else the
 * status whose record the error of this thread then is
 */
CYC_MUST_CHECK cyc_status cyc_cycle_plan(char **text, cyc_status *outcome, const cyc_cycle_options *options);

/** A job of a scheduler's: one process, or many that each compute a part of a step. */
typedef struct {
	char name[40]; /**< "start", "polish_1", "after_polish_1" ... */
	bool is_dealt;
	double memory_bytes; /**< what it needs at most */
} cyc_cycle_job;
/**
 * The jobs of a whole run, each of which waits for the one before it. Writes nothing.
 * @param[out] jobs      cyc_free()
 * @param[out] n_series  tilt series with particles: more parts than these find nothing to do
 */
CYC_MUST_CHECK cyc_status cyc_cycle_jobs(cyc_cycle_job **jobs, int32_t *n, int32_t *n_series,
                                         const cyc_cycle_options *options);
/** Who computes a part of the step that a run waits for. Paths relative to the root. */
typedef struct {
	const char *root, *run, *part; /**< part: "k/n" */
	int32_t n_threads;
} cyc_part_call;
/**
 * The command line, without the program's name, that computes it.
 * @param[out] words  cyc_cycle_words_free(); NULL: no step waits
 * @return CYC_E_USAGE if the step waits for another number of parts
 */
CYC_MUST_CHECK cyc_status cyc_cycle_part_command(char ***words, int *n_words, const cyc_part_call *call);
void cyc_cycle_words_free(char **words);
/** Folder of the step that a run waits for (cyc_free()), and how many parts it is to have; NULL: none. */
CYC_MUST_CHECK cyc_status cyc_cycle_waiting(char **step_dir, int32_t *n_parts, const char *root,
                                            const char *run);

/**
 * What a run in a folder is doing, or how it ended, from another process: the current step with its rate and
 * the time left, and what was reached so far. Reads what the run keeps up to date there, and changes nothing.
 * @param[out] text        lines for the user; cyc_free()
 * @param[out] is_running  a process is running there now; may be NULL
 * @param[in]  run         folder of the run, relative to the root
 * @return CYC_E_IO if there is no run there
 */
CYC_MUST_CHECK cyc_status cyc_cycle_status(char **text, bool *is_running, const char *root, const char *run);

#ifdef __cplusplus
}
#endif
#endif
