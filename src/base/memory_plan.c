#include "cyclotomo/base.h"

/* Of each thread, for its stack. Addresses only, so they count where addresses are limited. */
static const double ADDRESSES_OF_THREAD = 8.4e6;

void cyc_memory_take(cyc_memory_plan *m, double bytes)
{
	m->now += bytes;
	m->peak = fmax(m->peak, m->now);
}

void cyc_memory_give(cyc_memory_plan *m, double bytes) { m->now -= bytes; }

void cyc_memory_pass(cyc_memory_plan *m, double bytes) { m->peak = fmax(m->peak, m->now + bytes); }

cyc_status cyc_memory_require(double bytes, int n_threads, const char *less)
{
	cyc_status st = CYC_OK;
	double available = cyc_memory_available_bytes(), reserved = cyc_reserved_addresses(), threads = reserved;
	if (reserved > 0) threads += ADDRESSES_OF_THREAD * cyc_n_workers(INT64_MAX, n_threads);
	cyc_info("memory needed: about %.3g GB; %.3g GB are available", bytes / 1e9, available / 1e9);
	if (bytes + threads <= available) goto done;
	if (threads > 0)
		cyc_error_raise(CYC_E_NOMEM, __FILE__, __LINE__, __func__,
		                "about %.3g GB of memory and %.2f GB more address space (%d threads) are needed, but "
		                "the limit is %.3g GB (ulimit -v)",
		                bytes / 1e9, threads / 1e9, n_threads, available / 1e9);
	else
		cyc_error_raise(CYC_E_NOMEM, __FILE__, __LINE__, __func__,
		                "about %.3g GB of memory are needed, but only %.3g GB are available", bytes / 1e9,
		                available / 1e9);
	cyc_error_hint("%s", less);
	st = CYC_E_NOMEM;
done:
	return st;
}
