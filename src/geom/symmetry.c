/*
 * Point groups as closures of their generators, in the settings of RELION (after Heymann et al. 2005, J
 * Struct Biol 151:196, except that T has its three-fold on Z). Icosahedral: I1 and I2 have two-folds on X, Y,
 * Z and the five-folds nearest Z in the YZ (I1) or XZ (I2) plane; I3 and I4 have a five-fold on Z and a front
 * five-fold vertex at -X (I3) or +X (I4).
 */
#include "cyclotomo/geom.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_OPS = 200 }; /* Dn up to n = 100 */

typedef struct {
	cyc_vec3 axis;
	int fold;
} generator;

#define PHI 1.61803398874989484820 /* golden ratio */
static const generator ICOSAHEDRAL[4][3] = {
	{ { { 1, 0, 0 }, 2 }, { { PHI, 0, -1 }, 5 }, { { PHI * PHI, 1, 0 }, 3 } },
	{ { { 0, 0, 1 }, 2 }, { { 1, 0, PHI }, 5 }, { { 0, 1, PHI *PHI }, 3 } },
	{ { { -1, 0, PHI }, 2 }, { { 0, 0, 1 }, 5 }, { { -2, 0, 1 }, 5 } },
	{ { { 1, 0, PHI }, 2 }, { { 0, 0, 1 }, 5 }, { { 2, 0, 1 }, 5 } },
};

static bool same(const cyc_mat3 *a, const cyc_mat3 *b)
{
	double d = 0;
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 3; j++) d += fabs(a->m[i][j] - b->m[i][j]);
	return d < 1e-3; /* neighbouring elements of the largest group differ by 2 pi / 100 */
}

/* Products carry rounding: snap what must be exact (0, +-1/2, +-1), so that axis permutations stay exact. */
static void snap(cyc_mat3 *a)
{
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 3; j++) {
			double r = round(2 * a->m[i][j]) / 2;
			if (fabs(a->m[i][j] - r) < 1e-9) a->m[i][j] = r;
		}
}

static cyc_status close_group(cyc_symmetry *s, const generator *g, int n_generators)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_alloc(&s->ops, MAX_OPS, sizeof *s->ops));
	s->ops[0] = cyc_mat3_identity();
	s->n = 1;
	for (int32_t i = 0; i < s->n; i++)
		for (int k = 0; k < n_generators; k++) {
			cyc_mat3 c = cyc_mat3_mul(cyc_rot_axis(g[k].axis, 2 * CYC_PI / g[k].fold), s->ops[i]);
			bool is_known = false;
			for (int32_t j = 0; j < s->n && !is_known; j++) is_known = same(&c, &s->ops[j]);
			if (is_known) continue;
			CYC_CHECK(s->n < MAX_OPS, CYC_E_INTERNAL, "point group %s is not a group", s->name);
			snap(&c);
			s->ops[s->n++] = c;
		}
done:
	return st;
}

/* Kind of group, C, D, T, O or I, and the number after it (of C and D the fold, of I the setting); false if
 * there is no such group. */
static bool parse(char *kind, int *number, const char *name)
{
	*kind = (char)toupper((unsigned char)(name ? name[0] : 0));
	const char *rest = *kind ? name + 1 : "";
	char *end;
	long value = strtol(rest, &end, 10);
	bool has_number = isdigit((unsigned char)rest[0]) && *end == '\0' && value >= 1 && value <= 100;
	*number = has_number ? (int)value : *kind == 'I' ? 2 : 0;
	switch (*kind) {
	case 'C':
	case 'D': return has_number;
	case 'T':
	case 'O': return !rest[0];
	case 'I': return !rest[0] || (has_number && value <= 4);
	default: return false;
	}
}

cyc_status cyc_symmetry_create(cyc_symmetry **out, const char *name)
{
	cyc_status st = CYC_OK;
	cyc_symmetry *s = NULL;
	generator g[3];
	int n = 0, number;
	char kind;
	const cyc_vec3 X = { 1, 0, 0 }, Z = { 0, 0, 1 }, DIAGONAL = { 1, 1, 1 };
	*out = NULL;
	CYC_TRY(cyc_alloc(&s, 1, sizeof *s));
	bool is_known = parse(&kind, &number, name);
	if (is_known && (kind == 'C' || kind == 'D')) {
		if (number > 1) g[n++] = (generator){ Z, number };
		if (kind == 'D') g[n++] = (generator){ X, 2 };
	} else if (is_known && kind == 'T') {
		g[n++] = (generator){ Z, 3 };
		g[n++] = (generator){ { 0, sqrt(2.0 / 3.0), sqrt(1.0 / 3.0) }, 2 };
	} else if (is_known && kind == 'O') {
		g[n++] = (generator){ Z, 4 };
		g[n++] = (generator){ DIAGONAL, 3 };
	} else if (is_known) {
		for (; n < 3; n++) g[n] = ICOSAHEDRAL[number - 1][n];
	}
	if (!is_known) {
		cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__, "unknown point group '%s'",
		                name ? name : "");
		cyc_error_hint("use C1, C2, ... C100, D1 ... D100, T, O, I (= I2), I1, I2, I3 or I4");
		st = CYC_E_USAGE;
		goto done;
	}
	snprintf(s->name, sizeof s->name, "%c%s", kind, name + 1);
	CYC_TRY(close_group(s, g, n));
	*out = s;
	s = NULL;
done:
	cyc_symmetry_destroy(&s);
	return st;
}

void cyc_symmetry_destroy(cyc_symmetry **s)
{
	if (!*s) return;
	cyc_free((*s)->ops);
	cyc_free(*s);
	*s = NULL;
}

int32_t cyc_symmetry_order(const char *name)
{
	char kind;
	int number;
	if (!parse(&kind, &number, name)) return 1;
	return kind == 'C' ? number : kind == 'D' ? 2 * number : kind == 'T' ? 12 : kind == 'O' ? 24 : 60;
}
