/* The job: files in, files out, one tilt series after the other. */
#include "cyclotomo/polish.h"

#include "cyclotomo/record.h"
#include "polish/polish_series.h"
#include "polish/polish_start.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

void cyc_polish_options_default(cyc_polish_options *o)
{
	*o = (cyc_polish_options){ .n_threads = 1 };
	cyc_options_set_defaults(o, &cyc_polish_table);
}

cyc_status cyc_polish_options_hash(uint64_t *h, const cyc_polish_options *o)
{
	*h = cyc_hash_string(*h, cyc_backend_of_bits(o->backend));
	return cyc_options_hash(h, o, &cyc_polish_table, CYC_OPTIONS_UNFINISHED);
}

void cyc_polish_result_deinit(cyc_polish_result *r)
{
	char **const all[] = { &r->tomograms, &r->particles, &r->trajectories, &r->optimisation_set };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) cyc_free(*all[i]);
	memset(r, 0, sizeof *r);
}

typedef struct {
	const cyc_polish_options *o;
	cyc_refine_input in;
	cyc_backend *be;
	cyc_reference *reference;
	cyc_evidence_pass *pass;
	uint64_t hash;
	bool is_dependent;
	cyc_polished *results; /* n_series */
	cyc_share share;
	cyc_polish_result *result;
} job;

static cyc_refine_request request_of(const cyc_polish_options *o)
{
	return (cyc_refine_request){ .project = &o->input,
		                         .ref1 = o->ref1,
		                         .ref2 = o->ref2,
		                         .mask = o->mask,
		                         .fsc = o->fsc,
		                         .out_dir = o->out_dir,
		                         .box_px = o->box_px,
		                         .is_partial = !o->whole_windows && !o->compat_relion5 };
}

static cyc_status check_options(const cyc_polish_options *o)
{
	cyc_status st = CYC_OK;
	const cyc_deformation_type deformation = cyc_polish_deformation(o);
	CYC_TRY(cyc_options_check(o, &cyc_polish_table));
	CYC_CHECK(o->box_px <= 0 || o->range_px < o->box_px / 4.0, CYC_E_USAGE,
	          "the range (--range) must be less than a quarter of the box, got %g px", o->range_px);
	CYC_CHECK(!(o->do_motion && o->shift_only), CYC_E_USAGE, "--motion cannot be used with --shift-only");
	CYC_CHECK(!(o->do_motion && o->const_positions), CYC_E_USAGE,
	          "--motion cannot be used with --const-positions");
	CYC_CHECK(!(o->const_positions && o->const_angles && o->const_shifts) &&
	              !(o->shift_only && o->const_shifts),
	          CYC_E_USAGE, "nothing to refine");
	CYC_CHECK(!(o->shift_only && deformation != CYC_DEFORMATION_NONE), CYC_E_USAGE,
	          "--deformation cannot be used with --shift-only");
	const int32_t least = deformation == CYC_DEFORMATION_SPLINE ? 2 : 1, *grid = o->deformation_grid;
	CYC_CHECK(deformation == CYC_DEFORMATION_NONE || deformation == CYC_DEFORMATION_LINEAR ||
	              (grid[0] >= least && grid[1] >= least && grid[0] <= 64 && grid[1] <= 64),
	          CYC_E_USAGE, "a deformation grid of %d x %d is not possible: each side must be %d to 64",
	          grid[0], grid[1], least);
	CYC_CHECK(o->last_tilt < 0 || o->last_tilt >= o->first_tilt, CYC_E_USAGE,
	          "there is no tilt between tilt %d and tilt %d", o->first_tilt, o->last_tilt);
done:
	return st;
}

/* Beyond what all refinements need, which reading the input checks. */
static cyc_status check_own(const cyc_polish_options *o, const cyc_project_view *p)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_backend_check(o->backend));
	for (int32_t i = 0; i < p->tomograms->n_series; i++)
		CYC_CHECK(p->particles->series_first[i + 1] - p->particles->series_first[i] < 1000000,
		          CYC_E_UNSUPPORTED, "tilt series %s has more than a million particles",
		          p->tomograms->series[i].name);
done:
	return st;
}

cyc_status cyc_polish_check(const cyc_polish_options *o, const cyc_project_view *p)
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
	const cyc_polish_options *o = j->o;
	const cyc_refine_request request = request_of(o);
	CYC_TRY(check_options(o));
	CYC_TRY(cyc_refine_input_read(&j->in, &request));
	const cyc_project_view view = cyc_refine_view(&j->in);
	CYC_TRY(check_own(o, &view));
	CYC_TRY(cyc_refine_require_tilts(&j->in, o->first_tilt, o->last_tilt));
	CYC_CHECK(!o->part || !o->part[0] || !o->images, CYC_E_USAGE,
	          "a job that keeps images for another one cannot be dealt (--part)");
	CYC_TRY(cyc_share_create(&j->share, o->part, j->in.tomograms, j->in.particles));
	cyc_info("%lld particles in %d tilt series, box %d px of %.4g Å, %d thread%s",
	         (long long)j->in.particles->n, j->in.tomograms->n_series, o->box_px, j->in.box.pixel_size_A,
	         o->n_threads, cyc_plural(o->n_threads));
