/* Particles that are listed twice. */
#include "cyclotomo/project.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
	double x;
	int64_t i;
} ordered;

static int by_place(const void *a, const void *b)
{
	const ordered *p = a, *q = b;
	if (p->x < q->x || p->x > q->x) return p->x < q->x ? -1 : 1;
	return p->i < q->i ? -1 : p->i > q->i;
}

static int by_distance(const void *a, const void *b)
{
	const cyc_particle_pair *p = a, *q = b;
	if (p->distance_A < q->distance_A || p->distance_A > q->distance_A)
		return p->distance_A < q->distance_A ? -1 : 1;
	if (p->i[0] != q->i[0]) return p->i[0] < q->i[0] ? -1 : 1;
	return p->i[1] < q->i[1] ? -1 : p->i[1] > q->i[1];
}

static cyc_status add_pair(cyc_particle_pair **pairs, int64_t *n, int64_t *capacity, cyc_particle_pair p)
{
	cyc_status st = CYC_OK;
	if (*n == *capacity) {
		int64_t more = *capacity ? 2 * *capacity : 64;
		CYC_TRY(cyc_realloc(pairs, (size_t)*capacity, (size_t)more, sizeof **pairs));
		*capacity = more;
	}
	(*pairs)[(*n)++] = p;
done:
	return st;
}

/* Pairs of one tomogram: in the order of x only those that follow within the distance have to be looked at.
 */
static cyc_status pairs_of_series(cyc_particle_pair **pairs, int64_t *n, int64_t *capacity,
                                  const cyc_particle_set *s, int32_t i_series, double distance_A)
{
	cyc_status st = CYC_OK;
	ordered *order = NULL;
	int64_t first = s->series_first[i_series], count = s->series_first[i_series + 1] - first;
	CYC_TRY(cyc_alloc(&order, count, sizeof *order));
	for (int64_t k = 0; k < count; k++)
		order[k] = (ordered){ s->particles[first + k].position_A.x, first + k };
	qsort(order, (size_t)count, sizeof *order, by_place);
	for (int64_t k = 0; k < count; k++) {
		cyc_vec3 p = s->particles[order[k].i].position_A;
		for (int64_t m = k + 1; m < count && order[m].x - p.x < distance_A; m++) {
			cyc_vec3 q = s->particles[order[m].i].position_A;
			double d = sqrt(cyc_square(p.x - q.x) + cyc_square(p.y - q.y) + cyc_square(p.z - q.z));
			int64_t a = order[k].i < order[m].i ? order[k].i : order[m].i, b = order[k].i + order[m].i - a;
			if (d < distance_A) CYC_TRY(add_pair(pairs, n, capacity, (cyc_particle_pair){ { a, b }, d }));
		}
	}
done:
	cyc_free(order);
	return st;
}

cyc_status cyc_particle_pairs(cyc_particle_pair **out, int64_t *n, const cyc_particle_set *s,
                              double distance_A)
{
	cyc_status st = CYC_OK;
	cyc_particle_pair *pairs = NULL;
	int64_t capacity = 0;
	*out = NULL;
	*n = 0;
	CYC_CHECK(distance_A > 0.0 && isfinite(distance_A), CYC_E_USAGE,
	          "the distance of pairs must be positive, got %g Å", distance_A);
	for (int32_t i = 0; i < s->n_series; i++)
		CYC_TRY(pairs_of_series(&pairs, n, &capacity, s, i, distance_A));
	if (*n > 0) qsort(pairs, (size_t)*n, sizeof *pairs, by_distance);
	*out = pairs;
	pairs = NULL;
done:
	cyc_free(pairs);
	return st;
}

typedef struct {
	int64_t earlier, later; /* index of the particle that comes first in the file, and of the other */
	int64_t row;            /* of the later one */
} ordered_pair;

static int by_row(const void *a, const void *b)
{
	const ordered_pair *p = a, *q = b;
	return p->row < q->row ? -1 : p->row > q->row;
}

/*
 * In the order of the file: a particle goes if one before it that stays is too near. In the order of the
 * later ones' rows, each earlier one is decided when its pair comes.
 */
