/**
 * @file status.h
 * Statuses, the thread-local error record, and the macros every fallible function is built from.
 *
 * A function that can fail returns a cyc_status, has one `done:` label, and reports through
 * CYC_CHECK (the user's or the data's fault: always compiled) or CYC_TRY (pass on a failure).
 * The raiser states what was wrong, what was expected and what was found; callers add where
 * (cyc_error_context) and what to do (cyc_error_hint). Only src/cli ends the process.
 *
 *   cyc_status f(T **out, ...)
 *   {
 *     cyc_status st = CYC_OK;
 *     T *t = NULL;
 *     CYC_CHECK(n > 0, CYC_E_SHAPE, "box must be positive, got %d vox", n);
 *     CYC_TRY(cyc_alloc(&t, 1, sizeof *t));
 *     *out = t; t = NULL;
 *   done:
 *     cyc_t_destroy(&t);
 *     return st;
 *   }
 */
#ifndef CYCLOTOMO_STATUS_H
#define CYCLOTOMO_STATUS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One source for the enum, the texts, docs/errors.md and the process exit codes. */
#define CYC_STATUS_LIST(X)                                                                                   \
	X(CYC_OK, 0, "no error")                                                                                 \
	X(CYC_E_USAGE, 2, "the command line or an argument is not usable")                                       \
	X(CYC_E_IO, 1, "a file could not be read or written")                                                    \
	X(CYC_E_FORMAT, 3, "a file is not in the format it should have")                                         \
	X(CYC_E_DATA, 3, "a file is well formed but its content cannot be used")                                 \
	X(CYC_E_SHAPE, 3, "sizes or pixel sizes do not fit together")                                            \
	X(CYC_E_NOMEM, 1, "not enough memory")                                                                   \
	X(CYC_E_DEVICE, 1, "a compute device failed or is not there")                                            \
	X(CYC_E_DEVICE_NOMEM, 1, "not enough device memory")                                                     \
	X(CYC_E_UNSUPPORTED, 3, "the request is valid but not supported")                                        \
	X(CYC_E_NUMERIC, 1, "a computation did not give a usable number")                                        \
	X(CYC_E_DIFFERENT, 1, "files that were compared are not the same")                                       \
	X(CYC_E_CANCELLED, 130, "interrupted or aborted on request")                                             \
	X(CYC_E_INTERNAL, 1, "a mistake in the program")

typedef enum {
#define CYC_STATUS_ENUM(name, exit_code, text) name,
	CYC_STATUS_LIST(CYC_STATUS_ENUM)
#undef CYC_STATUS_ENUM
		CYC_N_STATUS
} cyc_status;

#if defined(__GNUC__)
#define CYC_MUST_CHECK __attribute__((warn_unused_result))
#define CYC_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define CYC_MUST_CHECK
#define CYC_PRINTF(f, a)
#endif

enum { CYC_ERROR_TEXT = 1536, CYC_ERROR_FRAMES = 16 };

/** What went wrong, for people. One record per thread; plain data, copyable. */
typedef struct {
	cyc_status status;
	char message[CYC_ERROR_TEXT]; /**< context, innermost first: "a.star: row 3: ..." */
	char hint[CYC_ERROR_TEXT];    /**< what to do about it, or empty */
	struct {
		const char *file, *function;
		int line;
	} frames[CYC_ERROR_FRAMES]; /**< where the failure passed, innermost first */
	int n_frames;
} cyc_error;

/** Short text of a status, e.g. "not enough memory". Never NULL. Thread-safe. */
const char *cyc_status_text(cyc_status st);
/** Name of a status, e.g. "CYC_E_NOMEM". Never NULL. Thread-safe. */
const char *cyc_status_name(cyc_status st);
/** Exit code that src/cli uses for a status: 0 ok, 1 run time, 2 usage, 3 input data, 130 cancelled. */
int cyc_status_exit_code(cyc_status st);

/** Start a new record on this thread; returns `st` so that a raiser can be an expression. */
cyc_status cyc_error_raise(cyc_status st, const char *file, int line, const char *function, const char *fmt,
                           ...) CYC_PRINTF(5, 6);
/** Note that the failure passed through here; returns `st`. */
cyc_status cyc_error_frame(cyc_status st, const char *file, int line, const char *function);
/** Put "text: " in front of the message: the file, row, particle the caller knows. If a part of the message
 * begins with that text already, quotes aside, nothing is changed. */
void cyc_error_context(const char *fmt, ...) CYC_PRINTF(1, 2);
/** Set the advice shown below the message, unless a deeper layer has already given one. */
void cyc_error_hint(const char *fmt, ...) CYC_PRINTF(1, 2);
/** This thread's record; status CYC_OK if none. Borrowed, valid until the next failure on this thread. */
const cyc_error *cyc_error_get(void);
void cyc_error_clear(void);
/** Install a record made on another thread as this thread's. */
void cyc_error_set(const cyc_error *e);

#define CYC_RAISE(code, ...)                                                                                 \
	do {                                                                                                     \
		st = cyc_error_raise((code), __FILE__, __LINE__, __func__, __VA_ARGS__);                             \
		goto done;                                                                                           \
	} while (0)
#define CYC_CHECK(cond, code, ...)                                                                           \
	do {                                                                                                     \
		if (!(cond)) CYC_RAISE(code, __VA_ARGS__);                                                           \
	} while (0)
#define CYC_TRY(call)                                                                                        \
	do {                                                                                                     \
		st = (call);                                                                                         \
		if (st != CYC_OK) {                                                                                  \
			cyc_error_frame(st, __FILE__, __LINE__, __func__);                                               \
			goto done;                                                                                       \
		}                                                                                                    \
	} while (0)
/** As CYC_TRY, adding context when it fails: CYC_TRY_CTX(f(x), "tilt series %s", name). */
#define CYC_TRY_CTX(call, ...)                                                                               \
	do {                                                                                                     \
		st = (call);                                                                                         \
		if (st != CYC_OK) {                                                                                  \
			cyc_error_frame(st, __FILE__, __LINE__, __func__);                                               \
			cyc_error_context(__VA_ARGS__);                                                                  \
			goto done;                                                                                       \
		}                                                                                                    \
	} while (0)

/* Our own mistakes only; compiled in debug builds and tests. No side effects inside. */
#ifdef CYC_DEBUG
#include <assert.h>
#define CYC_ASSERT(cond) assert(cond)
#else
#define CYC_ASSERT(cond) ((void)0)
#endif

#ifdef __cplusplus
}
#endif
#endif
