/*
 * Standard errors of an alignment. A common offset and a common rotation of the specimen, compensated by
 * shifts and angles, leave every image unchanged. They are known from the priors alone, and the errors
 * written for users exclude them.       (T6.15)
 */
#include "polish/alignment.h"
#include "polish/schur.h"

#include <lapacke.h>
#include <math.h>
#include <string.h>

/* Prior width of one of the tilts' parameters. */
static double tilt_width(const cyc_alignment *a, size_t i)
{
	size_t f = i / CYC_PER_TILT, k = i % CYC_PER_TILT;
	return k < 3 ? a->angle_width_rad[3 * f + k] : a->shift_width_A[f];
}

cyc_status cyc_alignment_errors(double *tilt_errors, double *particle_errors, cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	cyc_schur *s = NULL;
	CYC_TRY(cyc_alignment_linearise(a));
	CYC_TRY(cyc_schur_create(&s, a));
	CYC_TRY(cyc_schur_factor(s, a));
	CYC_TRY(cyc_schur_variances(tilt_errors, particle_errors, s, a));
	for (int32_t i = 0; i < CYC_PER_TILT * a->n_tilts; i++)
		tilt_errors[i] = sqrt(tilt_errors[i]) * tilt_width(a, (size_t)i);
	for (int32_t i = 0; i < 3 * a->n_particles; i++)
		particle_errors[i] = sqrt(particle_errors[i]) * a->widths.position_A;
done:
	cyc_schur_destroy(&s);
	return st;
}

/* ---------------------------------------------------------------- without the gauge */

/*
 * A group of numbers e (all positions, all shifts, all rotations of tilts) loses its weighted least squares
 * fit by the gauge, B g: e' = e - B K e,   K = (B^T W B)^-1 B^T W,   var e'_i = C_ii - 2 (B K C)_ii + (B K C
 * K^T B^T)_ii
 */
enum { MOST_GAUGES = 6 };
/* In series of fewer particles the gauge is half of the information on their positions, or more. */
static const int32_t FEWEST_PARTICLES = 4;
/* Directions of the gauge that the positions do not determine: for particles on a line, the rotation about
 * it. */
static const double NO_DIRECTION = 1e-9;

/* Pseudoinverse of a symmetric positive n x n matrix, in place. */
static cyc_status pseudo_inverse(double *M, int n)
{
	cyc_status st = CYC_OK;
	double V[MOST_GAUGES * MOST_GAUGES], values[MOST_GAUGES];
	memcpy(V, M, (size_t)(n * n) * sizeof *V);
	CYC_CHECK(LAPACKE_dsyev(LAPACK_ROW_MAJOR, 'V', 'U', n, V, n, values) == 0, CYC_E_NUMERIC,
	          "the gauge of an alignment has no eigenvectors");
	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++) {
			M[i * n + j] = 0;
			for (int k = 0; k < n; k++)
				if (values[k] > NO_DIRECTION * values[n - 1])
					M[i * n + j] += V[i * n + k] * V[j * n + k] / values[k];
		}
done:
	return st;
}

/* K of n numbers with m gauges: B and K are n x m. Weights NULL: 1. */
static cyc_status gauge_fit(double *K, const double *B, const double *weight, size_t n, size_t m)
{
	cyc_status st = CYC_OK;
	double M[MOST_GAUGES * MOST_GAUGES] = { 0 };
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < m; k++)
			for (size_t l = 0; l < m; l++)
				M[k * m + l] += (weight ? weight[i] : 1) * B[i * m + k] * B[i * m + l];
	CYC_TRY(pseudo_inverse(M, (int)m));
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < m; k++) {
			K[i * m + k] = 0;
			for (size_t l = 0; l < m; l++)
				K[i * m + k] += (weight ? weight[i] : 1) * M[k * m + l] * B[i * m + l];
		}
done:
	return st;
}

