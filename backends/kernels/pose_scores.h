/**
 * @file kernels/pose_scores.h
 * Scores of rotations with offsets (T8.2): a block has a tile of them, and makes the slices and the shifted
 * data of a few coefficients at a time. Then the samples that are worth something, in their order.
 */
#ifndef CYC_KERNEL_POSE_SCORES_H
#define CYC_KERNEL_POSE_SCORES_H

#include "backends/kernels/poses.h"
#include "backends/kernels/slice_extract.h"

enum { CYC_POSE_TILE = 16, CYC_POSE_SCORES_LANES = CYC_POSE_TILE * CYC_POSE_TILE, CYC_POSE_STEP = 32 };

/** What is tried: the lists of backend.h, and where each trial's scores begin. */
typedef struct {
	const cyc_pose_trial *trials;
	const cyc_pose_rotation *rotations;
	const cyc_pose_offset *offsets;
	const int64_t *first_score; /**< of each trial; rows of n_offsets */
	double *scores;
} cyc_pose_table;

/** The first rotation and offset of a block in those of its trial. */
typedef struct {
	int32_t trial, rotation, offset;
} cyc_pose_place;

typedef struct {
	cyc_pose_inputs in;
	cyc_pose_table table;
	const cyc_pose_image *images;
	const cyc_pose_place *places;
} cyc_pose_scores_args;
typedef struct {
	cyc_pair v[CYC_POSE_STEP][CYC_POSE_TILE], y[CYC_POSE_STEP][CYC_POSE_TILE];
	float weight[CYC_POSE_STEP];
	float x_axis[CYC_POSE_TILE][3], y_axis[CYC_POSE_TILE][3], shift[CYC_POSE_TILE][2];
	double power[CYC_POSE_TILE];
} cyc_pose_scores_shared;

/* Reference index of (1, 0) and (0, 1) of an image that is seen by a rotation. */
CYC_ON_DEVICE void cyc_pose_axes(float *x, float *y, const cyc_pose_image *f, const cyc_pose_rotation *r,
                                 double zoom)
{
	for (int32_t k = 0; k < 3; k++) {
		double along[2];
		for (int32_t i = 0; i < 2; i++)
			along[i] = f->R_img_tomo[i][0] * r->R_tomo_ref[0][k] + f->R_img_tomo[i][1] * r->R_tomo_ref[1][k] +
			           f->R_img_tomo[i][2] * r->R_tomo_ref[2][k];
		x[k] = (float)(zoom * along[0]);
		y[k] = (float)(zoom * along[1]);
	}
}

/* Turns per index of an image's axes that an offset makes. */
CYC_ON_DEVICE void cyc_pose_shift(float *turns, const cyc_pose_image *f, const cyc_pose_offset *t,
                                  int32_t box_px)
{
	for (int32_t i = 0; i < 2; i++) {
		double along =
			f->R_img_tomo[i][0] * t->A[0] + f->R_img_tomo[i][1] * t->A[1] + f->R_img_tomo[i][2] * t->A[2];
		turns[i] = (float)(f->px_per_A * along / box_px);
	}
}

CYC_ON_DEVICE float cyc_pose_share_of(const cyc_pose_inputs *in, const cyc_pose_trial *t, float weight,
                                      int32_t j)
{
	const float *spread = in->spread[t->map];
	float s2 = (float)(t->amplitude * t->amplitude);
	return spread ? 1 / (1 + s2 * weight * spread[in->shell[j]]) : 1;
}

