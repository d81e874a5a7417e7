#include "refine3d/group_maps.h"

#include "cyclotomo/ranks.h"

#include <math.h>
#include <string.h>

static const double WEIGHT_FLOOR = 0.001; /* of a shell's mean, as in the reconstruction */
enum { MARGIN = 3 };                      /* shells beyond the last one of a reference */

struct cyc_group_maps {
	const cyc_half_maps_spec *spec;
	int32_t n_groups, s, radius; /* last shell of a reference, in the sums' box s */
	const int32_t *group;
	/* Box and map of the references: as wide as s and spec->crop_px, with larger pixels. */
	int32_t edge, crop_px;
	cyc_sums *sums;         /* 2 x n_groups */
	cyc_half_sum *total[2]; /* of the half-sets, symmetrised, as far as the groups' sums reach */
	cyc_half_sum *full[2];  /* the same up to the edge of the box; NULL if that is no farther */
	double *mean_weight;    /* 2 x (radius + 2): of the totals, per shell */
	cyc_fourier_op *ops;
	int32_t n_ops;
	cyc_volume *mask; /* crop_px */
	float *gridding;  /* by squared radius */
	cyc_fft3 *plan;
	/* Work memory that is reused: the system clears every page that it hands out. */
	cyc_half_sum *own, *other;
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
	cyc_sums_destroy(&g->sums);
	cyc_group_maps_drop_full(g);
	for (int h = 0; h < 2; h++) {
		cyc_half_sum_destroy(&g->total[h]);
		cyc_volume_destroy(&g->half[h]);
	}
	cyc_half_sum_destroy(&g->own);
	cyc_half_sum_destroy(&g->other);
	cyc_free(g->mean_weight);
	cyc_free(g->ops);
	cyc_volume_destroy(&g->mask);
	cyc_free(g->gridding);
	cyc_fft3_destroy(&g->plan);
	cyc_free(g->ft);
	cyc_free(g->real);
	cyc_reference_scratch_deinit(&g->scratch);
	cyc_free(g);
	*p = NULL;
}

double cyc_group_maps_reference_bytes(const cyc_group_maps *g, int32_t radius)
{
	return cyc_reference_bytes(&(cyc_reference_size){ g->crop_px, g->crop_px, radius });
}

double cyc_group_maps_bytes(const cyc_group_maps *g)
{
	return cyc_group_sums_bytes(g->n_groups, g->sums->ball->radius);
}

