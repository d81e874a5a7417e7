/* Shares of a job, and the notes that connect parts and the job that gathers them. */
#include "cyclotomo/parts.h"

#include "cyclotomo/record.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char KIND[] = "part";

cyc_status cyc_part_parse(cyc_part *out, const char *text)
{
	cyc_status st = CYC_OK;
	int n = 0;
	*out = (cyc_part){ 0, 0 };
	if (!text || !text[0]) return CYC_OK;
	const char *slash = strchr(text, '/');
	bool is_plain = slash && slash > text && slash - text <= 6 && strlen(slash + 1) <= 6 && slash[1] &&
	                strspn(text, "0123456789") == (size_t)(slash - text) &&
	                strspn(slash + 1, "0123456789") == strlen(slash + 1);
	CYC_CHECK(is_plain && sscanf(text, "%d/%d%n", &out->k, &out->n, &n) == 2, CYC_E_USAGE,
	          "--part must be k/n, as in 2/5, got '%s'", text);
	CYC_CHECK(out->n >= 1 && out->n <= CYC_MAX_PARTS && out->k <= out->n, CYC_E_USAGE,
	          "--part k/n needs k from 0 to n, and n from 1 to %d, got '%s'", CYC_MAX_PARTS, text);
done:
	return st;
}

/* ---------------------------------------------------------------- dealing */

typedef struct {
	double cost;
	int32_t i;
} unit;

static int by_cost(const void *a, const void *b)
{
	const unit *const x = a, *const y = b;
	if (x->cost != y->cost) return x->cost > y->cost ? -1 : 1;
	return (x->i > y->i) - (x->i < y->i);
}

cyc_status cyc_parts_deal(int32_t *owner, const double *cost, int32_t n_units, int32_t n_parts)
{
	cyc_status st = CYC_OK;
	unit *units = NULL;
	double *load = NULL;
	CYC_TRY(cyc_alloc(&units, n_units, sizeof *units));
	CYC_TRY(cyc_alloc(&load, n_parts, sizeof *load));
	for (int32_t i = 0; i < n_units; i++) units[i] = (unit){ cost[i], i };
	if (n_units > 0) qsort(units, (size_t)n_units, sizeof *units, by_cost);
	for (int32_t u = 0; u < n_units; u++) {
		int32_t least = 0;
		for (int32_t p = 1; p < n_parts; p++)
			if (load[p] < load[least]) least = p;
		owner[units[u].i] = least;
		load[least] += units[u].cost;
	}
done:
	cyc_free(units);
	cyc_free(load);
	return st;
}

/* Reading an image with its noise and outliers takes about as long as so many windows. */
static const double WINDOWS_OF_IMAGE = 20.0;

double cyc_series_cost(int32_t n_tilts, int64_t n_particles)
{
	return n_particles > 0 ? n_tilts * ((double)n_particles + WINDOWS_OF_IMAGE) : 0.0;
}

cyc_status cyc_share_create(cyc_share *s, const char *text, const cyc_tomogram_set *tomograms,
                            const cyc_particle_set *particles)
{
	cyc_status st = CYC_OK;
	int32_t n = tomograms->n_series, *owner = NULL;
	double *cost = NULL;
	*s = (cyc_share){ 0 };
	CYC_TRY(cyc_part_parse(&s->part, text));
	CYC_TRY(cyc_alloc(&s->is_own, n, sizeof *s->is_own));
	CYC_TRY(cyc_alloc(&owner, n, sizeof *owner));
	CYC_TRY(cyc_alloc(&cost, n, sizeof *cost));
	for (int32_t i = 0; i < n; i++)
		cost[i] = cyc_series_cost(tomograms->series[i].n_tilts,
		                          particles->series_first[i + 1] - particles->series_first[i]);
	s->is_on_ranks = s->part.n == 0 && cyc_ranks_in_job() > 1;
	/* -1: of part 0, which has none. */
	int32_t own = s->is_on_ranks ? cyc_rank() : s->part.k - 1;
	bool is_dealt = s->is_on_ranks || s->part.n > 0;
	if (is_dealt) CYC_TRY(cyc_parts_deal(owner, cost, n, s->is_on_ranks ? cyc_ranks_in_job() : s->part.n));
	for (int32_t i = 0; i < n; i++) {
		s->is_own[i] = cost[i] > 0 && (!is_dealt || owner[i] == own);
		s->n_own += s->is_own[i];
	}
	if (s->is_on_ranks)
		cyc_info("%d tilt series on %d ranks, %d of them on rank 0", n, cyc_ranks_in_job(), s->n_own);
	if (s->part.k > 0) cyc_info("part %d/%d: %d of %d tilt series", s->part.k, s->part.n, s->n_own, n);
done:
	if (st != CYC_OK) cyc_share_deinit(s);
	cyc_free(owner);
	cyc_free(cost);
	return st;
}

