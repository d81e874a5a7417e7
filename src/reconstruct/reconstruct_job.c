/* The job: files in, files out. What is computed is in accumulate.c, symmetrise.c and finish.c. */
#include "cyclotomo/reconstruct.h"

#include "halfmaps/accumulate.h"
#include "halfmaps/checkpoint.h"
#include "halfmaps/sums.h"

#include "cyclotomo/parts.h"
#include "cyclotomo/record.h"
#include "cyclotomo/survey.h"
#include "cyclotomo/map.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>

void cyc_reconstruct_options_default(cyc_reconstruct_options *o)
{
	*o = (cyc_reconstruct_options){ .n_threads = 1 };
	cyc_options_set_defaults(o, &cyc_reconstruct_table);
}

void cyc_reconstruct_result_deinit(cyc_reconstruct_result *r)
{
	cyc_free(r->half1);
	cyc_free(r->half2);
	cyc_free(r->merged);
	cyc_free(r->optimisation_set);
	memset(r, 0, sizeof *r);
}

/* One run of the job: what its parts share. */
typedef struct {
	const cyc_reconstruct_options *o;
	const char *root;
	char *out_dir; /* relative to root, trailing slash */
	char *out;     /* with root */
	cyc_optimisation_set *input;
	cyc_tomogram_set *tomograms;
	cyc_particle_set *particles;
	cyc_stacks *stacks; /* NULL: from the tilt images */
	cyc_box box;
	int32_t crop_px;
	cyc_backend *be;
	cyc_sums *sums; /* of the half-sets */
	cyc_accumulator *accumulator;
	cyc_half_sum *half[2];
	cyc_reconstruct_result *result;
} job;

static cyc_status check_options(const cyc_reconstruct_options *o)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_options_check(o, &cyc_reconstruct_table));
	CYC_CHECK(o->out_dir && o->out_dir[0], CYC_E_USAGE, "an output folder is needed (--o)");
	CYC_CHECK(o->box_px > 0 || o->from_stacks, CYC_E_USAGE, "a box size is needed (--b)");
	CYC_CHECK(!o->from_stacks ||
	              !(o->no_ctf || o->whiten || o->no_circle_crop || o->listed_frames || o->crop_images),
	          CYC_E_USAGE,
	          "--no-ctf, --whiten, --no-circle-crop, --crop-images and --listed-frames cannot be used with "
	          "--from-stacks, whose images are already cut");
	CYC_CHECK(!o->crop_images || (o->crop_px >= 12 && !(o->no_ctf || o->whiten)), CYC_E_USAGE,
	          "--crop-images needs a --crop of at least 12 px, and cannot be used with --no-ctf or --whiten");
	CYC_CHECK(o->box_px <= 0 || o->crop_px <= 0 || (o->crop_px % 2 == 0 && o->crop_px <= o->box_px),
	          CYC_E_USAGE, "the cropped box must be even and not larger than the box of %d px, got %d",
	          o->box_px, o->crop_px);
	CYC_CHECK(o->box_px <= 0 || o->taper_px < o->box_px / 2.0, CYC_E_USAGE,
	          "the taper must be less than half the box, got %g px", o->taper_px);
done:
	return st;
}

/* What lies on disk at the end: three maps, whole and cropped. */
static double disk_bytes(const cyc_reconstruct_options *o)
{
	double whole = pow(o->box_px, 3),
		   crop = o->crop_px > 0 && o->crop_px < o->box_px ? pow(o->crop_px, 3) : 0;
	return 3 * sizeof(float) * (whole + crop);
}

/* Each copy is looked up in the whole transform: so many take hours, and no helix needs them. */
enum { MOST_OPERATIONS = 10000 };