static cyc_status leave_out(bool *keep, const cyc_particle_set *s, const cyc_particle_pair *pairs, int64_t n)
{
	cyc_status st = CYC_OK;
	ordered_pair *order = NULL;
	int64_t n_across = 0;
	CYC_TRY(cyc_alloc(&order, n, sizeof *order));
	for (int64_t k = 0; k < n; k++) {
		int64_t a = pairs[k].i[0], b = pairs[k].i[1];
		bool a_is_first = s->particles[a].row < s->particles[b].row;
		if (s->particles[a].half == s->particles[b].half) continue;
		order[n_across++] =
			(ordered_pair){ a_is_first ? a : b, a_is_first ? b : a, s->particles[a_is_first ? b : a].row };
	}
	qsort(order, (size_t)n_across, sizeof *order, by_row);
	for (int64_t k = 0; k < n_across; k++) {
		if (keep[order[k].earlier]) keep[order[k].later] = false;
	}
done:
	cyc_free(order);
	return st;
}

cyc_status cyc_particle_set_find_duplicates(cyc_duplicates *out, bool *keep, const cyc_particle_set *s,
                                            double distance_A)
{
	cyc_status st = CYC_OK;
	cyc_particle_pair *pairs = NULL;
	bool *stays = NULL;
	int64_t n;
	*out = (cyc_duplicates){ .distance_A = distance_A };
	CYC_TRY(cyc_particle_pairs(&pairs, &n, s, distance_A));
	CYC_TRY(cyc_alloc(&stays, s->n, sizeof *stays));
	for (int64_t i = 0; i < s->n; i++) stays[i] = true;
	CYC_TRY(leave_out(stays, s, pairs, n));
	for (int64_t k = 0; k < n; k++) {
		if (s->particles[pairs[k].i[0]].half == s->particles[pairs[k].i[1]].half) {
			out->n_within++;
			continue;
		}
		if (out->n_across < CYC_DUPLICATES_NAMED) out->named[out->n_across] = pairs[k];
		out->n_across++;
	}
	for (int64_t i = 0; i < s->n; i++) {
		out->n_left_out += !stays[i];
		if (keep) keep[i] = stays[i];
	}
done:
	cyc_free(pairs);
	cyc_free(stays);
	return st;
}

void cyc_duplicates_describe(char *text, size_t size, const cyc_duplicates *d, const cyc_particle_set *s)
{
	int n = snprintf(text, size, "%lld pair%s of particles in different half-sets %s closer than %.1f Å (",
	                 (long long)d->n_across, d->n_across == 1 ? "" : "s", d->n_across == 1 ? "is" : "are",
	                 d->distance_A);
	for (int64_t k = 0; k < d->n_across && k < CYC_DUPLICATES_NAMED && n > 0 && (size_t)n < size; k++) {
		const cyc_particle *a = &s->particles[d->named[k].i[0]], *b = &s->particles[d->named[k].i[1]];
		n += snprintf(text + n, size - (size_t)n, "%srows %lld and %lld: %.1f Å", k ? ", " : "",
		              (long long)a->row + 1, (long long)b->row + 1, d->named[k].distance_A);
	}
	if (n > 0 && (size_t)n < size)
		snprintf(text + n, size - (size_t)n, "%s)", d->n_across > CYC_DUPLICATES_NAMED ? ", ..." : "");
}

cyc_status cyc_particle_set_warn_duplicates(const cyc_particle_set *s, double distance_A)
{
	cyc_status st = CYC_OK;
	cyc_duplicates d;
	char text[600];
	if (!s->has_halves) return CYC_OK;
	CYC_TRY(cyc_particle_set_find_duplicates(&d, NULL, s, distance_A));
	if (d.n_across == 0) return CYC_OK;
	cyc_duplicates_describe(text, sizeof text, &d, s);
	cyc_warn("'%s': %s: the half maps share noise, and the FSC is too good; remove one of each with "
	         "'cyclotomo separate --min-separation %.0f'",
	         s->path, text, distance_A);
done:
	return st;
}
