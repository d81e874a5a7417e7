#include "profile_table.h"

#include "command.h"

#include "cyclotomo/base.h"
#include "cyclotomo/profile.h"

#include <inttypes.h>
#include <math.h>

void cyc_profile_log(int n_threads)
{
	cyc_costs costs;
	double wall_s = cyc_console_seconds();
	cyc_costs_get(&costs);
	cyc_info(
		"profile: %.1f s; fewer than %d thread%s at work in %.1f s, one alone outside of loops in %.1f s; "
		"threads busy in loops for %.1f s",
		wall_s, n_threads, cyc_plural(n_threads), cyc_costs_not_all_busy_s(&costs, wall_s, n_threads),
		fmax(wall_s - costs.threads.loops_s, 0), costs.threads.busy_s);
	cyc_info("profile: %.2f GB read", 1e-9 * costs.bytes_read);
	cyc_info("profile: %-16s %9s %11s %9s %6s %9s %9s", "operation", "calls", "rows", "seconds", "share",
	         "GFLOP/s", "GB/s");
	for (int i = 0; i < costs.n; i++) {
		const cyc_profile_row *row = &costs.rows[i];
		double s = fmax(row->seconds, 1e-9);
		cyc_info("profile: %-16s %9" PRId64 " %11" PRId64 " %9.2f %5.1f%% %9.2f %9.2f", row->name, row->calls,
		         row->rows, row->seconds, 100 * row->seconds / fmax(wall_s, 1e-9), 1e-9 * row->work / s,
		         1e-9 * row->bytes / s);
	}
}
