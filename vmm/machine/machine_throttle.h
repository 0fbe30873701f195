/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --cpu-max where no cgroup can keep it: a thread looks at the CPU time that the process used, and
 * holds the vCPUs outside the guest for the rest of each period whose quota is gone.
 *
 * All threads of the process count, I/O, pager and mover included; only vCPUs are held, because the
 * others work for what they ask. The kernel's threads that work for the machine (vhost) are not
 * counted. A guest is not told of such time as stolen.
 */
#ifndef VMM_MACHINE_MACHINE_THROTTLE_H
#define VMM_MACHINE_MACHINE_THROTTLE_H

#include <jansson.h>

#include "vmm/base/errctx.h"

struct machine;

/** machine_start_throttle() - make the thread; returns when it is in its sandbox. Nothing happens
 *  unless machine_limit_cpu() was called. Main thread. Return: 0, -ENOMEM, an errno. */
int machine_start_throttle(struct machine *m, struct errctx *ec);

/** machine_stop_throttle() - end the thread, and any hold. Nothing happens without one. */
void machine_stop_throttle(struct machine *m);

/** machine_throttle_json() - {"usage_usec", "nr_periods", "nr_throttled", "throttled_usec"}, named
 * and meant as in a cgroup's cpu.stat; NULL where nothing is limited. Main thread. */
json_t *machine_throttle_json(const struct machine *m);

#endif
