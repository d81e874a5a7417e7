/**
 * @file cycle_internal.h
 * The parts of the cycle: its options (cycle_options.c) and those of its jobs (job_options.c), inputs as
 * found (inputs.c), steps (steps.c), records of what was done (record.c), the pipeline file (pipeline.c), the
 * summary (summary.c, summary_html.c, summary_figures.c), and their order (cycle.c).
 */
#ifndef CYC_CYCLE_INTERNAL_H
#define CYC_CYCLE_INTERNAL_H

#include "cyclotomo/cycle.h"
#include "cyclotomo/record.h"

/* ---------------------------------------------------------------- names and values */

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

/* ---------------------------------------------------------------- inputs */

enum { CYC__MISSING_NAMED = 3 };
typedef struct {
	int64_t n_particles, n_half[2];
	int64_t n_images, n_missing;       /**< of a series without particles neither is counted */
	char *missing[CYC__MISSING_NAMED]; /**< the first few */
} cyc__series_inputs;

/** What the run starts from. */
typedef struct {
	cyc_optimisation_set *set; /**< after overrides */
	cyc_tomogram_set *tomograms;
	cyc_particle_set *particles;
	const char *mask_align, *mask_fsc; /**< borrowed from the options or the set; NULL: none */
	double pixel_size_A;               /**< coarsest of all series with particles; usually they have one */
	int32_t crop_px;                   /**< edge of the maps after cropping */
	int32_t image_nx, image_ny;        /**< largest found, 0 if none was */
	int32_t most_tilts;
	cyc_project_size size; /**< what the memory of steps depends on */
	int64_t n_tilts, n_images, n_missing;
	cyc__series_inputs *series;
	double diameter_A;         /**< of the particle, to tell duplicates from neighbours */
	const char *diameter_from; /**< where it comes from, for the user */
	cyc_duplicates duplicates;
	bool *keep;             /**< particles that are left where one of each pair is left out */
	cyc_finding_list found; /**< of the check of the project, sorted */
} cyc__inputs;
/** Read and check all but the content of images; missing images are counted, negative scales let through. */
CYC_MUST_CHECK cyc_status cyc__inputs_read(cyc__inputs *in, const cyc_cycle_options *o);
void cyc__inputs_deinit(cyc__inputs *in);
/**
 * What a plan can show but a run cannot start with: images that are missing, negative scales, duplicates to
 * be refused, errors of the check of the project, options that a step of the plan would refuse, a folder or a
 * disk that cannot take the results.
 */
CYC_MUST_CHECK cyc_status cyc__inputs_require_all(const cyc__inputs *in, const cyc_cycle_options *o);
/** A line on what is done about duplicates across half-sets, and on those within one; "" without any. */
void cyc__inputs_describe_duplicates(char *text, size_t size, const cyc__inputs *in,
                                     const cyc_cycle_options *o);
/** Particles that the run works with. */
int64_t cyc__inputs_n_particles(const cyc__inputs *in, const cyc_cycle_options *o);
/**
 * "name, hash" of each file that influences the result (names relative to the root), "name (role)" for masks
 * and MTF, images and the particles that are left out as one entry each.
 */
CYC_MUST_CHECK cyc_status cyc__inputs_hashes(cyc__pairs *out, const cyc__inputs *in,
                                             const cyc_cycle_options *o);

/* ---------------------------------------------------------------- steps */

typedef enum {
	CYC__RECONSTRUCT,
	CYC__POSTPROCESS,
	CYC__CTFREFINE,
	CYC__POLISH,
	CYC__REFINE3D,
	CYC__N_KINDS
} cyc__kind;

/* Figures of a step; NaN where they do not apply. */
/* clang-format off */
#define CYC__STEP_FIGURES(X) \
	X(resolution_A) X(mean_fsc) X(bfactor_A2) X(randomise_from_A) X(n_particles) X(n_images) \
	X(n_images_outside) X(n_tilts) X(n_moved) X(n_flagged) X(defocus_change_rms_A) X(scale_change_rms) \
	X(n_series) X(n_improved) X(shift_change_rms_A) X(position_change_rms_A) X(motion_rms_A) \
	X(n_iterations) X(rotation_error_deg) X(offset_error_A) X(difference) X(difference_error) \
	X(edge_fsc) X(edge_fsc_error) X(edge_fsc_outside) X(edge_fsc_outside_error) X(are_halves_suspect) \
	X(used_unmasked) X(n_judged) X(n_improbable) X(n_searched) X(n_found_again)
/* clang-format on */