/* From variances C_ii to those without the gauge, in place; CK (n x m) is C K. Rounding must not make them
 * negative. */
static void take_gauge_out(double *variance, const double *B, const double *K, const double *CK, size_t n,
                           size_t m)
{
	double G[MOST_GAUGES * MOST_GAUGES] = { 0 };
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < m; k++)
			for (size_t l = 0; l < m; l++) G[k * m + l] += K[i * m + k] * CK[i * m + l];
	for (size_t i = 0; i < n; i++) {
		double v = variance[i];
		for (size_t k = 0; k < m; k++) {
			v -= 2 * B[i * m + k] * CK[i * m + k];
			for (size_t l = 0; l < m; l++) v += B[i * m + k] * G[k * m + l] * B[i * m + l];
		}
		variance[i] = fmax(v, 0);
	}
}

typedef struct {
	cyc_alignment *a;
	cyc_schur *s;
	const double *tilt_covariance; /* of the standardised tilts, 5 T x 5 T */
	size_t n_tilt;
	bool *is_seen; /* tilts that show a particle */
	size_t n_seen;
} free_errors;

static cyc_status find_seen(free_errors *e)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_alloc(&e->is_seen, e->a->n_tilts, sizeof *e->is_seen));
	for (int32_t f = 0; f < e->a->n_tilts; f++) {
		for (int32_t p = 0; p < e->a->n_particles && !e->is_seen[f]; p++)
			e->is_seen[f] = cyc_pair_is_seen(e->a, p, f);
		e->n_seen += e->is_seen[f];
	}
done:
	return st;
}

/* Offset and turn of the specimen about the particles' mean, as they move each particle: 3 N x m. */
static void position_gauge(double *B, size_t m, bool has_offset, bool has_turn, const cyc_alignment *a)
{
	cyc_vec3 mean = { 0, 0, 0 };
	for (int32_t p = 0; p < a->n_particles; p++) {
		mean.x += a->positions_A[p].x / a->n_particles;
		mean.y += a->positions_A[p].y / a->n_particles;
		mean.z += a->positions_A[p].z / a->n_particles;
	}
	/* Rotations as displacements at 1,000 Å, so that all directions have a similar scale. */
	for (int32_t p = 0; p < a->n_particles; p++) {
		double x = 1e-3 * (a->positions_A[p].x - mean.x), y = 1e-3 * (a->positions_A[p].y - mean.y),
			   z = 1e-3 * (a->positions_A[p].z - mean.z);
		const double turn[3][3] = { { 0, z, -y }, { -z, 0, x }, { y, -x, 0 } };
		for (size_t k = 0; k < 3; k++) {
			double *row = B + (3 * (size_t)p + k) * m;
			for (size_t l = 0; l < 3 && has_offset; l++) row[l] = k == l;
			for (size_t l = 0; l < 3 && has_turn; l++) row[m - 3 + l] = turn[k][l];
		}
	}
}

/* C K of the positions, one solution of the curvature for each gauge; in Å2 of standardised-free numbers. */
static cyc_status position_products(double *CK, const double *K, size_t m, const free_errors *e)
{
	cyc_status st = CYC_OK;
	const cyc_alignment *a = e->a;
	cyc_alignment_blocks b = cyc_alignment_blocks_of(a);
	double *g = NULL, *x = NULL;
	CYC_TRY(cyc_alloc(&g, b.n, sizeof *g));
	CYC_TRY(cyc_alloc(&x, b.n, sizeof *x));
	for (size_t k = 0; k < m; k++) {
		for (size_t i = 0; i < 3 * (size_t)a->n_particles; i++) g[b.particles + i] = K[i * m + k];
		CYC_TRY(cyc_schur_solve(x, e->s, a, g));
		for (size_t i = 0; i < 3 * (size_t)a->n_particles; i++)
			CK[i * m + k] = cyc_square(a->widths.position_A) * x[b.particles + i];
	}
done:
	cyc_free(g);
	cyc_free(x);
	return st;
}

