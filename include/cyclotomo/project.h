/**
 * @file project.h
 * RELION-5 projects: optimisation set, tomograms and tilt series, particles, trajectories, post-process
 * results, job folders. The border where files' units (degrees, Å, 1-based groups) become the library's (rad,
 * Å, 0-based).
 *
 * Paths inside STAR files are relative to the project root. Every object keeps the STAR document it came
 * from, so that writing it back changes only what the program knows to have changed. Frames:
 * docs/conventions.md. Unless said otherwise objects are immutable after reading and safe to share by
 * threads.
 */
#ifndef CYCLOTOMO_PROJECT_H
#define CYCLOTOMO_PROJECT_H

#include "cyclotomo/geom.h"
#include "cyclotomo/mrc.h"
#include "cyclotomo/options.h"
#include "cyclotomo/star.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- optimisation set */

/** Files of one state of a project; members are NULL when not named. Owned strings (cyc_free). */
typedef struct {
	char *particles, *tomograms, *trajectories, *manifolds;
	char *reference_map1, *reference_map2, *reference_mask, *reference_fsc;
} cyc_optimisation_set;
CYC_MUST_CHECK cyc_status cyc_optimisation_set_read(cyc_optimisation_set **out, const char *path);
/** List block without name, as RELION writes it; members that are NULL are left out. */
CYC_MUST_CHECK cyc_status cyc_optimisation_set_write(const cyc_optimisation_set *s, const char *path);
CYC_MUST_CHECK cyc_status cyc_optimisation_set_copy(cyc_optimisation_set **out,
                                                    const cyc_optimisation_set *s);
/** What a result has of its own; names that are NULL are those of the input. */
typedef struct {
	const char *particles, *tomograms, *trajectories;
	bool keeps_references; /**< poses and images are those that the input's half maps and FSC are made of */
	const char *half1, *half2, *fsc; /**< half maps and FSC of this result */
	const char *mask;                /**< named only where the input names none */
} cyc_set_changes;
/** The optimisation set of a result, ROOT/NAME: the input's, with these changes. */
CYC_MUST_CHECK cyc_status cyc_optimisation_set_write_result(const char *root, const char *name,
                                                            const cyc_optimisation_set *input,
                                                            const cyc_set_changes *now);
void cyc_optimisation_set_destroy(cyc_optimisation_set **s);

/** Where a job's input comes from. Borrowed strings; NULL when not given. Single files override the set's. */
typedef struct {
	const char *root;             /**< project root, "" or NULL: current directory */
	const char *optimisation_set; /**< relative to root */
	const char *particles, *tomograms, *trajectories;
	bool exclude_negative_scales; /**< tilts with a negative contrast scale count as excluded (warned); else
	                                 they are refused */
	bool keep_outliers; /**< use outlier pixels and constant areas of the images as they are, instead of noise
	                       in their place */
	bool erase_beads;   /**< replace gold beads by noise */
	bool is_checked;    /**< the caller has checked the project (survey.h): a job need not again */
} cyc_project_input;
extern const cyc_option_table cyc_project_input_table;
/** Rows of a struct T that has half maps ref1 and ref2, mask and fsc. */
#define CYC_REFERENCE_OPTIONS(T)                                                                             \
	CYC_OPTION(T, TEXT, "ref1", ref1, .relion = "--ref1", .unit = "<map>", .purpose = CYC_FOR_FILES,         \
	           .help = "Half map 1, as cyclotomo reconstruct writes it."),                                   \
		CYC_OPTION(T, TEXT, "ref2", ref2, .relion = "--ref2", .unit = "<map>", .purpose = CYC_FOR_FILES,     \
	               .help = "Half map 2."),                                                                   \
		CYC_OPTION(T, TEXT, "mask", mask, .relion = "--mask", .unit = "<mask>", .purpose = CYC_FOR_FILES,    \
	               .help = "Soft mask, in the half maps' box."),                                             \
		CYC_OPTION(T, TEXT, "fsc", fsc, .relion = "--fsc", .unit = "<star>", .purpose = CYC_FOR_FILES,       \
	               .no_default = "FSC of the masked half maps, which is too optimistic",                     \
	               .help = "postprocess.star of these half maps, for the FSC.")
