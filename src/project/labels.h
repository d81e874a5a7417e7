/*
 * Labels of STAR files as identifiers: rlnTomoName is CYC_RLN_TOMO_NAME, columns of this program begin with
 * CYC_OWN_. The table is labels.def.
 */
#ifndef CYCLOTOMO_LABELS_INTERNAL_H
#define CYCLOTOMO_LABELS_INTERNAL_H

#include "cyclotomo/star.h"

#define RANGE(name, low, high, usual_low, usual_high, why)
#define LABEL(id, label, type, unit, tables, read_from, writer, range) extern const char CYC_##id[];
#include "project/labels.def"
#undef LABEL
#undef RANGE

typedef enum {
	CYC_LABEL_TEXT,
	CYC_LABEL_COUNT,
	CYC_LABEL_NUMBER,
	CYC_LABEL_RESULT, /**< a number of which -1 says that it is not known */
	CYC_LABEL_VECTOR,
	CYC_LABEL_FLAGS
} cyc_label_type;

/** Tables that a label may stand in, as bits. */
enum {
	CYC_TABLE_TILTS = 1,
	CYC_TABLE_TOMOGRAMS = 2,
	CYC_TABLE_OPTICS = 4,
	CYC_TABLE_PARTICLES = 8,
	CYC_TABLE_PARTICLE_LIST = 16, /**< the list "general" of particles */
	CYC_TABLE_SET = 32,           /**< optimisation sets */
	CYC_TABLE_MOTION = 64,
	CYC_TABLE_CURVES = 128, /**< postprocess.star, MTF */
	CYC_TABLE_MODEL = 256,  /**< models, samplings and optimisers of a refinement */
	CYC_TABLE_RESULTS = 512,
	CYC_TABLE_JOB = 1024 /**< jobs, pipelines, records */
};

/** What values are possible, and what is usual. */
typedef struct {
	double low, high, usual_low, usual_high;
	const char *why; /**< NULL: any value is possible */
} cyc_label_range;

typedef struct {
	const char *name;
	cyc_label_type type;
	const char *unit; /**< in the file; "" for none */
	bool is_angle;    /**< degrees in the file, radians in the program */
	unsigned tables, read_from;
	const char *writer;
	const cyc_label_range *range;
} cyc_label_info;

/** All labels in the order of labels.def. Static. */
const cyc_label_info *cyc_label_table(size_t *n);
/** What is known of a label (without underscore); NULL if nothing is. Thread-safe. */
const cyc_label_info *cyc_label_find(const char *name);

/* Labels that come together. */
extern const char *const CYC_LABELS_SIZE[3];       /**< of a tomogram, unbinned pixels */
extern const char *const CYC_LABELS_CENTRED[3];    /**< position from the middle of the tomogram, Å */
extern const char *const CYC_LABELS_COORDINATE[3]; /**< position from its corner, pixels */
extern const char *const CYC_LABELS_ORIGIN[3]; /**< offset, Å; minus what the program adds to a position */
extern const char *const CYC_LABELS_ANGLE[3];  /**< rot, tilt, psi of the reference in the subtomogram */
extern const char *const CYC_LABELS_SUBTOMOGRAM[3]; /**< rot, tilt, psi of the subtomogram in the tomogram */
extern const char *const CYC_LABELS_PRIOR_ANGLE[3];
extern const char *const CYC_LABELS_PRIOR_ORIGIN[3];
extern const char *const CYC_LABELS_INPUT_TILT[5]; /**< three angles and two shifts of the first input */
extern const char *const CYC_LABELS_INPUT_COORDINATE[3]; /**< places of the first input, Å */
extern const char
	*const CYC_LABELS_ALIGNMENT_ERROR[3]; /**< of a place, by those of tilts and motion (T6.15) */
extern const char *const CYC_LABELS_MAGNIFICATION[2][2];

/** Three values of labels of one of the arrays above, 0 for columns that are not there; angles in radians. */
CYC_MUST_CHECK cyc_status cyc_label_get_three(double v[3], const cyc_star_block *b, int64_t row,
                                              const char *const label[3]);
/** Whether all n columns exist. */
bool cyc_label_has(const cyc_star_block *b, const char *const *label, int n);

/**
 * Set one value of a table or list by its label; the column is added if it is not there. An angle is in
 * radians and is written in degrees; counts are written as whole numbers. A result that is NaN, and one in a
 * row that nothing is put into, is -1.
 */
CYC_MUST_CHECK cyc_status cyc_label_put(cyc_star_block *b, int64_t row, const char *label, double v);
CYC_MUST_CHECK cyc_status cyc_label_put_text(cyc_star_block *b, int64_t row, const char *label,
                                             const char *v);
/** Three values with labels of one of the arrays above. */
CYC_MUST_CHECK cyc_status cyc_label_put_three(cyc_star_block *b, int64_t row, const char *const label[3],
                                              const double v[3]);

#endif
