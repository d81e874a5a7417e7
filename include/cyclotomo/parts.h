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
	bool *is_own;      /**< n_series: has particles, and is this part's or rank's, or the job is not dealt */
	bool is_on_ranks;  /**< the whole job, dealt to the ranks of this run */
	bool uses_records; /**< records of finished series count: of an earlier run, or of parts */
	bool are_all_finished;     /**< all parts of part.n have finished (or of any number, for the whole job) */
	int64_t begun_s, begun_ns; /**< when the first of the parts began that left records; 0: none did */
	int32_t n_own, n_kept;     /**< series of this part, and those of them that had finished before */
} cyc_share;
/** Parse and deal: a part's share of its parts, or, of the whole job, a rank's. `text` as in
 * cyc_part_parse(). */
CYC_MUST_CHECK cyc_status cyc_share_create(cyc_share *s, const char *text, const cyc_tomogram_set *tomograms,
                                           const cyc_particle_set *particles);
void cyc_share_deinit(cyc_share *s);
static inline bool cyc_share_is_part(const cyc_share *s) { return s->part.n > 0; }
/**
 * Before the first record: see what other parts have left in `out`, the job folder, and say that this one is
 * there. On ranks rank 0 looks, for all.
 * @param[in] key      hash of everything that the records depend on
 * @param[in] resume   the user's word that older records may be there: those of parts of another key are
 *                     removed, instead of being an error
 * @return CYC_E_USAGE if parts with other input or options are at work there; CYC_E_DATA if ranks do not read
 * the same input
 */
CYC_MUST_CHECK cyc_status cyc_share_begin(cyc_share *s, const char *out, uint64_t key, bool resume);
/**
 * On ranks: wait until all have left the records of their series, so that rank 0 can read them.
 * @return the error of the lowest rank that failed; CYC_OK at once where the job is not on ranks
 */
CYC_MUST_CHECK cyc_status cyc_share_meet(const cyc_share *s);
/** A series is another rank's, and it is rank 0 that needs its record, to be read after cyc_share_meet(). */
static inline bool cyc_share_is_of_other_rank(const cyc_share *s, int32_t i, int64_t n_particles)
{
	return s->is_on_ranks && cyc_is_first_rank() && n_particles > 0 && !s->is_own[i];
}
/** A record that another rank has left cannot be found. */
cyc_status cyc_share_miss(const char *series, const char *out);
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
 * @param[in]  which  n_series: those that there is work for; NULL: all
 */
CYC_MUST_CHECK cyc_status cyc_project_deal(int32_t **owner, const cyc_tomogram_set *tomograms,
                                           const cyc_particle_set *set, const bool *which);

/** Tilts first .. end - 1 of a series; none if they are equal. */
typedef struct {
	int32_t first, end;
} cyc_tilt_range;
/**
 * Deal tilts to the ranks of this run, for work of which every tilt is done for itself: whole series where
 * that loads the ranks evenly, else some are divided between two or more.
 * @param[out] own    of each series the tilts of this rank; n_series. Free with cyc_free()
 * @param[in]  which  as in cyc_project_deal()
 */
CYC_MUST_CHECK cyc_status cyc_project_deal_tilts(cyc_tilt_range **own, const cyc_tomogram_set *tomograms,
                                                 const cyc_particle_set *set, const bool *which);

#ifdef __cplusplus
}
#endif
#endif