/** The set after overrides. @return CYC_E_USAGE if particles or tomograms are not named. */
CYC_MUST_CHECK cyc_status cyc_project_resolve(cyc_optimisation_set **out, const cyc_project_input *in);

/* ---------------------------------------------------------------- tilt series */

typedef enum {
	CYC_DEFORMATION_NONE,
	CYC_DEFORMATION_LINEAR,
	CYC_DEFORMATION_SPLINE,
	CYC_DEFORMATION_FOURIER
} cyc_deformation_type;

/** One tilt image. Row order of the tilt table is "the" frame index everywhere. */
typedef struct {
	char *image; /**< MRC name as in the file, relative to root; NULL if none is named */
	double pre_exposure_e_per_A2;
	double xtilt_rad, ytilt_rad, zrot_rad;
	double shift_x_A, shift_y_A; /**< image axes, added */
	bool has_angles;             /**< the five numbers above are given */
	bool has_matrix;             /**< RELION-4: `matrix` holds the projection and wins */
	double matrix[3][4];         /**< tomogram px (from corner) -> image px, rows x, y, depth */
	bool has_nominal_tilt;
	double nominal_tilt_rad;
	double defocus_u_A, defocus_v_A; /**< of the tomogram centre, underfocus positive */
	double defocus_angle_rad;        /**< of U, from image +x towards +y */
	double phase_shift_rad;
	double scale; /**< contrast; 0 = excluded tilt; never negative (unless read unchecked) */
	double bfactor_A2;
	double *deformation; /**< n_deformation coefficients or NULL */
	int32_t n_deformation;
} cyc_tilt;

typedef struct {
	char *name;
	char *file_name; /**< the name as that of a file, unique in the set: cyc_file_name() */
	char *star_path; /**< of the per-series table, relative to root; for RELION-4 an invented one, for outputs
	                  */
	char *table_path; /**< file that the table was read from, relative to root: for messages */
	char *stack;      /**< rlnTomoTiltSeriesName or NULL */
	char *optics_group_name;
	double pixel_size_A, voltage_kV, spherical_aberration_mm, amplitude_contrast_frac;
	double hand; /**< +1 or -1 */
	double defocus_slope;
	double bfactor_per_dose_A2;      /**< rlnCtfBfactorPerElectronDose, 0: Grant-Grigorieff dose model */
	double fractional_dose_e_per_A2; /**< dose per tilt: given, or second lowest minus lowest pre-exposure */
	int32_t size_px[3];              /**< tomogram X, Y, Z */
	cyc_deformation_type deformation_type;
	int32_t deformation_grid[2];
	int32_t n_tilts;
	cyc_tilt *tilts;
	int32_t image_nx, image_ny; /**< 0 until cyc_tilt_series_open() */
	cyc_mrc_info *image_info;   /**< n_tilts, after open */
	char **image_path;          /**< n_tilts, after open: file (with root) */
	int64_t *image_section;     /**< n_tilts, after open: 0-based section */
	bool keep_outliers;         /**< pixels that are no data are not replaced when an image is read */
	bool erase_beads;           /**< gold beads are replaced when an image is read */
	int64_t *n_outliers, *n_constant,
		*n_beads; /**< n_tilts, after open: such pixels, and beads; -1 until the image has been read */
} cyc_tilt_series;

typedef struct cyc_tomogram_set {
	char *path;
	int32_t n_series;
	cyc_tilt_series *series; /**< order of the file */
	cyc_star *star;          /**< tomograms.star */
	cyc_star **series_star;  /**< n_series documents; RELION-4: one-block copies */
	bool is_relion4;
} cyc_tomogram_set;

/**
 * Read tomograms.star and the per-series tables (RELION-5), or the embedded tables (RELION-4).
 * Images are not touched. A negative scale, missing CTF or geometry columns, unequal deformation lengths are
 * errors naming file and row; scales of 0 give one warning per file.
 */
CYC_MUST_CHECK cyc_status cyc_tomogram_set_read(cyc_tomogram_set **out, const char *path, const char *root);
/** As cyc_tomogram_set_read(), but negative scales are left for cyc_tomogram_set_check_scales(): for plans
 * and dry runs. */