/* Copies that lie beyond the box have no part in it. */
static cyc_status check_helix(const cyc_reconstruct_options *o, int32_t n_ops, double pixel_size_A)
{
	cyc_status st = CYC_OK;
	double reach_A = fabs(o->helical_rise_A) * (o->helical_n_asu / 2),
		   box_A = o->box_px * o->binning * pixel_size_A;
	CYC_CHECK(n_ops < MOST_OPERATIONS, CYC_E_USAGE,
	          "%d helical units (--helical-units) and symmetry %s make %d copies of the map; at most %d are "
	          "averaged",
	          o->helical_n_asu, o->symmetry, n_ops + 1, MOST_OPERATIONS);
	if (o->helical_n_asu == 1) goto done;
	CYC_CHECK(fabs(o->helical_rise_A) > 0 || fabs(o->helical_twist_rad) > 0, CYC_E_USAGE,
	          "%d helical units (--helical-units) need a rise or a twist (--helical-rise, --helical-twist)",
	          o->helical_n_asu);
	CYC_CHECK(o->box_px <= 0 || reach_A <= box_A, CYC_E_USAGE,
	          "%d helical units (--helical-units) with a rise of %g Å reach %.4g Å from the centre, beyond "
	          "the box of "
	          "%.4g Å",
	          o->helical_n_asu, o->helical_rise_A, reach_A, box_A);
done:
	return st;
}

cyc_status cyc_reconstruct_check(const cyc_reconstruct_options *o, const cyc_project_view *p)
{
	cyc_status st = CYC_OK;
	cyc_box box;
	cyc_fourier_op *ops = NULL;
	int32_t n_ops;
	double pixel_size_A = p->tomograms->series[cyc_particle_set_first_series(p->particles)].pixel_size_A;
	CYC_TRY(check_options(o));
	CYC_TRY(cyc_backend_check(o->backend));
	CYC_TRY(cyc_fourier_ops(&ops, &n_ops, o->symmetry, o->helical_n_asu, o->helical_rise_A,
	                        o->helical_twist_rad, pixel_size_A));
	CYC_TRY(check_helix(o, n_ops, pixel_size_A));
	if (p->particles->has_halves) CYC_TRY(cyc_particle_set_require_halves(p->particles));
	if (!o->from_stacks) {
		CYC_TRY(cyc_box_create(&box, o->box_px, o->binning, pixel_size_A));
		CYC_TRY(cyc_check_window(p, box.window.box_px));
	}
	CYC_TRY(cyc_check_output(p->root, o->out_dir, o->from_stacks || o->no_maps ? 0 : disk_bytes(o)));
done:
	cyc_free(ops);
	return st;
}

static cyc_accumulator_options image_options(const cyc_reconstruct_options *o)
{
	return (cyc_accumulator_options){ .crop_px = o->crop_px,
		                              .cutoff_frac = o->cutoff_frac,
		                              .crop_images = o->crop_images,
		                              .no_ctf = o->no_ctf,
		                              .whiten = o->whiten,
		                              .no_circle_crop = o->no_circle_crop,
		                              .whole_windows = o->whole_windows,
		                              .listed_frames = o->listed_frames };
}

/* Images of an extraction give box and pixel size; padding them makes the interpolation between their
 * coefficients finer. */
static cyc_status load_stacks(job *j)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_stacks_open(&j->stacks, j->particles, j->tomograms, j->root));
	int32_t N = j->stacks->box_px, s = j->o->box_px > 0 ? j->o->box_px : 2 * N,
			crop = j->o->crop_px > 0 ? j->o->crop_px : N;
	for (int32_t g = 0; g < j->particles->n_optics; g++)
		CYC_CHECK(!j->particles->optics[g].has_magnification, CYC_E_UNSUPPORTED,
		          "optics group '%s' has a magnification matrix, which is not used with extracted images; "
		          "reconstruct from the tilt images",
		          j->particles->optics[g].name);
	CYC_CHECK(s >= N && s % 2 == 0, CYC_E_USAGE,
	          "the box must be even and not smaller than the extracted images of %d px, got %d", N, s);
	CYC_CHECK(crop <= s && crop % 2 == 0, CYC_E_USAGE,
	          "the cropped box must be even and not larger than the box of %d px, got %d", s, crop);
	CYC_CHECK(j->o->binning == 1 || fabs(j->o->binning - j->stacks->binning) < 1e-3 * j->stacks->binning,
	          CYC_E_USAGE, "a binning of %g was given, but the extracted images have %g", j->o->binning,
	          j->stacks->binning);
	CYC_CHECK(j->o->taper_px < s / 2.0, CYC_E_USAGE, "the taper must be less than half the box, got %g px",
	          j->o->taper_px);
	j->box = (cyc_box){ .window = { .box_px = s, .box_binned = s, .no_circle_crop = true },
		                .binning = j->stacks->binning,
		                .pixel_size_A = j->stacks->pixel_size_A };
	j->crop_px = crop;
