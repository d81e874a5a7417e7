/* The job: files in, files out, one tilt series after the other. */
#include "extract/extract_internal.h"

#include "cyclotomo/record.h"
#include "cyclotomo/survey.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void cyc_extract_options_default(cyc_extract_options *o)
{
	*o = (cyc_extract_options){ .n_threads = 1 };
	cyc_options_set_defaults(o, &cyc_extract_table);
}

void cyc_extract_result_deinit(cyc_extract_result *r)
{
	cyc_free(r->particles);
	cyc_free(r->trajectories);
	cyc_free(r->optimisation_set);
	memset(r, 0, sizeof *r);
}

static cyc_status check_options(const cyc_extract_options *o)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_options_check(o, &cyc_extract_table));
	CYC_CHECK(o->out_dir && o->out_dir[0], CYC_E_USAGE, "an output folder is needed (--o)");
	CYC_CHECK(o->box_px > 0, CYC_E_USAGE, "a box size is needed (--b)");
	CYC_CHECK(o->crop_px <= 0 || (o->crop_px % 2 == 0 && o->crop_px <= o->box_px), CYC_E_USAGE,
	          "the cropped box must be even and not larger than the box of %d px, got %d", o->box_px,
	          o->crop_px);
	/* The soft edge of the circle takes 5 px of the radius. */
	CYC_CHECK(o->crop_px <= 0 || o->crop_px >= 12, CYC_E_USAGE,
	          "a cropped box must have at least 12 px, got %d", o->crop_px);
	CYC_CHECK(!(o->apply_orientations && o->keep_offsets), CYC_E_USAGE,
	          "offsets cannot be kept when orientations are applied, since they refer to the old axes");
	CYC_CHECK(!(o->apply_orientations && o->stacks), CYC_E_USAGE,
	          "orientations can be applied to volumes only: images of a stack are not rotated");
	CYC_CHECK(!(o->cone_weight && o->stacks), CYC_E_USAGE,
	          "the cone weight works for volumes only, not for stacks");
	CYC_CHECK(!o->cone_weight ||
	              (o->cone_angle_rad > 0 && o->cone_angle_rad < CYC_PI && o->cone_sigma_px > 0),
	          CYC_E_USAGE, "the cone needs an angle between 0 and 180 degrees and a positive width");
done:
	return st;
}

cyc_status cyc_extract_check(const cyc_extract_options *o, const cyc_project_view *p)
{
	cyc_status st = CYC_OK;
	cyc_box box;
	CYC_TRY(check_options(o));
	CYC_TRY(cyc_backend_check(o->backend));
	CYC_TRY(cyc_box_create(&box, o->box_px, o->binning,
	                       p->tomograms->series[cyc_particle_set_first_series(p->particles)].pixel_size_A));
	CYC_TRY(cyc_check_window(p, box.window.box_px));
	CYC_TRY(cyc_check_output(p->root, o->out_dir, 0));
done:
	return st;
}

/* Coordinates as they stand, without the offsets that reading has taken off. */
static cyc_status put_offsets_back(cyc_particle_set *set)
{
	cyc_status st = CYC_OK;
	cyc_vec3 *origin = NULL;
	CYC_TRY(cyc_alloc(&origin, set->n, sizeof *origin));
	CYC_TRY(cyc_particle_origins(origin, set));
	for (int64_t i = 0; i < set->n; i++) {
		cyc_particle *p = &set->particles[i];
		cyc_vec3 d = cyc_mat3_apply(p->R_tomo_part, origin[i]);
		p->position_A = (cyc_vec3){ p->position_A.x + d.x, p->position_A.y + d.y, p->position_A.z + d.z };
	}
done:
	cyc_free(origin);
	return st;
}

