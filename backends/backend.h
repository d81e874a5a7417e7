/**
 * @file backend.h
 * The seam between the science and what runs the few heavy operations.
 *
 * Science modules hold buffers of a backend and call its operations on batches (the particles seen in one
 * tilt image); they never know who runs them. `cpu` is the readable reference; `cuda` is a plug-in for NVIDIA
 * GPUs; `emulate` runs the kernels of the GPU on the host; `strict` is a fake device with its own memory, on
 * which host code that touches device memory faults at once. An operation overwrites its
 * outputs fully unless it says "adds to". Same inputs give the same bits on one backend, whatever its number
 * of threads. Calls on one backend are serial. Arguments come in the order outputs, backend, inputs; more
 * inputs than a reader can tell apart at a call are members of a struct, which is read during the call only.
 *
 * Shapes: s = box in binned px, sh = s/2 + 1. Half planes are s x sh, corner origin, row y for y < s/2, else
 * y - s; phase origin on the particle (pixel s/2 of the window). Transforms of windows are unitary (divided
 * by the box edge).
 */
#ifndef CYC_BACKEND_H
#define CYC_BACKEND_H

#include "backends/pose_rows.h"
#include "cyclotomo/array.h"
#include "cyclotomo/geom.h"

typedef struct cyc_backend cyc_backend;
/** Memory of a backend; its address means nothing to host code. */
typedef struct cyc_buffer cyc_buffer;

/**
 * @param name  "cpu", "strict", "emulate" or "emulate:SEED" (of the order of blocks and lanes), "cuda" or
 * "cuda:NUMBER" of the device; "cuda:0,2": the one of this process (cyc_backend_set_place()); "auto": cuda
 * where a device can be used, else cpu, and one line in the log if the plug-in is installed all the same.
 * NULL: cpu
 * @return CYC_E_DEVICE naming what there is for another name, CYC_E_UNSUPPORTED for a device that cannot be
 * used, CYC_E_USAGE for options that make no sense
 */
CYC_MUST_CHECK cyc_status cyc_backend_open(cyc_backend **out, const char *name, int n_threads);
/** Bytes of a batch of images, where nothing speaks for less. */
#define CYC_BATCH_BYTES ((size_t)512 << 20)
/** What a job takes of the memory of a device. */
typedef struct {
	/** Most bytes at one time, if a batch of images has at most `batch_bytes`. */
	double (*bytes)(const void *job, size_t batch_bytes);
	const void *job;
	double more_bytes; /**< what it takes besides where there is room */
	const char *less;  /**< hint: which options need less */
	bool is_least;     /**< what the job needs will be known better: cyc_backend_fit() follows */
} cyc_device_plan;
/**
 * As cyc_backend_open(), for a job that is about to begin. A GPU is tried once in a process: does each
 * operation compute on small inputs what it computes on the cpu? Of a device it says what the job needs there
 * and what is free. Where that does not suffice, batches become smaller, which changes no result. Where a
 * device cannot be used "auto" takes the cpu, with the reason in the log, and others are refused.
 * @return CYC_E_DEVICE_NOMEM with both figures; CYC_E_UNSUPPORTED naming an operation that gives another
 * result
 */
CYC_MUST_CHECK cyc_status cyc_backend_open_for(cyc_backend **out, const char *name, int n_threads,
                                               const cyc_device_plan *plan);
/** Once more for a job that knows better what it needs; batches stay as they are. */
CYC_MUST_CHECK cyc_status cyc_backend_fit(cyc_backend *be, const cyc_device_plan *plan);
/** Most bytes that a batch of images shall have. */
size_t cyc_backend_batch_bytes(const cyc_backend *be);
/** Bytes that a device has for this backend beside what is planned; HUGE_VAL: it computes in the host's
 * memory. */