done:
	return st;
}

static cyc_status load(job *j)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_project_resolve(&j->input, &j->o->input));
	CYC_TRY(cyc_project_read_tomograms(&j->tomograms, j->input, &j->o->input));
	CYC_TRY(cyc_particle_set_read(&j->particles, j->input->particles, j->input->trajectories, j->tomograms,
	                              j->root));
	const cyc_project_view view = {
		.root = j->root, .set = j->input, .tomograms = j->tomograms, .particles = j->particles
	};
	CYC_TRY(cyc_reconstruct_check(j->o, &view));
	const cyc_survey_options survey = { .skip_images = j->o->from_stacks, .n_threads = 1 };
	CYC_TRY(cyc_survey_require(&view, &j->o->input, &survey));
	if (!j->particles->has_halves)
		cyc_warn("%s has no %s: only a merged map is made, and its resolution cannot be determined",
		         j->input->particles, CYC_RLN_RANDOM_SUBSET);
	if (j->o->from_stacks) {
		CYC_TRY(load_stacks(j));
		goto done;
	}
	/* The first series with particles gives the map its pixel size. */
	int32_t i = 0;
	while (j->particles->series_first[i + 1] == 0) i++;
	CYC_TRY(cyc_box_create(&j->box, j->o->box_px, j->o->binning, j->tomograms->series[i].pixel_size_A));
	const cyc_accumulator_options images = image_options(j->o);
	cyc_accumulator_box(&j->box, &images);
	if (j->o->listed_frames && !j->particles->particles[0].visible_frames) {
		cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__, "'%s' has no column _%s",
		                j->input->particles, CYC_RLN_TOMO_VISIBLE_FRAMES);
		cyc_error_hint("only extracted particles have it; without --listed-frames all images are used that "
		               "contain the particle's window");
		st = CYC_E_DATA;
		goto done;
	}
	j->crop_px = j->o->crop_px > 0 ? j->o->crop_px : j->o->box_px;
done:
	return st;
}

static bool weighs_by_noise(const job *j)
{
	return !(j->stacks || j->o->no_noise_weights || j->o->whiten || j->o->no_ctf);
}

/* Everything that has an influence on the sums; a checkpoint of another hash is not continued. */
static cyc_status hash_inputs(uint64_t *hash, const job *j)
{
	cyc_status st = CYC_OK;
	uint64_t h = cyc_hash_string(CYC_HASH_INIT, cyc_backend_of_bits(j->o->backend));
	CYC_TRY(cyc_options_hash(&h, j->o, &cyc_reconstruct_table, CYC_OPTIONS_UNFINISHED));
	h = cyc_project_hash(h, j->tomograms, j->particles);
	for (int64_t i = 0; i < j->particles->n && j->stacks; i++) {
		h = cyc_hash(h, &j->stacks->origins_A[i], sizeof j->stacks->origins_A[i]);
		CYC_TRY(cyc_image_hash(&h, j->stacks->data_files[i], "", true));
	}
	if (!j->stacks) CYC_TRY(cyc_images_hash(&h, j->tomograms, j->particles, j->root, true));
	*hash = h;
done:
	return st;
}

/* Tilt series of this rank, and what is in its sums. */
typedef struct {
	int32_t *owner;
	char *folder, *path; /* of checkpoints, and its own */
	uint64_t hash;
	cyc_checkpoint_state state;
	double last_backup;
} insertion;

