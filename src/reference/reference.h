/**
 * @file reference.h
 * Half maps prepared for slicing, from which particle images are predicted.
 */
#ifndef CYC_REFERENCE_H
#define CYC_REFERENCE_H

#include "backends/backend.h"
#include "cyclotomo/project.h"

typedef struct {
	int32_t box_px; /**< s of the windows that are predicted */
	int32_t n_grid; /**< m, edge of the padded maps; > s: transforms are finer than the windows need */
	int32_t edge;   /**< of the part of the transforms that is held: see cyc_reference_edge() */
	int32_t radius; /**< last shell of the s-box that carries signal */
	double pixel_size_A;
	double grey_scale; /**< what the maps hold per density of an image pixel: sqrt(box) of a particle
	                      reconstruction */
	double *wiener;    /**< s/2 + 1: FSC of the halves at each shell of the s-box, 0 beyond `radius` */
	double *noise; /**< s/2 + 1: power of the noise of V(k) before the Wiener factor, from the difference of
	                  the halves */
	double map_diameter_px; /**< of the mask's support (map px), or the map's edge */
	bool fsc_is_own;        /**< the FSC was computed from the maps: optimistic */
	cyc_buffer *half[2];    /**< cyc_reference_count(edge) complex each */
	int32_t reach[2];       /**< of these: samples further from the origin are zero [grid px] */
} cyc_reference;

/** Files of a reference. */
typedef struct {
	const char *half[2]; /**< half maps of cyclotomo reconstruct or RELION's particle reconstruction (grey
	                        scale sqrt(box)) */
	const char *mask;    /**< NULL: none */
	const char *fsc;     /**< postprocess.star, or NULL: FSC of the masked halves (too good; logged) */
	const char *root;    /**< project root for all four names */
} cyc_reference_files;

/**
 * Read half maps, mask them, correct for trilinear look-up, transform. V(k) of cyc_op_slice_extract() is then
 * the unitary 2D transform (box s) of the projected density, times the FSC of its shell: the best linear
 * estimate from one half.  (T4.1)
 *
 * In a job that ranks share, all of them call it, and those of one machine divide the work.
 *
 * @param[in] frequency_cutoff_A  > 0: nothing finer is used
 * @return CYC_E_SHAPE: maps of another pixel size than the tilt series, larger than the box, halves or mask
 * that do not fit each other; each message says which command makes the right one.
 */
CYC_MUST_CHECK cyc_status cyc_reference_load(cyc_reference **out, cyc_backend *be,
                                             const cyc_reference_files *files, double frequency_cutoff_A,
                                             int32_t box_px, double pixel_size_A);
/** Work memory of several references of one size; starts zeroed. */
typedef struct {
	cyc_fft3_padded *fft;
	int32_t n, m, reach; /**< what it is for */
} cyc_reference_scratch;
void cyc_reference_scratch_deinit(cyc_reference_scratch *s);
/** How maps in memory become a reference. */
typedef struct {
	const double *fsc; /**< n_fsc shells of a box of fsc_box map pixels */
	int32_t n_fsc, fsc_box;
	double frequency_cutoff_A; /**< > 0: nothing finer is used */
	int32_t box_px;            /**< of the windows, at least the maps' */
	double pixel_size_A, grey_scale, map_diameter_px;
	cyc_reference_scratch *scratch; /**< work memory that is used again, or NULL */
	bool no_noise;                  /**< `noise` is not wanted: zeros */
	bool skip_grid[2];              /**< of a half: its transform is not made, there is memory for it only */
	bool no_grids;                  /**< only `radius`, `wiener` and `noise` are wanted: no transforms */
} cyc_reference_spec;
/**
 * As cyc_reference_load() from half maps in memory that are masked already, with a given FSC and grey scale.
 * @param[in,out] half  cubic, of one size; overwritten (tapered)
 */
CYC_MUST_CHECK cyc_status cyc_reference_from_maps(cyc_reference **out, cyc_backend *be,
                                                  cyc_volume *const half[2], const cyc_reference_spec *spec);
/** Other maps of the same size and scale into the memory of a reference. */
CYC_MUST_CHECK cyc_status cyc_reference_update(cyc_reference *r, cyc_backend *be, cyc_volume *const half[2],
                                               const cyc_reference_spec *spec);
/** Rank that makes the transform of a half of reference i of a job: cyc_ranks_maker(). */
int cyc_reference_maker(int32_t i, int half);
/**
 * After the references of a job were made, where each rank has skipped the halves that it is not the maker
 * of: those of reference i, from their makers to all others. Called by all ranks.
 */
CYC_MUST_CHECK cyc_status cyc_reference_pass_on(cyc_reference *r, int32_t i);
void cyc_reference_destroy(cyc_reference **r);
/**
 * Any map ready for cyc_op_slice_extract(), without Wiener factors: its unscaled transform times `scale`,
 * phase origin at the map's centre, corrected for trilinear look-up.
 * @param[out]    to       cyc_reference_count(m) complex, zeroed or from an earlier call
 * @param[in]     m        cyc_reference_grid(map->nx, .)
 * @param[in,out] scratch  of maps of this size alone
 */
CYC_MUST_CHECK cyc_status cyc_reference_transform(cyc_buffer *to, cyc_backend *be, const cyc_volume *map,
                                                  int32_t m, double scale, cyc_reference_scratch *scratch);

/** Edge m of padded maps of map_px, for windows of box_px. */
int32_t cyc_reference_grid(int32_t map_px, int32_t box_px);
/** Edge of the cube of a transform of edge m that holds the ball |k| <= reach, at most m. */
int32_t cyc_reference_edge(int32_t m, int32_t reach);

/** Radius of the ball that is held for `radius` shells of the windows' box, with those that look-ups at the
 * rim need. */
int32_t cyc_reference_reach(int32_t m, int32_t box_px, int32_t radius);

/** What the memory of a reference depends on. */
typedef struct {
	int32_t map_px, box_px;
	int32_t radius; /**< last shell of the box that carries signal; 0: not known, as many as there are */
} cyc_reference_size;
/** The last shell before an FSC, or a Wiener factor, first falls below the threshold. */
int32_t cyc_reference_last_shell(const double *fsc, int32_t n_shells);
/** Last shell of a box for signal up to a frequency; 0 for 0. */
int32_t cyc_reference_radius(double frequency_invA, int32_t box_px, double pixel_size_A);
/**
 * The finest frequency that half maps have signal at [1/Å]: what the memory of their reference depends on. As
 * the FSC file has it; else they are compared, under the mask, if there is the memory for that. 0: not known.
 */
CYC_MUST_CHECK cyc_status cyc_reference_frequency(double *invA, const cyc_reference_files *files,
                                                  double frequency_cutoff_A, int n_threads);
/** Bytes of the transforms of both halves, and of what is needed while one of them is made. */
double cyc_reference_bytes(const cyc_reference_size *size);
double cyc_reference_scratch_bytes(const cyc_reference_size *size, int n_threads);
/** What cyc_reference_load() takes, and what stays of it. */
void cyc_reference_memory(cyc_memory_plan *m, const cyc_reference_size *size, int n_threads);

#endif
