/**
 * @file page.h
 * The parts of RUN/summary.html: functions that its sections use. Sections are functions of the steps so far;
 * other data they read may be missing, and are then left out.
 */
#ifndef CYC_SUMMARY_PAGE_H
#define CYC_SUMMARY_PAGE_H

#include "summary/summary.h"

#include "cyclotomo/report.h"

/** Pictures that are the same from one writing of the page to the next, by what they are of. */
typedef struct {
	uint64_t key;
	char *html;
} cyc__picture;
struct cyc__page_cache {
	int32_t n;
	cyc__picture *pictures;
};

typedef struct {
	const cyc__cycle *c;
	FILE *f;
	int32_t i_first, i_best; /**< steps of the states before and after */
	bool is_finished;
} cyc__page;

/* ---------------------------------------------------------------- page_parts.c */

/** A number with a format of one double; nothing where it is none. */
void cyc__put_number_cell(FILE *f, const char *format, double v);
/** Seconds as "12.3 s", "4:05 min", "2:03 h" in a <time> element; nothing if not known. */
void cyc__put_duration(FILE *f, double seconds);
/** An instant as "2026-03-01 14:05" (local time) in a <time> element. */
void cyc__put_instant(FILE *f, double unix_time);
/**
 * A link from the page to a file of the run or the project, if it exists; else its name alone.
 * @param[in] path  relative to the root
 * @param[in] text  NULL: the path as it is from the page
 */
CYC_MUST_CHECK cyc_status cyc__put_link(FILE *f, const cyc__cycle *c, const char *path, const char *text);
/** A table's head in a box that scrolls separately: names; a leading "=" makes a column of numbers. */
void cyc__begin_table(FILE *f, const char *caption, const char *const *columns, int n);
void cyc__end_table(FILE *f);
/** A plot with its caption; the caption may have markup. */
CYC_MUST_CHECK cyc_status cyc__put_plot(FILE *f, const cyc_plot *panels, int32_t n_panels,
                                        const char *caption);
/** The name of a state: "start", "after CTF refinement 1". */
void cyc__name_state(char *out, size_t size, const cyc__cycle *c, const cyc__step *s);
/** The name of a kind of refinement for people: "CTF refinement". */
const char *cyc__refinement_name(cyc__kind kind);
/** The step that refined in a turn; NULL for the start. */
const cyc__step *cyc__refinement_of_turn(const cyc__cycle *c, int32_t i_turn);
/** The newest step of a kind whose turn was accepted, else the newest of it; NULL without any. */
const cyc__step *cyc__newest_of(const cyc__cycle *c, cyc__kind kind);
/** Whether the turn of a step was accepted. */
bool cyc__is_turn_accepted(const cyc__cycle *c, const cyc__step *s);
/** A STAR file of the run; NULL if it is not there or no STAR file. Only CYC_E_NOMEM is an error. */
CYC_MUST_CHECK cyc_status cyc__read_if_readable(cyc_star **out, const cyc__cycle *c, const char *path);

/* ---------------------------------------------------------------- sections */

/** Style sheet and script of the page: page.css and page.js, put in by cmake/embed_text.cmake. */
extern const unsigned char cyc__page_css[], cyc__page_js[];
extern const size_t cyc__page_css_n, cyc__page_js_n;
CYC_MUST_CHECK cyc_status cyc__put_maps(const cyc__page *p);        /**< page_maps.c */
CYC_MUST_CHECK cyc_status cyc__put_refinements(const cyc__page *p); /**< page_turns.c */
CYC_MUST_CHECK cyc_status cyc__put_jobs(const cyc__page *p);
CYC_MUST_CHECK cyc_status cyc__put_fsc(const cyc__page *p);         /**< page_fsc.c */
CYC_MUST_CHECK cyc_status cyc__put_tilt_series(const cyc__page *p); /**< page_series.c */
CYC_MUST_CHECK cyc_status cyc__put_particles(const cyc__page *p);   /**< page_particles.c */
CYC_MUST_CHECK cyc_status cyc__put_warnings(const cyc__page *p);    /**< page_warnings.c */

/** The HTML of a picture, written from the cache; false if it is not there. */
bool cyc__put_cached(FILE *f, const cyc__cycle *c, uint64_t key);
/** Write the HTML of a new picture and keep it, if the page has a cache; takes ownership, also on error. */
CYC_MUST_CHECK cyc_status cyc__put_and_keep(FILE *f, const cyc__cycle *c, uint64_t key, char **html);
void cyc__page_cache_destroy(struct cyc__page_cache **cache);

/** Interactive view: script data of the maps, on a grid of at most 72 points an edge. (page_viewer.c) */
typedef struct {
	const cyc_volume *map[2]; /**< before, after; [0] may be NULL */
	const cyc_volume *resolution[2];
	double level[2], radius_px;
	double resolution_low_A, resolution_high_A;
} cyc__view;
CYC_MUST_CHECK cyc_status cyc__put_viewer(FILE *f, const cyc__view *v);

#endif
