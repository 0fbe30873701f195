/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Showing hosts and plans: as tables for people, JSON for tools, and a picture.
 *
 * All of it is read-only and pure but for the FILE it is given: the caller owns the FILE and
 * finds write errors with ferror(). Nothing here decides anything; every figure comes from the
 * plan or the host as it stands. Any thread.
 */
#ifndef VMM_TOPOLOGY_SHOW_H
#define VMM_TOPOLOGY_SHOW_H

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

#include "vmm/topology/host_topo.h"
#include "vmm/topology/topo_plan.h"

/**
 * topo_plan_print_table() - what the guest sees and where it lives, for people.
 * @colour: use terminal escapes for headings.
 */
void topo_plan_print_table(const struct topo_plan *plan, const struct host_topo *host, FILE *out,
                           bool colour);

/**
 * topo_plan_to_json() - the guest as its kernel will see it, every fact said outright.
 *
 *   { "notes": [string],
 *     "nodes": [{ "id", "memory" (bytes), "hotplug" (bytes), "cpus": "0-3", "has_cpus",
 *                 "has_memory", "host": "0" ("" when not bound), "distances": [10, 20],
 *                 "initiator" (node or null), "mem_caches": [{ "level", "size", "line",
 *                 "associativity": "none|direct|complex", "write": "none|back|through" }],
 *                 "backings": [{ "offset" (in the node), "memory" (bytes), "pages":
 *                 "any|4K|thp|2M|1G", "policy" ("" for none), "host", "chunk" (bytes bound to a
 *                 host node in its turn, or 0), "reserve", "prealloc" }] }],
 *     "vcpus": [{ "id", "node", "socket", "die", "complex", "core", "thread" (as in struct
 *                 topo_plan_vcpu), "apic_id", "linux": { "physical_package_id", "die_id",
 *                 "core_id" } (what Linux derives from the id), "host_cpus" ("" when free) }],
 *     "apic": { "core_shift", "complex_shift", "die_shift", "socket_shift", "max_id" },
 *     "groups": { "core": [list], "complex": [list], "die": [list], "socket": [list] },
 *     "caches": [{ "level", "type": "Data|Instruction|Unified" (as in /sys), "size" (bytes),
 *                  "line", "ways", "sets", "apic_shift", "groups": [list of CPUs per instance] }],
 *     "distances": [[from 0], [from 1], ...],
 *     "links": [{ "from", "to", "latency_ns", "bandwidth" (bytes per second); 0: not said }] }
 *
 * Lists are written as the kernel writes them ("0-3,8"), groups in the order of their lowest CPU.
 *
 * @ret_json: a new reference; untouched on failure.
 * Return: 0 or -ENOMEM.
 */
int topo_plan_to_json(const struct topo_plan *plan, json_t **ret_json);

/**
 * topo_plan_write_svg() - a picture: nodes with their memory, sockets, dies, caches and cores,
 * distances as a heat map and, for few nodes, as a graph. Light background, no fonts or scripts
 * from elsewhere. Above 16 nodes each node is a card without its single cores.
 * Return: 0 or -ENOMEM; write errors are for ferror(@out).
 */
int topo_plan_write_svg(const struct topo_plan *plan, FILE *out, struct errctx *ec);

/** host_topo_print_table() - the host as the planner sees it, for people. */
void host_topo_print_table(const struct host_topo *host, FILE *out, bool colour);

/**
 * host_topo_to_json() - the same for tools:
 *   { "source", "nodes": [{ "id", "memory", "memory_free" (bytes; null when not known), "cpus",
 *     "page_pools": [{ "page_size", "total", "free" }] }],
 *     "cpus": [{ "id", "node" (kernel's number), "package", "die", "core", "llc", "thread" }],
 *     "caches": [{ "level", "type", "size", "line", "ways", "cpus" }],
 *     "distances": [[...]], "distances_known": bool, "llc_groups": [list of CPUs] }
 * and, where the kernel told it:
 *   nodes: "hmat": { "read_latency_ns", "write_latency_ns", "read_bandwidth", "write_bandwidth"
 *     (bytes per second), "initiators" }, "memory_side_caches": [{ "level", "size", "line",
 *     "associativity": "direct|indexed", "write": "back|through" }];
 *   cpus: "capacity", "capacity_full" (of 1024), "throttled" (times);
 *   "cpus_online", "cpus_offline", "nodes_online", "smt_active";
 *   "limits": { "cgroup", and "cpus", "nodes", "cpu_milli", "memory", "memory_left",
 *     "pages_2m_left", "pages_1g_left" (bytes), each { "value", "cgroup" (that sets it) } };
 *   "pressure": { "cpu", "memory", "cgroup_cpu", "cgroup_memory", each { "some", "full" }, each
 *     { "avg10", "avg60", "avg300" (per cent) } };
 *   "measured": { "at" (seconds since 1970), "pairs": [{ "from", "to" (kernel's numbers),
 *     "latency_ps", "bandwidth" (bytes per second), "check" }], "latency_ps": [[...]] and
 *     "bandwidth": [[...]] for all pairs as "distances" (0: not known), "contradictions":
 *     [{ "kind": "order|class", "from", "to", "percent", "text" }] }.
 * Return: 0 or -ENOMEM.
 */
int host_topo_to_json(const struct host_topo *host, json_t **ret_json);

#endif
