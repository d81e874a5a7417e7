/* What a list of particles lacks: centred coordinates in place of others, and half-sets. */
#include "import/import_internal.h"

#include "project/labels.h"

#include <stdlib.h>
#include <string.h>

static cyc_status put_centred(cyc_particle_set *set, cyc_star_block *b)
{
	cyc_status st = CYC_OK;
	cyc_vec3 *origin = NULL;
	if (cyc_star_column(b, CYC_LABELS_CENTRED[0]) >= 0) goto done;
	CYC_TRY(cyc_alloc(&origin, set->n, sizeof *origin));
	CYC_TRY(cyc_particle_origins(origin, set));
	for (int64_t i = 0; i < set->n; i++) {
		const cyc_particle *p = &set->particles[i];
		cyc_vec3 d = cyc_mat3_apply(p->R_tomo_part, origin[i]);
		CYC_TRY(cyc_label_put(b, p->row, CYC_LABELS_CENTRED[0], p->position_A.x + d.x));
		CYC_TRY(cyc_label_put(b, p->row, CYC_LABELS_CENTRED[1], p->position_A.y + d.y));
		CYC_TRY(cyc_label_put(b, p->row, CYC_LABELS_CENTRED[2], p->position_A.z + d.z));
	}
	for (int k = 0; k < 3; k++) cyc_star_remove_column(b, CYC_LABELS_COORDINATE[k]);
done:
	cyc_free(origin);
	return st;
}

/* In the order of a hash of their names, particles go to the one half and the other: equal numbers, whatever
 * the order of the file. */
static cyc_status deal_halves(cyc_particle_set *set, cyc_star_block *b, int64_t seed)
{
	cyc_status st = CYC_OK;
	int64_t *order = NULL;
	int32_t column;
	CYC_TRY(cyc_particles_shuffled(&order, set, cyc_hash(CYC_HASH_INIT, &seed, sizeof seed)));
	CYC_TRY(cyc_star_ensure_column(&column, b, CYC_RLN_RANDOM_SUBSET, "1"));
	for (int64_t k = 0; k < set->n; k++) {
		cyc_particle *p = &set->particles[order[k]];
		p->half = (int32_t)(k % 2);
		CYC_TRY(cyc_star_set_int(b, p->row, column, p->half + 1));
	}
	set->has_halves = true;
done:
	cyc_free(order);
	return st;
}

static cyc_status count(cyc_import_result *result, const cyc_particle_set *set, const cyc_tomogram_set *t)
{
	cyc_status st = CYC_OK;
	result->n_particles = set->n;
	for (int64_t i = 0; i < set->n; i++) {
		const cyc_particle *p = &set->particles[i];
		const cyc_tilt_series *ts = &t->series[p->i_series];
		const double at[3] = { p->position_A.x, p->position_A.y, p->position_A.z };
		bool is_outside = false;
		for (int k = 0; k < 3; k++)
			is_outside = is_outside || fabs(at[k]) > 0.5 * ts->pixel_size_A * ts->size_px[k];
		result->n_outside += is_outside;
		result->n_half[p->half]++;
	}
	if (2 * result->n_outside > set->n) {
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
		                     "%lld of the %lld particles are outside their tomograms: binning, units, axes "
		                     "or the size of the tomogram are wrong",
		                     (long long)result->n_outside, (long long)set->n);
		cyc_error_hint("see --binning, --coordinates, --tomogram-axes, --tomogram-size");
	} else if (result->n_outside > 0) {
		cyc_warn("%lld of the %lld particles are outside their tomograms", (long long)result->n_outside,
		         (long long)set->n);
	}
	return st;
}

cyc_status cyc__finish_particles(cyc_import_result *result, cyc_particle_set *set,
                                 const cyc_tomogram_set *tomograms, const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	CYC_TRY(cyc_star_require(&b, set->star, "particles"));
	CYC_TRY(put_centred(set, b));
	result->made_halves = !set->has_halves;
	if (!set->has_halves) CYC_TRY(deal_halves(set, b, o->seed));
	CYC_TRY(count(result, set, tomograms));
done:
	return st;
}