CYC_MUST_CHECK cyc_status cyc_tomogram_set_read_unchecked(cyc_tomogram_set **out, const char *path,
                                                          const char *root);
/** CYC_E_DATA naming file and row of the first negative scale, and how many there are. */
CYC_MUST_CHECK cyc_status cyc_tomogram_set_check_scales(const cyc_tomogram_set *s);
/**
 * The tomograms of a job's input `set` (cyc_project_resolve() of `in`): as cyc_tomogram_set_read(), or with
 * exclude_negative_scales with such scales set to 0, and one warning that names the first tilt and the number
 * of them.
 */
CYC_MUST_CHECK cyc_status cyc_project_read_tomograms(cyc_tomogram_set **out, const cyc_optimisation_set *set,
                                                     const cyc_project_input *in);
void cyc_tomogram_set_destroy(cyc_tomogram_set **s);
/** Index of a tomogram by name, -1 if there is none. */
int32_t cyc_tomogram_set_find(const cyc_tomogram_set *s, const char *name);
/** What cyc_tomogram_set_write() takes from the structs; everything else passes through from the documents.
 */
enum {
	CYC_WRITE_DEFOCUS = 1,
	CYC_WRITE_SCALE = 2,
	CYC_WRITE_GEOMETRY = 4,
	CYC_WRITE_DEFORMATION = 8,
	CYC_WRITE_BFACTOR = 16
};
/**
 * Write out_dir/tomograms.star and the per-series files where RELION puts them: out_dir/(old path after
 * "jobNNN/", or the whole old path). out_dir is relative to root; rlnTomoTiltSeriesStarFile is updated, and
 * so are the paths in `s`.
 *
 * RELION-4 projection matrices stay as they are, so geometry is never lost; CYC_WRITE_GEOMETRY replaces them
 * by angles and shifts: those of `matrix` if has_matrix (the series must be open then: the image centre is
 * part of the conversion), else the five numbers. Who changes the five numbers of such a tilt clears
 * has_matrix. The scale is written with the defocus too. tomograms.star comes last.
 */
CYC_MUST_CHECK cyc_status cyc_tomogram_set_write(cyc_tomogram_set *s, const char *out_dir, const char *root,
                                                 unsigned what);

/**
 * What a tilt had before images refined it. Jobs that refine keep it in columns of their own
 * (cycInputDefocusU, V, Angle and cycInputCtfScalefactor; cycInputIsRefined is 1 where defocus and scale were
 * refined before by a program that does not keep them), and all jobs pass unknown columns on, so that a later
 * cycle does not take the result of an earlier one for independent knowledge. Get: the value of such a
 * column; found is false where the series has none.
 */
CYC_MUST_CHECK cyc_status cyc_tilt_input_get(bool *found, double *value, const cyc_tomogram_set *s,
                                             int32_t i_series, int32_t i_tilt, const char *label);
/** Copy the column `of` of a series to `label`, unless that column exists; `otherwise` is its text where `of`
 * is absent. */
CYC_MUST_CHECK cyc_status cyc_tilt_input_keep(cyc_tomogram_set *s, int32_t i_series, const char *label,
                                              const char *of, const char *otherwise);
/** Whether the file lies in the folder of a job of this type, e.g. "relion.ctfrefinetomo", by its job.star.
 */
CYC_MUST_CHECK cyc_status cyc_job_made_it(bool *yes, const char *path, const char *root,
                                          const char *type_label);

/**
 * Which images of a series are not there (nothing is opened): for plans and dry runs.
 * @param[out] is_missing  n_tilts flags by the caller, or NULL.
 */
CYC_MUST_CHECK cyc_status cyc_tilt_series_find_missing(bool *is_missing, int32_t *n_missing,
                                                       const cyc_tilt_series *ts, const char *root);
/**
 * Find all images of a series and check they are of one size; fills image_*. Does nothing if the series is
 * open.
 * @return CYC_E_IO naming the first image that is missing, its row and how many are missing; CYC_E_SHAPE for
 * sizes that differ, files with several sections, or pixels that are not square. On error the series stays
 * closed.
 */
