/*
 * Blocks in turn: polish, ctfrefine, polish, ... Each is the job of that name in a folder of its own, fed by
 * the one before through project files, so that every block can be looked at, repeated and resumed like any
 * job; the images go through a cache.
 */
#include "cyclotomo/joint.h"

#include "cyclotomo/outputs.h"
#include "cyclotomo/record.h"
#include "cyclotomo/survey.h"
#include "cyclotomo/images.h"
#include "reference/reference.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_KINDS = 2 };
static const double MOST_OF_AVAILABLE = 0.8; /* for the images: others need memory, too */
static const char *const FOLDER[N_KINDS] = { "Polish", "CtfRefine" };

void cyc_refine_tilts_options_default(cyc_refine_tilts_options *o)
{
	*o = (cyc_refine_tilts_options){ .n_threads = 1 };
	cyc_options_set_defaults(o, &cyc_refine_tilts_table);
}

void cyc_refine_tilts_result_deinit(cyc_refine_tilts_result *r)
{
	cyc_free(r->optimisation_set);
	memset(r, 0, sizeof *r);
}

typedef struct {
	const cyc_refine_tilts_options *o;
	cyc_refine_tilts_result *result;
	cyc_image_cache *images;
	double images_bytes;       /* that may be kept */
	cyc_optimisation_set *set; /* what the next block starts from; its references are those of the input */
	char *out_dir, *record;    /* relative to the root, and the record's path with it */
	uint64_t hash;             /* of all inputs */
	int32_t n_done;            /* blocks of an interrupted run */
	cyc_file_marks *marks;     /* of each block: the tables that it left, */
	uint64_t *keys;            /* and a hash of everything that it depends on */
} job;

/* ---------------------------------------------------------------- what is done */

static const char KIND[] = "finished blocks of refine-tilts", CONSEQUENCE[] = "everything is repeated";

/* All inputs. The first block's are read here once more: only so is each table that they name in it. */
static cyc_status hash_inputs(uint64_t *hash, const cyc_refine_tilts_options *o,
                              const cyc_optimisation_set *set)
{
	cyc_status st = CYC_OK;
	const char *const files[] = { set->reference_map1, set->reference_map2, set->reference_mask,
		                          set->reference_fsc };
	const char *root = o->input.root ? o->input.root : "";
	const int32_t sizes[2] = { o->box_px, o->whole_windows };
	cyc_tomogram_set *tomograms = NULL;
	cyc_particle_set *particles = NULL;
	uint64_t h =
		cyc_hash_string(cyc_hash(CYC_HASH_INIT, sizes, sizeof sizes), cyc_backend_of_bits(o->backend));
	CYC_TRY(cyc_project_read_tomograms(&tomograms, set, &o->input));
	CYC_TRY(cyc_particle_set_read(&particles, set->particles, set->trajectories, tomograms, root));
	h = cyc_project_hash(h, tomograms, particles);
	CYC_TRY(cyc_images_hash(&h, tomograms, particles, root, true));
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		CYC_TRY(cyc_input_file_hash(&h, files[i], root));
	*hash = h;
done:
	cyc_particle_set_destroy(&particles);
	cyc_tomogram_set_destroy(&tomograms);
	return st;
}

static bool is_table(const char *name)
{
	size_t n = strlen(name);
	return n > 5 && strcmp(name + n - 5, ".star") == 0;
}

static cyc_status block_folder(char **dir, const job *j, int32_t i)
{
	return cyc_asprintf(dir, "%s%s/job%03d/", j->out_dir, FOLDER[i % N_KINDS], i + 1);
}

/* What block i depends on: the inputs, its options, and what the block before it depends on and left. */
static cyc_status key_of_block(uint64_t *key, const job *j, int32_t i)
{
	cyc_status st = CYC_OK;
	uint64_t h = i > 0 ? cyc_file_marks_hash(j->keys[i - 1], &j->marks[i - 1]) : j->hash;
	if (i % N_KINDS == 0) CYC_TRY(cyc_polish_options_hash(&h, &j->o->polish));
	else CYC_TRY(cyc_ctfrefine_options_hash(&h, &j->o->ctfrefine));
	*key = h;
done:
	return st;
}

