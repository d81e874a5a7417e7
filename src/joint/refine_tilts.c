/*
 * Blocks in turn: polish, ctfrefine, polish, ... Each is the job of that name in a folder of its own, fed by the one before through
 * project files, so that every block can be looked at, repeated and resumed like any job; the images go through a cache.
 */
#include "cyclotomo/joint.h"

#include "cyclotomo/tilt.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { N_KINDS = 2 };
static const char *const FOLDER[N_KINDS] = { "Polish", "CtfRefine" };

void cyc_refine_tilts_options_default(cyc_refine_tilts_options *o)
{
	memset(o, 0, sizeof *o);
	cyc_polish_options_default(&o->polish);
	cyc_ctfrefine_options_default(&o->ctfrefine);
	o->polish.do_motion = true;
	o->n_rounds = 1;
	o->cache_GB = 4;
	o->n_threads = 1;
	o->backend = "cpu";
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
	cyc_optimisation_set *set; /* what the next block starts from; its references are those of the input */
	char *out_dir, *record;    /* relative to the root, and the record's path with it */
	uint64_t hash;
	int32_t n_done;            /* blocks of an interrupted run */
} job;

/* ---------------------------------------------------------------- what is done */

static cyc_status hash_options(uint64_t *hash, const cyc_refine_tilts_options *o, const cyc_optimisation_set *set)
{
	cyc_status st = CYC_OK;
	const cyc_polish_options *p = &o->polish;
	const cyc_ctfrefine_options *c = &o->ctfrefine;
	const char *const files[] = { set->particles, set->tomograms, set->trajectories, set->reference_map1, set->reference_map2, set->reference_mask, set->reference_fsc };
	char *text = NULL, *path = NULL;
	uint64_t h = CYC_HASH_INIT;
	CYC_TRY(cyc_asprintf(&text, "%d %d %.17g %d %.17g %d %.17g %d %d %.17g %d %d %d %d %d %d %.17g %.17g", o->box_px, o->whole_windows, p->range_px, p->do_motion,
	                     p->motion_sigma_A_per_dose, p->fixed_speed, p->motion_correlation_A, (int)p->deformation, p->deformation_per_tilt, c->defocus_range_A, c->do_defocus, c->do_scale,
	                     c->do_even_aberrations, c->do_odd_aberrations, c->do_bfactor, c->do_magnification, c->k_min_A, c->frequency_cutoff_A));
	h = cyc_hash_string(h, text);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		char *data = NULL;
		size_t n = 0;
		h = cyc_hash_string(h, files[i] ? files[i] : "");
		if (!files[i]) continue;
		CYC_TRY(cyc_path_join(&path, o->input.root ? o->input.root : "", files[i]));
		CYC_TRY(cyc_read_file(&data, &n, path));
		h = cyc_hash(h, data, n);
		cyc_free(data);
		cyc_free(path);
		path = NULL;
	}
	*hash = h;
done:
	cyc_free(text);
	cyc_free(path);
	return st;
}

static cyc_status record_write(const job *j, int32_t n_done)
{
	cyc_status st = CYC_OK;
	char *text = NULL;
	CYC_TRY(cyc_asprintf(&text, "cyclotomo-refine-tilts %016" PRIx64 " %d\n", j->hash, n_done));
	CYC_TRY(cyc_write_file(j->record, text, strlen(text)));
done:
	cyc_free(text);
	return st;
}

/* Blocks that an interrupted run with this input and these options has finished. */
static cyc_status record_read(job *j)
{
	cyc_status st = CYC_OK;
	char *text = NULL;
	size_t n;
	uint64_t hash;
	int done;
	if (!cyc_path_exists(j->record)) goto done;
	CYC_TRY(cyc_read_file(&text, &n, j->record));
	if (sscanf(text, "cyclotomo-refine-tilts %" SCNx64 " %d", &hash, &done) != 2 || hash != j->hash || done < 0)
		cyc_warn("%s is of another input or of other options: everything is done again", j->record);
	else j->n_done = done;
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
	return in;
}