/* Information of the images on a particle's position with the tilts held: inverse covariance [1/Å2],
 * without the prior. */
static cyc_mat3 place_information(const cyc_alignment *a, int32_t p)
{
	cyc_mat3 M = { 0 };
	for (int32_t f = 0; f < a->n_tilts; f++) {
		const cyc_linear_pair *l = cyc_linear_of(a, p, f);
		if (!cyc_pair_is_seen(a, p, f)) continue;
		for (int i = 0; i < 3; i++)
			for (int j = 0; j < 3; j++)
				M.m[i][j] += l->H[0] * l->axes[0][i] * l->axes[0][j] +
				             l->H[2] * l->axes[1][i] * l->axes[1][j] +
				             l->H[1] * (l->axes[0][i] * l->axes[1][j] + l->axes[1][i] * l->axes[0][j]);
	}
	return M;
}

/* Share of the images in the information on a particle's position, the rest being the prior's: 1 except
 * for particles with little weight. */
static double known_share(const cyc_alignment *a, int32_t p)
{
	cyc_mat3 M = place_information(a, p);
	double sum = M.m[0][0] + M.m[1][1] + M.m[2][2];
	return sum / (sum + 3 / cyc_square(a->widths.position_A));
}

/* B and C K of the positions, before the factors are used up; m = 0: nothing to take out. */
static cyc_status position_parts(double **B, double **K, double **CK, size_t *m, const free_errors *e)
{
	cyc_status st = CYC_OK;
	const cyc_alignment *a = e->a;
	size_t n = 3 * (size_t)a->n_particles;
	double *weight = NULL;
	*m = 0;
	if (!a->do_positions || a->n_particles < FEWEST_PARTICLES) goto done;
	*m = (a->do_shifts ? 3U : 0U) + (a->do_angles ? 3U : 0U);
	if (*m == 0) goto done;
	CYC_TRY(cyc_alloc(B, n * *m, sizeof **B));
	CYC_TRY(cyc_alloc(K, n * *m, sizeof **K));
	CYC_TRY(cyc_alloc(CK, n * *m, sizeof **CK));
	position_gauge(*B, *m, a->do_shifts, a->do_angles, a);
	CYC_TRY(cyc_alloc(&weight, n, sizeof *weight));
	for (size_t i = 0; i < n; i++) weight[i] = known_share(a, (int32_t)(i / 3));
	CYC_TRY(gauge_fit(*K, *B, weight, n, *m));
	CYC_TRY(position_products(*CK, *K, *m, e));
done:
	cyc_free(weight);
	return st;
}

/* Covariance of two of the tilts' parameters, in their own units. */
static double tilt_covariance(const free_errors *e, size_t i, size_t j)
{
	double w[2];
	const size_t at[2] = { i, j };
	for (int k = 0; k < 2; k++) w[k] = tilt_width(e->a, at[k]);
	return w[0] * w[1] * e->tilt_covariance[i * e->n_tilt + j];
}

/* Rows that make `n` numbers of a tilt's parameters: n x 5. Shifts are two of them as they are. */
static void shift_rows(double rows[3][CYC_PER_TILT])
{
	memset(rows, 0, 3 * sizeof *rows);
	rows[0][3] = rows[1][4] = 1;
}

void cyc_alignment_turn_rows(double rows[3][CYC_PER_TILT], double ytilt_rad)
{
	memset(rows, 0, 3 * sizeof *rows);
	rows[0][0] = cos(ytilt_rad);
	rows[1][1] = 1;
	rows[2][0] = -sin(ytilt_rad);
	rows[2][2] = 1;
}