/* Mark the tables that block i left. */
static cyc_status mark_block(job *j, int32_t i)
{
	cyc_status st = CYC_OK;
	cyc_file_marks *m = &j->marks[i];
	const char *root = j->o->input.root ? j->o->input.root : "";
	char *dir = NULL;
	CYC_TRY(block_folder(&dir, j, i));
	CYC_TRY(cyc_file_marks_add_folder(m, root, dir, is_table));
	CYC_TRY(cyc_file_marks_take(m, root, j->o->n_threads));
	CYC_TRY(key_of_block(&j->keys[i], j, i));
done:
	cyc_free(dir);
	return st;
}

/* The record: number of blocks, and of each block its key and the tables it left, as lines of size, hash and
 * name. */
static cyc_status record_write(const job *j, int32_t n_done)
{
	cyc_status st = CYC_OK;
	cyc_text_stream s = { 0 };
	CYC_TRY(cyc_text_stream_open(&s));
	fprintf(s.f, "%d\n", n_done);
	for (int32_t i = 0; i < n_done; i++) fprintf(s.f, "%016" PRIx64 "\n", j->keys[i]);
	for (int32_t i = 0; i < n_done; i++)
		for (int32_t k = 0; k < j->marks[i].n; k++) {
			const cyc_file_mark *m = &j->marks[i].items[k];
			fprintf(s.f, "%d %" PRId64 " %016" PRIx64 " %s\n", i, m->n_bytes, m->hash, m->name);
		}
	CYC_TRY(cyc_text_stream_finish(&s));
	CYC_TRY(cyc_record_write_text(j->record, KIND, j->hash, s.text));
done:
	cyc_text_stream_deinit(&s);
	return st;
}

static cyc_status read_marks(job *j, const char *text, int32_t n_recorded)
{
	cyc_status st = CYC_OK;
	const char *first = strchr(text, '\n');
	for (int32_t i = 0; i < n_recorded && first; i++) {
		if (i < N_KINDS * j->o->n_rounds) j->keys[i] = strtoull(first + 1, NULL, 16);
		first = strchr(first + 1, '\n');
	}
	for (const char *line = first, *end; line && line[1]; line = end) {
		int i = -1, used = 0;
		cyc_file_mark m = { 0 };
		end = strchr(line + 1, '\n');
		bool is_line =
			end && sscanf(line + 1, "%d %" SCNd64 " %" SCNx64 " %n", &i, &m.n_bytes, &m.hash, &used) == 3;
		CYC_CHECK(is_line && used > 0 && i >= 0, CYC_E_INTERNAL, "'%s': a line cannot be read", j->record);
		if (i >= N_KINDS * j->o->n_rounds) break; /* of a run of more rounds */
		CYC_TRY(cyc_asprintf(&m.name, "%.*s", (int)(end - line - 1 - used), line + 1 + used));
		cyc_file_marks *to = &j->marks[i];
		st = cyc_file_marks_add(to, m.name);
		cyc_free(m.name);
		CYC_TRY(st);
		to->items[to->n - 1].n_bytes = m.n_bytes;
		to->items[to->n - 1].hash = m.hash;
	}
done:
	return st;
}

static void reject_block(job *j, int32_t i, const char *file, const char *why)
{
	j->n_done = i;
	cyc_warn("%s%s%s: %s of round %d and all later steps are repeated", file, file[0] ? " " : "", why,
	         i % N_KINDS == 0 ? "the alignment" : "the CTFs", i / N_KINDS + 1);
}

/* A block counts only if it was made with these options, and its tables are as it left them; what follows was
 * made from them. */
