/* An unfinished refinement on disk: everything that the next iteration starts from. */
#include "refine3d/refine3d_internal.h"

#include <errno.h>
#include <string.h>

static const char MAGIC[8] = "cycref2", END[8] = "end";

typedef struct {
	char magic[8];
	uint64_t hash;
	int64_t n_particles;
	int32_t n_series, crop_px, has_merged;
	cyc_refine3d_state state;
} header;

enum { MAX_PARTS = 16 };

/* The arrays of a checkpoint, in the order of the file. */
static size_t parts_of(void *parts[MAX_PARTS], size_t bytes[MAX_PARTS], const cyc_refine3d_job *j)
{
	size_t n = (size_t)j->crop_px, n_shells = n / 2 + 1, k = 0;
	const cyc_half_maps *m = j->maps;
	size_t n_optics = (size_t)j->in.particles->n_optics, n_series = (size_t)j->in.tomograms->n_series;
	const struct { void *at; size_t bytes; } all[] = {
		{ j->refined, (size_t)j->in.particles->n * sizeof *j->refined },
		{ j->best, (size_t)j->in.particles->n * sizeof *j->best },
		{ j->best_shells, (size_t)j->in.particles->n * n_shells * sizeof *j->best_shells },
		{ j->series_scale, 2 * n_series * sizeof *j->series_scale },
		{ j->is_counted, n_series * sizeof *j->is_counted },
		{ j->noise_sum, n_optics * n_shells * sizeof *j->noise_sum },
		{ j->noise_count, n_optics * sizeof *j->noise_count },
		{ j->map_noise, n_shells * sizeof *j->map_noise },
		{ m->fsc, n_shells * sizeof *m->fsc },
		{ m->fsc_unmasked, n_shells * sizeof *m->fsc_unmasked },
		{ m->half[0]->data, n * n * n * sizeof(float) },
		{ m->half[1]->data, n * n * n * sizeof(float) },
		{ m->merged ? m->merged->data : NULL, n * n * n * sizeof(float) },
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		if (!all[i].at) continue;
		parts[k] = all[i].at;
		bytes[k++] = all[i].bytes;
	}
	return k;
}

cyc_status cyc_refine3d_checkpoint_path(char **path, const cyc_refine3d_job *j)
{
	return cyc_path_join(path, j->in.out, "temp/iteration.checkpoint");
}

cyc_status cyc_refine3d_checkpoint_write(const cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	cyc_outfile o = { 0 };
	header h;
	char *path = NULL;
	void *parts[MAX_PARTS];
	size_t bytes[MAX_PARTS];
	memset(&h, 0, sizeof h);
	memcpy(h.magic, MAGIC, sizeof h.magic);
	h.hash = j->hash;
	h.n_particles = j->in.particles->n;
	h.n_series = j->in.tomograms->n_series;
	h.crop_px = j->crop_px;
	h.has_merged = j->maps->merged != NULL;
	h.state = j->state;
	CYC_TRY(cyc_refine3d_checkpoint_path(&path, j));
	CYC_TRY(cyc_outfile_open(&o, path));
	bool is_written = fwrite(&h, sizeof h, 1, o.f) == 1;
	for (size_t i = 0, n = parts_of(parts, bytes, j); i < n; i++) is_written = is_written && fwrite(parts[i], 1, bytes[i], o.f) == bytes[i];
	is_written = is_written && fwrite(END, sizeof END, 1, o.f) == 1;
	CYC_CHECK(is_written, CYC_E_IO, "cannot write '%s': %s", path, strerror(errno));
	CYC_TRY(cyc_outfile_commit(&o));
done:
	cyc_outfile_abandon(&o);
	cyc_free(path);
	return st;
}

/* Read into copies first: a damaged file must leave nothing behind. */
static cyc_status read_parts(bool *is_usable, cyc_refine3d_job *j, const header *h, FILE *f)
{
	cyc_status st = CYC_OK;
	void *parts[MAX_PARTS], *copies[MAX_PARTS] = { NULL };
	size_t bytes[MAX_PARTS], n = 0;
	char end[sizeof END];
	if (h->has_merged && !j->maps->merged) CYC_TRY(cyc_volume_create(&j->maps->merged, j->crop_px, j->crop_px, j->crop_px, j->box.pixel_size_A));
	n = parts_of(parts, bytes, j);
	*is_usable = true;
	for (size_t i = 0; i < n; i++) {
		CYC_TRY(cyc_alloc(&copies[i], bytes[i], 1));
		*is_usable = *is_usable && fread(copies[i], 1, bytes[i], f) == bytes[i];
	}
	*is_usable = *is_usable && fread(end, sizeof end, 1, f) == 1 && memcmp(end, END, sizeof end) == 0;
	for (size_t i = 0; i < n && *is_usable; i++) memcpy(parts[i], copies[i], bytes[i]);
	if (!*is_usable) cyc_volume_destroy(&j->maps->merged);
done:
	for (size_t i = 0; i < MAX_PARTS; i++) cyc_free(copies[i]);
	return st;
}

cyc_status cyc_refine3d_checkpoint_read(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	header h;
	char *path = NULL;
	FILE *f = NULL;
	bool is_usable = false;
	CYC_TRY(cyc_refine3d_checkpoint_path(&path, j));
	f = fopen(path, "rb");
	if (!f) goto done;
	if (fread(&h, sizeof h, 1, f) != 1 || memcmp(h.magic, MAGIC, sizeof h.magic) != 0 || h.n_particles != j->in.particles->n ||
	    h.n_series != j->in.tomograms->n_series || h.crop_px != j->crop_px) {
		cyc_warn("'%s' is not a checkpoint of this refinement; starting from the beginning", path);
		goto done;
	}
	if (h.hash != j->hash) {
		cyc_warn("'%s' was made with other input or options; starting from the beginning", path);
		goto done;
	}
	CYC_TRY(read_parts(&is_usable, j, &h, f));
	if (!is_usable) {
		cyc_warn("'%s' is cut short; starting from the beginning", path);
		goto done;
	}
	j->state = h.state;
	cyc_info("continuing after iteration %d (%s)", j->state.iteration, path);
done:
	if (f) fclose(f);
	cyc_free(path);
	return st;
}