/** What a turn did by the half maps, and what follows from it. */
typedef enum {
	CYC__TURN_START,
	CYC__TURN_BETTER,
	CYC__TURN_SAME,
	CYC__TURN_WORSE_ACCEPTED,
	CYC__TURN_WORSE
} cyc__decision;
static inline bool cyc__is_rejected(cyc__decision d) { return d == CYC__TURN_WORSE; }
/** Accepted, of a turn that is decided; not of the start. */
static inline bool cyc__is_accepted(cyc__decision d) { return d > CYC__TURN_START && d < CYC__TURN_WORSE; }

typedef struct {
	cyc__kind kind;
	int32_t i_turn;       /**< 0: the start */
	int32_t job;          /**< number of the job folder */
	char *name;           /**< "CtfRefine/job003/", relative to the run folder */
	char *dir;            /**< relative to the root, with final slash */
	char *input_set;      /**< optimisation set it starts from; "" for the run's own inputs */
	char *output_set;     /**< and the one it leaves */
	char *judged;         /**< particles that are judged before their CTFs are refined; NULL: they are not */
	char *compare_to;     /**< optimisation set of the state that a post-processing compares with, or NULL */
	char *out;            /**< output of its job: its folder, or the names in it */
	cyc__pairs outputs;   /**< what it wrote: role, path relative to the root */
	cyc_file_marks files; /**< all files that it wrote */
	uint64_t start_key;   /**< hash of what it starts from: inputs or outputs of steps before */
	uint64_t key;         /**< that and all else that influences its result */
	uint64_t state_key;   /**< hash of what it starts from and of what it left, by content */
#define CYC__DECLARE(name) double name;
	CYC__STEP_FIGURES(CYC__DECLARE)
#undef CYC__DECLARE
	int32_t n_shells;           /**< post-processing only */
	double *fsc, *fsc_unmasked; /**< n_shells each; fsc is corrected for the mask wherever there is one, else
	                               the unmasked one */
	int32_t n_warnings;
	char **warnings;        /**< what it warned about, each text once */
	double seconds;         /**< NaN if not known */
	bool was_kept;          /**< an earlier run had finished it */
	cyc__decision decision; /**< of its turn; last step of a turn only */
} cyc__step;

/** Options of the job of a step. */
typedef union {
	cyc_reconstruct_options reconstruct;
	cyc_postprocess_options postprocess;
	cyc_ctfrefine_options ctfrefine;
	cyc_polish_options polish;
	cyc_refine3d_options refine3d;
} cyc__job_options;

typedef struct cyc__progress cyc__progress;

/** A run: the steps that were done or are being done, in order. */
typedef struct {
	const cyc_cycle_options *o;
	const cyc_cycle_ops *ops;
	cyc__inputs in;
	cyc_project_input start; /**< what the first step gets: the inputs, with the run's own copy of the
	                            particles if some were left out */
	char *own_particles, *own_trajectories;
	char *before_set;    /**< the state before the turn with the turn's particles and weights, whose maps the
	                        post-processing makes to    compare with; NULL: they did not change */
	uint64_t before_key; /**< hash of its files */
	int32_t n_steps;
	cyc__step *steps;
	int32_t i_best;         /**< post-processing step of the state that the run is in; -1 before the first */
	cyc_option_list list;   /**< all options of the run */
	cyc__pairs options;     /**< of cyc__record_options() */
	cyc__pairs inputs;      /**< of cyc__inputs_hashes() */
	uint64_t start_key;     /**< hash of the inputs that all steps depend on */
	uint64_t images_record; /**< times of the images, if their record is to be written */
	bool has_done_step; /**< since the run was started or resumed: later records may be of another state */
	bool metadata_is_clear; /**< the images could tell whether hand and doses are right */
	cyc__step project;  /**< no step: holds the warnings about the project, which go to the first step's */
	const char *status; /**< of the newest step, as the pipeline file says it */
	cyc__progress *progress;            /**< progress.h; NULL: nobody follows */
	struct cyc__page_cache *page_cache; /**< page.h; pictures that the page has had already */
} cyc__cycle;

/** What differs between kinds of steps. New kinds of refinement are rows of this table and of PLAN_TURNS in
 * plan.c. */
typedef struct {
	const char *folder, *type_label, *what;
	const cyc_option_table *table; /**< of the job's options; its name is the command */
	/** Names are filled in already (cyc__step_name()). */
	void (*options)(cyc__job_options *out, const cyc__step *s, const cyc__cycle *c);
	cyc_status (*run)(cyc__step *s, const cyc__cycle *c, const cyc__job_options *o);
	/** The job's own check; half maps are still to be made. */
	cyc_status (*check)(const cyc__job_options *o, const cyc_project_view *project);
	/** Bytes of memory and disk a step needs, roughly. */
	void (*need)(double *memory, double *disk, const cyc__inputs *in, const cyc_cycle_options *o);
	/** A line on what it changed, for the log; NULL: the step refines nothing. */
	void (*log)(const cyc__step *s);
} cyc__kind_row;
const cyc__kind_row *cyc__kind_get(cyc__kind kind);
/** A step that has not run: its names. `job` counts from 1. */
CYC_MUST_CHECK cyc_status cyc__step_init(cyc__step *s, const cyc_cycle_options *o, cyc__kind kind,
                                         int32_t i_turn, int32_t job);
