/* The one table of what jobs may write, and the comparison of it with what they read. */
#include "cyclotomo/outputs.h"

#include "cyclotomo/mrc.h"

#include "project/tomograms_internal.h"
#include "project/labels.h"

#include <fnmatch.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---------------------------------------------------------------- what jobs write */

#define POLISHED                                                                                             \
	"tomograms.star", "particles.star", "motion.star", "uncertainty.star", "optimisation_set.star",          \
		"*_polish.png", "logfile.pdf", "tilt_series/*", "temp/*"
#define CTF_REFINED                                                                                          \
	"tomograms.star", "uncertainty.star", "refinement.txt", "optimisation_set.star", "*_ctf.png",            \
		"logfile.pdf", "tilt_series/*", "temp/*"

static const char *const RECONSTRUCT[] = { "half[12].mrc",
	                                       "half[12]_full.mrc",
	                                       "merged.mrc",
	                                       "merged_full.mrc",
	                                       "data_*.mrc",
	                                       "weight_*.mrc",
	                                       "optimisation_set.star",
	                                       "temp/*",
	                                       NULL };
static const char *const POSTPROCESS[] = { ".mrc",   "_*.mrc",     ".star",    "_optimisation_set.star",
	                                       "_fsc.*", "_guinier.*", "_locres*", ".run.json",
	                                       NULL };
/* Beside the root name, in its folder. */
static const char *const POSTPROCESS_BESIDE[] = { "logfile.pdf", "histogram.pdf", NULL };
static const char *const MASK[] = { "", NULL };
static const char *const CTFREFINE[] = { CTF_REFINED, "particles.star", "aberrations.star",
	                                     "aberrations_group*.png", NULL };
static const char *const CTFREFINE_TILTS[] = { CTF_REFINED, NULL };
static const char *const POLISH[] = { POLISHED, NULL };
static const char *const REFINE_TILTS[] = {
	"optimisation_set.star", "refine_tilts.record", "temp/*", "Polish/job*/*", "Polish/job*/*/*",
	"CtfRefine/job*/*",      "CtfRefine/job*/*/*",  NULL
};
static const char *const EXTRACT[] = { "particles.star", "motion.star",      "optimisation_set.star",
	                                   "Subtomograms/*", "Subtomograms/*/*", "Subtomograms/*/*/*",
	                                   "extract.record", "temp/*",           NULL };
static const char *const REFINE[] = { "run_*", "optimisation_set.star", "temp/*", NULL };
static const char *const JUDGE[] = { "run_improbable.star", "particles.star", NULL };
static const char *const SEPARATE[] = { "particles.star", "optimisation_set.star", NULL };
static const char *const CYCLE[] = { "particles.star",
	                                 "motion.star",
	                                 "optimisation_set.star",
	                                 "summary.html",
	                                 "summary.json",
	                                 "default_pipeline.star",
	                                 "default_pipeline_before.star",
	                                 "cyclotomo_cycle.star",
	                                 "cyclotomo_jobs.star",
	                                 "cyclotomo_images.record",
	                                 ".cyclotomo_lock",
	                                 "Reconstruct/job*/*",
	                                 "PostProcess/job*/*",
	                                 "CtfRefine/job*/*",
	                                 "CtfRefine/job*/*/*",
	                                 "Polish/job*/*",
	                                 "Polish/job*/*/*",
	                                 "Refine3D/job*/*",
	                                 "Refine3D/job*/*/*",
	                                 "LocalRes/*_locres.mrc",
	                                 ".cyclotomo_progress",
	                                 ".cyclotomo_parts",
	                                 "slurm/*",
	                                 NULL };
static const char *const CHECK[] = { "tomograms.star", "particles.star", "optimisation_set.star",
	                                 "tilt_series/*", NULL };
static const char *const SIMULATE[] = { "optimisation_set.star",
	                                    "particles.star",
	                                    "tomograms.star",
	                                    "tilt_series/*",
	                                    "frames/*",
	                                    "stacks/*",
	                                    "truth/*",
	                                    "mask_align.mrc",
	                                    "mask_fsc.mrc",
	                                    "optimisation_set.run.json",
	                                    NULL };
