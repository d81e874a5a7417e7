/**
 * @file dialect.h
 * The language that kernels are written in: what C17 and C++17 have in common. A C compiler makes loops of a
 * kernel (backend `emulate`), nvcc makes it run on a GPU; the statements are the same, and so are the bits.
 *
 * A kernel is called for a number of blocks, each of a fixed number of lanes, and may not depend on the order
 * of either. Its body consists of passes over the lanes:
 *
 *   CYC_KERNEL(example)                       // cyc_example_args *a, cyc_block block, cyc_example_shared *sh
 *   {
 *     CYC_PER_LANE(float, sum, CYC_EXAMPLE_LANES);
 *     CYC_LANES(lane) {                       // all lanes, in any order
 *       sh->value[lane] = ...;
 *       CYC_BARRIER(lane);                    // from here on they see what was written to `sh` above
 *       CYC_MINE(sum) = sh->value[...];       // a lane's own variable, kept from pass to pass
 *     }
 *   }
 *
 * CYC_LANES begins with a barrier, too. What stands outside of the passes is the same for all lanes and
 * writes nothing but plain local variables. In a pass, `continue` ends the work of the lane until the next
 * barrier. Variables of a pass end at its barriers. Memory beyond `sh` is written by one lane of one block
 * each: there are no atomics.
 *
 * Arithmetic is compiled without contraction (-ffp-contract=off, -fmad=false) and uses only what IEEE 754
 * rounds exactly: + - * / sqrt, conversions, floor and ceil. Sines and the like come in tables that the host
 * made.
 */
#ifndef CYC_DIALECT_H
#define CYC_DIALECT_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/** A complex number. */
typedef struct {
	float re, im;
} cyc_pair;
/** A value of a packed slice (cyc_packed_count()). */
typedef struct {
	float re, im, weight, none;
} cyc_quad;
/** Shared memory of kernels that need none. */
typedef struct {
	unsigned char none;
} cyc_no_shared;

#ifdef __CUDACC__
/** A block: its number. */
typedef struct {
	int64_t index;
} cyc_block;
#define CYC_ON_DEVICE static __device__ __forceinline__
#define CYC_LANES(lane)                                                                                      \
	for (int32_t lane = (__syncthreads(), (int32_t)threadIdx.x), once_ = 1; once_; once_ = 0)
#define CYC_PER_LANE(type, name, lanes) type name[1]
#define CYC_MINE(name) name[0]
#else
/** A block: its number, and the order in which its lanes run. */
typedef struct {
	int64_t index;
	const int16_t *order;
	int32_t n_lanes;
} cyc_block;
#define CYC_ON_DEVICE static inline
#define CYC_LANES(lane)                                                                                      \
	for (int32_t turn_ = 0, lane = block.order[0]; turn_ < block.n_lanes;                                    \
	     turn_++, lane = block.order[turn_ < block.n_lanes ? turn_ : 0])
#define CYC_PER_LANE(type, name, lanes) type name[lanes]
#define CYC_MINE(name) name[lane]
#endif

/** Tests build kernels without their barriers, which a test must notice. */
#ifndef CYC_WITHOUT_BARRIERS
#define CYC_BARRIER(lane)                                                                                    \
	}                                                                                                        \
	CYC_LANES(lane)                                                                                          \
	{
#else
#define CYC_BARRIER(lane) (void)lane
#endif

#define CYC_KERNEL(name)                                                                                     \
	CYC_ON_DEVICE void cyc_##name##_kernel(const cyc_##name##_args *a, cyc_block block,                      \
	                                       cyc_##name##_shared *sh)

/** Blocks that n items take. */
static inline int64_t cyc_n_blocks(int64_t n, int32_t lanes) { return (n + lanes - 1) / lanes; }

/** What a lane has of `n_planes` planes of `count` items, each plane cut into blocks of its own. */
typedef struct {
	int64_t plane;
	int32_t at; /**< < count, or count and more: the lane has nothing */
} cyc_place;
CYC_ON_DEVICE cyc_place cyc_place_of(cyc_block block, int32_t lane, int32_t lanes, int32_t count)
{
	int64_t per_plane = (count + lanes - 1) / lanes;
	cyc_place p;
	p.plane = block.index / per_plane;
	p.at = (int32_t)(block.index % per_plane) * lanes + lane;
	return p;
}

/** re + im * I as C has it: the product of im with the real part of I, a zero, is added. */
CYC_ON_DEVICE cyc_pair cyc_pair_of(float re, float im)
{
	cyc_pair p;
	p.re = re + im * 0.F;
	p.im = im;
	return p;
}

CYC_ON_DEVICE cyc_pair cyc_product(cyc_pair a, cyc_pair b)
{
	cyc_pair p;
	p.re = a.re * b.re - a.im * b.im;
	p.im = a.re * b.im + a.im * b.re;
	return p;
}

CYC_ON_DEVICE cyc_pair cyc_conjugate(cyc_pair a)
{
	a.im = -a.im;
	return a;
}

#endif
