/**
 * @file report.h
 * Pictures for people: line plots as SVG, PNG and PDF from one drawing routine, slices of maps and spreads of
 * directions as PNG.
 */
#ifndef CYCLOTOMO_REPORT_H
#define CYCLOTOMO_REPORT_H

#include "cyclotomo/array.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { CYC_PLOT_LINE, CYC_PLOT_POINTS, CYC_PLOT_LINE_POINTS } cyc_plot_style;
/** One curve; arrays are borrowed for the duration of the call. Points with a NaN coordinate are gaps. */
typedef struct {
	const char *label;
	int32_t n;
	const double *x, *y;
	const double *y_error; /**< error bars (one sigma) or NULL */
	cyc_plot_style style;
	bool is_dashed;
	int32_t colour; /**< index into the palette; -1: next one */
} cyc_plot_series;
/** One panel. Axis ranges: min >= max means automatic. */
typedef struct {
	const char *title, *x_label, *y_label;
	double x_min, x_max, y_min, y_max;
	bool x_is_inverse_A; /**< x is 1/Å: ticks are labelled as resolutions in Å too */
	double h_line;       /**< horizontal guide, NaN: none */
	const char *h_line_label;
	int32_t n_series;
	const cyc_plot_series *series;
} cyc_plot;
/**
 * Draw panels below each other into path; the suffix .svg, .png or .pdf decides. Written to a temporary name,
 * then renamed. Same input, same bytes. @return CYC_E_USAGE for another suffix, CYC_E_IO.
 */
CYC_MUST_CHECK cyc_status cyc_plot_write(const char *path, const cyc_plot *panels, int32_t n_panels);
/** As cyc_plot_write() to a new SVG string (for self-contained HTML); free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_plot_svg(char **out, const cyc_plot *panels, int32_t n_panels);
/** Several figures, a page each, as one PDF ("logfile.pdf"). figures[i] has n_panels[i] panels. */
CYC_MUST_CHECK cyc_status cyc_plot_write_pdf(const char *path, const cyc_plot *const *figures,
                                             const int32_t *n_panels, int32_t n_figures);

/** One square of a picture of values. Arrays are borrowed for the duration of the call. */
typedef struct {
	const char *title;
	int32_t n;            /**< edge; row 0 is drawn at the bottom */
	const float *value;   /**< n x n: from blue (-limit) over white (0) to red (limit) */
	const float *opacity; /**< n x n, 0 .. 1: how much is shown of it; NULL: all */
	double limit;         /**< > 0; values beyond are drawn as the limit */
	const char *unit;     /**< at the ends of the colour bar */
} cyc_value_panel;
/**
 * Draw panels two in a row into a PNG file. Written to a temporary name, then renamed. Same input, same
 * bytes.
 * @return CYC_E_USAGE for no or more than 40 panels, CYC_E_IO.
 */
CYC_MUST_CHECK cyc_status cyc_values_write(const char *path, const char *title, const cyc_value_panel *panels,
                                           int32_t n_panels);

/**
 * Central slices of a map side by side: xy seen along z, xz along y, yz along x; the first coordinate to the
 * right, the second up. Grey from the 1st to the 99.8th percentile of the three; a scale bar if the map has a
 * pixel size.
 * @param[out] out      PNG file of *n bytes; free with cyc_free(). Same map, same bytes.
 * @param[in]  map      cubic, without NaN.
 * @param[in]  edge_px  edge of a slice in the picture, 32 to 2000.
 */
CYC_MUST_CHECK cyc_status cyc_slices_png(char **out, size_t *n, const cyc_volume *map, int32_t edge_px);
/** A PNG file in memory as "data:image/png;base64,...", for <img src> of self-contained pages; free with
 * cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_png_data_uri(char **out, const char *png, size_t n);
/**
 * How directions are spread over the sphere: density relative to an even spread, on Mollweide's map, which
 * keeps areas; tilt 0 at the top, rot 0 in the middle, growing to the right. Cells of 4 to 15 degrees, larger
 * for few directions.
 * @param[out] out        PNG file of *n bytes; free with cyc_free(). Same directions, same bytes.
 * @param[in]  rot_rad, tilt_rad  n_directions polar angles (RELION's rot and tilt), any range; those that are
 * not finite do not count. May be NULL for none.
 */
CYC_MUST_CHECK cyc_status cyc_directions_png(char **out, size_t *n, const double *rot_rad,
                                             const double *tilt_rad, int64_t n_directions);
/** As cyc_slices_png() in the form "data:image/png;base64,...", for <img src> of self-contained pages. */
CYC_MUST_CHECK cyc_status cyc_slices_data_uri(char **out, const cyc_volume *map, int32_t edge_px);

#ifdef __cplusplus
}
#endif
#endif
