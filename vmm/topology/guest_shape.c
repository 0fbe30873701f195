/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counting nodes, memory and CPUs, then sockets and dies. Pure; see the header for the rules.
 */
#include "vmm/topology/guest_shape.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/base/units.h"

uint32_t guest_spec_n_nodes(const struct guest_spec *spec)
{
    if (spec->n_nodes > 0)
        return (uint32_t)spec->n_nodes;
    return spec->n_vnuma > 0 && spec->n_vnuma != GUEST_VNUMA_AUTO ? spec->n_vnuma : 1;
}

/* The number of CPUs when neither --cpus nor a node says it: what the other counts multiply to,
 * and at least one core for each node. */
static uint64_t default_cpus(const struct guest_spec *spec, uint32_t n_nodes)
{
    uint32_t sockets = spec->sockets > 0 ? spec->sockets : n_nodes;
    uint32_t dies = spec->dies > 0 ? spec->dies : (n_nodes + sockets - 1) / sockets;

    return (uint64_t)MAX(spec->threads, 1u) * MAX(spec->cores, 1u) * dies * sockets;
}

/* Equal shares by whole cores. */
static int split_cpus(const struct guest_spec *spec, struct guest_shape *sh, struct errctx *ec)
{
    uint64_t n_cpus = spec->n_cpus > 0 ? spec->n_cpus : default_cpus(spec, sh->n_nodes);
    uint64_t cores = n_cpus / sh->threads;

    if (n_cpus > GUEST_MAX_VCPUS)
        return errctx_set(ec, ERANGE,
                          "--threads, --cores, --dies and --sockets make %" PRIu64
                          " CPUs, a guest has at most %d",
                          n_cpus, GUEST_MAX_VCPUS);
    if (n_cpus % sh->threads != 0)
        return errctx_set(ec, EINVAL, "--cpus %" PRIu64 " is not a multiple of --threads %u",
                          n_cpus, sh->threads);
    if (cores < sh->n_nodes && spec->n_vnuma > 0)
        return errctx_set(ec, EINVAL,
                          "--vnuma %u needs a core for each node, and %" PRIu64
                          " CPU%s with %u thread%s a core %s not enough",
                          spec->n_vnuma, n_cpus, n_cpus == 1 ? "" : "s", sh->threads,
                          sh->threads == 1 ? "" : "s", n_cpus == 1 ? "is" : "are");
    if (cores < sh->n_nodes)
        return errctx_set(ec, EINVAL,
                          "no --node names cpus=, and %" PRIu64
                          " core%s too few to give each of %u nodes one",
                          cores, cores == 1 ? " is" : "s are", sh->n_nodes);
    for (uint32_t i = 0; i < sh->n_nodes; i++)
        sh->cpus[i] = (uint32_t)guest_share(cores, sh->n_nodes, i) * sh->threads;
    sh->n_cpus = (uint32_t)n_cpus;
    sh->split_cpus = true;
    return 0;
}

/* CPUs as the nodes name them: without gaps, and as many as --cpus says. */
static int named_cpus(const struct guest_spec *spec, struct guest_shape *sh, struct errctx *ec)
{
    struct idset all = { 0 };

    for (uint32_t i = 0; i < sh->n_nodes; i++) {
        idset_or(&all, &spec->nodes[i].cpus);
        sh->cpus[i] = idset_count(&spec->nodes[i].cpus);
        if (sh->cpus[i] % sh->threads != 0)
            return errctx_set(ec, EINVAL,
                              "--node %u has %u CPUs, which is not a multiple of --threads %u, "
                              "and a core cannot be in two nodes",
                              i, sh->cpus[i], sh->threads);
    }
    sh->n_cpus = idset_count(&all);
    if (spec->n_cpus > 0 && sh->n_cpus > spec->n_cpus)
        return errctx_set(ec, EINVAL, "the nodes name %u CPUs, but --cpus says %u", sh->n_cpus,
                          spec->n_cpus);
    for (uint32_t cpu = 0; cpu < MAX(sh->n_cpus, spec->n_cpus); cpu++)
        if (!idset_has(&all, cpu))
            return errctx_set(ec, EINVAL, "CPU %u is in no --node (%s)", cpu,
                              spec->n_cpus > 0 ? "--cpus counts it"
                                               : "a CPU with a higher number is");
    return 0;
}