static void insertion_deinit(insertion *in)
{
	cyc_free(in->owner);
	cyc_free(in->folder);
	cyc_free(in->path);
	cyc_free(in->state.is_done);
}

static cyc_status insertion_init(insertion *in, const job *j)
{
	cyc_status st = CYC_OK;
	int32_t n = j->tomograms->n_series;
	*in = (insertion){ .state.n_series = n, .last_backup = cyc_clock_s() };
	CYC_TRY(cyc_path_join(&in->folder, j->out, "temp"));
	CYC_TRY(cyc_sums_checkpoint_path(&in->path, in->folder, cyc_rank()));
	CYC_TRY(hash_inputs(&in->hash, j));
	CYC_TRY(cyc_alloc(&in->state.is_done, n, sizeof *in->state.is_done));
	CYC_TRY(cyc_project_deal(&in->owner, j->tomograms, j->particles, NULL));
done:
	return st;
}

/* What an interrupted run has, whatever its number of ranks was: it goes into the sums of rank 0. */
static cyc_status take_checkpoints(insertion *in, job *j)
{
	cyc_status st = CYC_OK;
	if (j->o->resume && cyc_is_first_rank()) {
		int32_t n_done = 0;
		CYC_TRY(cyc_sums_checkpoint_read_all(&in->state, j->sums, in->folder, in->hash));
		for (int32_t i = 0; i < in->state.n_series; i++) n_done += in->state.is_done[i];
		if (n_done > 0)
			cyc_info("continuing after %d of %d tilt series (%s)", n_done, in->state.n_series, in->path);
		/* In one file, before others write theirs. */
		if (n_done > 0 && cyc_n_ranks() > 1 && !j->o->no_backup) {
			CYC_TRY(cyc_sums_checkpoint_write(in->path, &in->state, j->sums, in->hash));
			cyc_sums_checkpoint_remove(in->folder, in->path);
		}
	}
	CYC_TRY(
		cyc_ranks_broadcast(in->state.is_done, (size_t)in->state.n_series * sizeof *in->state.is_done, 0));
done:
	return st;
}

/* The series of this rank that are not done. The others' are none of its checkpoint's. */
static cyc_status insert_own(insertion *in, job *j)
{
	cyc_status st = CYC_OK;
	cyc_checkpoint_state *s = &in->state;
	int64_t n_done = 0, n_all = 0;
	for (int32_t i = 0; i < s->n_series; i++) {
		int64_t count = j->particles->series_first[i + 1] - j->particles->series_first[i];
		if (in->owner[i] == cyc_rank()) n_all += count;
		if (in->owner[i] == cyc_rank() && s->is_done[i]) n_done += count;
	}
	for (int32_t i = 0; i < s->n_series; i++) {
		int64_t count = j->particles->series_first[i + 1] - j->particles->series_first[i];
		bool is_done = s->is_done[i];
		if (cyc_rank() > 0) s->is_done[i] = false;
		if (count == 0 || is_done || in->owner[i] != cyc_rank()) continue;
		CYC_TRY(cyc_accumulator_add(j->accumulator, &s->n_images, &s->n_outside, j->tomograms, j->particles,
		                            j->stacks, i, j->root));
		s->is_done[i] = true;
		n_done += count;
		cyc_progress("inserting particles", n_done, n_all);
		if (!j->o->no_backup && n_done < n_all &&
		    cyc_clock_s() - in->last_backup >= j->o->backup_interval_s) {
			CYC_TRY(cyc_sums_checkpoint_write(in->path, s, j->sums, in->hash));
			in->last_backup = cyc_clock_s();
		}
	}
done:
	return st;
}

/* Sums and counts of all ranks. */
static cyc_status add_ranks(const insertion *in, job *j)
{
	cyc_status st = CYC_OK;
	int64_t counts[2] = { in->state.n_images, in->state.n_outside };
	CYC_TRY(cyc_ranks_sum(counts, 2));
	CYC_TRY(cyc_sums_add_ranks(j->sums));
	j->result->n_images = counts[0];
	j->result->n_images_outside = counts[1];
done:
	return st;
}

