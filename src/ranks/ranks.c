#include "cyclotomo/ranks.h"

#include "cyclotomo/profile.h"

#include "ranks/transport.h"

#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

/* Collective calls of the ranks. */
typedef enum { OP_BEGIN = 1, OP_LEAVE, OP_END, OP_SUM, OP_BROADCAST, OP_SHARE, OP_RELAY } operation;

/* Exchanged before each call: ranks that disagree would wait for ever. */
typedef struct {
	int32_t op, status;
	uint64_t n_bytes;
} header;

static struct {
	cyc_transport t;
	bool is_joined, is_alone; /* alone: MPI started several, and cannot be used */
	bool is_one_machine;
	int place;       /* of this rank among those of its machine */
	bool is_gone;    /* a rank does not answer any more */
	bool has_begun;  /* between begin and end of a job, */
	bool has_failed; /* and all know that it failed */
	header *headers; /* of all ranks */
	double sent_bytes, waited_s;
	char *warnings; /* ranks other than 0: of the job, one after the other with their zeros */
	size_t n_warnings;
	cyc_rank_report *reports; /* of all ranks, at the end of the last job */
	bool has_reports;
} g = { .t = { .name = "single", .size = 1 } };

int cyc_rank(void) { return g.t.rank; }
int cyc_n_ranks(void) { return g.t.size; }
int cyc_rank_on_machine(void) { return g.place; }
const char *cyc_ranks_transport(void) { return g.t.name; }
const cyc_rank_report *cyc_ranks_reports(int *n)
{
	*n = g.has_reports ? g.t.size : 0;
	return g.reports;
}

/* ---------------------------------------------------------------- joining */

/* Number in the first of these variables that is set. */
static int variable(int *out, const char *const *names)
{
	for (; *names; names++) {
		const char *text = getenv(*names);
		if (text && text[0] >= '0' && text[0] <= '9') return *out = atoi(text), 1;
	}
	return 0;
}

/* Whether MPI started this process as one of several; Open MPI, MPICH and its descendants, PMIx under Slurm.
 */
static bool is_started_by_mpi(int *rank)
{
	static const char *const RANKS[] = { "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", NULL };
	static const char *const SIZES[] = { "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", NULL };
	int size = 1;
	return variable(rank, RANKS) && variable(&size, SIZES) && size > 1;
}

static cyc_status join_mpi(int rank)
{
	char reason[CYC_TRANSPORT_ERROR];
	cyc_transport_open_fn open_mpi;
	void *symbol = cyc_plugin_symbol("libcyclotomo_mpi.so", CYC_TRANSPORT_OPEN, reason, sizeof reason);
	memcpy(&open_mpi, &symbol, sizeof symbol); /* what POSIX promises, and C does not */
	if (symbol && open_mpi(&g.t, CYC_TRANSPORT_VERSION) == 0) return CYC_OK;
	if (symbol) snprintf(reason, sizeof reason, "%s", g.t.error);
	g.t = (cyc_transport){ .name = "single", .rank = rank, .size = 1 };
	g.is_alone = true;
	if (rank == 0)
		cyc_warn(
			"several processes were started by MPI, but only this one works: the plug-in libcyclotomo_mpi.so "
			"cannot be used (%s)",
			reason);
	return CYC_OK;
}

static cyc_status transport_failed(void);

static cyc_status compare_machines(void)
{
	cyc_status st = CYC_OK;
	char own[sizeof(((struct utsname *)0)->nodename)] = "", *all = NULL;
	struct utsname host;
	int n_here = 0;
	g.is_one_machine = true;
	if (g.t.size == 1) return CYC_OK;
	if (uname(&host) == 0) memcpy(own, host.nodename, sizeof own);
	CYC_TRY(cyc_alloc(&all, g.t.size, sizeof own));
	if (g.t.gather(&g.t, all, own, sizeof own)) {
		st = transport_failed();
		goto done;
	}
	for (int r = 0; r < g.t.size; r++) {
		bool is_here = strcmp(all + (size_t)r * sizeof own, own) == 0;
		g.is_one_machine = g.is_one_machine && is_here;
		if (is_here && r < g.t.rank) g.place++;
		n_here += is_here;
	}
	cyc_memory_divide(n_here);
done:
	cyc_free(all);
	return st;
}

