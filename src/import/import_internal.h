/* Shared by the files of src/import only. */
#ifndef CYC_IMPORT_INTERNAL_H
#define CYC_IMPORT_INTERNAL_H

#include "cyclotomo/import.h"

/* ---------------------------------------------------------------- text files of rows */

enum { CYC__MAX_TOKENS = 48 };
typedef struct {
	int64_t line;             /* from 1 */
	int32_t n;                /* tokens; what is beyond CYC__MAX_TOKENS is left out */
	int32_t n_decimal_commas; /* 2 in "0,5 12,25 3": the commas do not separate columns */
	char *token[CYC__MAX_TOKENS];
} cyc__row;
/*
 * Lines of words: blanks and commas separate, empty lines are left out, comments are not. Lines end with LF,
 * CR LF or CR; a byte order mark is skipped.
 */
typedef struct {
	char *path, *text;
	int64_t n, room;
	cyc__row *rows;
} cyc__rows;
CYC_MUST_CHECK cyc_status cyc__rows_read(cyc__rows **out, const char *path);
void cyc__rows_destroy(cyc__rows **rows);
/* Raises with file and line. */
cyc_status cyc__rows_raise(cyc_status code, const cyc__rows *rows, int64_t i, const char *fmt, ...)
	CYC_PRINTF(4, 5);
/* Raises if the row has that many decimal commas. */
CYC_MUST_CHECK cyc_status cyc__rows_require_points(const cyc__rows *rows, int64_t i, int32_t n_commas);
/* The number in a token; the error names what was wanted. */
CYC_MUST_CHECK cyc_status cyc__rows_double(double *out, const cyc__rows *rows, int64_t i, int32_t token,
                                           const char *what);
bool cyc__is_number(const char *text);
static inline bool cyc__is_comment(const cyc__row *r) { return r->token[0][0] == '#'; }
/* The first column of rows without comments. Free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc__read_numbers(double **out, int32_t *n, const char *path, const char *what);

/* ---------------------------------------------------------------- names of series in patterns */

typedef struct {
	int32_t n;
	char **names; /* sorted */
} cyc__names;
/* Names of the series whose files fit a pattern; a pattern without star is one series, named as the file. */
CYC_MUST_CHECK cyc_status cyc__find_names(cyc__names *out, const char *root, const char *pattern,
                                          const char *option);
void cyc__names_deinit(cyc__names *names);
/* The pattern's file of a series, relative to root. */
CYC_MUST_CHECK cyc_status cyc__fill_pattern(char **out, const char *pattern, const char *name);
/* The same with root in front; CYC_E_IO naming the option if it is not there. NULL for a NULL pattern. */
CYC_MUST_CHECK cyc_status cyc__require_file(char **out, const char *root, const char *pattern,
                                            const char *name, const char *option);
/* Length of a tomogram's name without the extension of a file of it. */
size_t cyc__stem_length(const char *name);
/* "k@stack", with the extension that makes RELION take it as a stack. */
CYC_MUST_CHECK cyc_status cyc__section_name(char **out, const char *stack, int64_t section);

/* ---------------------------------------------------------------- what other programs know of a series */

/* One section of a raw stack. */
typedef struct {
	bool is_used;
	double matrix[2][2], shift_px[2]; /* aligned = matrix raw + shift, both from the centres */
	double ytilt_rad, xtilt_rad;
	double pre_exposure_e_per_A2;
	double defocus_u_A, defocus_v_A, defocus_angle_rad, phase_shift_rad;
	bool has_ctf, has_stage;
	double stage_rad; /* tilt angle of the stage, where it is known */
} cyc__view;
typedef struct {
	char *name, *stack; /* relative to root */
	int32_t n;          /* sections */
	cyc__view *views;
	int32_t size_px[3]; /* of the tomogram, project axes; 0: not known */
	int32_t image_nx, image_ny;
	double tomogram_shift_px[2]; /* IMOD's SHIFT: in x and along the beam */
	bool has_phase, has_stages;
} cyc__view_series;
void cyc__view_series_deinit(cyc__view_series *s);
CYC_MUST_CHECK cyc_status cyc__view_series_alloc(cyc__view_series *s, const char *name, int32_t n);