/* Inserts all series, keeping checkpoints on the way. */
static cyc_status insert_all(job *j)
{
	cyc_status st = CYC_OK;
	const cyc_reconstruct_options *o = j->o;
	insertion in;
	CYC_TRY(insertion_init(&in, j));
	if (weighs_by_noise(j))
		CYC_TRY(cyc_accumulator_learn_noise(j->accumulator, j->tomograms, j->particles, j->root));
	CYC_TRY(cyc_accumulator_measure(j->accumulator, j->tomograms, j->particles, j->stacks, j->root));
	cyc_log_keep();
	CYC_TRY(take_checkpoints(&in, j));
	CYC_TRY(insert_own(&in, j));
	CYC_TRY(add_ranks(&in, j));
	if (j->result->n_images == 0) {
		cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
		                "no particle has its window of %d px inside any tilt image; %lld were left out",
		                j->box.window.box_px, (long long)j->result->n_images_outside);
		cyc_error_hint(
			o->whole_windows
				? "use a smaller box, or leave out --whole-windows to use windows that are partly inside"
				: "use a smaller box, or check whether the particles belong to these tilt series");
		st = CYC_E_DATA;
		goto done;
	}
	if (j->result->n_images_outside > 0)
		cyc_info("%lld of %lld particle images left out: %s", (long long)j->result->n_images_outside,
		         (long long)(j->result->n_images + j->result->n_images_outside),
		         j->o->listed_frames ? "they are not listed" : "their window extends beyond the image");
done:
	cyc_log_keep_end();
	insertion_deinit(&in);
	return st;
}

static cyc_status symmetrise(job *j)
{
	cyc_status st = CYC_OK;
	const cyc_reconstruct_options *o = j->o;
	cyc_fourier_op *ops = NULL;
	int32_t n_ops = 0;
	CYC_TRY(cyc_fourier_ops(&ops, &n_ops, o->symmetry, o->helical_n_asu, o->helical_rise_A,
	                        o->helical_twist_rad, j->box.pixel_size_A));
	CYC_TRY(cyc_sums_to_halves(j->half, j->sums, ops, n_ops));
done:
	cyc_free(ops);
	return st;
}

static cyc_status write_map(char **written, const job *j, const char *prefix, const char *tag,
                            const cyc_volume *v)
{
	cyc_status st = CYC_OK;
	char *name = NULL;
	CYC_TRY(cyc_asprintf(&name, "%s%s%s.mrc", j->out_dir, prefix, tag));
	CYC_TRY(cyc_map_write(j->root, name, v, "cyclotomo reconstruct", cyc_backend_n_threads(j->be)));
	if (written) {
		*written = name;
		name = NULL;
	}
done:
	cyc_free(name);
	return st;
}

/* Weights that leave nothing, or images that are empty. */
static cyc_status require_density(const cyc_volume *v, const char *tag)
{
	cyc_status st = CYC_OK;
	size_t i = 1;
	while (i < cyc_volume_count(v) && v->data[i] == v->data[0]) i++;
	if (i < cyc_volume_count(v)) return CYC_OK;
	st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__, "the map '%s' is %g everywhere", tag,
	                     (double)v->data[0]);
	cyc_error_hint("look at the tilt images, and at --snr and --dose-cutoff");
	return st;
}

