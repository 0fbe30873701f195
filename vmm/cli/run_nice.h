/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nice values of the machines that have no cgroup, so that what some of them reserved holds.
 * Whoever starts or moves does it for all, under the lock that machines start under; main thread,
 * or the guard's.
 */
#ifndef VMM_CLI_RUN_NICE_H
#define VMM_CLI_RUN_NICE_H

#include <stdbool.h>

#include "vmm/machine/neighbours.h"
#include "vmm/topology/host_topo.h"

struct run_nice {
    bool any;   /* somebody without a cgroup reserved something; else nothing was changed */
    bool holds; /* everything that was reserved, and there is no machine that they do not reach */
    int own;    /* this machine's */
};

/**
 * run_nice_set() - set the values of all threads of @own and of @others.
 *
 * Nobody without privileges can take a nice value back: where one would have to be lower than it
 * is, all others go up instead. Return: 0, -ENOMEM.
 */
int run_nice_set(const struct neighbours *others, const struct machine_use *own,
                 const struct host_topo *host, struct run_nice *ret_nice, struct errctx *ec);

#endif