/* n processes of this machine, with its processors divided among them. */
static cyc_status start_processes(int n)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(cyc_transport_processes(&g.t, n) == 0, CYC_E_IO, "cannot start %d processes: %s", n, g.t.error);
	cyc_processors_divide(n);
done:
	return st;
}

cyc_status cyc_ranks_join(int n_processes)
{
	cyc_status st = CYC_OK;
	const char *processes = getenv("CYCLOTOMO_PROCESSES");
	int rank = 0;
	CYC_CHECK(!g.is_joined, CYC_E_INTERNAL, "this process has joined already");
	if (is_started_by_mpi(&rank)) {
		CYC_TRY(join_mpi(rank));
	} else if (processes) {
		char *end;
		long n = strtol(processes, &end, 10);
		CYC_CHECK(end != processes && *end == '\0' && n >= 1 && n <= 1024, CYC_E_USAGE,
		          "CYCLOTOMO_PROCESSES must be a number of processes from 1 to 1024, got '%s'", processes);
		if (n > 1) CYC_TRY(start_processes((int)n));
	} else if (n_processes > 1) {
		CYC_TRY(start_processes(n_processes));
	}
	g.is_joined = true;
	CYC_TRY(cyc_alloc(&g.headers, g.t.size, sizeof *g.headers));
	CYC_TRY(cyc_alloc(&g.reports, g.t.size, sizeof *g.reports));
	CYC_TRY(compare_machines());
done:
	return st;
}

/* ---------------------------------------------------------------- exchanges */

static cyc_status transport_failed(void)
{
	g.is_gone = g.has_failed = true;
	cyc_error_raise(CYC_E_IO, __FILE__, __LINE__, __func__, "the ranks of this run lost each other: %s",
	                g.t.error);
	cyc_error_hint(
		"the same command with --resume (of a cycle: the same command) continues from what is finished");
	return CYC_E_IO;
}

/* The error of a rank, to all others. */
static cyc_status spread_error(int from)
{
	cyc_error e = *cyc_error_get();
	struct utsname host = { 0 };
	g.has_failed = true;
	if (from == g.t.rank) {
		e.n_frames = 0; /* names of files as addresses of this process */
		if (!e.message[0])
			snprintf(e.message, sizeof e.message, "%s", cyc_status_text((cyc_status)g.headers[from].status));
		e.status = (cyc_status)g.headers[from].status;
		if (from > 0 && uname(&host) == 0) {
			cyc_error kept = *cyc_error_get();
			cyc_error_set(&e);
			cyc_error_context("rank %d (%s)", from, host.nodename);
			e = *cyc_error_get();
			cyc_error_set(&kept);
		}
	}
	if (g.t.broadcast(&g.t, &e, sizeof e, from)) return transport_failed();
	if (g.headers[g.t.rank].status == CYC_OK) cyc_error_set(&e);
	return (cyc_status)g.headers[from].status;
}

/* All ranks announce their next call and their state. */
static cyc_status meet(operation op, cyc_status own, uint64_t n_bytes)
{
	const header h = { (int32_t)op, (int32_t)own, n_bytes };
	double start = cyc_clock_s();
	if (g.is_gone) return own != CYC_OK ? own : transport_failed();
	int code = g.t.gather(&g.t, g.headers, &h, sizeof h);
	if (g.has_begun) g.waited_s += cyc_clock_s() - start; /* not between jobs */
	if (code) return transport_failed();
	for (int r = 0; r < g.t.size; r++)
		if (g.headers[r].status != CYC_OK) return spread_error(r);
	for (int r = 0; r < g.t.size; r++) {
		if (g.headers[r].op == (int32_t)op && g.headers[r].n_bytes == n_bytes) continue;
		/* Rank 0 may leave where the others wait for a job. */
		if (g.headers[0].op == OP_LEAVE && (g.t.rank == 0 || op == OP_BEGIN)) continue;
		g.has_failed = true;
		return cyc_error_raise(
			CYC_E_INTERNAL, __FILE__, __LINE__, __func__,
			"the ranks are out of step: operation %d of %llu bytes on rank %d, %d of %llu on rank %d",
			(int)op, (unsigned long long)n_bytes, g.t.rank, g.headers[r].op,
			(unsigned long long)g.headers[r].n_bytes, r);
	}
	return CYC_OK;
}

/* Whether there is anything to exchange: not for one rank, and not where a job was not begun on all. */
static bool is_shared(void) { return g.t.size > 1 && g.has_begun; }

