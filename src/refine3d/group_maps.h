/**
 * @file group_maps.h
 * Half-sets divided into groups, each with a reference made from all other groups of its half-set. No
 * particle contributes to the reference it is compared with. (T8.5)
 */
#ifndef CYC_REFINE3D_GROUP_MAPS_H
#define CYC_REFINE3D_GROUP_MAPS_H

#include "refine3d/half_maps.h"

/** The sums of groups, inside the sphere of frequencies that a reference needs. */
typedef struct cyc_group_maps cyc_group_maps;

/**
 * Number of groups if the smaller half-set has n particles; 0: too few to divide. A reference lacks 1/K of
 * the images of its half-set, and costs K preparations. (T8.15)
 */
int32_t cyc_group_count(int64_t n);
/** Largest number of groups. */
enum { CYC_MOST_GROUPS = 5 };

/**
 * @param[in] n_groups  K, 2 to CYC_MOST_GROUPS
 * @param[in] group     K numbers 0 .. K - 1, one per particle of the set; borrowed
 * @param[in] radius    last shell of the references that will be made (of a box of crop_px)
 * @param[in] spec      borrowed
 */
CYC_MUST_CHECK cyc_status cyc_group_maps_create(cyc_group_maps **out, const cyc_half_maps_spec *spec,
                                                int32_t n_groups, const int32_t *group, int32_t radius);
void cyc_group_maps_destroy(cyc_group_maps **g);
/** Whether sums for references of another last shell would be the same. */
bool cyc_group_maps_fits(const cyc_group_maps *g, int32_t radius);
/** Bytes of the sums, and of one reference of both half-sets with signal up to a shell. */
double cyc_group_maps_bytes(const cyc_group_maps *g);
double cyc_group_maps_reference_bytes(const cyc_group_maps *g, int32_t radius);
/** Of sums to some radius. */
double cyc_group_sums_bytes(int32_t n_groups, double radius);
int32_t cyc_group_maps_n_groups(const cyc_group_maps *g);
/** Last shell that references can have. */
int32_t cyc_group_maps_radius(const cyc_group_maps *g);

/**
 * Add all particles at the current poses of `set`, in place of those added before. Same bits for any number
 * of threads.
 */
CYC_MUST_CHECK cyc_status cyc_group_maps_insert(cyc_group_maps *g, cyc_tomogram_set *tomograms,
                                                const cyc_particle_set *set, const char *root);
/** Sum of all particles of a half-set to the edge of the box, symmetrised; borrowed until it is dropped. */
const cyc_half_sum *cyc_group_maps_full(const cyc_group_maps *g, int32_t half);
/** Free what only cyc_group_maps_full() needs. */
void cyc_group_maps_drop_full(cyc_group_maps *g);
/**
 * References of group i: half[h] is of all other groups of half-set h, joined with the other half-set coarser
 * than join_A, with the Wiener factor of (K - 1)/K of a half-set's images.
 * @param[in] fsc  of the half maps, crop_px/2 + 1 shells
 * @param[in,out] out  a reference that was made from the same g before is written over; else *out must be
 * NULL
 */
CYC_MUST_CHECK cyc_status cyc_group_maps_reference(cyc_reference **out, cyc_group_maps *g, int32_t i,
                                                   const double *fsc, double lowpass_A, double grey_scale);

#endif