static cyc_status polish_block(char **set_name, job *j, const char *dir)
{
	cyc_status st = CYC_OK;
	const cyc_refine_tilts_options *o = j->o;
	cyc_polish_options p = o->polish;
	cyc_polish_result r = { 0 };
	p.input = block_input(j);
	p.ref1 = j->set->reference_map1;
	p.ref2 = j->set->reference_map2;
	p.mask = j->set->reference_mask;
	p.fsc = j->set->reference_fsc;
	p.out_dir = dir;
	p.box_px = o->box_px;
	p.whole_windows = o->whole_windows;
	p.resume = o->resume;
	p.n_threads = o->n_threads;
	p.backend = o->backend;
	p.no_figures = o->no_figures;
	p.dry_run = o->dry_run;
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
	cyc_ctfrefine_options c = o->ctfrefine;
	cyc_ctfrefine_result r = { 0 };
	c.input = block_input(j);
	c.ref1 = j->set->reference_map1;
	c.ref2 = j->set->reference_map2;
	c.mask = j->set->reference_mask;
	c.fsc = j->set->reference_fsc;
	c.out_dir = dir;
	c.box_px = o->box_px;
	c.whole_windows = o->whole_windows;
	c.resume = o->resume;
	c.n_threads = o->n_threads;
	c.backend = o->backend;
	c.no_figures = o->no_figures;
	c.dry_run = o->dry_run;
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
	CYC_TRY(cyc_asprintf(&dir, "%s%s/job%03d/", j->out_dir, FOLDER[kind], i + 1));
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
	CYC_TRY(record_write(j, i + 1));
	j->result->n_blocks_done++;
done:
	if (st != CYC_OK) cyc_error_context("%s of round %d", kind == 0 ? "alignment" : "CTFs", i / N_KINDS + 1);
	cyc_free(dir);
	cyc_free(set_name);
	return st;
}

/* ---------------------------------------------------------------- the job */

static cyc_status prepare(job *j)
{
	cyc_status st = CYC_OK;
	const cyc_refine_tilts_options *o = j->o;
	const char *root = o->input.root ? o->input.root : "";
	CYC_CHECK(o->out_dir && o->out_dir[0], CYC_E_USAGE, "an output folder is needed (--o)");
	CYC_CHECK(o->n_rounds >= 1 && o->n_rounds <= 100, CYC_E_USAGE, "the number of rounds must be 1 to 100, got %d", o->n_rounds);
	CYC_CHECK(o->cache_GB >= 0, CYC_E_USAGE, "the memory for images must not be negative, got %g GB", o->cache_GB);
	CYC_TRY(cyc_asprintf(&j->out_dir, "%s%s", o->out_dir, o->out_dir[strlen(o->out_dir) - 1] == '/' ? "" : "/"));
	CYC_TRY(cyc_project_resolve(&j->set, &o->input));
	CYC_TRY(take(&j->set->reference_map1, o->ref1));
	CYC_TRY(take(&j->set->reference_map2, o->ref2));
	CYC_TRY(take(&j->set->reference_mask, o->mask));
	CYC_TRY(take(&j->set->reference_fsc, o->fsc));
	if (!j->set->reference_map1 || !j->set->reference_map2) {
		cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__, "two half maps are needed: --ref1 and --ref2, or an optimisation set that names them");
		cyc_error_hint("cyclotomo reconstruct writes half1.mrc, half2.mrc and such a set");
		st = CYC_E_USAGE;
		goto done;
	}
	CYC_TRY(cyc_image_cache_create(&j->images, 1e9 * o->cache_GB));
	if (o->dry_run) goto done;
	CYC_TRY(hash_options(&j->hash, o, j->set));
	CYC_TRY(cyc_asprintf(&j->record, "%s%s%srefine_tilts.record", root, root[0] && root[strlen(root) - 1] != '/' ? "/" : "", j->out_dir));
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
	char *path = NULL;
	/* The half maps belong to the old tilts. */
	char **const drop[] = { &j->set->reference_map1, &j->set->reference_map2, &j->set->reference_fsc };
	for (size_t i = 0; i < sizeof drop / sizeof *drop; i++) {
		cyc_free(*drop[i]);
		*drop[i] = NULL;
	}
	CYC_TRY(cyc_asprintf(&j->result->optimisation_set, "%soptimisation_set.star", j->out_dir));
	CYC_TRY(cyc_path_join(&path, j->o->input.root ? j->o->input.root : "", j->result->optimisation_set));
	CYC_TRY(cyc_optimisation_set_write(j->set, path));
done:
	cyc_free(path);
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
		if (o->dry_run && i + 1 == N_KINDS) goto done; /* the next round's input is not there */
	}
	cyc_image_cache_counts(&j.result->n_images_kept, &j.result->n_images_read, j.images);
	cyc_info("%lld tilt images read, %lld times taken from memory", (long long)j.result->n_images_read, (long long)j.result->n_images_kept);
	CYC_TRY(write_set(&j)); /* last: its being there says that all is */
done:
	cyc_image_cache_destroy(&j.images);
	cyc_optimisation_set_destroy(&j.set);
	cyc_free(j.out_dir);
	cyc_free(j.record);
	cyc_refine_tilts_result_deinit(&own);
	return st;
}
