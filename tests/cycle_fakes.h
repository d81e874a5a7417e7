/* A small project on disk and steps that only pretend, for the tests of the cycle. */
#ifndef CYCLE_FAKES_H
#define CYCLE_FAKES_H

#include "cyclotomo/cycle.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_SERIES = 2, N_TILTS = 3, N_SHELLS = 17, BOX = 32 };

/* What the fakes do and did. */
static struct {
	char root[64];
	char calls[64];     /* one letter per call: r, p, c, m (polish) */
	double quality[16]; /* by number of refinements behind the state */
	int stop_at;        /* call (from 1) that does not end well; 0: none */
	enum { STOP_FAIL, STOP_KILL } stop_how;
	char sets[16][128]; /* optimisation set each call got, "" for none */
	double error;       /* standard error of differences */
	bool are_halves_suspect;
	const char *warning;           /* of each post-processing; NULL: none */
	const char *refined_particles; /* what the refinement of orientations leaves; NULL: what it got */
	const char *uncertainty;       /* what the CTF refinement writes as uncertainty.star; NULL: nothing */
} g_fake;

static const char *in_root(const char *path)
{
	static char buffers[4][256];
	static int i;
	char *b = buffers[i++ % 4];
	snprintf(b, sizeof buffers[0], "%s/%s", g_fake.root, path);
	return b;
}

static void put_file(const char *path, const char *text)
{
	assert_int_equal(cyc_write_file(in_root(path), text, strlen(text)), CYC_OK);
}

static char *get_file(const char *path)
{
	static char *text; /* not automatic: gcc 12 would take what it points to for the variable itself */
	size_t n;
	if (cyc_read_file(&text, &n, in_root(path)) != CYC_OK) fail_msg("%s", cyc_error_get()->message);
	return text;
}

/* Of a page: the times that it gives and the name of the folder, in which runs differ. */
static inline void strip_page(char *html)
{
	static const char *const PARTS[][2] = { { "<time", "</time>" },
		                                    { "<title>", "</title>" },
		                                    { "<span class=\"project\">", "</span>" } };
	for (size_t i = 0; i < sizeof PARTS / sizeof *PARTS; i++)
		for (char *from = html, *to;
		     (from = strstr(from, PARTS[i][0])) && (to = strstr(from, PARTS[i][1]));) {
			to += strlen(PARTS[i][1]);
			memmove(from, to, strlen(to) + 1);
		}
}

static bool is_there(const char *path) { return cyc_path_exists(in_root(path)); }

/* Noise, another one for each name: equal and constant images are warned about. */
static void put_image(const char *path)
{
	cyc_volume *v = NULL;
	cyc_rng noise = cyc_rng_make(cyc_hash_string(CYC_HASH_INIT, path), 1, 0);
	assert_int_equal(cyc_volume_create(&v, 64, 64, 1, 2.0), CYC_OK);
	for (size_t i = 0; i < cyc_volume_count(v); i++) v->data[i] = (float)cyc_rng_normal(&noise);
	assert_int_equal(cyc_mrc_write(in_root(path), v, 2, NULL), CYC_OK);
	cyc_volume_destroy(&v);
}

