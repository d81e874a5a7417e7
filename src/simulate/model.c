/*
 * The particle: a symmetric bundle of alpha helices. Helices of the asymmetric unit are put at random places
 * of a ball (a shell for large groups), never closer to others or to their own symmetry mates than proteins
 * pack.
 */
#include "simulate/simulate_internal.h"

#include <math.h>
#include <string.h>

/* Backbone of an ideal alpha helix in cylinder coordinates (Å, degrees, Å) about its axis, relative to
 * C-alpha; 100 degrees and 1.5 Å per residue. Weights: electron scattering amplitudes f_e(0) in Å with the
 * bound hydrogens. */
static const struct {
	double r, phi_deg, z, weight;
} k_backbone[] = {
	{ 1.55, -27.6, -0.87, 2.74 }, /* N */
	{ 2.28, 0.0, 0.0, 3.04 },     /* C-alpha */
	{ 1.68, 26.3, 1.10, 2.51 },   /* C */
	{ 2.03, 20.0, 2.30, 1.98 },   /* O */
	{ 3.30, -19.0, -0.70, 3.57 }, /* C-beta */
};
enum { N_BACKBONE = sizeof k_backbone / sizeof k_backbone[0], MAX_HELIX = 24, MAX_SIDE_CHAIN = 5 };
static const double k_side_chain_weight = 3.3, k_turn_deg = 100, k_rise_A = 1.5;
static const double k_packing_A = 5.5;        /* nearest C-alphas of neighbouring helices */
static const double k_residue_A3 = 134;       /* volume of a residue in a protein */
static const double k_side_chain_reach_A = 5; /* kept free at the surface of the particle */

/* ---------------------------------------------------------------- occupied space */

typedef struct {
	uint8_t *taken; /* n^3, spacing k_spacing, centre n/2 */
	int32_t n;
} grid;
static const double k_spacing = 2.0;

static cyc_status grid_create(grid *g, double radius)
{
	g->n = 2 * (int32_t)ceil((radius + 2 * k_packing_A) / k_spacing) + 1;
	return cyc_alloc(&g->taken, (size_t)g->n * (size_t)g->n * (size_t)g->n, 1);
}

static size_t grid_index(const grid *g, int32_t x, int32_t y, int32_t z)
{
	return ((size_t)z * (size_t)g->n + (size_t)y) * (size_t)g->n + (size_t)x;
}

static bool grid_is_taken(const grid *g, cyc_vec3 p)
{
	int32_t h = g->n / 2;
	return g->taken[grid_index(g, h + (int32_t)lround(p.x / k_spacing), h + (int32_t)lround(p.y / k_spacing),
	                           h + (int32_t)lround(p.z / k_spacing))];
}

static void grid_take(grid *g, cyc_vec3 p)
{
	int32_t h = g->n / 2, reach = (int32_t)ceil(k_packing_A / k_spacing);
	int32_t cx = h + (int32_t)lround(p.x / k_spacing), cy = h + (int32_t)lround(p.y / k_spacing),
			cz = h + (int32_t)lround(p.z / k_spacing);
	for (int32_t z = cz - reach; z <= cz + reach; z++)
		for (int32_t y = cy - reach; y <= cy + reach; y++)
			for (int32_t x = cx - reach; x <= cx + reach; x++) {
				if (x < 0 || y < 0 || z < 0 || x >= g->n || y >= g->n || z >= g->n) continue;
				double d2 = cyc_square((x - h) * k_spacing - p.x) + cyc_square((y - h) * k_spacing - p.y) +
				            cyc_square((z - h) * k_spacing - p.z);
				if (d2 < k_packing_A * k_packing_A) g->taken[grid_index(g, x, y, z)] = 1;
			}
}

/* ---------------------------------------------------------------- helices */

static cyc_vec3 add_scaled(cyc_vec3 a, double s, cyc_vec3 b)
{
	return (cyc_vec3){ a.x + s * b.x, a.y + s * b.y, a.z + s * b.z };
}
static double norm(cyc_vec3 a) { return sqrt(a.x * a.x + a.y * a.y + a.z * a.z); }

