/* What images say at poses. */
#include "backends/device/device.h"
#include "backends/kernels/pose_scores.h"

#include <math.h>
#include <string.h>

static cyc_pose_inputs inputs_of(const cyc_pose_images *images)
{
	cyc_pose_inputs in = { .fx = cyc_buffer_address(images->fx),
		                   .fy = cyc_buffer_address(images->fy),
		                   .shell = cyc_buffer_address(images->shell),
		                   .data = cyc_buffer_address(images->data),
		                   .weight = cyc_buffer_address(images->weight),
		                   .box_px = images->box_px };
	const float *spread = cyc_buffer_address(images->spread);
	for (int32_t i = 0; i < images->n_maps; i++) {
		in.maps[i] = cyc_buffer_address(images->maps[i]);
		in.zoom[i] = images->zoom[i];
		in.edge[i] = images->edge[i];
		if (images->has_spread[i]) in.spread[i] = spread + (size_t)i * ((size_t)images->box_px / 2 + 1);
	}
	return in;
}

cyc_status cyc_pose_terms_device(void *self, double *sums, const cyc_pose_images *images,
                                 const cyc_pose_row *rows, int64_t n)
{
	cyc_status st = CYC_OK;
	cyc_device *d = self;
	cyc_pose_terms_args a = { .sums = sums, .in = inputs_of(images) };
	cyc_pose_ramps_args ramps = { .n = n, .box_px = images->box_px };
	if (n == 0) goto done;
	for (int64_t i = 0; i < n; i++)
		if (rows[i].reach > a.reach) a.reach = rows[i].reach;
	int64_t width = 3 * (int64_t)a.reach + 2;
	CYC_TRY(cyc__device_put(&a.rows, d, CYC_SCRATCH_A, rows, (size_t)n * sizeof *rows));
	CYC_TRY(cyc__device_scratch(&ramps.ramps, d, CYC_SCRATCH_B, (size_t)(n * width) * sizeof(cyc_pair)));
	ramps.rows = a.rows;
	ramps.reach = a.reach;
	a.ramps = ramps.ramps;
	CYC_TRY(cyc__device_launch(d, pose_ramps, &ramps, cyc_n_blocks(n * width, CYC_POSE_RAMPS_LANES)));
	CYC_TRY(cyc__device_launch(d, pose_terms, &a, n));
done:
	return st;
}

/* ---------------------------------------------------------------- scores */

/* Tables of a call, made on the host. */
typedef struct {
	int64_t *first_score, *first_sample; /* of each trial, and the end; of each rotation, and the end */
	cyc_pose_place *places;
	int64_t n_places;
	int32_t *counts, *trials; /* of each rotation */
} score_tables;

static cyc_status make_tables(score_tables *t, const cyc_pose_trials *in)
{
	cyc_status st = CYC_OK;
	int64_t n = 0;
	int32_t row = 0;
	CYC_TRY(cyc_alloc(&t->first_score, (size_t)in->n + 1, sizeof *t->first_score));
	CYC_TRY(cyc_alloc(&t->first_sample, (size_t)in->n_rotations + 1, sizeof *t->first_sample));
	CYC_TRY(cyc_alloc(&t->counts, in->n_rotations, sizeof *t->counts));
	CYC_TRY(cyc_alloc(&t->trials, in->n_rotations, sizeof *t->trials));
	for (int32_t i = 0; i < in->n; i++) {
		const cyc_pose_trial *p = &in->trials[i];
		t->first_score[i + 1] = t->first_score[i] + (int64_t)p->n_rotations * p->n_offsets;
		n += cyc_n_blocks(p->n_rotations, CYC_POSE_TILE) * cyc_n_blocks(p->n_offsets, CYC_POSE_TILE);
		for (int32_t o = 0; o < p->n_rotations; o++) t->trials[row++] = i;
	}
	CYC_TRY(cyc_alloc(&t->places, (size_t)n, sizeof *t->places));
	for (int32_t i = 0; i < in->n; i++)
		for (int32_t o = 0; o < in->trials[i].n_rotations; o += CYC_POSE_TILE)
			for (int32_t d = 0; d < in->trials[i].n_offsets; d += CYC_POSE_TILE)
				t->places[t->n_places++] = (cyc_pose_place){ i, o, d };
done:
	return st;
}