double cyc_backend_spare_bytes(const cyc_backend *be);
/** Whether there is one of this name, with all devices that it lists, for checks before a job begins. */
CYC_MUST_CHECK cyc_status cyc_backend_check(const char *name);
/** Number of devices that a name lists: 2 for "cuda:0,2", else 1. */
int cyc_backend_n_devices(const char *name);
/**
 * Number of this process among those of its machine that work together: which device of a list is its own,
 * and without a list which of the machine. To be called before a backend is opened; 0 if it is not.
 */
void cyc_backend_set_place(int place);
/** The backend whose bits a backend's results have, for keys: strict and emulate compute as cpu does. */
const char *cyc_backend_bits(const char *name);
void cyc_backend_close(cyc_backend **be);
const char *cyc_backend_name(const cyc_backend *be);
int cyc_backend_n_threads(const cyc_backend *be);

/** Zeroed memory. */
CYC_MUST_CHECK cyc_status cyc_buffer_create(cyc_buffer **out, cyc_backend *be, size_t n, size_t size);
void cyc_buffer_destroy(cyc_buffer **b);
size_t cyc_buffer_bytes(const cyc_buffer *b);
/** Copy n bytes of host memory to the start of a buffer. */
CYC_MUST_CHECK cyc_status cyc_buffer_upload(cyc_buffer *b, const void *host, size_t n_bytes);
CYC_MUST_CHECK cyc_status cyc_buffer_download(void *host, const cyc_buffer *b, size_t n_bytes);
/**
 * Make *b hold n bytes of host memory. A backend that computes in the host's memory uses them where they are:
 * they must stay unchanged until the next call or cyc_buffer_destroy(), and the buffer is for reading.
 * Another one copies them, to memory that grows as needed.
 * @param[in,out] b  NULL, or what an earlier call with this backend has made
 */
CYC_MUST_CHECK cyc_status cyc_buffer_show(cyc_buffer **b, cyc_backend *be, void *host, size_t n_bytes);
/**
 * Host access to a buffer until cyc_buffer_unmap(): the memory itself where it is the host's, else a copy.
 * No operation may use a mapped buffer.
 */
CYC_MUST_CHECK cyc_status cyc_buffer_map(void *host_out, cyc_buffer *b);
CYC_MUST_CHECK cyc_status cyc_buffer_unmap(cyc_buffer *b);
/** As cyc_buffer_map(), of n bytes from byte `first`. */
CYC_MUST_CHECK cyc_status cyc_buffer_map_part(void *host_out, cyc_buffer *b, size_t first, size_t n_bytes);
/** As cyc_buffer_map(), to be written whole: what the buffer holds is not copied. */
CYC_MUST_CHECK cyc_status cyc_buffer_map_discard(void *host_out, cyc_buffer *b);

/* ---------------------------------------------------------------- windows */

/** How windows are cut: docs/theory/01-image-formation.md, (T1.11). */
typedef struct {
	int32_t box_px;      /**< S, edge of the window in the image, even */
	int32_t box_binned;  /**< s <= S, even */
	bool no_circle_crop; /**< keep the corners */
	bool is_partial; /**< pixels outside the image are the mean of the window's corners (0 after the crop),
	                    instead of copies of the border */
	int32_t radius;  /**< > 0: coefficients with |kx| or |ky| beyond it are not wanted, and are 0 */
	int32_t n_rows;  /**< > 0: only so many rows in the middle of the windows are not zero; even */
} cyc_window_spec;

/** Width of the soft edge of the circle crop [px]. */
#define CYC_CIRCLE_EDGE_PX 5.0
/** Weight of the circle crop at distance r [px] from the centre of a window of edge box_px. */
double cyc_circle_crop_weight(int32_t box_px, double r_px);
/** Mean square of these weights over the window: the part of white noise that the crop leaves. */
double cyc_circle_crop_power(int32_t box_px);

