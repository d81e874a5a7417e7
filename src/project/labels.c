#include "project/labels.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- the table */

#define RANGE(name, low, high, usual_low, usual_high, why)
#define LABEL(id, label, type, unit, tables, read_from, writer, range) const char CYC_##id[] = label;
#include "project/labels.def"
#undef LABEL
#undef RANGE

static const cyc_label_range RANGE_ANY;
#define RANGE(name, low, high, usual_low, usual_high, why)                                                   \
	static const cyc_label_range RANGE_##name = { low, high, usual_low, usual_high, why };
#define LABEL(id, label, type, unit, tables, read_from, writer, range)
#include "project/labels.def"
#undef LABEL
#undef RANGE

/* As the file has it, and whether the program counts in radians. */
#define UNIT_NONE "", false
#define UNIT_DEGREES "degrees", true
#define UNIT_ANGSTROM "Å", false
#define UNIT_ANGSTROM2 "Å²", false
#define UNIT_PER_ANGSTROM "1/Å", false
#define UNIT_PER_ANGSTROM2 "1/Å²", false
#define UNIT_ANGSTROM2_PER_DOSE "Å² per e/Å2", false
#define UNIT_DOSE "e/Å2", false
#define UNIT_KILOVOLT "kV", false
#define UNIT_KILODALTON "kDa", false
#define UNIT_MILLIMETRE "mm", false
#define UNIT_MICROMETRE "µm", false
#define UNIT_MILLIRADIAN "mrad", false
#define UNIT_RADIAN "rad", false
#define UNIT_PX "px", false
#define UNIT_PER_PX "1/px", false

#define WRITER_RELION3 "RELION 3"
#define WRITER_RELION4 "RELION 4"
#define WRITER_RELION5 "RELION 5"
#define WRITER_WARP "Warp, M"
#define WRITER_CRYOCAT "cryoCAT"
#define WRITER_OTHER "scripts"
#define WRITER_CYCLOTOMO "cyclotomo"

enum {
	T = CYC_TABLE_TILTS,
	G = CYC_TABLE_TOMOGRAMS,
	O = CYC_TABLE_OPTICS,
	P = CYC_TABLE_PARTICLES,
	L = CYC_TABLE_PARTICLE_LIST,
	S = CYC_TABLE_SET,
	M = CYC_TABLE_MOTION,
	C = CYC_TABLE_CURVES,
	R = CYC_TABLE_MODEL,
	U = CYC_TABLE_RESULTS,
	J = CYC_TABLE_JOB
};

static const cyc_label_info TABLE[] = {
#define RANGE(name, low, high, usual_low, usual_high, why)
#define LABEL(id, label, type, unit, tables, read_from, writer, range)                                       \
	{ CYC_##id, CYC_LABEL_##type, UNIT_##unit, tables, read_from, WRITER_##writer, &RANGE_##range },
#include "project/labels.def"
#undef LABEL
#undef RANGE
};
enum { N_LABELS = sizeof TABLE / sizeof *TABLE };

const cyc_label_info *cyc_label_table(size_t *n)
{
	*n = N_LABELS;
	return TABLE;
}

/* The table by name, made when it is first asked for. */
static const cyc_label_info *by_name[N_LABELS];

static int compare_names(const void *a, const void *b)
{
	return strcmp((*(const cyc_label_info *const *)a)->name, (*(const cyc_label_info *const *)b)->name);
}

static void sort_names(void)
{
	for (size_t i = 0; i < N_LABELS; i++) by_name[i] = &TABLE[i];
	qsort(by_name, N_LABELS, sizeof *by_name, compare_names);
}

const cyc_label_info *cyc_label_find(const char *name)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const cyc_label_info wanted = { .name = name }, *key = &wanted;
	(void)pthread_once(&once, sort_names);
	const cyc_label_info *const *found = bsearch(&key, by_name, N_LABELS, sizeof *by_name, compare_names);
	return found ? *found : NULL;
}

/* ---------------------------------------------------------------- labels that come together */

const char *const CYC_LABELS_SIZE[3] = { CYC_RLN_TOMO_SIZE_X, CYC_RLN_TOMO_SIZE_Y, CYC_RLN_TOMO_SIZE_Z };
const char *const CYC_LABELS_CENTRED[3] = { CYC_RLN_CENTERED_COORDINATE_X_ANGST,
	                                        CYC_RLN_CENTERED_COORDINATE_Y_ANGST,
	                                        CYC_RLN_CENTERED_COORDINATE_Z_ANGST };
const char *const CYC_LABELS_COORDINATE[3] = { CYC_RLN_COORDINATE_X, CYC_RLN_COORDINATE_Y,
	                                           CYC_RLN_COORDINATE_Z };
