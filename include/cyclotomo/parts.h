/**
 * @file parts.h
 * A job dealt among processes that do not talk to each other: `--part k/n` computes part k's share of the
 * units (tilt series) and leaves their records in the job folder; the same job without a part uses them, does
 * what crosses units, and writes the outputs. Part 0 only does what all parts need. A scheduler starts the
 * parts and repeats those that died (docs/cluster.md, docs/dev/parts.md).
 *
 * Who computes what follows from the input alone. Parts may run at the same time and on different nodes: each
 * writes files of its own, or files that have the same bytes whoever writes them, each under a temporary name
 * that is renamed.
 */
#ifndef CYCLOTOMO_PARTS_H
#define CYCLOTOMO_PARTS_H

#include "cyclotomo/options.h"
#include "cyclotomo/project.h"
#include "cyclotomo/ranks.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { CYC_MAX_PARTS = 10000 };

/** The row of a job that can be dealt: member `part` of T. */
#define CYC_PART_OPTION(T)                                                                                   \
	CYC_OPTION(                                                                                              \
		T, TEXT, "part", part, .unit = "<k/n>", .purpose = CYC_FOR_RUN, .no_default = "the whole job",       \
		.help = "Compute only part k of n of the tilt series and leave their results in temp/. Repeat "      \
				"the command without --part when all parts have finished. Part 0/n prepares what all "       \
				"parts need.")

/** Part k of n. n = 0: the whole job; k = 0: what all parts need. */
typedef struct {
	int32_t k, n;
} cyc_part;
/**
 * Read "k/n".
 * @param[in] text  NULL or "": the whole job
 * @return CYC_E_USAGE unless 0 <= k <= n, 1 <= n <= CYC_MAX_PARTS
 */
CYC_MUST_CHECK cyc_status cyc_part_parse(cyc_part *out, const char *text);

/**
 * Deal units among processes: the most expensive first, each to the one with the least so far; equal ones in
 * order. The largest share is at most the mean plus one unit.
 * @param[out] owner  n_units: 0 .. n_parts - 1; by the caller
 * @param[in]  cost   n_units, not negative
 */
CYC_MUST_CHECK cyc_status cyc_parts_deal(int32_t *owner, const double *cost, int32_t n_units,
                                         int32_t n_parts);
/** Cost of a tilt series, in windows of particles: its windows, and the reading of its images. */
double cyc_series_cost(int32_t n_tilts, int64_t n_particles);

/** What became of a part, for the result of its job. Zeroed: the whole job was done. */
typedef struct {
	cyc_part part;
	int32_t n_own, n_kept;    /**< series of this part, and those of them that had finished before */
	bool others_are_finished; /**< all parts of part.n had finished before this run */
} cyc_part_outcome;

/** What one process does of a job. Zeroed: nothing. */
typedef struct {
	cyc_part part;
	bool *is_own;              /**< n_series: has particles, and is this part's, or the job is not dealt */
	bool uses_records;         /**< records of finished series count: of an earlier run, or of parts */
	bool are_all_finished;     /**< all parts of part.n have finished (or of any number, for the whole job) */
	int64_t begun_s, begun_ns; /**< when the first of the parts began that left records; 0: none did */
	int32_t n_own, n_kept;     /**< series of this part, and those of them that had finished before */
} cyc_share;
/** Parse and deal. `text` as in cyc_part_parse(). */
CYC_MUST_CHECK cyc_status cyc_share_create(cyc_share *s, const char *text, const cyc_tomogram_set *tomograms,
                                           const cyc_particle_set *particles);
void cyc_share_deinit(cyc_share *s);
static inline bool cyc_share_is_part(const cyc_share *s) { return s->part.n > 0; }
/**
 * Before the first record: see what other parts have left in `out`, the job folder, and say that this one is
 * there.
 * @param[in] key      hash of everything that the records depend on
 * @param[in] resume   the user's word that older records may be there: those of parts of another key are
 *                     removed, instead of being an error
 * @return CYC_E_USAGE if parts with other input or options are at work there
 */
