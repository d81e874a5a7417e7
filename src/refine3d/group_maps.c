#include "refine3d/group_maps.h"

#include <math.h>
#include <string.h>

static const double WEIGHT_FLOOR = 0.001; /* of a shell's mean, as in the reconstruction */
enum { MARGIN = 3 };                      /* shells beyond the last one of a reference */

/* Rows of the half sphere |k| <= radius one after the other: z, y from -radius up, x from 0 to where it ends.
 */
struct cyc_group_maps {
	const cyc_half_maps_spec *spec;
	int32_t n_groups, s, radius; /* of the sums' box s */
	const int32_t *group;
	int32_t edge,
		crop_px; /* box and map of the references: as wide as s and spec->crop_px, with larger pixels */
	size_t n_rows, count;
	size_t *row_first;   /* n_rows + 1 */
	float *sum;          /* 2 x n_groups x count x {re, im, weight} */
	float *total;        /* 2 x count x {re, im, weight} */
	double *mean_weight; /* 2 x (radius + 2): of the totals, per shell */
	cyc_volume *mask;    /* crop_px */
	float *gridding;     /* by squared radius */
	cyc_fft3 *plan;
	/* Work memory that is used again: the system has to clear what it gives anew. */
	cyc_cfloat *ft;
	float *real;
	cyc_volume *half[2];
	cyc_reference_scratch scratch;
};

int32_t cyc_group_count(int64_t n) { return n < 2 ? 0 : n < CYC_MOST_GROUPS ? (int32_t)n : CYC_MOST_GROUPS; }

void cyc_group_maps_destroy(cyc_group_maps **p)
{
	cyc_group_maps *g = *p;
	if (!g) return;
	cyc_free(g->row_first);
	cyc_free(g->sum);
	cyc_free(g->total);
	cyc_free(g->mean_weight);
	cyc_volume_destroy(&g->mask);
	cyc_free(g->gridding);
	cyc_fft3_destroy(&g->plan);
	cyc_free(g->ft);
	cyc_free(g->real);
	for (int h = 0; h < 2; h++) cyc_volume_destroy(&g->half[h]);
	cyc_reference_scratch_deinit(&g->scratch);
	cyc_free(g);
	*p = NULL;
}

double cyc_group_maps_bytes(double *reference, const cyc_group_maps *g)
{
	if (reference)
		*reference =
			2.0 * (double)cyc_reference_count(cyc_fft_good_size(2 * g->crop_px)) * sizeof(cyc_cfloat);
	return 2.0 * (g->n_groups + 1) * (double)g->count * 3 * sizeof(float);
}

int32_t cyc_group_maps_n_groups(const cyc_group_maps *g) { return g->n_groups; }
int32_t cyc_group_maps_radius(const cyc_group_maps *g) { return g->crop_px / 2 - 1; }

/* The smallest box that has the wanted shells, an even size, and a map of an even number of its larger
 * pixels. */
static void choose_edge(int32_t *best, int32_t *best_crop, const cyc_group_maps *g, int32_t radius)
{
	int32_t n = g->spec->crop_px, s = g->s;
	*best = s;
	*best_crop = n;
	for (int32_t crop = 2 * (radius + 1 + MARGIN); crop < n; crop += 2) {
		int64_t edge = (int64_t)crop * s / n;
		if (edge * n != (int64_t)crop * s || edge % 2 != 0 || edge != cyc_fft_good_size((int32_t)edge))
			continue;
		*best = (int32_t)edge;
		*best_crop = crop;
		break;
	}
}

bool cyc_group_maps_fits(const cyc_group_maps *g, int32_t radius)
{
	int32_t edge, crop;
	choose_edge(&edge, &crop, g, radius);
	return edge == g->edge;
}

static size_t row_index(const cyc_group_maps *g, int32_t z, int32_t y)
{
	return (size_t)(z + g->radius) * (size_t)(2 * g->radius + 1) + (size_t)(y + g->radius);
}
static int32_t row_length(const cyc_group_maps *g, int32_t z, int32_t y)
{
	int32_t left = g->radius * g->radius - z * z - y * y;
	return left < 0 ? 0 : (int32_t)sqrt((double)left) + 1;
}