/* Two series of three tilts, two particles each, one in each half-set. */
static void project_make(void)
{
	char text[4096];
	memset(&g_fake, 0, sizeof g_fake);
	/* In memory where that is possible: each file is forced to the disk, which takes its time. */
	strcpy(g_fake.root,
	       access("/dev/shm", W_OK) == 0 ? "/dev/shm/cyc_cycle_XXXXXX" : "/tmp/cyc_cycle_XXXXXX");
	assert_non_null(mkdtemp(g_fake.root));
	g_fake.error = 1e-4;
	for (int i = 0; i < 16; i++) g_fake.quality[i] = 0.3 + 0.02 * i;
	put_file("tomograms.star", "\ndata_global\n\nloop_\n_rlnTomoName #1\n_rlnTomoTiltSeriesStarFile "
	                           "#2\n_rlnVoltage #3\n_rlnSphericalAberration #4\n"
	                           "_rlnAmplitudeContrast #5\n_rlnTomoTiltSeriesPixelSize #6\n_rlnTomoHand "
	                           "#7\n_rlnTomoSizeX #8\n_rlnTomoSizeY #9\n_rlnTomoSizeZ #10\n"
	                           "TS_1 tilt_series/TS_1.star 300 2.7 0.1 2.0 -1 64 64 32\nTS_2 "
	                           "tilt_series/TS_2.star 300 2.7 0.1 2.0 -1 64 64 32\n\n");
	for (int s = 1; s <= N_SERIES; s++) {
		char name[64];
		int n = snprintf(text, sizeof text,
		                 "\ndata_TS_%d\n\nloop_\n_rlnMicrographName #1\n_rlnMicrographPreExposure "
		                 "#2\n_rlnTomoXTilt #3\n_rlnTomoYTilt #4\n"
		                 "_rlnTomoZRot #5\n_rlnTomoXShiftAngst #6\n_rlnTomoYShiftAngst #7\n_rlnDefocusU "
		                 "#8\n_rlnDefocusV #9\n_rlnDefocusAngle #10\n"
		                 "_rlnCtfScalefactor #11\n",
		                 s);
		for (int t = 0; t < N_TILTS; t++) {
			n += snprintf(text + n, sizeof text - (size_t)n,
			              "frames/TS_%d_%d.mrc %d 0 %d 85 0 0 30000 29000 10 0.9\n", s, t, 3 * t, 3 * t - 3);
			snprintf(name, sizeof name, "frames/TS_%d_%d.mrc", s, t);
			put_image(name);
		}
		snprintf(text + n, sizeof text - (size_t)n, "\n");
		snprintf(name, sizeof name, "tilt_series/TS_%d.star", s);
		put_file(name, text);
	}
	put_file(
		"particles.star",
		"\ndata_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnOpticsGroupName #2\n_rlnVoltage "
		"#3\n_rlnSphericalAberration #4\n"
		"_rlnAmplitudeContrast #5\n_rlnTomoTiltSeriesPixelSize #6\n1 one 300 2.7 0.1 2.0\n\n"
		"\ndata_particles\n\nloop_\n_rlnTomoName #1\n_rlnTomoParticleName #2\n_rlnOpticsGroup "
		"#3\n_rlnCenteredCoordinateXAngst #4\n"
		"_rlnCenteredCoordinateYAngst #5\n_rlnCenteredCoordinateZAngst #6\n_rlnRandomSubset #7\n"
		"_rlnAngleRot #8\n_rlnAngleTilt #9\n_rlnAnglePsi #10\n"
		"TS_1 TS_1/1 1 0 0 0 1 10 20 30\nTS_1 TS_1/2 1 40 0 0 2 80 70 60\nTS_2 TS_2/1 1 0 0 0 1 -10 20 -30\n"
		"TS_2 TS_2/2 1 40 0 0 2 0 90 0\n\n");
}

static void project_remove(void)
{
	char command[128];
	snprintf(command, sizeof command, "rm -rf '%s'", g_fake.root);
	assert_int_equal(system(command), 0);
}

static cyc_cycle_options make_options(void)
{
	cyc_cycle_options o;
	cyc_cycle_options_default(&o);
	o.input.root = g_fake.root;
	o.input.particles = "particles.star";
	o.input.tomograms = "tomograms.star";
	o.out_dir = "RUN/";
	o.box_px = BOX;
	o.skip_polish = o.skip_refine = true; /* shorter; tests of these take it back */
	o.polish.do_motion = false;
	o.n_threads = 1;
	return o;
}

/* ---------------------------------------------------------------- fakes */

static cyc_status note_call(char letter, const char *set)
{
	cyc_status st = CYC_OK;
	size_t n = strlen(g_fake.calls);
	g_fake.calls[n] = letter;
	snprintf(g_fake.sets[n], sizeof g_fake.sets[n], "%s", set ? set : "");
	if (g_fake.stop_at == (int)n + 1) {
		if (g_fake.stop_how == STOP_KILL) kill(getpid(), SIGKILL);
		CYC_RAISE(CYC_E_IO, "the disk is full");
	}
done:
	return st;
}

static cyc_status write_set(char **out, const cyc_optimisation_set *set, const char *dir)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	CYC_TRY(cyc_path_join(&path, dir, "optimisation_set.star"));
	CYC_TRY(cyc_optimisation_set_write(set, in_root(path)));
	*out = path;
	path = NULL;
done:
	cyc_free(path);
	return st;
}

static cyc_status write_output(char **out, const char *dir, const char *name)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	CYC_TRY(cyc_path_join(&path, dir, name));
	CYC_TRY(cyc_write_file(in_root(path), path, strlen(path)));
	if (out) *out = path;
	else cyc_free(path);
	path = NULL;
done:
	cyc_free(path);
	return st;
}

static cyc_status write_map(const char *dir, const char *name)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	cyc_volume *v = NULL;
	CYC_TRY(cyc_path_join(&path, dir, name));
	CYC_TRY(cyc_volume_create(&v, BOX, BOX, BOX, 2.0));
	v->data[BOX / 2] = 1.0f;
	CYC_TRY(cyc_mrc_write(in_root(path), v, 2, NULL));
done:
	cyc_volume_destroy(&v);
	cyc_free(path);
	return st;
}