static int resolve_cpus(const struct guest_spec *spec, struct guest_shape *sh, struct errctx *ec)
{
    bool named = false;

    for (size_t i = 0; i < spec->n_nodes; i++)
        named = named || !idset_empty(&spec->nodes[i].cpus);
    return named ? named_cpus(spec, sh, ec) : split_cpus(spec, sh, ec);
}

static int resolve_memory(const struct guest_spec *spec, struct guest_shape *sh, struct errctx *ec)
{
    uint64_t total = spec->memory_bytes > 0 ? spec->memory_bytes : GUEST_DEFAULT_MEMORY_BYTES;
    uint64_t named = 0, pages = total / GUEST_PAGE_BYTES;
    char a[32], b[32];

    for (size_t i = 0; i < spec->n_nodes; i++) {
        sh->ram_bytes[i] = spec->nodes[i].memory_bytes;
        named += sh->ram_bytes[i]; /* at most 128 times 2^52 */
    }
    if (named > 0) {
        if (spec->memory_bytes > 0 && named != spec->memory_bytes)
            return errctx_set(ec, EINVAL, "the nodes' memory= sums to %s, but --memory says %s",
                              units_format_size(named, a, sizeof(a)),
                              units_format_size(spec->memory_bytes, b, sizeof(b)));
        return 0;
    }
    if (pages < sh->n_nodes)
        return errctx_set(ec, EINVAL,
                          "--memory %s is too little to give each of %u nodes a page of 2 MiB",
                          units_format_size(total, a, sizeof(a)), sh->n_nodes);
    for (uint32_t i = 0; i < sh->n_nodes; i++)
        sh->ram_bytes[i] = guest_share(pages, sh->n_nodes, i) * GUEST_PAGE_BYTES;
    return 0;
}

/* A node that gets neither CPUs nor memory, not even later, would be an option without effect. */
static int check_empty(const struct guest_spec *spec, const struct guest_shape *sh,
                       struct errctx *ec)
{
    for (size_t i = 0; i < spec->n_nodes; i++)
        if (sh->cpus[i] == 0 && sh->ram_bytes[i] == 0 && spec->nodes[i].hotplug_bytes == 0 &&
            !spec->nodes[i].generic_initiator)
            return errctx_set(ec, EINVAL, "--node %zu has no CPUs, no memory, no hotplug window and "
                              "no generic initiator", i);
    return 0;
}

/* Insertion sort by lowest CPU: users write nodes in order, so this is one pass. */
static void order_cpu_nodes(const struct guest_spec *spec, struct guest_shape *sh)
{
    uint32_t lowest[GUEST_MAX_VNODES];

    for (uint32_t i = 0; i < sh->n_nodes; i++) {
        uint32_t key = sh->split_cpus ? i : idset_next(&spec->nodes[i].cpus, 0);
        uint32_t at = sh->n_cpu_nodes;

        if (sh->cpus[i] == 0)
            continue;
        for (; at > 0 && lowest[at - 1] > key; at--) {
            lowest[at] = lowest[at - 1];
            sh->cpu_nodes[at] = sh->cpu_nodes[at - 1];
        }
        lowest[at] = key;
        sh->cpu_nodes[at] = i;
        sh->n_cpu_nodes++;
    }
}

static uint32_t node_cores(const struct guest_shape *sh, uint32_t node)
{
    return sh->cpus[node] / sh->threads;
}

