#include "cyclotomo/base.h"

/* OpenBLAS shares its work out by the machine's cores, and rounds accordingly; other LAPACKs have no such switch. */
extern void openblas_set_num_threads(int n) __attribute__((weak));

void cyc_lapack_use_one_thread(void)
{
	if (openblas_set_num_threads) openblas_set_num_threads(1);
}
