/* Ranks by MPI: the plug-in libcyclotomo_mpi.so, the only part of the program that is compiled and linked
 * with it. */
#include "ranks/transport.h"

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { CHUNK = 1 << 24 }; /* numbers in one call: MPI counts with 31 bits, and copies what it is given */

static int failed(cyc_transport *t, int code, const char *what)
{
	int n = 0;
	char text[MPI_MAX_ERROR_STRING] = "";
	if (code == MPI_SUCCESS) return 0;
	MPI_Error_string(code, text, &n);
	snprintf(t->error, sizeof t->error, "%s: %.200s", what, text);
	return 1;
}

/* MPI waits by polling without pause. The others may work for hours, so poll at intervals. */
static int wait_for(cyc_transport *t, MPI_Request *request)
{
	long pause_ns = 20000;
	int is_done = 0, looks = 0;
	while (1) {
		int code = MPI_Test(request, &is_done, MPI_STATUS_IGNORE);
		if (code != MPI_SUCCESS) return failed(t, code, "waiting for the other ranks");
		if (is_done) return 0;
		if (++looks < 200) continue;
		nanosleep(&(struct timespec){ 0, pause_ns }, NULL);
		if (pause_ns < 2000000) pause_ns += pause_ns / 4;
	}
}

static int mpi_gather(cyc_transport *t, void *all, const void *own, size_t n)
{
	MPI_Request request;
	int code = MPI_Iallgather(own, (int)n, MPI_BYTE, all, (int)n, MPI_BYTE, MPI_COMM_WORLD, &request);
	return failed(t, code, "gathering") || wait_for(t, &request);
}

static int mpi_broadcast(cyc_transport *t, void *data, size_t n, int root)
{
	char *at = data;
	for (size_t done = 0; done < n; done += CHUNK) {
		int m = n - done < CHUNK ? (int)(n - done) : CHUNK;
		if (failed(t, MPI_Bcast(at + done, m, MPI_BYTE, root, MPI_COMM_WORLD), "broadcasting")) return 1;
	}
	return 0;
}

static int mpi_sum(cyc_transport *t, int64_t *data, size_t n)
{
	for (size_t done = 0; done < n; done += CHUNK / 8) {
		int m = n - done < CHUNK / 8 ? (int)(n - done) : CHUNK / 8;
		if (failed(t, MPI_Allreduce(MPI_IN_PLACE, data + done, m, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD),
		           "adding"))
			return 1;
	}
	return 0;
}

static void mpi_close(cyc_transport *t, int is_broken)
{
	(void)t;
	/* Finalising waits for the others, who may wait for us in something else. */
	if (is_broken) MPI_Abort(MPI_COMM_WORLD, 1);
	else MPI_Finalize();
}

int cyc_transport_open(cyc_transport *t, int version);
int cyc_transport_open(cyc_transport *t, int version)
{
	int provided, is_initialized = 0;
	if (version != CYC_TRANSPORT_VERSION) {
		snprintf(t->error, sizeof t->error, "the plug-in is of another version");
		return 1;
	}
	MPI_Initialized(&is_initialized);
	if (!is_initialized && failed(t, MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided), "starting"))
		return 1;
	MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
	t->name = "mpi";
	t->gather = mpi_gather;
	t->broadcast = mpi_broadcast;
	t->sum = mpi_sum;
	t->close = mpi_close;
	return failed(t, MPI_Comm_rank(MPI_COMM_WORLD, &t->rank), "starting") ||
	       failed(t, MPI_Comm_size(MPI_COMM_WORLD, &t->size), "starting");
}
