/* SPDX-License-Identifier: Apache-2.0 */
/* Latencies and bandwidths of pairs of nodes, where hwloc has them as memory attributes. */
#ifndef VMM_TOPOLOGY_HOST_MEMATTRS_H
#define VMM_TOPOLOGY_HOST_MEMATTRS_H

#include <hwloc.h>

#include "vmm/topology/host_topo.h"

/** host_memattrs_read() - fill @host->told from a loaded topology, whose nodes are in @host already;
 *  leaves it NULL where there is no value. Return: 0 or -1: no memory. */
int host_memattrs_read(hwloc_topology_t topo, struct host_topo *host);

#endif