const char *const CYC_LABELS_ORIGIN[3] = { CYC_RLN_ORIGIN_X_ANGST, CYC_RLN_ORIGIN_Y_ANGST,
	                                       CYC_RLN_ORIGIN_Z_ANGST };
const char *const CYC_LABELS_ANGLE[3] = { CYC_RLN_ANGLE_ROT, CYC_RLN_ANGLE_TILT, CYC_RLN_ANGLE_PSI };
const char *const CYC_LABELS_SUBTOMOGRAM[3] = { CYC_RLN_TOMO_SUBTOMOGRAM_ROT, CYC_RLN_TOMO_SUBTOMOGRAM_TILT,
	                                            CYC_RLN_TOMO_SUBTOMOGRAM_PSI };
const char *const CYC_LABELS_PRIOR_ANGLE[3] = { CYC_OWN_PRIOR_ANGLE_ROT, CYC_OWN_PRIOR_ANGLE_TILT,
	                                            CYC_OWN_PRIOR_ANGLE_PSI };
const char *const CYC_LABELS_PRIOR_ORIGIN[3] = { CYC_OWN_PRIOR_ORIGIN_X_ANGST, CYC_OWN_PRIOR_ORIGIN_Y_ANGST,
	                                             CYC_OWN_PRIOR_ORIGIN_Z_ANGST };
const char *const CYC_LABELS_INPUT_TILT[5] = { CYC_OWN_INPUT_X_TILT_DEG, CYC_OWN_INPUT_Y_TILT_DEG,
	                                           CYC_OWN_INPUT_Z_ROT_DEG, CYC_OWN_INPUT_X_SHIFT_ANGST,
	                                           CYC_OWN_INPUT_Y_SHIFT_ANGST };
const char *const CYC_LABELS_INPUT_COORDINATE[3] = { CYC_OWN_INPUT_COORDINATE_X_ANGST,
	                                                 CYC_OWN_INPUT_COORDINATE_Y_ANGST,
	                                                 CYC_OWN_INPUT_COORDINATE_Z_ANGST };
const char *const CYC_LABELS_ALIGNMENT_ERROR[3] = { CYC_OWN_ALIGNMENT_ERROR_X_ANGST,
	                                                CYC_OWN_ALIGNMENT_ERROR_Y_ANGST,
	                                                CYC_OWN_ALIGNMENT_ERROR_Z_ANGST };
const char *const CYC_LABELS_MAGNIFICATION[2][2] = { { CYC_RLN_MAG_MAT00, CYC_RLN_MAG_MAT01 },
	                                                 { CYC_RLN_MAG_MAT10, CYC_RLN_MAG_MAT11 } };

/* ---------------------------------------------------------------- values */

cyc_status cyc_label_get_three(double v[3], const cyc_star_block *b, int64_t row, const char *const label[3])
{
	cyc_status st = CYC_OK;
	for (int a = 0; a < 3; a++) {
		const cyc_label_info *known = cyc_label_find(label[a]);
		CYC_TRY(cyc_star_double_or(&v[a], b, row, label[a], 0));
		if (known && known->is_angle) v[a] = cyc_deg_to_rad(v[a]);
	}
done:
	return st;
}

bool cyc_label_has(const cyc_star_block *b, const char *const *label, int n)
{
	for (int a = 0; a < n; a++)
		if (cyc_star_column(b, label[a]) < 0) return false;
	return true;
}

cyc_status cyc_label_put(cyc_star_block *b, int64_t row, const char *label, double v)
{
	cyc_status st = CYC_OK;
	const cyc_label_info *known = cyc_label_find(label);
	bool is_result = known && known->type == CYC_LABEL_RESULT;
	int32_t column;
	CYC_TRY(cyc_star_ensure_column(&column, b, label, is_result ? "-1" : "0"));
	/* A word would make the column unreadable as numbers, and 0 would be a promise. */
	if (is_result && isnan(v)) CYC_TRY(cyc_star_set_double(b, row, column, -1));
	else if (known && known->type == CYC_LABEL_COUNT) CYC_TRY(cyc_star_set_int(b, row, column, (int64_t)v));
	else CYC_TRY(cyc_star_set_double(b, row, column, known && known->is_angle ? cyc_rad_to_deg(v) : v));
done:
	return st;
}

cyc_status cyc_label_put_text(cyc_star_block *b, int64_t row, const char *label, const char *v)
{
	cyc_status st = CYC_OK;
	int32_t column;
	CYC_TRY(cyc_star_ensure_column(&column, b, label, ""));
	CYC_TRY(cyc_star_set_text(b, row, column, v));
done:
	return st;
}

cyc_status cyc_label_put_three(cyc_star_block *b, int64_t row, const char *const label[3], const double v[3])
{
	cyc_status st = CYC_OK;
	for (int a = 0; a < 3; a++) CYC_TRY(cyc_label_put(b, row, label[a], v[a]));
done:
	return st;
}
