/* Philox4x32-10 after Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3". */
#include "cyclotomo/base.h"

#include <math.h>

static void philox(uint32_t out[4], uint64_t key, uint64_t hi, uint64_t lo)
{
	uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
	uint32_t c0 = (uint32_t)lo, c1 = (uint32_t)(lo >> 32), c2 = (uint32_t)hi, c3 = (uint32_t)(hi >> 32);
	for (int i = 0; i < 10; i++) {
		uint64_t p0 = (uint64_t)c0 * 0xD2511F53u, p1 = (uint64_t)c2 * 0xCD9E8D57u;
		uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
		c1 = (uint32_t)p1;
		c3 = (uint32_t)p0;
		c0 = n0;
		c2 = n2;
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
	out[0] = c0;
	out[1] = c1;
	out[2] = c2;
	out[3] = c3;
}

/* The purpose goes into the key, so two purposes never share a counter. */
static uint64_t make_key(uint64_t seed, uint32_t purpose)
{
	uint64_t z = seed + 0x9E3779B97F4A7C15u * ((uint64_t)purpose + 1);
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return z ^ (z >> 31);
}

static double to_unit(uint32_t hi, uint32_t lo)
{
	return (double)((((uint64_t)hi << 32) | lo) >> 11) * 0x1p-53;
}

cyc_rng cyc_rng_make(uint64_t seed, uint32_t purpose, uint64_t index)
{
	return (cyc_rng){ .key = make_key(seed, purpose), .stream = index };
}

uint32_t cyc_rng_u32(cyc_rng *r)
{
	if (r->n_left == 0) {
		philox(r->buffer, r->key, r->stream, r->counter++);
		r->n_left = 4;
	}
	return r->buffer[4 - r->n_left--];
}

double cyc_rng_uniform(cyc_rng *r)
{
	uint32_t hi = cyc_rng_u32(r);
	return to_unit(hi, cyc_rng_u32(r));
}

double cyc_rng_normal(cyc_rng *r)
{
	if (r->has_spare) {
		r->has_spare = false;
		return r->spare;
	}
	double u = 1.0 - cyc_rng_uniform(r), v = cyc_rng_uniform(r);
	double a = sqrt(-2.0 * log(u)), t = 2.0 * CYC_PI * v;
	r->spare = a * sin(t);
	r->has_spare = true;
	return a * cos(t);
}

double cyc_rng_uniform_at(uint64_t seed, uint32_t purpose, uint64_t i, uint64_t j)
{
	uint32_t out[4];
	philox(out, make_key(seed, purpose), i, j);
	return to_unit(out[0], out[1]);
}