static cyc_status load(cyc_extract_job *j)
{
	cyc_status st = CYC_OK;
	const cyc_extract_options *o = j->o;
	CYC_TRY(cyc_project_resolve(&j->input, &o->input));
	CYC_TRY(cyc_project_read_tomograms(&j->tomograms, j->input, &o->input));
	CYC_TRY(cyc_particle_set_read(&j->particles, j->input->particles, j->input->trajectories, j->tomograms,
	                              j->root));
	const cyc_project_view view = {
		.root = j->root, .set = j->input, .tomograms = j->tomograms, .particles = j->particles
	};
	CYC_TRY(cyc_extract_check(o, &view));
	const cyc_survey_options survey = { .skip_orientations = true, .n_threads = 1 };
	CYC_TRY(cyc_survey_require(&view, &o->input, &survey));
	if (o->keep_offsets) CYC_TRY(put_offsets_back(j->particles));
	int32_t i = 0;
	while (j->particles->series_first[i + 1] == 0) i++;
	CYC_TRY(cyc_box_create(&j->box, o->box_px, o->binning, j->tomograms->series[i].pixel_size_A));
	j->crop_px = o->crop_px > 0 ? o->crop_px : o->box_px;
	j->box.window.no_circle_crop = !o->circle_precrop;
	/* What is cropped away may lie outside of the image. */
	j->box.margin_px = 0.5 * o->binning * j->crop_px;
	CYC_TRY(cyc__extract_select(j));
	j->result->n_particles = j->selection.n_kept;
	j->result->n_rejected = j->particles->n - j->selection.n_kept;
	j->result->n_images = j->selection.n_images;
done:
	return st;
}

/* Everything that acts on the files of particles; those of another label are not kept. */
static cyc_status make_label(cyc_extract_job *j)
{
	cyc_status st = CYC_OK;
	uint64_t h = CYC_HASH_INIT;
	CYC_TRY(cyc_options_hash(&h, j->o, &cyc_extract_table, CYC_OPTIONS_UNFINISHED));
	h = cyc_project_hash(h, j->tomograms, j->particles);
	j->key = h;
	CYC_TRY(cyc_images_hash(&j->key, j->tomograms, j->particles, j->root, true));
	/* Without times: files are the same wherever the project is. */
	CYC_TRY(cyc_images_hash(&h, j->tomograms, j->particles, j->root, false));
	snprintf(j->label, sizeof j->label, "cyclotomo extract %016llx", (unsigned long long)h);
done:
	return st;
}

static const char KIND[] = "extraction", RECORD[] = "extract.record";

static bool is_earlier(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

/* The record of an earlier run into this folder, or of parts: it says that images are the same, and since
 * when. */
static cyc_status find_done(cyc_extract_job *j)
{
	cyc_status st = CYC_OK;
	cyc_record *r = NULL;
	char *path = NULL;
	struct stat s;
	CYC_TRY(cyc_path_join(&path, j->out, RECORD));
	CYC_TRY(cyc_record_open(&r, path, KIND, j->key, "all particles are extracted again", NULL));
	if (r && stat(path, &s) == 0) {
		j->is_begun = true;
		j->begun = s.st_mtim;
	}
	const struct timespec parts = { (time_t)j->share.begun_s, (long)j->share.begun_ns };
	if (j->share.begun_s != 0 && (!j->is_begun || is_earlier(&parts, &j->begun))) j->begun = parts;
	if (j->is_begun || j->share.begun_s != 0) CYC_TRY(cyc__extract_find_done(j));
done:
	cyc_record_close(&r);
	cyc_free(path);
	return st;
}

static cyc_status write_record(const cyc_extract_job *j)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	CYC_TRY(cyc_path_join(&path, j->out, RECORD));
	CYC_TRY(cyc_record_write_text(path, KIND, j->key, ""));
	/* What parts have written since they began stays valid. */
	const struct timespec times[2] = { j->begun, j->begun };
	if (j->share.begun_s != 0)
		CYC_CHECK(utimensat(AT_FDCWD, path, times, 0) == 0, CYC_E_IO, "cannot set the time of '%s': %s", path,
		          strerror(errno));
done:
	cyc_free(path);
	return st;
}