static double sinc(double x) { return fabs(x) < 1e-9 ? 1 : sin(CYC_PI * x) / (CYC_PI * x); }

/* Insertion is a convolution, whose transform is divided out; with it goes the scale of the transforms
 * (T2.4). */
static cyc_status make_gridding(cyc_group_maps *g)
{
	cyc_status st = CYC_OK;
	int32_t n = 3 * (g->crop_px / 2) * (g->crop_px / 2) + 1;
	double scale = pow(g->edge, 3) * pow(g->s, -1.5) * (g->spec->stacks ? g->spec->box->binning : 1);
	CYC_TRY(cyc_alloc(&g->gridding, n, sizeof *g->gridding));
	for (int32_t i = 0; i < n; i++)
		g->gridding[i] = (float)(scale / fmax(cyc_square(sinc(sqrt((double)i) / g->edge)), 0.01));
done:
	return st;
}

cyc_status cyc_group_maps_create(cyc_group_maps **out, const cyc_half_maps_spec *spec, int32_t n_groups,
                                 const int32_t *group, int32_t radius)
{
	cyc_status st = CYC_OK;
	cyc_group_maps *g = NULL;
	*out = NULL;
	CYC_ASSERT(n_groups >= 2 && n_groups <= CYC_MOST_GROUPS);
	CYC_TRY(cyc_alloc(&g, 1, sizeof *g));
	g->spec = spec;
	g->n_groups = n_groups;
	g->group = group;
	g->s = spec->box->window.box_binned;
	choose_edge(&g->edge, &g->crop_px, g, radius);
	/* All shells that such references can have. */
	g->radius =
		(int32_t)fmin(ceil((g->crop_px / 2 - 1 + MARGIN) * (double)g->s / spec->crop_px), g->edge / 2 - 1);
	g->n_rows = (size_t)(2 * g->radius + 1) * (size_t)(2 * g->radius + 1);
	CYC_TRY(cyc_alloc(&g->row_first, g->n_rows + 1, sizeof *g->row_first));
	for (int32_t z = -g->radius; z <= g->radius; z++)
		for (int32_t y = -g->radius; y <= g->radius; y++) {
			size_t row = row_index(g, z, y);
			g->row_first[row + 1] = g->row_first[row] + (size_t)row_length(g, z, y);
		}
	g->count = g->row_first[g->n_rows];
	CYC_TRY(
		cyc_alloc_(&g->sum, 2 * (size_t)n_groups * g->count * 3, sizeof *g->sum, "the sums of the groups"));
	CYC_TRY(cyc_alloc(&g->total, 2 * g->count * 3, sizeof *g->total));
	CYC_TRY(cyc_alloc(&g->mean_weight, 2 * ((size_t)g->radius + 2), sizeof *g->mean_weight));
	double a = spec->box->pixel_size_A * spec->crop_px / g->crop_px;
	CYC_TRY(cyc_volume_resample(&g->mask, spec->mask, a, g->crop_px, cyc_backend_n_threads(spec->be)));
	for (size_t i = 0; i < cyc_volume_count(g->mask); i++)
		g->mask->data[i] = fminf(fmaxf(g->mask->data[i], 0), 1);
	CYC_TRY(make_gridding(g));
	CYC_TRY(cyc_fft3_create(&g->plan, g->edge, cyc_backend_n_threads(spec->be)));
	*out = g;
	g = NULL;
done:
	cyc_group_maps_destroy(&g);
	return st;
}

/* ---------------------------------------------------------------- insertion */

void cyc_group_total_deinit(cyc_group_total *t)
{
	for (int h = 0; h < 2; h++) cyc_buffer_destroy(&t->sum[h]);
}

typedef struct {
	const cyc_group_maps *g;
	const float *cube;
	float *whole, *to, *total; /* the half-set's cube; the group's and the half-set's rows */
	double *weight;            /* mean_weights(): per plane, sum and count of each shell */
} copying;

