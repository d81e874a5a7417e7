#include "cyclotomo/base.h"

#include <sys/resource.h>

/* Of each thread: stack, and what BLAS and malloc reserve. Addresses only, so they count where addresses are limited. */
static const double ADDRESSES_OF_THREAD = 100e6;

void cyc_memory_take(cyc_memory_plan *m, double bytes)
{
	m->now += bytes;
	m->peak = fmax(m->peak, m->now);
}

void cyc_memory_give(cyc_memory_plan *m, double bytes) { m->now -= bytes; }

void cyc_memory_pass(cyc_memory_plan *m, double bytes) { m->peak = fmax(m->peak, m->now + bytes); }

static bool addresses_are_limited(void)
{
	struct rlimit r;
	return getrlimit(RLIMIT_AS, &r) == 0 && r.rlim_cur != RLIM_INFINITY;
}

cyc_status cyc_memory_require(double bytes, int n_threads, const char *less)
{
	cyc_status st = CYC_OK;
	double available = cyc_memory_available_bytes(), threads = addresses_are_limited() ? ADDRESSES_OF_THREAD * n_threads : 0;
	cyc_info("memory needed: about %.3g GB; %.3g GB are available", bytes / 1e9, available / 1e9);
	if (bytes + threads <= available) goto done;
	if (threads > 0)
		cyc_error_raise(CYC_E_NOMEM, __FILE__, __LINE__, __func__,
		                "about %.3g GB of memory are needed, and addresses for %.2f GB more (%d threads), but only %.3g GB may be used (ulimit -v)", bytes / 1e9,
		                threads / 1e9, n_threads, available / 1e9);
	else
		cyc_error_raise(CYC_E_NOMEM, __FILE__, __LINE__, __func__, "about %.3g GB of memory are needed, but only %.3g GB are available", bytes / 1e9, available / 1e9);
	cyc_error_hint("%s", less);
	st = CYC_E_NOMEM;
done:
	return st;
}
