/* The plan of a run as text, and what would stop it. */
#include "cycle/records.h"
#include "cycle/requirements.h"
#include "cycle/in_project.h"
#include "cycle/steps.h"
#include "run/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- parts of the text */

static void put_inputs(FILE *f, const cyc__inputs *in, const cyc_cycle_options *o)
{
	int64_t n_half[2] = { 0, 0 };
	int32_t n_series = 0;
	for (int32_t i = 0; i < in->tomograms->n_series; i++) {
		n_half[0] += in->series[i].n_half[0];
		n_half[1] += in->series[i].n_half[1];
		n_series += in->series[i].n_particles > 0;
	}
	fprintf(f, "Plan of the cycle in %s\n\n", o->out_dir);
	fprintf(f, "  project root   %s\n", o->input.root && o->input.root[0] ? o->input.root : "current folder");
	fprintf(f, "  particles      %s: %lld (half 1: %lld, half 2: %lld)\n", in->set->particles,
	        (long long)in->particles->n, (long long)n_half[0], (long long)n_half[1]);
	fprintf(f, "  tomograms      %s: %d tilt series with particles, %lld tilts\n", in->set->tomograms,
	        n_series, (long long)in->n_tilts);
	fprintf(f, "  trajectories   %s\n", in->set->trajectories ? in->set->trajectories : "none");
	fprintf(f, "  masks          alignment %s, FSC %s\n", in->mask_align ? in->mask_align : "none",
	        in->mask_fsc ? in->mask_fsc : "none");
	if (!in->mask_align)
		cyc_warn(
			"no mask is given: noise around the particle degrades the reference, and the FSC is that of the "
			"whole box; give --mask-align and --mask-fsc (cyclotomo mask makes them from a map)");
	fprintf(f, "  sizes          pixel %.4g Å, box %d px (%.0f Å), maps %d px (%.0f Å), symmetry %s\n",
	        in->pixel_size_A, o->box_px, o->box_px * in->pixel_size_A, in->crop_px,
	        in->crop_px * in->pixel_size_A, o->symmetry);
	if (in->image_nx > 0) fprintf(f, "  images         up to %d x %d px\n", in->image_nx, in->image_ny);
}

static void put_size(FILE *f, double bytes)
{
	if (bytes < 99.95e6) fprintf(f, "%8.1f MB", bytes / 1e6);
	else if (bytes < 1e9) fprintf(f, "%8.0f MB", bytes / 1e6);
	else fprintf(f, "%8.1f GB", bytes / 1e9);
}

static void put_step(FILE *f, const char *folder, const char *what, double memory, double disk)
{
	fprintf(f, "  %-24s %-38s ", folder, what);
	put_size(f, memory);
	fputc(' ', f);
	put_size(f, disk);
	fputc('\n', f);
}

static cyc_status put_steps(FILE *f, const cyc__inputs *in, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc__planned *plan = NULL;
	cyc__step s = { 0 };
	int32_t n, job;
	double most_memory = 0.0, all_disk = 0.0;
	CYC_TRY(cyc__plan_steps(&plan, &n, o));
	fprintf(f, "\nSteps\n\n  %-24s %-38s %11s %11s\n", "folder", "what", "memory", "disk");
	for (int32_t i = 0; i < n; i++) {
		const cyc__kind_names *kind = cyc__kind_get(plan[i].kind);
		CYC_TRY(cyc__planned_job(&job, o, plan[i].kind, i));
		CYC_TRY(cyc__step_init(&s, o, plan[i].kind, plan[i].i_turn, job));
		const cyc__need need = cyc__need_of(&plan[i], in, o);
		/* As the jobs say it in the log, one after another. */
		if (need.first > 0) put_step(f, s.name, "before: which picks show the particle", need.first, 0.0);
		put_step(f, s.name, kind->what, need.memory, need.disk);
		most_memory = fmax(most_memory, fmax(need.memory, need.first));
		all_disk += need.disk;
		cyc__step_deinit(&s);
	}
	put_step(f, "all", "peak memory, total disk", most_memory, all_disk);
done:
	cyc__step_deinit(&s);
	cyc_free(plan);
	return st;
}

static void put_memory(FILE *f, const cyc__inputs *in, const cyc_cycle_options *o)
{
	if (cyc__require_memory(in, o) == CYC_OK) return;
	fprintf(f, "\nNot enough memory\n\n  %s\n    %s\n", cyc_error_get()->message, cyc_error_get()->hint);
	cyc_error_clear();
}

