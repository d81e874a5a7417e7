#include "cyclotomo/project.h"
#include "project/labels.h"

void cyc_mtf_file_destroy(cyc_mtf_file **f)
{
	if (!f || !*f) return;
	cyc_free((*f)->inverse_px);
	cyc_free((*f)->value);
	cyc_free(*f);
	*f = NULL;
}

cyc_status cyc_mtf_file_read(cyc_mtf_file **out, const char *path)
{
	cyc_status st = CYC_OK;
	cyc_mtf_file *f = NULL;
	cyc_star *s = NULL;
	cyc_star_block *b = NULL;
	int32_t i_frequency, i_value;
	*out = NULL;
	CYC_TRY(cyc_star_read(&s, path));
	for (int32_t i = 0; i < cyc_star_n_blocks(s) && !b; i++)
		if (cyc_star_column(cyc_star_block_at(s, i), CYC_RLN_MTF_VALUE) >= 0) b = cyc_star_block_at(s, i);
	CYC_CHECK(b, CYC_E_FORMAT, "'%s' has no table with the column %s", path, CYC_RLN_MTF_VALUE);
	CYC_TRY(cyc_star_check_unique(b));
	CYC_TRY(cyc_star_require_column(&i_frequency, b, CYC_RLN_RESOLUTION_INVERSE_PIXEL));
	CYC_TRY(cyc_star_require_column(&i_value, b, CYC_RLN_MTF_VALUE));
	CYC_TRY(cyc_alloc(&f, 1, sizeof *f));
	f->n = (int32_t)cyc_star_n_rows(b);
	CYC_TRY(cyc_alloc(&f->inverse_px, f->n, sizeof *f->inverse_px));
	CYC_TRY(cyc_alloc(&f->value, f->n, sizeof *f->value));
	for (int32_t i = 0; i < f->n; i++) {
		CYC_TRY(cyc_star_double(&f->inverse_px[i], b, i, i_frequency));
		CYC_TRY(cyc_star_double(&f->value[i], b, i, i_value));
	}
	*out = f;
	f = NULL;
done:
	cyc_star_destroy(&s);
	cyc_mtf_file_destroy(&f);
	return st;
}

/* The last row of a table of 0 to 0.5 in equal steps may stand for a step, not for its end. */
static const double NEARLY = 0.98;

bool cyc_mtf_file_reaches(const cyc_mtf_file *f, double inverse_px)
{
	return f->n > 0 && f->inverse_px[f->n - 1] >= NEARLY * inverse_px;
}
