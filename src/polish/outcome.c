#include "polish/outcome.h"

#include <math.h>

/* Student's 97.5 % point by Cornish and Fisher's series; within 1 % from 4 degrees of freedom on, too small
 * below. */
static double student_point(double freedom)
{
	const double z = 1.959964;
	double z3 = z * z * z, z5 = z3 * z * z;
	return z + (z3 + z) / (4 * freedom) + (5 * z5 + 16 * z3 + 3 * z) / (96 * freedom * freedom);
}

cyc_polish_outcome cyc_polish_judge(double *error, const double *d, int32_t n, double allowance)
{
	double sum = 0, square = 0;
	*error = 0;
	for (int32_t i = 0; i < n; i++) sum += d[i];
	for (int32_t i = 0; i < n; i++) square += (d[i] - sum / n) * (d[i] - sum / n);
	if (n < 2) return CYC_POLISH_NO_DIFFERENCE;
	*error = sqrt(square * n / (n - 1));
	double margin = student_point(n - 1) * *error;
	return sum > margin                ? CYC_POLISH_BETTER
	       : sum < -allowance - margin ? CYC_POLISH_WORSE
	                                   : CYC_POLISH_NO_DIFFERENCE;
}

const char *cyc_polish_outcome_name(cyc_polish_outcome outcome)
{
	static const char *const NAMES[] = { [CYC_POLISH_NO_DIFFERENCE] = "no difference",
		                                 [CYC_POLISH_BETTER] = "better",
		                                 [CYC_POLISH_WORSE] = "worse" };
	return NAMES[outcome];
}