static const char *const STAR[] = { "", NULL };
static const char *const IMPORT[] = { "tomograms.star", "particles.star", "optimisation_set.star",
	                                  "tilt_series/*", NULL };
/* Written by the layer above the jobs. */
static const char *const RECORDS[] = { "job.star",          "note.txt",
	                                   "run.json",          "run_part*of*.json",
	                                   "RELION_JOB_EXIT_*", "RELION_JOB_ABORT_NOW",
	                                   ".cyclotomo_files",  NULL };

static const struct {
	const char *const *patterns;
	bool is_folder;
	bool may_be_root; /* the folder is a project of its own */
	bool has_tables;  /* tilt tables, where the old ones were behind their job folder */
} KINDS[CYC_N_OUTPUTS] = {
	[CYC_OUTPUT_RECONSTRUCT] = { RECONSTRUCT, true, false, false },
	[CYC_OUTPUT_POSTPROCESS] = { POSTPROCESS, false, true, false },
	[CYC_OUTPUT_MASK] = { MASK, false, true, false },
	[CYC_OUTPUT_CTFREFINE] = { CTFREFINE, true, false, true },
	[CYC_OUTPUT_CTFREFINE_TILTS] = { CTFREFINE_TILTS, true, false, true },
	[CYC_OUTPUT_POLISH] = { POLISH, true, false, true },
	[CYC_OUTPUT_REFINE_TILTS] = { REFINE_TILTS, true, false, false },
	[CYC_OUTPUT_EXTRACT] = { EXTRACT, true, false, false },
	[CYC_OUTPUT_REFINE] = { REFINE, true, false, false },
	[CYC_OUTPUT_JUDGE] = { JUDGE, true, false, false },
	[CYC_OUTPUT_SEPARATE] = { SEPARATE, true, false, false },
	[CYC_OUTPUT_CYCLE] = { CYCLE, true, false, false },
	[CYC_OUTPUT_CHECK] = { CHECK, true, false, true },
	[CYC_OUTPUT_SIMULATE] = { SIMULATE, true, true, false },
	[CYC_OUTPUT_STAR] = { STAR, false, true, false },
	[CYC_OUTPUT_IMPORT] = { IMPORT, true, false, false },
};

/* What is not there or is no STAR file is reported by the job itself; want of memory is not passed over. */
static cyc_status unless_no_memory(cyc_status st)
{
	if (st == CYC_E_NOMEM) return st;
	if (st != CYC_OK) cyc_error_clear();
	return CYC_OK;
}

/* ---------------------------------------------------------------- lists of files */

typedef struct {
	dev_t device;
	ino_t inode;
	char *name; /* as it is shown */
} file_id;

typedef struct {
	file_id *items;
	int64_t n, room;
} file_list;

static void list_deinit(file_list *l)
{
	for (int64_t i = 0; i < l->n; i++) cyc_free(l->items[i].name);
	cyc_free(l->items);
	*l = (file_list){ 0 };
}

static cyc_status list_put(file_list *l, const struct stat *s, const char *name)
{
	cyc_status st = CYC_OK;
	if (S_ISDIR(s->st_mode)) return CYC_OK;
	if (l->n == l->room) {
		int64_t room = l->room > 0 ? 2 * l->room : 64;
		CYC_TRY(cyc_realloc(&l->items, (size_t)l->n, (size_t)room, sizeof *l->items));
		l->room = room;
	}
	l->items[l->n] = (file_id){ s->st_dev, s->st_ino, NULL };
	CYC_TRY(cyc_strdup(&l->items[l->n].name, name));
	l->n++;
done:
	return st;
}

/* Note an existing file, and the link by which it is reached, if it is one. */
static cyc_status list_add(file_list *l, const char *path, const char *name)
{
	cyc_status st = CYC_OK;
	struct stat s, link;
	if (stat(path, &s) != 0) return CYC_OK;
	CYC_TRY(list_put(l, &s, name));
	if (lstat(path, &link) == 0 && S_ISLNK(link.st_mode)) CYC_TRY(list_put(l, &link, name));
done:
	return st;
}