void cyc__step_deinit(cyc__step *s);
/** Fill in the names that its options need; it has its input set already. */
CYC_MUST_CHECK cyc_status cyc__step_name(cyc__step *s, const cyc__cycle *c);
/** Command line that does the same, for note.txt. */
CYC_MUST_CHECK cyc_status cyc__step_command(char **out, const cyc__step *s, const cyc__cycle *c);
/** Continue a hash with all options that the step's result depends on. */
CYC_MUST_CHECK cyc_status cyc__step_options_hash(uint64_t *h, const cyc__step *s, const cyc__cycle *c);

/** Options of the jobs but for their inputs and outputs; of the look at the particles before CTF refinement.
 */
cyc_reconstruct_options cyc__reconstruct_options(const cyc_cycle_options *o);
cyc_postprocess_options cyc__postprocess_options(const cyc_cycle_options *o);
cyc_ctfrefine_options cyc__ctfrefine_options(const cyc_cycle_options *o);
cyc_polish_options cyc__polish_options(const cyc_cycle_options *o);
cyc_refine3d_options cyc__refine3d_options(const cyc_cycle_options *o);
cyc_refine3d_options cyc__judge_options(const cyc_cycle_options *o);
/** Whether the CTF refinement has anything to do; and whether that writes particles, with optics groups. */
bool cyc__refines_ctfs(const cyc_cycle_options *o);
bool cyc__refines_optics(const cyc_cycle_options *o);
/** Options as names and values: all of a job, or those that a command line needs (flags without a value). */
CYC_MUST_CHECK cyc_status cyc__arguments(cyc__pairs *out, const void *options, const cyc_option_table *table,
                                         bool with_all);
/** Names of the options that are files whose content counts, and the files. */
CYC_MUST_CHECK cyc_status cyc__option_files(cyc__pairs *out, const cyc_cycle_options *o);
/** Needs of the steps, by the jobs' own functions (needs.c). */
void cyc__need_reconstruct(double *memory, double *disk, const cyc__inputs *in, const cyc_cycle_options *o);
void cyc__need_postprocess(double *memory, double *disk, const cyc__inputs *in, const cyc_cycle_options *o);
void cyc__need_ctfrefine(double *memory, double *disk, const cyc__inputs *in, const cyc_cycle_options *o);
void cyc__need_polish(double *memory, double *disk, const cyc__inputs *in, const cyc_cycle_options *o);
void cyc__need_refine3d(double *memory, double *disk, const cyc__inputs *in, const cyc_cycle_options *o);
/** CYC_E_NOMEM, naming the step, if one needs more memory than is available. */
CYC_MUST_CHECK cyc_status cyc__require_memory(const cyc__inputs *in, const cyc_cycle_options *o);

/** How to read the project with the files of another set: all that the run's input says but the files
 * themselves. */
cyc_project_input cyc__input_of(const cyc__cycle *c, const char *set);
/** The checks of all jobs that the plan has; nothing is computed. */
CYC_MUST_CHECK cyc_status cyc__check_steps(const cyc__inputs *in, const cyc_cycle_options *o);
/** From here on warnings are the step's, and shown with it on the page; NULL: nobody's. */
void cyc__listen(cyc__step *s);
/** Move the warnings of one to another. */
void cyc__move_warnings(cyc__step *to, cyc__step *from);
/**
 * Where a refinement left the particles other weights (cycParticleProbability), or fewer of them, its maps
 * differ from those before it by who is in them too: fill c->before_set with the state before, in the new
 * weights, as files in the folder of the step.
 */
CYC_MUST_CHECK cyc_status cyc__reweight(cyc__cycle *c, const cyc__step *s);
/**
 * Compare the metadata of the state the run is in with its images, unless an earlier state could tell
 * already; findings become warnings. They are kept in the post-processing step's metadata.txt, so that a
 * resumed run repeats them.
 */
CYC_MUST_CHECK cyc_status cyc__check_metadata(cyc__cycle *c);
/** File of that step's folder with what the images showed of each tilt series. */
extern const char CYC__EVIDENCE[];

/** Command line for the maps that a post-processing makes itself, of c->before_set; NULL: none. */
CYC_MUST_CHECK cyc_status cyc__before_command(char **out, const cyc__cycle *c, const cyc__step *s);

/* ---------------------------------------------------------------- plan */

