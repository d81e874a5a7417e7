/* Insertion and correlation: several kernels each, with tables between them. */
#include "backends/device/device.h"
#include "backends/kernels/correlate.h"
#include "backends/kernels/slice_insert.h"
#include "backends/tables.h"

#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------- insertion */

/* The slices that are added to, in their order. */
static int32_t list_slices(cyc_inserted *out, cyc_slice_insert_args *a, const cyc_sum_spec *spec,
                           const cyc_slices *l)
{
	int32_t n = 0;
	a->R = 0;
	for (int32_t i = 0; i < l->n; i++) {
		int32_t R = l->radius[i] < spec->ball->radius ? l->radius[i] : spec->ball->radius;
		const cyc_mat3 *M = &l->M[i];
		if (l->use && l->use[i] != l->select) continue;
		if (R == 0 || R <= spec->inner) continue;
		float hx = (float)M->m[2][0];
		out[n++] = (cyc_inserted){ .u = { M->m[0][1], M->m[0][2] },
			                       .v = { M->m[1][1], M->m[1][2] },
			                       .h = { M->m[2][1], M->m[2][2] },
			                       .ux = (float)M->m[0][0],
			                       .vx = (float)M->m[1][0],
			                       .hx = hx,
			                       .inverse = fabsf(hx) > 1e-6F ? 1 / hx : 0,
			                       .radius = R,
			                       .image = i };
		if (R > a->R) a->R = R;
	}
	a->reach = a->R < spec->ball->top ? a->R : spec->ball->top;
	return n;
}

static cyc_status put_ball(const uint64_t **out, cyc_device *d, const cyc_ball *ball)
{
	cyc_status st = CYC_OK;
	size_t side = (size_t)(2 * ball->top + 1);
	void *p;
	_Static_assert(sizeof(size_t) == sizeof(uint64_t), "rows of a ball are handed over as they are");
	if (d->ball_radius != ball->radius || d->ball_top != ball->top) {
		d->ball_radius = 0;
		CYC_TRY(
			cyc__device_put(&p, d, CYC_SCRATCH_BALL, ball->first, (side * side + 1) * sizeof *ball->first));
		d->ball_radius = ball->radius;
		d->ball_top = ball->top;
	}
	*out = d->scratch[CYC_SCRATCH_BALL].address;
done:
	return st;
}

cyc_status cyc_slice_insert_device(void *self, int64_t *sum, const cyc_sum_spec *spec, const float *packed,
                                   const cyc_slices *slices)
{
	cyc_status st = CYC_OK;
	cyc_device *d = self;
	cyc_inserted *list = NULL;
	int32_t is_bad = 0;
	cyc_slice_insert_args a = { .sum = sum,
		                        .packed = (const void *)packed,
		                        .scale = { spec->scale[0], spec->scale[1] },
		                        .limit = spec->limit,
		                        .s = slices->s,
		                        .top = spec->ball->top,
		                        .inner = spec->inner };
	CYC_TRY(cyc_alloc(&list, slices->n, sizeof *list));
	a.n = list_slices(list, &a, spec, slices);
	if (a.n == 0) goto done;
	int64_t n_blocks = cyc_n_bricks(a.R, a.reach);
	CYC_TRY(put_ball(&a.first, d, spec->ball));
	CYC_TRY(cyc__device_put(&a.slices, d, CYC_SCRATCH_A, list, (size_t)a.n * sizeof *list));
	CYC_TRY(cyc__device_scratch(&a.is_bad, d, CYC_SCRATCH_B, (size_t)n_blocks));
	CYC_TRY(cyc__device_launch(d, slice_insert, &a, n_blocks));
	cyc_any_args any = { .flags = a.is_bad, .n = n_blocks };
	CYC_TRY(cyc__device_scratch(&any.out, d, CYC_SCRATCH_C, sizeof *any.out));
	CYC_TRY(cyc__device_launch(d, any, &any, 1));
	CYC_TRY(cyc__device_get(d, &is_bad, any.out, sizeof is_bad));
	CYC_CHECK(!is_bad, CYC_E_DATA,
	          "grey values are not numbers, or far larger than those of the first images");
done:
	cyc_free(list);
	return st;
}