/* A plane of a group's cube (symmetrised or not yet) to its rows. */
static cyc_status rows_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const copying *c = arg;
	const cyc_group_maps *g = c->g;
	int32_t z = (int32_t)i - g->radius;
	size_t s = (size_t)g->s, sh = s / 2 + 1;
	for (int32_t y = -g->radius; y <= g->radius; y++) {
		size_t row = row_index(g, z, y), first = g->row_first[row], n = g->row_first[row + 1] - first;
		const float *from =
			c->cube + 4 * (((size_t)(z < 0 ? z + g->s : z) * s + (size_t)(y < 0 ? y + g->s : y)) * sh);
		for (size_t x = 0; x < n; x++)
			for (size_t k = 0; k < 3; k++) {
				c->to[3 * (first + x) + k] = from[4 * x + k];
				c->total[3 * (first + x) + k] += from[4 * x + k];
			}
	}
	return CYC_OK;
}

static cyc_status add_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const copying *c = arg;
	int32_t s = c->g->s, kz = z < s / 2 ? (int32_t)z : (int32_t)z - s;
	/* Nothing is inserted beyond the Nyquist sphere. */
	for (int32_t ky = -s / 2; ky < s / 2; ky++) {
		int32_t left = s * s / 4 - kz * kz - ky * ky;
		if (left < 0) continue;
		size_t first = 4 * ((size_t)z * (size_t)s + (size_t)(ky < 0 ? ky + s : ky)) * (size_t)(s / 2 + 1),
			   n = 4 * ((size_t)sqrt((double)left) + 1);
		for (size_t k = first; k < first + n; k++) c->whole[k] += c->cube[k];
	}
	return CYC_OK;
}

/* The finished sum of one group of one half-set: into its half-set's, symmetrised into its own rows. */
static cyc_status take_sum(cyc_group_total *total, cyc_group_maps *g, cyc_buffer *sum, float *mates,
                           int32_t half, int32_t i_group, const cyc_fourier_op *ops, int32_t n_ops)
{
	cyc_status st = CYC_OK;
	int n_threads = cyc_backend_n_threads(g->spec->be);
	float *cube;
	copying c = { .g = g,
		          .to = g->sum + 3 * g->count * (size_t)(half * g->n_groups + i_group),
		          .total = g->total + 3 * g->count * (size_t)half };
	CYC_TRY(cyc_buffer_map(&cube, sum));
	CYC_TRY(cyc_buffer_map(&c.whole, total->sum[half]));
	c.cube = cube;
	CYC_TRY(cyc_parallel_for(g->s, n_threads, add_task, &c));
	CYC_TRY(cyc_buffer_unmap(total->sum[half]));
	if (n_ops > 0) {
		CYC_TRY(cyc__symmetrise_within(mates, cube, g->s, g->radius, ops, n_ops, n_threads));
		c.cube = mates;
	}
	CYC_TRY(cyc_parallel_for(2 * g->radius + 1, n_threads, rows_task, &c));
	CYC_TRY(cyc_buffer_unmap(sum));
done:
	return st;
}

static cyc_status symmetrise_total(cyc_group_total *total, const cyc_group_maps *g, const cyc_fourier_op *ops,
                                   int32_t n_ops)
{
	cyc_status st = CYC_OK;
	cyc_buffer *out = NULL;
	for (int h = 0; h < 2 && n_ops > 0; h++) {
		float *to, *from;
		CYC_TRY(cyc_buffer_create(&out, g->spec->be, 4 * cyc_half_count3(g->s), sizeof(float)));
		CYC_TRY(cyc_buffer_map(&to, out));
		CYC_TRY(cyc_buffer_map(&from, total->sum[h]));
		CYC_TRY(cyc__symmetrise(to, from, g->s, ops, n_ops, cyc_backend_n_threads(g->spec->be)));
		CYC_TRY(cyc_buffer_unmap(total->sum[h]));
		CYC_TRY(cyc_buffer_unmap(out));
		cyc_buffer_destroy(&total->sum[h]);
		total->sum[h] = out;
		out = NULL;
	}
done:
	cyc_buffer_destroy(&out);
	return st;
}

static cyc_status weight_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const copying *c = arg;
	const cyc_group_maps *g = c->g;
	int32_t z = (int32_t)i - g->radius;
	double *sum = c->weight + (size_t)i * 2 * (size_t)(g->radius + 2);
	for (int32_t y = -g->radius; y <= g->radius; y++) {
		size_t row = row_index(g, z, y), first = g->row_first[row], n = g->row_first[row + 1] - first;
		for (size_t x = 0; x < n; x++) {
			int32_t shell = (int32_t)(sqrt((double)(z * z + y * y) + (double)(x * x)) + 0.5);
			sum[2 * shell] += (double)c->total[3 * (first + x) + 2];
			sum[2 * shell + 1]++;
		}
	}
	return CYC_OK;
}