/** Kinds of all steps in order with their turns, if every turn is run; free with cyc_free(). */
typedef struct {
	cyc__kind kind;
	int32_t i_turn;
} cyc__planned;
CYC_MUST_CHECK cyc_status cyc__plan_steps(cyc__planned **out, int32_t *n, const cyc_cycle_options *o);
/** What each cycle refines, in order, each a turn of its own; returns their number. */
int cyc__plan_turns(cyc__kind turns[CYC__N_KINDS], const cyc_cycle_options *o);

/* ---------------------------------------------------------------- records */

/** Options that influence results, as text. */
CYC_MUST_CHECK cyc_status cyc__record_options(cyc__pairs *out, const cyc__cycle *c);
/** Kinds of steps that depend on an option or input by its name, bit 1 << kind, apart from what they start
 * from. */
unsigned cyc__dependents(const char *name, const cyc__cycle *c);
/** Roles of inputs on which not all steps depend, in their names: masks for references and FSC. */
extern const char *const CYC__ROLES[2];
/** Entry of the inputs for the particles that a run leaves out. */
extern const char CYC__LEFT_OUT[];
/**
 * Compare with the record of the run folder, or write it if this is the first start there. What differs
 * without a finished step that depends on it is a correction: it is told, and the record is written anew.
 * @return CYC_E_USAGE / CYC_E_DATA naming each other option / input that differs; CYC_E_USAGE if the folder
 * holds something else.
 */
CYC_MUST_CHECK cyc_status cyc__record_start(cyc__cycle *c);
/** The same comparison for a plan; nothing is written. */
CYC_MUST_CHECK cyc_status cyc__record_compare(const cyc__inputs *in, const cyc_cycle_options *o);
/** Write a document with a block "end" behind it, which has a hash of the text before. */
CYC_MUST_CHECK cyc_status cyc__write_sealed(const cyc_star *s, const char *path);
/** Read such a file; NULL if there is none of which every byte is as it was written. Only CYC_E_NOMEM is an
 * error. */
CYC_MUST_CHECK cyc_status cyc__read_sealed(cyc_star **out, const char *path);
/** A block of two columns of texts, to and from pairs. */
CYC_MUST_CHECK cyc_status cyc__add_table(cyc_star *star, const char *name, const char *label1,
                                         const char *label2, const cyc__pairs *p);
CYC_MUST_CHECK cyc_status cyc__read_table(cyc__pairs *out, const cyc_star *star, const char *name,
                                          const char *label1, const char *label2);
/** File name of a step's record. */
extern const char CYC__STEP_RECORD[];
/** Mark a finished step's files (s->files, s->state_key) and write its cyclotomo_step.star. */
CYC_MUST_CHECK cyc_status cyc__record_step_write(cyc__step *s, const cyc_cycle_options *o);
/**
 * Fill a step from its record, if that is whole and all files that other steps may read are as the step left
 * them.
 * @param[out] found     false: the step has to be run; if there was a record it is removed, and a warning
 * says why.
 * @param[in]  may_redo  a record of another key is of a state that was since replaced: no error
 * @return CYC_E_DATA if the record has another key.
 */
CYC_MUST_CHECK cyc_status cyc__record_step_read(bool *found, cyc__step *s, const cyc_cycle_options *o,
                                                bool may_redo);
/** run.json of a step: time, threads, memory; and the time read back, NaN if there is none. */
CYC_MUST_CHECK cyc_status cyc__record_time_write(const cyc__step *s, const cyc__cycle *c);
double cyc__record_time_read(const cyc__step *s, const cyc_cycle_options *o);

/* ---------------------------------------------------------------- outputs of the run */

/** RUN/default_pipeline.star for the steps so far; c->status is that of the newest. */
CYC_MUST_CHECK cyc_status cyc__pipeline_write(const cyc__cycle *c);
/** RUN/summary.json and RUN/summary.html for the steps so far. */
CYC_MUST_CHECK cyc_status cyc__summary_write(const cyc__cycle *c, const char *verdict);
CYC_MUST_CHECK cyc_status cyc__summary_json(char **out, const cyc__cycle *c, const char *verdict);
CYC_MUST_CHECK cyc_status cyc__summary_html(char **out, const cyc__cycle *c, const char *verdict);
/** Sentences on what the run did to the map. */
CYC_MUST_CHECK cyc_status cyc__verdict(char **out, const cyc__cycle *c);
/** By its post-processing the half maps of a state have more in common than signal, or are the same. */
bool cyc__are_halves_suspect(const cyc__step *s);
/** Index of the post-processing step of the start, -1 before it is done. */
int32_t cyc__first_postprocess(const cyc__cycle *c);
/** Text of a decision for tables: "start", "better: accepted", ... */
const char *cyc__decision_text(cyc__decision d);
/** Difference of a turn as text: "+0.0123 ± 0.0034", with as many decimals as its error needs. */
typedef struct {
	char text[64];
} cyc__difference_text;
cyc__difference_text cyc__difference_format(const cyc__step *s);

#endif
