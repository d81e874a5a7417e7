/*
 * The job: files in, files out. Widths of priors and amplitudes of shells are learned from a few series. Then
 * each series is read once, fitted and released, so that memory does not grow with the data set.
 */
#include "cyclotomo/ctfrefine.h"

#include "cyclotomo/record.h"
#include "ctfrefine/aberration_output.h"
#include "ctfrefine/figures.h"
#include "ctfrefine/learned.h"
#include "ctfrefine/self_correlation.h"
#include "ctfrefine/sums_exchange.h"
#include "ctfrefine/tilt_result.h"
#include "reference/refine_input.h"
#include "project/labels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void cyc_ctfrefine_options_default(cyc_ctfrefine_options *o)
{
	*o = (cyc_ctfrefine_options){ .n_threads = 1 };
	cyc_options_set_defaults(o, &cyc_ctfrefine_table);
}

void cyc_ctfrefine_result_deinit(cyc_ctfrefine_result *r)
{
	cyc_free(r->tomograms);
	cyc_free(r->particles);
	cyc_free(r->optimisation_set);
	memset(r, 0, sizeof *r);
}

typedef struct {
	const cyc_ctfrefine_options *o;
	cyc_refine_input in;
	cyc_backend *be;
	cyc_reference *reference;
	cyc_ctf_support *support;
	cyc_ctf_model *model;
	cyc_ctf_pass *pass;
	cyc_ctf_widths widths;
	double gauge;
	uint64_t hash;
	bool is_refined;              /* the tables are those of a refinement of CTFs */
	cyc_tilt_result **results;    /* n_series, NULL where there are no particles */
	cyc_aberrations *aberrations; /* NULL: not asked for */
	cyc_aberration_tally tally;
	cyc_aberration_evidence *evidence; /* n_optics: of the present series */
	bool *was_learned;                 /* n_optics: before the present series */
	cyc_stretch_model *stretch; /* n_optics x 2: sum over the series; NULL: magnification is not asked for */
	cyc_share share;
	bool *is_chosen; /* n_series: series that common parameters are learned from */
	cyc_ctfrefine_result *result;
} job;

static bool has_particles(const job *j, int32_t i) { return cyc_refine_n_particles(&j->in, i) > 0; }

static bool wants_aberrations(const cyc_ctfrefine_options *o)
{
	return o->do_even_aberrations || o->do_odd_aberrations;
}
static bool wants_optics(const cyc_ctfrefine_options *o)
{
	return wants_aberrations(o) || o->do_magnification;
}
static bool wants_tilts(const cyc_ctfrefine_options *o)
{
	return o->do_defocus || o->do_scale || o->do_bfactor;
}

cyc_status cyc_ctfrefine_options_hash(uint64_t *h, const cyc_ctfrefine_options *o)
{
	*h = cyc_hash_string(*h, cyc_backend_of_bits(o->backend));
	/* Kept results of a series may lack its figures. */
	if (wants_aberrations(o)) *h = cyc_hash_string(*h, o->no_figures ? "no figures" : "figures");
	return cyc_options_hash(h, o, &cyc_ctfrefine_table, CYC_OPTIONS_UNFINISHED);
}

static cyc_refine_request request_of(const cyc_ctfrefine_options *o)
{
	return (cyc_refine_request){ .project = &o->input,
		                         .ref1 = o->ref1,
		                         .ref2 = o->ref2,
		                         .mask = o->mask,
		                         .fsc = o->fsc,
		                         .out_dir = o->out_dir,
		                         .box_px = o->box_px,
		                         .is_partial = !o->whole_windows };
}

static cyc_status check_options(const cyc_ctfrefine_options *o)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_options_check(o, &cyc_ctfrefine_table));
	CYC_CHECK(wants_tilts(o) || wants_optics(o), CYC_E_USAGE,
	          "nothing to refine: defocus, scale, B-factors, aberrations and magnification are all off");
	CYC_CHECK(o->do_scale || o->scale_model == CYC_SCALE_TILT, CYC_E_USAGE,
	          "--scale-model needs scales to be refined, but --skip-scale is given");
	CYC_CHECK(!o->do_even_aberrations || (o->even_order >= 4 && o->even_order <= 8 && o->even_order % 2 == 0),
	          CYC_E_USAGE, "the highest order of even aberrations must be 4, 6 or 8, got %d", o->even_order);
	CYC_CHECK(!o->do_odd_aberrations || (o->odd_order >= 3 && o->odd_order <= 7 && o->odd_order % 2 == 1),
	          CYC_E_USAGE, "the highest order of odd aberrations must be 3, 5 or 7, got %d", o->odd_order);
done:
	return st;
}

/* Beyond what all refinements need, which reading the input checks. */
static cyc_status check_own(const cyc_ctfrefine_options *o, const cyc_project_view *p)
{
	cyc_status st = CYC_OK;
	double pixel_size_A = p->tomograms->series[cyc_particle_set_first_series(p->particles)].pixel_size_A;
	CYC_TRY(cyc_backend_check(o->backend));
	CYC_CHECK(o->k_min_A > 2 * pixel_size_A, CYC_E_USAGE,
	          "the lowest resolution used (--kmin) must be lower than the Nyquist resolution of %.4g Å "
	          "pixels, %.4g Å, got %g Å",
	          pixel_size_A, 2 * pixel_size_A, o->k_min_A);
done:
	return st;
}

cyc_status cyc_ctfrefine_check(const cyc_ctfrefine_options *o, const cyc_project_view *p)
{
	cyc_status st = CYC_OK;
	const cyc_refine_request request = request_of(o);
	CYC_TRY(check_options(o));
	CYC_TRY(check_own(o, p));
	CYC_TRY(cyc_refine_check(&request, p));
done:
	return st;
}

static cyc_status read_input(job *j)
{
	cyc_status st = CYC_OK;
	const cyc_ctfrefine_options *o = j->o;
	const cyc_refine_request request = request_of(o);
	CYC_TRY(check_options(o));
	CYC_TRY(cyc_refine_input_read(&j->in, &request));
	const cyc_project_view view = cyc_refine_view(&j->in);
	CYC_TRY(check_own(o, &view));
	CYC_TRY(cyc_refine_require_tilts(&j->in, o->min_tilt, o->max_tilt));
	CYC_CHECK(!o->part || !o->part[0] || !o->images, CYC_E_USAGE,
	          "a job that keeps images for another one cannot be dealt (--part)");
	CYC_TRY(cyc_share_create(&j->share, o->part, j->in.tomograms, j->in.particles));
	cyc_info("%lld particles in %d tilt series, box %d px of %.4g Å, %d thread%s",
	         (long long)j->in.particles->n, j->in.tomograms->n_series, o->box_px, j->in.box.pixel_size_A,
	         o->n_threads, cyc_plural(o->n_threads));
done:
	return st;
}

/* Values already refined on these images are not independent of them; the original ones may be in the
 * tables. */