/* Note what a new file would replace: of a link the link, not where it leads. */
static cyc_status list_add_replaced(file_list *l, const char *path)
{
	struct stat s;
	return lstat(path, &s) == 0 ? list_put(l, &s, path) : CYC_OK;
}

static int by_identity(const void *a, const void *b)
{
	const file_id *const x = a, *const y = b;
	if (x->device != y->device) return x->device < y->device ? -1 : 1;
	return (x->inode > y->inode) - (x->inode < y->inode);
}

/* ---------------------------------------------------------------- what exists already */

/* Blanks, brackets and stars in a folder's name stand for themselves. */
static cyc_status escape(char **out, const char *path)
{
	cyc_status st = CYC_OK;
	char *to = NULL;
	CYC_TRY(cyc_alloc_(&to, 2 * strlen(path) + 1, 1, path));
	*out = to;
	for (const char *c = path; *c; c++) {
		if (strchr("*?[]\\", *c)) *to++ = '\\';
		*to++ = *c;
	}
	*to = '\0';
done:
	return st;
}

/* A folder that has the name of a file would be noticed when half of the results are written. */
static cyc_status refuse_folder(const char *path, const char *pattern)
{
	cyc_status st = CYC_OK;
	struct stat s;
	if (strpbrk(pattern, "*?[") || stat(path, &s) != 0 || !S_ISDIR(s.st_mode)) return CYC_OK;
	st = cyc_error_raise(CYC_E_IO, __FILE__, __LINE__, __func__,
	                     "'%s' is a folder, but a file of this name is to be written", path);
	cyc_error_hint("rename the folder, or choose another output (--o); nothing was written");
	return st;
}

/* Files under the names `patterns` behind `start`, through links of any kind. */
static cyc_status find_below(file_list *found, const char *start, const char *const *patterns)
{
	cyc_status st = CYC_OK;
	char *escaped = NULL, *pattern = NULL;
	glob_t g = { 0 };
	CYC_TRY(escape(&escaped, start));
	for (int i = 0; patterns[i]; i++) {
		CYC_TRY(cyc_asprintf(&pattern, "%s%s", escaped, patterns[i]));
		int rc = glob(pattern, GLOB_NOSORT, NULL, &g);
		CYC_CHECK(rc != GLOB_NOSPACE, CYC_E_NOMEM, "no memory for the names of the files in '%s'", start);
		for (size_t k = 0; rc == 0 && k < g.gl_pathc; k++) {
			CYC_TRY(refuse_folder(g.gl_pathv[k], patterns[i]));
			CYC_TRY(list_add_replaced(found, g.gl_pathv[k]));
			/* note.txt is added to, and so reached through links. */
			if (patterns == RECORDS) CYC_TRY(list_add(found, g.gl_pathv[k], g.gl_pathv[k]));
		}
		globfree(&g);
		g = (glob_t){ 0 };
		cyc_free(pattern);
		pattern = NULL;
	}
done:
	globfree(&g);
	cyc_free(escaped);
	cyc_free(pattern);
	return st;
}

/* root/out, without steps back from folders that will only be made: writing to "new/../job001" reaches
 * job001. */
static cyc_status output_path(char **out, const cyc_output_plan *p)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	size_t n = 0;
	struct stat s;
	CYC_TRY(cyc_path_join(&path, p->root, p->out));
	CYC_TRY(cyc_alloc_(out, strlen(path) + 1, 1, path));
	for (const char *c = path; *c;) {
		size_t length = strcspn(c, "/"), slashes = strspn(c + length, "/");
		(*out)[n] = '\0';
		if (length == 2 && strncmp(c, "..", 2) == 0 && n > 0 && lstat(*out, &s) != 0) {
			while (n > 0 && (*out)[n - 1] == '/') n--;
			while (n > 0 && (*out)[n - 1] != '/') n--;
			length = slashes = 0;
			c += 2 + strspn(c + 2, "/");
		}
		memcpy(*out + n, c, length + slashes);
		n += length + slashes;
		c += length + slashes;
	}
	(*out)[n] = '\0';
	if (n == 0) strcpy(*out, "."); /* "new/..", longer than that */
