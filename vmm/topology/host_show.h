/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel's files tell of a host, shown: the parts that host_table.c and host_json.c put
 * together. Only what is there is shown. Private to vmm/topology. */
#ifndef VMM_TOPOLOGY_HOST_SHOW_H
#define VMM_TOPOLOGY_HOST_SHOW_H

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

#include "vmm/topology/host_topo.h"

/** host_table_kernel() - firmware's latencies, CPUs with less than full capacity, pressure, and
 *  what the process is confined to. */
void host_table_kernel(const struct host_topo *host, FILE *out, bool colour);

/** host_table_llcs() - which CPUs share a last-level cache, one line per group. */
void host_table_llcs(const struct host_topo *host, FILE *out);

/** host_table_measured() - what was measured, and where it contradicts SLIT; nothing else. */
void host_table_measured(const struct host_topo *host, FILE *out, bool colour);

/** host_json_measured() - the same, added to @j. Return: 0 or -ENOMEM. */
int host_json_measured(json_t *j, const struct host_topo *host);

/** host_json_node() / host_json_cpu() - add to @j what is known of a node or CPU beyond hwloc.
 *  Return: 0 or -ENOMEM. */
int host_json_node(json_t *j, const struct host_node *node);
int host_json_cpu(json_t *j, const struct host_cpu *cpu);

/** host_json_kernel() - add CPU states, groups, limits and pressure. Return: 0 or -ENOMEM. */
int host_json_kernel(json_t *j, const struct host_topo *host);

#endif