/* Slice value of rotation c and shifted datum of offset c of a tile, at coefficient j, for step k. */
CYC_ON_DEVICE void cyc_pose_fill(cyc_pose_scores_shared *sh, const cyc_pose_inputs *in,
                                 const cyc_pose_trial *t, const cyc_pose_image *f, int32_t j, int32_t k,
                                 int32_t c)
{
	float kx = in->fx[j], ky = in->fy[j], weight = in->weight[f->first + j], sn, cs;
	float share = cyc_pose_share_of(in, t, weight, j);
	const float *x = sh->x_axis[c], *y = sh->y_axis[c];
	cyc_pair turn, d;
	sh->v[k][c] = cyc_reference_at(in->maps[t->map], in->edge[t->map], x[0] * kx + y[0] * ky,
	                               x[1] * kx + y[1] * ky, x[2] * kx + y[2] * ky);
	cyc_sincos_turns(&sn, &cs, kx * sh->shift[c][0] + ky * sh->shift[c][1]);
	turn.re = cs;
	turn.im = sn;
	d = cyc_product(in->data[f->first + j], turn);
	sh->y[k][c].re = share * d.re;
	sh->y[k][c].im = share * d.im;
	if (c == 0) sh->weight[k] = share * weight;
}

CYC_KERNEL(pose_scores)
{
	CYC_PER_LANE(double, cross, CYC_POSE_SCORES_LANES);
	CYC_PER_LANE(double, power, CYC_POSE_SCORES_LANES);
	CYC_PER_LANE(float, cross_part, CYC_POSE_SCORES_LANES);
	CYC_PER_LANE(float, power_part, CYC_POSE_SCORES_LANES);
	const cyc_pose_place *at = a->places + block.index;
	const cyc_pose_trial *t = a->table.trials + at->trial;
	CYC_LANES(lane) { CYC_MINE(cross) = CYC_MINE(power) = 0; }
	for (int32_t i = 0; i < t->n_images; i++) {
		const cyc_pose_image *f = a->images + t->first_image + i;
		CYC_LANES(lane)
		{
			/* Beyond the ends of the lists the last ones stand in, whose scores are not kept. */
			int32_t o = at->rotation + lane, d = at->offset + lane;
			if (o >= t->n_rotations) o = t->n_rotations - 1;
			if (d >= t->n_offsets) d = t->n_offsets - 1;
			if (lane < CYC_POSE_TILE) {
				cyc_pose_axes(sh->x_axis[lane], sh->y_axis[lane], f,
				              a->table.rotations + t->first_rotation + o, a->in.zoom[t->map]);
				cyc_pose_shift(sh->shift[lane], f, a->table.offsets + t->first_offset + d, a->in.box_px);
			}
		}
		for (int32_t first = 0; first < f->n; first += CYC_POSE_STEP) {
			int32_t n = f->n - first < CYC_POSE_STEP ? f->n - first : CYC_POSE_STEP;
			bool is_begin = first % CYC_POSE_BLOCK == 0,
				 is_end = first + n == f->n || (first + n) % CYC_POSE_BLOCK == 0;
			CYC_LANES(lane)
			{
				for (int32_t k = lane / CYC_POSE_TILE; k < n; k += CYC_POSE_SCORES_LANES / CYC_POSE_TILE)
					cyc_pose_fill(sh, &a->in, t, f, first + k, k, lane % CYC_POSE_TILE);
				CYC_BARRIER(lane);
				int32_t o = lane / CYC_POSE_TILE, d = lane % CYC_POSE_TILE;
				float c = is_begin ? 0 : CYC_MINE(cross_part), p = is_begin ? 0 : CYC_MINE(power_part);
				for (int32_t k = 0; k < n; k++)
					c += sh->v[k][o].re * sh->y[k][d].re + sh->v[k][o].im * sh->y[k][d].im;
				for (int32_t k = 0; k < n && d == 0; k++)
					p += sh->weight[k] * (sh->v[k][o].re * sh->v[k][o].re + sh->v[k][o].im * sh->v[k][o].im);
				CYC_MINE(cross_part) = c;
				CYC_MINE(power_part) = p;
				if (is_end) {
					CYC_MINE(cross) += (double)c;
					CYC_MINE(power) += (double)p;
				}
			}
		}
	}
	CYC_LANES(lane)
	{
		if (lane % CYC_POSE_TILE == 0) sh->power[lane / CYC_POSE_TILE] = CYC_MINE(power);
		CYC_BARRIER(lane);
		int32_t o = at->rotation + lane / CYC_POSE_TILE, d = at->offset + lane % CYC_POSE_TILE;
		double s = t->amplitude;
		if (o < t->n_rotations && d < t->n_offsets)
			a->table.scores[a->table.first_score[at->trial] + (int64_t)o * t->n_offsets + d] =
				2 * s * CYC_MINE(cross) - s * s * sh->power[lane / CYC_POSE_TILE];
	}
}