static cyc_vec3 random_direction(cyc_rng *rng)
{
	cyc_vec3 v = { cyc_rng_normal(rng), cyc_rng_normal(rng), cyc_rng_normal(rng) };
	double n = norm(v);
	return n > 1e-6 ? (cyc_vec3){ v.x / n, v.y / n, v.z / n } : (cyc_vec3){ 0, 0, 1 };
}

typedef struct {
	cyc_vec3 centre, along, across, third; /* right-handed frame (across, third, along) */
	int32_t n;                             /* residues */
} helix;

static cyc_vec3 helix_point(const helix *h, int32_t i, double r, double phi_deg, double z)
{
	double phi = cyc_deg_to_rad(k_turn_deg * i + phi_deg);
	cyc_vec3 p = add_scaled(h->centre, k_rise_A * (i - 0.5 * (h->n - 1)) + z, h->along);
	return add_scaled(add_scaled(p, r * cos(phi), h->across), r * sin(phi), h->third);
}

static helix random_helix(cyc_rng *rng, int32_t n, double r_in, double r_out)
{
	helix h = { .n = n, .along = random_direction(rng) };
	/* Uniform in the volume of the shell. */
	double r = cbrt(pow(r_in, 3) + cyc_rng_uniform(rng) * (pow(r_out, 3) - pow(r_in, 3)));
	h.centre = add_scaled((cyc_vec3){ 0, 0, 0 }, r, random_direction(rng));
	cyc_vec3 v = random_direction(rng);
	double along = v.x * h.along.x + v.y * h.along.y + v.z * h.along.z;
	v = add_scaled(v, -along, h.along);
	double m = norm(v);
	if (m < 0.1) {
		v = fabs(h.along.x) < 0.7 ? (cyc_vec3){ 0, h.along.z, -h.along.y }
		                          : (cyc_vec3){ h.along.z, 0, -h.along.x };
		m = norm(v);
	}
	h.across = (cyc_vec3){ v.x / m, v.y / m, v.z / m };
	h.third = (cyc_vec3){ h.along.y * h.across.z - h.along.z * h.across.y,
		                  h.along.z * h.across.x - h.along.x * h.across.z,
		                  h.along.x * h.across.y - h.along.y * h.across.x };
	return h;
}

static bool helix_fits(const helix *h, const grid *g, const cyc_symmetry *sym, double r_in, double r_out)
{
	cyc_vec3 ca[MAX_HELIX];
	for (int32_t i = 0; i < h->n; i++) {
		ca[i] = helix_point(h, i, k_backbone[1].r, 0, 0);
		double r = norm(ca[i]);
		if (r < r_in || r > r_out || grid_is_taken(g, ca[i])) return false;
	}
	for (int32_t s = 1; s < sym->n; s++)
		for (int32_t i = 0; i < h->n; i++) {
			cyc_vec3 mate = cyc_mat3_apply(sym->ops[s], ca[i]);
			for (int32_t j = 0; j < h->n; j++)
				if (norm(add_scaled(mate, -1, ca[j])) < k_packing_A) return false;
		}
	return true;
}

/* Atoms of the asymmetric unit are appended to `m`; their copies are made at the end. */
static cyc_status add_helix(cyc__sim_model *m, int64_t *capacity, const helix *h, cyc_rng *rng)
{
	cyc_status st = CYC_OK;
	int64_t wanted = m->n_atoms + (int64_t)h->n * (N_BACKBONE + MAX_SIDE_CHAIN);
	if (wanted > *capacity) {
		CYC_TRY(cyc_realloc(&m->atoms, (size_t)*capacity, (size_t)(2 * wanted), sizeof *m->atoms));
		CYC_TRY(cyc_realloc(&m->ca, (size_t)*capacity, (size_t)(2 * wanted), sizeof *m->ca));
		*capacity = 2 * wanted;
	}
	for (int32_t i = 0; i < h->n; i++) {
		cyc_vec3 p = h->centre;
		for (int a = 0; a < N_BACKBONE; a++) {
			p = helix_point(h, i, k_backbone[a].r, k_backbone[a].phi_deg, k_backbone[a].z);
			m->atoms[m->n_atoms++] = (cyc__sim_atom){ p.x, p.y, p.z, k_backbone[a].weight };
			if (a == 1) m->ca[m->n_ca++] = p;
		}
		/* Side chain: from C-beta outwards in bonds of 1.5 Å that wander. */
		cyc_vec3 axis = add_scaled(h->centre, k_rise_A * (i - 0.5 * (h->n - 1)), h->along),
				 out = add_scaled(p, -1, axis);
		double m_out = norm(out);
		int n_side = (int)(cyc_rng_u32(rng) % (MAX_SIDE_CHAIN + 1));
		for (int a = 0; a < n_side; a++) {
			cyc_vec3 step = add_scaled(random_direction(rng), 1.2 / m_out, out);
			double n_step = norm(step);
			p = add_scaled(p, n_step > 0.1 ? 1.5 / n_step : 0, step);
			m->atoms[m->n_atoms++] = (cyc__sim_atom){ p.x, p.y, p.z, k_side_chain_weight };
		}
	}
done:
	return st;
}

