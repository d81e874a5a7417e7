/**
 * @file transport.h
 * How ranks talk: a few calls, made by all ranks in the same order. A plug-in fills this struct and needs
 * nothing of the library; it returns 0, or another number and a text in `error`.
 */
#ifndef CYC_RANKS_TRANSPORT_H
#define CYC_RANKS_TRANSPORT_H

#include <stddef.h>
#include <stdint.h>

enum { CYC_TRANSPORT_VERSION = 1, CYC_TRANSPORT_ERROR = 256 };

typedef struct cyc_transport cyc_transport;
struct cyc_transport {
	const char *name;
	int rank, size;
	void *self;
	char error[CYC_TRANSPORT_ERROR];
	/** The same number of bytes of each rank, to all, in their order. Waits for the others without keeping a
	 * processor busy: they may take hours. */
	int (*gather)(cyc_transport *t, void *all, const void *own, size_t n_bytes);
	/** Bytes of rank `root`, to all. All ranks have met before. */
	int (*broadcast)(cyc_transport *t, void *data, size_t n_bytes, int root);
	/** Sum of all ranks' numbers, to all. All ranks have met before. */
	int (*sum)(cyc_transport *t, int64_t *data, size_t n);
	/** Leave. Collective unless `is_broken`: then the other ranks may be gone. */
	void (*close)(cyc_transport *t, int is_broken);
};

/** Of a plug-in: fill the struct. `version`: CYC_TRANSPORT_VERSION of the caller. */
typedef int (*cyc_transport_open_fn)(cyc_transport *t, int version);
#define CYC_TRANSPORT_OPEN "cyc_transport_open"

/** Start n - 1 more processes that are copies of this one, and return in all of them. */
int cyc_transport_processes(cyc_transport *t, int n);

#endif