CYC_MUST_CHECK cyc_status cyc_tilt_series_open(cyc_tilt_series *ts, const char *root);
/** The same for windows that are to be cut from it; CYC_E_SHAPE if they are larger than its images. */
CYC_MUST_CHECK cyc_status cyc_tilt_series_open_for(cyc_tilt_series *ts, const char *root, int32_t window_px);
/** Size of the first image of a series, from its header alone; the series stays as it is. */
CYC_MUST_CHECK cyc_status cyc_tilt_series_image_size(int32_t *nx, int32_t *ny, const cyc_tilt_series *ts,
                                                     const char *root);
/** Tilt image i_tilt as image_ny x image_nx floats. Needs open. Thread-safe. */
CYC_MUST_CHECK cyc_status cyc_tilt_series_read_image(float *dst, const cyc_tilt_series *ts, int32_t i_tilt);
/** Rows sorted by increasing pre-exposure, ties by row: order[rank] = row; n_tilts values by the caller. */
void cyc_tilt_series_chronological(int32_t *order, const cyc_tilt_series *ts);

/* ---------------------------------------------------------------- particles */

typedef struct {
	char *name;
	double voltage_kV, spherical_aberration_mm, amplitude_contrast_frac,
		pixel_size_A;                   /**< NaN if the column is absent */
	double *even_zernike, *odd_zernike; /**< RELION's coefficients (rad, basis in 1/Å), or NULL */
	int32_t n_even, n_odd;
	/** rlnMagMat: the coefficient k of an image is that of the object at magnification k; the identity unless
	 * has_magnification.  (T1.14) */
	double magnification[2][2];
	bool has_magnification;
} cyc_optics_group;

typedef struct {
	const char *name;     /**< rlnTomoParticleName; borrowed from the set */
	int64_t row;          /**< row of the particles block */
	int32_t i_series;     /**< index in the tomogram set */
	int32_t i_optics;     /**< 0-based optics group */
	int32_t half;         /**< 0 or 1; -1 if the file has no rlnRandomSubset */
	cyc_vec3 position_A;  /**< static position, tomogram axes, relative to the tomogram centre size/2; origin
	                         offset included */
	cyc_mat3 R_tomo_part; /**< rlnTomoSubtomogram*, identity if absent */
	cyc_mat3 R_tomo_ref;  /**< R_tomo_part R_part_ref: reference -> tomogram axes */
	const float
		*motion_A; /**< n_tilts x 3, tomogram axes, added to position in that tilt (row order); NULL: none */
	const uint8_t *visible_frames; /**< n_tilts flags of rlnTomoVisibleFrames, NULL: none */
	/** That this is the particle, cycParticleProbability, 0 to 1 (1 if the file has none): what its images
	 * count.    (T1.15) */
	double probability;
} cyc_particle;

typedef struct cyc_particle_set {
	char *path;
	int64_t n; /**< particles whose tomogram is known, tomogram order, then file order */
	cyc_particle *particles;
	int64_t *series_first; /**< n_series + 1 offsets: particles of series i are series_first[i] ..
	                          series_first[i+1]-1 */
	int32_t n_series;
	int32_t n_optics;
	cyc_optics_group *optics;
	bool has_halves;
	bool are_2d_stacks;
	bool has_generated_names; /**< the file has no rlnTomoParticleName: names are by row, and mean nothing in
	                             other files */
	int64_t n_unknown_tomogram; /**< rows dropped (warned) because their tomogram is not in the set */
	cyc_star *star;
	float *motion_data; /**< owner of all motion_A */
	int64_t n_trajectories,
		n_trajectories_said; /**< in their file, and by its rlnParticleNumber; -1: not said */
	uint8_t *visible_data;   /**< owner of all visible_frames */
} cyc_particle_set;

/**
 * Read particles.star against a tomogram set (and trajectories, may be NULL). RELION-5 centred coordinates,
 * or RELION-4 pixels (WarpTools' binned pixels of 2D stacks are recognised and reported).
 * @return CYC_E_DATA: tomogram unknown to all rows, optics not consistent with the tomograms to 1e-3,
 * rlnRandomSubset not 1/2, cycParticleProbability outside 0 to 1, trajectory missing or of another length,
 * duplicate particle name; each names file and row.
 */
