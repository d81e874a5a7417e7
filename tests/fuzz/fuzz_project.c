/*
 * A tomograms file with its tilt tables (RELION-4's layout), particles and trajectories from one input, split
 * at lines of
 * "----": read or refused, never crash; what is read is finite and can be written and read back.
 */
#include "cyclotomo/project.h"
#include "fuzz/fuzz_common.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void save(const char *name, const uint8_t *data, size_t n)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", fuzz_dir(), name);
	FILE *f = fopen(path, "wb");
	MUST(f);
	MUST(fwrite(data, 1, n, f) == n);
	fclose(f);
}

static void check(const cyc_tomogram_set *t, const cyc_particle_set *p)
{
	for (int32_t i = 0; i < t->n_series; i++) {
		const cyc_tilt_series *ts = &t->series[i];
		MUST(ts->n_tilts > 0 && ts->pixel_size_A > 0.0);
		for (int32_t f = 0; f < ts->n_tilts; f++) {
			MUST(ts->tilts[f].scale >= 0.0 && isfinite(ts->tilts[f].defocus_u_A) &&
			     isfinite(ts->tilts[f].zrot_rad));
		}
	}
	for (int64_t i = 0; p && i < p->n; i++) {
		const cyc_particle *q = &p->particles[i];
		MUST(q->i_series >= 0 && q->i_series < t->n_series && q->i_optics >= 0 && q->i_optics < p->n_optics);
		MUST(q->name && q->name[0] && isfinite(q->R_tomo_ref.m[1][2]));
		MUST(p->series_first[q->i_series] <= i && i < p->series_first[q->i_series + 1]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const NAMES[3] = { "t.star", "p.star", "m.star" };
	cyc_tomogram_set *t = NULL, *again = NULL;
	cyc_particle_set *p = NULL, *p2 = NULL;
	char path[128];
	for (int k = 0; k < 3; k++) {
		const uint8_t *cut = k < 2 && size ? memmem(data, size, "----\n", 5) : NULL;
		size_t n = cut ? (size_t)(cut - data) : size;
		save(NAMES[k], data, n);
		data += cut ? n + 5 : n;
		size -= cut ? n + 5 : n;
	}
	if (cyc_tomogram_set_read(&t, "t.star", fuzz_dir()) == CYC_OK) {
		if (cyc_particle_set_read(&p, "p.star", NULL, t, fuzz_dir()) == CYC_OK) {
			if (cyc_particle_set_read(&p2, "p.star", "m.star", t, fuzz_dir()) == CYC_OK) MUST(p2->n == p->n);
		}
		check(t, p);
		/* Names with slashes would make folders all over; two names that differ in blanks at the ends are one
		 * block name. */
		bool is_plain = t->n_series == 1;
		for (int32_t i = 0; i < t->n_series; i++)
			is_plain =
				is_plain && !strpbrk(t->series[i].name, "/ \t\r\v\f") && strlen(t->series[i].name) < 50;
		if (t->is_relion4 && is_plain &&
		    cyc_tomogram_set_write(t, "Out/", fuzz_dir(), CYC_WRITE_DEFOCUS) == CYC_OK) {
			MUST(cyc_tomogram_set_read(&again, "Out/tomograms.star", fuzz_dir()) == CYC_OK);
			MUST(again->n_series == t->n_series);
		}
	}
	snprintf(path, sizeof path, "%s/m.star", fuzz_dir());
	cyc_optimisation_set *o = NULL;
	cyc_fsc_file *f = NULL;
	if (cyc_optimisation_set_read(&o, path) == CYC_OK) MUST(o->particles || o->tomograms);
	if (cyc_fsc_file_read(&f, path) == CYC_OK)
		MUST(f->n_shells >= 3 && isfinite(f->corrected[f->n_shells - 1]));
	cyc_optimisation_set_destroy(&o);
	cyc_fsc_file_destroy(&f);
	cyc_particle_set_destroy(&p);
	cyc_particle_set_destroy(&p2);
	cyc_tomogram_set_destroy(&again);
	cyc_tomogram_set_destroy(&t);
	return 0;
}