static cyc_status recall_inputs(job *j)
{
	static const char *const LABELS[] = { CYC_OWN_INPUT_DEFOCUS_U, CYC_OWN_INPUT_DEFOCUS_V,
		                                  CYC_OWN_INPUT_DEFOCUS_ANGLE, CYC_OWN_INPUT_CTF_SCALEFACTOR };
	cyc_status st = CYC_OK;
	bool has_all = true, found;
	double v = 0;
	CYC_TRY(cyc_job_made_it(&j->is_refined, j->in.tomograms->path, j->in.root, "relion.ctfrefinetomo"));
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++) {
		CYC_TRY(cyc_tilt_input_get(&found, &v, j->in.tomograms, i, 0, CYC_OWN_INPUT_IS_REFINED));
		j->is_refined = j->is_refined || found;
		for (int32_t f = 0; f < j->in.tomograms->series[i].n_tilts; f++)
			for (size_t k = 0; k < sizeof LABELS / sizeof *LABELS; k++) {
				CYC_TRY(cyc_tilt_input_get(&found, &v, j->in.tomograms, i, f, LABELS[k]));
				if (found) j->hash = cyc_hash(j->hash, &v, sizeof v);
				has_all = has_all && found;
			}
	}
	j->hash = cyc_hash(j->hash, &j->is_refined, sizeof j->is_refined);
	if (has_all)
		cyc_info("the tables contain the CTFs from before their first refinement: these are taken as the "
		         "input (columns %s, ...)",
		         LABELS[0]);
	else if (j->is_refined)
		cyc_info("the CTFs were already refined against the images: they are not taken as independent input");
done:
	return st;
}

static cyc_status prepare_aberrations(job *j, double wavelength_A)
{
	cyc_status st = CYC_OK;
	const cyc_ctfrefine_options *o = j->o;
	int32_t n_groups = j->in.particles->n_optics;
	CYC_TRY(cyc_aberrations_create(&j->aberrations, j->model, wavelength_A,
	                               o->do_even_aberrations ? o->even_order : 0,
	                               o->do_odd_aberrations ? o->odd_order : 0, o->do_defocus, n_groups));
	CYC_TRY(cyc_aberration_tally_create(&j->tally, j->aberrations, !o->no_figures));
	CYC_TRY(cyc_aberration_evidence_create(&j->evidence, j->aberrations, !o->no_figures));
	CYC_TRY(cyc_alloc(&j->was_learned, n_groups, sizeof *j->was_learned));
done:
	return st;
}

/* What the job takes of a device. */
typedef struct {
	const cyc_ctfrefine_options *o;
	cyc_project_size size;
	int32_t map_px, radius;
} device_needs;

static double device_bytes(const void *needs, size_t batch_bytes)
{
	const device_needs *n = needs;
	return cyc_ctfrefine_device_bytes(n->o, &n->size, n->map_px, n->radius, batch_bytes);
}

static cyc_status prepare(job *j)
{
	cyc_status st = CYC_OK;
	const cyc_ctfrefine_options *o = j->o;
	double length_A = o->box_px * j->in.box.pixel_size_A, k_min = length_A / o->k_min_A;
	CYC_TRY(cyc_refine_hash(&j->hash, &j->in, "ctfrefine"));
	CYC_TRY(cyc_ctfrefine_options_hash(&j->hash, o));
	CYC_TRY(recall_inputs(j));
	CYC_TRY(cyc_refine_reference(&j->reference, &j->in, j->be, o->frequency_cutoff_A));
	CYC_CHECK(k_min < j->reference->radius, CYC_E_DATA,
	          "the reference reaches only %.1f Å, lower than the lowest resolution used (--kmin), %.1f Å",
	          length_A / j->reference->radius, o->k_min_A);
	CYC_TRY(cyc_ctf_support_create(&j->support, o->box_px, k_min, j->reference->radius, 1 / length_A));
	double wavelength_A = cyc_electron_wavelength_A(j->in.tomograms->series[j->in.first_series].voltage_kV);
	CYC_TRY(cyc_ctf_model_create(&j->model, j->support, wavelength_A, o->defocus_range_A));
	const cyc_ctf_pass_options pass = { .cutoff_frac = o->cutoff_frac,
		                                .common_noise = o->common_noise,
		                                .has_parts = wants_aberrations(o),
		                                .has_magnification = o->do_magnification,
		                                .k_min_index = k_min,
		                                .images = o->images,
		                                .most_particles = cyc_particle_set_most(j->in.particles) };
	CYC_TRY(cyc_ctf_pass_create(&j->pass, j->be, &j->in.box, j->reference, &pass));
	if (o->do_magnification)
		CYC_TRY(cyc_alloc(&j->stretch, 2 * (size_t)j->in.particles->n_optics, sizeof *j->stretch));
	if (wants_aberrations(o)) CYC_TRY(prepare_aberrations(j, wavelength_A));
	j->widths = cyc_ctf_widths_default();
	if (o->sigma_defocus_A > 0) {
		j->widths.z_input_A = o->sigma_defocus_A;
		j->widths.z_input_is_given = true;
	}
	if (o->sigma_astigmatism_A > 0) {
		j->widths.a_input_A = o->sigma_astigmatism_A;
		j->widths.a_input_is_given = true;
	}
	cyc_info("reference: %d px map to %.2f Å, %d coefficients above %.1f Å; defocus search +-%.0f Å",
	         j->reference->box_px, length_A / j->reference->radius, j->support->n, o->k_min_A,
	         o->defocus_range_A);
done:
	return st;
}

static cyc_ctf_estimate_options estimate_options(const job *j, bool learn)
{
	return (cyc_ctf_estimate_options){ .do_defocus = j->o->do_defocus,
		                               .do_scale = j->o->do_scale,
		                               .learn = learn,
		                               .n_threads = j->o->n_threads,
		                               .do_bfactor = j->o->do_bfactor,
		                               .has_ice_prior = j->o->scale_model == CYC_SCALE_ICE };
}

static int32_t last_tilt_of(const job *j, const cyc_tilt_series *ts)
{
	return j->o->max_tilt >= 0 && j->o->max_tilt < ts->n_tilts ? j->o->max_tilt : ts->n_tilts - 1;
}

/* @param[in] only  these tilts; NULL: all that are asked for */
static cyc_status collect(cyc_series_sums **sums, job *j, int32_t i, const cyc_tilt_range *only)
{
	cyc_tilt_series *ts = &j->in.tomograms->series[i];
	int32_t tilts[2] = { j->o->min_tilt, last_tilt_of(j, ts) };
	/* To learn, those that were chosen are read, by all ranks. */
	const bool *which = !only ? j->share.is_own : cyc_ranks_in_job() > 1 ? NULL : j->is_chosen;
	cyc_ctf_pass_expect(j->pass, cyc_tilt_series_after(j->in.tomograms, j->in.particles, which, i));
	if (only && tilts[0] < only->first) tilts[0] = only->first;
	if (only && tilts[1] >= only->end) tilts[1] = only->end - 1;
	return cyc_ctf_pass_series(sums, j->pass, j->support, ts, j->in.particles, i, tilts, j->in.root);
}

/* Evidence of a series about the aberrations after its fit: written to disk, and summed over all series
 * later. */
