#include "reconstruct/checkpoint.h"

#include "cyclotomo/record.h"

#include <string.h>
#include <unistd.h>

static const char KIND[] = "sums of a reconstruction", CONSEQUENCE[] = "starting from the beginning";
enum { N_COUNTS = 3, N_PARTS = 3 };

cyc_status cyc__checkpoint_write(const char *path, const cyc_checkpoint_counts *counts, cyc_buffer *sum1,
                                 cyc_buffer *sum2, uint64_t hash)
{
	cyc_status st = CYC_OK;
	const int64_t numbers[N_COUNTS] = { counts->n_series_done, counts->n_images, counts->n_outside };
	const void *host[2] = { NULL, NULL };
	cyc_buffer *const sums[2] = { sum1, sum2 };
	for (int i = 0; i < 2; i++) CYC_TRY(cyc_buffer_map(&host[i], sums[i]));
	const cyc_record_part parts[N_PARTS] = {
		{ numbers, sizeof *numbers, N_COUNTS },
		{ host[0], sizeof(float), cyc_buffer_bytes(sum1) / sizeof(float) },
		{ host[1], sizeof(float), cyc_buffer_bytes(sum2) / sizeof(float) }
	};
	st = cyc_record_write(path, KIND, hash, parts, N_PARTS);
	for (int i = 0; i < 2; i++) {
		cyc_status unmapped = cyc_buffer_unmap(sums[i]);
		if (st == CYC_OK) st = unmapped;
	}
done:
	return st;
}

cyc_status cyc__checkpoint_read(cyc_checkpoint_counts *counts, cyc_buffer *sum1, cyc_buffer *sum2,
                                const char *path, uint64_t hash, int32_t n_series)
{
	cyc_status st = CYC_OK;
	cyc_buffer *const sums[2] = { sum1, sum2 };
	int64_t numbers[N_COUNTS] = { 0 };
	cyc_record *r = NULL;
	memset(counts, 0, sizeof *counts);
	CYC_TRY(cyc_record_open(&r, path, KIND, hash, CONSEQUENCE, NULL));
	if (!r) goto done;
	bool is_usable = cyc_record_has(r, 0, sizeof *numbers, N_COUNTS);
	for (int i = 0; i < 2; i++)
		is_usable =
			is_usable && cyc_record_has(r, 1 + i, sizeof(float), cyc_buffer_bytes(sums[i]) / sizeof(float));
	if (is_usable) CYC_TRY(cyc_record_read(r, 0, numbers, sizeof *numbers, N_COUNTS));
	is_usable = is_usable && numbers[0] >= 0 && numbers[0] <= n_series && numbers[1] >= 0 && numbers[2] >= 0;
	if (!is_usable) {
		cyc_record_warn_unusable(r, CONSEQUENCE);
		goto done;
	}
	for (int i = 0; i < 2; i++) {
		void *host;
		CYC_TRY(cyc_buffer_map(&host, sums[i]));
		st = cyc_record_read(r, 1 + i, host, sizeof(float), cyc_buffer_bytes(sums[i]) / sizeof(float));
		cyc_status unmapped = cyc_buffer_unmap(sums[i]);
		CYC_TRY(st);
		CYC_TRY(unmapped);
	}
	*counts = (cyc_checkpoint_counts){ (int32_t)numbers[0], numbers[1], numbers[2] };
done:
	cyc_record_close(&r);
	return st;
}

void cyc__checkpoint_remove(const char *path, const char *folder)
{
	unlink(path);
	rmdir(folder); /* fails, rightly, if something else is in it */
}