/* Of all series, whoever writes them: parts and ranks write into one folder. */
static cyc_status check_disk(cyc_extract_job *j)
{
	cyc_status st = CYC_OK;
	double needed = 0, available;
	for (int64_t i = 0; i < j->particles->n; i++) {
		if (!j->selection.is_kept[i]) continue;
		double bytes = cyc__extract_file_bytes(j, i);
		j->result->disk_bytes += bytes;
		if (!j->is_done[i]) needed += bytes;
	}
	if (!cyc_is_first_rank()) goto done; /* rank 0 may be writing already */
	CYC_TRY(cyc_disk_free(&available, j->out));
	cyc_info(
		"disk space: %.3g GB for %lld particles, of which %.3g GB are still to be written; %.3g GB are free",
		j->result->disk_bytes / 1e9, (long long)j->selection.n_kept, needed / 1e9, available / 1e9);
	if (needed > available) {
		st = cyc_error_raise(
			CYC_E_IO, __FILE__, __LINE__, __func__,
			"Not enough space for the particle files in '%s': %.3g MB are needed, %.3g MB are free", j->out,
			needed / 1e6, available / 1e6);
		cyc_error_hint("free disk space, write elsewhere (--o), or write less: --float16, a smaller --crop, "
		               "a higher --bin");
		goto done;
	}
done:
	return st;
}

static void print_plan(const cyc_extract_job *j)
{
	const cyc_extract_options *o = j->o;
	cyc_info("%lld of %lld particles in %d tilt series, %lld images; windows of %d px, box %d px, %s of %d "
	         "px of %.4g Å, %s, %d thread%s",
	         (long long)j->selection.n_kept, (long long)j->particles->n, j->tomograms->n_series,
	         (long long)j->selection.n_images, j->box.window.box_px, o->box_px,
	         o->stacks ? "2D stacks" : "3D volumes", j->crop_px, j->box.pixel_size_A,
	         o->float16 ? "float16" : "float32", o->n_threads, cyc_plural(o->n_threads));
	if (j->result->n_rejected > 0)
		cyc_warn("%lld particles are left out: visible in fewer than %d tilt images",
		         (long long)j->result->n_rejected, o->min_frames);
	if (j->result->n_kept > 0)
		cyc_info("the files of %lld particles exist already", (long long)j->result->n_kept);
}

static cyc_status extract_all(cyc_extract_job *j)
{
	cyc_status st = CYC_OK;
	cyc_extract_work *work = NULL;
	CYC_TRY(cyc_make_dirs(j->out));
	/* Parts have notes of their own. */
	if (!j->is_begun && !cyc_share_is_part(&j->share) && cyc_is_first_rank()) CYC_TRY(write_record(j));
	/* Files of other ranks are not older than the record. */
	CYC_TRY(cyc_share_meet(&j->share));
	if (j->result->n_kept == j->selection.n_kept) goto done;
	CYC_TRY(cyc__extract_work_create(&work, j));
	for (int32_t i = 0; i < j->tomograms->n_series; i++) {
		CYC_TRY(cyc_cancel_check());
		if (!j->share.is_own[i]) continue;
		CYC_TRY(cyc__extract_series(j, work, i));
		cyc_progress("extracting particles", j->particles->series_first[i + 1], j->particles->n);
	}
done:
	cyc__extract_work_destroy(&work);
	return st;
}

/* Series of this part whose files all exist. */
static void count_done_series(cyc_extract_job *j)
{
	for (int32_t i = 0; i < j->tomograms->n_series; i++) {
		bool is_done = j->share.is_own[i];
		for (int64_t p = j->particles->series_first[i]; p < j->particles->series_first[i + 1]; p++)
			is_done = is_done && (j->is_done[p] || !j->selection.is_kept[p]);
		j->share.n_kept += is_done;
	}
}

/* Files of parts belong to the folder's list as its own do. */
static cyc_status note_files(const cyc_extract_job *j)
{
	cyc_status st = CYC_OK;
	const char *const suffixes[2] = { j->o->stacks ? CYC__SUFFIX_STACK : CYC__SUFFIX_DATA,
		                              j->o->stacks ? NULL : CYC__SUFFIX_WEIGHTS };
	char *name = NULL, *path = NULL;
	for (int64_t i = 0; i < j->particles->n; i++) {
		if (!j->selection.is_kept[i] || !j->is_done[i]) continue;
		for (int k = 0; k < 2 && suffixes[k]; k++) {
			CYC_TRY(cyc__extract_file(&name, j, i, suffixes[k]));
			CYC_TRY(cyc_path_join(&path, j->root, name));
			cyc_outputs_note(path);
			cyc_free(name);
			cyc_free(path);
			name = path = NULL;
		}
	}
done:
	cyc_free(name);
	cyc_free(path);
	return st;
}