static cyc_status store_evidence(job *j, int32_t i, const cyc_series_fit *fit, const cyc_series_sums *sums)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	cyc_aberration_evidence_clear(j->evidence, j->aberrations);
	CYC_TRY(cyc_aberrations_collect(j->evidence, j->aberrations, fit, &sums, 1, &j->widths, j->o->do_scale,
	                                j->o->n_threads));
	CYC_TRY(
		cyc_aberrations_draw(j->evidence, j->aberrations, fit, &sums, 1, j->o->do_scale, j->o->n_threads));
	CYC_TRY(cyc_asprintf(&path, "%stemp/%s.aberrations", j->in.out, j->in.tomograms->series[i].file_name));
	CYC_TRY(cyc_aberration_record_write(path, j->aberrations, j->evidence, j->was_learned, j->hash));
done:
	cyc_free(path);
	return st;
}

static void add_stretch(job *j, const cyc_stretch_model *from)
{
	for (int32_t i = 0; i < 2 * j->in.particles->n_optics; i++) {
		cyc_stretch_model *to = &j->stretch[i];
		to->n_particles += from[i].n_particles;
		for (int a = 0; a < CYC_N_STRETCH; a++) {
			to->g[a] += from[i].g[a];
			for (int b = 0; b < CYC_N_STRETCH; b++) to->H[a][b] += from[i].H[a][b];
		}
	}
}

static cyc_status store_stretch(job *j, int32_t i, const cyc_stretch_model *models)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	CYC_TRY(cyc_asprintf(&path, "%stemp/%s.magnification", j->in.out, j->in.tomograms->series[i].file_name));
	CYC_TRY(cyc_magnification_record_write(path, models, j->in.particles->n_optics, j->hash));
done:
	cyc_free(path);
	return st;
}

static cyc_status store(job *j, int32_t i, const cyc_series_fit *fit, const cyc_series_sums *sums)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &j->in.tomograms->series[i];
	const cyc_ctf_estimate_options what = estimate_options(j, false);
	char *path = NULL;
	CYC_TRY(cyc_alloc(&j->results[i], ts->n_tilts, sizeof *j->results[i]));
	const int32_t tilts[2] = { j->o->min_tilt, last_tilt_of(j, ts) };
	cyc_tilt_results_from_fit(j->results[i], ts, fit, sums, &j->widths, j->gauge, &what, tilts);
	if (j->aberrations) CYC_TRY(store_evidence(j, i, fit, sums));
	if (j->stretch) CYC_TRY(store_stretch(j, i, sums->stretch));
	CYC_TRY(cyc_asprintf(&path, "%stemp/%s.ctf", j->in.out, ts->file_name));
	CYC_TRY(cyc_tilt_results_write(path, j->results[i], ts->n_tilts, j->hash));
done:
	cyc_free(path);
	return st;
}

/* Series to learn from: those with most particles, as many as fit in memory; order of the file. */
static cyc_status choose_learning(job *j)
{
	cyc_status st = CYC_OK;
	int32_t n_series = j->in.tomograms->n_series;
	double memory = 0;
	CYC_TRY(cyc_alloc(&j->is_chosen, n_series, sizeof *j->is_chosen));
	for (int n = 0; n < CYC_MAX_LEARNING_SERIES; n++) {
		int32_t best = -1;
		int64_t most = 0;
		for (int32_t i = 0; i < n_series; i++) {
			int64_t count = j->in.particles->series_first[i + 1] - j->in.particles->series_first[i];
			if (j->is_chosen[i] || count <= most) continue;
			most = count;
			best = i;
		}
		if (best < 0) break;
		memory += 4.0 * CYC_N_SUMS * j->support->n * j->in.tomograms->series[best].n_tilts *
		          (j->aberrations ? 3 : 1);
		if (n > 0 && memory > CYC_LEARNING_BYTES) break;
		j->is_chosen[best] = true;
	}
done:
	return st;
}

/* The mean log scale of the data set stays: images determine only the product of map and scale, and a
 * drift would never end. */
static void set_gauge(job *j, const cyc_series_fit *fits, int32_t n)
{
	double sum = 0, count = 0;
	for (int32_t i = 0; i < n; i++)
		for (int32_t f = 0; f < fits[i].n_tilts; f++) {
			if (!fits[i].tilts[f].has_data || fits[i].tilts[f].p_bad > 0.5) continue;
			sum += fits[i].tilts[f].log_s;
			count++;
		}
	j->gauge = j->o->do_scale && count > 0 ? exp(-sum / count) : 1;
	if (j->o->do_scale)
		cyc_info("images have on average %.3f times the predicted contrast; this common factor is not "
		         "included in the scales",
		         1 / j->gauge);
}

/* Those of the groups that these series have and that are not known yet; was_learned remembers which were. */
static cyc_status learn_aberrations(job *j, cyc_series_fit *fits, cyc_series_sums *const *sums, int32_t n,
                                    const cyc_ctf_estimate_options *o)
{
	for (int32_t g = 0; g < j->aberrations->n_groups; g++)
		j->was_learned[g] = j->aberrations->groups[g].is_learned;
	return cyc_aberrations_learn(j->aberrations, fits, &j->widths, j->model, sums, n, o);
}

/* Fits and estimates of the remaining self-correlation in turn, since each hides part of the other. */
static cyc_status learn_tilts(job *j, cyc_series_fit *fits, cyc_series_sums *const *sums, int32_t n)
{
	static const int ROUNDS[] = { 2, 1, 1 };
	enum { N_STAGES = sizeof ROUNDS / sizeof *ROUNDS };
	cyc_status st = CYC_OK;
	cyc_ctf_estimate_options o = estimate_options(j, true);
	for (int stage = 0; stage < N_STAGES; stage++) {
		cyc_self_excess left;
		o.n_rounds = ROUNDS[stage];
		CYC_TRY(cyc_ctf_estimate(fits, &j->widths, j->model, (const cyc_series_sums *const *)sums, n, &o));
		if (stage == N_STAGES - 1 || !j->o->do_defocus) continue;
		CYC_TRY(cyc_self_excess_measure(&left, fits, j->model, (const cyc_series_sums *const *)sums, n,
		                                j->o->n_threads));
		for (int32_t k = 0; k < n; k++) cyc_self_excess_take(sums[k], j->support->n, left.value);
		j->widths.self_excess += left.value;
		cyc_debug("remaining self-correlation: %+.3f +- %.3f of the total", left.value, left.error);
	}
done:
	return st;
}

/* Which tilts of the chosen series this rank collects. Sums over tilts have one order, so a series is not
 * divided where there are any. */
static cyc_status deal_learning(cyc_tilt_range **own, const job *j)
{
	cyc_status st = CYC_OK;
	const cyc_tomogram_set *tomograms = j->in.tomograms;
	int32_t *owner = NULL;
	if (!j->o->common_noise && !j->stretch)
		return cyc_project_deal_tilts(own, tomograms, j->in.particles, j->is_chosen);
	CYC_TRY(cyc_project_deal(&owner, tomograms, j->in.particles, j->is_chosen));
	CYC_TRY(cyc_alloc(own, tomograms->n_series, sizeof **own));
	for (int32_t i = 0; i < tomograms->n_series; i++)
		(*own)[i].end = owner[i] == cyc_rank() ? tomograms->series[i].n_tilts : 0;
done:
	cyc_free(owner);
	return st;
}

