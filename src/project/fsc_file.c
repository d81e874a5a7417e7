#include "cyclotomo/project.h"
#include "project/labels.h"

#include <math.h>

void cyc_fsc_file_destroy(cyc_fsc_file **f)
{
	if (!f || !*f) return;
	cyc_free((*f)->corrected);
	cyc_free(*f);
	*f = NULL;
}

/* What no FSC is: rounding may leave it a little above 1, correction for the mask far below -1, but maps that
 * are independent do not agree in every shell. */
static const double MOST_FSC = 1 + 1e-3, SAME_FSC = 1 - 1e-9;

static cyc_status check_values(const cyc_fsc_file *f, const cyc_star_block *b, int32_t column)
{
	cyc_status st = CYC_OK;
	int32_t n_same = 0;
	for (int32_t i = 0; i < f->n_shells; i++) {
		n_same += f->corrected[i] >= SAME_FSC;
		if (f->corrected[i] <= MOST_FSC) continue;
		st = cyc_star_raise(CYC_E_DATA, b, i, "_%s cannot be above 1, found %g", cyc_star_label(b, column),
		                    f->corrected[i]);
		goto done;
	}
	if (n_same == f->n_shells) {
		st = cyc_star_raise(CYC_E_DATA, b, 0, "_%s is 1 in all %d shells: the half maps were the same map",
		                    cyc_star_label(b, column), f->n_shells);
		cyc_error_hint("post-process the half maps of the two half-sets");
	}
done:
	return st;
}

static cyc_status read_shells(cyc_fsc_file *f, const cyc_star_block *b, const char *path)
{
	cyc_status st = CYC_OK;
	int32_t index, value = cyc_star_column(b, CYC_RLN_FOURIER_SHELL_CORRELATION_CORRECTED),
				   resolution = cyc_star_column(b, CYC_RLN_RESOLUTION);
	CYC_TRY(cyc_star_require_column(&index, b, CYC_RLN_SPECTRAL_INDEX));
	if (value < 0) {
		value = cyc_star_column(b, CYC_RLN_FOURIER_SHELL_CORRELATION_UNMASKED_MAPS);
		if (value >= 0)
			cyc_warn("'%s' has no corrected FSC (post-processing had no mask): the FSC of the unmasked maps "
			         "is used",
			         path);
	}
	if (value < 0) CYC_TRY(cyc_star_require_column(&value, b, CYC_RLN_FOURIER_SHELL_CORRELATION_CORRECTED));
	int64_t n = cyc_star_n_rows(b);
	CYC_CHECK(n >= 3 && n < 1 << 20, CYC_E_DATA,
	          "'%s': expected at least 3 shells in block 'fsc', found %lld", path, (long long)n);
	CYC_TRY(cyc_alloc(&f->corrected, (size_t)n, sizeof *f->corrected));
	for (int64_t i = 0; i < n; i++) {
		int64_t shell;
		CYC_TRY(cyc_star_int(&shell, b, i, index));
		if (shell != i) {
			st = cyc_star_raise(CYC_E_DATA, b, i, "expected shell %lld in _%s, found %lld", (long long)i,
			                    CYC_RLN_SPECTRAL_INDEX, (long long)shell);
			goto done;
		}
		CYC_TRY(cyc_star_double(&f->corrected[i], b, i, value));
	}
	f->n_shells = (int32_t)n;
	f->box = 2 * (f->n_shells - 1);
	CYC_TRY(check_values(f, b, value));
	double last_invA = 0.0;
	if (resolution >= 0) CYC_TRY(cyc_star_double(&last_invA, b, n - 1, resolution));
	/* The last shell is Nyquist: 1 / (2 pixel size). */
	f->pixel_size_A = last_invA > 0.0 ? 0.5 / last_invA : 0.0;
done:
	return st;
}

cyc_status cyc_fsc_file_read(cyc_fsc_file **out, const char *path)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	cyc_star_block *b;
	cyc_fsc_file *f = NULL;
	*out = NULL;
	CYC_TRY(cyc_star_read(&star, path));
	CYC_TRY(cyc_alloc(&f, 1, sizeof *f));
	CYC_TRY(cyc_star_require(&b, star, "fsc"));
	CYC_TRY(read_shells(f, b, path));
	b = cyc_star_find(star, "general");
	CYC_TRY(cyc_star_check_unique(b));
	if (b && cyc_star_n_rows(b) > 0)
		CYC_TRY(cyc_star_double_or(&f->final_resolution_A, b, 0, CYC_RLN_FINAL_RESOLUTION, 0.0));
	*out = f;
	f = NULL;
done:
	cyc_fsc_file_destroy(&f);
	cyc_star_destroy(&star);
	return st;
}
