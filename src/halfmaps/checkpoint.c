#include "halfmaps/checkpoint.h"

#include "cyclotomo/record.h"

#include <string.h>
#include <unistd.h>

static const char KIND[] = "sums of a reconstruction", CONSEQUENCE[] = "starting from the beginning";
enum { N_COUNTS = 3, N_PARTS = 4 };

cyc_status cyc_sums_checkpoint_write(const char *path, const cyc_checkpoint_counts *counts,
                                     const cyc_sums *sums, uint64_t hash)
{
	cyc_status st = CYC_OK;
	const int64_t numbers[N_COUNTS] = { counts->n_series_done, counts->n_images, counts->n_outside };
	const size_t count = 3 * sums->ball->count;
	const double scale[4] = { sums->spec[0].scale[0], sums->spec[0].scale[1], sums->spec[1].scale[0],
		                      sums->spec[1].scale[1] };
	const void *host[2] = { NULL, NULL };
	CYC_ASSERT(sums->n == 2);
	for (int i = 0; i < 2; i++) CYC_TRY(cyc_buffer_map(&host[i], sums->sum[i]));
	const cyc_record_part parts[N_PARTS] = { { numbers, sizeof *numbers, N_COUNTS },
		                                     { scale, sizeof *scale, 4 },
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

cyc_status cyc_sums_checkpoint_read(cyc_checkpoint_counts *counts, cyc_sums *sums, const char *path,
                                    uint64_t hash, int32_t n_series)
{
	cyc_status st = CYC_OK;
	const size_t count = 3 * sums->ball->count;
	int64_t numbers[N_COUNTS] = { 0 };
	double scale[4] = { 0 };
	cyc_record *r = NULL;
	memset(counts, 0, sizeof *counts);
	CYC_TRY(cyc_record_open(&r, path, KIND, hash, CONSEQUENCE, NULL));
	if (!r) goto done;
	bool is_usable =
		cyc_record_has(r, 0, sizeof *numbers, N_COUNTS) && cyc_record_has(r, 1, sizeof *scale, 4);
	for (int i = 0; i < 2; i++) is_usable = is_usable && cyc_record_has(r, 2 + i, sizeof(int64_t), count);
	if (is_usable) {
		CYC_TRY(cyc_record_read(r, 0, numbers, sizeof *numbers, N_COUNTS));
		CYC_TRY(cyc_record_read(r, 1, scale, sizeof *scale, 4));
	}
	is_usable = is_usable && numbers[0] >= 0 && numbers[0] <= n_series && numbers[1] >= 0 && numbers[2] >= 0;
	for (int k = 0; k < 4; k++) is_usable = is_usable && scale[k] == sums->spec[k / 2].scale[k % 2];
	if (!is_usable) {
		cyc_record_warn_unusable(r, CONSEQUENCE);
		goto done;
	}
	for (int i = 0; i < 2; i++) {
		void *host;
		CYC_TRY(cyc_buffer_map(&host, sums->sum[i]));
		st = cyc_record_read(r, 2 + i, host, sizeof(int64_t), count);
		cyc_status unmapped = cyc_buffer_unmap(sums->sum[i]);
		CYC_TRY(st);
		CYC_TRY(unmapped);
	}
	*counts = (cyc_checkpoint_counts){ (int32_t)numbers[0], numbers[1], numbers[2] };
done:
	cyc_record_close(&r);
	return st;
}

void cyc_sums_checkpoint_remove(const char *path, const char *folder)
{
	unlink(path);
	rmdir(folder); /* fails, rightly, if something else is in it */
}
