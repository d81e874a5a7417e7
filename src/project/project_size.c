#include "cyclotomo/project.h"

/* Of a usual camera. */
enum { USUAL_IMAGE_PX = 4096 };
/* Of a particle: its entry, and a row of text of some forty columns. Of a tilt: the same. */
static const double BYTES_OF_ROW = 1500;

static cyc_status add_image(cyc_project_size *s, const cyc_tilt_series *ts, int32_t i, const char *root)
{
	int32_t nx = 0, ny = 0;
	cyc_status st = cyc_tilt_series_image_size(&nx, &ny, ts, root);
	if (st == CYC_E_NOMEM || st == CYC_E_CANCELLED) return st;
	/* Whoever reads this image says what is wrong with it. */
	if (st != CYC_OK || nx <= 0 || ny <= 0) {
		cyc_error_clear();
		return CYC_OK;
	}
	if ((double)nx * ny > (double)s->image_nx * s->image_ny) {
		s->image_nx = nx;
		s->image_ny = ny;
	}
	int32_t edge = nx < ny ? nx : ny,
			smallest = s->smallest_nx < s->smallest_ny ? s->smallest_nx : s->smallest_ny;
	if (s->smallest_series < 0 || edge < smallest) {
		s->smallest_nx = nx;
		s->smallest_ny = ny;
		s->smallest_series = i;
	}
	return CYC_OK;
}

cyc_status cyc_project_size_of(cyc_project_size *out, const cyc_tomogram_set *tomograms,
                               const cyc_particle_set *set, const char *root)
{
	cyc_status st = CYC_OK;
	*out = (cyc_project_size){ .n_particles = set->n, .smallest_series = -1 };
	for (int64_t i = 0; i < set->n; i++) out->n_half[set->particles[i].half > 0]++;
	for (int32_t i = 0; i < tomograms->n_series; i++) {
		const cyc_tilt_series *ts = &tomograms->series[i];
		int64_t n = set->series_first[i + 1] - set->series_first[i];
		double pairs = (double)n * ts->n_tilts;
		if (n == 0) continue;
		out->n_series++;
		out->n_images += pairs;
		if (n > out->most_particles) out->most_particles = n;
		if (ts->n_tilts > out->most_tilts) out->most_tilts = ts->n_tilts;
		if (pairs > out->most_pairs) out->most_pairs = pairs;
		CYC_TRY(add_image(out, ts, i, root));
	}
	if (out->image_nx == 0) out->image_nx = out->image_ny = USUAL_IMAGE_PX;
done:
	return st;
}

cyc_status cyc_project_require_window(const cyc_project_size *s, const cyc_tomogram_set *tomograms,
                                      int32_t window_px)
{
	cyc_status st = CYC_OK;
	if (s->smallest_series < 0) goto done;
	CYC_CHECK(window_px <= s->smallest_nx && window_px <= s->smallest_ny, CYC_E_SHAPE,
	          "the window of %d px is larger than the tilt images of %s (%d x %d px)", window_px,
	          tomograms->series[s->smallest_series].name, s->smallest_nx, s->smallest_ny);
done:
	return st;
}

double cyc_project_bytes(const cyc_project_size *s)
{
	return BYTES_OF_ROW * ((double)s->n_particles + (double)s->n_series * s->most_tilts);
}

double cyc_separate_memory_bytes(const cyc_project_size *s)
{
	/* Whether it stays, its score, its place in a cell; and its row in the table that is written. */
	const double OF_PARTICLE = 600;
	return CYC_PROGRAM_BYTES + cyc_project_bytes(s) + OF_PARTICLE * (double)s->n_particles;
}
