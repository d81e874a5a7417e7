#include "refine3d/sampling.h"

#include <math.h>

double cyc_healpix_step_rad(int32_t order) { return 2 * CYC_PI / (6 * (double)(1 << order)); }

/* Every second bit of a nested index, from bit `first`. */
static int32_t every_second_bit(int64_t i, int first)
{
	int32_t out = 0;
	for (int b = 0; b < 16; b++) out |= (int32_t)(i >> (2 * b + first) & 1) << b;
	return out;
}

void cyc_healpix_direction(double *rot, double *tilt, int32_t order, int64_t i)
{
	/* Ring and longitude of the southern corner of the twelve base pixels. */
	static const int RING[12] = { 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4 },
					 LONGITUDE[12] = { 1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7 };
	int64_t n = (int64_t)1 << order, in_face = n * n, face = i / in_face;
	int64_t x = every_second_bit(i % in_face, 0), y = every_second_bit(i % in_face, 1);
	int64_t ring = RING[face] * n - x - y - 1, n_ring = n, shifted = 0;
	double z;
	if (ring < n) {
		n_ring = ring;
		z = 1 - (double)(ring * ring) / (3.0 * (double)in_face);
	} else if (ring > 3 * n) {
		n_ring = 4 * n - ring;
		z = (double)(n_ring * n_ring) / (3.0 * (double)in_face) - 1;
	} else {
		z = 2 * (double)(2 * n - ring) / (3.0 * (double)n);
		shifted = (ring - n) % 2;
	}
	int64_t place = (LONGITUDE[face] * n_ring + x - y + 1 + shifted) / 2;
	if (place > 4 * n_ring) place -= 4 * n_ring;
	if (place < 1) place += 4 * n_ring;
	double phi = ((double)place - 0.5 * (double)(shifted + 1)) * 0.5 * CYC_PI / (double)n_ring;
	*rot = phi > CYC_PI ? phi - 2 * CYC_PI : phi;
	*tilt = acos(z);
}