static cyc_status fake_reconstruct(cyc_reconstruct_result *r, const cyc_reconstruct_options *o)
{
	cyc_status st = CYC_OK;
	cyc_optimisation_set *set = NULL;
	*r = (cyc_reconstruct_result){ .n_particles = 4, .n_images = 12 };
	CYC_TRY(cyc_project_resolve(&set, &o->input));
	/* Half a job is done when it stops. */
	CYC_TRY(write_output(&r->half1, o->out_dir, "half1.mrc"));
	CYC_TRY(note_call('r', o->input.optimisation_set));
	CYC_TRY(write_output(&r->half2, o->out_dir, "half2.mrc"));
	CYC_TRY(write_output(&r->merged, o->out_dir, "merged.mrc"));
	cyc_free(set->reference_map1);
	cyc_free(set->reference_map2);
	set->reference_map1 = set->reference_map2 = NULL;
	CYC_TRY(cyc_strdup(&set->reference_map1, r->half1));
	CYC_TRY(cyc_strdup(&set->reference_map2, r->half2));
	CYC_TRY(write_set(&r->optimisation_set, set, o->out_dir));
done:
	cyc_optimisation_set_destroy(&set);
	return st;
}

/* Number of refinements behind a set: the job folder of the last is 3 i. */
static int generation_of(const char *tomograms)
{
	const char *job = strstr(tomograms, "/job");
	return job ? atoi(job + strlen("/job")) / 3 : 0;
}

static cyc_status fake_postprocess(cyc_postprocess_result *r, const cyc_postprocess_options *o)
{
	cyc_status st = CYC_OK;
	cyc_optimisation_set *set = NULL;
	char *dir = NULL;
	*r = (cyc_postprocess_result){ .n_shells = N_SHELLS, .bfactor_A2 = -80.0 };
	CYC_TRY(cyc_path_dir(&dir, o->out_root));
	CYC_TRY(note_call('p', o->optimisation_set));
	CYC_TRY(cyc_optimisation_set_read(&set, in_root(o->optimisation_set)));
	double quality = g_fake.quality[generation_of(set->tomograms)];
	CYC_TRY(cyc_alloc(&r->fsc_corrected, N_SHELLS, sizeof(double)));
	CYC_TRY(cyc_alloc(&r->fsc_unmasked, N_SHELLS, sizeof(double)));
	CYC_TRY(cyc_alloc(&r->fsc_judged, N_SHELLS, sizeof(double)));
	for (int i = 0; i < N_SHELLS; i++) {
		r->fsc_judged[i] = r->fsc_corrected[i] = 1.0 / (1.0 + exp(0.6 * (i - 20.0 * quality)));
		r->fsc_unmasked[i] = 0.9 * r->fsc_corrected[i];
		if (i > 0) r->mean_fsc += r->fsc_judged[i] / (N_SHELLS - 1);
	}
	r->edge_fsc = 0.01;
	r->edge_fsc_error = 0.02;
	r->are_halves_suspect = g_fake.are_halves_suspect;
	r->difference = r->difference_error = CYC_NAN;
	if (o->compare_to) {
		cyc_optimisation_set *other = NULL;
		CYC_TRY(cyc_optimisation_set_read(&other, in_root(o->compare_to)));
		r->difference = quality - g_fake.quality[generation_of(other->tomograms)];
		r->difference_error = g_fake.error;
		cyc_optimisation_set_destroy(&other);
	}
	if (g_fake.warning) cyc_warn("%s", g_fake.warning);
	r->final_resolution_A = 4.0 / quality;
	r->randomise_from_A = 10.0;
	CYC_TRY(write_output(&r->star, dir, "postprocess.star"));
	CYC_TRY(write_map(dir, "postprocess.mrc"));
	cyc_free(set->reference_fsc);
	CYC_TRY(cyc_strdup(&set->reference_fsc, r->star));
	CYC_TRY(write_set(&r->optimisation_set, set, dir));
done:
	cyc_optimisation_set_destroy(&set);
	cyc_free(dir);
	return st;
}

static cyc_status fake_ctfrefine(cyc_ctfrefine_result *r, const cyc_ctfrefine_options *o)
{
	cyc_status st = CYC_OK;
	cyc_optimisation_set *set = NULL;
	cyc_tomogram_set *tomograms = NULL;
	*r = (cyc_ctfrefine_result){
		.n_tilts = 6, .n_moved = 5, .n_flagged = 1, .defocus_change_rms_A = 123.0, .scale_change_rms = 0.05
	};
	CYC_TRY(note_call('c', o->input.optimisation_set));
	CYC_TRY(cyc_project_resolve(&set, &o->input));
	CYC_TRY(cyc_tomogram_set_read(&tomograms, in_root(set->tomograms), g_fake.root));
	for (int s = 0; s < tomograms->n_series; s++) {
		for (int t = 0; t < tomograms->series[s].n_tilts; t++)
			tomograms->series[s].tilts[t].defocus_u_A += 100.0 * (t + 1);
	}
	CYC_TRY(cyc_tomogram_set_write(tomograms, o->out_dir, g_fake.root, CYC_WRITE_DEFOCUS));
	CYC_TRY(cyc_path_join(&r->tomograms, o->out_dir, "tomograms.star"));
	cyc_free(set->tomograms);
	CYC_TRY(cyc_strdup(&set->tomograms, r->tomograms));
	if (g_fake.uncertainty) {
		char *path = NULL;
		CYC_TRY(cyc_path_join(&path, o->out_dir, "uncertainty.star"));
		put_file(path, g_fake.uncertainty);
		cyc_free(path);
	}
	CYC_TRY(write_set(&r->optimisation_set, set, o->out_dir));
done:
	cyc_tomogram_set_destroy(&tomograms);
	cyc_optimisation_set_destroy(&set);
	return st;
}

