/* Particles that were extracted, as a source of data: what is read, how it is tied to the tilts, and what is
 * refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "temp_dir.h"

#include "cyclotomo/stacks.h"
#include "small_project.h"

#define HEAD                                                                                                 \
	"data_general\n_rlnTomoSubTomosAre2DStacks "                                                             \
	"1\n\ndata_optics\nloop_\n_rlnOpticsGroup\n_rlnOpticsGroupName\n_rlnTomoTiltSeriesPixelSize\n"           \
	"_rlnTomoSubtomogramBinning\n_rlnImagePixelSize\n_rlnImageSize\n_rlnCtfDataAreCtfPremultiplied\n1 og1 "  \
	"2.0 2 4.0 8 1\n2 og2 2.0 2 4.0 8 0\n\n"                                                                 \
	"data_particles\nloop_\n_rlnTomoName\n_rlnTomoParticleName\n_rlnOpticsGroup\n_"                          \
	"rlnCenteredCoordinateXAngst\n_rlnCenteredCoordinateYAngst\n"                                            \
	"_rlnCenteredCoordinateZAngst\n_rlnOriginXAngst\n_rlnOriginYAngst\n_rlnOriginZAngst\n_rlnImageName\n_"   \
	"rlnTomoVisibleFrames\n"
#define ROWS                                                                                                 \
	"TS_02 TS_02/1 2 1 2 3 0 0 0 b.mrcs [1,1]\nTS_01 TS_01/1 1 12 -9 8 3 -2 4 a.mrcs [1,0,1]\nTS_01 "        \
	"TS_01/2 1 0 0 0 0 0 0 w.mrcs [0,1,1]\n"

/* Each section is filled with its number, from 1, but for its second pixel, which has a spot more. */
static void write_stack(const char *name, int32_t n, int32_t nz, float spot)
{
	cyc_volume *v = NULL;
	ASSERT_OK(cyc_volume_create(&v, n, n, nz, 4));
	for (size_t i = 0; i < cyc_volume_count(v); i++) v->data[i] = (float)(i / ((size_t)n * (size_t)n) + 1);
	for (int32_t z = 0; z < nz; z++) v->data[z * n * n + 1] += spot;
	ASSERT_OK(cyc_mrc_write(temp_path(name), v, 12, NULL));
	cyc_volume_destroy(&v);
}

static int set_up(void **state)
{
	(void)state;
	small_project_write();
	write_stack("a.mrcs", 8, 2, 1);
	write_stack("b.mrcs", 8, 2, 1);
	write_stack("w.mrcs", 8, 3, 1); /* all tilts, as WarpTools writes them */
	return 0;
}

static cyc_tomogram_set *g_tomograms;
static cyc_particle_set *g_particles;

static cyc_status open_stacks(cyc_stacks **s, const char *text)
{
	temp_write("extracted.star", text);
	ASSERT_OK(cyc_tomogram_set_read(&g_tomograms, "tomograms.star", temp_dir));
	ASSERT_OK(cyc_particle_set_read(&g_particles, "extracted.star", NULL, g_tomograms, temp_dir));
	return cyc_stacks_open(s, g_particles, g_tomograms, temp_dir);
}

static void drop(cyc_stacks **s)
{
	cyc_stacks_close(s);
	cyc_particle_set_destroy(&g_particles);
	cyc_tomogram_set_destroy(&g_tomograms);
}

static void images_belong_to_tilts(void **state)
{
	(void)state;
	cyc_stacks *s = NULL;
	cyc_stack_view v[3];
	float images[2 * 64];
	ASSERT_OK(open_stacks(&s, HEAD ROWS));
	assert_true(s->are_2d && s->box_px == 8 && s->binning == 2 && s->pixel_size_A == 4);
	assert_true(s->is_premultiplied[0] && !s->is_premultiplied[1]);
	/* In the order of the set: TS_01 first. */
	assert_int_equal(s->n_views[0], 2);
	ASSERT_OK(cyc_stacks_views(v, s, 0));
	assert_int_equal(v[0].i_tilt, 0);
	assert_int_equal(v[1].i_tilt, 2);
	cyc_mat3 R = cyc_tilt_to_matrix(cyc_deg_to_rad(3), cyc_deg_to_rad(25), cyc_deg_to_rad(80));
	for (int k = 0; k < 9; k++)
		assert_true(fabs(v[0].R_img_part.m[k / 3][k % 3] - R.m[k / 3][k % 3]) < 1e-12);
	/* Position 12 - 3, -9 + 2, 8 - 4; hand -1. The offset moves the particle the other way, in pixels of 4 Å.
	 */
	cyc_vec3 x = cyc_mat3_apply(R, (cyc_vec3){ 9, -7, 4 }), d = cyc_mat3_apply(R, (cyc_vec3){ 3, -2, 4 });
	assert_true(fabs(v[0].extra_defocus_A + x.z) < 1e-9);
	assert_true(fabs(v[0].shift_x_px + d.x / 4) < 1e-9 && fabs(v[0].shift_y_px + d.y / 4) < 1e-9);
	ASSERT_OK(cyc_stacks_read(images, s, 0));
	assert_true(images[0] == 1.F && images[63] == 1.F && images[64] == 2.F);
	/* A stack of all tilts: those that are not seen are passed over. */
	assert_true(s->has_all_tilts[1] && !s->has_all_tilts[0]);
	ASSERT_OK(cyc_stacks_read(images, s, 1));
	assert_true(images[0] == 2.F && images[64] == 3.F);
	/* Images that say nothing. */
	write_stack("a.mrcs", 8, 2, 0);
	ASSERT_FAILS(cyc_stacks_read(images, s, 0), CYC_E_DATA, "a.mrcs': the image of tilt 1",
	             "constant everywhere");
	write_stack("a.mrcs", 8, 2, 1);
	drop(&s);
}

