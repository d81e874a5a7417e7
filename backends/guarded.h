/**
 * @file guarded.h
 * Memory that is closed (any access ends the process) except while somebody opens it: what the devices of
 * tests are made of. It ends where a page ends that is never opened, so that most overruns are seen, too.
 */
#ifndef CYC_GUARDED_H
#define CYC_GUARDED_H

#include "cyclotomo/base.h"

/** Closed, zeroed memory, 64-byte aligned. @param[in] bytes  > 0. @return CYC_E_DEVICE_NOMEM */
CYC_MUST_CHECK cyc_status cyc__guarded_alloc(void **address, size_t bytes);
void cyc__guarded_free(void *address, size_t bytes);
/** Open and close some of it, with the pages that it lies in. */
void cyc__guarded_open(void *address, size_t bytes);
void cyc__guarded_close(void *address, size_t bytes);
/** CYC_E_DEVICE if a page could ever not be opened or closed: from then on mistakes would not be found. */
CYC_MUST_CHECK cyc_status cyc__guarded_check(void);

#endif