/**
 * Cut n windows around positions of an image, transform, bin, centre.
 * @param[out] ft      n x s x sh complex
 * @param[in]  image   ny x nx float
 * @param[in]  at_px   n x 2 host doubles (x, y)
 * @param[in]  spec    same for all calls on large batches: plans are kept
 */
CYC_MUST_CHECK cyc_status cyc_op_window(cyc_buffer *ft, cyc_backend *be, const cyc_buffer *image, int32_t nx,
                                        int32_t ny, const double *at_px, int32_t n,
                                        const cyc_window_spec *spec);

/* ---------------------------------------------------------------- CTF */

typedef struct {
	const cyc_buffer *turns;    /**< s x sh float: gamma of the tilt / 2 pi, reduced to [-1/2, 1/2] */
	const cyc_buffer *envelope; /**< s x sh float */
	const cyc_buffer *k2;       /**< s x sh float: |k|^2 [index^2] where magnification makes it another one
	                               than the image's (T1.14); NULL: it does not */
	const double *turns_per_k2; /**< n: -lambda (extra defocus) / 2, unit 1/(index^2) */
	int32_t n, s;
} cyc_ctf_in;
/**
 * CTF and its quadrature for n particles of one tilt image:
 *   c = -envelope sin(2 pi (turns + turns_per_k2 k^2)),  q = -envelope cos(...) (T1.6) so that an error d of
 * the phase gives c cos d + q sin d.
 * @param[out] ctf, quadrature  n x s x sh float; quadrature NULL: not wanted
 */
CYC_MUST_CHECK cyc_status cyc_op_ctf(cyc_buffer *ctf, cyc_buffer *quadrature, cyc_backend *be,
                                     const cyc_ctf_in *in);

/* ---------------------------------------------------------------- particle images */

/** How images of particles are made of the transforms of their windows: docs/theory/07-extract.md, (T7.2). */
typedef struct {
	int32_t box_binned;  /**< s */
	int32_t circle_px;   /**< c <= s, diameter of the circle crop, even */
	int32_t edge_px;     /**< edge of the images: c or s, the middle of the box */
	bool no_circle_crop; /**< neither circle nor mean are taken off */
	double factor;       /**< of the grey values; negative: contrast inverted */
} cyc_particle_image_spec;
/**
 * Images of particles from the transforms of their windows: inverse transform, circle crop, cut.
 *   y = FT^-1[factor ctf X conj(phase) whiten],   image = g (y - mean of y outside the circle) (T7.2)
 * @param[out] images  n x edge x edge float
 * @param[in]  ctf     n x s x sh float, or NULL: 1;  phase, whiten: as in cyc_op_modulate()
 */
CYC_MUST_CHECK cyc_status cyc_op_particle_image(cyc_buffer *images, cyc_backend *be, const cyc_buffer *ft,
                                                const cyc_buffer *ctf, const cyc_buffer *phase,
                                                const cyc_buffer *whiten, const cyc_particle_image_spec *spec,
                                                int32_t n);

/* ---------------------------------------------------------------- insertion */

/** Edge of the packed slices below: (s + 4) rows x (sh + 1) columns x {re, im, weight, 0}. */
static inline size_t cyc_packed_count(int32_t s) { return (size_t)(s + 4) * (size_t)(s / 2 + 2) * 4; }
typedef struct {
	const cyc_buffer *ft;          /**< n x s x sh complex */
	const cyc_buffer *ctf;         /**< n x s x sh float, or NULL */
	const cyc_buffer *phase;       /**< s x sh complex, exp(i odd phase), or NULL: 1 */
	const cyc_buffer *whiten;      /**< s x sh float, or NULL: 1 */
	const double *particle_weight; /**< n factors of data and weight alike, or NULL: 1 */
	int32_t first;                 /**< slice of `packed` that the first image becomes */
	int32_t n, s;
} cyc_modulate_in;
/**
 * Observations to what is inserted: d = -ctf X conj(phase) whiten, w = ctf^2 whiten; d = -X..., w = whiten if
 * ctf is NULL. (T2.1)
 * @param[out] packed  (first + n) x cyc_packed_count(s) float; slices before the first are kept
 */
