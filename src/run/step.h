/**
 * @file step.h
 * A step of a run: its kind, its names, its figures, the warnings it gave. How it runs is in
 * cycle/steps.h.
 */
#ifndef CYC_RUN_STEP_H
#define CYC_RUN_STEP_H

#include "run/pairs.h"

#include "cyclotomo/cycle.h"
#include "cyclotomo/record.h"

typedef enum {
	CYC__RECONSTRUCT,
	CYC__POSTPROCESS,
	CYC__CTFREFINE,
	CYC__POLISH,
	CYC__REFINE3D,
	CYC__N_KINDS
} cyc__kind;

/** Names of a kind of step, and the table of its job's options, whose name is the command. */
typedef struct {
	const char *folder, *type_label, *what;
	const cyc_option_table *table;
} cyc__kind_names;
const cyc__kind_names *cyc__kind_get(cyc__kind kind);

/* Figures of a step; NaN where they do not apply. */
/* clang-format off */
#define CYC__STEP_FIGURES(X) \
	X(resolution_A) X(mean_fsc) X(bfactor_A2) X(randomise_from_A) X(n_particles) X(n_images) \
	X(n_images_outside) X(n_tilts) X(n_moved) X(n_flagged) X(defocus_change_rms_A) X(scale_change_rms) \
	X(n_confirmed) X(n_from_trend) X(n_shifted) X(n_bad) X(n_at_limit) \
	X(n_no_particles) X(n_excluded) X(n_not_asked) \
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
	char *name;           /**< "CtfRefine/job003/", relative to the run folder or, of a run in the project's
	                         pipeline, to the root */
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
	bool waits;             /**< for its parts; what they need is prepared */
	bool was_kept;          /**< an earlier run had finished it */
	cyc__decision decision; /**< of its turn; last step of a turn only */
} cyc__step;

/** A step that has not run: its names. `job` counts from 1, or is the number that the project's pipeline
 * gave.
 */
CYC_MUST_CHECK cyc_status cyc__step_init(cyc__step *s, const cyc_cycle_options *o, cyc__kind kind,
                                         int32_t i_turn, int32_t job);
void cyc__step_deinit(cyc__step *s);

/** From here on warnings are the step's, and shown with it on the page; NULL: nobody's. */
void cyc__listen(cyc__step *s);
/** Move the warnings of one to another. */
void cyc__move_warnings(cyc__step *to, cyc__step *from);

/** What a CTF refinement did with the tilts: "82 tilts: 40 changed ..."; "" where that is not known. */
void cyc__tilts_describe(char *text, size_t size, const cyc__step *s);
/** Text of a decision for tables: "start", "better: accepted", ... */
const char *cyc__decision_text(cyc__decision d);
/** Difference of a turn as text: "+0.0123 ± 0.0034", with as many decimals as its error needs. */
typedef struct {
	char text[64];
} cyc__difference_text;
cyc__difference_text cyc__difference_format(const cyc__step *s);

#endif
