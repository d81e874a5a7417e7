#include "cyclotomo/profile.h"

#include "cyclotomo/base.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static cyc_profile_row g_rows[CYC_PROFILE_MOST_ROWS];
static int g_n;

/* With the lock held. */
static cyc_profile_row *row_of(const char *name)
{
	for (int i = 0; i < g_n; i++)
		if (strcmp(g_rows[i].name, name) == 0) return &g_rows[i];
	if (g_n == CYC_PROFILE_MOST_ROWS) return &g_rows[g_n - 1];
	g_rows[g_n].name = name;
	return &g_rows[g_n++];
}

void cyc_profile_add(const cyc_profile_row *call)
{
	pthread_mutex_lock(&g_lock);
	cyc_profile_row *r = row_of(call->name);
	r->calls++;
	r->rows += call->rows;
	r->seconds += call->seconds;
	r->work += call->work;
	r->bytes += call->bytes;
	pthread_mutex_unlock(&g_lock);
}

static int by_seconds(const void *a, const void *b)
{
	const cyc_profile_row *x = a, *y = b;
	return x->seconds < y->seconds ? 1 : x->seconds > y->seconds ? -1 : strcmp(x->name, y->name);
}

int cyc_profile_get(cyc_profile_row *rows)
{
	pthread_mutex_lock(&g_lock);
	int n = g_n;
	memcpy(rows, g_rows, (size_t)n * sizeof *rows);
	pthread_mutex_unlock(&g_lock);
	qsort(rows, (size_t)n, sizeof *rows, by_seconds);
	return n;
}

double cyc_profile_bytes_read(void)
{
	double bytes = 0;
	FILE *f = fopen("/proc/self/io", "r");
	if (!f) return 0;
	if (fscanf(f, "rchar: %lf", &bytes) != 1) bytes = 0;
	(void)fclose(f);
	return bytes;
}

static char g_device[128];

void cyc_profile_set_device(const char *name) { snprintf(g_device, sizeof g_device, "%s", name); }
const char *cyc_profile_device(void) { return g_device; }