CYC_MUST_CHECK cyc_status cyc_op_modulate(cyc_buffer *packed, cyc_backend *be, const cyc_modulate_in *in);
typedef struct {
	const cyc_buffer *ft;           /**< n x s x sh complex */
	const cyc_buffer *ctf;          /**< n x s x sh float */
	const cyc_buffer *share, *rest; /**< s x sh float: how much of the CTF's oscillation is left in cropped
	                                   images, and what stands for the other part */
	bool is_premultiplied;          /**< the images were multiplied by the CTF before they were cropped */
	int32_t first;                  /**< slice of `packed` that the first image becomes */
	int32_t n, s;
} cyc_pack_in;
/**
 * As cyc_op_modulate() for images that an extraction made, bright particles and aberrations taken off: d = X
 * if they were multiplied by the CTF then, else ctf X;  w = share ctf^2 + rest;  both 0 where share and rest
 * are.                (T7.6)
 * @param[out] packed  (first + n) x cyc_packed_count(s) float; slices before the first are kept
 */
CYC_MUST_CHECK cyc_status cyc_op_pack(cyc_buffer *packed, cyc_backend *be, const cyc_pack_in *in);
/** Packed slices of n images. Host arrays are read during the call only. */
typedef struct {
	const cyc_mat3 *M;     /**< n: reference index -> slice index (R_img_ref times the pixel size ratio) */
	const int32_t *radius; /**< n radii in index units, <= s/2; 0: nothing is inserted */
	const int8_t *use;     /**< n flags or NULL: slices with use[i] != select are left out */
	int8_t select;
	int32_t n, s; /**< s: of the packed slices */
} cyc_slices;
/** 2^50: what is added at once is rounded exactly below this. */
#define CYC_MOST_ADDED 1125899906842624.0
/** What slices are added to: 64-bit integers, whose sums do not depend on the order of additions. (T2.10) */
typedef struct {
	const cyc_ball *ball; /**< voxels; top < s/2 */
	int32_t inner;        /**< voxels |p| <= inner are left out; -1: none */
	double scale[2];      /**< integers per unit of data and of weight: powers of two */
	double limit;         /**< largest integer that one addition may add, <= 2^50 */
} cyc_sum_spec;
/**
 * Add slices to a 3D sum: for each voxel p of the ball, |p| <= radius, with (u,v,h) = M p and |h| < 1:
 *   sum(p) += round(scale (1 - |h|) bilinear(packed; u, v))   (T2.2), (T2.10)
 * Each value is rounded, so how slices are shared out among calls does not show. Many slices per call are
 * faster: the sum is far larger than any cache.
 * @param[in,out] sum     ball.count x {re, im, weight} int64_t; adds to
 * @param[in]     packed  n x cyc_packed_count(s) float
 * @return CYC_E_DATA if something is larger than the limit, or not a number; the sum is then of no use
 */
CYC_MUST_CHECK cyc_status cyc_op_slice_insert(cyc_buffer *sum, cyc_backend *be, const cyc_sum_spec *spec,
                                              const cyc_buffer *packed, const cyc_slices *slices);

/* ---------------------------------------------------------------- extraction */

/** Complex values of a reference for slicing: edge x edge x (edge/2 + 2) (one spare column). */
static inline size_t cyc_reference_count(int32_t edge)
{
	return (size_t)edge * (size_t)edge * (size_t)(edge / 2 + 2);
}
typedef struct {
	const cyc_buffer *reference; /**< edge x edge x (edge/2 + 2) complex, corner origin, phase origin at the
	                                map's centre */
	int32_t m;                   /**< edge of the padded map that it is the transform of */
	int32_t
		edge; /**< <= m, even: of the cube about the origin that is held; all beyond it is 0, as is its rim */
	const cyc_mat3 *M; /**< n matrices R_img_ref */
	int32_t radius;    /**< index units of the slices */
	const int8_t *use; /**< n flags or NULL: slices with use[i] != select keep what `ft` holds */
	int8_t select;
	int32_t n, s;
} cyc_slice_extract_in;
/**
 * Central slices of a reference by trilinear interpolation: V(k) = F(M^T (kx, ky, 0) m/s), 0 beyond the
 * radius.      (T4.1)
 * @param[out] ft  n x s x sh complex
 */
