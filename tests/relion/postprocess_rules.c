/* The rules on curves of a RELION post-process file: prints shell R, final shell and both resolutions of the
 * file and ours. */
#include "cyclotomo/map.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static double *column(const char *path, const char *label, int32_t *n)
{
	double *v = NULL;
	if (cyc_fsc_read_column(&v, n, path, label) == CYC_OK) return v;
	fprintf(stderr, "%s\n", cyc_error_get()->message);
	return NULL;
}

int main(int argc, char **argv)
{
	int failures = 0;
	for (int k = 1; k < argc; k++) {
		int32_t n = 0;
		double *u = column(argv[k], "rlnFourierShellCorrelationUnmaskedMaps", &n);
		double *m = column(argv[k], "rlnFourierShellCorrelationMaskedMaps", &n);
		double *r = column(argv[k], "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps", &n);
		double *c = column(argv[k], "rlnFourierShellCorrelationCorrected", &n);
		double *a = column(argv[k], "rlnAngstromResolution", &n);
		cyc_star *s = NULL;
		cyc_star_block *b = NULL;
		double resolution, randomise_from, own[4096], worst = 0.0;
		if (!u || !m || !r || !c || !a || n > 4096 || cyc_star_read(&s, argv[k]) != CYC_OK ||
		    cyc_star_require(&b, s, "general") != CYC_OK ||
		    cyc_star_double_of(&resolution, b, 0, "rlnFinalResolution") != CYC_OK ||
		    cyc_star_double_of(&randomise_from, b, 0, "rlnRandomiseFrom") != CYC_OK) {
			fprintf(stderr, "%s: %s\n", argv[k], cyc_error_get()->message);
			return 1;
		}
		int32_t from = cyc_fsc_randomise_from(u, n, 0.8);
		cyc_fsc_correct(own, m, r, n, from);
		/* A file whose unmasked FSC reaches further has it as its corrected one. */
		if (cyc_fsc_resolution_shell(u, n) > cyc_fsc_resolution_shell(own, n))
			memcpy(own, u, (size_t)n * sizeof *own);
		for (int32_t i = 0; i < n; i++) worst = fabs(own[i] - c[i]) > worst ? fabs(own[i] - c[i]) : worst;
		int32_t last = cyc_fsc_resolution_shell(own, n);
		int ok = fabs(a[from] - randomise_from) < 1e-3 * randomise_from &&
		         fabs(a[last] - resolution) < 1e-3 * resolution && worst < 1e-4;
		printf(
			"%s: randomise from %.4f (file %.4f), resolution %.4f (file %.4f), corrected within %.1e: %s\n",
			argv[k], a[from], randomise_from, a[last], resolution, worst, ok ? "ok" : "FAILED");
		failures += !ok;
		cyc_star_destroy(&s);
		cyc_free(u);
		cyc_free(m);
		cyc_free(r);
		cyc_free(c);
		cyc_free(a);
	}
	return failures > 0;
}