void cyc_share_deinit(cyc_share *s)
{
	cyc_free(s->is_own);
	*s = (cyc_share){ 0 };
}

/* ---------------------------------------------------------------- notes */

static cyc_status note_path(char **path, const char *out, const cyc_part *p)
{
	cyc_status st = CYC_OK;
	char *dir = NULL;
	CYC_TRY(cyc_path_join(&dir, out, "temp"));
	CYC_TRY(cyc_asprintf(path, "%s/part%dof%d.record", dir, p->k, p->n));
done:
	cyc_free(dir);
	return st;
}

/* The next note in a folder; false at its end. */
static bool next_note(cyc_part *p, DIR *d)
{
	const struct dirent *e;
	while (d && (e = readdir(d)) != NULL) {
		int n = 0;
		if (sscanf(e->d_name, "part%dof%d.record%n", &p->k, &p->n, &n) == 2 && n > 0 && !e->d_name[n] &&
		    p->n >= 1 && p->n <= CYC_MAX_PARTS && p->k >= 0 && p->k <= p->n)
			return true;
	}
	return false;
}

/* *d: NULL without a folder of notes. */
static cyc_status open_notes(DIR **d, const char *out)
{
	cyc_status st = CYC_OK;
	char *dir = NULL;
	*d = NULL;
	CYC_TRY(cyc_path_join(&dir, out, "temp"));
	*d = opendir(dir);
done:
	cyc_free(dir);
	return st;
}

cyc_status cyc_parts_exist(bool *found, const char *out)
{
	cyc_status st = CYC_OK;
	cyc_part p;
	DIR *d = NULL;
	*found = false;
	CYC_TRY(open_notes(&d, out));
	*found = next_note(&p, d);
done:
	if (d) closedir(d);
	return st;
}

cyc_status cyc_parts_forget(const char *out)
{
	cyc_status st = CYC_OK;
	cyc_part p;
	char *path = NULL;
	DIR *d = NULL;
	CYC_TRY(open_notes(&d, out));
	while (next_note(&p, d)) {
		CYC_TRY(note_path(&path, out, &p));
		unlink(path);
		cyc_free(path);
		path = NULL;
	}
done:
	cyc_free(path);
	if (d) closedir(d);
	return st;
}

/* What a note says: whether it is of this key, whether its part has finished, and when that had begun. */
typedef struct {
	bool is_here, is_finished, is_other;
	int64_t begun_s, begun_ns;
} note;

static cyc_status read_note(note *found, const char *path, uint64_t key)
{
	cyc_status st = CYC_OK;
	char *text = NULL;
	int64_t n_other = 0;
	struct stat s;
	*found = (note){ 0 };
	CYC_TRY(cyc_record_read_text(&text, path, KIND, key, "that part counts as not done", &n_other));
	found->is_other = n_other > 0;
	if (!text) goto done;
	found->is_here = true;
	found->is_finished =
		sscanf(text, "finished; begun at %" SCNd64 " %" SCNd64, &found->begun_s, &found->begun_ns) == 2;
	if (found->is_finished || stat(path, &s) != 0) goto done;
	found->begun_s = (int64_t)s.st_mtim.tv_sec;
	found->begun_ns = (int64_t)s.st_mtim.tv_nsec;
done:
	cyc_free(text);
	return st;
}

static void keep_first(cyc_share *s, const note *n)
{
	if (s->begun_s != 0 &&
	    (s->begun_s < n->begun_s || (s->begun_s == n->begun_s && s->begun_ns <= n->begun_ns)))
		return;
	s->begun_s = n->begun_s;
	s->begun_ns = n->begun_ns;
}

typedef struct {
	int32_t n_here, n_other, n_of; /* notes of this key, of others; the parts that there were to be */
	int32_t n_finished;
	cyc_part other; /* one of the others */
} notes;

static cyc_status read_notes(notes *found, cyc_share *s, const char *out, uint64_t key)
{
	cyc_status st = CYC_OK;
	cyc_part p;
	char *path = NULL;
	note at;
	DIR *d = NULL;
	*found = (notes){ .n_of = s->part.n };
	CYC_TRY(open_notes(&d, out));
	while (next_note(&p, d)) {
		cyc_free(path);
		path = NULL;
		CYC_TRY(note_path(&path, out, &p));
		CYC_TRY(read_note(&at, path, key));
		found->n_here += at.is_here;
		found->n_other += at.is_other;
		if (at.is_other) found->other = p;
		if (!at.is_here) continue;
		keep_first(s, &at);
		if (s->part.n == 0 && p.n > found->n_of) found->n_of = p.n;
	}
	for (p = (cyc_part){ 1, found->n_of }; found->n_here > 0 && p.k <= p.n; p.k++) {
		cyc_free(path);
		path = NULL;
		CYC_TRY(note_path(&path, out, &p));
		CYC_TRY(read_note(&at, path, key));
		found->n_finished += at.is_finished;
	}
	s->are_all_finished = found->n_of > 0 && found->n_finished == found->n_of;
done:
	cyc_free(path);
	if (d) closedir(d);
	return st;
}