CYC_MUST_CHECK cyc_status cyc_op_slice_extract(cyc_buffer *ft, cyc_backend *be,
                                               const cyc_slice_extract_in *in);

/* ---------------------------------------------------------------- statistics of CTF refinement */

/** Sums per Fourier coefficient of one tilt image over its particles, docs/theory/04-ctf-refinement.md
 * (T4.3). */
enum {
	CYC_SUM_CC,
	CYC_SUM_CQ,
	CYC_SUM_QQ,
	CYC_SUM_XC_RE,
	CYC_SUM_XC_IM,
	CYC_SUM_XQ_RE,
	CYC_SUM_XQ_IM,
	CYC_SUM_PC,
	CYC_SUM_PQ,
	CYC_N_SUMS
};
typedef struct {
	const cyc_buffer *ft, *prediction;  /**< n x s x sh complex: X, V */
	const cyc_buffer *ctf, *quadrature; /**< n x s x sh float: c, q */
	const cyc_buffer *phase;            /**< s x sh complex, exp(i odd phase), or NULL: 1 */
	int32_t radius;
	const int8_t *use; /**< n flags or NULL: particles with use[i] != select are left out */
	int8_t select;
	int32_t n, s;
} cyc_ctf_sums_in;
/**
 * With v = |V|^2, a = -X conj(phase) conj(V), p = |X|^2: sums of v c c, v c q, v q q, of the complex a c, a
 * q, and of p c c, p c q over the particles, in their order.
 * @param[in,out] sums  CYC_N_SUMS x s x sh double; adds to; coefficients beyond the radius are not touched
 */
CYC_MUST_CHECK cyc_status cyc_op_ctf_sums(cyc_buffer *sums, cyc_backend *be, const cyc_ctf_sums_in *in);

/* ---------------------------------------------------------------- local correlation of polishing */

/** A local grid of displacements: n x n points, spacing step_px, the middle one is 0. */
typedef struct {
	int32_t n; /**< odd */
	double step_px;
} cyc_local_grid;
/** Curvature terms per particle: sums of weight c^2 |V|^2 times 1, kx^2, kx ky, ky^2 (index units). */
enum { CYC_CURVE_1, CYC_CURVE_XX, CYC_CURVE_XY, CYC_CURVE_YY, CYC_N_CURVE };
typedef struct {
	const cyc_buffer *ft, *prediction; /**< n x s x sh complex: X, V */
	const cyc_buffer *ctf;             /**< n x s x sh float: c */
	const cyc_buffer *phase;           /**< s x sh complex, exp(i odd phase), or NULL: 1 */
	const cyc_buffer *weight; /**< s x sh float: what the coefficient counts (1/noise, share of the half
	                             plane, 0 where it is not used) */
	const cyc_buffer *self;   /**< s x sh float: part of each image in its own reference (T4.14), or NULL */
	int32_t radius;
	cyc_local_grid grid;
	int32_t n, s;
} cyc_correlate_in;
/**
 * Cross-correlation of observations with their predictions near zero displacement, exactly, by direct
 * summation: map(d) = sum_k weight Re[(-X conj(phase) conj(c V) - self c^2 |X|^2) exp(2 pi i k.d / s)] (T6.2)
 * over the half plane within the radius. The caller's weight is 0 at k = 0, whose grey level carries no
 * information.
 * @param[out] maps    n x grid.n x grid.n float (y slow)
 * @param[out] curves  n x CYC_N_CURVE double
 */