static cyc_vec3 view(double rot, double tilt)
{
	return (cyc_vec3){ sin(tilt) * cos(rot), sin(tilt) * sin(rot), cos(tilt) };
}
static double dot(cyc_vec3 a, cyc_vec3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
static double angle_between(cyc_vec3 a, cyc_vec3 b) { return acos(fmin(fmax(dot(a, b), -1), 1)); }

void cyc_rotation_grid_destroy(cyc_rotation_grid **p)
{
	cyc_rotation_grid *g = *p;
	if (!g) return;
	cyc_free(g->direction);
	cyc_free(g->psi);
	cyc_free(g->log_prior);
	cyc_free(g);
	*p = NULL;
}

/* Directions and in-plane angles with their log-weights, to a grid of all pairs. */
typedef struct {
	int64_t *direction;
	double *log_direction;
	int64_t n;
} direction_list;

static cyc_status find_directions(direction_list *d, int32_t order, cyc_vec3 centre, double sigma_rad)
{
	cyc_status st = CYC_OK;
	int64_t all = 12 * ((int64_t)1 << 2 * order), nearest = 0;
	double least = 10;
	CYC_TRY(cyc_alloc(&d->direction, all, sizeof *d->direction));
	CYC_TRY(cyc_alloc(&d->log_direction, all, sizeof *d->log_direction));
	for (int64_t i = 0; i < all; i++) {
		double rot, tilt;
		cyc_healpix_direction(&rot, &tilt, order, i);
		double delta = angle_between(view(rot, tilt), centre);
		if (delta < least) {
			least = delta;
			nearest = i;
		}
		if (delta >= 3 * sigma_rad) continue;
		d->direction[d->n] = i;
		d->log_direction[d->n++] = -0.5 * cyc_square(delta / sigma_rad);
	}
	if (d->n == 0) d->direction[d->n++] = nearest;
done:
	return st;
}

static cyc_status make_pairs(cyc_rotation_grid **out, int32_t order, int32_t oversampling,
                             const direction_list *d, double psi, double sigma_rad)
{
	cyc_status st = CYC_OK;
	cyc_rotation_grid *g = NULL;
	*out = NULL;
	CYC_TRY(cyc_alloc(&g, 1, sizeof *g));
	g->order = order;
	g->oversampling = oversampling;
	g->n_psi = (int32_t)ceil(2 * CYC_PI / cyc_healpix_step_rad(order) - 1e-9);
	size_t most = (size_t)d->n * (size_t)g->n_psi;
	CYC_TRY(cyc_alloc(&g->direction, most, sizeof *g->direction));
	CYC_TRY(cyc_alloc(&g->psi, most, sizeof *g->psi));
	CYC_TRY(cyc_alloc(&g->log_prior, most, sizeof *g->log_prior));
	double step = 2 * CYC_PI / g->n_psi, sum = 0, least = 10;
	int32_t nearest = 0;
	for (int32_t j = 0; j < g->n_psi; j++) {
		double delta = fabs(remainder(j * step - psi, 2 * CYC_PI));
		if (delta < least) {
			least = delta;
			nearest = j;
		}
	}
	for (int64_t i = 0; i < d->n; i++)
		for (int32_t j = 0; j < g->n_psi; j++) {
			double delta = fabs(remainder(j * step - psi, 2 * CYC_PI)), prior = d->log_direction[i];
			if (sigma_rad > 0 && delta >= 3 * sigma_rad && j != nearest) continue;
			if (sigma_rad > 0) prior -= 0.5 * cyc_square(delta / sigma_rad);
			g->direction[g->n] = d->direction[i];
			g->psi[g->n] = j;
			g->log_prior[g->n++] = prior;
			sum += exp(prior);
		}
	for (int32_t i = 0; i < g->n; i++) g->log_prior[i] -= log(sum);
	*out = g;
	g = NULL;
done:
	cyc_rotation_grid_destroy(&g);
	return st;
}

static cyc_status around(cyc_rotation_grid **out, int32_t order, int32_t oversampling, double sigma_rad,
                         cyc_vec3 centre, double psi)
{
	cyc_status st = CYC_OK;
	direction_list d = { 0 };
	CYC_TRY(find_directions(&d, order, centre, sigma_rad));
	CYC_TRY(make_pairs(out, order, oversampling, &d, psi, sigma_rad));
done:
	cyc_free(d.direction);
	cyc_free(d.log_direction);
	return st;
}

cyc_status cyc_rotation_grid_local(cyc_rotation_grid **out, int32_t order, int32_t oversampling,
                                   double sigma_rad)
{
	cyc_status st = CYC_OK;
	CYC_TRY(around(out, order, oversampling, sigma_rad, (cyc_vec3){ 0, 0, 1 }, 0));
	(*out)->is_relative = true;
done:
	return st;
}

cyc_status cyc_rotation_grid_near(cyc_rotation_grid **out, int32_t order, int32_t oversampling,
                                  double sigma_rad, cyc_mat3 R_part_ref)
{
	double rot, tilt, psi;
	cyc_euler_from_matrix(&rot, &tilt, &psi, R_part_ref);
	return around(out, order, oversampling, sigma_rad, view(rot, tilt), psi);
}

cyc_status cyc_healpix_unique(int64_t **out, int64_t *n, int32_t order, const cyc_symmetry *symmetry)
{
	cyc_status st = CYC_OK;
	/* On no axis or plane of any group, so that exactly one mate is nearest (except on a set of measure
	 * zero). */
	const cyc_vec3 generic = view(0.4236, 0.3171);
	int64_t all = 12 * ((int64_t)1 << 2 * order);
	*n = 0;
	CYC_TRY(cyc_alloc(out, all, sizeof **out));
	for (int64_t i = 0; i < all; i++) {
		double rot, tilt;
		bool is_nearest = true;
		cyc_healpix_direction(&rot, &tilt, order, i);
		cyc_vec3 v = view(rot, tilt);
		for (int32_t s = 1; s < symmetry->n && is_nearest; s++)
			is_nearest = dot(cyc_mat3_apply(symmetry->ops[s], v), generic) <= dot(v, generic) + 1e-9;
		if (is_nearest) (*out)[(*n)++] = i;
	}
done:
	return st;
}

cyc_status cyc_rotation_grid_global(cyc_rotation_grid **out, int32_t order, int32_t oversampling,
                                    const cyc_symmetry *symmetry)
{
	cyc_status st = CYC_OK;
	direction_list d = { 0 };
	CYC_TRY(cyc_healpix_unique(&d.direction, &d.n, order, symmetry));
	CYC_TRY(cyc_alloc(&d.log_direction, d.n, sizeof *d.log_direction));
	CYC_TRY(make_pairs(out, order, oversampling, &d, 0, 0));
done:
	cyc_free(d.direction);
	cyc_free(d.log_direction);
	return st;
}

int32_t cyc_rotation_grid_n_children(const cyc_rotation_grid *g) { return 1 << 3 * g->oversampling; }

cyc_mat3 cyc_rotation_grid_at(const cyc_rotation_grid *g, int32_t i, int32_t child, cyc_mat3 old)
{
	double rot, tilt, step = 2 * CYC_PI / g->n_psi, psi = g->psi[i] * step;
	if (child < 0) {
		cyc_healpix_direction(&rot, &tilt, g->order, g->direction[i]);
	} else {
		int32_t n = 1 << g->oversampling;
		cyc_healpix_direction(&rot, &tilt, g->order + g->oversampling, g->direction[i] * n * n + child / n);
		psi += step * ((child % n + 0.5) / n - 0.5);
	}
	/* The rotation tips the view without turning the image: E(rot, tilt, psi) with psi counted from -rot. */
	cyc_mat3 R = g->is_relative ? cyc_mat3_mul(cyc_euler_to_matrix(rot, tilt, psi - rot), old)
	                            : cyc_euler_to_matrix(rot, tilt, psi);
	if (g->perturbation_rad != 0)
		R = cyc_mat3_mul(R,
		                 cyc_euler_to_matrix(g->perturbation_rad, g->perturbation_rad, g->perturbation_rad));
	return R;
}

void cyc_offset_grid_destroy(cyc_offset_grid **p)
{
	if (!*p) return;
	cyc_free((*p)->offset_A);
	cyc_free(*p);
	*p = NULL;
}

cyc_status cyc_offset_grid_create(cyc_offset_grid **out, double range_A, double step_A)
{
	cyc_status st = CYC_OK;
	cyc_offset_grid *g = NULL;
	int32_t n = (int32_t)floor(range_A / step_A + 1e-6);
	double r2 = cyc_square(range_A / step_A) * (1 + 1e-6);
	*out = NULL;
	CYC_TRY(cyc_alloc(&g, 1, sizeof *g));
	g->step_A = step_A;
	CYC_TRY(cyc_alloc(&g->offset_A, (size_t)(2 * n + 1) * (size_t)(2 * n + 1) * (size_t)(2 * n + 1),
	                  sizeof *g->offset_A));
	for (int32_t z = -n; z <= n; z++)
		for (int32_t y = -n; y <= n; y++)
			for (int32_t x = -n; x <= n; x++)
				if (x * x + y * y + z * z <= r2)
					g->offset_A[g->n++] = (cyc_vec3){ x * step_A, y * step_A, z * step_A };
	*out = g;
	g = NULL;
done:
	cyc_offset_grid_destroy(&g);
	return st;
}

cyc_vec3 cyc_offset_grid_child(const cyc_offset_grid *g, int32_t i, int32_t child)
{
	double h = 0.25 * g->step_A;
	cyc_vec3 t = g->offset_A[i];
	return (cyc_vec3){ t.x + (child & 1 ? h : -h), t.y + (child & 2 ? h : -h), t.z + (child & 4 ? h : -h) };
}

void cyc_rotation_vector(double v[3], cyc_mat3 R)
{
	/* The antisymmetric part is the axis times the sine of the angle, the trace has the cosine. */
	const double a[3] = { 0.5 * (R.m[2][1] - R.m[1][2]), 0.5 * (R.m[0][2] - R.m[2][0]),
		                  0.5 * (R.m[1][0] - R.m[0][1]) };
	double sine = sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2]),
		   cosine = 0.5 * (R.m[0][0] + R.m[1][1] + R.m[2][2] - 1);
	double angle = atan2(sine, cosine);
	if (sine > 1e-6 || cosine > 0) {
		double factor = sine > 1e-12 ? angle / sine : 1;
		for (int k = 0; k < 3; k++) v[k] = factor * a[k];
		return;
	}
	/* Half turns have no antisymmetric part: (R + 1) / 2 is the axis times itself. Its longest column is
	 * the most accurate. */
	int best = 0;
	for (int k = 1; k < 3; k++)
		if (R.m[k][k] > R.m[best][best]) best = k;
	double length = sqrt(fmax(0.5 * (R.m[best][best] + 1), 0));
	for (int k = 0; k < 3; k++) v[k] = angle * 0.5 * (R.m[k][best] + (k == best)) / length;
	if (v[0] * a[0] + v[1] * a[1] + v[2] * a[2] < 0)
		for (int k = 0; k < 3; k++) v[k] = -v[k];
}

double cyc_rotation_distance_rad(cyc_mat3 a, cyc_mat3 b, const cyc_symmetry *symmetry, int32_t *mate)
{
	double best = -10;
	for (int32_t s = 0; s < symmetry->n; s++) {
		cyc_mat3 d = cyc_mat3_mul(cyc_mat3_transpose(a), cyc_mat3_mul(b, symmetry->ops[s]));
		double trace = d.m[0][0] + d.m[1][1] + d.m[2][2];
		if (trace > best) {
			best = trace;
			if (mate) *mate = s;
		}
	}
	return acos(fmin(fmax(0.5 * (best - 1), -1), 1));
}
