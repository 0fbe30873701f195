/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading hwloc's topology, with what it takes from the environment alone.
 *
 * hwloc guesses from the distances which CPUs a node without CPUs belongs to: those of the nearest
 * nodes, of whom some may have been guessed themselves. Nobody here asks for that, and where
 * distances are no tree (a cube's are not) the guesses overlap: hwloc then prints a banner about
 * invalid information on the standard error of whoever uses numavisor. So it is told not to guess;
 * such a node belongs to all CPUs, and distances themselves are read as before.
 *
 * The variables are what they were when a call returns. Call while no other thread uses the
 * environment.
 */
#ifndef VMM_TOPOLOGY_HOST_HWLOC_H
#define VMM_TOPOLOGY_HOST_HWLOC_H

#include <hwloc.h>

#include "vmm/base/errctx.h"

/* hwloc_topology_load() of a prepared topology: 0, or -1 with errno. */
int host_hwloc_load(hwloc_topology_t topo);

/* The same with /sys and /proc below @root. -EIO: hwloc cannot read them; -ENOMEM. */
int host_hwloc_load_below(hwloc_topology_t topo, const char *root, struct errctx *ec);

#endif
