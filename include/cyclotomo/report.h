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
/** Marks drawn in place of a point's disc: a cross for bad points, a ring for excluded ones. */
enum { CYC_MARK_NONE, CYC_MARK_BAD, CYC_MARK_EXCLUDED };
/** One curve; arrays are borrowed for the duration of the call. Points with a NaN coordinate are gaps. */
typedef struct {
	const char *label;
	int32_t n;
	const double *x, *y;
	const double *y_error; /**< error bars (one sigma) or NULL */
	cyc_plot_style style;
	bool is_dashed;
	int32_t colour;             /**< index into the palette; -1: next one */
	double width;               /**< of the line, in points; 0: 1.8 */
	const unsigned char *marks; /**< n of CYC_MARK_...; NULL: none */
} cyc_plot_series;
/** One panel. Axis ranges: min >= max means automatic. */
typedef struct {
	const char *title, *x_label, *y_label;
	double x_min, x_max, y_min, y_max;
	bool x_is_inverse_A; /**< x is 1/Å: ticks are labelled as resolutions in Å too */
	double h_line;       /**< horizontal guide, NaN: none */
	const char *h_line_label;
	double v_line; /**< vertical guide, drawn if it has a label */
	const char *v_line_label;
	int32_t n_series;
	const cyc_plot_series *series;
} cyc_plot;
/** A panel of FSC curves against 1/Å with the guide at 0.143; nothing is copied. */
cyc_plot cyc_fsc_plot(const char *title, const cyc_plot_series *series, int32_t n_series);
/**
 * Draw panels below each other into path; the suffix .svg, .png or .pdf decides. Written to a temporary name,
 * then renamed. Same input, same bytes. @return CYC_E_USAGE for another suffix, CYC_E_IO.
 */
CYC_MUST_CHECK cyc_status cyc_plot_write(const char *path, const cyc_plot *panels, int32_t n_panels);
/** As cyc_plot_write() to a new SVG string (for self-contained HTML), with the role of an image and the first
 * panel's title, or what its axes are, as its own; free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_plot_svg(char **out, const cyc_plot *panels, int32_t n_panels);
/** Several figures, a page each, as one PDF ("logfile.pdf"). figures[i] has n_panels[i] panels. */
CYC_MUST_CHECK cyc_status cyc_plot_write_pdf(const char *path, const cyc_plot *const *figures,
                                             const int32_t *n_panels, int32_t n_figures);
/**
 * Several figures, each as a file of its own as cyc_plot_write() does it, and all as cyc_plot_write_pdf()
 * does it, side by side. @param[in] paths  n_figures, of the single ones
 */
CYC_MUST_CHECK cyc_status cyc_plot_write_book(const char *pdf_path, const char *const *paths,
                                              const cyc_plot *const *figures, const int32_t *n_panels,
                                              int32_t n_figures, int n_threads);

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
/** Bytes in base64, as web pages hold them; free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_base64(char **out, const void *data, size_t n);
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

/** Bins of the histograms that the program draws. */
enum { CYC_HISTOGRAM_BINS = 40, CYC_HISTOGRAM_POINTS = 2 * CYC_HISTOGRAM_BINS + 2 };
/**
 * A histogram as the curve of its outline, for a plot; values beyond its ends are left out.
 * @param[out] x, y  CYC_HISTOGRAM_POINTS
 */
void cyc_histogram_outline(double *x, double *y, const double *values, int64_t n, double low, double high);

/** The surface of a map at a level, as it is drawn. Borrowed. */
typedef struct {
	const cyc_volume *map;          /**< cubic */
	double level;                   /**< > 0; what is denser is inside */
	const cyc_volume *colour_by;    /**< of the same size: its value at the surface chooses the colour; where
	                                   it is not positive, and if NULL, the surface is grey */
	double colour_low, colour_high; /**< values of the two ends of the colour scale */
	double view[3][3]; /**< rows: unit vectors to the right, up and towards the eye, in the map */
	double radius_px;  /**< half of what the picture shows, in voxels from the map's centre; <= 0: the whole
	                      map */
} cyc_surface;
/**
 * Pictures of the surface from several sides, on a transparent ground: parallel rays meet the density,
 * interpolated linearly on a grid that is up to four times finer than the map; light falls on its gradient,
 * and less into cavities. Blobs of less than 1/50 of the largest are not drawn. (T10.1 - T10.3)
 * @param[out] out, n      n_views PNG files and their sizes in bytes; free each with cyc_free(). Same map,
 * same bytes, for any number of threads.
 * @param[in]  views       each as cyc_surface's `view`, which does not count here
 * @param[in]  edge_px     16 to 4000
 * @return CYC_E_SHAPE, CYC_E_USAGE for a level that is not positive, CYC_E_NOMEM
 */
CYC_MUST_CHECK cyc_status cyc_surface_pngs(char **out, size_t *n, const cyc_surface *s,
                                           const double (*views)[3][3], int32_t n_views, int32_t edge_px,
                                           int n_threads);
/** Colour at a share of the scale, 0 (low) to 1 (high): red, green, blue from 0 to 1. Thread-safe. */
void cyc_surface_colour(double rgb[3], double share);
/**
 * The level that encloses this share of a map's voxels. (T10.1)
 * @param[in] share  0 to 1
 * @return CYC_E_NOMEM
 */
CYC_MUST_CHECK cyc_status cyc_surface_level(double *level, const cyc_volume *map, double share);

#ifdef __cplusplus
}
#endif
#endif
