#include "cyclotomo/base.h"

#include <stdlib.h>

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

void cyc_sort(double *v, size_t n) { qsort(v, n, sizeof *v, by_value); }

double cyc_median(double *v, size_t n)
{
	if (n == 0) return 0;
	cyc_sort(v, n);
	return n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

double cyc_median_or_lower(double *v, size_t n)
{
	double median = cyc_median(v, n);
	return n == 2 ? v[0] : median;
}
