/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Latencies and bandwidths of an XML file: hwloc's memory attributes, for each pair of nodes that the
 * file has a value for, not only for a node's best initiators.
 *
 * hwloc knows an initiator by its set of CPUs and finds the value of whoever contains them; its units
 * are nanoseconds and MiB per second.
 */
#include "vmm/topology/host_memattrs.h"

#include <stdlib.h>

#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

static hwloc_obj_t node_object(hwloc_topology_t topo, const struct host_node *node)
{
    return hwloc_get_numanode_obj_by_os_index(topo, node->id.v);
}

static uint64_t ask(hwloc_topology_t topo, hwloc_memattr_id_t attr, hwloc_obj_t target,
                    hwloc_obj_t initiator)
{
    struct hwloc_location from = { .type = HWLOC_LOCATION_TYPE_CPUSET,
                                   .location.cpuset = initiator->cpuset };
    hwloc_uint64_t value;

    return hwloc_memattr_get_value(topo, attr, target, &from, 0, &value) < 0 ? 0 : value;
}

static struct host_told read_pair(hwloc_topology_t topo, hwloc_obj_t from, hwloc_obj_t to)
{
    const uint64_t latency = ask(topo, HWLOC_MEMATTR_ID_LATENCY, to, from);
    const uint64_t rate = ask(topo, HWLOC_MEMATTR_ID_BANDWIDTH, to, from);
    struct host_told told = { .latency_ns = (uint32_t)MIN(latency, (uint64_t)UINT32_MAX) };

    if (!checked_mul(rate, MIB, &told.bytes_per_s))
        told.bytes_per_s = 0;
    return told;
}

int host_memattrs_read(hwloc_topology_t topo, struct host_topo *host)
{
    const size_t n = host->n_nodes;
    struct host_told *told = calloc(n * n, sizeof(*told));
    bool any = false;

    if (told == NULL)
        return -1;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n && !idset_empty(&host->nodes[i].cpus); k++) {
            hwloc_obj_t from = node_object(topo, &host->nodes[i]);
            hwloc_obj_t to = node_object(topo, &host->nodes[k]);

            if (from == NULL || to == NULL)
                continue;
            told[i * n + k] = read_pair(topo, from, to);
            any = any || told[i * n + k].latency_ns > 0 || told[i * n + k].bytes_per_s > 0;
        }
    if (any)
        host->told = told;
    else
        free(told);
    return 0;
}