static void refused(const char *old, const char *with, cyc_status status, const char *a, const char *b)
{
	static char text[4096];
	const char *whole = HEAD ROWS, *at = strstr(whole, old);
	cyc_stacks *s = NULL;
	assert_non_null(at);
	snprintf(text, sizeof text, "%.*s%s%s", (int)(at - whole), whole, with, at + strlen(old));
	ASSERT_FAILS(open_stacks(&s, text), status, a, b);
	assert_null(s);
	drop(&s);
}

static void what_does_not_fit_is_refused(void **state)
{
	(void)state;
	refused("_rlnImageName", "_x", CYC_E_FORMAT, "_rlnImageName", "extracted.star");
	refused("_rlnTomoVisibleFrames", "_x", CYC_E_FORMAT, "_rlnTomoVisibleFrames", "extracted.star");
	refused("_rlnImageSize", "_x", CYC_E_FORMAT, "_rlnImageSize", "optics");
	refused("_rlnCtfDataAreCtfPremultiplied", "_x", CYC_E_FORMAT, "_rlnCtfDataAreCtfPremultiplied", "optics");
	refused("a.mrcs", "none.mrcs", CYC_E_IO, "TS_01/1", "none.mrcs");
	refused("a.mrcs", "\"\"", CYC_E_DATA, "row 2", "_rlnImageName is empty");
	refused("[1,0,1]", "[0,0,1]", CYC_E_SHAPE, "a.mrcs' has 8 x 8 x 2", "x 1 (ones");
	refused("2 4.0 8 1\n", "2 4.0 10 1\n", CYC_E_SHAPE, "images have 8 px", "10 px");
	refused("2 4.0 8 0\n", "2 4.1 8 0\n", CYC_E_SHAPE, "row 2", "4.1");
	refused("2 4.0 8 1\n", "2 4.0 7 1\n", CYC_E_DATA, "box 7 px", "even");
	refused("2 4.0 8 1\n", "0 4.0 8 1\n", CYC_E_DATA, "binning 0", "positive");
	refused("2 4.0 8 1\n", "2 4.0 8 2\n", CYC_E_DATA, "must be 0 or 1", "found 2");
	refused("Stacks 1", "Stacks 0", CYC_E_FORMAT, "_rlnCtfImage", "extracted.star");
}

static void volumes_come_with_weights(void **state)
{
	(void)state;
	cyc_stacks *s = NULL;
	cyc_volume *v = NULL;
	static char text[4096];
	static float data[512], weight[8 * 8 * 5], multiplicity[8 * 8 * 5];
	const char *head = HEAD;
	write_stack("d.mrc", 8, 8, 0);
	ASSERT_OK(cyc_volume_create(&v, 5, 8, 16, 0.25));
	for (size_t i = 0; i < cyc_volume_count(v); i++) v->data[i] = (float)i;
	ASSERT_OK(cyc_mrc_write(temp_path("w.mrc"), v, 2, NULL));
	cyc_volume_destroy(&v);
	char *stacks = NULL;
	ASSERT_OK(cyc_strdup(&stacks, head));
	*strstr(stacks, "Stacks 1") = 'X';
	snprintf(text, sizeof text, "%s_rlnCtfImage\nTS_01 TS_01/1 1 12 -9 8 0 0 0 d.mrc [1,1,1] w.mrc\n",
	         stacks);
	ASSERT_OK(open_stacks(&s, text));
	assert_false(s->are_2d);
	ASSERT_OK(cyc_stacks_read_volume(data, weight, multiplicity, s, 0));
	assert_true(data[0] == 1.F && data[511] == 8.F && weight[319] == 319.F && multiplicity[0] == 320.F);
	assert_int_equal(cyc_stacks_read(data, s, 0), CYC_E_INTERNAL);
	drop(&s);
	snprintf(text, sizeof text, "%s_rlnCtfImage\nTS_01 TS_01/1 1 12 -9 8 0 0 0 d.mrc [1,1,1] d.mrc\n",
	         stacks);
	ASSERT_FAILS(open_stacks(&s, text), CYC_E_SHAPE, "d.mrc", "expected 5 x 8 x 8");
	drop(&s);
	cyc_free(stacks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(images_belong_to_tilts, set_up),
		cmocka_unit_test_setup(what_does_not_fit_is_refused, set_up),
		cmocka_unit_test_setup(volumes_come_with_weights, set_up),
	};
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}
