/**
 * @file json.h
 * A writer of JSON text, used for run.json and summary.json. Indented, keys in the order given, the
 * same bytes for the same calls.
 */
#ifndef CYCLOTOMO_JSON_H
#define CYCLOTOMO_JSON_H

#include "cyclotomo/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A document being written; start from a zeroed struct. A failure (lack of memory) is kept and reported once,
 * by cyc_json_finish(): the calls between need no check. `key` is NULL inside arrays and for the outermost
 * value.
 */
typedef struct {
	char *text;
	size_t n, capacity;
	int depth;
	bool has_items; /**< the innermost container has a value already */
	cyc_status status;
} cyc_json;

void cyc_json_begin_object(cyc_json *j, const char *key);
void cyc_json_end_object(cyc_json *j);
void cyc_json_begin_array(cyc_json *j, const char *key);
void cyc_json_end_array(cyc_json *j);
/** NULL is written as null. Bytes that are no valid UTF-8 are written as U+FFFD. */
void cyc_json_text(cyc_json *j, const char *key, const char *value);
/** Shortest form that reads back as the same number; NaN and infinities become null. */
void cyc_json_double(cyc_json *j, const char *key, double value);
void cyc_json_int(cyc_json *j, const char *key, int64_t value);
void cyc_json_bool(cyc_json *j, const char *key, bool value);
void cyc_json_doubles(cyc_json *j, const char *key, const double *values, int64_t n);
/** Text with a final newline; free with cyc_free(). Empties the writer, also on failure. */
CYC_MUST_CHECK cyc_status cyc_json_finish(char **out, cyc_json *j);
/** Drop an unfinished document; harmless on a finished or zeroed one. */
void cyc_json_deinit(cyc_json *j);

#ifdef __cplusplus
}
#endif
#endif