/* IMOD: .xf, .tlt, .xtilt, tilt.com. */
CYC_MUST_CHECK cyc_status cyc__read_imod(cyc__view_series *s, const cyc_import_options *o, const char *name);
/* AreTomo: .aln. */
CYC_MUST_CHECK cyc_status cyc__read_aretomo(cyc__view_series *s, const cyc_import_options *o,
                                            const char *name);
/* Doses from mdoc, list or option. */
CYC_MUST_CHECK cyc_status cyc__read_doses(cyc__view_series *s, const cyc_import_options *o);
/* Fits of the CTF. */
CYC_MUST_CHECK cyc_status cyc__read_ctf(cyc__view_series *s, const cyc_import_options *o);
/* Header of the stack: size, sections. */
CYC_MUST_CHECK cyc_status cyc__read_stack(cyc__view_series *s, const cyc_import_options *o);

/* What Warp knows of a series, in the order of its tilts. */
typedef struct {
	int32_t n;
	double *offset_A[2], *dose; /* dose NULL: not there */
	char **movie;               /* NULL: not there */
	char *path;
} cyc__warp_series;
void cyc__warp_series_deinit(cyc__warp_series *w);
/* A tilt series' .xml, or a .tomostar, by the extension. */
CYC_MUST_CHECK cyc_status cyc__warp_series_read(cyc__warp_series *out, const char *path);

/* ---------------------------------------------------------------- geometry */

/* A projection matrix, tomogram px from the corner to image px, of a view. */
void cyc__projection_of_view(double P[3][4], const cyc__view *v, const cyc__view_series *s,
                             cyc_import_axes axes);
typedef struct {
	double angle_rad[3], shift_px[2]; /* x, y, z; RELION's */
	double worst_px;                  /* from the matrix, at the corners of the tomogram */
} cyc__angles;
/* The five numbers of RELION-5 that are nearest to a matrix. */
cyc__angles cyc__angles_of(const double P[3][4], const int32_t size_px[3], int32_t image_nx,
                           int32_t image_ny);
/* More than this at a corner of the tomogram is no rounding: then the matrix is kept beside the angles. */
#define CYC__KEEP_MATRIX_PX 5e-3

/* ---------------------------------------------------------------- tables */

extern const char *const cyc__matrix_labels[4];
/* The five numbers, and the matrix where these are not enough. */
CYC_MUST_CHECK cyc_status cyc__put_angles(cyc_star_block *b, int64_t row, const cyc__angles *a,
                                          double pixel_size_A);
CYC_MUST_CHECK cyc_status cyc__put_matrix(cyc_star_block *b, int64_t row, const double P[3][4]);
/* Tomograms before they are written. */
typedef struct {
	cyc_tomogram_set *set; /* documents of RELION-5, to be written as they are */
	bool **keep;           /* of each series: rows that stay, of those it came with; NULL: all */
	int32_t *n_rows;       /* rows it came with */
} cyc__imported;
void cyc__imported_deinit(cyc__imported *m);
/* From alignments of IMOD or AreTomo. */
CYC_MUST_CHECK cyc_status cyc__tomograms_of_views(cyc__imported *out, cyc_import_result *result,
                                                  const cyc_import_options *o);
/* From matrices. */
CYC_MUST_CHECK cyc_status cyc__tomograms_of_matrices(cyc__imported *out, cyc_import_result *result,
                                                     const cyc_import_options *o);
/* X,Y,Z of the option; false where it was not given. */
CYC_MUST_CHECK cyc_status cyc__tomogram_size(bool *is_given, int32_t size_px[3], const cyc_import_options *o);

/* ---------------------------------------------------------------- particles */

/* A document with centred coordinates [Å] of the project, from a list. */
CYC_MUST_CHECK cyc_status cyc__read_particle_list(cyc_star **out, const cyc__imported *tomograms,
                                                  const cyc_import_options *o);
/* What the set that was made of it lacks: centred coordinates, half-sets. */
CYC_MUST_CHECK cyc_status cyc__finish_particles(cyc_import_result *result, cyc_particle_set *set,
                                                const cyc_tomogram_set *tomograms,
                                                const cyc_import_options *o);

#endif
