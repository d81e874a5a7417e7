#include "cyclotomo/profile.h"

#include "cyclotomo/base.h"

#include <math.h>
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

static double g_device_bytes;
void cyc_profile_add_device_bytes(double bytes) { g_device_bytes = fmax(g_device_bytes, bytes); }
double cyc_profile_device_bytes(void) { return g_device_bytes; }

/* ---------------------------------------------------------------- costs */

void cyc_costs_get(cyc_costs *out)
{
	out->cpu_s = cyc_cpu_s();
	out->bytes_read = cyc_profile_bytes_read();
	cyc_thread_usage_get(&out->threads);
	out->n = cyc_profile_get(out->rows);
}

static void subtract_row(cyc_profile_row *row, const cyc_profile_row *before)
{
	row->calls -= before->calls;
	row->rows -= before->rows;
	row->seconds -= before->seconds;
	row->work -= before->work;
	row->bytes -= before->bytes;
}

void cyc_costs_subtract(cyc_costs *costs, const cyc_costs *before)
{
	int n = 0;
	costs->cpu_s -= before->cpu_s;
	costs->bytes_read -= before->bytes_read;
	costs->threads.loops_s -= before->threads.loops_s;
	costs->threads.busy_s -= before->threads.busy_s;
	costs->threads.full_s -= before->threads.full_s;
	for (int i = 0; i < costs->n; i++) {
		cyc_profile_row row = costs->rows[i];
		for (int k = 0; k < before->n; k++)
			if (strcmp(row.name, before->rows[k].name) == 0) subtract_row(&row, &before->rows[k]);
		if (row.calls > 0) costs->rows[n++] = row;
	}
	costs->n = n;
	qsort(costs->rows, (size_t)n, sizeof *costs->rows, by_seconds);
}

double cyc_costs_not_all_busy_s(const cyc_costs *costs, double wall_s, int n_threads)
{
	return n_threads > 1 ? fmax(wall_s - costs->threads.full_s, 0) : 0;
}

void cyc_costs_json(cyc_json *j, const cyc_costs *costs, double wall_s, int n_threads)
{
	cyc_json_double(j, "cpu_s", costs->cpu_s);
	/* Threads that were busy on average: busy_in_loops_s / loops_s; one thread's: the rest of wall_s. */
	cyc_json_int(j, "most_threads_of_a_loop", costs->threads.most_threads);
	cyc_json_double(j, "loops_s", costs->threads.loops_s);
	cyc_json_double(j, "busy_in_loops_s", costs->threads.busy_s);
	cyc_json_double(j, "not_all_busy_s", cyc_costs_not_all_busy_s(costs, wall_s, n_threads));
	cyc_json_double(j, "bytes_read", costs->bytes_read);
	cyc_json_begin_array(j, "operations");
	for (int i = 0; i < costs->n; i++) {
		const cyc_profile_row *row = &costs->rows[i];
		cyc_json_begin_object(j, NULL);
		cyc_json_text(j, "operation", row->name);
		cyc_json_int(j, "calls", row->calls);
		cyc_json_int(j, "rows", row->rows);
		cyc_json_double(j, "wall_s", row->seconds);
		cyc_json_double(j, "nominal_flop", row->work);
		cyc_json_double(j, "operand_bytes", row->bytes);
		cyc_json_end_object(j);
	}
	cyc_json_end_array(j);
}
