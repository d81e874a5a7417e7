/** @file thread_start.h  Threads beside those of cyc_parallel_for(). */
#ifndef CYC_THREAD_START_H
#define CYC_THREAD_START_H

#include <pthread.h>
#include <stdbool.h>

/**
 * Start a thread with enough stack for tasks and libraries, whatever `ulimit -s` says; join it.
 * @return false if none can be had
 */
bool cyc_thread_start(pthread_t *out, void *(*run)(void *), void *arg);
/** Between these such a thread counts as one at work: cyc_thread_usage.full_s. One that waits for another
 * thread ends its work and begins it again. */
void cyc_work_begin(void);
void cyc_work_end(void);

#endif
