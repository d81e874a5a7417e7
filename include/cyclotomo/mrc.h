/**
 * @file mrc.h
 * MRC maps, images and stacks: modes 0, 1, 2, 6, 12 (float16), both byte orders, extended headers.
 *
 * Names as in STAR files: "img.mrc", "000001@stack.mrcs" (1-based section), "x.ctf:mrc" (":ext" overrides the
 * extension, which decides between volume and stack). See docs/formats/mrc.md.
 */
#ifndef CYCLOTOMO_MRC_H
#define CYCLOTOMO_MRC_H

#include "cyclotomo/array.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
	int32_t nx, ny, nz;
	int32_t mode;        /**< 0 int8, 1 int16, 2 float32, 6 uint16, 12 float16, 101 is refused */
	bool is_swapped;     /**< byte order differs from this machine's */
	bool is_stack;       /**< by the extension: nz counts images */
	double pixel_size_A; /**< cell_x / mx; 0 if not given */
	double pixel_size_y_A,
		pixel_size_z_A; /**< along the other axes, 0 if not given; of stacks z has no meaning */
	int64_t data_offset_bytes;
} cyc_mrc_info;

/** A name split into its parts. `section` is 0 if none was given (else 1-based). Free `path` with cyc_free().
 */
CYC_MUST_CHECK cyc_status cyc_mrc_split_name(char **path, int64_t *section, bool *is_stack, const char *name);
/** cyc_path_join() for such names: the root goes after "N@". Free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_mrc_join_name(char **out, const char *root, const char *name);
/** Header of a file; checks that the file is long enough for its data. Errors name file, expected and found.
 */
CYC_MUST_CHECK cyc_status cyc_mrc_read_info(cyc_mrc_info *out, const char *name);
/** Whole file (or the one section of "N@x") as float32. CYC_E_DATA if a voxel is NaN or Inf, saying where. */
CYC_MUST_CHECK cyc_status cyc_mrc_read(cyc_volume **out, const char *name);
/** A cubic map with even edge and a pixel size; the errors name which of these is missing. */
CYC_MUST_CHECK cyc_status cyc_mrc_read_map(cyc_volume **out, const char *name);
/** The same on n_threads threads. */
CYC_MUST_CHECK cyc_status cyc_mrc_read_threaded(cyc_volume **out, const char *name, int n_threads);
CYC_MUST_CHECK cyc_status cyc_mrc_read_map_threaded(cyc_volume **out, const char *name, int n_threads);
/** One image (nx x ny of `info`) into dst; `section` 0-based. CYC_E_DATA on NaN/Inf. Thread-safe. */
CYC_MUST_CHECK cyc_status cyc_mrc_read_section(float *dst, const cyc_mrc_info *info, const char *path,
                                               int64_t section);

/**
 * Write a volume (".mrc") or stack (".mrcs", by the extension) to a temporary name, then rename.
 * @param[in] mode   2 float32 or 12 float16 (round half away from zero, clamp to +-65504).
 * @param[in] label  provenance line for the header ("cyclotomo 0.2.0 reconstruct"), NULL for the program's
 * name; no time or host.
 * @return CYC_E_DATA if a voxel is NaN or Inf (nothing is written), CYC_E_IO.
 */
CYC_MUST_CHECK cyc_status cyc_mrc_write(const char *path, const cyc_volume *v, int32_t mode,
                                        const char *label);

/** As cyc_mrc_write(), to the same file; the header's figures are computed on other threads meanwhile. */
CYC_MUST_CHECK cyc_status cyc_mrc_write_threaded(const char *path, const cyc_volume *v, int32_t mode,
                                                 const char *label, int n_threads);

/** As cyc_mrc_write(); the header's second label is a hash of the data, for cyc_mrc_is_sealed(). */
CYC_MUST_CHECK cyc_status cyc_mrc_write_sealed(const char *path, const cyc_volume *v, int32_t mode,
                                               const char *label);

/**
 * Is there a whole file of this size and mode with this label, as cyc_mrc_write() makes it? For resumed jobs,
 * whose labels carry a hash of what made the file. A file that is not there or is anything else gives false,
 * never an error.
 */
bool cyc_mrc_is_written(const char *path, int32_t nx, int32_t ny, int32_t nz, int32_t mode,
                        const char *label);
/** The same for a file of cyc_mrc_write_sealed(), all of whose data is read and must be as it was written. */
bool cyc_mrc_is_sealed(const char *path, int32_t nx, int32_t ny, int32_t nz, int32_t mode, const char *label);

uint16_t cyc_float_to_half(float v);
float cyc_half_to_float(uint16_t h);

#ifdef __cplusplus
}
#endif
#endif