/* What the series that all is learned from say: all of it on rank 0, nothing on the others. */
typedef struct {
	int32_t n, *index;
	cyc_series_sums **sums;
	cyc_series_fit *fits;
} lesson;

static void lesson_deinit(lesson *l)
{
	for (int32_t k = 0; k < l->n; k++) {
		if (l->sums) cyc_series_sums_destroy(&l->sums[k]);
		if (l->fits) cyc_series_fit_deinit(&l->fits[k]);
	}
	cyc_free(l->sums);
	cyc_free(l->fits);
	cyc_free(l->index);
}

static cyc_status read_lesson(lesson *l, job *j)
{
	cyc_status st = CYC_OK;
	int32_t n_series = j->in.tomograms->n_series, n = 0;
	cyc_tilt_range *own = NULL;
	for (int32_t i = 0; i < n_series; i++) n += j->is_chosen[i];
	CYC_TRY(cyc_alloc(&l->index, n, sizeof *l->index));
	CYC_TRY(cyc_alloc(&l->sums, n, sizeof *l->sums));
	CYC_TRY(cyc_alloc(&l->fits, n, sizeof *l->fits));
	l->n = n;
	CYC_TRY(deal_learning(&own, j));
	for (int32_t i = 0, k = 0; i < n_series; i++) {
		if (!j->is_chosen[i]) continue;
		l->index[k] = i;
		CYC_TRY(collect(&l->sums[k], j, i, &own[i]));
		k++;
		cyc_progress("reading tilt series", k, n);
	}
	/* After all is read: rank 0 has to wait for the others once. */
	for (int32_t k = 0; k < n; k++)
		CYC_TRY(cyc_series_sums_to_first_rank(l->sums[k], j->support, 2 * j->in.particles->n_optics));
	CYC_TRY(cyc_ranks_relay_warnings());
	if (!cyc_is_first_rank()) goto done;
	for (int32_t k = 0; k < n; k++) {
		int32_t i = l->index[k];
		CYC_TRY(cyc_series_fit_init(&l->fits[k], &j->in.tomograms->series[i], l->sums[k], j->model));
		CYC_TRY(cyc_series_fit_recall(&l->fits[k], j->in.tomograms, i, j->is_refined));
	}
done:
	cyc_free(own);
	return st;
}

static cyc_status learn(job *j)
{
	cyc_status st = CYC_OK;
	lesson l = { 0 };
	CYC_TRY(read_lesson(&l, j));
	if (!cyc_is_first_rank()) goto done;
	const cyc_ctf_estimate_options o = estimate_options(j, true);
	CYC_TRY(learn_tilts(j, l.fits, l.sums, l.n));
	if (j->aberrations) CYC_TRY(learn_aberrations(j, l.fits, l.sums, l.n, &o));
	set_gauge(j, l.fits, l.n);
	for (int32_t k = 0; k < l.n; k++) CYC_TRY(store(j, l.index[k], &l.fits[k], l.sums[k]));
	if (j->o->do_defocus)
		cyc_info("estimated errors of the input: defocus %.0f Å (at zero tilt), astigmatism %.0f Å; scatter "
		         "about the trend of the series: %.0f Å, %.0f Å",
		         j->widths.z_input_A, j->widths.a_input_A, j->widths.z_trend_A, j->widths.a_trend_A);
done:
	lesson_deinit(&l);
	return st;
}

static cyc_status fit_series(job *j, int32_t i)
{
	cyc_status st = CYC_OK;
	cyc_series_sums *sums = NULL;
	cyc_series_fit fit = { 0 };
	const cyc_ctf_estimate_options o = estimate_options(j, false);
	CYC_TRY(collect(&sums, j, i, NULL));
	CYC_TRY(cyc_series_fit_init(&fit, &j->in.tomograms->series[i], sums, j->model));
	CYC_TRY(cyc_series_fit_recall(&fit, j->in.tomograms, i, j->is_refined));
	cyc_self_excess_take(sums, j->support->n, j->widths.self_excess);
	if (j->aberrations) CYC_TRY(cyc_aberrations_apply(&sums, 1, j->aberrations, j->o->n_threads));
	CYC_TRY(cyc_ctf_estimate(&fit, &j->widths, j->model, (const cyc_series_sums *const *)&sums, 1, &o));
	if (j->aberrations) CYC_TRY(learn_aberrations(j, &fit, &sums, 1, &o));
	CYC_TRY(store(j, i, &fit, sums));
done:
	cyc_series_sums_destroy(&sums);
	cyc_series_fit_deinit(&fit);
	return st;
}

/* The groups of a series are known then, too. */
static cyc_status read_evidence(bool *found, job *j, int32_t i)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	cyc_aberration_evidence_clear(j->evidence, j->aberrations);
	CYC_TRY(cyc_asprintf(&path, "%stemp/%s.aberrations", j->in.out, j->in.tomograms->series[i].file_name));
	CYC_TRY(cyc_aberration_record_read(found, j->aberrations, j->evidence, j->was_learned, path, j->hash));
done:
	cyc_free(path);
	return st;
}

static cyc_status read_stretch(bool *found, job *j, cyc_stretch_model *models, int32_t i)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	CYC_TRY(cyc_asprintf(&path, "%stemp/%s.magnification", j->in.out, j->in.tomograms->series[i].file_name));
	CYC_TRY(cyc_magnification_record_read(found, models, j->in.particles->n_optics, path, j->hash));
done:
	cyc_free(path);
	return st;
}

/* All records of a series from an earlier run or another part; if one is missing, the series is not
 * finished. */
static cyc_status find_series(bool *found, job *j, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &j->in.tomograms->series[i];
	char *path = NULL;
	cyc_stretch_model *models = NULL;
	*found = false;
	CYC_TRY(cyc_alloc(&j->results[i], ts->n_tilts, sizeof *j->results[i]));
	CYC_TRY(cyc_asprintf(&path, "%stemp/%s.ctf", j->in.out, ts->file_name));
	CYC_TRY(cyc_tilt_results_read(found, j->results[i], ts->n_tilts, path, j->hash));
	if (*found && j->stretch) {
		CYC_TRY(cyc_alloc(&models, 2 * (size_t)j->in.particles->n_optics, sizeof *models));
		CYC_TRY(read_stretch(found, j, models, i));
	}
	if (*found && j->aberrations) CYC_TRY(read_evidence(found, j, i));
	if (*found) goto done;
	cyc_free(j->results[i]);
	j->results[i] = NULL;
done:
	cyc_free(models);
	cyc_free(path);
	return st;
}

static cyc_ctf_learned learned_of(job *j)
{
	return (cyc_ctf_learned){ j->model, &j->widths, &j->gauge, j->aberrations };
}

/* What was learned, with the results of the series that it was learned from: they were fitted together, and
 * are used together or not at all. */