static void put_series(FILE *f, const cyc__inputs *in)
{
	int width = 12;
	for (int32_t i = 0; i < in->tomograms->n_series; i++) {
		int n = (int)strlen(in->tomograms->series[i].name);
		if (n > width) width = n < 40 ? n : 40;
	}
	fprintf(f, "\nTilt series\n\n  %-*s %7s %10s %8s %8s %15s\n", width, "name", "tilts", "particles",
	        "half 1", "half 2", "images missing");
	for (int32_t i = 0; i < in->tomograms->n_series; i++) {
		const cyc__series_inputs *s = &in->series[i];
		fprintf(f, "  %-*s %7d %10lld %8lld %8lld", width, in->tomograms->series[i].name,
		        in->tomograms->series[i].n_tilts, (long long)s->n_particles, (long long)s->n_half[0],
		        (long long)s->n_half[1]);
		if (s->n_particles == 0) fprintf(f, " %15s\n", "(not used)");
		else fprintf(f, " %15lld\n", (long long)s->n_missing);
	}
}

/* Particles in both half-sets, and what the run does about them. */
static void put_duplicates(FILE *f, const cyc__inputs *in, const cyc_cycle_options *o)
{
	char text[900];
	cyc__inputs_describe_duplicates(text, sizeof text, in, o);
	if (text[0]) fprintf(f, "\nParticles listed twice\n\n  %s\n", text);
}

static void put_scales(FILE *f, const cyc__inputs *in)
{
	if (cyc_tomogram_set_check_scales(in->tomograms) == CYC_OK) return;
	fprintf(f, "\nContrast scales that stop the run\n\n  %s\n    %s\n", cyc_error_get()->message,
	        cyc_error_get()->hint);
	cyc_error_clear();
}

static void put_missing(FILE *f, const cyc__inputs *in)
{
	if (in->n_missing == 0) {
		fprintf(f, "\nAll %lld tilt images were found.\n", (long long)in->n_images);
		return;
	}
	fprintf(f, "\nImages that cannot be found: %lld of %lld\n", (long long)in->n_missing,
	        (long long)in->n_images);
	for (int32_t i = 0; i < in->tomograms->n_series; i++) {
		const cyc__series_inputs *s = &in->series[i];
		if (s->n_missing == 0) continue;
		fprintf(f, "\n  %s: %lld of %lld\n", in->tomograms->series[i].name, (long long)s->n_missing,
		        (long long)s->n_images);
		for (int k = 0; k < CYC__MISSING_NAMED && s->missing[k]; k++) fprintf(f, "    %s\n", s->missing[k]);
		if (s->n_missing > CYC__MISSING_NAMED)
			fprintf(f, "    and %lld more\n", (long long)(s->n_missing - CYC__MISSING_NAMED));
	}
}

/* What finished steps in the folder were made with, if the run would be refused for it. */
static void put_record(FILE *f, const cyc__inputs *in, const cyc_cycle_options *o)
{
	if (cyc__record_compare(in, o) == CYC_OK) return;
	fprintf(f, "\nExisting run in this folder\n\n  %s\n    %s\n", cyc_error_get()->message,
	        cyc_error_get()->hint);
	cyc_error_clear();
}

/* What the check of the project found, and what else is in the way. Images that are not there have a list of
 * their own. */
static cyc_status put_findings(FILE *f, const cyc__inputs *in)
{
	cyc_status st = CYC_OK;
	char *text = NULL;
	int n = 0;
	for (int32_t i = 0; i < in->found.n; i++) {
		const cyc_finding *d = &in->found.items[i];
		if (d->level == CYC_FINDING_NOTE || (d->code == CYC_E_IO && in->n_missing > 0)) continue;
		if (n++ == 0) fprintf(f, "\nCheck of the project\n\n");
		CYC_TRY(cyc_finding_text(&text, d));
		fprintf(f, "  %s: %s\n", d->level == CYC_FINDING_ERROR ? "error" : "warning", text);
		cyc_free(text);
		text = NULL;
	}
done:
	cyc_free(text);
	return st;
}

cyc_status cyc_cycle_plan(char **text, cyc_status *outcome, const cyc_cycle_options *options)
{
	cyc_status st = CYC_OK;
	cyc__inputs in = { 0 };
	char *memory = NULL;
	size_t n = 0;
	FILE *f = NULL;
	*text = NULL;
	*outcome = CYC_OK;
	CYC_TRY(cyc__inputs_read(&in, options));
	f = open_memstream(&memory, &n);
	CYC_CHECK(f, CYC_E_NOMEM, "not enough memory for the plan");
	put_inputs(f, &in, options);
	CYC_TRY(put_steps(f, &in, options));
	put_series(f, &in);
	put_duplicates(f, &in, options);
	put_scales(f, &in);
	put_missing(f, &in);
	CYC_TRY(put_findings(f, &in));
	put_memory(f, &in, options);
	put_record(f, &in, options);
	CYC_CHECK(!ferror(f) && fflush(f) == 0, CYC_E_NOMEM, "not enough memory for the plan");
	CYC_TRY(cyc_strdup(text, memory));
	/* In the order in which the run would find out. */
	*outcome = cyc__inputs_require_all(&in, options);
	if (*outcome == CYC_OK) *outcome = cyc__record_compare(&in, options);
done:
	if (f) fclose(f);
	free(memory);
	cyc__inputs_deinit(&in);
	return st;
}