CYC_MUST_CHECK cyc_status cyc_op_correlate(cyc_buffer *maps, cyc_buffer *curves, cyc_backend *be,
                                           const cyc_correlate_in *in);

/* ---------------------------------------------------------------- poses of particles */

/**
 * Images of particles as coefficients of one list (refine3d/particle_images.h), each a beginning of it, one
 * image after the other in two buffers; and the references that they are compared with.
 */
typedef struct {
	const cyc_buffer *fx, *fy;                  /**< n float: frequencies of the list */
	const cyc_buffer *shell;                    /**< n int32_t */
	int32_t n, box_px;                          /**< of the list */
	const cyc_buffer *data, *weight;            /**< complex D, float W of (T8.1) */
	size_t n_data;                              /**< their length */
	const cyc_buffer *maps[CYC_MOST_POSE_MAPS]; /**< n_maps references as of cyc_slice_extract_in */
	bool has_spread[CYC_MOST_POSE_MAPS];
	const cyc_buffer *spread; /**< n_maps x (box/2 + 1) float: variance of the prediction (T8.19) where
	                             has_spread; or NULL */
	double
		zoom[CYC_MOST_POSE_MAPS]; /**< m/s as of cyc_slice_extract_in: samples of a reference per frequency */
	int32_t edge[CYC_MOST_POSE_MAPS]; /**< as there */
	int32_t n_maps;
} cyc_pose_images;
/**
 * What images say at poses: the sums of (T8.3), exact derivatives of the interpolated reference. With share =
 * 1 / (1 + s^2 W spread), or 1: Y = share D exp(2 pi i k.d/box), and W is share W (T8.19). Sums are of single
 * precision in CYC_POSE_LANES columns of each block of CYC_POSE_BLOCK coefficients; columns, then blocks, are
 * added in double precision in their order.
 * @param[out] sums  n x CYC_N_POSE_TERMS double
 * @param[in]  rows  n; host memory, read during the call
 */
CYC_MUST_CHECK cyc_status cyc_op_pose_terms(cyc_buffer *sums, cyc_backend *be, const cyc_pose_images *images,
                                            const cyc_pose_row *rows, int64_t n);
/** What is tried in one call. Host memory, read during the call. */
typedef struct {
	const cyc_pose_trial *trials;
	int32_t n;
	const cyc_pose_image *images; /**< n_images */
	int32_t n_images;
	const cyc_pose_rotation
		*rotations; /**< n_rotations; those of the trials follow each other, without gaps */
	int32_t n_rotations;
	const cyc_pose_offset *offsets; /**< n_offsets */
	int32_t n_offsets;
	double margin; /**< samples whose log posterior is more than this below the best of their trial are left
	                  out */
} cyc_pose_trials;
/** Samples of all trials, none left out. */
int64_t cyc_pose_trials_count(const cyc_pose_trials *in);
/**
 * Scores of all pairs of rotations and offsets of each trial (T8.2): for each image and block of
 * CYC_POSE_BLOCK coefficients Re[Y V*] and W |V|^2 are added in single precision in the order of the list,
 * and blocks, then images, in double precision; Y = share D exp(2 pi i (kx d_x/box + ky d_y/box)) in single
 * precision.
 * @param[out] samples  cyc_pose_trials_count() cyc_pose_sample: those that are kept, by trial, rotation,
 * offset
 * @param[out] counts   n, host memory: how many of each trial
 */
CYC_MUST_CHECK cyc_status cyc_op_pose_scores(cyc_buffer *samples, int64_t *counts, cyc_backend *be,
                                             const cyc_pose_images *images, const cyc_pose_trials *in);

/* ---------------------------------------------------------------- 3D transforms */

/** ft (s x s x sh complex) = unscaled forward transform of real (s^3 float). */
CYC_MUST_CHECK cyc_status cyc_op_fft3_forward(cyc_buffer *ft, cyc_backend *be, const cyc_buffer *real,
                                              int32_t s);
