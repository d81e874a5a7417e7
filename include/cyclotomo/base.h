/**
 * @file base.h
 * General utilities, without cryo-EM: memory, logging, progress, threads, random numbers, paths.
 */
#ifndef CYCLOTOMO_BASE_H
#define CYCLOTOMO_BASE_H

#include "cyclotomo/status.h"
#include <math.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- memory */

/**
 * Allocate n x size bytes, 64-byte aligned and zeroed, into *(void **)out.
 *
 * @param[out] out  address of a pointer of any object type; NULL-ed first. Free with cyc_free().
 * @return CYC_OK; CYC_E_NOMEM on overflow of n x size or lack of memory (*out is NULL).
 * @note Thread-safe. n = 0 gives a valid pointer to nothing.
 */
CYC_MUST_CHECK cyc_status cyc_alloc_(void *out, size_t n, size_t size, const char *what);
#define cyc_alloc(out, n, size) cyc_alloc_((out), (size_t)(n), (size), #out)
/** Grow or shrink an array of cyc_alloc() from n_old to n_new elements; new ones are zeroed. */
CYC_MUST_CHECK cyc_status cyc_realloc(void *inout, size_t n_old, size_t n_new, size_t size);
/** Free memory of this module; NULL is allowed. */
void cyc_free(void *p);
/** Copy of a string; free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_strdup(char **out, const char *s);
/** printf into a new string; free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_asprintf(char **out, const char *fmt, ...) CYC_PRINTF(2, 3);
/** printf into a new string that replaces *inout, which is freed (NULL is allowed); on error it is kept. The
 * old string may be among what is printed. */
CYC_MUST_CHECK cyc_status cyc_reprintf(char **inout, const char *fmt, ...) CYC_PRINTF(2, 3);
/**
 * From here on keep so many addresses free where their number is limited (ulimit -v), for libraries that hang
 * or abort without them and for stacks of threads: cyc_alloc_() fails where less would be left. The most that
 * was asked for counts. No effect without a limit.
 * @return CYC_E_NOMEM if fewer are left now
 */
CYC_MUST_CHECK cyc_status cyc_reserve_addresses(double bytes);
/** What is kept free; 0 without a limit. */
double cyc_reserved_addresses(void);
/** Tests only: make the n-th allocation from now on this process fail (n >= 1); 0 switches off. */
void cyc_alloc_fail_at(int64_t n);
/** Allocations made so far by this process; for the fault-injection tests. */
int64_t cyc_alloc_count(void);
/** Seconds since some moment in the past, which is the same throughout a process: for durations. */
double cyc_clock_s(void);
/** Processor seconds of this process so far, all threads, user and system (getrusage). */
double cyc_cpu_s(void);
/** Peak resident memory of this process in bytes (getrusage). */
int64_t cyc_peak_memory_bytes(void);
/** Arrays of so many bytes and more go back to the system when they are freed; what smaller ones leave may
 * stay with the process. */
enum { CYC_MAPPED_BYTES = 4 << 20 };
/** At the start of a program, whose memory is all its own: blocks below CYC_MAPPED_BYTES that were freed stay
 * with the process for the next ones, where glibc would return and clear their pages each time. */
void cyc_memory_keep_freed(void);
/** Between jobs of one process: memory that was freed goes back to the system, so that the next needs what it
 * would need in a process of its own. */
void cyc_memory_give_back(void);

/** The most memory that a job will hold at one time, found by walking through what it allocates and frees.
 * Starts zeroed. */