done:
	cyc_free(path);
	return st;
}

/* What the names of a run's outputs start with: its folder and a slash, or the name itself. */
static cyc_status output_start(char **start, const cyc_output_plan *p)
{
	cyc_status st = CYC_OK;
	cyc_output_kind kind = p->kind;
	char *path = NULL, *file = NULL;
	int64_t section;
	bool is_stack;
	CYC_TRY(output_path(&path, p));
	/* The writer of maps takes "map:mrc" for the file "map". */
	if (kind == CYC_OUTPUT_MASK)
		CYC_TRY(unless_no_memory(cyc_mrc_split_name(&file, &section, &is_stack, path)));
	size_t n = strlen(path);
	bool lacks_slash = KINDS[kind].is_folder && (n == 0 || path[n - 1] != '/');
	CYC_TRY(cyc_asprintf(start, "%s%s", file ? file : path, lacks_slash ? "/" : ""));
done:
	cyc_free(path);
	cyc_free(file);
	return st;
}

static cyc_status find_outputs(file_list *found, const cyc_output_plan *p, cyc_output_extent extent)
{
	cyc_status st = CYC_OK;
	char *start = NULL, *beside = NULL;
	CYC_TRY(output_start(&start, p));
	CYC_TRY(cyc_path_dir(&beside, start));
	CYC_TRY(find_below(found, start, KINDS[p->kind].patterns));
	if (p->kind == CYC_OUTPUT_POSTPROCESS) CYC_TRY(find_below(found, beside, POSTPROCESS_BESIDE));
	if (extent == CYC_OUTPUT_ALL && KINDS[p->kind].is_folder) CYC_TRY(find_below(found, start, RECORDS));
done:
	cyc_free(start);
	cyc_free(beside);
	return st;
}

/* ---------------------------------------------------------------- what is read */

typedef struct {
	const cyc_output_plan *plan;
	file_list inputs, found;
} comparison;

static cyc_status add_input(comparison *c, const char *name)
{
	cyc_status st = CYC_OK;
	char *bare = NULL, *path = NULL;
	int64_t section;
	bool is_stack;
	if (!name || !name[0]) return CYC_OK;
	CYC_TRY(cyc_path_join(&path, c->plan->root, name));
	CYC_TRY(list_add(&c->inputs, path, name));
	/* "3@stack.mrcs", "map:mrc" */
	if (strpbrk(name, "@:")) CYC_TRY(unless_no_memory(cyc_mrc_split_name(&bare, &section, &is_stack, name)));
	if (!bare) goto done;
	cyc_free(path);
	path = NULL;
	CYC_TRY(cyc_path_join(&path, c->plan->root, bare));
	CYC_TRY(list_add(&c->inputs, path, bare));
done:
	cyc_free(bare);
	cyc_free(path);
	return st;
}

/* NULL for what cannot be read. */
static cyc_status read_if_possible(cyc_star **out, const comparison *c, const char *name)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	*out = NULL;
	if (!name || !name[0]) return CYC_OK;
	CYC_TRY(cyc_path_join(&path, c->plan->root, name));
	if (cyc_path_exists(path)) CYC_TRY(unless_no_memory(cyc_star_read(out, path)));
done:
	cyc_free(path);
	return st;
}

/* All files that a column names. A stack is named by each of its sections, one after the other. */
static cyc_status add_column(comparison *c, const cyc_star_block *b, const char *label)
{
	cyc_status st = CYC_OK;
	int32_t column = cyc_star_column(b, label);
	const char *last = "";
	for (int64_t row = 0; column >= 0 && row < cyc_star_n_rows(b); row++) {
		const char *text = cyc_star_text(b, row, column), *at = strchr(text, '@'), *file = at ? at + 1 : text;
		if (strcmp(file, last) != 0) CYC_TRY(add_input(c, text));
		last = file;
	}
done:
	return st;
}