/* One of half1, half2 (sum b NULL) and merged. */
static cyc_status make_map(char **written, job *j, const char *tag, const cyc_half_sum *a,
                           const cyc_half_sum *b)
{
	cyc_status st = CYC_OK;
	const cyc_reconstruct_options *o = j->o;
	cyc_volume *full = NULL, *cropped = NULL, *data = NULL, *weight = NULL;
	int32_t s = j->box.window.box_binned;
	const cyc_finish_spec spec = { .pixel_size_A = j->box.pixel_size_A,
		                           .snr = o->snr,
		                           .grey_scale =
		                               (o->absolute_scale ? 1 / (j->box.binning * sqrt((double)s)) : 1) *
		                               (j->stacks ? j->box.binning : 1) };
	CYC_TRY(cyc_finish_map(&full, o->write_sums ? &data : NULL, o->write_sums ? &weight : NULL, j->be, a, b,
	                       &spec));
	CYC_TRY(require_density(full, tag));
	if (data) CYC_TRY(write_map(NULL, j, "data_", tag, data));
	if (weight) CYC_TRY(write_map(NULL, j, "weight_", tag, weight));
	if (j->crop_px < s) {
		char *full_tag = NULL;
		CYC_TRY(cyc_asprintf(&full_tag, "%s_full", tag));
		st = write_map(NULL, j, "", full_tag, full);
		cyc_free(full_tag);
		CYC_TRY(st);
		CYC_TRY(cyc_volume_resize(&cropped, full, j->crop_px, cyc_backend_n_threads(j->be)));
		cyc_volume_destroy(&full);
		full = cropped;
		cropped = NULL;
	}
	CYC_TRY(cyc_taper_map(full, o->taper_px, cyc_backend_n_threads(j->be)));
	CYC_TRY(write_map(written, j, "", tag, full));
done:
	cyc_volume_destroy(&full);
	cyc_volume_destroy(&data);
	cyc_volume_destroy(&weight);
	return st;
}

static cyc_status write_optimisation_set(job *j)
{
	cyc_status st = CYC_OK;
	/* These halves are of this state; an FSC of older halves is not. */
	const cyc_set_changes now = { .half1 = j->result->half1, .half2 = j->result->half2 };
	CYC_TRY(cyc_asprintf(&j->result->optimisation_set, "%soptimisation_set.star", j->out_dir));
	CYC_TRY(cyc_optimisation_set_write_result(j->root, j->result->optimisation_set, j->input, &now));
done:
	return st;
}

static cyc_status make_maps(job *j)
{
	cyc_status st = CYC_OK;
	char *folder = NULL;
	const cyc_half_sum *sum1 = j->half[0], *sum2 = j->half[1];
	CYC_TRY(cyc_path_join(&folder, j->out, "temp"));
	cyc_commits_begin(); /* the next map is made while the disk takes one */
	if (j->particles->has_halves) {
		CYC_TRY(make_map(&j->result->half1, j, "half1", sum1, NULL));
		cyc_progress("making maps", 1, 3);
		CYC_TRY(make_map(&j->result->half2, j, "half2", sum2, NULL));
		cyc_progress("making maps", 2, 3);
	}
	CYC_TRY(make_map(&j->result->merged, j, "merged", sum1, j->particles->has_halves ? sum2 : NULL));
	cyc_progress("making maps", 3, 3);
	CYC_TRY(cyc_commits_end(CYC_OK));
	CYC_TRY(write_optimisation_set(j));
	cyc_sums_checkpoint_remove(folder, NULL);
done:
	st = cyc_commits_end(st);
	cyc_free(folder);
	return st;
}

/* What the job takes of a device. */
typedef struct {
	const cyc_reconstruct_options *o;
	const cyc_project_size *size;
	const cyc_reconstruct_sizes *sizes;
} device_needs;

/* Batches are of one size on all devices here: see cyc_accumulator_create(). */
static double device_bytes(const void *needs, size_t batch_bytes)
{
	const device_needs *n = needs;
	(void)batch_bytes;
	return cyc_reconstruct_device_bytes(n->o, n->size, n->sizes);
}