static cyc_status mean_weights(cyc_group_maps *g)
{
	cyc_status st = CYC_OK;
	int32_t n_planes = 2 * g->radius + 1, n_shells = g->radius + 2;
	copying c = { .g = g };
	for (int h = 0; h < 2; h++) {
		CYC_TRY(cyc_alloc(&c.weight, 2 * (size_t)n_planes * (size_t)n_shells, sizeof *c.weight));
		c.total = g->total + 3 * g->count * (size_t)h;
		CYC_TRY(cyc_parallel_for(n_planes, cyc_backend_n_threads(g->spec->be), weight_task, &c));
		for (int32_t r = 0; r < n_shells; r++) {
			double sum = 0, count = 0;
			for (int32_t i = 0; i < n_planes; i++) {
				sum += c.weight[2 * (i * n_shells + r)];
				count += c.weight[2 * (i * n_shells + r) + 1];
			}
			g->mean_weight[h * n_shells + r] = count > 0 ? sum / count : 0;
		}
		cyc_free(c.weight);
		c.weight = NULL;
	}
done:
	cyc_free(c.weight);
	return st;
}

/* One pass over all images for groups first .. first + n - 1. */
static cyc_status insert_some(cyc_group_total *total, cyc_group_maps *g, int32_t first, int32_t n,
                              int8_t *slot, cyc_tomogram_set *tomograms, const cyc_particle_set *set,
                              const char *root)
{
	cyc_status st = CYC_OK;
	const cyc_half_maps_spec *spec = g->spec;
	cyc_accumulator *sums = NULL;
	cyc_fourier_op *ops = NULL;
	float *mates = NULL;
	int32_t n_ops = 0;
	int64_t n_images = 0, n_outside = 0;
	cyc_reconstruct_options o;
	cyc_box box = *spec->box;
	cyc_half_maps_options(&o, &box, spec);
	CYC_TRY(cyc__fourier_ops(&ops, &n_ops, spec->symmetry, 1, 0, 0, box.pixel_size_A));
	for (int64_t i = 0; i < set->n; i++) {
		int32_t in_pass = g->group[i] - first;
		slot[i] = in_pass >= 0 && in_pass < n ? (int8_t)((set->particles[i].half > 0) * n + in_pass) : -1;
	}
	CYC_TRY(cyc__accumulator_create_slots(&sums, spec->be, &box, &o, 2 * n, slot));
	for (int32_t i = 0; i < tomograms->n_series; i++)
		if (set->series_first[i + 1] > set->series_first[i]) {
			if (spec->stacks) CYC_TRY(cyc__accumulate_stacks(sums, &n_images, spec->stacks, i));
			else
				CYC_TRY(
					cyc__accumulate_series(sums, &n_images, &n_outside, &tomograms->series[i], set, i, root));
		}
	cyc__accumulator_release_work(sums);
	if (n_ops > 0) CYC_TRY(cyc_alloc(&mates, 4 * cyc_half_count3(g->s), sizeof *mates));
	for (int32_t k = 0; k < 2 * n; k++) {
		CYC_TRY(take_sum(total, g, cyc__accumulator_sum(sums, k), mates, k / n, first + k % n, ops, n_ops));
		cyc__accumulator_set_sum(sums, k, NULL);
	}
	if (first + n == g->n_groups) CYC_TRY(symmetrise_total(total, g, ops, n_ops));
done:
	cyc__accumulator_destroy(&sums);
	cyc_free(mates);
	cyc_free(ops);
	return st;
}