static cyc_status find_learned(bool *found, job *j, const char *path)
{
	cyc_status st = CYC_OK;
	char *text = NULL;
	cyc_group_aberration *before = NULL;
	int32_t n_groups = j->aberrations ? j->aberrations->n_groups : 0;
	*found = false;
	const cyc_ctf_learned now = learned_of(j);
	CYC_TRY(cyc_ctf_learned_open(&text, path, j->hash));
	if (!text) goto done;
	CYC_TRY(cyc_alloc(&before, n_groups, sizeof *before));
	if (n_groups > 0) memcpy(before, j->aberrations->groups, (size_t)n_groups * sizeof *before);
	*found = true;
	for (int32_t i = 0; *found && i < j->in.tomograms->n_series; i++)
		if (j->is_chosen[i]) CYC_TRY(find_series(found, j, i));
	if (*found) cyc_ctf_learned_read(found, &now, text);
	if (*found) goto done;
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++) {
		cyc_free(j->results[i]);
		j->results[i] = NULL;
	}
	if (n_groups > 0) {
		memcpy(j->aberrations->groups, before, (size_t)n_groups * sizeof *before);
		cyc_aberrations_update(j->aberrations);
	}
done:
	cyc_free(before);
	cyc_free(text);
	return st;
}

/* Has a series an optics group that none before it had? Its aberrations are learned from this one, so that
 * later series need it, whichever part they belong to. */
static cyc_status has_new_group(bool *is_new, const job *j, int32_t i)
{
	cyc_status st = CYC_OK;
	bool *used = NULL;
	*is_new = false;
	if (!j->aberrations) return CYC_OK;
	CYC_TRY(cyc_alloc(&used, j->aberrations->n_groups, sizeof *used));
	cyc_optics_used(used, j->in.particles, i);
	for (int32_t g = 0; g < j->aberrations->n_groups; g++)
		*is_new = *is_new || (used[g] && !j->aberrations->groups[g].is_learned);
done:
	cyc_free(used);
	return st;
}

/* Series of this rank that nothing is learned from: without them a rank other than 0 is done. */
static bool has_more(const job *j)
{
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++)
		if (j->share.is_own[i] && !j->is_chosen[i]) return true;
	return cyc_is_first_rank();
}

/* What is learned from the chosen series: found, or learned now. On ranks rank 0 does that, and the others
 * read it. */
static cyc_status find_or_learn(bool *has_learned, job *j)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	bool is_found = true;
	int64_t is_earlier = 0;
	CYC_TRY(cyc_asprintf(&path, "%stemp/.learned.ctf", j->in.out));
	if (j->share.uses_records && cyc_is_first_rank()) {
		CYC_TRY(find_learned(has_learned, j, path));
		is_earlier = *has_learned;
	}
	if (j->share.is_on_ranks) CYC_TRY(cyc_ranks_broadcast(&is_earlier, sizeof is_earlier, 0));
	*has_learned = is_earlier != 0;
	if (!*has_learned) {
		cyc_log_keep();
		CYC_TRY(learn(j));
		const cyc_ctf_learned now = learned_of(j);
		if (cyc_is_first_rank()) CYC_TRY(cyc_ctf_learned_write(path, &now, j->hash));
		cyc_log_keep_end();
		CYC_TRY(cyc_share_meet(&j->share));
	}
	if (!cyc_is_first_rank() && has_more(j)) CYC_TRY(find_learned(&is_found, j, path));
	CYC_CHECK(
		is_found, CYC_E_IO,
		"'%s', which rank 0 has written, cannot be read on rank %d: all nodes must see the output folder "
		"under the same path",
		path, cyc_rank());
done:
	cyc_log_keep_end();
	cyc_free(path);
	return st;
}

static cyc_status refine_all(job *j)
{
	cyc_status st = CYC_OK;
	bool has_learned = false;
	int32_t n_series = j->in.tomograms->n_series;
	CYC_TRY(cyc_alloc(&j->results, n_series, sizeof *j->results));
	CYC_TRY(choose_learning(j));
	CYC_TRY(find_or_learn(&has_learned, j));
	if (!has_more(j)) goto done;
	for (int32_t i = 0; i < n_series; i++) {
		bool found = false, is_new;
		CYC_TRY(cyc_cancel_check());
		if (!has_particles(j, i)) continue;
		if (j->is_chosen[i]) {
			j->share.n_kept += has_learned && j->share.is_own[i];
			continue;
		}
		CYC_TRY(has_new_group(&is_new, j, i));
		if (!j->share.is_own[i] && !is_new) continue;
		if (has_learned) CYC_TRY(find_series(&found, j, i));
		j->share.n_kept += found && j->share.is_own[i];
		if (found) continue;
		cyc_log_keep();
		CYC_TRY(fit_series(j, i));
		cyc_log_keep_end();
		cyc_progress("refining", i + 1, n_series);
	}
done:
	cyc_log_keep_end();
	return st;
}

/* What the other ranks have computed, on rank 0. */
static cyc_status take_from_ranks(job *j)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_share_meet(&j->share));
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++) {
		bool found;
		if (j->is_chosen[i] || j->results[i] ||
		    !cyc_share_is_of_other_rank(&j->share, i, cyc_refine_n_particles(&j->in, i)))
			continue;
		CYC_TRY(find_series(&found, j, i));
		if (!found) CYC_TRY(cyc_share_miss(j->in.tomograms->series[i].name, j->in.out));
	}
done:
	return st;
}

/* Sums over the series, from their records: in one order, whoever computed them and when. First those that
 * all was learned from. */
static cyc_status add_up(job *j)
{
	cyc_status st = CYC_OK;
	cyc_stretch_model *models = NULL;
	bool found = true;
	CYC_TRY(cyc_alloc(&models, 2 * (size_t)j->in.particles->n_optics, sizeof *models));
	for (int pass = 0; pass < 2; pass++)
		for (int32_t i = 0; i < j->in.tomograms->n_series; i++) {
			if (!j->results[i] || j->is_chosen[i] != (pass == 0)) continue;
			if (j->stretch) CYC_TRY(read_stretch(&found, j, models, i));
			if (found && j->stretch) add_stretch(j, models);
			if (found && j->aberrations) CYC_TRY(read_evidence(&found, j, i));
			CYC_CHECK(found, CYC_E_IO, "a record of tilt series %s in '%stemp/' was changed during the run",
			          j->in.tomograms->series[i].name, j->in.out);
			if (j->aberrations)
				cyc_aberration_tally_add(&j->tally, j->aberrations, j->evidence, j->was_learned);
		}
done:
	cyc_free(models);
	return st;
}

/* ---------------------------------------------------------------- output */