done:
	return st;
}

/* Inputs of the priors that other jobs do not use. */
static cyc_status hash_priors(uint64_t *hash, const job *j)
{
	cyc_status st = CYC_OK;
	double *x = NULL;
	*hash = cyc_hash(*hash, &j->is_dependent, sizeof j->is_dependent);
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++) {
		const cyc_tilt_series *ts = &j->in.tomograms->series[i];
		bool is_found = false;
		size_t T = (size_t)ts->n_tilts;
		CYC_TRY(cyc_alloc(&x, 6 * T, sizeof *x));
		for (size_t f = 0; f < T; f++)
			x[5 * T + f] = ts->tilts[f].has_nominal_tilt ? ts->tilts[f].nominal_tilt_rad : HUGE_VAL;
		bool has_matrix = false;
		for (size_t f = 0; f < T; f++) has_matrix = has_matrix || ts->tilts[f].has_matrix;
		if (!has_matrix) CYC_TRY(cyc_polish_original_input(&is_found, x, x + 3 * T, j->in.tomograms, i));
		*hash = cyc_hash(*hash, x, 6 * T * sizeof *x);
		cyc_free(x);
		x = NULL;
	}
done:
	cyc_free(x);
	return st;
}

/* What the job takes of a device. */
typedef struct {
	const cyc_polish_options *o;
	cyc_project_size size;
	int32_t map_px, radius;
} device_needs;

static double device_bytes(const void *needs, size_t batch_bytes)
{
	const device_needs *n = needs;
	return cyc_polish_device_bytes(n->o, &n->size, n->map_px, n->radius, batch_bytes);
}

static cyc_status prepare(job *j)
{
	cyc_status st = CYC_OK;
	const cyc_polish_options *o = j->o;
	double length_A = o->box_px * j->in.box.pixel_size_A;
	CYC_TRY(cyc_polish_is_result(&j->is_dependent, j->in.set->tomograms, j->in.root));
	/* Motion comes only from polishing these images, whichever jobs refined the tilts since. */
	j->is_dependent = j->is_dependent || j->in.particles->motion_data;
	CYC_TRY(cyc_refine_hash(&j->hash, &j->in, "polish"));
	CYC_TRY(cyc_polish_options_hash(&j->hash, o));
	CYC_TRY(hash_priors(&j->hash, j));
	CYC_TRY(cyc_refine_reference(&j->reference, &j->in, j->be, o->frequency_cutoff_A));
	const cyc_evidence_options e = { .range_px = o->range_px,
		                             .k_min_index = o->k_min_A > 0 ? length_A / o->k_min_A : 0,
		                             .cutoff_frac = o->cutoff_frac,
		                             .keep_self_correlation = o->keep_self_correlation || o->compat_relion5,
		                             .most_particles = cyc_particle_set_most(j->in.particles),
		                             .first_tilt = o->first_tilt,
		                             .last_tilt = o->last_tilt,
		                             .has_relion5_weights = o->compat_relion5 };
	CYC_TRY(cyc_evidence_pass_create(&j->pass, j->be, &j->in.box, j->reference, &e));
	cyc_evidence_predictions(j->pass)->image.cache = o->images;
	cyc_info("reference to %.2f Å; displacements up to %.1f px are searched", length_A / j->reference->radius,
	         o->range_px);
done:
	return st;
}

/* Matrices become angles and shifts in the output, which takes the size of the images. */
static cyc_status open_matrices(job *j, int32_t i)
{
	cyc_status st = CYC_OK;
	cyc_tilt_series *ts = &j->in.tomograms->series[i];
	for (int32_t f = 0; f < ts->n_tilts; f++)
		if (ts->tilts[f].has_matrix) CYC_TRY(cyc_tilt_series_open(ts, j->in.root));
done:
	return st;
}

static cyc_status record_path(char **path, const job *j, int32_t i)
{
	return cyc_asprintf(path, "%stemp/%s.polish", j->in.out, j->in.tomograms->series[i].file_name);
}

