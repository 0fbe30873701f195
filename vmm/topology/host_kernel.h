/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hwloc lacks, from the kernel's files below a movable root. Each call fills its fields of a
 * snapshot whose nodes and CPUs are there; what cannot be read stays as it was. Private to
 * vmm/topology.
 */
#ifndef VMM_TOPOLOGY_HOST_KERNEL_H
#define VMM_TOPOLOGY_HOST_KERNEL_H

#include "vmm/topology/host_topo.h"

/** host_hmat_read() - HMAT attributes and memory-side caches of every node
 *  (Documentation/admin-guide/mm/numaperf.rst). */
void host_hmat_read(const char *kernel_root, struct host_topo *host);

/** host_cpus_read() - which CPUs are online, SMT, capacity and heat of every CPU. */
void host_cpus_read(const char *kernel_root, struct host_topo *host);

/** host_limits_read() - the cgroups of the process that @kernel_root's /proc/self is, and PSI.
 *  Then takes away the CPUs and nodes that it may not use, should hwloc have left them in.
 *  After host_cpus_read(). */
void host_limits_read(const char *kernel_root, struct host_topo *host);

/** host_pressure_parse() - the text of a file of pressure stall information; .has says whether it
 *  was one. Pure. */
void host_pressure_parse(const char *text, struct host_pressure *ret);

#endif