/* A group of numbers of the seen tilts: `per` of each, with the rows that make them and the m gauges. */
typedef struct {
	size_t per, m;
	double (*rows)[3][CYC_PER_TILT]; /* n_tilts */
	double *B, *K, *CK;              /* (per n_seen) x m */
	double *variance, *weight;       /* per n_seen */
	size_t *tilt;                    /* n_seen: row of the series */
} tilt_group;

static void tilt_group_deinit(tilt_group *g)
{
	cyc_free(g->rows);
	cyc_free(g->B);
	cyc_free(g->K);
	cyc_free(g->CK);
	cyc_free(g->variance);
	cyc_free(g->weight);
	cyc_free(g->tilt);
}

static cyc_status tilt_group_init(tilt_group *g, const free_errors *e, size_t per)
{
	cyc_status st = CYC_OK;
	size_t n = 0;
	g->per = per;
	g->m = 3;
	CYC_TRY(cyc_alloc(&g->rows, e->a->n_tilts, sizeof *g->rows));
	CYC_TRY(cyc_alloc(&g->B, per * e->n_seen * g->m + 1, sizeof *g->B));
	CYC_TRY(cyc_alloc(&g->K, per * e->n_seen * g->m + 1, sizeof *g->K));
	CYC_TRY(cyc_alloc(&g->CK, per * e->n_seen * g->m + 1, sizeof *g->CK));
	CYC_TRY(cyc_alloc(&g->variance, per * (size_t)e->a->n_tilts, sizeof *g->variance));
	CYC_TRY(cyc_alloc(&g->weight, per * e->n_seen + 1, sizeof *g->weight));
	CYC_TRY(cyc_alloc(&g->tilt, e->n_seen + 1, sizeof *g->tilt));
	for (size_t f = 0; f < (size_t)e->a->n_tilts; f++)
		if (e->is_seen[f]) g->tilt[n++] = f;
done:
	return st;
}

/* Covariance of two of the group's numbers. */
static double group_covariance(const tilt_group *g, const free_errors *e, size_t i, size_t j)
{
	size_t f = g->tilt[i / g->per], h = g->tilt[j / g->per];
	const double *u = g->rows[f][i % g->per], *v = g->rows[h][j % g->per];
	double sum = 0;
	for (size_t k = 0; k < CYC_PER_TILT; k++)
		for (size_t l = 0; l < CYC_PER_TILT; l++)
			if (u[k] != 0 && v[l] != 0)
				sum += u[k] * v[l] * tilt_covariance(e, CYC_PER_TILT * f + k, CYC_PER_TILT * h + l);
	return sum;
}

/* Variances of the group without the gauge. */
static cyc_status group_variances(tilt_group *g, const free_errors *e, bool is_weighted, bool is_free)
{
	cyc_status st = CYC_OK;
	size_t n = g->per * e->n_seen;
	for (size_t i = 0; i < n; i++) g->variance[i] = group_covariance(g, e, i, i);
	if (!is_free || n == 0) goto done;
	CYC_TRY(gauge_fit(g->K, g->B, is_weighted ? g->weight : NULL, n, g->m));
	memset(g->CK, 0, n * g->m * sizeof *g->CK);
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++) {
			double c = group_covariance(g, e, i, j);
			for (size_t k = 0; k < g->m; k++) g->CK[i * g->m + k] += c * g->K[j * g->m + k];
		}
	take_gauge_out(g->variance, g->B, g->K, g->CK, n, g->m);
done:
	return st;
}

/* Precision of one component of a shift, all else known. */
static double shift_precision(const cyc_alignment *a, int32_t f, size_t k)
{
	double sum = 0;
	for (int32_t p = 0; p < a->n_particles; p++)
		if (cyc_pair_is_seen(a, p, f)) sum += cyc_linear_of(a, p, f)->H[2 * k];
	return sum;
}

/* Errors of the shifts relative to the best-fitting offset of the specimen; weights are the information of
 * the images, nearly one over the squared remaining error. */