/* ---------------------------------------------------------------- correlation */

/* Turns of the displacements: in x, then in y. */
static cyc_status put_turns(const float **ex, const float **ey, cyc_device *d, const cyc_correlate_in *in)
{
	cyc_status st = CYC_OK;
	float *tables = NULL;
	size_t width = (size_t)in->grid.n, nx = (size_t)(in->radius + 1) * width,
		   ny = (size_t)(2 * in->radius + 1) * width;
	void *p;
	if (d->grid.n != in->grid.n || d->grid.step_px != in->grid.step_px || d->grid_radius != in->radius ||
	    d->grid_s != in->s) {
		d->grid.n = 0;
		CYC_TRY(cyc_alloc(&tables, 2 * (nx + ny), sizeof *tables));
		cyc__turn_table(tables, tables + nx, 0, in->radius, in->grid, width, in->s);
		cyc__turn_table(tables + 2 * nx, tables + 2 * nx + ny, -in->radius, in->radius, in->grid, width,
		                in->s);
		CYC_TRY(cyc__device_put(&p, d, CYC_SCRATCH_TURNS, tables, 2 * (nx + ny) * sizeof *tables));
		d->grid = in->grid;
		d->grid_radius = in->radius;
		d->grid_s = in->s;
	}
	*ex = d->scratch[CYC_SCRATCH_TURNS].address;
	*ey = *ex + 2 * nx;
done:
	cyc_free(tables);
	return st;
}

cyc_status cyc_correlate_device(void *self, float *maps, double *curves, const cyc_correlate_in *in)
{
	cyc_status st = CYC_OK;
	cyc_device *d = self;
	int64_t n_rows = (int64_t)in->n * (2 * in->radius + 1), width = in->grid.n,
			per_row = cyc_n_blocks(width, CYC_CORRELATE_ROWS_LANES);
	const float *ex, *ey;
	if (in->n == 0) goto done;
	CYC_TRY(put_turns(&ex, &ey, d, in));
	cyc_correlate_rows_args rows = { .ft = cyc_buffer_address(in->ft),
		                             .prediction = cyc_buffer_address(in->prediction),
		                             .ctf = cyc_buffer_address(in->ctf),
		                             .phase = cyc_buffer_address(in->phase),
		                             .weight = cyc_buffer_address(in->weight),
		                             .own = cyc_buffer_address(in->self),
		                             .ex_re = ex,
		                             .ex_im = ex + (in->radius + 1) * width,
		                             .radius = in->radius,
		                             .n_grid = in->grid.n,
		                             .s = in->s };
	CYC_TRY(cyc__device_scratch(&rows.rows_re, d, CYC_SCRATCH_A, (size_t)(n_rows * width) * sizeof(float)));
	CYC_TRY(cyc__device_scratch(&rows.rows_im, d, CYC_SCRATCH_B, (size_t)(n_rows * width) * sizeof(float)));
	CYC_TRY(cyc__device_scratch(&rows.curve_rows, d, CYC_SCRATCH_C, (size_t)n_rows * 3 * sizeof(double)));
	CYC_TRY(cyc__device_launch(d, correlate_rows, &rows, n_rows * per_row));
	cyc_correlate_maps_args sum = { .maps = maps,
		                            .curves = curves,
		                            .rows_re = rows.rows_re,
		                            .rows_im = rows.rows_im,
		                            .curve_rows = rows.curve_rows,
		                            .ey_re = ey,
		                            .ey_im = ey + (2 * in->radius + 1) * width,
		                            .radius = in->radius,
		                            .n_grid = in->grid.n };
	CYC_TRY(cyc__device_launch(d, correlate_maps, &sum,
	                           in->n * cyc_n_blocks(width * width, CYC_CORRELATE_MAPS_LANES)));
done:
	return st;
}