double cyc_group_sums_bytes(int32_t n_groups, double radius)
{
	return 2.0 * n_groups * cyc_sum_bytes(radius) + 4 * cyc_half_sum_bytes(radius);
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

/* Insertion is a convolution; its transform is divided out together with the scale of the transforms
 * (T2.4). */
static cyc_status make_gridding(cyc_group_maps *g)
{
	cyc_status st = CYC_OK;
	int32_t n = 3 * (g->crop_px / 2) * (g->crop_px / 2) + 1;
	double scale = pow(g->edge, 3) * pow(g->s, -1.5) * (g->spec->stacks ? g->spec->box->binning : 1);
	CYC_TRY(cyc_alloc(&g->gridding, n, sizeof *g->gridding));
	for (int32_t i = 0; i < n; i++)
		g->gridding[i] = (float)(scale / fmax(cyc_square(cyc_sinc(sqrt((double)i) / g->edge)), 0.01));
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
	/* Two shells more, since interpolation for symmetry mates at the rim reads beyond it. */
	int32_t sum_radius = g->radius + 2 < g->s / 2 ? g->radius + 2 : g->s / 2;
	CYC_TRY_CTX(cyc_sums_create(&g->sums, spec->be, g->s, sum_radius, -1, 2 * n_groups), "sums of groups");
	CYC_TRY(cyc_fourier_ops(&g->ops, &g->n_ops, spec->symmetry, 1, 0, 0, spec->box->pixel_size_A));
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

void cyc_group_maps_drop_full(cyc_group_maps *g)
{
	for (int h = 0; h < 2; h++) cyc_half_sum_destroy(&g->full[h]);
}

const cyc_half_sum *cyc_group_maps_full(const cyc_group_maps *g, int32_t half)
{
	return g->full[half] ? g->full[half] : g->total[half];
}

typedef struct {
	const cyc_group_maps *g;
	const cyc_half_sum *total;
	double *sum; /* per plane: sum and count of each shell */
} weighing;

static cyc_status weight_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const weighing *w = arg;
	int32_t R = w->g->radius, z = (int32_t)i - R;
	double *sum = w->sum + (size_t)i * 2 * (size_t)(R + 2);
	for (int32_t y = -R; y <= R; y++) {
		const float *row = w->total->value + 4 * w->total->ball->first[cyc_ball_row(w->total->ball, z, y)];
		int32_t left = R * R - z * z - y * y;
		for (int32_t x = 0; x * x <= left; x++) {
			int32_t shell = (int32_t)(sqrt((double)(z * z + y * y) + (double)(x * x)) + 0.5);
			sum[2 * shell] += (double)row[4 * x + 2];
			sum[2 * shell + 1]++;
		}
	}
	return CYC_OK;
}

/* Mean weight of the shells of the totals. */
static cyc_status mean_weights(cyc_group_maps *g)
{
	cyc_status st = CYC_OK;
	int32_t n_planes = 2 * g->radius + 1, n_shells = g->radius + 2;
	weighing w = { .g = g };
	CYC_TRY(cyc_alloc(&w.sum, 2 * (size_t)n_planes * (size_t)n_shells, sizeof *w.sum));
	for (int h = 0; h < 2; h++) {
		w.total = g->total[h];
		memset(w.sum, 0, 2 * (size_t)n_planes * (size_t)n_shells * sizeof *w.sum);
		CYC_TRY(cyc_parallel_for(n_planes, cyc_backend_n_threads(g->spec->be), weight_task, &w));
		for (int32_t r = 0; r < n_shells; r++) {
			double sum = 0, count = 0;
			for (int32_t i = 0; i < n_planes; i++) {
				sum += w.sum[2 * (i * n_shells + r)];
				count += w.sum[2 * (i * n_shells + r) + 1];
			}
			g->mean_weight[h * n_shells + r] = count > 0 ? sum / count : 0;
		}
	}
done:
	cyc_free(w.sum);
	return st;
}

/* A sum of half-set h, from the rank that made it to the others. */
static cyc_status pass_on(cyc_half_sum **sum, const cyc_group_maps *g, int32_t radius, int32_t h)
{
	cyc_status st = CYC_OK;
	if (!*sum) CYC_TRY(cyc_half_sum_create(sum, g->s, radius));
	CYC_TRY(cyc_ranks_pass_on((*sum)->value, 4 * (*sum)->ball->count * sizeof *(*sum)->value, h));
done:
	return st;
}

cyc_status cyc_group_maps_insert(cyc_group_maps *g, cyc_tomogram_set *tomograms, const cyc_particle_set *set,
                                 const char *root)
{
	cyc_status st = CYC_OK;
	int8_t *slot = NULL;
	cyc_sums *rest = NULL;
	int32_t inner = g->sums->ball->radius, K = g->n_groups;
	int n_threads = cyc_backend_n_threads(g->spec->be);
	cyc_group_maps_drop_full(g);
	CYC_TRY(cyc_alloc(&slot, set->n, sizeof *slot));
	for (int64_t i = 0; i < set->n; i++) slot[i] = (int8_t)((set->particles[i].half > 0) * K + g->group[i]);
	CYC_TRY(cyc_sums_clear(g->sums));
	if (inner < g->s / 2) CYC_TRY(cyc_sums_create(&rest, g->spec->be, g->s, g->s / 2, inner, 2));
	const cyc_accumulator_sums sums = {
		.sums = g->sums, .rest = rest, .slot = slot, .most_particles = cyc_particle_set_most(set)
	};
	CYC_TRY(cyc_half_maps_insert(tomograms, set, root, g->spec, &sums));
	for (int32_t h = 0; h < 2; h++) {
		if (cyc_ranks_maker(h) != cyc_rank()) continue;
		CYC_TRY(cyc_sums_take(&g->total[h], g->sums, h * K, K, -1, NULL, 0));
		CYC_TRY(cyc_symmetrise(&g->total[h], &g->other, g->ops, g->n_ops, n_threads));
	}
	for (int32_t h = 0; h < 2 && rest; h++) {
		cyc_half_sum *other = NULL;
		if (cyc_ranks_maker(h) == cyc_rank())
			CYC_TRY(cyc_sums_take(&g->full[h], g->sums, h * K, K, -1, rest, h));
		cyc_buffer_destroy(&rest->sum[h]);
		if (cyc_ranks_maker(h) != cyc_rank()) continue;
		st = cyc_symmetrise(&g->full[h], &other, g->ops, g->n_ops, n_threads);
		cyc_half_sum_destroy(&other);
		CYC_TRY(st);
	}
	for (int32_t h = 0; h < 2; h++) {
		CYC_TRY(pass_on(&g->total[h], g, g->sums->ball->radius, h));
		if (rest) CYC_TRY(pass_on(&g->full[h], g, g->s / 2, h));
	}
	CYC_TRY(mean_weights(g));
done:
	cyc_sums_destroy(&rest);
	cyc_free(slot);
	return st;
}

/* ---------------------------------------------------------------- references */

typedef struct {
	const cyc_group_maps *g;
	int32_t half, join_radius;
	cyc_cfloat *ft;
	const float *real;
	cyc_volume *out;
	double *sums; /* per plane of the map: weighted sum and weights */
	double taper_px;
	float mean;
} making;

/* One coefficient of a map: data over weight. */
static inline cyc_cfloat divided(const float v[4], float least)
{
	float w = v[2] < least ? least : v[2];
	return w > 0 ? v[0] / w + v[1] / w * I : 0;
}

/* A plane of the transform, phase origin in the middle of the map. */
static cyc_status divide_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const making *m = arg;
	const cyc_group_maps *g = m->g;
	int32_t z = (int32_t)i - g->radius, e = g->edge, n_shells = g->radius + 2;
	size_t eh = (size_t)(e / 2 + 1);
	const cyc_half_sum *own = g->own, *other = g->total[1 - m->half];
	const double *floor_ = g->mean_weight + m->half * n_shells,
				 *other_floor = g->mean_weight + (1 - m->half) * n_shells;
	for (int32_t y = -g->radius; y <= g->radius; y++) {
		int32_t left = g->radius * g->radius - z * z - y * y;
		size_t first = 4 * own->ball->first[cyc_ball_row(own->ball, z, y)];
		cyc_cfloat *to = m->ft + ((size_t)(z < 0 ? z + e : z) * (size_t)e + (size_t)(y < 0 ? y + e : y)) * eh;
		for (int32_t x = 0; x * x <= left; x++) {
			int32_t shell = (int32_t)(sqrtf((float)(z * z + y * y) + (float)(x * x)) + 0.5F);
			size_t at = first + 4 * (size_t)x;
			cyc_cfloat v = divided(own->value + at, (float)(WEIGHT_FLOOR * floor_[shell]));
			if (shell <= m->join_radius)
				v = 0.5F * (v + divided(other->value + at, (float)(WEIGHT_FLOOR * other_floor[shell])));
			to[x] = (z + y + x) % 2 ? -v : v;
		}
	}
	return CYC_OK;
}