static void warn_of_tilt(const job *j, const cyc_tilt_series *ts, int32_t f, const cyc_tilt_result *r)
{
	const char *image = ts->tilts[f].image ? ts->tilts[f].image : "";
	const char *done = r->scale == 0 ? "; its scale is set to 0" : "";
	if (r->status == CYC_TILT_BAD && r->is_blank)
		cyc_warn("tilt series %s, row %d (%s): bad: the image is constant at the particles%s", ts->name,
		         f + 1, image, done);
	else if (r->status == CYC_TILT_BAD)
		cyc_warn("tilt series %s, row %d (%s): bad with probability %.3f: its %lld particles should raise "
		         "the log-likelihood by %.0f and raise it by %.0f; no shift or defocus explains this%s",
		         ts->name, f + 1, image, r->p_bad, (long long)r->n_particles, r->expected_gain, r->found_gain,
		         done);
	if (r->status == CYC_TILT_SHIFTED)
		cyc_warn("tilt series %s, row %d (%s): all particles are %.1f, %.1f Å away from where they should "
		         "be; the shift of the tilt is corrected by that%s",
		         ts->name, f + 1, image, r->shift_A[0], r->shift_A[1],
		         fabs(r->defocus_change_A) > j->o->defocus_range_A ? "; its defocus was far off as well"
		                                                           : "");
	if (r->status == CYC_TILT_AT_LIMIT)
		cyc_warn("tilt series %s, row %d (%s): its defocus is beyond the search; the input is kept, with an "
		         "error of %.0f Å",
		         ts->name, f + 1, image, r->defocus_error_A);
}

void cyc_ctfrefine_describe(char *text, size_t size, const cyc_ctfrefine_result *r)
{
	const struct {
		int64_t n;
		const char *what;
		bool is_always;
	} parts[] = { { r->n_moved, "changed by more than two standard errors", true },
		          { r->n_confirmed, "agree with the input", true },
		          { r->n_from_trend, "follow mostly the trend of their series", true },
		          { r->n_shifted, "were elsewhere in their image", false },
		          { r->n_bad, "bad", false },
		          { r->n_at_limit, "at the limit of the search", false },
		          { r->n_no_particles, "without particles", false },
		          { r->n_excluded, "excluded", false },
		          { r->n_not_asked, "not asked for", false } };
	int n = snprintf(text, size, "%lld tilt%s: ", (long long)r->n_tilts, cyc_plural(r->n_tilts));
	bool is_first = true;
	for (size_t i = 0; i < sizeof parts / sizeof *parts && n > 0 && (size_t)n < size; i++) {
		if (parts[i].n == 0 && !parts[i].is_always) continue;
		n += snprintf(text + n, size - (size_t)n, "%s%lld %s", is_first ? "" : ", ", (long long)parts[i].n,
		              parts[i].what);
		is_first = false;
	}
}

static void count_results(job *j)
{
	double z2 = 0, s2 = 0, n = 0;
	int64_t count[CYC_N_TILT_STATUS] = { 0 };
	char text[400];
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++) {
		const cyc_tilt_series *ts = &j->in.tomograms->series[i];
		if (!j->results[i]) continue;
		for (int32_t f = 0; f < ts->n_tilts; f++) {
			const cyc_tilt_result *r = &j->results[i][f];
			count[r->status]++;
			warn_of_tilt(j, ts, f, r);
			if (r->status > CYC_TILT_WEAK) continue;
			z2 += cyc_square(r->defocus_change_A);
			s2 += cyc_square(log(r->scale_ratio));
			n++;
		}
	}
	j->result->n_moved = count[CYC_TILT_MOVED];
	j->result->n_confirmed = count[CYC_TILT_CONFIRMED];
	j->result->n_from_trend = count[CYC_TILT_WEAK];
	j->result->n_shifted = count[CYC_TILT_SHIFTED];
	j->result->n_bad = count[CYC_TILT_BAD];
	j->result->n_at_limit = count[CYC_TILT_AT_LIMIT];
	j->result->n_no_particles = count[CYC_TILT_NO_DATA];
	j->result->n_excluded = count[CYC_TILT_EXCLUDED];
	j->result->n_not_asked = count[CYC_TILT_NOT_ASKED];
	j->result->n_flagged = count[CYC_TILT_WEAK] + count[CYC_TILT_BAD] + count[CYC_TILT_AT_LIMIT] +
	                       count[CYC_TILT_NO_DATA] + count[CYC_TILT_EXCLUDED];
	for (int k = 0; k < CYC_N_TILT_STATUS; k++) j->result->n_tilts += count[k];
	j->result->defocus_change_rms_A = n > 0 ? sqrt(z2 / n) : 0;
	j->result->scale_change_rms = n > 0 ? sqrt(s2 / n) : 0;
	cyc_ctfrefine_describe(text, sizeof text, j->result);
	cyc_info("%s (tilt by tilt in refinement.txt)", text);
}

static cyc_status write_optimisation_set(job *j)
{
	cyc_status st = CYC_OK;
	/* The maps belong to the old CTFs. */
	const cyc_set_changes now = { .tomograms = j->result->tomograms, .particles = j->result->particles };
	CYC_TRY(cyc_asprintf(&j->result->optimisation_set, "%soptimisation_set.star", j->in.out_dir));
	CYC_TRY(cyc_optimisation_set_write_result(j->in.root, j->result->optimisation_set, j->in.set, &now));
done:
	return st;
}

/* The records of finished series have done their work once the results are written. */
static cyc_status remove_records(const job *j)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	for (int32_t i = -1; i < j->in.tomograms->n_series; i++) {
		static const char *const KINDS[] = { "ctf", "aberrations", "magnification" };
		for (int k = 0; k < 3; k++) {
			CYC_TRY(cyc_asprintf(&path, "%stemp/%s.%s", j->in.out,
			                     i < 0 ? ".learned" : j->in.tomograms->series[i].file_name, KINDS[k]));
			unlink(path);
			cyc_free(path);
			path = NULL;
		}
	}
	CYC_TRY(cyc_parts_forget(j->in.out));
	CYC_TRY(cyc_asprintf(&path, "%stemp", j->in.out));
	rmdir(path); /* stays if something else is in it */
done:
	cyc_free(path);
	return st;
}

/* Thickness of the ice from the scales that all images have; scales by its law where that is asked for.
 * (T4.24) */
