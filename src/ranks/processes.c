/* Ranks as copies of one process, joined to rank 0 by sockets: for tests, and where there is no MPI. */
#include "ranks/transport.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK = 1 << 16 }; /* numbers that are added at a time */

typedef struct {
	int *socket; /* rank 0: to each other rank, by its number; others: [0] to rank 0 */
	pid_t *child;
	int64_t *work;
} star;

static int fail(cyc_transport *t, int rank, const char *what)
{
	snprintf(t->error, sizeof t->error, "rank %d %s", rank, what);
	return 1;
}

static int put(cyc_transport *t, int rank, int fd, const void *data, size_t n)
{
	const char *at = data;
	while (n > 0) {
		ssize_t k = send(fd, at, n, MSG_NOSIGNAL);
		if (k < 0 && errno == EINTR) continue;
		if (k <= 0) return fail(t, rank, "has ended");
		at += k;
		n -= (size_t)k;
	}
	return 0;
}

static int get(cyc_transport *t, int rank, int fd, void *data, size_t n)
{
	char *at = data;
	while (n > 0) {
		ssize_t k = recv(fd, at, n, 0);
		if (k < 0 && errno == EINTR) continue;
		if (k <= 0) return fail(t, rank, "has ended");
		at += k;
		n -= (size_t)k;
	}
	return 0;
}

static int processes_gather(cyc_transport *t, void *all, const void *own, size_t n)
{
	star *s = t->self;
	char *to = all;
	if (t->rank > 0)
		return put(t, 0, s->socket[0], own, n) || get(t, 0, s->socket[0], all, n * (size_t)t->size);
	memcpy(to, own, n);
	for (int r = 1; r < t->size; r++)
		if (get(t, r, s->socket[r], to + (size_t)r * n, n)) return 1;
	for (int r = 1; r < t->size; r++)
		if (put(t, r, s->socket[r], all, n * (size_t)t->size)) return 1;
	return 0;
}

static int processes_broadcast(cyc_transport *t, void *data, size_t n, int root)
{
	star *s = t->self;
	if (t->rank > 0)
		return t->rank == root ? put(t, 0, s->socket[0], data, n) : get(t, 0, s->socket[0], data, n);
	if (root > 0 && get(t, root, s->socket[root], data, n)) return 1;
	for (int r = 1; r < t->size; r++)
		if (r != root && put(t, r, s->socket[r], data, n)) return 1;
	return 0;
}

static int processes_sum(cyc_transport *t, int64_t *data, size_t n)
{
	star *s = t->self;
	for (size_t at = 0; at < n; at += CHUNK) {
		size_t m = n - at < CHUNK ? n - at : CHUNK, bytes = m * sizeof *data;
		for (int r = 1; r < t->size && t->rank == 0; r++) {
			if (get(t, r, s->socket[r], s->work, bytes)) return 1;
			for (size_t i = 0; i < m; i++) data[at + i] += s->work[i];
		}
		for (int r = 1; r < t->size && t->rank == 0; r++)
			if (put(t, r, s->socket[r], data + at, bytes)) return 1;
		if (t->rank > 0 &&
		    (put(t, 0, s->socket[0], data + at, bytes) || get(t, 0, s->socket[0], data + at, bytes)))
			return 1;
	}
	return 0;
}

static void destroy(star *s)
{
	free(s->socket);
	free(s->child);
	free(s->work);
	free(s);
}

static void processes_close(cyc_transport *t, int is_broken)
{
	star *s = t->self;
	(void)is_broken; /* a closed socket ends the others */
	for (int r = t->rank > 0 ? 0 : 1; r < (t->rank > 0 ? 1 : t->size); r++)
		if (s->socket[r] >= 0) close(s->socket[r]);
	for (int r = 1; r < t->size && t->rank == 0; r++)
		if (s->child[r] > 0) waitpid(s->child[r], NULL, 0);
	destroy(s);
	t->self = NULL;
}

/* The new process: it keeps the socket to rank 0 alone. */
static void become_rank(cyc_transport *t, star *s, int rank, int to_first)
{
	for (int r = 1; r < rank; r++) close(s->socket[r]);
	s->socket[0] = to_first;
	t->rank = rank;
}

int cyc_transport_processes(cyc_transport *t, int n)
{
	star *s = calloc(1, sizeof *s);
	if (!s) return fail(t, 0, "has no memory to start others");
	*t = (cyc_transport){ .name = "processes",
		                  .size = n,
		                  .self = s,
		                  .gather = processes_gather,
		                  .broadcast = processes_broadcast,
		                  .sum = processes_sum,
		                  .close = processes_close };
	s->socket = malloc((size_t)n * sizeof *s->socket);
	s->child = calloc((size_t)n, sizeof *s->child);
	s->work = malloc(CHUNK * sizeof *s->work);
	if (!s->socket || !s->child || !s->work) {
		destroy(s);
		return fail(t, 0, "has no memory to start others");
	}
	for (int r = 0; r < n; r++) s->socket[r] = -1;
	for (int r = 1; r < n; r++) {
		int pair[2];
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) break;
		pid_t pid = fork();
		if (pid == 0) {
			close(pair[0]);
			become_rank(t, s, r, pair[1]);
			return 0;
		}
		close(pair[1]);
		s->socket[r] = pair[0];
		if (pid < 0) break;
		s->child[r] = pid;
	}
	if (n < 2 || s->child[n - 1] > 0) return 0;
	fail(t, 0, strerror(errno));
	processes_close(t, 1);
	return 1;
}