static cyc_status copy_by_symmetry(cyc__sim_model *m, const cyc_symmetry *sym, int64_t capacity)
{
	cyc_status st = CYC_OK;
	int64_t n_atoms = m->n_atoms, n_ca = m->n_ca;
	CYC_TRY(cyc_realloc(&m->atoms, (size_t)capacity, (size_t)(n_atoms * sym->n), sizeof *m->atoms));
	CYC_TRY(cyc_realloc(&m->ca, (size_t)capacity, (size_t)(n_ca * sym->n), sizeof *m->ca));
	for (int32_t s = 1; s < sym->n; s++) {
		for (int64_t i = 0; i < n_atoms; i++) {
			const cyc__sim_atom *a = &m->atoms[i];
			cyc_vec3 p = cyc_mat3_apply(sym->ops[s], (cyc_vec3){ a->x, a->y, a->z });
			m->atoms[m->n_atoms++] = (cyc__sim_atom){ p.x, p.y, p.z, a->weight };
		}
		for (int64_t i = 0; i < n_ca; i++) m->ca[m->n_ca++] = cyc_mat3_apply(sym->ops[s], m->ca[i]);
	}
done:
	return st;
}

cyc_status cyc__sim_model_make(cyc__sim_model *m, const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	cyc_symmetry *sym = NULL;
	grid g = { 0 };
	int64_t capacity = 0;
	memset(m, 0, sizeof *m);
	CYC_TRY(cyc_symmetry_create(&sym, o->symmetry));
	m->radius_A = o->radius_A > 0 ? o->radius_A : 0.3 * o->box_px * o->pixel_size_A;
	double r_out = m->radius_A - k_side_chain_reach_A, r_in = sym->n >= 12 ? 0.35 * r_out : 0;
	CYC_CHECK(r_out >= 8, CYC_E_USAGE,
	          "a particle of radius %.1f Å is too small for a helix: it must be at least 13 Å", m->radius_A);
	CYC_TRY(grid_create(&g, m->radius_A));
	/* Loosely packed: parts of real particles are too disordered to be seen. */
	double n_wanted = 0.8 * 4.0 / 3 * CYC_PI * (pow(r_out, 3) - pow(r_in, 3)) / k_residue_A3 / sym->n;
	for (int32_t n = MAX_HELIX; n >= 6; n -= 3) {
		cyc_rng rng = cyc_rng_make((uint64_t)o->seed, CYC__SIM_MODEL, (uint64_t)n);
		for (int trial = 0; trial < 3000 && (double)m->n_ca < n_wanted; trial++) {
			helix h = random_helix(&rng, n, r_in, r_out);
			if (!helix_fits(&h, &g, sym, r_in, r_out)) continue;
			int64_t first = m->n_ca;
			CYC_TRY(add_helix(m, &capacity, &h, &rng));
			for (int64_t i = first; i < m->n_ca; i++)
				for (int32_t s = 0; s < sym->n; s++) grid_take(&g, cyc_mat3_apply(sym->ops[s], m->ca[i]));
		}
	}
	CYC_CHECK(m->n_ca > 0, CYC_E_USAGE,
	          "a particle of radius %.1f Å has no room for a helix in each asymmetric unit of %s",
	          m->radius_A, o->symmetry);
	CYC_TRY(copy_by_symmetry(m, sym, capacity));
done:
	if (st == CYC_E_USAGE && !sym) cyc_error_context("--sym");
	else if (st == CYC_E_USAGE) cyc_error_hint("raise --radius (and --box), or choose a smaller symmetry");
	cyc_free(g.taken);
	cyc_symmetry_destroy(&sym);
	if (st != CYC_OK) cyc__sim_model_deinit(m);
	return st;
}