static cyc_status refuse_after_failure(void)
{
	return cyc_error_raise(CYC_E_INTERNAL, __FILE__, __LINE__, __func__,
	                       "a job went on after it failed on a rank");
}

cyc_status cyc_ranks_sum(int64_t *data, size_t n)
{
	cyc_status st = CYC_OK;
	if (!is_shared()) return CYC_OK;
	if (g.has_failed) return refuse_after_failure();
	CYC_TRY(meet(OP_SUM, CYC_OK, n));
	if (g.t.sum(&g.t, data, n)) return transport_failed();
	g.sent_bytes += (double)n * sizeof *data;
done:
	return st;
}

cyc_status cyc_ranks_broadcast(void *data, size_t n_bytes, int root)
{
	cyc_status st = CYC_OK;
	if (!is_shared()) return CYC_OK;
	if (g.has_failed) return refuse_after_failure();
	CYC_TRY(meet(OP_BROADCAST, CYC_OK, n_bytes));
	if (n_bytes > 0 && g.t.broadcast(&g.t, data, n_bytes, root)) return transport_failed();
	if (root == g.t.rank) g.sent_bytes += (double)n_bytes;
done:
	return st;
}

cyc_status cyc_ranks_share(void *items, size_t size, const int64_t *first, const int32_t *owner,
                           int32_t n_units)
{
	cyc_status st = CYC_OK;
	if (!is_shared()) return CYC_OK;
	if (g.has_failed) return refuse_after_failure();
	CYC_TRY(meet(OP_SHARE, CYC_OK, (uint64_t)first[n_units] * size));
	for (int32_t i = 0; i < n_units; i++) {
		size_t n = (size_t)(first[i + 1] - first[i]) * size;
		if (n == 0) continue;
		if (g.t.broadcast(&g.t, (char *)items + (size_t)first[i] * size, n, owner[i]))
			return transport_failed();
		if (owner[i] == g.t.rank) g.sent_bytes += (double)n;
	}
done:
	return st;
}

int cyc_ranks_in_job(void) { return is_shared() ? g.t.size : 1; }

int cyc_ranks_maker(int64_t i) { return is_shared() && g.is_one_machine ? (int)(i % g.t.size) : g.t.rank; }

bool cyc_ranks_are_together(void) { return g.is_one_machine; }

cyc_status cyc_ranks_pass_on(void *data, size_t n_bytes, int64_t i)
{
	return g.is_one_machine ? cyc_ranks_broadcast(data, n_bytes, cyc_ranks_maker(i)) : CYC_OK;
}

/* ---------------------------------------------------------------- jobs */

/* Texts that a struct of options has, by offset: those of its table, those of tables in it, and others. */
typedef struct {
	int n;
	size_t *offsets;
} text_list;

static cyc_status add_text(text_list *l, size_t offset)
{
	cyc_status st = CYC_OK;
	for (int i = 0; i < l->n; i++)
		if (l->offsets[i] == offset) return CYC_OK;
	CYC_TRY(cyc_realloc(&l->offsets, (size_t)l->n, (size_t)l->n + 1, sizeof *l->offsets));
	l->offsets[l->n++] = offset;
done:
	return st;
}

static cyc_status add_texts(text_list *l, const cyc_option_table *table, size_t base)
{
	cyc_status st = CYC_OK;
	for (int i = 0; i < table->n; i++) {
		const cyc_option *o = &table->rows[i];
		if (o->type == CYC_OPT_TABLE) CYC_TRY(add_texts(l, o->table, base + o->offset));
		else if (o->type == CYC_OPT_TEXT || o->type == CYC_OPT_FILE || o->type == CYC_OPT_ARG)
			CYC_TRY(add_text(l, base + o->offset));
	}
done:
	return st;
}

static cyc_status list_texts(text_list *l, const cyc_rank_job *job)
{
	cyc_status st = CYC_OK;
	CYC_TRY(add_texts(l, job->table, 0));
	for (int i = 0; i < job->n_texts; i++) CYC_TRY(add_text(l, job->texts[i]));
done:
	return st;
}