static cyc_status check_block(job *j, int32_t i)
{
	cyc_status st = CYC_OK;
	cyc_file_state *states = NULL;
	const cyc_file_marks *m = &j->marks[i];
	uint64_t key;
	CYC_TRY(key_of_block(&key, j, i));
	if (key != j->keys[i]) {
		reject_block(j, i, "", "other options");
		goto done;
	}
	CYC_TRY(cyc_alloc(&states, m->n, sizeof *states));
	CYC_TRY(cyc_file_marks_compare(states, m, j->o->input.root ? j->o->input.root : "", j->o->n_threads));
	for (int32_t k = 0; k < m->n && j->n_done > i; k++) {
		if (states[k] == CYC_FILE_SAME) continue;
		reject_block(j, i, m->items[k].name,
		             states[k] == CYC_FILE_MISSING ? "is missing since it was written"
		                                           : "has changed since it was written");
	}
done:
	cyc_free(states);
	return st;
}

/* Blocks that an interrupted run with this input and these options has finished. */
static cyc_status record_read(job *j)
{
	cyc_status st = CYC_OK;
	char *text = NULL;
	int done = 0;
	CYC_TRY(cyc_record_read_text(&text, j->record, KIND, j->hash, CONSEQUENCE, NULL));
	if (!text || sscanf(text, "%d", &done) != 1 || done < 0) goto done;
	j->n_done = done < N_KINDS * j->o->n_rounds ? done : N_KINDS * j->o->n_rounds;
	CYC_TRY(read_marks(j, text, done));
	for (int32_t i = 0; i < j->n_done; i++) CYC_TRY(check_block(j, i));
	for (int32_t i = j->n_done; i < N_KINDS * j->o->n_rounds; i++) cyc_file_marks_deinit(&j->marks[i]);
done:
	cyc_free(text);
	return st;
}

/* ---------------------------------------------------------------- blocks */

static cyc_status take(char **to, const char *from)
{
	if (!from) return CYC_OK;
	cyc_free(*to);
	*to = NULL;
	return cyc_strdup(to, from);
}

/* What a finished block wrote, from its own optimisation set; references stay those of the input. */
static cyc_status take_over(job *j, const char *set_name)
{
	cyc_status st = CYC_OK;
	cyc_optimisation_set *set = NULL;
	char *path = NULL;
	CYC_TRY(cyc_path_join(&path, j->o->input.root ? j->o->input.root : "", set_name));
	CYC_TRY(cyc_optimisation_set_read(&set, path));
	CYC_TRY(take(&j->set->particles, set->particles));
	CYC_TRY(take(&j->set->tomograms, set->tomograms));
	CYC_TRY(take(&j->set->trajectories, set->trajectories));
done:
	cyc_free(path);
	cyc_optimisation_set_destroy(&set);
	return st;
}

static cyc_project_input block_input(const job *j)
{
	cyc_project_input in = j->o->input;
	in.optimisation_set = NULL;
	in.particles = j->set->particles;
	in.tomograms = j->set->tomograms;
	in.trajectories = j->set->trajectories;
	in.is_checked = true; /* by this job, before the first block */
	return in;
}

/* What the jobs of all blocks are given. */
#define FOR_BLOCK(job, o, set, dir)                                                                          \
	do {                                                                                                     \
		(job).ref1 = (set)->reference_map1;                                                                  \
		(job).ref2 = (set)->reference_map2;                                                                  \
		(job).mask = (set)->reference_mask;                                                                  \
		(job).fsc = (set)->reference_fsc;                                                                    \
		(job).out_dir = (dir);                                                                               \
		(job).box_px = (o)->box_px;                                                                          \
		(job).whole_windows = (o)->whole_windows;                                                            \
		(job).resume = (o)->resume;                                                                          \
		(job).n_threads = (o)->n_threads;                                                                    \
		(job).backend = (o)->backend;                                                                        \
		(job).no_figures = (o)->no_figures;                                                                  \
		(job).dry_run = (o)->dry_run;                                                                        \
	} while (0)

static cyc_polish_options polish_options(const cyc_refine_tilts_options *o, const cyc_optimisation_set *set,
                                         const char *dir)
{
	cyc_polish_options p = o->polish;
	FOR_BLOCK(p, o, set, dir);
	return p;
}

