#include "cyclotomo/status.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static _Thread_local cyc_error t_error;

static const struct {
	const char *name, *text;
	int exit_code;
} STATUS[CYC_N_STATUS] = {
#define CYC_STATUS_ROW(name, exit_code, text) [name] = { #name, text, exit_code },
	CYC_STATUS_LIST(CYC_STATUS_ROW)
#undef CYC_STATUS_ROW
};

static cyc_status known(cyc_status st) { return (int)st >= 0 && st < CYC_N_STATUS ? st : CYC_E_INTERNAL; }

const char *cyc_status_text(cyc_status st) { return STATUS[known(st)].text; }
const char *cyc_status_name(cyc_status st) { return STATUS[known(st)].name; }
int cyc_status_exit_code(cyc_status st) { return STATUS[known(st)].exit_code; }

cyc_status cyc_error_raise(cyc_status st, const char *file, int line, const char *function, const char *fmt,
                           ...)
{
	/* The arguments may point into the old record (a message that quotes another): format first. */
	char text[CYC_ERROR_TEXT];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	memset(&t_error, 0, sizeof t_error);
	t_error.status = st;
	memcpy(t_error.message, text, sizeof text);
	return cyc_error_frame(st, file, line, function);
}

cyc_status cyc_error_frame(cyc_status st, const char *file, int line, const char *function)
{
	if (t_error.n_frames < CYC_ERROR_FRAMES) {
		t_error.frames[t_error.n_frames].file = file;
		t_error.frames[t_error.n_frames].line = line;
		t_error.frames[t_error.n_frames].function = function;
		t_error.n_frames++;
	}
	return st;
}

/* Whether a part of a message begins with this text, but for quotes; "series 1" does not begin "series 10".
 */
static bool begins_with(const char *part, const char *text)
{
	for (;; part++, text++) {
		while (*part == '\'') part++;
		while (*text == '\'') text++;
		if (!*text) return !*part || strchr(" ,:;()", *part);
		if (*part != *text) return false;
	}
}

/* A layer below may have named the place already. */
static bool names_already(const char *message, const char *text)
{
	for (const char *part = message;; part += 2) {
		if (begins_with(part, text)) return true;
		part = strstr(part, ": ");
		if (!part) return false;
	}
}

void cyc_error_context(const char *fmt, ...)
{
	char text[CYC_ERROR_TEXT], joined[CYC_ERROR_TEXT];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	size_t n = strlen(text);
	if (n + 2 >= sizeof joined || names_already(t_error.message, text)) return;
	memcpy(joined, text, n);
	joined[n] = ':';
	joined[n + 1] = ' ';
	size_t room = sizeof joined - n - 3, length = strlen(t_error.message);
	if (length > room) length = room;
	memcpy(joined + n + 2, t_error.message, length);
	joined[n + 2 + length] = '\0';
	memcpy(t_error.message, joined, sizeof joined);
}

void cyc_error_hint(const char *fmt, ...)
{
	if (t_error.hint[0]) return;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(t_error.hint, sizeof t_error.hint, fmt, ap);
	va_end(ap);
}

const cyc_error *cyc_error_get(void) { return &t_error; }
void cyc_error_clear(void) { memset(&t_error, 0, sizeof t_error); }
void cyc_error_set(const cyc_error *e) { t_error = *e; }
