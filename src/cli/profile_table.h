/** @file profile_table.h  What the time of a run went into, as a table of the log. */
#ifndef CYC_CLI_PROFILE_TABLE_H
#define CYC_CLI_PROFILE_TABLE_H

/** One line each for threads, files and operations (cyclotomo/profile.h), by cyc_info(). */
void cyc_profile_log(int n_threads);

#endif
