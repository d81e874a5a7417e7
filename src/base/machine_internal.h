/* What the machine gives this process; with the folder that /proc and /sys lie in, so that tests can make up
 * machines. */
#ifndef CYC_BASE_MACHINE_INTERNAL_H
#define CYC_BASE_MACHINE_INTERNAL_H

#include "cyclotomo/base.h"

/** Limits of the control groups that this process is in and of all groups above them; infinite where there is
 * none. */
typedef struct {
	double processors;   /**< CPU quota: CPU seconds per second */
	double memory_bytes; /**< what may be taken in addition to what is in use now */
} cyc__group_limits;

/** Read the limits from `root`/proc and the mounts it names, themselves below `root` ("" for the real
 * machine). */
cyc__group_limits cyc__group_limits_read(const char *root);
/** MemAvailable of `root`/proc/meminfo; infinite if it cannot be read. */
double cyc__memory_available_read(const char *root);

#endif
