#include "halfmaps/checkpoint.h"

#include "cyclotomo/record.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char KIND[] = "sums of a reconstruction", CONSEQUENCE[] = "its tilt series are added again",
				  NAME[] = "sums.checkpoint";
enum { N_COUNTS = 3, N_PARTS = 5 };

cyc_status cyc_sums_checkpoint_path(char **out, const char *folder, int rank)
{
	return rank == 0 ? cyc_asprintf(out, "%s/%s", folder, NAME)
	                 : cyc_asprintf(out, "%s/%s.%d", folder, NAME, rank);
}

cyc_status cyc_sums_checkpoint_write(const char *path, const cyc_checkpoint_state *state,
                                     const cyc_sums *sums, uint64_t hash)
{
	cyc_status st = CYC_OK;
	const int64_t numbers[N_COUNTS] = { state->n_series, state->n_images, state->n_outside };
	const size_t count = 3 * sums->ball->count;
	const double scale[4] = { sums->spec[0].scale[0], sums->spec[0].scale[1], sums->spec[1].scale[0],
		                      sums->spec[1].scale[1] };
	const void *host[2] = { NULL, NULL };
	CYC_ASSERT(sums->n == 2);
	for (int i = 0; i < 2; i++) CYC_TRY(cyc_buffer_map(&host[i], sums->sum[i]));
	const cyc_record_part parts[N_PARTS] = { { numbers, sizeof *numbers, N_COUNTS },
		                                     { scale, sizeof *scale, 4 },
		                                     { state->is_done, sizeof *state->is_done,
		                                       (size_t)state->n_series },
		                                     { host[0], sizeof(int64_t), count },
		                                     { host[1], sizeof(int64_t), count } };
	st = cyc_record_write(path, KIND, hash, parts, N_PARTS);
	for (int i = 0; i < 2; i++) {
		cyc_status unmapped = cyc_buffer_unmap(sums->sum[i]);
		if (st == CYC_OK) st = unmapped;
	}
done:
	return st;
}

/* Whether the record is of these sums: sizes, scales, series. */
static cyc_status look(bool *is_usable, int64_t numbers[N_COUNTS], bool *is_done, cyc_record *r,
                       int32_t n_series, const cyc_sums *sums)
{
	cyc_status st = CYC_OK;
	double scale[4];
	*is_usable = cyc_record_has(r, 0, sizeof *numbers, N_COUNTS) && cyc_record_has(r, 1, sizeof *scale, 4) &&
	             cyc_record_has(r, 2, sizeof *is_done, (size_t)n_series);
	for (int i = 0; i < 2; i++)
		*is_usable = *is_usable && cyc_record_has(r, 3 + i, sizeof(int64_t), 3 * sums->ball->count);
	if (!*is_usable) goto done;
	CYC_TRY(cyc_record_read(r, 0, numbers, sizeof *numbers, N_COUNTS));
	CYC_TRY(cyc_record_read(r, 1, scale, sizeof *scale, 4));
	CYC_TRY(cyc_record_read(r, 2, is_done, sizeof *is_done, (size_t)n_series));
	*is_usable = numbers[0] == n_series && numbers[1] >= 0 && numbers[2] >= 0;
	for (int k = 0; k < 4; k++) *is_usable = *is_usable && scale[k] == sums->spec[k / 2].scale[k % 2];
done:
	return st;
}

/* Into sums that are zero, or added to what is in them. */
static cyc_status take_sums(cyc_sums *sums, cyc_record *r, bool is_first)
{
	cyc_status st = CYC_OK;
	const size_t count = 3 * sums->ball->count;
	int64_t *read = NULL;
	sums->is_zero = false;
	if (!is_first) CYC_TRY(cyc_alloc(&read, count, sizeof *read));
	for (int i = 0; i < 2; i++) {
		int64_t *host;
		CYC_TRY(cyc_buffer_map(&host, sums->sum[i]));
		st = cyc_record_read(r, 3 + i, is_first ? host : read, sizeof *host, count);
		for (size_t k = 0; k < count && !is_first && st == CYC_OK; k++) host[k] += read[k];
		cyc_status unmapped = cyc_buffer_unmap(sums->sum[i]);
		CYC_TRY(st);
		CYC_TRY(unmapped);
	}
done:
	cyc_free(read);
	return st;
}

