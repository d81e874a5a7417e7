/* 3D pseudo-subtomograms: a particle's images spread into one Fourier volume. */
#include "extract/extract_internal.h"

#include <math.h>

void cyc__volume_row_limits(int32_t *limits, int32_t s, double pixel_size_A, const cyc_tilt_series *ts,
                            int32_t i_tilt, double cutoff_frac)
{
	double step_invA = 1 / (s * pixel_size_A);
	int32_t max_k2 = -1, nyquist_k2 = s * s / 4;
	/* Dose weights fall with the frequency. */
	while (max_k2 < nyquist_k2 &&
	       cyc_dose_weight(step_invA * sqrt((double)max_k2 + 1), ts->tilts[i_tilt].pre_exposure_e_per_A2,
	                       ts->bfactor_per_dose_A2) > cutoff_frac)
		max_k2++;
	for (int32_t y = 0; y < s; y++) {
		int32_t ky = y < s / 2 ? y : y - s, left = max_k2 - ky * ky;
		limits[y] = left < 0 ? 0 : (int32_t)sqrt((double)left) + 1;
	}
}

/* {re, im, weight, multiplicity}, in one register on every x86-64 and Arm64. */
typedef float four __attribute__((vector_size(16)));

typedef struct {
	four *sums;
	int32_t c;
} target;

static inline void add(const target *t, int32_t x, int32_t y, int32_t z, four v)
{
	int32_t c = t->c;
	t->sums[((size_t)(z < 0 ? z + c : z) * (size_t)c + (size_t)(y < 0 ? y + c : y)) * (size_t)(c / 2 + 1) +
	        (size_t)x] += v;
}

/* The Nyquist frequency is its own mirror image. */
static inline int32_t mirror(int32_t i, int32_t c) { return i == -c / 2 ? i : -i; }

static inline void spread(const target *t, double x, double y, double z, cyc_cfloat d, float w, float kappa)
{
	if (x < 0) {
		x = -x;
		y = -y;
		z = -z;
		d = conjf(d);
	}
	int32_t half = t->c / 2;
	double fx = floor(x), fy = floor(y), fz = floor(z);
	int32_t x0 = (int32_t)fx, y0 = (int32_t)fy, z0 = (int32_t)fz;
	const double u[3] = { x - fx, y - fy, z - fz };
	const four value = { crealf(d), cimagf(d), w, 1 }, conjugate = { crealf(d), -cimagf(d), w, 1 };
	for (int k = 0; k < 8; k++) {
		int dx = k & 1, dy = k >> 1 & 1, dz = k >> 2;
		int32_t gx = x0 + dx, gy = y0 + dy, gz = z0 + dz;
		if (gx > half || gy < -half || gy >= half || gz < -half || gz >= half) continue;
		float m = kappa * (float)((dx ? u[0] : 1 - u[0]) * (dy ? u[1] : 1 - u[1]) * (dz ? u[2] : 1 - u[2]));
		add(t, gx, gy, gz, m * value);
		/* The plane x = 0 holds both halves, so what falls on it has its mirror image there too. */
		if (gx == 0) add(t, 0, mirror(gy, t->c), mirror(gz, t->c), m * conjugate);
	}
}

void cyc__volume_insert(float *sums, int32_t c, const cyc_cfloat *ft, const float *ctf, const float *whiten,
                        int32_t s, const int32_t *limits, const cyc_mat3 *R)
{
	const target t = { (four *)sums, c };
	int32_t sh = s / 2 + 1;
	double ratio = (double)c / s, u[3], v[3], u2 = 0, v2 = 0;
	for (int i = 0; i < 3; i++) {
		u[i] = ratio * R->m[0][i];
		v[i] = ratio * R->m[1][i];
		u2 += u[i] * u[i];
		v2 += v[i] * v[i];
	}
	float kappa = (float)sqrt(u2 * v2);
	for (int32_t y = 0; y < s; y++) {
		int32_t ky = y < s / 2 ? y : y - s;
		/* The mirror images of column 0 are in the other half of it. */
		for (int32_t x = ky >= 0 ? 0 : 1; x < limits[y] && x < sh; x++) {
			size_t at = (size_t)y * (size_t)sh + (size_t)x;
			float w = (ctf ? ctf[at] * ctf[at] : 1) * (whiten ? whiten[at] : 1);
			spread(&t, x * u[0] + ky * v[0], x * u[1] + ky * v[1], x * u[2] + ky * v[2], ft[at], w, kappa);
		}
	}
}

