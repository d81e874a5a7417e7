/** @file profile_table.h  What the time of a run went into, as a table of the log. */
#ifndef CYC_CLI_PROFILE_TABLE_H
#define CYC_CLI_PROFILE_TABLE_H

/**
 * Of wall_s seconds of this run so far, those in which fewer than n_threads threads were at work: outside of
 * loops, in loops of too few items, and where some threads had no item left. 0 for one thread.
 */
double cyc_seconds_not_all_busy(double wall_s, int n_threads);
/** One line each for threads, files and operations (cyclotomo/profile.h), by cyc_info(). */
void cyc_profile_log(int n_threads);

#endif
