/**
 * @file ranks.h
 * Processes that work on a job together, on one machine or on many: ranks 0 .. n - 1, as MPI counts them.
 *
 * Rank 0 runs the program: it reads the command line, writes all files, logs, and decides. The others wait in
 * cyc_ranks_serve(). A job that can share its work calls cyc_ranks_begin(), which sends its options to the
 * others; they call the same job, read the same input, and keep the same state. Each rank then works on its
 * own units (tilt series, cyc_project_deal()), and what they found is made known to all: sums of integers,
 * which are the same in any order (T2.10), and results of units as they are. So the bits do not depend on the
 * number of ranks. Nobody but rank 0 writes results (cyc_is_first_rank()).
 *
 * Every function that exchanges something is called by all ranks in the same order. Each first exchanges how
 * the ranks are: a rank that failed, or was asked to stop, ends the job on all of them with its error. A
 * process that has no others is rank 0 of 1, for which all of this costs nothing.
 *
 * Not thread-safe: called from the thread that joined.  docs/dev/ranks.md
 */
#ifndef CYCLOTOMO_RANKS_H
#define CYCLOTOMO_RANKS_H

#include "cyclotomo/options.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Number of this rank, and of all. */
int cyc_rank(void);
int cyc_n_ranks(void);
/** Number of this rank among those of its machine. */
int cyc_rank_on_machine(void);
static inline bool cyc_is_first_rank(void) { return cyc_rank() == 0; }

/**
 * Join the other ranks, if this process was started as one of several: by mpirun or srun (then through the
 * plug-in libcyclotomo_mpi.so, the only part that needs MPI), or with CYCLOTOMO_PROCESSES=n in the
 * environment, which starts n - 1 more processes here (for tests, and machines without MPI). Call it first in
 * main(), before any thread is started.
 * @param[in] n_processes  to start here where neither MPI nor the environment says how many: one for each GPU
 * of a run; they share the machine's processors. 1: none
 * @return CYC_E_USAGE for a bad number; CYC_E_UNSUPPORTED if MPI started the process and the plug-in is
 * missing
 */
CYC_MUST_CHECK cyc_status cyc_ranks_join(int n_processes);
/** Rank 0: let the others end. All: leave; from here on this is rank 0 of 1. */
void cyc_ranks_leave(void);
/** The way by which ranks talk: "mpi", "processes"; "single" without others. */
const char *cyc_ranks_transport(void);

/* ---------------------------------------------------------------- jobs */

/** A job that can share its work. Its options go to the other ranks as they are: numbers to the bit. */
typedef struct {
	const cyc_option_table *table; /**< its name is that of the job */
	size_t size;                   /**< of the options struct */
	size_t n_threads; /**< offset of its int32_t n_threads: ranks that got no number use their own */
	int n_texts;
	const size_t *texts; /**< offsets of const char * members that the table does not have */
	/** Run the job as one of several ranks. */
	cyc_status (*run)(const void *options);
} cyc_rank_job;
/**
 * Define cyc_NAME_rank_job, of cyc_NAME_run() with its cyc_NAME_options. To be put at the end of a job's
 * file.
 */
#define CYC_RANK_JOB(NAME)                                                                                   \
	static cyc_status run_rank(const void *options) { return cyc_##NAME##_run(NULL, options); }              \
	static const size_t TEXTS[] = { offsetof(cyc_##NAME##_options, input.root) };                            \
	const cyc_rank_job cyc_##NAME##_rank_job = { .table = &cyc_##NAME##_table,                               \
		                                         .size = sizeof(cyc_##NAME##_options),                       \
		                                         .n_threads = offsetof(cyc_##NAME##_options, n_threads),     \
		                                         .n_texts = 1,                                               \
		                                         .texts = TEXTS,                                             \
		                                         .run = run_rank };
/** Rank 0: start the job on the others. They have been called with it, and do nothing here. */
CYC_MUST_CHECK cyc_status cyc_ranks_begin(const cyc_rank_job *job, const void *options);
/**
 * End the job on all ranks; to be called by each rank that began it, after whatever happened.
 * @param[in] st  how it went on this rank
 * @return `st` if it failed here, else the status of the lowest rank that failed, with its error record
 */
CYC_MUST_CHECK cyc_status cyc_ranks_end(cyc_status st);
/** Ranks other than 0: run what rank 0 begins, until it leaves. */
CYC_MUST_CHECK cyc_status cyc_ranks_serve(const cyc_rank_job *const *jobs, int n_jobs);

/* ---------------------------------------------------------------- work */

/** Ranks that share the job that this one is in; 1 outside of one. */
int cyc_ranks_in_job(void);
/** Sum of all ranks' numbers, on all ranks. */
CYC_MUST_CHECK cyc_status cyc_ranks_sum(int64_t *data, size_t n);
/** Data of a rank, to all others. */
CYC_MUST_CHECK cyc_status cyc_ranks_broadcast(void *data, size_t n_bytes, int root);
/**
 * Results of units, from their owners to all others.
 * @param[in,out] items  unit i has items first[i] .. first[i + 1] - 1, of `size` bytes each; plain data
 * without addresses
 */
CYC_MUST_CHECK cyc_status cyc_ranks_share(void *items, size_t size, const int64_t *first,
                                          const int32_t *owner, int32_t n_units);
/**
 * Rank that makes piece i of something large that all ranks need. Where all are on one machine, pieces are
 * dealt out and passed on, which costs less than making them on each; between machines each rank makes its
 * own, with all of its processors.
 */
int cyc_ranks_maker(int64_t i);
/** Whether they are: whether cyc_ranks_pass_on() passes anything on. */
bool cyc_ranks_are_together(void);
/** Piece i, from its maker to all others; nothing to do where each has made its own. */
CYC_MUST_CHECK cyc_status cyc_ranks_pass_on(void *data, size_t n_bytes, int64_t i);
/** Give the warnings of all ranks on rank 0 now, those that it has not given itself; at the end of a job they
 * are in any case. For records, which keep what was logged. */
CYC_MUST_CHECK cyc_status cyc_ranks_relay_warnings(void);
/** What a rank did so far. */
typedef struct {
	char host[65], device[128]; /**< device: cyc_profile_device() */
	int32_t n_threads;          /**< most of a loop (cyc_thread_usage) */
	double cpu_s;
	double busy_s;     /**< of threads in loops */
	double waited_s;   /**< for other ranks, in exchanges of jobs */
	double sent_bytes; /**< counted once for all who get them */
	int64_t peak_memory_bytes;
} cyc_rank_report;
/** Reports of all ranks when the last job that they shared ended well; *n = 0: none has. Borrowed. */
const cyc_rank_report *cyc_ranks_reports(int *n);

#ifdef __cplusplus
}
#endif
#endif