/* Suppress the directions near the z axis of the map: membranes, when particles stand on them. */ /* (T7.5)
                                                                                                    */
static void weigh_cone(float *sums, int32_t c, const cyc_mat3 *R_map_volume, double angle_rad,
                       double sigma_px)
{
	double slope = sin(0.5 * angle_rad);
	for (int32_t z = 0; z < c; z++)
		for (int32_t y = 0; y < c; y++)
			for (int32_t x = 0; x <= c / 2; x++) {
				cyc_vec3 p = cyc_mat3_apply(*R_map_volume,
				                            (cyc_vec3){ x, y < c / 2 ? y : y - c, z < c / 2 ? z : z - c });
				double t = hypot(p.x, p.y) / (fabs(p.z) * slope + sigma_px);
				float w = (float)(1 - exp(-0.5 * t * t)),
					  *v = sums + 4 * (((size_t)z * (size_t)c + (size_t)y) * (size_t)(c / 2 + 1) + (size_t)x);
				for (int k = 0; k < 4; k++) v[k] *= w;
			}
}

static cyc_status write_weights(const char *path, const float *sums, int32_t c, double pixel_size_A,
                                int32_t mode, const char *label)
{
	cyc_status st = CYC_OK;
	cyc_volume *v = NULL;
	size_t n = cyc_half_count3(c);
	CYC_TRY(cyc_volume_create(&v, c / 2 + 1, c, 2 * c, 1 / pixel_size_A));
	for (size_t i = 0; i < n; i++) {
		v->data[i] = sums[4 * i + 2];
		v->data[n + i] = sums[4 * i + 3];
	}
	CYC_TRY(cyc_mrc_write_sealed(path, v, mode, label));
done:
	cyc_volume_destroy(&v);
	return st;
}

cyc_status cyc__volume_write(const cyc_extract_job *j, int64_t i, const float *sums, const cyc_fft3 *fft,
                             cyc_cfloat *ft)
{
	cyc_status st = CYC_OK;
	const cyc_extract_options *o = j->o;
	const cyc_particle *p = &j->particles->particles[i];
	int32_t c = j->crop_px, s = o->box_px, mode = o->float16 ? 12 : 2;
	size_t sh = (size_t)c / 2 + 1, n = (size_t)c;
	double pixel_size_A = o->binning * j->tomograms->series[p->i_series].pixel_size_A;
	float *weighted = NULL;
	char *name = NULL, *path = NULL;
	cyc_volume *v = NULL;
	if (o->cone_weight) {
		CYC_TRY(cyc_alloc(&weighted, cyc__volume_sums(c), sizeof *weighted));
		for (size_t k = 0; k < cyc__volume_sums(c); k++) weighted[k] = sums[k];
		/* The volume is in the axes of the subtomogram, or of the map if orientations are applied. */
		cyc_mat3 R_map_volume = o->apply_orientations
		                            ? cyc_mat3_identity()
		                            : cyc_mat3_mul(cyc_mat3_transpose(p->R_tomo_ref), p->R_tomo_part);
		weigh_cone(weighted, c, &R_map_volume, o->cone_angle_rad, o->cone_sigma_px);
		sums = weighted;
	}
	/* cyc_fft3_inverse() divides by c^3, a unitary transform by c^(3/2). */
	float scale = (float)(s / (c * sqrt(o->binning)) * pow((double)c, 1.5));
	for (size_t k = 0; k < cyc_half_count3(c); k++) {
		float sign = (k % sh + k / sh % n + k / (sh * n)) % 2 ? -scale : scale;
		ft[k] = sign * sums[4 * k] + sign * sums[4 * k + 1] * I;
	}
	CYC_TRY(cyc_volume_create(&v, c, c, c, pixel_size_A));
	CYC_TRY(cyc_fft3_inverse(v->data, fft, ft));
	CYC_TRY(cyc__extract_file(&name, j, i, CYC__SUFFIX_WEIGHTS));
	CYC_TRY(cyc_path_join(&path, j->root, name));
	CYC_TRY(write_weights(path, sums, c, pixel_size_A, mode, j->label));
	cyc_free(name);
	cyc_free(path);
	name = path = NULL;
	CYC_TRY(cyc__extract_file(&name, j, i, CYC__SUFFIX_DATA));
	CYC_TRY(cyc_path_join(&path, j->root, name));
	CYC_TRY(cyc_mrc_write_sealed(path, v, mode, j->label));
done:
	cyc_free(weighted);
	cyc_free(name);
	cyc_free(path);
	cyc_volume_destroy(&v);
	return st;
}
