/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shape of a guest: how many nodes, sockets, dies and cores a description amounts to.
 *
 * Derived from the description alone, so that guest_spec_check() refuses with the same
 * arithmetic with which topo_plan_make() builds. Private to vmm/topology.
 *
 * Rules, each predictable by hand:
 *   - what no --node names (CPUs, memory) is split equally over the nodes, by whole cores and
 *     2 MiB pages; the first nodes take the rest;
 *   - nothing said: one socket per node that has CPUs, one die per socket, one thread per core;
 *   - fewer sockets than such nodes: each socket holds several whole nodes, one die per node;
 *   - more sockets than nodes: each node is several sockets;
 *   - --cores counts the cores of a die, and then every die has exactly that many;
 *   - a core or a die never crosses the border of a node.
 */
#ifndef VMM_TOPOLOGY_GUEST_SHAPE_H
#define VMM_TOPOLOGY_GUEST_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/topology/guest_spec.h"

#define GUEST_PAGE_BYTES           (2ull << 20) /* what a node's memory is a multiple of */
#define GUEST_HOTPLUG_BYTES        (2ull << 30) /* what a hotplug window is a multiple of */
#define GUEST_DEFAULT_MEMORY_BYTES (1ull << 30) /* when nothing says how much */
#define GUEST_MAX_MEMORY_BYTES     (1ull << 52) /* the widest x86 physical address */

struct guest_die {
    uint32_t node, socket;
    uint32_t die; /* within the socket */
    uint32_t cores;
};

struct guest_shape {
    uint32_t n_nodes, n_cpus, threads;
    bool split_cpus;                 /* no node names CPUs: ranges in node order */
    uint32_t cpus[GUEST_MAX_VNODES]; /* number of CPUs of each node */
    uint64_t ram_bytes[GUEST_MAX_VNODES];

    /* Nodes that have CPUs, by their lowest CPU, so that CPU 0 is in the first one. */
    uint32_t cpu_nodes[GUEST_MAX_VNODES];
    uint32_t n_cpu_nodes;

    /* All dies in that order; the dies of a node and those of a socket are neighbours. */
    struct guest_die die[GUEST_MAX_VCPUS];
    uint32_t n_dies, n_sockets, dies_per_socket; /* the last: of the fullest socket */
    uint32_t min_cores, max_cores;               /* of any die */
};

/**
 * guest_shape_resolve() - work the shape out.
 * @spec: each value within its limits and nodes without overlap (the first half of
 *        guest_spec_check() has seen to that).
 * Return: 0, or -EINVAL with a sentence that names the options that contradict each other.
 */
int guest_shape_resolve(const struct guest_spec *spec, struct guest_shape *ret_shape,
                        struct errctx *ec);

/** guest_spec_n_nodes() - how many nodes the description has, 1 when it names none or leaves it
 *  to the host. */
uint32_t guest_spec_n_nodes(const struct guest_spec *spec);

/** guest_share() - part @i of @total things in @n parts as equal as they can be. */
static inline uint64_t guest_share(uint64_t total, uint64_t n, uint64_t i)
{
    return total / n + (i < total % n);
}

#endif