static cyc_status refuse_others(const notes *found, const char *out)
{
	cyc_status st =
		cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__,
	                    "part %d/%d in '%stemp/' was begun with other input or options than this run has",
	                    found->other.k, found->other.n, out);
	cyc_error_hint("give all parts, and the command that gathers them, the same options and input; or choose "
	               "another folder (--o); or add --resume to give up what those parts have done");
	return st;
}

static cyc_status begin(cyc_share *s, const char *out, uint64_t key, bool resume)
{
	cyc_status st = CYC_OK;
	notes found;
	note own;
	char *path = NULL;
	CYC_TRY(read_notes(&found, s, out, key));
	if (found.n_other > 0 && !resume) CYC_TRY(refuse_others(&found, out));
	if (found.n_other > 0 && found.n_here == 0) {
		cyc_warn("the parts in %stemp/ were made with other input or options, and are not used", out);
		CYC_TRY(cyc_parts_forget(out));
	}
	s->uses_records = resume || s->part.n > 0 || found.n_here > 0;
	if (s->part.n == 0) {
		if (found.n_here > 0)
			cyc_info("%d of %d parts have finished%s", found.n_finished, found.n_of,
			         s->are_all_finished ? "" : "; what the others have left out is computed now");
		goto done;
	}
	CYC_TRY(note_path(&path, out, &s->part));
	CYC_TRY(read_note(&own, path, key));
	if (own.is_here) goto done;
	CYC_TRY(cyc_record_write_text(path, KIND, key, "begun\n"));
	CYC_TRY(read_note(&own, path, key));
	keep_first(s, &own);
done:
	cyc_free(path);
	return st;
}

/* What rank 0 has found; sent as it is. */
typedef struct {
	uint64_t key;
	int64_t begun_s, begun_ns;
	int64_t uses_records, are_all_finished;
} beginning;

cyc_status cyc_share_begin(cyc_share *s, const char *out, uint64_t key, bool resume)
{
	cyc_status st = CYC_OK;
	if (!s->is_on_ranks) return begin(s, out, key, resume);
	if (cyc_is_first_rank()) CYC_TRY(begin(s, out, key, resume));
	beginning b = { key, s->begun_s, s->begun_ns, s->uses_records, s->are_all_finished };
	CYC_TRY(cyc_ranks_broadcast(&b, sizeof b, 0));
	CYC_CHECK(
		b.key == key, CYC_E_DATA,
		"rank %d reads other input than rank 0: all nodes must see the same project under the same path, "
		"and no file may change meanwhile",
		cyc_rank());
	s->begun_s = b.begun_s;
	s->begun_ns = b.begun_ns;
	s->uses_records = b.uses_records != 0;
	s->are_all_finished = b.are_all_finished != 0;
done:
	return st;
}

cyc_status cyc_share_meet(const cyc_share *s)
{
	return s->is_on_ranks ? cyc_ranks_broadcast(NULL, 0, 0) : CYC_OK;
}

cyc_status cyc_share_miss(const char *series, const char *out)
{
	cyc_status st =
		cyc_error_raise(CYC_E_IO, __FILE__, __LINE__, __func__,
	                    "tilt series %s: its record in '%stemp/', which another rank has written, "
	                    "cannot be read on rank 0",
	                    series, out);
	cyc_error_hint("all nodes must see the output folder under the same path; nothing else may write there");
	return st;
}

cyc_status cyc_share_end(cyc_part_outcome *outcome, const cyc_share *s, const char *out, uint64_t key)
{
	cyc_status st = CYC_OK;
	char *path = NULL, text[96];
	const cyc_part *p = &s->part;
	note own;
	CYC_TRY(note_path(&path, out, p));
	CYC_TRY(read_note(&own, path, key));
	if (!own.is_finished) {
		snprintf(text, sizeof text, "finished; begun at %" PRId64 " %" PRId64 "\n", own.begun_s,
		         own.begun_ns);
		CYC_TRY(cyc_record_write_text(path, KIND, key, text));
	}
	*outcome = (cyc_part_outcome){ s->part, s->n_own, s->n_kept, s->are_all_finished };
	if (p->k == 0) cyc_info("what all %d parts need is prepared", p->n);
	else if (s->n_own == 0)
		cyc_info("part %d/%d has no tilt series: there are more parts than series", p->k, p->n);
	else if (s->n_kept == s->n_own)
		cyc_info("part %d/%d had finished earlier; nothing was computed", p->k, p->n);
	else
		cyc_info("part %d/%d has finished: %d tilt series, of which %d had finished earlier", p->k, p->n,
		         s->n_own, s->n_kept);
done:
	cyc_free(path);
	return st;
}
