/* Half maps that are useless for refinement, and the reasons. */
#include "map/map_internal.h"

#include <math.h>
#include <string.h>
#include <strings.h>

/* Copies and scaled copies differ by rounding only; half maps of the best data differ by more. */
static const double SAME = 1e-9;

cyc_status cyc_half_map_check(const cyc_volume *v, const char *what, const char *name)
{
	cyc_status st = CYC_OK;
	float low = v->data[0], high = v->data[0];
	for (size_t i = 1; i < cyc_volume_count(v) && !(high > low); i++) {
		low = fminf(low, v->data[i]);
		high = fmaxf(high, v->data[i]);
	}
	if (high > low) goto done;
	if (fabsf(high) > 0)
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__, "%s '%s' is constant: %g everywhere",
		                     what, name, (double)high);
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

double cyc__volume_correlation(const cyc_volume *a, const cyc_volume *b)
{
	size_t n = cyc_volume_count(a);
	double mean[2] = { 0, 0 }, sum[3] = { 0, 0, 0 };
	for (size_t i = 0; i < n; i++) {
		mean[0] += (double)a->data[i] / (double)n;
		mean[1] += (double)b->data[i] / (double)n;
	}
	for (size_t i = 0; i < n; i++) {
		double x = (double)a->data[i] - mean[0], y = (double)b->data[i] - mean[1];
		sum[0] += x * y;
		sum[1] += x * x;
		sum[2] += y * y;
	}
	return sum[1] > 0 && sum[2] > 0 ? sum[0] / sqrt(sum[1] * sum[2]) : 0;
}

cyc_status cyc_half_maps_check(cyc_volume *const half[2], const char *const name[2])
{
	cyc_status st = CYC_OK;
	for (int h = 0; h < 2; h++)
		CYC_TRY(cyc_half_map_check(half[h], h ? "half map 2" : "half map 1", name[h]));
	if (half[0]->nx != half[1]->nx) goto done;
	CYC_TRY(cyc_half_maps_differ(cyc__volume_correlation(half[0], half[1]), name[0], name[1]));
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