typedef struct {
	double now, peak; /**< bytes */
} cyc_memory_plan;
/** Program and libraries, without any data [bytes]. */
#define CYC_PROGRAM_BYTES 14e6
/** What drawing figures takes: fonts, which stay, and a picture. */
#define CYC_FIGURES_BYTES 12e6
/** Bytes that are held from here on. */
void cyc_memory_take(cyc_memory_plan *m, double bytes);
/** Bytes that are freed. */
void cyc_memory_give(cyc_memory_plan *m, double bytes);
/** Bytes that are taken and given back. */
void cyc_memory_pass(cyc_memory_plan *m, double bytes);
/**
 * Say what a job will need, and refuse it where that is more than cyc_memory_available_bytes(). Call it
 * before anything large is allocated, from dry runs too.
 * @param[in] n_threads  each needs addresses for its stack and for BLAS, which count under `ulimit -v`
 * @param[in] less       hint: which options need less
 * @return CYC_E_NOMEM with both figures
 */
CYC_MUST_CHECK cyc_status cyc_memory_require(double bytes, int n_threads, const char *less);
/* ---------------------------------------------------------------- logging */

typedef enum { CYC_LOG_ERROR, CYC_LOG_WARN, CYC_LOG_INFO, CYC_LOG_DEBUG } cyc_log_level;
/** Where log lines go: installed by the CLI. `text` has no newline. Called under a lock. */
typedef void (*cyc_log_sink)(void *user, cyc_log_level level, const char *text);
/** Install a sink (NULL: discard) and the most verbose level that reaches it. Not thread-safe: call first. */
void cyc_log_set_sink(cyc_log_sink sink, void *user, cyc_log_level max_level);
void cyc_log(cyc_log_level level, const char *fmt, ...) CYC_PRINTF(2, 3);
#define cyc_info(...) cyc_log(CYC_LOG_INFO, __VA_ARGS__)
#define cyc_warn(...) cyc_log(CYC_LOG_WARN, __VA_ARGS__)
#define cyc_debug(...) cyc_log(CYC_LOG_DEBUG, __VA_ARGS__)
/**
 * Also give each warning to a listener, whatever the sink's level: for a job that puts the warnings of its
 * steps on a page. One at a time; NULL: none. Called under the lock, so a listener must not log.
 */
void cyc_log_set_warning_listener(cyc_log_sink listener, void *user);
/**
 * Also give each line down to information to a listener, whatever the sink: for a job that keeps the log of
 * its steps in their folders. One at a time; NULL: none. Called under the lock, so a listener must not log.
 */
void cyc_log_set_transcript(cyc_log_sink listener, void *user);
/** Whether this warning was given already. Thread-safe. */
bool cyc_log_has_warned(const char *text);
/**
 * Keep what is logged from here on, warnings and information, whatever the sink's level: for a record of what
 * is computed meanwhile. Drops what was kept before. Kept texts are not given again by cyc_log_repeat(). One
 * at a time in a process; memory that is short loses a text.
 */
void cyc_log_keep(void);
void cyc_log_keep_end(void);
/** What was kept so far, plain bytes; borrowed until something is logged. @param[out] n  0: nothing */
const char *cyc_log_kept(size_t *n);
/**
 * Give kept texts again, each that this process has not given yet; a listener gets all warnings. Bytes that
 * are not whole texts are ignored.
 */
void cyc_log_repeat(const char *kept, size_t n);
/** "s" behind a number that is not 1: "%d iteration%s". */
#define cyc_plural(n) ((n) > 1 || (n) < 1 ? "s" : "")
/** An information that is not repeated: nothing if this process has given the same text by it before. */
void cyc_info_once(const char *fmt, ...) CYC_PRINTF(1, 2);
/** Number of warnings logged so far. */
int64_t cyc_log_n_warnings(void);
/** The same without repetitions of a text; the CLI gives this count in the final summary. */
int64_t cyc_log_n_different_warnings(void);

/* ---------------------------------------------------------------- progress */

/** Called with a short text, how much is done and of how much (> 0); installed by the CLI (bar on a terminal,
 * plain lines else). */
typedef void (*cyc_progress_sink)(void *user, const char *what, int64_t n_done, int64_t n_total);
void cyc_progress_set_sink(cyc_progress_sink sink, void *user);
void cyc_progress(const char *what, int64_t n_done, int64_t n_total);
/** Also notify a listener, before the sink and outside its lock, from any thread: for a run of several
 * jobs, which keeps book of them. One at a time; NULL: none. Set it while no work is under way. */
