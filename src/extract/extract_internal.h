/** @file extract_internal.h  The parts of the extraction: the selection of particles, the passes over the
 * images, volumes, and the files. */
#ifndef CYC_EXTRACT_INTERNAL_H
#define CYC_EXTRACT_INTERNAL_H

#include "cyclotomo/extract.h"
#include "images/tilt_batch.h"

#include <time.h>

/** Which particles are extracted, and which tilt images show them. */
typedef struct {
	uint8_t *visible;         /**< flags by tilt, of one particle after the other */
	size_t *first;            /**< n_particles: where its flags begin */
	int32_t *n_visible;       /**< n_particles */
	bool *is_kept;            /**< n_particles */
	int64_t n_kept, n_images; /**< of the kept */
	double height_frac;       /**< 3D volumes: largest |z| of all images' planes in Fourier space, 1 at the
	                             Nyquist frequency; sin(highest tilt) if orientations are not applied */
} cyc_extract_selection;
static inline const uint8_t *cyc__visible(const cyc_extract_selection *s, int64_t i)
{
	return s->visible + s->first[i];
}

/** One run of the job: what its parts share. */
typedef struct {
	const cyc_extract_options *o;
	const char *root;
	char *out_dir, *out; /**< relative to the root, with its final slash; with the root */
	cyc_optimisation_set *input;
	cyc_tomogram_set *tomograms;
	cyc_particle_set *particles;
	cyc_box box; /**< its pixel size is that of the first series with particles */
	int32_t crop_px;
	double available_bytes; /**< memory, at the start */
	char label[64];         /**< of all files of this input and these options */
	uint64_t key;           /**< the same, and of these very images */
	bool is_begun;          /**< an earlier run of this key has begun, */
	struct timespec begun;  /**< at this time: older files are of other images */
	cyc_extract_selection selection;
	bool *is_done;   /**< n_particles: files exist already */
	cyc_share share; /**< which series are extracted */
	cyc_backend *be;
	cyc_extract_result *result;
} cyc_extract_job;

/** Of an image of the particle: axes of its extracted volume to those of the image. */
static inline cyc_mat3 cyc__extract_orientation(const cyc_extract_options *o, const cyc_projection *p,
                                                const cyc_particle *particle)
{
	return cyc_mat3_mul(p->linear, o->apply_orientations ? particle->R_tomo_ref : particle->R_tomo_part);
}

/** Fill job->selection; opens the headers of all tilt series with particles. (T7.1) */
CYC_MUST_CHECK cyc_status cyc__extract_select(cyc_extract_job *j);
void cyc__extract_selection_deinit(cyc_extract_selection *s);

/** Name of a particle's file below the root: OUT/Subtomograms/NAME<suffix>, with a folder per tomogram if
 * names have none. Free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc__extract_file(char **name, const cyc_extract_job *j, int64_t i,
                                            const char *suffix);
#define CYC__SUFFIX_STACK "_stack2d.mrcs"
#define CYC__SUFFIX_DATA "_data.mrc"
#define CYC__SUFFIX_WEIGHTS "_weights.mrc"
/** Bytes of the files of particle i. */
double cyc__extract_file_bytes(const cyc_extract_job *j, int64_t i);
/** Set is_done of the particles whose files carry this run's label. */
CYC_MUST_CHECK cyc_status cyc__extract_find_done(cyc_extract_job *j);

/** Work memory of the passes over the images. */
typedef struct cyc_extract_work cyc_extract_work;
CYC_MUST_CHECK cyc_status cyc__extract_work_create(cyc_extract_work **out, const cyc_extract_job *j);
void cyc__extract_work_destroy(cyc_extract_work **w);
/** Bytes of work memory, all of a pass included. */
double cyc__extract_memory_bytes(const cyc_extract_job *j);
/** The same of the memory of a device. @param[in] job  a cyc_extract_job */
double cyc__extract_device_bytes(const void *job, size_t batch_bytes);
/** Extract and write all kept particles of a series that are not done. */
CYC_MUST_CHECK cyc_status cyc__extract_series(cyc_extract_job *j, cyc_extract_work *w, int32_t i_series);

/** Floats of a particle's 3D sums: c x c x (c/2+1) x {re, im, weight, multiplicity}. */
static inline size_t cyc__volume_sums(int32_t c) { return 4 * cyc_half_count3(c); }
/**
 * Add one image to a particle's 3D sums by trilinear spreading. (T7.4)
 * @param[in,out] sums  of cyc__volume_sums(c)
 * @param[in]  ft       s x sh, transform of the circle-cropped image, phase origin at its centre
 * @param[in]  ctf      s x sh or NULL: 1;  whiten: s x sh or NULL
 * @param[in]  limits   s: columns of each row that are inserted
 * @param[in]  R        R_img_part: image <- subtomogram
 */
void cyc__volume_insert(float *sums, int32_t c, const cyc_cfloat *ft, const float *ctf, const float *whiten,
                        int32_t s, const int32_t *limits, const cyc_mat3 *R);
/** Columns of each row that 3D insertion uses: in the Nyquist circle, up to the last whose dose weight is
 * above the cutoff. */
void cyc__volume_row_limits(int32_t *limits, int32_t s, double pixel_size_A, const cyc_tilt_series *ts,
                            int32_t i_tilt, double cutoff_frac);
/** Make and write the data and weight volumes of particle i of the set. */
CYC_MUST_CHECK cyc_status cyc__volume_write(const cyc_extract_job *j, int64_t i, const float *sums,
                                            const cyc_fft3 *fft, cyc_cfloat *ft);

/** Write particles.star, motion.star if particles were left out, and last the optimisation set. */
CYC_MUST_CHECK cyc_status cyc__extract_write_stars(cyc_extract_job *j);

#endif