/* A series that was finished before, or by another rank. */
static cyc_status find_series(bool *found, int64_t *n_other, job *j, int32_t i)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	cyc_tilt_series *ts = &j->in.tomograms->series[i];
	CYC_TRY(record_path(&path, j, i));
	CYC_TRY(cyc_polished_read(found, n_other, &j->results[i], path, ts->n_tilts,
	                          (int32_t)cyc_refine_n_particles(&j->in, i), j->hash));
	if (*found) CYC_TRY(cyc_tilt_series_open(ts, j->in.root)); /* its image size is part of the geometry */
done:
	cyc_free(path);
	return st;
}

/* One series: from its record, or computed. */
static cyc_status polish_one(int64_t *n_other, job *j, const cyc_polish_shared *shared, int32_t i)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	bool found = false;
	if (j->share.uses_records) CYC_TRY(find_series(&found, n_other, j, i));
	j->share.n_kept += found;
	if (!found) {
		CYC_TRY(record_path(&path, j, i));
		cyc_log_keep();
		cyc_evidence_predictions(shared->pass)->image.next =
			cyc_tilt_series_after(j->in.tomograms, j->in.particles, j->share.is_own, i);
		CYC_TRY(cyc_polish_series(&j->results[i], shared, i));
		CYC_TRY(cyc_polished_write(path, &j->results[i], j->hash));
	}
	/* A part or another rank leaves the record; nothing else is needed of it. */
	if (cyc_share_is_part(&j->share) || !cyc_is_first_rank()) cyc_polished_deinit(&j->results[i]);
done:
	cyc_log_keep_end();
	cyc_free(path);
	return st;
}

/* What the other ranks have computed, on rank 0. */
static cyc_status take_from_ranks(job *j)
{
	cyc_status st = CYC_OK;
	int64_t n_other = 0;
	CYC_TRY(cyc_share_meet(&j->share));
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++) {
		bool found;
		if (!cyc_share_is_of_other_rank(&j->share, i, cyc_refine_n_particles(&j->in, i))) continue;
		CYC_TRY(find_series(&found, &n_other, j, i));
		if (!found) CYC_TRY(cyc_share_miss(j->in.tomograms->series[i].name, j->in.out));
	}
done:
	return st;
}

static cyc_status polish_all(job *j)
{
	cyc_status st = CYC_OK;
	cyc_vec3 *original = NULL;
	int32_t n = j->in.tomograms->n_series;
	int64_t n_other = 0;
	cyc_polish_shared shared = { .o = j->o, .in = &j->in, .pass = j->pass, .is_dependent = j->is_dependent };
	CYC_TRY(cyc_alloc(&j->results, n, sizeof *j->results));
	CYC_TRY(cyc_alloc(&original, j->in.particles->n, sizeof *original));
	CYC_TRY(cyc_polish_original_positions(original, j->in.particles));
	shared.original_A = original;
	CYC_TRY(cyc_polish_held_axes(shared.is_axis_held, j->in.reference_files[0], j->in.reference_files[1],
	                             j->in.root, j->o->n_threads));
	for (int64_t i = 0; i < j->in.particles->n; i++) shared.n_half[j->in.particles->particles[i].half > 0]++;
	for (int32_t i = 0; i < n; i++) {
		CYC_TRY(cyc_cancel_check());
		if (cyc_refine_n_particles(&j->in, i) == 0) CYC_TRY(open_matrices(j, i));
		if (!j->share.is_own[i]) continue;
		CYC_TRY(polish_one(&n_other, j, &shared, i));
		cyc_progress("polishing", i + 1, n);
	}
	CYC_TRY(cyc_ranks_sum(&n_other, 1));
	if (n_other > 0)
		cyc_warn("the results of %lld tilt series in %stemp/ were made with other input or options; these "
		         "series were polished again",
		         (long long)n_other, j->in.out);
done:
	cyc_free(original);
	return st;
}

