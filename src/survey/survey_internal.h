/** @file survey_internal.h  The parts of a survey; survey.c has their order. */
#ifndef CYC_SURVEY_INTERNAL_H
#define CYC_SURVEY_INTERNAL_H

#include "cyclotomo/survey.h"
#include "project/labels.h"

/** One survey. */
typedef struct {
	cyc_finding_list *found;
	const cyc_project_view *p;
	const cyc_survey_options *o;
	bool *
		is_broken; /**< n_series: impossible values were found; their consequences are not reported as well */
	int32_t *row_series; /**< tilt series of each row of the particles' table, -1: none that is known */
} cyc_survey;

static inline bool cyc_survey_has_particles(const cyc_survey *s, int32_t i_series)
{
	return s->p->particles->series_first[i_series + 1] > s->p->particles->series_first[i_series];
}
/** Table of a tilt series; never NULL of a set that was read. Borrowed. */
static inline cyc_star_block *cyc_survey_tilt_table(const cyc_survey *s, int32_t i_series)
{
	return cyc_star_find(s->p->tomograms->series_star[i_series], s->p->tomograms->series[i_series].name);
}
/** The particles' table. Borrowed. */
cyc_star_block *cyc_survey_particle_table(const cyc_survey *s);
/** A new finding of the project (-1) or of a tilt series, in a file; column may be NULL. */
CYC_MUST_CHECK cyc_status cyc_survey_add(cyc_finding **out, cyc_survey *s, cyc_finding_level level,
                                         const char *kind, int32_t i_series, const char *file,
                                         const char *column);

/* Kinds of tables, as bits. */
/** One of the tables of a project. */
typedef struct {
	const cyc_star_block *block;
	unsigned kind;
	const char *file;
	int32_t i_series; /**< of a tilt table, else -1 */
} cyc_survey_table;
/** Calls visit() for all tables in turn; tilt tables of series with particles only. */
CYC_MUST_CHECK cyc_status cyc_survey_each_table(cyc_survey *s,
                                                cyc_status (*visit)(cyc_survey *s,
                                                                    const cyc_survey_table *t));

/** Values that cannot be: ranges.c. */
CYC_MUST_CHECK cyc_status cyc_survey_ranges(cyc_survey *s);
/** Labels of other versions and programs: labels.c. */
CYC_MUST_CHECK cyc_status cyc_survey_labels(cyc_survey *s);
/** Tilt tables: doses, stage angles, scales, defocus: tilts.c. */
CYC_MUST_CHECK cyc_status cyc_survey_tilts(cyc_survey *s);
/** Tilt series against each other: doses, hands: series.c. */
CYC_MUST_CHECK cyc_status cyc_survey_series(cyc_survey *s);
/** Particles: half-sets, duplicates, angles, coordinates: particles.c. */
CYC_MUST_CHECK cyc_status cyc_survey_particles(cyc_survey *s);
/** Images: headers, sizes, one file twice, grey values; opens the series: images.c. */
CYC_MUST_CHECK cyc_status cyc_survey_images(cyc_survey *s);
/** Particles against images and tomograms; the series are open: places.c. */
CYC_MUST_CHECK cyc_status cyc_survey_places(cyc_survey *s);
/** All pixels of all images: pixels.c. */
CYC_MUST_CHECK cyc_status cyc_survey_pixels(cyc_survey *s);

#endif