static cyc_ctfrefine_options ctfrefine_options(const cyc_refine_tilts_options *o,
                                               const cyc_optimisation_set *set, const char *dir)
{
	cyc_ctfrefine_options c = o->ctfrefine;
	FOR_BLOCK(c, o, set, dir);
	return c;
}

static cyc_status polish_block(char **set_name, job *j, const char *dir)
{
	cyc_status st = CYC_OK;
	const cyc_refine_tilts_options *o = j->o;
	cyc_polish_options p = polish_options(o, j->set, dir);
	cyc_polish_result r = { 0 };
	p.input = block_input(j);
	p.images = j->images;
	CYC_TRY(cyc_polish_run(&r, &p));
	j->result->shift_rms_A = r.shift_rms_A;
	j->result->position_rms_A = r.position_rms_A;
	if (!o->dry_run) CYC_TRY(cyc_strdup(set_name, r.optimisation_set));
done:
	cyc_polish_result_deinit(&r);
	return st;
}

static cyc_status ctfrefine_block(char **set_name, job *j, const char *dir)
{
	cyc_status st = CYC_OK;
	const cyc_refine_tilts_options *o = j->o;
	cyc_ctfrefine_options c = ctfrefine_options(o, j->set, dir);
	cyc_ctfrefine_result r = { 0 };
	c.input = block_input(j);
	c.images = j->images;
	CYC_TRY(cyc_ctfrefine_run(&r, &c));
	j->result->defocus_change_rms_A = r.defocus_change_rms_A;
	if (!o->dry_run) CYC_TRY(cyc_strdup(set_name, r.optimisation_set));
done:
	cyc_ctfrefine_result_deinit(&r);
	return st;
}

static cyc_status run_block(job *j, int32_t i)
{
	cyc_status st = CYC_OK;
	char *dir = NULL, *set_name = NULL;
	int kind = i % N_KINDS;
	CYC_TRY(block_folder(&dir, j, i));
	if (i < j->n_done) {
		CYC_TRY(cyc_asprintf(&set_name, "%soptimisation_set.star", dir));
		CYC_TRY(take_over(j, set_name));
		j->result->n_blocks_kept++;
		goto done;
	}
	cyc_info("round %d of %d: %s", i / N_KINDS + 1, j->o->n_rounds, kind == 0 ? "alignment" : "CTFs");
	CYC_TRY(kind == 0 ? polish_block(&set_name, j, dir) : ctfrefine_block(&set_name, j, dir));
	if (j->o->dry_run) goto done;
	CYC_TRY(take_over(j, set_name));
	CYC_TRY(mark_block(j, i));
	CYC_TRY(record_write(j, i + 1));
	cyc_outputs_settle();
	j->result->n_blocks_done++;
done:
	if (st != CYC_OK) cyc_error_context("%s of round %d", kind == 0 ? "alignment" : "CTFs", i / N_KINDS + 1);
	cyc_free(dir);
	cyc_free(set_name);
	return st;
}

/* ---------------------------------------------------------------- the job */

cyc_status cyc_refine_tilts_check(const cyc_refine_tilts_options *o, const cyc_project_view *p)
{
	cyc_status st = CYC_OK;
	const cyc_polish_options polish = polish_options(o, p->set, o->out_dir);
	const cyc_ctfrefine_options ctfrefine = ctfrefine_options(o, p->set, o->out_dir);
	CYC_CHECK(o->out_dir && o->out_dir[0], CYC_E_USAGE, "an output folder is needed (--o)");
	CYC_CHECK(o->n_rounds >= 1 && o->n_rounds <= 100, CYC_E_USAGE,
	          "the number of rounds must be 1 to 100, got %d", o->n_rounds);
	CYC_CHECK(o->cache_GB >= 0, CYC_E_USAGE, "the memory for images must not be negative, got %g GB",
	          o->cache_GB);
	CYC_CHECK(o->box_px > 0, CYC_E_USAGE, "a box size is needed (--b)");
	CYC_TRY(cyc_polish_check(&polish, p));
	CYC_TRY(cyc_ctfrefine_check(&ctfrefine, p));
done:
	return st;
}