/* The middle of the transform's box, gridding divided out; tapered and masked in the second pass. */
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
			double taper = cyc_taper_weight(sqrt((double)r2), R, m->taper_px);
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
		         .taper_px = spec->taper_px * g->crop_px / spec->crop_px,
		         .ft = g->ft,
		         .real = g->real,
		         .out = out,
		         .join_radius =
		             spec->join_A > 0
		                 ? (int32_t)fmin(g->edge * out->pixel_size_A / spec->join_A + 0.5, 2 * g->edge)
		                 : -1 };
	CYC_TRY(cyc_alloc(&sums, 2 * (size_t)g->crop_px, sizeof *sums));
	CYC_TRY(cyc_sums_take(&g->own, g->sums, half * g->n_groups, g->n_groups, half * g->n_groups + i_group,
	                      NULL, 0));
	CYC_TRY(cyc_symmetrise(&g->own, &g->other, g->ops, g->n_ops, n_threads));
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
	for (int h = 0; h < 2; h++)
		if (cyc_reference_maker(i, h) == cyc_rank()) CYC_TRY(make_map(g->half[h], g, h, i));
	const cyc_reference_spec r = { .skip_grid = { cyc_reference_maker(i, 0) != cyc_rank(),
		                                          cyc_reference_maker(i, 1) != cyc_rank() },
		                           .fsc = weight,
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