void cyc__sim_model_deinit(cyc__sim_model *m)
{
	cyc_free(m->atoms);
	cyc_free(m->ca);
	memset(m, 0, sizeof *m);
}

/* ---------------------------------------------------------------- density */

double cyc__sim_wavelength_A(double voltage_kV)
{
	double v = 1e3 * voltage_kV;
	return 12.2643247 / sqrt(v * (1 + 0.978466e-6 * v));
}

/* (T5.2) */
double cyc__sim_filter(double k, const cyc_simulate_options *o)
{
	double k_nyquist = 0.5 / o->pixel_size_A;
	if (k >= k_nyquist) return 0;
	double edge = k > 0.8 * k_nyquist ? 0.5 + 0.5 * cos(CYC_PI * (k / k_nyquist - 0.8) / 0.2) : 1;
	/* A protein of 0.168 Å of f_e per Å3 stands in ice of 0.095; the ice around atoms is smooth (sigma 2.5
	 * Å). */
	double solvent = 1 - 0.57 * exp(-2 * cyc_square(CYC_PI * 2.5 * k));
	/* Weak phase: a unit of f_e turns the wave by gamma lambda / area; the image shows twice that at CTF 1.
	 */
	double gamma = 1 + o->voltage_kV / 510.99895;
	double electrons =
		o->dose_e_per_A2 * cyc_square(o->pixel_size_A) * exp(-o->thickness_A / o->mean_free_path_A);
	double contrast = 2 * gamma * cyc__sim_wavelength_A(o->voltage_kV) / cyc_square(o->pixel_size_A);
	return o->signal * electrons * contrast * solvent * edge * exp(-0.25 * o->bfactor_A2 * k * k);
}

enum { SPLAT = 5 }; /* Gaussian of one fine voxel, cut at 5 sigma */

/* Sum of Gaussians (sigma 1 voxel, integral = weight) at the atoms, on a grid of n^3 voxels with its centre
 * at n/2. */
static void splat_atoms(float *map, int32_t n, double voxel_A, const cyc__sim_model *m)
{
	for (int64_t a = 0; a < m->n_atoms; a++) {
		double c[3] = { m->atoms[a].x / voxel_A + n / 2, m->atoms[a].y / voxel_A + n / 2,
			            m->atoms[a].z / voxel_A + n / 2 };
		int32_t first[3];
		double w[3][2 * SPLAT + 1];
		for (int d = 0; d < 3; d++) {
			first[d] = (int32_t)lround(c[d]) - SPLAT;
			for (int i = 0; i <= 2 * SPLAT; i++)
				w[d][i] = exp(-0.5 * cyc_square(first[d] + i - c[d])) / sqrt(2 * CYC_PI);
		}
		/* The caller has checked that the particle fits into the box with a margin. */
		for (int k = 0; k <= 2 * SPLAT; k++)
			for (int j = 0; j <= 2 * SPLAT; j++) {
				float *row = map + ((size_t)(first[2] + k) * (size_t)n + (size_t)(first[1] + j)) * (size_t)n +
				             (size_t)first[0];
				double wkj = m->atoms[a].weight * w[2][k] * w[1][j];
				for (int i = 0; i <= 2 * SPLAT; i++) row[i] += (float)(wkj * w[0][i]);
			}
	}
}