static cyc_status read_one(cyc_checkpoint_state *state, cyc_sums *sums, const char *path, uint64_t hash)
{
	cyc_status st = CYC_OK;
	int64_t numbers[N_COUNTS] = { 0 };
	cyc_record *r = NULL;
	bool *is_done = NULL, is_usable = false, is_older = false, is_first = true;
	CYC_TRY(cyc_alloc(&is_done, state->n_series, sizeof *is_done));
	CYC_TRY(cyc_record_open(&r, path, KIND, hash, CONSEQUENCE, NULL));
	if (!r) goto done;
	CYC_TRY(look(&is_usable, numbers, is_done, r, state->n_series, sums));
	if (!is_usable) {
		cyc_record_warn_unusable(r, CONSEQUENCE);
		goto done;
	}
	for (int32_t i = 0; i < state->n_series; i++) {
		is_older = is_older || (is_done[i] && state->is_done[i]);
		is_first = is_first && !state->is_done[i];
	}
	if (is_older) goto done;
	CYC_TRY(take_sums(sums, r, is_first));
	for (int32_t i = 0; i < state->n_series; i++) state->is_done[i] = state->is_done[i] || is_done[i];
	state->n_images += numbers[1];
	state->n_outside += numbers[2];
done:
	cyc_record_close(&r);
	cyc_free(is_done);
	return st;
}

/* "sums.checkpoint", "sums.checkpoint.3" */
static bool is_checkpoint(const char *name)
{
	const char *tail = name + sizeof NAME - 1;
	if (strncmp(name, NAME, sizeof NAME - 1) != 0) return false;
	return tail[0] == '\0' || (tail[0] == '.' && tail[1] && !tail[1 + strspn(tail + 1, "0123456789")]);
}

/* Paths of all checkpoints of a folder, that of rank 0 first: it may hold what the others did before. */
static cyc_status list_all(char ***out, int *n, const char *folder)
{
	cyc_status st = CYC_OK;
	struct dirent **found = NULL;
	int count = scandir(folder, &found, NULL, alphasort);
	*out = NULL;
	*n = 0;
	for (int i = 0; i < count && st == CYC_OK; i++) {
		char *path = NULL;
		if (!is_checkpoint(found[i]->d_name)) continue;
		st = cyc_asprintf(&path, "%s/%s", folder, found[i]->d_name);
		if (st == CYC_OK) st = cyc_realloc(out, (size_t)*n, (size_t)*n + 1, sizeof **out);
		if (st == CYC_OK) (*out)[(*n)++] = path;
		else cyc_free(path);
	}
	for (int i = 0; i < count; i++) free(found[i]);
	free(found);
	return st;
}

cyc_status cyc_sums_checkpoint_read_all(cyc_checkpoint_state *state, cyc_sums *sums, const char *folder,
                                        uint64_t hash)
{
	cyc_status st = CYC_OK;
	char **paths = NULL;
	int n = 0;
	CYC_TRY(list_all(&paths, &n, folder));
	for (int i = 0; i < n; i++) CYC_TRY(read_one(state, sums, paths[i], hash));
done:
	for (int i = 0; i < n; i++) cyc_free(paths[i]);
	cyc_free(paths);
	return st;
}

void cyc_sums_checkpoint_remove(const char *folder, const char *keep)
{
	const char *kept = keep ? strrchr(keep, '/') : NULL;
	DIR *d = opendir(folder);
	/* By their names: the outputs are written, and nothing may fail any more for want of memory. */
	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
		if (is_checkpoint(e->d_name) && (!kept || strcmp(e->d_name, kept + 1) != 0))
			unlinkat(dirfd(d), e->d_name, 0);
	if (d) closedir(d);
	if (!keep) rmdir(folder); /* fails, rightly, if something else is in it */
}
