/* The maps as data of the page's own script, which turns them in the reader's browser: bytes on a small grid.
 */
#include "summary/page.h"

#include <math.h>
#include <string.h>

enum { MOST_PX = 72, RESOLUTION_PX = 24 };

static float voxel(const cyc_volume *v, int64_t x, int64_t y, int64_t z)
{
	int64_t n = v->nx;
	if (x < 0 || y < 0 || z < 0 || x >= n || y >= n || z >= n) return 0;
	return v->data[(z * n + y) * n + x];
}

static double sample(const cyc_volume *v, double x, double y, double z)
{
	int64_t i[3] = { (int64_t)floor(x), (int64_t)floor(y), (int64_t)floor(z) };
	double w[3] = { x - (double)i[0], y - (double)i[1], z - (double)i[2] }, sum = 0;
	for (int k = 0; k < 8; k++) {
		double weight = (k & 1 ? w[0] : 1 - w[0]) * (k & 2 ? w[1] : 1 - w[1]) * (k & 4 ? w[2] : 1 - w[2]);
		sum += weight * (double)voxel(v, i[0] + (k & 1), i[1] + (k >> 1 & 1), i[2] + (k >> 2));
	}
	return sum;
}

/* n^3 bytes of the cube of this radius about the centre; each the mean of a few samples inside its cell. */
static void fill(unsigned char *bytes, int32_t n, const cyc_volume *v, double radius_px, double low,
                 double high)
{
	double step = 2 * radius_px / n, centre = v->nx / 2;
	int32_t finer = step > 1.2 ? 2 : 1;
	for (int32_t z = 0; z < n; z++)
		for (int32_t y = 0; y < n; y++)
			for (int32_t x = 0; x < n; x++) {
				double sum = 0;
				for (int32_t k = 0; k < finer * finer * finer; k++) {
					const int32_t at[3] = { k % finer, k / finer % finer, k / (finer * finer) };
					const int32_t cell[3] = { x, y, z };
					double p[3];
					for (int a = 0; a < 3; a++)
						p[a] = centre - radius_px + (cell[a] + (at[a] + 0.5) / finer) * step;
					sum += sample(v, p[0], p[1], p[2]);
				}
				double share = (sum / (finer * finer * finer) - low) / (high - low);
				*bytes++ = (unsigned char)lround(255 * fmin(1, fmax(0, share)));
			}
}

/* One block of data; the script finds it by its class and name. */
static cyc_status put_block(FILE *f, const char *name, const cyc_volume *v, int32_t n, double radius_px,
                            double low, double high, double level)
{
	cyc_status st = CYC_OK;
	unsigned char *bytes = NULL;
	char *text = NULL;
	size_t count = (size_t)n * (size_t)n * (size_t)n;
	CYC_TRY(cyc_alloc(&bytes, count, 1));
	fill(bytes, n, v, radius_px, low, high);
	CYC_TRY(cyc_base64(&text, bytes, count));
	fprintf(
		f, "<script type=\"text/plain\" class=\"volume\" data-name=\"%s\" data-n=\"%d\" data-level=\"%.5f\">",
		name, n, (level - low) / (high - low));
	fputs(text, f);
	fputs("</script>\n", f);
done:
	cyc_free(bytes);
	cyc_free(text);
	return st;
}

static const char CONTROLS[] =
	"<figure id=\"viewer\" hidden><canvas width=\"720\" height=\"720\" tabindex=\"0\" role=\"img\" "
	"aria-label=\"surface of the map; drag, or use the arrow keys, to rotate it\"></canvas>\n"
	"<div class=\"controls\"><span class=\"states\"></span><label>Level <input type=\"range\" min=\"5\" "
	"max=\"95\" step=\"0.5\" aria-label=\"level of the surface\"></label><label class=\"colours\"><input "
	"type=\"checkbox\" checked> local resolution</label><span class=\"views\"><button "
	"type=\"button\">z</button><button type=\"button\">y</button><button "
	"type=\"button\">x</button></span></div>\n"
	"<figcaption>Drag to rotate, wheel or + and − to zoom; the grid is coarser than that of the "
	"map.</figcaption></figure>\n"
	"<p class=\"note\" id=\"viewer-note\">An interactive view appears here if the browser supports WebGL 2 "
	"and runs scripts.</p>\n";

cyc_status cyc__put_viewer(FILE *f, const cyc__view *v)
{
	cyc_status st = CYC_OK;
	static const char *const NAMES[2] = { "before", "after" };
	double size = 2 * v->radius_px;
	int32_t n = size > MOST_PX ? MOST_PX : (int32_t)fmax(8, size);
	fputs("<div><h3>Interactive view</h3>\n", f);
	fputs(CONTROLS, f);
	for (int i = 0; i < 2; i++) {
		if (!v->map[i]) continue;
		/* The level at 0.3: room below it, and bytes enough between noise and density. */
		CYC_TRY(put_block(f, NAMES[i], v->map[i], n, v->radius_px, 0, v->level[i] / 0.3, v->level[i]));
		if (!v->resolution[i] || !isfinite(v->resolution_low_A)) continue;
		char name[32];
		snprintf(name, sizeof name, "%s-resolution", NAMES[i]);
		CYC_TRY(put_block(f, name, v->resolution[i], RESOLUTION_PX, v->radius_px, v->resolution_low_A,
		                  v->resolution_high_A, v->resolution_low_A));
	}
	fputs("</div>\n", f);
done:
	return st;
}