void cyc_progress_set_listener(cyc_progress_sink listener, void *user);
/** What the work is part of, for the sink to show: "step 3 of 11, 12:30 min left of the run"; "": of nothing.
 * Copied. */
void cyc_progress_set_whole(const char *text);
/** The same, to be called by the sink. */
const char *cyc_progress_whole(void);
/** "8 s", "4:05 min", "2:03 h"; a dash for what is not known (NaN). Thread-safe. */
void cyc_format_seconds(char *out, size_t size, double seconds);

/* ---------------------------------------------------------------- cancelling */

/**
 * Ask running work to stop (from a signal handler: async-signal-safe).
 * @param[in] reason  text of the error, a literal; NULL withdraws the request
 */
void cyc_cancel_request(const char *reason);
/** CYC_E_CANCELLED with a record if somebody asked to stop or the abort file exists, else CYC_OK. */
CYC_MUST_CHECK cyc_status cyc_cancel_check(void);
/** File whose existence means "abort" (RELION_JOB_ABORT_NOW of a job folder); NULL: none. Copied. */
cyc_status cyc_cancel_watch_file(const char *path);
/** The same for the folder of a step of the running job, beside that. Not while work is under way. */
cyc_status cyc_cancel_watch_step(const char *path);

/* ---------------------------------------------------------------- threads */

/** Work item i on thread i_thread (0 <= i_thread < n_threads; use it to pick scratch memory only). */
typedef cyc_status (*cyc_task)(void *arg, int64_t i, int i_thread);
/**
 * Run items 0..n-1 on n_threads threads, each item once, handed out in increasing order.
 *
 * Results must depend on the item only, never on the thread: then they are the same for any number of
 * threads. After a failure no new item starts; the error record of the lowest failing item that ran is the
 * caller's.
 * @return CYC_OK or the status of that item. Between items it looks whether somebody asked to stop, and about
 * once a second for the abort file.
 * @note Called from inside a task it runs its items one after the other on the thread of that task, all with
 * i_thread = 0: scratch memory that i_thread picks must then belong to the task, for outer tasks on other
 * threads have 0 there, too.
 */
CYC_MUST_CHECK cyc_status cyc_parallel_for(int64_t n, int n_threads, cyc_task task, void *arg);
/** memcpy() of large memory by n_threads threads: pieces of a megabyte. */
CYC_MUST_CHECK cyc_status cyc_copy(void *to, const void *from, size_t n_bytes, int n_threads);
/** How this process has used its threads so far. */
typedef struct {
	double loops_s; /**< wall time in cyc_parallel_for(); the rest of a run is one thread's */
	double busy_s;  /**< time that threads spent on items of loops, all threads together */
	/** Wall time in which as many threads were at work as a loop was given at most: in loops, alone between
	 * them, or reading ahead. */
	double full_s;
	int most_threads; /**< of any loop */
} cyc_thread_usage;
void cyc_thread_usage_get(cyc_thread_usage *out);
/**
 * Threads that cyc_parallel_for() starts for so many items: no more than there are items, and than several
 * for each processor. At least one. Scratch is made for these, however many threads are asked for.
 */
int cyc_n_workers(int64_t n_items, int n_threads);
/**
 * Keep LAPACK and BLAS from using threads of their own: results must not depend on the machine's cores. Call
 * before using them. Where addresses are limited (ulimit -v), room for their buffers is kept free, without
 * which they would hang.
 * @param[in] n_threads  that may call them at one time
 * @return CYC_E_NOMEM if there is no such room
 */
CYC_MUST_CHECK cyc_status cyc_lapack_prepare(int n_threads);
/**
 * Number of processors this process may use: those of its affinity mask (taskset, Slurm, mpirun), and no more
 * than the CPU quota of its control group (containers, systemd), version 1 or 2.
 */