/** real = inverse transform of ft divided by s^3; destroys ft. */
CYC_MUST_CHECK cyc_status cyc_op_fft3_inverse(cyc_buffer *real, cyc_backend *be, cyc_buffer *ft, int32_t s);

/* ---------------------------------------------------------------- for implementers */

/** Address of a buffer in the memory of its backend; NULL for NULL. */
const void *cyc_buffer_address(const cyc_buffer *b);
/**
 * The operations of a backend, on addresses in its own memory; of buffers in a struct, cyc_buffer_address()
 * has them. registry.c checks sizes before it calls them. `self` is what create() made.
 */
struct cyc_backend_ops {
	const char *name;
	/** @param[in] options  after the colon of the name, or "" */
	cyc_status (*create)(void **self, int n_threads, const char *options);
	void (*destroy)(void *self);
	cyc_status (*alloc)(void *self, void **address, size_t bytes);
	void (*free)(void *self, void *address, size_t bytes);
	cyc_status (*upload)(void *self, void *address, const void *host, size_t bytes);
	cyc_status (*download)(void *self, void *host, const void *address, size_t bytes);
	/** Operations may be given the host's own memory: it is neither guarded nor copied. */
	bool uses_host_memory;
	/** NULL, as unmap: the host cannot reach the memory, and registry.c makes a copy. */
	cyc_status (*map)(void *self, void **host, void *address, size_t bytes, bool is_discarded);
	cyc_status (*unmap)(void *self, void *host, void *address, size_t bytes);
	/* Brackets of every operation, for devices that guard their memory; may be NULL. */
	void (*enter)(void *self, void *address, size_t bytes);
	void (*leave)(void *self, void *address, size_t bytes);
	/** After every operation of a backend that queues them; may be NULL. */
	cyc_status (*finish)(void *self);
	cyc_status (*window)(void *self, cyc_cfloat *ft, const float *image, int32_t nx, int32_t ny,
	                     const double *at_px, int32_t n, const cyc_window_spec *spec);
	cyc_status (*ctf)(void *self, float *ctf, float *quadrature, const cyc_ctf_in *in);
	cyc_status (*particle_image)(void *self, float *images, const cyc_cfloat *ft, const float *ctf,
	                             const cyc_cfloat *phase, const float *whiten,
	                             const cyc_particle_image_spec *spec, int32_t n);
	cyc_status (*pack)(void *self, float *packed, const cyc_pack_in *in);
	cyc_status (*modulate)(void *self, float *packed, const cyc_modulate_in *in);
	cyc_status (*slice_insert)(void *self, int64_t *sum, const cyc_sum_spec *spec, const float *packed,
	                           const cyc_slices *slices);
	cyc_status (*slice_extract)(void *self, cyc_cfloat *ft, const cyc_slice_extract_in *in);
	cyc_status (*ctf_sums)(void *self, double *sums, const cyc_ctf_sums_in *in);
	cyc_status (*correlate)(void *self, float *maps, double *curves, const cyc_correlate_in *in);
	cyc_status (*pose_terms)(void *self, double *sums, const cyc_pose_images *images,
	                         const cyc_pose_row *rows, int64_t n);
	cyc_status (*pose_scores)(void *self, cyc_pose_sample *samples, int64_t *counts,
	                          const cyc_pose_images *images, const cyc_pose_trials *in);
	cyc_status (*fft3_forward)(void *self, cyc_cfloat *ft, const float *real, int32_t s);
	cyc_status (*fft3_inverse)(void *self, float *real, cyc_cfloat *ft, int32_t s);
};
/** Whether the profile counts what a backend does (it does). */
void cyc__backend_count(cyc_backend *be, bool is_counted);
extern const struct cyc_backend_ops cyc_backend_cpu, cyc_backend_strict;

#endif
