/* Half maps that are useless for refinement, and the reasons. */
#include "map/map_internal.h"

#include <math.h>
#include <string.h>
#include <strings.h>

/* Copies and scaled copies differ by rounding only; half maps of the best data differ by more. */
static const double SAME = 1e-9;

/* Is there another value than the first one? In pieces, since a map's corner tells, but not a masked one's.
 */
CYC_SIMD static bool any_other(const float *v, size_t n)
{
	enum { PIECE = 4096 };
	const float first = v[0];
	uint32_t any = 0;
	for (size_t at = 0; at < n && !any; at += PIECE)
		for (size_t i = at, end = n - at < PIECE ? n : at + PIECE; i < end; i++)
			any |= v[i] != first ? 1u : 0u;
	return any != 0;
}

cyc_status cyc_half_map_check(const cyc_volume *v, const char *what, const char *name)
{
	cyc_status st = CYC_OK;
	if (any_other(v->data, cyc_volume_count(v))) goto done;
	if (fabsf(v->data[0]) > 0)
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__, "%s '%s' is constant: %g everywhere",
		                     what, name, (double)v->data[0]);
	else
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__, "%s '%s' is zero everywhere", what,
		                     name);
	cyc_error_hint(
		"the job that made it had no particles, or failed: see its messages and make the map again");
done:
	return st;
}

cyc_status cyc_half_maps_differ(double correlation, const char *name1, const char *name2)
{
	cyc_status st = CYC_OK;
	if (fabs(correlation) < 1 - SAME) return CYC_OK;
	st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
	                     correlation > 0
	                         ? "half map 2 '%s' is identical to half map 1 '%s' except for scale: their FSC "
	                           "is 1 and meaningless"
	                         : "half map 2 '%s' is half map 1 '%s' with inverted contrast: their FSC is -1",
	                     name2, name1);
	cyc_error_hint("half maps must be made from different particles: reconstruct both from the half-sets "
	               "(cyclotomo reconstruct)");
	return st;
}

typedef struct {
	double mean[2], sum[3]; /* of products xy, xx, yy of the differences from the means */
} moments;

typedef struct {
	const float *a, *b;
	size_t plane;
	moments *section;
} correlating;

static cyc_status moments_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const correlating *c = arg;
	const float *a = c->a + (size_t)z * c->plane, *b = c->b + (size_t)z * c->plane;
	moments m = { 0 };
	for (size_t i = 0; i < c->plane; i++) {
		m.mean[0] += (double)a[i];
		m.mean[1] += (double)b[i];
	}
	for (int k = 0; k < 2; k++) m.mean[k] /= (double)c->plane;
	for (size_t i = 0; i < c->plane; i++) {
		double x = (double)a[i] - m.mean[0], y = (double)b[i] - m.mean[1];
		m.sum[0] += x * y;
		m.sum[1] += x * x;
		m.sum[2] += y * y;
	}
	c->section[z] = m;
	return CYC_OK;
}

cyc_status cyc__volume_correlation(double *out, const cyc_volume *a, const cyc_volume *b, int n_threads)
{
	cyc_status st = CYC_OK;
	correlating c = { a->data, b->data, (size_t)a->nx * (size_t)a->ny, NULL };
	CYC_TRY(cyc_alloc(&c.section, a->nz, sizeof *c.section));
	CYC_TRY(cyc_parallel_for(a->nz, n_threads, moments_task, &c));
	moments all = c.section[0];
	for (int32_t z = 1; z < a->nz; z++) {
		const moments *m = &c.section[z];
		double x = m->mean[0] - all.mean[0], y = m->mean[1] - all.mean[1],
			   more = (double)c.plane * z / (z + 1); /* z sections so far, and this one */
		all.sum[0] += m->sum[0] + more * x * y;
		all.sum[1] += m->sum[1] + more * x * x;
		all.sum[2] += m->sum[2] + more * y * y;
		all.mean[0] += x / (z + 1);
		all.mean[1] += y / (z + 1);
	}
	*out = all.sum[1] > 0 && all.sum[2] > 0 ? all.sum[0] / sqrt(all.sum[1] * all.sum[2]) : 0;
done:
	cyc_free(c.section);
	return st;
}

cyc_status cyc_half_maps_check(cyc_volume *const half[2], const char *const name[2], int n_threads)
{
	cyc_status st = CYC_OK;
	double correlation;
	for (int h = 0; h < 2; h++)
		CYC_TRY(cyc_half_map_check(half[h], h ? "half map 2" : "half map 1", name[h]));
	if (half[0]->nx != half[1]->nx) goto done;
	CYC_TRY(cyc__volume_correlation(&correlation, half[0], half[1], n_threads));
	CYC_TRY(cyc_half_maps_differ(correlation, name[0], name[1]));
done:
	return st;
}

/* What stands behind "half" or "half_" in a file's name, in lower case: '1', '2', 'a', 'b'; 0 if it is none
 * of these or there are both. */
static char half_letter(const char *name)
{
	static const char WORD[] = "half", LETTERS[] = "12abAB";
	const char *slash = strrchr(name, '/');
	char found = 0;
	for (const char *p = slash ? slash + 1 : name; *p; p++) {
		if (strncasecmp(p, WORD, sizeof WORD - 1) != 0) continue;
		const char *at = p + sizeof WORD - 1;
		at += *at == '_' || *at == '-';
		if (!*at || !strchr(LETTERS, *at)) continue;
		char letter = (char)(*at | 0x20); /* digits have this bit */
		if (found && found != letter) return 0;
		found = letter;
	}
	return found;
}

bool cyc_half_maps_are_swapped(const char *name1, const char *name2)
{
	char a = name1 ? half_letter(name1) : 0, b = name2 ? half_letter(name2) : 0;
	return (a == '2' && b == '1') || (a == 'b' && b == 'a');
}