static cyc_status shift_errors(double *tilt_errors, const free_errors *e)
{
	cyc_status st = CYC_OK;
	const cyc_alignment *a = e->a;
	bool is_free = a->do_positions && e->n_seen >= 3;
	tilt_group g = { 0 };
	CYC_TRY(tilt_group_init(&g, e, 2));
	for (int32_t f = 0; f < a->n_tilts; f++) shift_rows(g.rows[f]);
	for (size_t i = 0; i < e->n_seen; i++) {
		cyc_mat3 R = cyc_mat3_mul(a->tilts[g.tilt[i]].Q, a->projections[g.tilt[i]].linear);
		for (size_t k = 0; k < 2; k++)
			for (size_t l = 0; l < 3; l++) g.B[(2 * i + k) * 3 + l] = R.m[k][l];
	}
	for (size_t i = 0; i < 2 * e->n_seen; i++)
		g.weight[i] = shift_precision(a, (int32_t)g.tilt[i / 2], i % 2);
	CYC_TRY(group_variances(&g, e, true, is_free));
	for (size_t i = 0; i < 2 * e->n_seen; i++)
		tilt_errors[CYC_PER_TILT * g.tilt[i / 2] + 3 + i % 2] = sqrt(g.variance[i]);
done:
	tilt_group_deinit(&g);
	return st;
}

/* Errors of the tilts' rotations less their mean in the specimen. */
static cyc_status turn_errors(double *tilt_errors, const free_errors *e)
{
	cyc_status st = CYC_OK;
	const cyc_alignment *a = e->a;
	bool is_free = a->do_positions && e->n_seen >= 3;
	tilt_group g = { 0 };
	CYC_TRY(tilt_group_init(&g, e, 3));
	for (int32_t f = 0; f < a->n_tilts; f++)
		cyc_alignment_turn_rows(g.rows[f], a->base_angles[3 * f + 1] + a->angles[3 * f + 1]);
	for (size_t i = 0; i < e->n_seen; i++) {
		const double *b = a->base_angles + 3 * g.tilt[i], *d = a->angles + 3 * g.tilt[i];
		cyc_mat3 R =
			cyc_tilt_to_matrix(b[0] + d[0], b[1] + d[1], 0); /* the specimen's axes in those of the tilt */
		for (size_t k = 0; k < 3; k++)
			for (size_t l = 0; l < 3; l++) g.B[(3 * i + k) * 3 + l] = R.m[k][l];
	}
	CYC_TRY(group_variances(&g, e, false, is_free));
	for (size_t i = 0; i < 3 * e->n_seen; i++)
		tilt_errors[CYC_PER_TILT * g.tilt[i / 3] + i % 3] = sqrt(g.variance[i]);
done:
	tilt_group_deinit(&g);
	return st;
}

/*
 * The part of the positions' variances that comes from the tilts' errors: their difference from those with
 * the tilts held, with the same gauge removed (m of them; none: NULL).
 */
static cyc_status take_held_out(double *variances, const double *B, const double *K, size_t m,
                                const cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	size_t N = (size_t)a->n_particles;
	double *held = NULL, *CK = NULL;
	CYC_TRY(cyc_alloc(&held, 3 * N, sizeof *held));
	CYC_TRY(cyc_alloc(&CK, 3 * N * m + 1, sizeof *CK));
	for (size_t p = 0; p < N; p++) {
		cyc_mat3 M = place_information(a, (int32_t)p);
		for (int k = 0; k < 3; k++) M.m[k][k] += 1 / cyc_square(a->widths.position_A);
		M = cyc_mat3_inverse(M);
		for (size_t i = 0; i < 3; i++) {
			held[3 * p + i] = M.m[i][i];
			for (size_t j = 0; j < 3; j++)
				for (size_t k = 0; k < m; k++) CK[(3 * p + i) * m + k] += M.m[i][j] * K[(3 * p + j) * m + k];
		}
	}
	if (m > 0) take_gauge_out(held, B, K, CK, 3 * N, m);
	for (size_t i = 0; i < 3 * N; i++) variances[i] = fmax(variances[i] - held[i], 0);
done:
	cyc_free(held);
	cyc_free(CK);
	return st;
}