/* Says what is going to be done and what it takes, and opens the backend. */
static cyc_status plan(job *j)
{
	cyc_status st = CYC_OK;
	cyc_project_size size;
	const cyc_reconstruct_sizes z = { j->box.window.box_px, j->box.window.box_binned, j->crop_px,
		                              j->stacks ? j->stacks->box_px : 0 };
	const cyc_reconstruct_options *o = j->o;
	cyc_info("%lld particles in %d tilt series; windows of %d px, box %d px of %.4g Å, maps of %d px, "
	         "symmetry %s, %d thread%s",
	         (long long)j->particles->n, j->tomograms->n_series, j->box.window.box_px,
	         j->box.window.box_binned, j->box.pixel_size_A, j->crop_px, o->symmetry, o->n_threads,
	         cyc_plural(o->n_threads));
	CYC_TRY(cyc_project_size_of(&size, j->tomograms, j->particles, j->root));
	if (!j->stacks) CYC_TRY(cyc_project_require_window(&size, j->tomograms, z.window_px));
	CYC_TRY(cyc_memory_require(cyc_reconstruct_memory_bytes(o, &size, &z), o->n_threads,
	                           "use a smaller box (--b), a higher --bin, or fewer threads (--j)"));
	const device_needs needs = { o, &size, &z };
	const cyc_device_plan on_device = { .bytes = device_bytes,
		                                .job = &needs,
		                                .less = "use a smaller box (--b) or a higher --bin" };
	CYC_TRY(cyc_backend_open_for(&j->be, o->backend, o->n_threads, &on_device));
done:
	return st;
}

cyc_status cyc_reconstruct_run(cyc_reconstruct_result *result, const cyc_reconstruct_options *o)
{
	cyc_status st = CYC_OK;
	cyc_reconstruct_result own = { 0 };
	job j = { .o = o, .root = o->input.root ? o->input.root : "", .result = result ? result : &own };
	memset(j.result, 0, sizeof *j.result);
	if (!o->dry_run) CYC_TRY(cyc_ranks_begin(&cyc_reconstruct_rank_job, o));
	CYC_TRY(check_options(o));
	CYC_TRY(cyc_reconstruct_spare_inputs(o, CYC_OUTPUT_RESULTS));
	CYC_TRY(
		cyc_asprintf(&j.out_dir, "%s%s", o->out_dir, o->out_dir[strlen(o->out_dir) - 1] == '/' ? "" : "/"));
	CYC_TRY(cyc_path_join(&j.out, j.root, j.out_dir));
	CYC_TRY(load(&j));
	j.result->n_particles = j.particles->n;
	/* Half the map's edge stands for the particle, which has to fit with room around it. */
	CYC_TRY(cyc_particle_set_warn_duplicates(j.particles,
	                                         cyc_duplicate_distance_A(0.5 * j.crop_px * j.box.pixel_size_A)));
	CYC_TRY(plan(&j));
	if (o->dry_run) goto done;
	CYC_TRY(cyc_make_dirs(j.out));
	int32_t s = j.box.window.box_binned;
	CYC_TRY(cyc_sums_create(&j.sums, j.be, s, s / 2, -1, 2));
	const cyc_accumulator_sums sums = { .sums = j.sums,
		                                .most_particles = cyc_particle_set_most(j.particles) };
	const cyc_accumulator_options images = image_options(o);
	CYC_TRY(cyc_accumulator_create(&j.accumulator, j.be, &j.box, &images, &sums));
	CYC_TRY(insert_all(&j));
	cyc_accumulator_destroy(&j.accumulator);
	if (o->no_maps || !cyc_is_first_rank()) goto done;
	CYC_TRY(symmetrise(&j));
	CYC_TRY(make_maps(&j));
done:
	cyc_accumulator_destroy(&j.accumulator);
	cyc_sums_destroy(&j.sums);
	for (int h = 0; h < 2; h++) cyc_half_sum_destroy(&j.half[h]);
	cyc_backend_close(&j.be);
	cyc_stacks_close(&j.stacks);
	cyc_particle_set_destroy(&j.particles);
	cyc_tomogram_set_destroy(&j.tomograms);
	cyc_optimisation_set_destroy(&j.input);
	cyc_free(j.out_dir);
	cyc_free(j.out);
	cyc_reconstruct_result_deinit(&own);
	return cyc_ranks_end(st);
}

CYC_RANK_JOB(reconstruct)
