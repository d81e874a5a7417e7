/**
 * @file profile.h
 * What a run's time goes into: seconds, rows and nominal arithmetic of each heavy operation, and how long all
 * threads were at work. It is counted always; `--profile` prints it and run.json keeps it.
 *
 * Arithmetic is nominal: additions and multiplications of the formula as it is written (2.5 N log2 N for a
 * real transform of N values, 10 for a sine), whatever an implementation does. Bytes are those of the
 * operands, each counted once: the least that must pass through memory. Divided by the seconds they say what
 * an operation is bound by.
 */
#ifndef CYC_PROFILE_H
#define CYC_PROFILE_H

#include "cyclotomo/base.h"
#include "cyclotomo/json.h"

#include <stdint.h>

/** All calls of one operation so far. */
typedef struct {
	const char *name;    /**< a literal */
	int64_t calls, rows; /**< rows: particle images, or maps */
	double seconds;      /**< wall time inside the calls */
	double work, bytes;  /**< nominal operations; bytes of the operands */
} cyc_profile_row;

enum { CYC_PROFILE_MOST_ROWS = 32 };
/**
 * Add one call. Thread-safe. Beyond CYC_PROFILE_MOST_ROWS names the last row takes the rest.
 * @param[in] call  calls is ignored: it counts as one
 */
void cyc_profile_add(const cyc_profile_row *call);
/**
 * The rows so far, those with most seconds first.
 * @param[out] rows  room for CYC_PROFILE_MOST_ROWS
 * @return their number
 */
int cyc_profile_get(cyc_profile_row *rows);
/** Bytes that this process has read from files, pipes and sockets so far; 0 where the system does not count.
 */
double cyc_profile_bytes_read(void);
/** Note what computes in this process: the name of its backend and device, cut to what there is room for. */
void cyc_profile_set_device(const char *name);
/** The last one noted, "" if none was; valid until the next is. */
const char *cyc_profile_device(void);

/** Note the most bytes that were held on a device at one time; the largest of all counts. */
void cyc_profile_add_device_bytes(double bytes);
double cyc_profile_device_bytes(void);

/** What this process has spent so far, or since some moment. */
typedef struct {
	double cpu_s, bytes_read;
	cyc_thread_usage threads; /**< most_threads: of all its loops so far */
	int n;                    /**< of rows that have calls */
	cyc_profile_row rows[CYC_PROFILE_MOST_ROWS];
} cyc_costs;
void cyc_costs_get(cyc_costs *out);
/** Subtract what had been spent before. The rows stay in the order of their seconds. */
void cyc_costs_subtract(cyc_costs *costs, const cyc_costs *before);
/**
 * Write the members of run.json that say what a run, or a step of one, has cost: seconds of all processors
 * and those in which not all threads were busy, bytes read; then what each operation did.
 * @param[in,out] json   an object is open
 * @param[in] wall_s     that the costs belong to
 * @param[in] n_threads  that it was given
 */
void cyc_costs_json(cyc_json *json, const cyc_costs *costs, double wall_s, int n_threads);
/** Seconds in which fewer than all threads were at work: outside of loops, in loops of too few items, and
 * where some threads had no item left. 0 for one thread. */
double cyc_costs_not_all_busy_s(const cyc_costs *costs, double wall_s, int n_threads);

#endif