int cyc_n_processors(void);
/** From here on cyc_n_processors() is the n-th part of it, at least 1: n processes share them. */
void cyc_processors_divide(int n);
/** The same for cyc_memory_available_bytes(), but for the limit of addresses, which each process has. */
void cyc_memory_divide(int n);
/**
 * Memory that this process may still take [bytes]: what the kernel calls available, what the limits of its
 * control groups (Slurm's --mem, containers) and the address space limit (ulimit -v) leave of it. Read again
 * at each call.
 */
double cyc_memory_available_bytes(void);

/* ---------------------------------------------------------------- random numbers */

/** Counter-based generator (Philox4x32-10, Salmon et al. 2011): the draw is a pure function of key and
 * counter. */
typedef struct {
	uint64_t key, stream, counter;
	uint32_t buffer[4];
	int n_left;
	bool has_spare;
	double spare;
} cyc_rng;
/** Stream for (seed, purpose, index): independent for every distinct triple. Plain value, no cleanup. */
cyc_rng cyc_rng_make(uint64_t seed, uint32_t purpose, uint64_t index);
uint32_t cyc_rng_u32(cyc_rng *r);
/** Uniform in [0, 1). */
double cyc_rng_uniform(cyc_rng *r);
/** Standard normal (Box-Muller). */
double cyc_rng_normal(cyc_rng *r);
/** Uniform in [0,1) at one counter: cyc_rng_at(seed, purpose, i, j) needs no state, so it parallelises. */
double cyc_rng_uniform_at(uint64_t seed, uint32_t purpose, uint64_t i, uint64_t j);

/* ---------------------------------------------------------------- order statistics */

/** Sort n numbers, none of them NaN, in increasing order. */
void cyc_sort(double *v, size_t n);
/** Median of n numbers, which are sorted; the mean of the middle two of an even number, 0 of none. */
double cyc_median(double *v, size_t n);
/** The median, but of two numbers the lower: what single ones are compared with, so that of two the higher
 * stands out. */
double cyc_median_or_lower(double *v, size_t n);

/* ---------------------------------------------------------------- paths and files */

/** a/b with one slash; b absolute wins; a NULL or "" gives b. Free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_path_join(char **out, const char *a, const char *b);
/** Folder part with the trailing slash ("" if none). Free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_path_dir(char **out, const char *path);
/**
 * The name of a file for something that a user named (a tomogram, a particle): the name itself where it is
 * plain (one component, not hidden, no control characters, at most 160 bytes), else what can be kept of it
 * with a hash of the whole. It never leaves the folder that it is put into, and different names do not meet.
 * Free with cyc_free().
 */
CYC_MUST_CHECK cyc_status cyc_file_name(char **out, const char *name);
/** The same for names with folders in them ("TS_01/7"), which stay if every component is plain. */
CYC_MUST_CHECK cyc_status cyc_file_path_name(char **out, const char *name);
/** Whether a relative path has plain components only: none empty, hidden, "." or "..". */
bool cyc_is_plain_path(const char *path);
bool cyc_path_exists(const char *path);
/** mkdir -p. */
CYC_MUST_CHECK cyc_status cyc_make_dirs(const char *path);
/** Create the folders above a file to be written. */
CYC_MUST_CHECK cyc_status cyc_make_parent_dirs(const char *path);

/** Free bytes of the file system that a path lies on, or will once its folders are made; what this user may
 * write. */
CYC_MUST_CHECK cyc_status cyc_disk_free(double *bytes, const char *path);

/** A file that appears under its final name only when complete: open, write, then commit or abandon. */
typedef struct {
	FILE *f;
	char *path, *tmp;
	bool is_nameless; /**< no name at all until the commit */
} cyc_outfile;
CYC_MUST_CHECK cyc_status cyc_outfile_open(cyc_outfile *o, const char *path);
/** Flush, check every write, fsync, rename to the final name, fsync the folder. On failure the temporary file
 * is removed. */