/* Sent to the other ranks: the struct, then each text after a byte that is 0 for NULL. */
static cyc_status pack(char **out, size_t *n, const cyc_rank_job *job, const void *options)
{
	cyc_status st = CYC_OK;
	text_list l = { 0 };
	size_t at = job->size;
	CYC_TRY(list_texts(&l, job));
	*n = job->size;
	for (int pass = 0; pass < 2; pass++) {
		if (pass == 1) {
			CYC_TRY(cyc_alloc(out, *n, 1));
			memcpy(*out, options, job->size);
		}
		for (int i = 0; i < l.n; i++) {
			const char *text;
			memcpy(&text, (const char *)options + l.offsets[i], sizeof text);
			size_t length = text ? strlen(text) + 1 : 0;
			if (pass == 0) *n += 1 + length;
			else {
				(*out)[at++] = text != NULL;
				if (text) memcpy(*out + at, text, length);
				at += length;
			}
		}
	}
done:
	cyc_free(l.offsets);
	return st;
}

/* The struct with texts that lie in `packed`, which must outlive it. */
static cyc_status unpack(void *options, char *packed, const cyc_rank_job *job)
{
	cyc_status st = CYC_OK;
	text_list l = { 0 };
	size_t at = job->size;
	CYC_TRY(list_texts(&l, job));
	memcpy(options, packed, job->size);
	for (int i = 0; i < l.n; i++) {
		const char *text = packed[at++] ? packed + at : NULL;
		if (text) at += strlen(text) + 1;
		memcpy((char *)options + l.offsets[i], &text, sizeof text);
	}
done:
	cyc_free(l.offsets);
	return st;
}

/* What is sent before the options. */
typedef struct {
	char job[32];
	uint64_t n_bytes;
	bool uses_all_processors;
} invitation;

cyc_status cyc_ranks_begin(const cyc_rank_job *job, const void *options)
{
	cyc_status st = CYC_OK;
	char *packed = NULL;
	invitation i = { 0 };
	size_t n;
	int32_t n_threads;
	if (g.t.size == 1 || g.t.rank > 0) return CYC_OK;
	CYC_CHECK(!g.has_begun, CYC_E_INTERNAL, "a job was begun in a job");
	CYC_TRY(pack(&packed, &n, job, options));
	memcpy(&n_threads, (const char *)options + job->n_threads, sizeof n_threads);
	snprintf(i.job, sizeof i.job, "%s", job->table->name);
	i.n_bytes = n;
	i.uses_all_processors = n_threads == cyc_n_processors();
	CYC_TRY(meet(OP_BEGIN, CYC_OK, 0));
	g.has_begun = true;
	g.has_failed = false;
	if (g.t.broadcast(&g.t, &i, sizeof i, 0) || g.t.broadcast(&g.t, packed, n, 0)) st = transport_failed();
done:
	cyc_free(packed);
	return st;
}

/* The result of every rank, to all. */
static cyc_status gather_reports(void)
{
	cyc_rank_report own = { .cpu_s = cyc_cpu_s(),
		                    .waited_s = g.waited_s,
		                    .sent_bytes = g.sent_bytes,
		                    .peak_memory_bytes = cyc_peak_memory_bytes() };
	cyc_thread_usage threads;
	struct utsname host;
	cyc_thread_usage_get(&threads);
	own.n_threads = threads.most_threads;
	own.busy_s = threads.busy_s;
	if (uname(&host) == 0) snprintf(own.host, sizeof own.host, "%s", host.nodename);
	snprintf(own.device, sizeof own.device, "%s", cyc_profile_device());
	if (g.t.gather(&g.t, g.reports, &own, sizeof own)) return transport_failed();
	g.has_reports = true;
	return CYC_OK;
}

/* Room for what the others send next. Without it this rank is out of step with them, so it leaves, which ends
 * all. */
static cyc_status room_for(char **out, size_t n)
{
	cyc_status st = cyc_alloc(out, n, 1);
	if (st != CYC_OK) g.is_gone = g.has_failed = true;
	return st;
}

/* A warning on a rank that has no log. Memory that is short loses the warning, not the job. */
static void collect_warning(void *user, cyc_log_level level, const char *text)
{
	size_t n = strlen(text) + 1;
	(void)user, (void)level;
	if (!g.has_begun || cyc_realloc(&g.warnings, g.n_warnings, g.n_warnings + n, 1) != CYC_OK) return;
	memcpy(g.warnings + g.n_warnings, text, n);
	g.n_warnings += n;
}