CYC_MUST_CHECK cyc_status cyc_particle_set_read(cyc_particle_set **out, const char *path,
                                                const char *trajectories, const cyc_tomogram_set *tomograms,
                                                const char *root);
void cyc_particle_set_destroy(cyc_particle_set **s);
/**
 * Give an optics group new aberrations, in the structs and in the document: what is written next has them.
 * Beam tilt columns become 0 with the odd ones, which hold it since reading.
 * @param[in] even, odd  n_even, n_odd coefficients in RELION's order; NULL: as they are
 */
CYC_MUST_CHECK cyc_status cyc_particle_set_put_aberrations(cyc_particle_set *s, int32_t i_optics,
                                                           const double *even, int32_t n_even,
                                                           const double *odd, int32_t n_odd);
/** The same for the magnification matrix. */
CYC_MUST_CHECK cyc_status cyc_particle_set_put_magnification(cyc_particle_set *s, int32_t i_optics,
                                                             const double magnification[2][2]);
/** Set the probability of every particle (s->n values from 0 to 1), in the structs and in the document. */
CYC_MUST_CHECK cyc_status cyc_particle_set_put_probabilities(cyc_particle_set *s, const double *probability);
/** CYC_E_DATA, with the remedy, unless both half-sets have at least one particle of a probability above 0. */
CYC_MUST_CHECK cyc_status cyc_particle_set_require_halves(const cyc_particle_set *s);

/** rlnOrigin*Angst of every particle [Å, subtomogram axes], 0 where the file has none; position_A has them
 * subtracted. n values by the caller. */
CYC_MUST_CHECK cyc_status cyc_particle_origins(cyc_vec3 *origins_A, const cyc_particle_set *s);
/** Numbers of a column of the particles block, in the order of the set; n values by the caller. CYC_E_FORMAT
 * if it is not there. */
CYC_MUST_CHECK cyc_status cyc_particle_column(double *values, const cyc_particle_set *s, const char *label);
/**
 * Which particles stay if no two of a tomogram may be nearer than a distance. Of two that are, the one with
 * the higher score stays (of equal ones the first of the file), unless a better one still has removed it
 * already: particles are taken in the order of their scores, and each removes all it is too near to. So the
 * result does not depend on the order of the file.
 * @param[out] keep       s->n flags by the caller
 * @param[in]  score      s->n numbers, NaN is an error; NULL: the first of the file are the best
 * @return CYC_E_USAGE if the distance is not positive; CYC_E_DATA for a NaN, naming the row.
 */
CYC_MUST_CHECK cyc_status cyc_particle_set_separate(bool *keep, int64_t *n_removed, const cyc_particle_set *s,
                                                    double min_separation_A, const double *score);
/**
 * The particles in the order of a hash of their names, started with `hash`: a random order that does not
 * depend on that of the file.
 * @param[out] order  s->n indices; free with cyc_free()
 */
CYC_MUST_CHECK cyc_status cyc_particles_shuffled(int64_t **order, const cyc_particle_set *s, uint64_t hash);
/**
 * Deal the particles of each half-set to n_groups groups whose sizes differ by at most one: in the order of a
 * hash of their names, so that neighbours fall apart and the groups do not depend on the order of the file.
 * For maps of all groups but one (a particle is scored against images that are not its own) and for jackknife
 * errors.
 * @param[out] group  s->n numbers from 0 to n_groups - 1, by the caller
 */
CYC_MUST_CHECK cyc_status cyc_particle_groups(int32_t *group, const cyc_particle_set *s, int32_t n_groups);
/** Two particles of one tomogram, by index in the set. */
typedef struct {
	int64_t i[2];
	double distance_A;
} cyc_particle_pair;
/** All pairs of particles of one tomogram that are nearer than a distance, the nearest first. Free with
 * cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_particle_pairs(cyc_particle_pair **out, int64_t *n, const cyc_particle_set *s,
                                             double distance_A);
/**
 * The distance below which two particles of a diameter are one that is listed twice: a quarter of it. Two
 * spheres that near would share 63 % of their volume, which no two particles do; in lattices and filaments
 * too neighbours are further apart.
 */