CYC_MUST_CHECK cyc_status cyc_outfile_commit(cyc_outfile *o);
/**
 * From now on cyc_outfile_commit() of the calling thread returns while another thread waits for the disk, so
 * that a job goes on with the next large file meanwhile. Files are completed one after the other, in their
 * order. That one could not be written is said by the next commit or by cyc_commits_end().
 */
void cyc_commits_begin(void);
/**
 * Wait for the last file, and let commits wait again. Without a begin it does nothing.
 * @param[in] st  of what was done in between: if it is an error, it is returned and stays the reported one
 */
CYC_MUST_CHECK cyc_status cyc_commits_end(cyc_status st);
/**
 * From now on each file that cyc_outfile_commit() completes is reported to `listener`, from any thread;
 * NULL: no more. One at a time for the whole process; set it while no other thread writes.
 */
typedef void (*cyc_outfile_listener)(void *user, const char *path);
void cyc_outfile_set_listener(cyc_outfile_listener listener, void *user);
/** Remove the temporary file if still open; harmless after commit. Safe on a zeroed struct. */
void cyc_outfile_abandon(cyc_outfile *o);
/** Open a file for reading; CYC_E_IO for what is no regular file (a pipe without a writer would wait for
 * ever). The caller closes *fd. */
CYC_MUST_CHECK cyc_status cyc_open_regular(int *fd, const char *path);
/** Whole file into a NUL-terminated buffer (n excludes the NUL). Free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_read_file(char **out, size_t *n, const char *path);
/** Write n bytes via cyc_outfile. */
CYC_MUST_CHECK cyc_status cyc_write_file(const char *path, const char *data, size_t n);

/**
 * 64-bit hash (XXH3 of libxxhash, the hash so far as its seed), chainable: start with CYC_HASH_INIT. Data cut
 * into other pieces hash differently. For keys and damage, not for security.
 */
#define CYC_HASH_INIT UINT64_C(1469598103934665603)
uint64_t cyc_hash(uint64_t h, const void *data, size_t n);
uint64_t cyc_hash_string(uint64_t h, const char *s);
/**
 * Hash of n_bytes of a file from an offset on, read piece by piece; what the pieces are does not matter.
 * @param[in] n_bytes  negative: to the end of the file
 * @return CYC_E_IO if the file cannot be read or is shorter; CYC_E_NOMEM
 * @note Thread-safe.
 */
CYC_MUST_CHECK cyc_status cyc_hash_file_part(uint64_t *h, const char *path, int64_t offset, int64_t n_bytes);
/** The same of a whole file. */
CYC_MUST_CHECK cyc_status cyc_hash_file(uint64_t *h, const char *path);

/* ---------------------------------------------------------------- plug-ins */

/**
 * A function of a plug-in, which is opened for the rest of the process: a library beside the program, in
 * ../lib/cyclotomo or ../lib from there, or where the system looks for libraries; or only in the folder that
 * CYCLOTOMO_PLUGINS in the environment names.
 * @param[out] reason  why it is not available, if NULL is returned
 */
void *cyc_plugin_symbol(const char *library, const char *symbol, char *reason, size_t size);
/** Whether a plug-in is installed with the program, whether or not it can be opened. */
bool cyc_plugin_exists(const char *library);

#define CYC_PI 3.14159265358979323846
/** Not a number, as a double: the one of math.h is a float, and compilers warn of the conversion. */
#define CYC_NAN ((double)NAN)
static inline double cyc_deg_to_rad(double deg) { return deg * (CYC_PI / 180.0); }
static inline double cyc_rad_to_deg(double rad) { return rad * (180.0 / CYC_PI); }
static inline double cyc_square(double x) { return x * x; }

/* Hot loops get AVX2 and AVX-512 versions, chosen at run time; off under sanitizers and for other machines.
 */
#if defined(CYC_MULTIVERSION) && defined(__x86_64__)
#define CYC_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CYC_SIMD
#endif

#ifdef __cplusplus
}
#endif
#endif