/* As many images are kept as fit beside the refinements; no result depends on it. */
static cyc_status plan_memory(job *j, const cyc_tomogram_set *tomograms, const cyc_particle_set *particles)
{
	cyc_status st = CYC_OK;
	cyc_refine_tilts_options o = *j->o;
	cyc_project_size size;
	cyc_mrc_info info;
	char *path = NULL;
	const char *root = o.input.root ? o.input.root : "";
	CYC_TRY(cyc_project_size_of(&size, tomograms, particles, root));
	CYC_TRY(cyc_path_join(&path, root, j->set->reference_map1));
	CYC_TRY_CTX(cyc_mrc_read_info(&info, path), "half map 1");
	const cyc_reference_files files = { { j->set->reference_map1, j->set->reference_map2 },
		                                j->set->reference_mask,
		                                j->set->reference_fsc,
		                                root };
	/* 0: none, so that the other block's does not count either. */
	double cutoff_A = fmin(o.polish.frequency_cutoff_A, o.ctfrefine.frequency_cutoff_A), frequency_invA;
	CYC_TRY(cyc_reference_frequency(&frequency_invA, &files, cutoff_A, o.n_threads));
	int32_t radius = cyc_reference_radius(
		frequency_invA, o.box_px, tomograms->series[cyc_particle_set_first_series(particles)].pixel_size_A);
	double wanted = cyc_refine_tilts_memory_bytes(&o, &size, info.nx, radius);
	o.cache_GB = 0;
	double least = cyc_refine_tilts_memory_bytes(&o, &size, info.nx, radius);
	double room = fmax(MOST_OF_AVAILABLE * cyc_memory_available_bytes() - least, 0);
	j->images_bytes = fmin(wanted - least, room);
	if (j->images_bytes < wanted - least)
		cyc_info("only %.2f of %.2f GB of images can be kept in memory; the rest is read again each time",
		         j->images_bytes / 1e9, (wanted - least) / 1e9);
	CYC_TRY(cyc_memory_require(
		least + j->images_bytes, o.n_threads,
		"use a smaller box (--b) or range (--range), half maps of a smaller box, or fewer threads (--j)"));
done:
	cyc_free(path);
	return st;
}

/* Both blocks' checks before the first: an option of the second is not to be refused after an alignment. */
static cyc_status check_all(job *j)
{
	cyc_status st = CYC_OK;
	cyc_tomogram_set *tomograms = NULL;
	cyc_particle_set *particles = NULL;
	const char *root = j->o->input.root ? j->o->input.root : "";
	cyc_project_input input = j->o->input;
	CYC_TRY(cyc_project_read_tomograms(&tomograms, j->set, &input));
	CYC_TRY(cyc_particle_set_read(&particles, j->set->particles, j->set->trajectories, tomograms, root));
	const cyc_project_view view = {
		.root = root, .set = j->set, .tomograms = tomograms, .particles = particles
	};
	CYC_TRY(cyc_refine_tilts_check(j->o, &view));
	const cyc_survey_options survey = { .n_threads = 1 };
	CYC_TRY(cyc_survey_require(&view, &input, &survey));
	CYC_TRY(plan_memory(j, tomograms, particles));
done:
	cyc_particle_set_destroy(&particles);
	cyc_tomogram_set_destroy(&tomograms);
	return st;
}