cyc_status cyc_group_maps_insert(cyc_group_total *total, cyc_group_maps *g, cyc_tomogram_set *tomograms,
                                 const cyc_particle_set *set, const char *root)
{
	cyc_status st = CYC_OK;
	int8_t *slot = NULL;
	int32_t at_once =
		g->spec->n_inserted > 0 && g->spec->n_inserted < g->n_groups ? g->spec->n_inserted : g->n_groups;
	cyc_group_total_deinit(total);
	CYC_TRY(cyc_alloc(&slot, set->n, sizeof *slot));
	for (int h = 0; h < 2; h++)
		CYC_TRY(cyc_buffer_create(&total->sum[h], g->spec->be, 4 * cyc_half_count3(g->s), sizeof(float)));
	memset(g->total, 0, 2 * g->count * 3 * sizeof *g->total);
	for (int32_t first = 0; first < g->n_groups; first += at_once)
		CYC_TRY(insert_some(total, g, first, first + at_once < g->n_groups ? at_once : g->n_groups - first,
		                    slot, tomograms, set, root));
	CYC_TRY(mean_weights(g));
done:
	cyc_free(slot);
	return st;
}

/* ---------------------------------------------------------------- references */

typedef struct {
	const cyc_group_maps *g;
	int32_t half, i_group, join_radius;
	cyc_cfloat *ft;
	const float *real;
	cyc_volume *out;
	double *sums; /* per plane of the map: weighted sum and weights */
	double taper_px;
	float mean;
} making;

/* One coefficient of a map: data over weight, of all but a group (or of all: `less` NULL). */
static inline cyc_cfloat divided(const float *all, const float *less, float least)
{
	float re = all[0], im = all[1], w = all[2];
	if (less) {
		re -= less[0];
		im -= less[1];
		w -= less[2];
	}
	if (w < least) w = least;
	return w > 0 ? re / w + im / w * I : 0;
}

/* A plane of the transform, phase origin in the middle of the map. */
static cyc_status divide_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const making *m = arg;
	const cyc_group_maps *g = m->g;
	int32_t z = (int32_t)i - g->radius, e = g->edge, n_shells = g->radius + 2;
	size_t eh = (size_t)(e / 2 + 1);
	const float *own = g->sum + 3 * g->count * (size_t)(m->half * g->n_groups + m->i_group),
				*all = g->total + 3 * g->count * (size_t)m->half;
	const float *other = g->total + 3 * g->count * (size_t)(1 - m->half);
	const double *floor_ = g->mean_weight + m->half * n_shells,
				 *other_floor = g->mean_weight + (1 - m->half) * n_shells;
	for (int32_t y = -g->radius; y <= g->radius; y++) {
		size_t row = row_index(g, z, y), first = g->row_first[row], n = g->row_first[row + 1] - first;
		cyc_cfloat *to = m->ft + ((size_t)(z < 0 ? z + e : z) * (size_t)e + (size_t)(y < 0 ? y + e : y)) * eh;
		for (size_t x = 0; x < n; x++) {
			int32_t shell = (int32_t)(sqrtf((float)(z * z + y * y) + (float)(x * x)) + 0.5F);
			size_t at = 3 * (first + x);
			cyc_cfloat v = divided(all + at, own + at, (float)(WEIGHT_FLOOR * floor_[shell]));
			if (shell <= m->join_radius)
				v = 0.5F * (v + divided(other + at, NULL, (float)(WEIGHT_FLOOR * other_floor[shell])));
			to[x] = (z + y + (int32_t)x) % 2 ? -v : v;
		}
	}
	return CYC_OK;
}

/* The middle of the transform's box, its gridding taken off; tapered and masked in the second pass. */
static cyc_status map_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const making *m = arg;
	const cyc_group_maps *g = m->g;
	int32_t n = g->crop_px, e = g->edge, from = (e - n) / 2, dz = (int32_t)z - n / 2;
	double R = n / 2.0, sum = 0, count = 0;
	for (int32_t y = 0; y < n; y++) {
		int32_t dy = y - n / 2;
		const float *in = m->real + ((size_t)(z + from) * (size_t)e + (size_t)(y + from)) * (size_t)e + from;
		float *out = m->out->data + ((size_t)z * (size_t)n + (size_t)y) * (size_t)n;
		const float *mask = g->mask->data + ((size_t)z * (size_t)n + (size_t)y) * (size_t)n;
		for (int32_t x = 0; x < n; x++) {
			int32_t r2 = (x - n / 2) * (x - n / 2) + dy * dy + dz * dz;
			double r = sqrt((double)r2), taper = r >= R ? 0
			                                     : r < R - m->taper_px
			                                         ? 1
			                                         : 0.5 - 0.5 * cos(CYC_PI * (R - r) / m->taper_px);
			float v = in[x] * g->gridding[r2];
			if (m->sums) {
				sum += taper * (double)v;
				count += taper;
			} else {
				out[x] = (float)taper * (v - m->mean) * mask[x];
			}
		}
	}
	if (m->sums) {
		m->sums[2 * z] = sum;
		m->sums[2 * z + 1] = count;
	}
	return CYC_OK;
}

