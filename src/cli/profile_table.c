#include "profile_table.h"

#include "command.h"

#include "cyclotomo/base.h"
#include "cyclotomo/profile.h"

#include <inttypes.h>
#include <math.h>

double cyc_seconds_not_all_busy(double wall_s, int n_threads)
{
	cyc_thread_usage threads;
	cyc_thread_usage_get(&threads);
	return n_threads > 1 ? fmax(wall_s - threads.full_s, 0) : 0;
}

void cyc_profile_log(int n_threads)
{
	cyc_profile_row rows[CYC_PROFILE_MOST_ROWS];
	cyc_thread_usage threads;
	double wall_s = cyc_console_seconds();
	int n = cyc_profile_get(rows);
	cyc_thread_usage_get(&threads);
	cyc_info(
		"profile: %.1f s; fewer than %d thread%s at work in %.1f s, one alone outside of loops in %.1f s; "
		"threads busy in loops for %.1f s",
		wall_s, n_threads, cyc_plural(n_threads), cyc_seconds_not_all_busy(wall_s, n_threads),
		fmax(wall_s - threads.loops_s, 0), threads.busy_s);
	cyc_info("profile: %.2f GB read", 1e-9 * cyc_profile_bytes_read());
	cyc_info("profile: %-16s %9s %11s %9s %6s %9s %9s", "operation", "calls", "rows", "seconds", "share",
	         "GFLOP/s", "GB/s");
	for (int i = 0; i < n; i++) {
		double s = fmax(rows[i].seconds, 1e-9);
		cyc_info("profile: %-16s %9" PRId64 " %11" PRId64 " %9.2f %5.1f%% %9.2f %9.2f", rows[i].name,
		         rows[i].calls, rows[i].rows, rows[i].seconds, 100 * rows[i].seconds / fmax(wall_s, 1e-9),
		         1e-9 * rows[i].work / s, 1e-9 * rows[i].bytes / s);
	}
}