static cyc_status fake_polish(cyc_polish_result *r, const cyc_polish_options *o)
{
	cyc_status st = CYC_OK;
	cyc_optimisation_set *set = NULL;
	cyc_tomogram_set *tomograms = NULL;
	*r = (cyc_polish_result){
		.n_series = 2, .n_improved = 1, .shift_rms_A = 1.25, .position_rms_A = 0.5, .motion_rms_A = 0.25
	};
	CYC_TRY(note_call('m', o->input.optimisation_set));
	CYC_TRY(cyc_project_resolve(&set, &o->input));
	CYC_TRY(cyc_tomogram_set_read(&tomograms, in_root(set->tomograms), g_fake.root));
	CYC_TRY(cyc_tomogram_set_write(tomograms, o->out_dir, g_fake.root, CYC_WRITE_GEOMETRY));
	CYC_TRY(cyc_path_join(&r->tomograms, o->out_dir, "tomograms.star"));
	char **const entries[] = { &set->tomograms, &set->particles, &set->trajectories };
	size_t size;
	char *particles = NULL, *from = NULL;
	CYC_TRY(cyc_path_join(&from, g_fake.root, set->particles));
	st = cyc_read_file(&particles, &size, from);
	cyc_free(from);
	CYC_TRY(st);
	CYC_TRY(cyc_path_join(&r->particles, o->out_dir, "particles.star"));
	st = cyc_write_file(in_root(r->particles), particles, size);
	cyc_free(particles);
	CYC_TRY(st);
	if (o->do_motion) CYC_TRY(write_output(&r->trajectories, o->out_dir, "motion.star"));
	const char *const now[] = { r->tomograms, r->particles, r->trajectories };
	for (int i = 0; i < 3; i++) {
		if (!now[i]) continue;
		cyc_free(*entries[i]);
		*entries[i] = NULL;
		CYC_TRY(cyc_strdup(entries[i], now[i]));
	}
	CYC_TRY(write_set(&r->optimisation_set, set, o->out_dir));
done:
	cyc_tomogram_set_destroy(&tomograms);
	cyc_optimisation_set_destroy(&set);
	return st;
}

static cyc_status fake_refine3d(cyc_refine3d_result *r, const cyc_refine3d_options *o)
{
	cyc_status st = CYC_OK;
	cyc_optimisation_set *set = NULL;
	char *particles = NULL, *from = NULL;
	size_t size;
	*r = (cyc_refine3d_result){ .n_particles = 10,
		                        .n_iterations = 2,
		                        .rotation_error_rad = cyc_deg_to_rad(0.25),
		                        .offset_error_A = 0.5 };
	CYC_TRY(note_call('o', o->input.optimisation_set));
	CYC_TRY(cyc_project_resolve(&set, &o->input));
	CYC_TRY(cyc_path_join(&from, g_fake.root, set->particles));
	CYC_TRY(cyc_read_file(&particles, &size, from));
	CYC_TRY(cyc_path_join(&r->particles, o->out_dir, "run_data.star"));
	if (g_fake.refined_particles) put_file(r->particles, g_fake.refined_particles);
	else CYC_TRY(cyc_write_file(in_root(r->particles), particles, size));
	cyc_free(set->particles);
	set->particles = NULL;
	CYC_TRY(cyc_strdup(&set->particles, r->particles));
	CYC_TRY(write_set(&r->optimisation_set, set, o->out_dir));
done:
	cyc_free(particles);
	cyc_free(from);
	cyc_optimisation_set_destroy(&set);
	return st;
}

static const cyc_cycle_ops FAKES = {
	fake_reconstruct, fake_postprocess, fake_ctfrefine, fake_polish, fake_refine3d, NULL, NULL
};

static cyc_status run_cycle(cyc_cycle_result *result, const cyc_cycle_options *o)
{
	memset(g_fake.calls, 0, sizeof g_fake.calls);
	return cyc_cycle_run(result, o, &FAKES);
}

#endif