static cyc_status make_map(cyc_volume *out, cyc_group_maps *g, int32_t half, int32_t i_group)
{
	cyc_status st = CYC_OK;
	const cyc_half_maps_spec *spec = g->spec;
	int n_threads = cyc_backend_n_threads(spec->be);
	double sum = 0, count = 0, *sums = NULL;
	making m = { .g = g,
		         .half = half,
		         .i_group = i_group,
		         .taper_px = spec->taper_px * g->crop_px / spec->crop_px,
		         .ft = g->ft,
		         .real = g->real,
		         .out = out,
		         .join_radius =
		             spec->join_A > 0 ? (int32_t)(g->edge * out->pixel_size_A / spec->join_A + 0.5) : -1 };
	CYC_TRY(cyc_alloc(&sums, 2 * (size_t)g->crop_px, sizeof *sums));
	memset(g->ft, 0, cyc_half_count3(g->edge) * sizeof *g->ft);
	CYC_TRY(cyc_parallel_for(2 * g->radius + 1, n_threads, divide_task, &m));
	CYC_TRY(cyc_fft3_inverse(g->real, g->plan, g->ft));
	m.sums = sums;
	CYC_TRY(cyc_parallel_for(g->crop_px, n_threads, map_task, &m));
	for (int32_t z = 0; z < g->crop_px; z++) {
		sum += sums[2 * z];
		count += sums[2 * z + 1];
	}
	m.mean = (float)(sum / count);
	m.sums = NULL;
	CYC_TRY(cyc_parallel_for(g->crop_px, n_threads, map_task, &m));
done:
	cyc_free(sums);
	return st;
}

static cyc_status reserve(cyc_group_maps *g)
{
	cyc_status st = CYC_OK;
	size_t e = (size_t)g->edge;
	if (!g->ft) CYC_TRY(cyc_alloc(&g->ft, cyc_half_count3(g->edge), sizeof *g->ft));
	if (!g->real) CYC_TRY(cyc_alloc(&g->real, e * e * e, sizeof *g->real));
	for (int h = 0; h < 2; h++)
		if (!g->half[h])
			CYC_TRY(cyc_volume_create(&g->half[h], g->crop_px, g->crop_px, g->crop_px,
			                          g->spec->box->pixel_size_A * g->spec->crop_px / g->crop_px));
done:
	return st;
}

cyc_status cyc_group_maps_reference(cyc_reference **out, cyc_group_maps *g, int32_t i, const double *fsc,
                                    double lowpass_A, double grey_scale)
{
	cyc_status st = CYC_OK;
	const cyc_half_maps_spec *spec = g->spec;
	double *weight = NULL;
	CYC_TRY(reserve(g));
	CYC_TRY(cyc_half_maps_wiener(&weight, fsc, lowpass_A, (g->n_groups - 1.0) / g->n_groups, spec));
	for (int h = 0; h < 2; h++) CYC_TRY(make_map(g->half[h], g, h, i));
	const cyc_reference_spec r = { .fsc = weight,
		                           .n_fsc = g->crop_px / 2 + 1,
		                           .fsc_box = g->crop_px,
		                           .box_px = g->crop_px,
		                           .pixel_size_A = g->half[0]->pixel_size_A,
		                           .grey_scale = grey_scale * cyc_square((double)g->edge / g->s),
		                           .no_noise = true,
		                           .scratch = &g->scratch,
		                           .map_diameter_px = spec->mask_diameter_px * g->crop_px / spec->crop_px };
	if (*out) CYC_TRY(cyc_reference_update(*out, spec->be, g->half, &r));
	else CYC_TRY(cyc_reference_from_maps(out, spec->be, g->half, &r));
done:
	cyc_free(weight);
	return st;
}