static cyc_status prepare(job *j)
{
	cyc_status st = CYC_OK;
	const cyc_refine_tilts_options *o = j->o;
	const char *root = o->input.root ? o->input.root : "";
	CYC_CHECK(o->out_dir && o->out_dir[0], CYC_E_USAGE, "an output folder is needed (--o)");
	CYC_CHECK(o->n_rounds >= 1 && o->n_rounds <= 100, CYC_E_USAGE,
	          "the number of rounds must be 1 to 100, got %d", o->n_rounds);
	CYC_CHECK(o->cache_GB >= 0, CYC_E_USAGE, "the memory for images must not be negative, got %g GB",
	          o->cache_GB);
	CYC_TRY(
		cyc_asprintf(&j->out_dir, "%s%s", o->out_dir, o->out_dir[strlen(o->out_dir) - 1] == '/' ? "" : "/"));
	CYC_TRY(cyc_project_resolve(&j->set, &o->input));
	CYC_TRY(take(&j->set->reference_map1, o->ref1));
	CYC_TRY(take(&j->set->reference_map2, o->ref2));
	CYC_TRY(take(&j->set->reference_mask, o->mask));
	CYC_TRY(take(&j->set->reference_fsc, o->fsc));
	if (!j->set->reference_map1 || !j->set->reference_map2) {
		cyc_error_raise(
			CYC_E_USAGE, __FILE__, __LINE__, __func__,
			"two half maps are needed: --ref1 and --ref2, or an optimisation set that names them");
		cyc_error_hint("cyclotomo reconstruct writes half1.mrc, half2.mrc and such a set");
		st = CYC_E_USAGE;
		goto done;
	}
	CYC_TRY(check_all(j));
	CYC_TRY(cyc_image_cache_create(&j->images, j->images_bytes));
	if (o->dry_run) goto done;
	CYC_TRY(hash_inputs(&j->hash, o, j->set));
	CYC_TRY(cyc_alloc(&j->marks, N_KINDS * o->n_rounds, sizeof *j->marks));
	CYC_TRY(cyc_alloc(&j->keys, N_KINDS * o->n_rounds, sizeof *j->keys));
	CYC_TRY(cyc_asprintf(&j->record, "%s%s%srefine_tilts.record", root,
	                     root[0] && root[strlen(root) - 1] != '/' ? "/" : "", j->out_dir));
	char *folder = NULL;
	CYC_TRY(cyc_path_join(&folder, root, j->out_dir));
	st = cyc_make_dirs(folder);
	cyc_free(folder);
	CYC_TRY(st);
	if (o->resume) CYC_TRY(record_read(j));
done:
	return st;
}

static cyc_status write_set(job *j)
{
	cyc_status st = CYC_OK;
	const cyc_set_changes now = { 0 }; /* the half maps belong to the old tilts */
	CYC_TRY(cyc_asprintf(&j->result->optimisation_set, "%soptimisation_set.star", j->out_dir));
	CYC_TRY(cyc_optimisation_set_write_result(j->o->input.root ? j->o->input.root : "",
	                                          j->result->optimisation_set, j->set, &now));
done:
	return st;
}

cyc_status cyc_refine_tilts_run(cyc_refine_tilts_result *result, const cyc_refine_tilts_options *o)
{
	cyc_status st = CYC_OK;
	cyc_refine_tilts_result own = { 0 };
	job j = { .o = o, .result = result ? result : &own };
	memset(j.result, 0, sizeof *j.result);
	CYC_TRY(cyc_refine_tilts_spare_inputs(o, CYC_OUTPUT_RESULTS));
	CYC_TRY(prepare(&j));
	for (int32_t i = 0; i < N_KINDS * o->n_rounds; i++) {
		CYC_TRY(cyc_cancel_check());
		CYC_TRY(run_block(&j, i));
		cyc_memory_give_back();
		if (o->dry_run && i + 1 == N_KINDS) goto done; /* the next round's input is not there */
	}
	cyc_image_cache_counts(&j.result->n_images_kept, &j.result->n_images_read, j.images);
	cyc_info("%lld tilt images read, %lld times taken from memory", (long long)j.result->n_images_read,
	         (long long)j.result->n_images_kept);
	CYC_TRY(write_set(&j)); /* last: its being there says that all is */
done:
	cyc_image_cache_destroy(&j.images);
	for (int32_t i = 0; j.marks && i < N_KINDS * o->n_rounds; i++) cyc_file_marks_deinit(&j.marks[i]);
	cyc_free(j.marks);
	cyc_free(j.keys);
	cyc_optimisation_set_destroy(&j.set);
	cyc_free(j.out_dir);
	cyc_free(j.record);
	cyc_refine_tilts_result_deinit(&own);
	return st;
}
