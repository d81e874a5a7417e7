#include "cyclotomo/base.h"

/*
 * These share their work out by the machine's cores, and round accordingly. Others are refused when the
 * program is configured, unless they are known to have no threads.
 */
extern void openblas_set_num_threads(int n) __attribute__((weak));
extern void flexiblas_set_num_threads(int n) __attribute__((weak));
extern void MKL_Set_Num_Threads(int n) __attribute__((weak));
extern void bli_thread_set_num_threads(long n) __attribute__((weak));

/* OpenBLAS waits for ever for a buffer that it cannot map: 128 MB of addresses for each thread that calls it,
 * hardly used. */
static const double BUFFER_BYTES = 136e6;

cyc_status cyc_lapack_prepare(int n_threads)
{
	if (openblas_set_num_threads) openblas_set_num_threads(1);
	if (flexiblas_set_num_threads) flexiblas_set_num_threads(1);
	if (MKL_Set_Num_Threads) MKL_Set_Num_Threads(1);
	if (bli_thread_set_num_threads) bli_thread_set_num_threads(1);
	return cyc_reserve_addresses(BUFFER_BYTES * cyc_n_workers(INT64_MAX, n_threads));
}