static cyc_status fit_ice(job *j)
{
	cyc_status st = CYC_OK;
	int32_t n = j->in.tomograms->n_series;
	cyc_ice_series *ice = NULL;
	double log_input = 0, log_law = 0, gauge = j->gauge, count = 0;
	CYC_TRY(cyc_alloc(&ice, n, sizeof *ice));
	for (int32_t i = 0; i < n; i++) {
		const cyc_tilt_series *ts = &j->in.tomograms->series[i];
		CYC_TRY(cyc_ice_series_init(&ice[i], ts));
		if (j->o->scale_model == CYC_SCALE_GLOBAL) {
			CYC_CHECK(ts->fractional_dose_e_per_A2 > 0, CYC_E_DATA,
			          "tilt series %s: the dose per tilt is unknown, but is needed for one beam intensity "
			          "for all series",
			          ts->name);
			ice[i].dose = ts->fractional_dose_e_per_A2;
		}
		for (int32_t f = 0; j->results[i] && f < ts->n_tilts; f++) {
			ice[i].tilts[f].scale = j->results[i][f].scale_measured;
			ice[i].tilts[f].precision = j->results[i][f].scale_precision;
		}
	}
	CYC_TRY(cyc_ice_fit(ice, n, j->o->scale_model == CYC_SCALE_GLOBAL));
	/* The gauge as for scales per tilt: their mean logarithm over the data set stays what it was. */
	for (int32_t i = 0; i < n; i++)
		for (int32_t f = 0; j->results[i] && ice[i].is_fitted && f < ice[i].n_tilts; f++) {
			if (!(ice[i].tilts[f].precision > 0)) continue;
			log_input += log(j->in.tomograms->series[i].tilts[f].scale);
			log_law += log(cyc_ice_scale(NULL, &ice[i], f));
			count++;
		}
	if (j->o->scale_model != CYC_SCALE_ICE && count > 0) gauge = exp((log_input - log_law) / count);
	for (int32_t i = 0; i < n; i++) {
		const cyc_tilt_series *ts = &j->in.tomograms->series[i];
		if (!j->results[i]) continue;
		if (!ice[i].is_fitted) {
			cyc_warn("tilt series %s: too few tilts have particles to determine the ice thickness; scales "
			         "are refined tilt by tilt",
			         ts->name);
			continue;
		}
		cyc_tilt_results_take_ice(j->results[i], ts, &ice[i], gauge, j->o->scale_model == CYC_SCALE_ICE);
		cyc_info("tilt series %s: ice thickness %.3f +- %.3f mean free paths, its normal %.1f +- %.1f "
		         "degrees off the mean view",
		         ts->name, ice[i].thickness, sqrt(ice[i].covariance[1][1]), cyc_rad_to_deg(ice[i].angle_rad),
		         cyc_rad_to_deg(sqrt(ice[i].covariance[2][2])));
	}
	CYC_TRY(cyc_ice_put(j->in.tomograms, ice, gauge));
done:
	for (int32_t i = 0; ice && i < n; i++) cyc_ice_series_deinit(&ice[i]);
	cyc_free(ice);
	return st;
}

/*
 * Images show the map times its fall-off: the common part of all B-factors belongs to the map. The smallest
 * one among the better known half keeps its value; the others are mostly noise.
 */
static cyc_status gauge_bfactors(job *j)
{
	cyc_status st = CYC_OK;
	double lowest_in = 1e300, lowest = 1e300, *errors = NULL;
	size_t n = 0, most = 0;
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++)
		most += (size_t)j->in.tomograms->series[i].n_tilts;
	CYC_TRY(cyc_alloc(&errors, most, sizeof *errors));
	for (int pass = 0; pass < 3; pass++) {
		for (int32_t i = 0; i < j->in.tomograms->n_series; i++)
			for (int32_t f = 0; j->results[i] && f < j->in.tomograms->series[i].n_tilts; f++) {
				cyc_tilt_result *r = &j->results[i][f];
				if (isnan(r->bfactor_error_A2)) continue;
				if (pass == 0) errors[n++] = r->bfactor_error_A2;
				if (pass == 1 && r->bfactor_error_A2 <= errors[n / 2]) {
					lowest_in = fmin(lowest_in, j->in.tomograms->series[i].tilts[f].bfactor_A2);
					lowest = fmin(lowest, r->bfactor_A2);
				}
				if (pass == 2) {
					r->bfactor_A2 += lowest_in - lowest;
					r->bfactor_change_A2 += lowest_in - lowest;
				}
			}
		if (n == 0) break;
		if (pass == 0) cyc_sort(errors, n);
	}
done:
	cyc_free(errors);
	return st;
}

/* For later cycles, unless already those of an earlier cycle. */
static cyc_status keep_inputs(job *j, int32_t i)
{
	cyc_status st = CYC_OK;
	bool is_kept;
	double v;
	CYC_TRY(cyc_tilt_input_get(&is_kept, &v, j->in.tomograms, i, 0, CYC_OWN_INPUT_DEFOCUS_U));
	if (is_kept) goto done;
	if (j->is_refined) {
		CYC_TRY(cyc_tilt_input_keep(j->in.tomograms, i, CYC_OWN_INPUT_IS_REFINED, "", "1"));
		goto done;
	}
	CYC_TRY(cyc_tilt_input_keep(j->in.tomograms, i, CYC_OWN_INPUT_DEFOCUS_U, CYC_RLN_DEFOCUS_U, "0"));
	CYC_TRY(cyc_tilt_input_keep(j->in.tomograms, i, CYC_OWN_INPUT_DEFOCUS_V, CYC_RLN_DEFOCUS_V, "0"));
	CYC_TRY(cyc_tilt_input_keep(j->in.tomograms, i, CYC_OWN_INPUT_DEFOCUS_ANGLE, CYC_RLN_DEFOCUS_ANGLE, "0"));
	CYC_TRY(cyc_tilt_input_keep(j->in.tomograms, i, CYC_OWN_INPUT_CTF_SCALEFACTOR, CYC_RLN_CTF_SCALEFACTOR,
	                            "1.000000"));
done:
	return st;
}

static cyc_status write_tilts(job *j)
{
	cyc_status st = CYC_OK;
	const cyc_ctf_estimate_options what = estimate_options(j, false);
	char *path = NULL;
	if (j->o->scale_model != CYC_SCALE_TILT) CYC_TRY(fit_ice(j));
	if (j->o->do_bfactor) CYC_TRY(gauge_bfactors(j));
	count_results(j);
	CYC_TRY(cyc_asprintf(&path, "%suncertainty.star", j->in.out));
	CYC_TRY(cyc_uncertainty_write(path, j->in.tomograms, j->results, j->o->do_bfactor));
	cyc_free(path);
	CYC_TRY(cyc_asprintf(&path, "%srefinement.txt", j->in.out));
	CYC_TRY(cyc_ctf_table_write(path, j->in.tomograms, j->results, j->o->scale_model != CYC_SCALE_TILT));
	if (!j->o->no_figures)
		CYC_TRY(cyc_ctf_figures_write(j->in.out, j->in.tomograms, j->results, j->o->n_threads));
	unsigned written = (j->o->do_defocus ? CYC_WRITE_DEFOCUS : 0U) | (j->o->do_scale ? CYC_WRITE_SCALE : 0U) |
	                   (j->o->do_bfactor ? CYC_WRITE_BFACTOR : 0U);
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++) {
		if (!j->results[i]) continue;
		CYC_TRY(keep_inputs(j, i));
		cyc_tilt_results_apply(&j->in.tomograms->series[i], j->results[i], &what);
		for (int32_t f = 0; f < j->in.tomograms->series[i].n_tilts; f++)
			if (j->results[i][f].status == CYC_TILT_SHIFTED) written |= CYC_WRITE_GEOMETRY;
	}
	CYC_TRY(cyc_tomogram_set_write(j->in.tomograms, j->in.out_dir, j->in.root, written));
	CYC_TRY(cyc_asprintf(&j->result->tomograms, "%stomograms.star", j->in.out_dir));
done:
	cyc_free(path);
	return st;
}