static void summarise(job *j)
{
	double shift = 0, position = 0, motion = 0, n_shift = 0, n_position = 0, n_motion = 0, error = 0;
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++) {
		const cyc_polished *r = &j->results[i];
		if (!r->tilts) continue;
		j->result->n_series++;
		j->result->n_improved += r->outcome == CYC_POLISH_BETTER;
		j->result->n_worse += r->outcome == CYC_POLISH_WORSE;
		error += cyc_square(r->heldout_error);
		j->result->heldout_before += r->heldout_before;
		j->result->heldout_after += r->heldout_after;
		if (!r->is_taken) continue;
		for (int32_t f = 0; f < r->n_tilts; f++, n_shift += 2)
			shift += cyc_square(r->tilts[f].shift_A[0]) + cyc_square(r->tilts[f].shift_A[1]);
		for (int32_t p = 0; p < r->n_particles; p++, n_position += 3)
			position +=
				cyc_square(r->offsets_A[p].x) + cyc_square(r->offsets_A[p].y) + cyc_square(r->offsets_A[p].z);
		for (size_t k = 0; k < 3 * (size_t)r->n_particles * (size_t)r->n_tilts; k++, n_motion++)
			motion += r->displacement_A[k] * r->displacement_A[k];
	}
	j->result->shift_rms_A = n_shift > 0 ? sqrt(shift / n_shift) : 0;
	j->result->position_rms_A = n_position > 0 ? sqrt(position / n_position) : 0;
	j->result->motion_rms_A = n_motion > 0 ? sqrt(motion / n_motion) : 0;
	j->result->heldout_error = sqrt(error);
	cyc_info("%d tilt series, %d better, %d worse; change of the log-likelihood of held-out images %+.1f +- "
	         "%.1f; RMS change per axis: shifts %.2f Å, positions %.2f Å, motion %.2f Å",
	         j->result->n_series, j->result->n_improved, j->result->n_worse,
	         j->result->heldout_after - j->result->heldout_before, j->result->heldout_error,
	         j->result->shift_rms_A, j->result->position_rms_A, j->result->motion_rms_A);
}

static cyc_status write_all(job *j)
{
	cyc_status st = CYC_OK;
	const cyc_polish_files f = { .tomograms = j->in.tomograms,
		                         .particles = j->in.particles,
		                         .results = j->results,
		                         .input = j->in.set,
		                         .out_dir = j->in.out_dir,
		                         .out = j->in.out,
		                         .root = j->in.root,
		                         .write_particles = !j->o->shift_only,
		                         .write_motion = j->o->do_motion,
		                         .write_figures = !j->o->no_figures,
		                         .n_threads = j->o->n_threads };
	summarise(j);
	CYC_TRY(cyc_polish_write(j->result, &f));
done:
	return st;
}

static cyc_status run_here(cyc_polish_result *result, const cyc_polish_options *o)
{
	cyc_status st = CYC_OK;
	cyc_polish_result own = { 0 };
	job j = { .o = o, .result = result ? result : &own };
	device_needs needs = { .o = o };
	memset(j.result, 0, sizeof *j.result);
	CYC_TRY(cyc_lapack_prepare(o->n_threads));
	CYC_TRY(cyc_polish_spare_inputs(o, CYC_OUTPUT_RESULTS));
	CYC_TRY(read_input(&j));
	CYC_TRY(cyc_refine_plan(&needs.size, &needs.map_px, &needs.radius, &j.in, o->frequency_cutoff_A,
	                        o->n_threads));
	CYC_TRY(cyc_memory_require(
		cyc_polish_memory_bytes(o, &needs.size, needs.map_px, needs.radius), o->n_threads,
		"use a smaller box (--b) or range (--range), half maps of a smaller box, or fewer threads (--j)"));
	const cyc_device_plan on_device = {
		.bytes = device_bytes,
		.job = &needs,
		.less = "use a smaller box (--b) or range (--range), or half maps of a smaller box"
	};
	CYC_TRY(cyc_backend_open_for(&j.be, o->backend, o->n_threads, &on_device));
	CYC_TRY(prepare(&j));
	if (o->dry_run) goto done;
	CYC_TRY(cyc_make_dirs(j.in.out));
	CYC_TRY(cyc_share_begin(&j.share, j.in.out, j.hash, o->resume));
	CYC_TRY(polish_all(&j));
	CYC_TRY(take_from_ranks(&j));
	if (cyc_share_is_part(&j.share)) CYC_TRY(cyc_share_end(&j.result->part, &j.share, j.in.out, j.hash));
	else if (cyc_is_first_rank()) CYC_TRY(write_all(&j));
done:
	for (int32_t i = 0; j.results && i < j.in.tomograms->n_series; i++) cyc_polished_deinit(&j.results[i]);
	cyc_free(j.results);
	cyc_share_deinit(&j.share);
	cyc_evidence_pass_destroy(&j.pass);
	cyc_reference_destroy(&j.reference);
	cyc_backend_close(&j.be);
	cyc_refine_input_deinit(&j.in);
	cyc_polish_result_deinit(&own);
	return st;
}

cyc_status cyc_polish_run(cyc_polish_result *result, const cyc_polish_options *o)
{
	cyc_status st = CYC_OK;
	/* Images kept for another job exist in this process only. */
	bool is_dealt = !(o->dry_run || (o->part && o->part[0]) || o->images);
	if (result) memset(result, 0, sizeof *result);
	if (is_dealt) CYC_TRY(cyc_ranks_begin(&cyc_polish_rank_job, o));
	CYC_TRY(run_here(result, o));
done:
	return is_dealt ? cyc_ranks_end(st) : st;
}

CYC_RANK_JOB(polish)