/* ---------------------------------------------------------------- what is kept */

CYC_ON_DEVICE double cyc_pose_weight(const cyc_pose_table *table, const cyc_pose_trial *t,
                                     int64_t first_score, int32_t o, int32_t d)
{
	return table->scores[first_score + (int64_t)o * t->n_offsets + d] +
	       table->rotations[t->first_rotation + o].log_prior + table->offsets[t->first_offset + d].log_prior;
}

/** A block has one trial: the least log posterior that is kept, and how many of each rotation are. */
typedef struct {
	cyc_pose_table table;
	double margin, none; /**< none: below all */
	double *limits;      /**< of each trial */
	int32_t *counts;     /**< of each rotation */
} cyc_pose_count_args;
enum { CYC_POSE_COUNT_LANES = 128 };
typedef struct {
	double best[CYC_POSE_COUNT_LANES];
} cyc_pose_count_shared;

CYC_KERNEL(pose_count)
{
	const cyc_pose_trial *t = a->table.trials + block.index;
	int64_t first = a->table.first_score[block.index];
	CYC_LANES(lane)
	{
		double best = a->none;
		for (int32_t o = lane; o < t->n_rotations; o += CYC_POSE_COUNT_LANES)
			for (int32_t d = 0; d < t->n_offsets; d++) {
				double w = cyc_pose_weight(&a->table, t, first, o, d);
				if (w > best) best = w;
			}
		sh->best[lane] = best;
		CYC_BARRIER(lane);
		double limit = a->none;
		for (int32_t l = 0; l < CYC_POSE_COUNT_LANES; l++)
			if (sh->best[l] > limit) limit = sh->best[l];
		limit -= a->margin;
		if (lane == 0) a->limits[block.index] = limit;
		for (int32_t o = lane; o < t->n_rotations; o += CYC_POSE_COUNT_LANES) {
			int32_t n = 0;
			for (int32_t d = 0; d < t->n_offsets; d++)
				if (cyc_pose_weight(&a->table, t, first, o, d) >= limit) n++;
			a->counts[t->first_rotation + o] = n;
		}
	}
}

/** A lane has one rotation. */
typedef struct {
	cyc_pose_table table;
	cyc_pose_sample *samples;
	const double *limits;
	const int64_t *first;  /**< of each rotation: its first sample */
	const int32_t *trials; /**< of each rotation */
	int32_t n;
} cyc_pose_keep_args;
typedef cyc_no_shared cyc_pose_keep_shared;
enum { CYC_POSE_KEEP_LANES = 128 };

CYC_KERNEL(pose_keep)
{
	(void)sh;
	CYC_LANES(lane)
	{
		int32_t row = (int32_t)block.index * CYC_POSE_KEEP_LANES + lane;
		if (row >= a->n) continue;
		const cyc_pose_trial *t = a->table.trials + a->trials[row];
		int32_t o = row - t->first_rotation;
		int64_t first = a->table.first_score[a->trials[row]], to = a->first[row];
		for (int32_t d = 0; d < t->n_offsets; d++) {
			if (!(cyc_pose_weight(&a->table, t, first, o, d) >= a->limits[a->trials[row]])) continue;
			cyc_pose_sample *s = a->samples + to++;
			s->score = a->table.scores[first + (int64_t)o * t->n_offsets + d];
			s->rotation = o;
			s->offset = d;
		}
	}
}

#endif