static inline double cyc_duplicate_distance_A(double diameter_A) { return 0.25 * diameter_A; }
enum { CYC_DUPLICATES_NAMED = 3 };
typedef struct {
	double distance_A;
	int64_t n_across, n_within; /**< pairs in different half-sets, and in one */
	int64_t n_left_out; /**< particles that have to go so that no pair is left in different half-sets */
	cyc_particle_pair named[CYC_DUPLICATES_NAMED]; /**< the nearest of n_across */
} cyc_duplicates;
/**
 * Look for particles that are listed twice. In different half-sets they give both maps the same noise: the
 * FSC then shows that noise, at all frequencies. In one half-set they count twice, which is a lesser evil,
 * and usual where segments of filaments overlap.
 * @param[out] keep  s->n flags by the caller, or NULL: false for the later (in the file) of each pair in
 * different half-sets.
 */
CYC_MUST_CHECK cyc_status cyc_particle_set_find_duplicates(cyc_duplicates *out, bool *keep,
                                                           const cyc_particle_set *s, double distance_A);
/** "18 pairs of particles in different half-sets are nearer than 31.5 Å (rows 3 and 81: 0.4 Å, ...)". */
void cyc_duplicates_describe(char *text, size_t size, const cyc_duplicates *d, const cyc_particle_set *s);
/** For jobs that make half maps of particles as they are: a warning, with the remedy, if some are in both
 * half-sets. */
CYC_MUST_CHECK cyc_status cyc_particle_set_warn_duplicates(const cyc_particle_set *s, double distance_A);
/** Write the document of a set with the particles of keep[i] only (NULL: all of the set), rows in the order
 * of the file. */
CYC_MUST_CHECK cyc_status cyc_particle_set_write(const cyc_particle_set *s, const bool *keep,
                                                 const char *path);
/** Write the trajectories of the particles of keep[i] (NULL: all) as motion.star; they must have been read
 * with the set. */
CYC_MUST_CHECK cyc_status cyc_trajectories_write(const cyc_particle_set *s, const cyc_tomogram_set *tomograms,
                                                 const bool *keep, const char *path);

/** A project as read; borrowed. What checks get that compute nothing. */
typedef struct {
	const char *root; /**< never NULL */
	const cyc_optimisation_set *set;
	cyc_tomogram_set *tomograms; /**< checks open its series: their image sizes */
	cyc_particle_set *particles;
	/** Of half maps that do not exist yet, which a cycle will make; 0: those of options and set are checked.
	 */
	int32_t map_px;
	double map_pixel_size_A;
} cyc_project_view;
/** Index of the first tilt series with particles, which gives maps their pixel size. */
int32_t cyc_particle_set_first_series(const cyc_particle_set *s);
/** The most particles of one tilt series. */
int64_t cyc_particle_set_most(const cyc_particle_set *s);

/**
 * Hash of the content of tomograms and particles, continuing `h`: the structs, and all cells of the
 * tables they come from (tilt tables too). Not of the images: cyc_images_hash() of record.h. What a resumed
 * job compares its unfinished results with.
 */
uint64_t cyc_project_hash(uint64_t h, const cyc_tomogram_set *tomograms, const cyc_particle_set *particles);

/* ---------------------------------------------------------------- FSC of a post-process job */

typedef struct {
	int32_t n_shells;    /**< box/2 + 1 */
	int32_t box;         /**< 2 (n_shells - 1) */
	double pixel_size_A; /**< from the resolution column; 0 if it cannot be determined */
	double *corrected;   /**< rlnFourierShellCorrelationCorrected (unmasked where a file has only that) */
	double final_resolution_A;
} cyc_fsc_file;
/** Read the blocks general and fsc of a postprocess.star. NaN rows are errors. */
CYC_MUST_CHECK cyc_status cyc_fsc_file_read(cyc_fsc_file **out, const char *path);
void cyc_fsc_file_destroy(cyc_fsc_file **f);