static void add_die(struct guest_shape *sh, uint32_t node, uint32_t socket, uint32_t die,
                    uint32_t cores)
{
    sh->die[sh->n_dies++] =
        (struct guest_die){ .node = node, .socket = socket, .die = die, .cores = cores };
    sh->n_sockets = MAX(sh->n_sockets, socket + 1);
    sh->dies_per_socket = MAX(sh->dies_per_socket, die + 1);
    sh->min_cores = sh->n_dies == 1 ? cores : MIN(sh->min_cores, cores);
    sh->max_cores = MAX(sh->max_cores, cores);
}

/* True when all dies of the node that die @at belongs to are in that die's socket. */
static bool node_in_one_socket(const struct guest_shape *sh, uint32_t at)
{
    const struct guest_die *d = &sh->die[at];
    bool one = true;

    for (uint32_t k = at; k < sh->n_dies && sh->die[k].node == d->node; k++)
        one = one && sh->die[k].socket == d->socket;
    for (uint32_t k = at; k > 0 && sh->die[k - 1].node == d->node; k--)
        one = one && sh->die[k - 1].socket == d->socket;
    return one;
}

/* A socket is either several whole nodes or a part of one. */
static int check_socket_borders(const struct guest_shape *sh, struct errctx *ec)
{
    for (uint32_t i = 1; i < sh->n_dies; i++) {
        const struct guest_die *a = &sh->die[i - 1], *b = &sh->die[i];

        if (a->socket != b->socket || a->node == b->node)
            continue;
        if (!node_in_one_socket(sh, i - 1) || !node_in_one_socket(sh, i))
            return errctx_set(ec, EINVAL,
                              "--cores and --dies make a socket of parts of nodes %u and %u: a "
                              "socket is several whole nodes or a part of one",
                              a->node, b->node);
    }
    return 0;
}

/* --cores was given: every die has exactly that many. */
static int dies_of_cores(const struct guest_spec *spec, struct guest_shape *sh, struct errctx *ec)
{
    uint32_t n_dies = sh->n_cpus / sh->threads / spec->cores, dies = spec->dies;
    bool whole = true;

    for (uint32_t i = 0; i < sh->n_cpu_nodes; i++)
        whole = whole && node_cores(sh, sh->cpu_nodes[i]) % spec->cores == 0;
    if (sh->n_cpus % (sh->threads * spec->cores) != 0)
        return errctx_set(ec, EINVAL,
                          "%u CPU%s not a multiple of --cores %u with %u thread%s each", sh->n_cpus,
                          sh->n_cpus == 1 ? " is" : "s are", spec->cores, sh->threads,
                          sh->threads == 1 ? "" : "s");
    if (dies == 0)
        dies = spec->sockets > 0 && spec->sockets < sh->n_cpu_nodes && n_dies % spec->sockets == 0
                   ? n_dies / spec->sockets
                   : 1;
    if (spec->sockets > 0 && (uint64_t)spec->sockets * dies != n_dies)
        return errctx_set(ec, EINVAL,
                          "threads, cores, dies and sockets (%u x %u x %u x %u) make %" PRIu64
                          " CPUs, but there are %u",
                          sh->threads, spec->cores, dies, spec->sockets,
                          (uint64_t)sh->threads * spec->cores * dies * spec->sockets, sh->n_cpus);
    if (n_dies % dies != 0)
        return errctx_set(ec, EINVAL,
                          "%u CPU%s with --cores %u and %u thread%s each make %u die%s, which "
                          "--dies %u does not divide",
                          sh->n_cpus, sh->n_cpus == 1 ? "" : "s", spec->cores, sh->threads,
                          sh->threads == 1 ? "" : "s", n_dies, n_dies == 1 ? "" : "s", dies);
    for (uint32_t i = 0; i < sh->n_cpu_nodes && !whole; i++)
        if (node_cores(sh, sh->cpu_nodes[i]) % spec->cores != 0)
            return errctx_set(ec, EINVAL,
                              "node %u has %u core%s, which --cores %u does not divide, and a die "
                              "cannot be in two nodes",
                              sh->cpu_nodes[i], node_cores(sh, sh->cpu_nodes[i]),
                              node_cores(sh, sh->cpu_nodes[i]) == 1 ? "" : "s", spec->cores);
    for (uint32_t i = 0; i < sh->n_cpu_nodes; i++)
        for (uint32_t k = node_cores(sh, sh->cpu_nodes[i]) / spec->cores; k > 0; k--)
            add_die(sh, sh->cpu_nodes[i], sh->n_dies / dies, sh->n_dies % dies, spec->cores);
    return check_socket_borders(sh, ec);
}

