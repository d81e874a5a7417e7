#include "tilt/tilt_image.h"

cyc_status cyc_tilt_image_load(cyc_tilt_image *t, cyc_backend *be, const cyc_tilt_series *ts, int32_t i_tilt)
{
	cyc_status st = CYC_OK;
	int64_t count = (int64_t)ts->image_nx * ts->image_ny;
	if (count > t->count) {
		cyc_tilt_image_deinit(t);
		CYC_TRY(cyc_buffer_create(&t->device, be, (size_t)count, sizeof(float)));
		CYC_TRY(cyc_alloc(&t->pixels, count, sizeof *t->pixels));
		t->count = count;
	}
	CYC_TRY(cyc_tilt_series_read_image(t->pixels, ts, i_tilt));
	CYC_TRY(cyc_buffer_upload(t->device, t->pixels, (size_t)count * sizeof(float)));
done:
	return st;
}

void cyc_tilt_image_deinit(cyc_tilt_image *t)
{
	cyc_buffer_destroy(&t->device);
	cyc_free(t->pixels);
	t->pixels = NULL;
	t->count = 0;
}