/* Warnings of the other ranks that rank 0 has not given itself. */
static cyc_status relay_warnings(void)
{
	cyc_status st = CYC_OK;
	uint64_t *n = NULL, own = g.n_warnings;
	char *texts = NULL;
	CYC_TRY(cyc_alloc(&n, g.t.size, sizeof *n));
	if (g.t.gather(&g.t, n, &own, sizeof own)) return cyc_free(n), transport_failed();
	for (int r = 1; r < g.t.size; r++) {
		if (n[r] == 0) continue;
		CYC_TRY(room_for(&texts, n[r]));
		if (r == g.t.rank) memcpy(texts, g.warnings, n[r]);
		if (g.t.broadcast(&g.t, texts, n[r], r)) st = transport_failed();
		for (size_t at = 0; at < n[r] && g.t.rank == 0 && st == CYC_OK; at += strlen(texts + at) + 1)
			if (!cyc_log_has_warned(texts + at)) cyc_warn("%s", texts + at);
		cyc_free(texts);
		texts = NULL;
		CYC_TRY(st);
	}
	cyc_free(g.warnings);
	g.warnings = NULL;
	g.n_warnings = 0;
done:
	cyc_free(n);
	cyc_free(texts);
	return st;
}

cyc_status cyc_ranks_relay_warnings(void)
{
	cyc_status st = CYC_OK;
	if (!is_shared()) return CYC_OK;
	if (g.has_failed) return refuse_after_failure();
	CYC_TRY(meet(OP_RELAY, CYC_OK, 0));
	CYC_TRY(relay_warnings());
done:
	return st;
}

cyc_status cyc_ranks_end(cyc_status st)
{
	if (!is_shared()) return st;
	if (!g.has_failed) {
		cyc_status all = meet(OP_END, st, 0);
		if (all == CYC_OK) all = gather_reports();
		if (all == CYC_OK) all = relay_warnings();
		if (st == CYC_OK) st = all;
	}
	cyc_free(g.warnings);
	g.warnings = NULL;
	g.n_warnings = 0;
	g.has_begun = false;
	return st;
}

static cyc_status serve_job(const cyc_rank_job *const *jobs, int n_jobs)
{
	cyc_status st = CYC_OK;
	invitation in;
	char *packed = NULL, *options = NULL;
	const cyc_rank_job *job = NULL;
	int32_t n_threads = cyc_n_processors();
	g.has_begun = true;
	g.has_failed = false;
	if (g.t.broadcast(&g.t, &in, sizeof in, 0)) return transport_failed();
	CYC_TRY(room_for(&packed, in.n_bytes));
	if (g.t.broadcast(&g.t, packed, in.n_bytes, 0)) {
		st = transport_failed();
		goto done;
	}
	for (int k = 0; k < n_jobs; k++)
		if (strcmp(jobs[k]->table->name, in.job) == 0) job = jobs[k];
	CYC_CHECK(job, CYC_E_INTERNAL, "rank %d knows no job '%s'", g.t.rank, in.job);
	CYC_TRY(cyc_alloc(&options, job->size, 1));
	CYC_TRY(unpack(options, packed, job));
	if (in.uses_all_processors) memcpy(options + job->n_threads, &n_threads, sizeof n_threads);
	st = job->run(options);
done:
	/* The job has ended already. */
	if (g.has_begun) st = cyc_ranks_end(st);
	cyc_free(packed);
	cyc_free(options);
	return g.is_gone ? st : CYC_OK; /* rank 0 has the error, and decides what follows */
}

cyc_status cyc_ranks_serve(const cyc_rank_job *const *jobs, int n_jobs)
{
	cyc_status st = CYC_OK;
	cyc_log_set_warning_listener(collect_warning, NULL);
	while (!g.is_alone) {
		CYC_TRY(meet(OP_BEGIN, CYC_OK, 0));
		if (g.headers[0].op == OP_LEAVE) break;
		CYC_TRY(serve_job(jobs, n_jobs));
	}
done:
	cyc_log_set_warning_listener(NULL, NULL);
	return st;
}

void cyc_ranks_leave(void)
{
	cyc_error record = *cyc_error_get();
	if (g.t.size > 1) {
		if (g.t.rank == 0 && meet(OP_LEAVE, CYC_OK, 0) != CYC_OK) g.is_gone = true;
		g.t.close(&g.t, g.is_gone);
	}
	cyc_free(g.headers);
	cyc_free(g.reports);
	g.headers = NULL;
	g.reports = NULL;
	g.has_reports = false;
	g.is_joined = false;
	g.t = (cyc_transport){ .name = "single", .size = 1 };
	cyc_error_set(&record);
}
