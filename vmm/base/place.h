/* SPDX-License-Identifier: Apache-2.0 */
/* Where threads run: names, CPU affinity, nice values. The only file with sched_setaffinity(2). */
#ifndef VMM_BASE_PLACE_H
#define VMM_BASE_PLACE_H

#include "vmm/base/errctx.h"
#include "vmm/base/idset.h"

/** place_name_thread() - name the calling thread; cut to 15 characters by the kernel's limit. */
void place_name_thread(const char *name);

/** place_pin_thread() - let the calling thread run on @cpus only. Empty: no change.
 *  Return: 0 or the errno of sched_setaffinity (EINVAL: none of them is online and allowed). */
int place_pin_thread(const struct idset *cpus, struct errctx *ec);

/** place_get_thread() - where the calling thread may run. Return: 0 or a negative errno. */
int place_get_thread(struct idset *ret_cpus);

/** place_nice_of_weight() - the nice value that is nearest to a cgroup's weight of 1 to 10000. */
int place_nice_of_weight(unsigned weight);

/** place_set_nice() - of the calling thread, and of those that it makes. Return: 0 or -errno. */
int place_set_nice(int nice);

#endif