static cyc_status write_aberrations(job *j)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	int32_t n_groups = j->aberrations->n_groups;
	cyc_aberration_result(*results)[CYC_N_PARITIES] = NULL;
	CYC_TRY(cyc_alloc(&results, n_groups, sizeof *results));
	CYC_TRY(cyc_aberration_results(results, j->aberrations, &j->tally));
	for (int32_t g = 0; g < n_groups; g++)
		for (int p = 0; p < CYC_N_PARITIES; p++) {
			const cyc_aberration_result *r = &results[g][p];
			if (!r->is_asked) continue;
			j->result->n_aberrations += r->is_written;
			if (r->is_written)
				cyc_info("optics group %s, %s aberrations: %.3f rad RMS to %.2f Å; log-likelihood gain in "
				         "the other half-set %.1f with %d terms",
				         j->in.particles->optics[g].name, p == CYC_EVEN ? "even" : "odd", r->rms_rad,
				         1 / j->aberrations->basis[p].k_max_invA, r->check.gain, r->check.n_free);
			else
				cyc_info("optics group %s, %s aberrations: none that both half-sets agree on (%.3f rad RMS, "
				         "log-likelihood gain %.1f); unchanged",
				         j->in.particles->optics[g].name, p == CYC_EVEN ? "even" : "odd", r->rms_rad,
				         r->check.gain);
		}
	CYC_TRY(cyc_aberration_results_apply(j->in.particles, results));
	CYC_TRY(cyc_asprintf(&path, "%saberrations.star", j->in.out));
	CYC_TRY(cyc_aberration_results_write(path, j->in.particles, j->aberrations, results));
	if (!j->o->no_figures)
		CYC_TRY(cyc_aberration_pictures_write(j->in.out, j->in.particles, j->aberrations, &j->tally));
done:
	cyc_free(results);
	cyc_free(path);
	return st;
}

static cyc_status write_magnification(job *j)
{
	cyc_status st = CYC_OK;
	int32_t n_groups = j->in.particles->n_optics;
	cyc_magnification_result *results = NULL;
	CYC_TRY(cyc_alloc(&results, n_groups, sizeof *results));
	CYC_TRY(cyc_magnification_results(results, j->stretch, n_groups));
	for (int32_t g = 0; g < n_groups; g++) {
		const cyc_magnification_result *r = &results[g];
		j->result->n_magnifications += r->is_written;
		if (r->is_written)
			cyc_info("optics group %s, magnification: x relative to y %+.4f +- %.4f, diagonal %+.4f +- %.4f; "
			         "log-likelihood gain in the other half-set %.1f",
			         j->in.particles->optics[g].name, 2 * r->stretch[1], 2 * r->error[1], 2 * r->stretch[2],
			         2 * r->error[2], r->gain);
		else
			cyc_info("optics group %s, magnification: no anisotropy that both half-sets agree on; unchanged",
			         j->in.particles->optics[g].name);
	}
	CYC_TRY(cyc_magnification_apply(j->in.particles, results));
done:
	cyc_free(results);
	return st;
}

static cyc_status write_particles(job *j)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	if (j->aberrations) CYC_TRY(write_aberrations(j));
	if (j->stretch) CYC_TRY(write_magnification(j));
	CYC_TRY(cyc_asprintf(&j->result->particles, "%sparticles.star", j->in.out_dir));
	CYC_TRY(cyc_path_join(&path, j->in.root, j->result->particles));
	CYC_TRY(cyc_star_write(j->in.particles->star, path));
done:
	cyc_free(path);
	return st;
}

static cyc_status write_all(job *j)
{
	cyc_status st = CYC_OK;
	if (wants_optics(j->o)) CYC_TRY(add_up(j));
	if (wants_optics(j->o)) CYC_TRY(write_particles(j));
	if (wants_tilts(j->o)) CYC_TRY(write_tilts(j));
	CYC_TRY(remove_records(j));
	CYC_TRY(write_optimisation_set(j)); /* last: it marks the output as complete */
done:
	return st;
}

static cyc_status run_here(cyc_ctfrefine_result *result, const cyc_ctfrefine_options *o)
{
	cyc_status st = CYC_OK;
	cyc_ctfrefine_result own = { 0 };
	job j = { .o = o, .gauge = 1, .result = result ? result : &own };
	device_needs needs = { .o = o };
	memset(j.result, 0, sizeof *j.result);
	CYC_TRY(cyc_lapack_prepare(o->n_threads));
	CYC_TRY(cyc_ctfrefine_spare_inputs(o, CYC_OUTPUT_RESULTS));
	CYC_TRY(read_input(&j));
	CYC_TRY(cyc_refine_plan(&needs.size, &needs.map_px, &needs.radius, &j.in, o->frequency_cutoff_A,
	                        o->n_threads));
	CYC_TRY(cyc_memory_require(
		cyc_ctfrefine_memory_bytes(o, &needs.size, needs.map_px, needs.radius), o->n_threads,
		"use a smaller box (--b), half maps of a smaller box, or fewer threads (--j)"));
	const cyc_device_plan on_device = { .bytes = device_bytes,
		                                .job = &needs,
		                                .less = "use a smaller box (--b), or half maps of a smaller box" };
	CYC_TRY(cyc_backend_open_for(&j.be, o->backend, o->n_threads, &on_device));
	CYC_TRY(prepare(&j));
	if (o->dry_run) goto done;
	CYC_TRY(cyc_make_dirs(j.in.out));
	CYC_TRY(cyc_share_begin(&j.share, j.in.out, j.hash, o->resume));
	CYC_TRY(refine_all(&j));
	CYC_TRY(take_from_ranks(&j));
	if (cyc_share_is_part(&j.share)) CYC_TRY(cyc_share_end(&j.result->part, &j.share, j.in.out, j.hash));
	else if (cyc_is_first_rank()) CYC_TRY(write_all(&j));
done:
	for (int32_t i = 0; j.results && i < j.in.tomograms->n_series; i++) cyc_free(j.results[i]);
	cyc_free(j.results);
	cyc_ctf_pass_destroy(&j.pass);
	if (j.aberrations) {
		cyc_aberration_tally_deinit(&j.tally, j.aberrations->n_groups);
		cyc_aberration_evidence_destroy(&j.evidence, j.aberrations->n_groups);
	}
	cyc_aberrations_destroy(&j.aberrations);
	cyc_share_deinit(&j.share);
	cyc_free(j.is_chosen);
	cyc_free(j.was_learned);
	cyc_free(j.stretch);
	cyc_ctf_model_destroy(&j.model);
	cyc_ctf_support_destroy(&j.support);
	cyc_reference_destroy(&j.reference);
	cyc_backend_close(&j.be);
	cyc_refine_input_deinit(&j.in);
	cyc_ctfrefine_result_deinit(&own);
	return st;
}

cyc_status cyc_ctfrefine_run(cyc_ctfrefine_result *result, const cyc_ctfrefine_options *o)
{
	cyc_status st = CYC_OK;
	/* Images kept for another job exist in this process only. */
	bool is_dealt = !(o->dry_run || (o->part && o->part[0]) || o->images);
	if (result) memset(result, 0, sizeof *result);
	if (is_dealt) CYC_TRY(cyc_ranks_begin(&cyc_ctfrefine_rank_job, o));
	CYC_TRY(run_here(result, o));
done:
	return is_dealt ? cyc_ranks_end(st) : st;
}

CYC_RANK_JOB(ctfrefine)