cyc_status cyc_alignment_free_errors(double *tilt_errors, double *particle_errors, double *motion_errors,
                                     double *held_errors, cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	free_errors e = { .a = a, .n_tilt = CYC_PER_TILT * (size_t)a->n_tilts };
	double *B = NULL, *K = NULL, *CK = NULL, *moved = NULL, *turned = NULL, *precision = NULL;
	size_t m;
	CYC_TRY(cyc_alignment_linearise(a));
	CYC_TRY(cyc_schur_create(&e.s, a));
	CYC_TRY(cyc_schur_factor(e.s, a));
	CYC_TRY(find_seen(&e));
	memset(motion_errors, 0, (size_t)a->n_tilts * sizeof *motion_errors);
	CYC_TRY(cyc_alloc(&moved, 3 * (size_t)a->n_particles, sizeof *moved));
	CYC_TRY(cyc_alloc(&turned, 3 * (size_t)a->n_tilts, sizeof *turned));
	if (a->motion) {
		CYC_TRY(cyc_alloc(&precision, 3 * (size_t)a->n_tilts * (size_t)a->motion->n_modes + 1,
		                  sizeof *precision));
		CYC_TRY(cyc_alignment_free_precision(precision, a, cyc_schur_mode_precision(e.s)));
		CYC_TRY(cyc_alignment_motion_errors(motion_errors, moved, turned, a, precision));
	}
	CYC_TRY(position_parts(&B, &K, &CK, &m, &e));
	CYC_TRY(cyc_schur_variances(tilt_errors, particle_errors, e.s, a));
	e.tilt_covariance = cyc_schur_tilt_covariance(e.s);
	for (int32_t i = 0; i < CYC_PER_TILT * a->n_tilts;
	     i++) { /* of tilts without signal: those of the prior */
		bool is_angle = i % CYC_PER_TILT < 3;
		tilt_errors[i] = (is_angle ? a->do_angles : a->do_shifts)
		                     ? sqrt(tilt_errors[i]) * tilt_width(a, (size_t)i)
		                     : CYC_NAN;
	}
	if (a->do_shifts) CYC_TRY(shift_errors(tilt_errors, &e));
	if (a->do_angles) CYC_TRY(turn_errors(tilt_errors, &e));
	for (int32_t i = 0; i < 3 * a->n_tilts && a->do_angles; i++) {
		double *error = &tilt_errors[CYC_PER_TILT * (i / 3) + i % 3];
		*error = sqrt(cyc_square(*error) + turned[i]);
	}
	for (int32_t i = 0; i < 3 * a->n_particles; i++) particle_errors[i] *= cyc_square(a->widths.position_A);
	if (m > 0) take_gauge_out(particle_errors, B, K, CK, 3 * (size_t)a->n_particles, m);
	memset(held_errors, 0, 3 * (size_t)a->n_particles * sizeof *held_errors);
	if (a->do_positions) {
		memcpy(held_errors, particle_errors, 3 * (size_t)a->n_particles * sizeof *held_errors);
		CYC_TRY(take_held_out(held_errors, B, K, m, a));
	}
	for (int32_t i = 0; i < 3 * a->n_particles; i++) {
		particle_errors[i] = a->do_positions ? sqrt(particle_errors[i] + moved[i]) : CYC_NAN;
		held_errors[i] = sqrt(held_errors[i] + moved[i]);
	}
done:
	cyc_free(B);
	cyc_free(K);
	cyc_free(CK);
	cyc_free(moved);
	cyc_free(turned);
	cyc_free(precision);
	cyc_free(e.is_seen);
	cyc_schur_destroy(&e.s);
	return st;
}