static cyc_status add_images(comparison *c, const cyc_star *s)
{
	cyc_status st = CYC_OK;
	static const char *const LABELS[] = { CYC_RLN_MICROGRAPH_NAME, CYC_RLN_TOMO_TILT_SERIES_NAME,
		                                  CYC_RLN_IMAGE_NAME, CYC_RLN_CTF_IMAGE, CYC_RLN_MTF_FILE_NAME };
	for (int32_t i = 0; s && i < cyc_star_n_blocks(s); i++)
		for (size_t k = 0; k < sizeof LABELS / sizeof *LABELS; k++)
			CYC_TRY(add_column(c, cyc_star_block_at(s, i), LABELS[k]));
done:
	return st;
}

/* The table of a series, its images, and what exists already under the name that a new table would get. */
static cyc_status add_table(comparison *c, const char *name)
{
	cyc_status st = CYC_OK;
	cyc_star *table = NULL;
	char *path = NULL, *full = NULL;
	CYC_TRY(add_input(c, name));
	CYC_TRY(read_if_possible(&table, c, name));
	CYC_TRY(add_images(c, table));
	if (!KINDS[c->plan->kind].has_tables) goto done;
	CYC_TRY(output_path(&path, c->plan));
	CYC_TRY(cyc_path_join(&full, path, cyc__behind_job(name)));
	CYC_TRY(list_add_replaced(&c->found, full));
done:
	cyc_star_destroy(&table);
	cyc_free(path);
	cyc_free(full);
	return st;
}

static cyc_status add_tomograms(comparison *c, const char *name)
{
	cyc_status st = CYC_OK;
	cyc_star *s = NULL;
	CYC_TRY(add_input(c, name));
	CYC_TRY(read_if_possible(&s, c, name));
	CYC_TRY(add_images(c, s));
	for (int32_t i = 0; s && i < cyc_star_n_blocks(s); i++) {
		const cyc_star_block *b = cyc_star_block_at(s, i);
		int32_t column = cyc_star_column(b, CYC_RLN_TOMO_TILT_SERIES_STAR_FILE);
		for (int64_t row = 0; column >= 0 && row < cyc_star_n_rows(b); row++)
			CYC_TRY(add_table(c, cyc_star_text(b, row, column)));
	}
done:
	cyc_star_destroy(&s);
	return st;
}

/* Extracted images, of a job that reads them. */
static cyc_status add_stacks(comparison *c, const char *particles)
{
	cyc_status st = CYC_OK;
	cyc_star *s = NULL;
	if (!c->plan->reads_stacks) return CYC_OK;
	CYC_TRY(read_if_possible(&s, c, particles));
	CYC_TRY(add_images(c, s));
done:
	cyc_star_destroy(&s);
	return st;
}

static cyc_status add_set(comparison *c, const char *name)
{
	cyc_status st = CYC_OK;
	cyc_optimisation_set *set = NULL;
	char *path = NULL;
	CYC_TRY(add_input(c, name));
	CYC_TRY(cyc_path_join(&path, c->plan->root, name));
	if (cyc_path_exists(path)) CYC_TRY(unless_no_memory(cyc_optimisation_set_read(&set, path)));
	if (!set) goto done;
	const char *files[] = { set->particles,      set->trajectories,   set->manifolds,    set->reference_map1,
		                    set->reference_map2, set->reference_mask, set->reference_fsc };
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) CYC_TRY(add_input(c, files[i]));
	if (set->tomograms) CYC_TRY(add_tomograms(c, set->tomograms));
	CYC_TRY(add_stacks(c, set->particles));
done:
	cyc_optimisation_set_destroy(&set);
	cyc_free(path);
	return st;
}

static cyc_status add_project(comparison *c, const cyc_project_input *in)
{
	cyc_status st = CYC_OK;
	if (in->optimisation_set && in->optimisation_set[0]) CYC_TRY(add_set(c, in->optimisation_set));
	CYC_TRY(add_input(c, in->particles));
	CYC_TRY(add_input(c, in->trajectories));
	if (in->tomograms && in->tomograms[0]) CYC_TRY(add_tomograms(c, in->tomograms));
	CYC_TRY(add_stacks(c, in->particles));
done:
	return st;
}