/* Keep the inner part of the fine transform, undo the width of the splats, apply the filter. (T5.1) */
static void crop_and_filter(cyc_cfloat *out, int32_t n, const cyc_cfloat *fine, double voxel_A,
                            const cyc_simulate_options *o)
{
	int32_t nf = 2 * n;
	for (int32_t z = 0; z < n; z++)
		for (int32_t y = 0; y < n; y++)
			for (int32_t x = 0; x <= n / 2; x++) {
				int32_t kz = z < n / 2 ? z : z - n, ky = y < n / 2 ? y : y - n;
				double r2 = (double)x * x + (double)ky * ky + (double)kz * kz,
					   k = sqrt(r2) / (n * o->pixel_size_A);
				double f = cyc__sim_filter(k, o) * exp(2 * cyc_square(CYC_PI * voxel_A * k));
				size_t from = ((size_t)((kz + nf) % nf) * (size_t)nf + (size_t)((ky + nf) % nf)) *
				                  (size_t)(nf / 2 + 1) +
				              (size_t)x;
				out[((size_t)z * (size_t)n + (size_t)y) * (size_t)(n / 2 + 1) + (size_t)x] =
					fine[from] * (float)f;
			}
}

cyc_status cyc__sim_map(cyc_volume **out, const cyc__sim_model *m, const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	cyc_volume *v = NULL;
	cyc_fft3 *plan = NULL;
	float *fine = NULL;
	cyc_cfloat *fine_ft = NULL, *ft = NULL;
	int32_t n = o->box_px, nf = 2 * n;
	double voxel_A = o->pixel_size_A / 2;
	CYC_TRY(cyc_volume_create(&v, n, n, n, o->pixel_size_A));
	CYC_TRY(cyc_alloc(&fine, (size_t)nf * (size_t)nf * (size_t)nf, sizeof *fine));
	splat_atoms(fine, nf, voxel_A, m);
	CYC_TRY(cyc_fft3_create(&plan, nf, o->n_threads));
	CYC_TRY(cyc_alloc(&fine_ft, cyc_half_count3(nf), sizeof *fine_ft));
	CYC_TRY(cyc_fft3_forward(fine_ft, plan, fine));
	cyc_free(fine);
	fine = NULL;
	cyc_fft3_destroy(&plan);
	CYC_TRY(cyc_alloc(&ft, cyc_half_count3(n), sizeof *ft));
	crop_and_filter(ft, n, fine_ft, voxel_A, o);
	CYC_TRY(cyc_fft3_create(&plan, n, o->n_threads));
	CYC_TRY(cyc_fft3_inverse(v->data, plan, ft));
	*out = v;
	v = NULL;
done:
	cyc_free(fine);
	cyc_free(fine_ft);
	cyc_free(ft);
	cyc_fft3_destroy(&plan);
	cyc_volume_destroy(&v);
	return st;
}

/* ---------------------------------------------------------------- masks */

cyc_status cyc__sim_mask(cyc_volume **out, const cyc__sim_model *m, double distance_A, double edge_A,
                         const cyc_simulate_options *o)
{
	cyc_status st = CYC_OK;
	cyc_volume *v = NULL;
	int32_t n = o->box_px;
	double px = o->pixel_size_A, reach = distance_A + edge_A;
	CYC_TRY(cyc_volume_create(&v, n, n, n, px));
	for (int64_t a = 0; a < m->n_ca; a++) {
		double c[3] = { m->ca[a].x / px + n / 2, m->ca[a].y / px + n / 2, m->ca[a].z / px + n / 2 };
		int32_t lo[3], hi[3];
		for (int d = 0; d < 3; d++) {
			lo[d] = (int32_t)fmax(0, ceil(c[d] - reach / px));
			hi[d] = (int32_t)fmin(n - 1, floor(c[d] + reach / px));
		}
		for (int32_t z = lo[2]; z <= hi[2]; z++)
			for (int32_t y = lo[1]; y <= hi[1]; y++)
				for (int32_t x = lo[0]; x <= hi[0]; x++) {
					double r = px * sqrt(cyc_square(x - c[0]) + cyc_square(y - c[1]) + cyc_square(z - c[2]));
					double w = r <= distance_A ? 1
					           : r < reach     ? 0.5 + 0.5 * cos(CYC_PI * (r - distance_A) / edge_A)
					                           : 0;
					float *t = &v->data[((size_t)z * (size_t)n + (size_t)y) * (size_t)n + (size_t)x];
					*t = fmaxf(*t, (float)w);
				}
	}
	*out = v;
	v = NULL;
done:
	cyc_volume_destroy(&v);
	return st;
}