/* What parts and ranks have written, and the tables. */
static cyc_status gather(cyc_extract_job *j)
{
	cyc_status st = CYC_OK;
	for (int64_t i = 0; i < j->particles->n && j->share.is_on_ranks; i++)
		j->is_done[i] = j->is_done[i] || !j->share.is_own[j->particles->particles[i].i_series];
	if (j->share.begun_s != 0 || j->share.is_on_ranks) CYC_TRY(note_files(j));
	CYC_TRY(cyc__extract_write_stars(j));
done:
	return st;
}

static cyc_status run_here(cyc_extract_result *result, const cyc_extract_options *o)
{
	cyc_status st = CYC_OK;
	cyc_extract_result own = { 0 };
	cyc_extract_job j = { .o = o,
		                  .root = o->input.root ? o->input.root : "",
		                  .result = result ? result : &own,
		                  .available_bytes = cyc_memory_available_bytes() };
	memset(j.result, 0, sizeof *j.result);
	CYC_TRY(check_options(o));
	CYC_TRY(cyc_extract_spare_inputs(o, CYC_OUTPUT_RESULTS));
	CYC_TRY(
		cyc_asprintf(&j.out_dir, "%s%s", o->out_dir, o->out_dir[strlen(o->out_dir) - 1] == '/' ? "" : "/"));
	CYC_TRY(cyc_path_join(&j.out, j.root, j.out_dir));
	CYC_TRY(load(&j));
	CYC_TRY(make_label(&j));
	CYC_TRY(cyc_alloc(&j.is_done, j.particles->n, sizeof *j.is_done));
	CYC_TRY(cyc_share_create(&j.share, o->part, j.tomograms, j.particles));
	if (!o->dry_run) CYC_TRY(cyc_share_begin(&j.share, j.out, j.key, o->resume));
	if (j.share.uses_records || o->resume) CYC_TRY(find_done(&j));
	count_done_series(&j);
	print_plan(&j);
	CYC_TRY(cyc_memory_require(cyc__extract_memory_bytes(&j), o->n_threads,
	                           "use a smaller box (--b, --crop), a higher --bin, or fewer threads (--j)"));
	const cyc_device_plan on_device = { .bytes = cyc__extract_device_bytes,
		                                .job = &j,
		                                .less = "use a smaller box (--b, --crop) or a higher --bin" };
	if (j.result->n_kept < j.selection.n_kept)
		CYC_TRY(cyc_backend_open_for(&j.be, o->backend, o->n_threads, &on_device));
	CYC_TRY(check_disk(&j));
	if (o->dry_run) goto done;
	/* The part's own record has its log: files of particles have none. */
	if (cyc_share_is_part(&j.share)) cyc_log_keep();
	CYC_TRY(extract_all(&j));
	CYC_TRY(cyc_share_meet(&j.share));
	if (cyc_share_is_part(&j.share)) CYC_TRY(cyc_share_end(&j.result->part, &j.share, j.out, j.key));
	else if (cyc_is_first_rank()) CYC_TRY(gather(&j));
done:
	cyc_log_keep_end();
	cyc_backend_close(&j.be);
	cyc__extract_selection_deinit(&j.selection);
	cyc_free(j.is_done);
	cyc_share_deinit(&j.share);
	cyc_particle_set_destroy(&j.particles);
	cyc_tomogram_set_destroy(&j.tomograms);
	cyc_optimisation_set_destroy(&j.input);
	cyc_free(j.out_dir);
	cyc_free(j.out);
	cyc_extract_result_deinit(&own);
	return st;
}

cyc_status cyc_extract_run(cyc_extract_result *result, const cyc_extract_options *o)
{
	cyc_status st = CYC_OK;
	bool is_dealt = !(o->dry_run || (o->part && o->part[0]));
	if (result) memset(result, 0, sizeof *result);
	if (is_dealt) CYC_TRY(cyc_ranks_begin(&cyc_extract_rank_job, o));
	CYC_TRY(run_here(result, o));
done:
	return is_dealt ? cyc_ranks_end(st) : st;
}

CYC_RANK_JOB(extract)
