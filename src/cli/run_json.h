/**
 * @file run_json.h
 * run.json: where and with what a result was made. Times, host and threads are here and nowhere else.
 */
#ifndef CYC_CLI_RUN_JSON_H
#define CYC_CLI_RUN_JSON_H

#include "command.h"

/** Write the record of a run that ended well. STAR files are listed with a hash of their content, others with
 * their size. */
CYC_MUST_CHECK cyc_status cyc_run_json_write(const char *path, const cyc_run *run);

#endif
