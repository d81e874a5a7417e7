/* Shared by the mrc_*.c files only. */
#ifndef CYC_IO_MRC_INTERNAL_H
#define CYC_IO_MRC_INTERNAL_H

#include "cyclotomo/mrc.h"

enum { CYC__MRC_HEADER = 1024, CYC__MRC_LABEL = 224 };

/* Bytes per voxel of a mode this program reads, 0 for all others. */
size_t cyc__mrc_mode_bytes(int32_t mode);
/* n voxels of a mode as they lie in the file -> floats. */
void cyc__mrc_to_float(float *dst, const void *src, size_t n, int32_t mode, bool is_swapped);
void cyc__floats_to_half(uint16_t *dst, const float *src, size_t n);
/* Index of the first NaN or Inf, or n. */
size_t cyc__first_not_finite(const float *v, size_t n);

/* The second label of a sealed file. */
void cyc__mrc_seal(char text[81], uint64_t hash);

#endif