CYC_MUST_CHECK cyc_status cyc_share_begin(cyc_share *s, const char *out, uint64_t key, bool resume);
/** A part has finished its share: note that, and log it. */
CYC_MUST_CHECK cyc_status cyc_share_end(cyc_part_outcome *outcome, const cyc_share *s, const char *out,
                                        uint64_t key);
/** The whole job has written its outputs: the notes of the parts have done their work. */
CYC_MUST_CHECK cyc_status cyc_parts_forget(const char *out);
/** Have parts worked in this job folder since its outputs were last written? */
CYC_MUST_CHECK cyc_status cyc_parts_exist(bool *found, const char *out);

/* ---------------------------------------------------------------- ranks */

/**
 * Deal the tilt series to the ranks of this run (cyclotomo/ranks.h), by their number of images; the same on
 * all ranks.
 * @param[out] owner  rank of each series; n_series. Free with cyc_free()
 */
CYC_MUST_CHECK cyc_status cyc_project_deal(int32_t **owner, const cyc_tomogram_set *tomograms,
                                           const cyc_particle_set *set);

/** Tilts first .. end - 1 of a series; none if they are equal. */
typedef struct {
	int32_t first, end;
} cyc_tilt_range;
/**
 * Deal tilts to the ranks of this run, for work of which every tilt is done for itself: whole series where
 * that loads the ranks evenly, else some are divided between two or more.
 * @param[out] own  of each series the tilts of this rank; n_series. Free with cyc_free()
 */
CYC_MUST_CHECK cyc_status cyc_project_deal_tilts(cyc_tilt_range **own, const cyc_tomogram_set *tomograms,
                                                 const cyc_particle_set *set);

/** A job whose parts the ranks of a run compute, each its own. */
typedef struct {
	const cyc_rank_job *job;
	size_t part;                            /**< offset of its member `part` */
	cyc_status (*run)(const void *options); /**< the job by itself */
} cyc_dealt_job;
/**
 * Rank 0, before the job itself: prepare it, and have each rank compute its part; the job then finds all
 * series finished. What was logged meanwhile is not logged again, until cyc_log_once_end(). Nothing is done
 * where there is one rank.
 */
CYC_MUST_CHECK cyc_status cyc_parts_on_ranks(const cyc_dealt_job *d, const void *options);
/** The other ranks: their part. */
CYC_MUST_CHECK cyc_status cyc_parts_run_rank(const cyc_dealt_job *d, const void *options);
/**
 * Make a job of cyc_NAME_options one whose parts ranks compute: defines cyc_NAME_rank_job, and DEALT for
 * cyc_parts_on_ranks(). `run_here` is the job by itself: a function of its result, here NULL, and its
 * options.
 */
#define CYC_DEALT_JOB(NAME, run_here)                                                                        \
	static cyc_status run_part(const void *options) { return run_here(NULL, options); }                      \
	static cyc_status run_rank(const void *options);                                                         \
	static const size_t TEXTS[] = { offsetof(cyc_##NAME##_options, input.root) };                            \
	const cyc_rank_job cyc_##NAME##_rank_job = { .table = &cyc_##NAME##_table,                               \
		                                         .size = sizeof(cyc_##NAME##_options),                       \
		                                         .n_threads = offsetof(cyc_##NAME##_options, n_threads),     \
		                                         .n_texts = 1,                                               \
		                                         .texts = TEXTS,                                             \
		                                         .run = run_rank };                                          \
	static const cyc_dealt_job DEALT = { &cyc_##NAME##_rank_job, offsetof(cyc_##NAME##_options, part),       \
		                                 run_part };                                                         \
	static cyc_status run_rank(const void *options) { return cyc_parts_run_rank(&DEALT, options); }

#ifdef __cplusplus
}
#endif
#endif