static cyc_status add_inputs(comparison *c)
{
	cyc_status st = CYC_OK;
	if (c->plan->input) CYC_TRY(add_project(c, c->plan->input));
	for (int32_t i = 0; i < c->plan->n_files; i++) {
		const char *name = c->plan->files[i];
		size_t n = name ? strlen(name) : 0;
		if (n > 5 && strcmp(name + n - 5, ".star") == 0) CYC_TRY(add_set(c, name));
		else CYC_TRY(add_input(c, name));
	}
done:
	return st;
}

/* ---------------------------------------------------------------- the comparison */

static cyc_status refuse_root(bool *is_there, const cyc_output_plan *p)
{
	cyc_status st = CYC_OK;
	struct stat root, out;
	char *path = NULL;
	CYC_TRY(output_path(&path, p));
	*is_there = stat(path, &out) == 0;
	if (!*is_there || KINDS[p->kind].may_be_root) goto done;
	if (stat(p->root && p->root[0] ? p->root : ".", &root) == 0 && root.st_dev == out.st_dev &&
	    root.st_ino == out.st_ino) {
		st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__,
		                     "the output folder '%s' is the project itself", p->out);
		cyc_error_hint("give the job its own folder, for example --o job001; nothing was written");
	}
done:
	cyc_free(path);
	return st;
}

static cyc_status compare(comparison *c)
{
	cyc_status st = CYC_OK;
	if (c->inputs.n > 0) qsort(c->inputs.items, (size_t)c->inputs.n, sizeof *c->inputs.items, by_identity);
	for (int64_t i = 0; i < c->found.n && c->inputs.n > 0; i++) {
		const file_id *in =
			bsearch(&c->found.items[i], c->inputs.items, (size_t)c->inputs.n, sizeof *in, by_identity);
		if (!in) continue;
		st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__,
		                     "the output '%s' would overwrite an input of this run: '%s' is the same file",
		                     c->found.items[i].name, in->name);
		cyc_error_hint("choose another output (--o): %s; nothing was written",
		               KINDS[c->plan->kind].is_folder ? "a separate folder for each job"
		                                              : "a different name");
		break;
	}
	return st;
}

cyc_status cyc_outputs_spare_inputs(const cyc_output_plan *plan, cyc_output_extent extent)
{
	cyc_status st = CYC_OK;
	comparison c = { .plan = plan };
	bool is_there = false;
	if (!plan->out || !plan->out[0]) return CYC_OK;
	if (KINDS[plan->kind].is_folder) CYC_TRY(refuse_root(&is_there, plan));
	if (KINDS[plan->kind].is_folder && !is_there) goto done;
	CYC_TRY(find_outputs(&c.found, plan, extent));
	if (c.found.n == 0 && !KINDS[plan->kind].has_tables) goto done;
	CYC_TRY(add_inputs(&c));
	CYC_TRY(compare(&c));
done:
	list_deinit(&c.inputs);
	list_deinit(&c.found);
	return st;
}

cyc_status cyc_outputs_find(char **found, cyc_output_kind kind, const char *root, const char *out)
{
	cyc_status st = CYC_OK;
	file_list l = { 0 };
	cyc_output_plan plan = { .kind = kind, .root = root, .out = out };
	*found = NULL;
	CYC_TRY(find_outputs(&l, &plan, CYC_OUTPUT_RESULTS));
	if (l.n > 0) {
		*found = l.items[0].name;
		l.items[0].name = NULL;
	}
done:
	list_deinit(&l);
	return st;
}

static bool matches_any(const char *const *patterns, const char *name)
{
	for (int i = 0; patterns[i]; i++)
		if (fnmatch(patterns[i], name, FNM_PATHNAME) == 0) return true;
	return false;
}

bool cyc_outputs_may_write(cyc_output_kind kind, const char *name)
{
	return matches_any(KINDS[kind].patterns, name) || (KINDS[kind].is_folder && matches_any(RECORDS, name)) ||
	       (kind == CYC_OUTPUT_POSTPROCESS && matches_any(POSTPROCESS_BESIDE, name));
}

bool cyc_outputs_is_record(const char *name) { return matches_any(RECORDS, name); }