/* As many sockets as nodes, or fewer: consecutive whole nodes share a socket. */
static int sockets_of_nodes(const struct guest_spec *spec, struct guest_shape *sh, uint32_t sockets,
                            struct errctx *ec)
{
    uint32_t next = 0;

    for (uint32_t s = 0; s < sockets; s++) {
        uint32_t nodes = (uint32_t)guest_share(sh->n_cpu_nodes, sockets, s);
        uint32_t dies = spec->dies > 0 ? spec->dies : nodes, die = 0;

        if (dies < nodes)
            return errctx_set(ec, EINVAL,
                              "--dies %u with --sockets %u: socket %u holds %u nodes, and a die "
                              "cannot be in two nodes",
                              spec->dies, sockets, s, nodes);
        for (uint32_t k = 0; k < nodes; k++, next++) {
            uint32_t node = sh->cpu_nodes[next], cores = node_cores(sh, node);
            uint32_t here = (uint32_t)guest_share(dies, nodes, k);

            if (cores < here)
                return errctx_set(ec, EINVAL,
                                  "--dies %u needs a core for each die, but node %u has %u core%s "
                                  "for %u dies",
                                  spec->dies, node, cores, cores == 1 ? "" : "s", here);
            for (uint32_t d = 0; d < here; d++)
                add_die(sh, node, s, die++, (uint32_t)guest_share(cores, here, d));
        }
    }
    return 0;
}

/* More sockets than nodes: every node is one socket or several. */
static int nodes_of_sockets(const struct guest_spec *spec, struct guest_shape *sh,
                            struct errctx *ec)
{
    uint32_t per_socket = MAX(spec->dies, 1u), socket = 0;

    for (uint32_t i = 0; i < sh->n_cpu_nodes; i++) {
        uint32_t node = sh->cpu_nodes[i], cores = node_cores(sh, node);
        uint64_t sockets = guest_share(spec->sockets, sh->n_cpu_nodes, i);
        uint64_t dies = sockets * per_socket;

        if (cores < dies)
            return errctx_set(ec, EINVAL,
                              "--sockets %u with --dies %u needs a core for each die, but node "
                              "%u has %u core%s for %" PRIu64 " dies",
                              spec->sockets, per_socket, node, cores, cores == 1 ? "" : "s", dies);
        for (uint32_t d = 0; d < dies; d++)
            add_die(sh, node, socket + d / per_socket, d % per_socket,
                    (uint32_t)guest_share(cores, dies, d));
        socket += (uint32_t)sockets;
    }
    return 0;
}

int guest_shape_resolve(const struct guest_spec *spec, struct guest_shape *ret_shape,
                        struct errctx *ec)
{
    struct guest_shape *sh = ret_shape; /* private scratch: callers use it only on success */
    int r;

    memset(sh, 0, sizeof(*sh));
    sh->n_nodes = guest_spec_n_nodes(spec);
    sh->threads = MAX(spec->threads, 1u);
    r = resolve_cpus(spec, sh, ec);
    if (r == 0)
        r = resolve_memory(spec, sh, ec);
    if (r == 0)
        r = check_empty(spec, sh, ec);
    if (r < 0)
        return r;
    order_cpu_nodes(spec, sh);
    if (spec->cores > 0)
        return dies_of_cores(spec, sh, ec);
    if (spec->sockets > sh->n_cpu_nodes)
        return nodes_of_sockets(spec, sh, ec);
    return sockets_of_nodes(spec, sh, spec->sockets > 0 ? spec->sockets : sh->n_cpu_nodes, ec);
}