/* ---------------------------------------------------------------- MTF of a detector */

typedef struct {
	int32_t n;
	double *inverse_px, *value; /**< n rows, in their order: 1/px of the detector */
} cyc_mtf_file;
/** Read the first table with rlnMtfValue. */
CYC_MUST_CHECK cyc_status cyc_mtf_file_read(cyc_mtf_file **out, const char *path);
void cyc_mtf_file_destroy(cyc_mtf_file **f);
/** Whether its rows go to a frequency, but for a step. */
bool cyc_mtf_file_reaches(const cyc_mtf_file *f, double inverse_px);

/* ---------------------------------------------------------------- job folders */

/** One name-value pair of job.star's joboptions_values. */
typedef struct {
	const char *variable, *value;
} cyc_job_option;
/**
 * Start a job in dir (created): removes old exit flags, writes job.star (variables sorted) and appends to
 * note.txt.
 * @param[in] type_label  e.g. "relion.ctfrefinetomo"
 * @note note.txt carries the date as RELION's does; results of jobs never do.
 */
CYC_MUST_CHECK cyc_status cyc_job_begin(const char *dir, const char *type_label,
                                        const cyc_job_option *options, int32_t n_options,
                                        const char *command_line);
/** Write the exit flag of a status: RELION_JOB_EXIT_SUCCESS, _FAILURE or _ABORTED. */
CYC_MUST_CHECK cyc_status cyc_job_end(const char *dir, cyc_status result);
/** Does the folder have the flag of success? */
bool cyc_job_has_finished(const char *dir);
/** Does it have any exit flag? */
bool cyc_job_has_ended(const char *dir);

/* ---------------------------------------------------------------- trajectories */

/** motion.star, written particle by particle: of 100,000 of them with 41 tilts each, the document takes a
 * gigabyte. */
typedef struct {
	cyc_outfile out;
	cyc_star *names; /**< of the particles so far, each once */
} cyc_trajectory_file;
CYC_MUST_CHECK cyc_status cyc_trajectory_file_open(cyc_trajectory_file *t, const char *path,
                                                   int64_t n_particles);
/** @param[in] displacement_A  n_tilts rows, in the order of the tilt series */
CYC_MUST_CHECK cyc_status cyc_trajectory_file_add(cyc_trajectory_file *t, const char *name,
                                                  const double (*displacement_A)[3], int32_t n_tilts);
/** Make the file appear. */
CYC_MUST_CHECK cyc_status cyc_trajectory_file_commit(cyc_trajectory_file *t);
/** Remove what was written so far; harmless after the commit, safe on a zeroed struct. */
void cyc_trajectory_file_abandon(cyc_trajectory_file *t);

/* ---------------------------------------------------------------- size */

/** What the memory of a job depends on. */
typedef struct {
	int32_t image_nx, image_ny;   /**< of the largest image; of a usual camera where no header was read */
	int32_t most_tilts, n_series; /**< series with particles */
	int64_t n_particles, most_particles, n_half[2]; /**< all, of one series, of the half-sets */
	double n_images;                                /**< particles times tilts, of all series */
	double most_pairs;                              /**< and most of one series */
	int32_t smallest_nx, smallest_ny,
		smallest_series; /**< smallest image, and whose; -1 where no header was read */
} cyc_project_size;
/** From tables and the header of one image of each series; images that cannot be read are passed over. */
CYC_MUST_CHECK cyc_status cyc_project_size_of(cyc_project_size *out, const cyc_tomogram_set *tomograms,
                                              const cyc_particle_set *set, const char *root);
/** CYC_E_SHAPE for windows that are larger than the images of a series. */
CYC_MUST_CHECK cyc_status cyc_project_require_window(const cyc_project_size *size,
                                                     const cyc_tomogram_set *tomograms, int32_t window_px);
/** Bytes that a program holds for its tables: particles with their rows, and tilts. */
double cyc_project_bytes(const cyc_project_size *size);
/** The most memory that separating the particles of a project takes [bytes]. */
double cyc_separate_memory_bytes(const cyc_project_size *size);

#ifdef __cplusplus
}
#endif
#endif