static void drop_tables(score_tables *t)
{
	cyc_free(t->first_score);
	cyc_free(t->first_sample);
	cyc_free(t->places);
	cyc_free(t->counts);
	cyc_free(t->trials);
}

static cyc_status make_scores(cyc_pose_table *out, cyc_device *d, const score_tables *t,
                              const cyc_pose_images *images, const cyc_pose_trials *in)
{
	cyc_status st = CYC_OK;
	cyc_pose_scores_args a = { .in = inputs_of(images) };
	CYC_TRY(
		cyc__device_put(&out->trials, d, CYC_SCRATCH_TRIALS, in->trials, (size_t)in->n * sizeof *in->trials));
	CYC_TRY(cyc__device_put(&out->rotations, d, CYC_SCRATCH_ROTATIONS, in->rotations,
	                        (size_t)in->n_rotations * sizeof *in->rotations));
	CYC_TRY(cyc__device_put(&out->offsets, d, CYC_SCRATCH_OFFSETS, in->offsets,
	                        (size_t)in->n_offsets * sizeof *in->offsets));
	CYC_TRY(cyc__device_put(&out->first_score, d, CYC_SCRATCH_A, t->first_score,
	                        (size_t)in->n * sizeof *t->first_score));
	CYC_TRY(cyc__device_scratch(&out->scores, d, CYC_SCRATCH_SCORES,
	                            (size_t)t->first_score[in->n] * sizeof(double)));
	CYC_TRY(
		cyc__device_put(&a.images, d, CYC_SCRATCH_B, in->images, (size_t)in->n_images * sizeof *in->images));
	CYC_TRY(
		cyc__device_put(&a.places, d, CYC_SCRATCH_TILES, t->places, (size_t)t->n_places * sizeof *t->places));
	a.table = *out;
	CYC_TRY(cyc__device_launch(d, pose_scores, &a, t->n_places));
done:
	return st;
}

cyc_status cyc_pose_scores_device(void *self, cyc_pose_sample *samples, int64_t *counts,
                                  const cyc_pose_images *images, const cyc_pose_trials *in)
{
	cyc_status st = CYC_OK;
	cyc_device *d = self;
	score_tables t = { .n_places = 0 };
	cyc_pose_count_args count = { .margin = in->margin, .none = -HUGE_VAL };
	cyc_pose_keep_args keep = { .samples = samples, .n = in->n_rotations };
	size_t n_counts = (size_t)in->n_rotations * sizeof *t.counts;
	if (in->n == 0) goto done;
	CYC_TRY(make_tables(&t, in));
	CYC_TRY(make_scores(&count.table, d, &t, images, in));
	CYC_TRY(cyc__device_scratch(&count.limits, d, CYC_SCRATCH_LIMITS, (size_t)in->n * sizeof(double)));
	CYC_TRY(cyc__device_scratch(&count.counts, d, CYC_SCRATCH_ROWS, n_counts));
	CYC_TRY(cyc__device_launch(d, pose_count, &count, in->n));
	CYC_TRY(cyc__device_get(d, t.counts, count.counts, n_counts));
	memset(counts, 0, (size_t)in->n * sizeof *counts);
	for (int32_t o = 0; o < in->n_rotations; o++) {
		t.first_sample[o + 1] = t.first_sample[o] + t.counts[o];
		counts[t.trials[o]] += t.counts[o];
	}
	keep.table = count.table;
	keep.limits = count.limits;
	CYC_TRY(cyc__device_put(&keep.first, d, CYC_SCRATCH_C, t.first_sample,
	                        (size_t)in->n_rotations * sizeof(int64_t)));
	CYC_TRY(cyc__device_put(&keep.trials, d, CYC_SCRATCH_D, t.trials, n_counts));
	CYC_TRY(cyc__device_launch(d, pose_keep, &keep, cyc_n_blocks(in->n_rotations, CYC_POSE_KEEP_LANES)));
done:
	drop_tables(&t);
	return st;
}
