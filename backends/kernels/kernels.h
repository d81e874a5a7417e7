/** @file kernels.h  All kernels: X(name, LANES), of which cyc_name_args, cyc_name_shared and
 * cyc_name_kernel() exist. */
#ifndef CYC_KERNELS_H
#define CYC_KERNELS_H

#include "backends/kernels/correlate.h"
#include "backends/kernels/ctf.h"
#include "backends/kernels/ctf_sums.h"
#include "backends/kernels/pack.h"
#include "backends/kernels/particle_image.h"
#include "backends/kernels/pose_scores.h"
#include "backends/kernels/poses.h"
#include "backends/kernels/slice_extract.h"
#include "backends/kernels/slice_insert.h"
#include "backends/kernels/window.h"

#define CYC_KERNEL_LIST(X)                                                                                   \
	X(any, CYC_ANY_LANES)                                                                                    \
	X(correlate_maps, CYC_CORRELATE_MAPS_LANES)                                                              \
	X(correlate_rows, CYC_CORRELATE_ROWS_LANES)                                                              \
	X(ctf, CYC_CTF_LANES)                                                                                    \
	X(ctf_sums, CYC_CTF_SUMS_LANES)                                                                          \
	X(image_cut, CYC_IMAGE_CUT_LANES)                                                                        \
	X(image_means, CYC_IMAGE_MEANS_LANES)                                                                    \
	X(image_weigh, CYC_IMAGE_WEIGH_LANES)                                                                    \
	X(modulate, CYC_MODULATE_LANES)                                                                          \
	X(pack, CYC_PACK_LANES)                                                                                  \
	X(pose_count, CYC_POSE_COUNT_LANES)                                                                      \
	X(pose_keep, CYC_POSE_KEEP_LANES)                                                                        \
	X(pose_ramps, CYC_POSE_RAMPS_LANES)                                                                      \
	X(pose_scores, CYC_POSE_SCORES_LANES)                                                                    \
	X(pose_terms, CYC_POSE_TERMS_LANES)                                                                      \
	X(scale, CYC_SCALE_LANES)                                                                                \
	X(slice_extract, CYC_SLICE_EXTRACT_LANES)                                                                \
	X(slice_insert, CYC_SLICE_INSERT_LANES)                                                                  \
	X(window_cut, CYC_WINDOW_CUT_LANES)                                                                      \
	X(window_means, CYC_WINDOW_MEANS_LANES)                                                                  \
	X(window_turn, CYC_WINDOW_TURN_LANES)

#endif
