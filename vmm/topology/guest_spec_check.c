/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may not be asked: limits of every number, repeated and overlapping descriptions, and
 * options that would have no effect. What the numbers amount to together is guest_shape.c's
 * part, caches are guest_caches_check.c's. Pure.
 *
 * Nodes are named by their position, counted from 0, as the guest will number them.
 */
#include "vmm/topology/guest_spec.h"

#include <errno.h>
#include <inttypes.h>

#include "vmm/base/macros.h"
#include "vmm/base/units.h"
#include "vmm/topology/guest_caches.h"
#include "vmm/topology/guest_memory_check.h"
#include "vmm/topology/guest_shape.h"

/* Marks pairs of nodes that were seen; 2 KiB, so it lives on the stack. */
struct pair_set {
    uint64_t word[GUEST_MAX_VNODES * GUEST_MAX_VNODES / 64];
};

/* Both below GUEST_MAX_VNODES. Return: true when the pair was there already. */
static bool pair_add(struct pair_set *set, uint32_t from, uint32_t to)
{
    uint32_t bit = from * GUEST_MAX_VNODES + to;
    uint64_t mask = 1ull << (bit % 64);
    bool had = (set->word[bit / 64] & mask) != 0;

    set->word[bit / 64] |= mask;
    return had;
}

/* How many nodes there will be is known on a host only. */
static int check_auto(const struct guest_spec *spec, struct errctx *ec)
{
    if (spec->n_vnuma != GUEST_VNUMA_AUTO)
        return 0;
    if (spec->n_nodes > 0)
        return errctx_set(ec, EINVAL,
                          "--vnuma auto and --node exclude each other: nodes are either sized from "
                          "the host or described");
    if (spec->n_distances > 0 || spec->n_links > 0)
        return errctx_set(ec, EINVAL,
                          "--vnuma auto and --%s exclude each other: which nodes there are is "
                          "decided on the host",
                          spec->n_distances > 0 ? "distance" : "link");
    return 0;
}

static int check_share(const struct guest_cpu_share *s, struct errctx *ec)
{
    if (s->max_milli > 0 && s->reserve_milli > s->max_milli)
        return errctx_set(ec, EINVAL, "--cpu-reserve %g is more than --cpu-max %g allows",
                          s->reserve_milli / 1000.0, s->max_milli / 1000.0);
    return 0;
}

static int check_counts(const struct guest_spec *spec, struct errctx *ec)
{
    const struct {
        const char *option;
        uint64_t value, max;
    } row[] = {
        { "--cpus", spec->n_cpus, GUEST_MAX_VCPUS },
        { "--vnuma", spec->n_vnuma == GUEST_VNUMA_AUTO ? 1 : spec->n_vnuma, GUEST_MAX_VNODES },
        { "--threads", spec->threads, GUEST_MAX_VCPUS },
        { "--cores", spec->cores, GUEST_MAX_VCPUS },
        { "--dies", spec->dies, GUEST_MAX_VCPUS },
        { "--sockets", spec->sockets, GUEST_MAX_VCPUS },
        { "number of --node", spec->n_nodes, GUEST_MAX_VNODES },
    };
    char a[32], b[32];

    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
        if (row[i].value > row[i].max)
            return errctx_set(ec, ERANGE, "%s %" PRIu64 " is above the limit of %" PRIu64,
                              row[i].option, row[i].value, row[i].max);
    if (spec->n_vnuma > 0 && spec->n_nodes > 0)
        return errctx_set(ec, EINVAL,
                          "--vnuma %u and --node exclude each other: nodes are either all equal "
                          "or all described",
                          spec->n_vnuma);
    if (spec->memory_bytes > GUEST_MAX_MEMORY_BYTES)
        return errctx_set(ec, ERANGE, "--memory %s is above the limit of %s",
                          units_format_size(spec->memory_bytes, a, sizeof(a)),
                          units_format_size(GUEST_MAX_MEMORY_BYTES, b, sizeof(b)));
    if (spec->memory_bytes % GUEST_PAGE_BYTES != 0)
        return errctx_set(ec, EINVAL, "--memory %s is not a multiple of 2M",
                          units_format_size(spec->memory_bytes, a, sizeof(a)));
    return 0;
}

static int check_mem_caches(const struct guest_node_spec *n, size_t i, struct errctx *ec)
{
    if (n->n_mem_caches > GUEST_MAX_MEM_CACHES)
        return errctx_set(ec, ERANGE, "--node %zu has %u memory-side cache levels, at most %d", i,
                          n->n_mem_caches, GUEST_MAX_MEM_CACHES);
    for (uint32_t k = 0; k < n->n_mem_caches; k++) {
        const struct guest_mem_cache_spec *c = &n->mem_cache[k];

        if (c->size_bytes == 0)
            return errctx_set(ec, EINVAL, "--node %zu: memory-side cache %u has no size", i, k + 1);
        if (c->line_bytes > UINT16_MAX)
            return errctx_set(ec, ERANGE,
                              "--node %zu: memory-side cache %u has lines of %u bytes, HMAT "
                              "holds at most %d",
                              i, k + 1, c->line_bytes, UINT16_MAX);
        if ((c->line_bytes & (c->line_bytes - 1)) != 0)
            return errctx_set(ec, EINVAL,
                              "--node %zu: memory-side cache %u has lines of %u bytes, which is no "
                              "power of two",
                              i, k + 1, c->line_bytes);
    }
    return 0;
}

static int check_node_memory(const struct guest_node_spec *n, size_t i, struct errctx *ec)
{
    char size[32];

    if (n->memory_bytes % GUEST_PAGE_BYTES != 0)
        return errctx_set(ec, EINVAL, "--node %zu: memory=%s is not a multiple of 2M", i,
                          units_format_size(n->memory_bytes, size, sizeof(size)));
    if (n->memory_bytes > GUEST_MAX_MEMORY_BYTES || n->hotplug_bytes > GUEST_MAX_MEMORY_BYTES)
        return errctx_set(ec, ERANGE,
                          "--node %zu: memory= and hotplug= are at most 4 PiB, as much as any "
                          "processor addresses",
                          i);
    if (n->hotplug_bytes % GUEST_HOTPLUG_BYTES != 0)
        return errctx_set(ec, EINVAL,
                          "--node %zu: hotplug=%s is not a multiple of 2G, the unit in which Linux "
                          "adds memory",
                          i, units_format_size(n->hotplug_bytes, size, sizeof(size)));
    return check_mem_caches(n, i, ec);
}

static int check_node_cpus(const struct guest_spec *spec, size_t i, const struct idset *before,
                           struct errctx *ec)
{
    const struct guest_node_spec *n = &spec->nodes[i];

    if (idset_next(&n->cpus, GUEST_MAX_VCPUS) < IDSET_MAX)
        return errctx_set(ec, ERANGE, "--node %zu: cpus= names CPU %u, the highest is %d", i,
                          idset_next(&n->cpus, GUEST_MAX_VCPUS), GUEST_MAX_VCPUS - 1);
    if (!idset_subset(&n->later_cpus, &n->cpus))
        return errctx_set(ec, EINVAL, "--node %zu: hotplug-cpus= names CPUs that are not among its "
                          "cpus=", i);
    if (idset_has(&n->later_cpus, 0))
        return errctx_set(ec, EINVAL, "--node %zu: hotplug-cpus= names CPU 0, which the machine "
                          "starts with", i);
    if (!idset_intersects(&n->cpus, before))
        return 0;
    IDSET_FOREACH(cpu, &n->cpus)
        for (size_t k = 0; k < i; k++)
            if (idset_has(&spec->nodes[k].cpus, cpu))
                return errctx_set(
                    ec, EINVAL, "--node %zu: cpus= names CPU %u, which is in node %zu", i, cpu, k);
    return 0;
}

/* Linux numbers CPUs as they come. */
static int check_later_cpus(const struct guest_spec *spec, struct errctx *ec)
{
    uint32_t first = IDSET_MAX;

    for (size_t i = 0; i < spec->n_nodes; i++)
        first = MIN(first, idset_next(&spec->nodes[i].later_cpus, 0));
    for (size_t i = 0; i < spec->n_nodes; i++)
        IDSET_FOREACH (cpu, &spec->nodes[i].cpus)
            if (cpu > first && !idset_has(&spec->nodes[i].later_cpus, cpu))
                return errctx_set(ec, EINVAL, "hotplug-cpus= names CPU %u, and CPU %u is there from "
                                  "the start: those that come later are the last", first, cpu);
    return 0;
}

static int check_nodes(const struct guest_spec *spec, struct errctx *ec)
{
    struct idset before = { 0 };
    int r;

    for (size_t i = 0; i < spec->n_nodes; i++) {
        r = check_node_memory(&spec->nodes[i], i, ec);
        if (r == 0)
            r = check_node_cpus(spec, i, &before, ec);
        if (r < 0)
            return r;
        idset_or(&before, &spec->nodes[i].cpus);
    }
    return check_later_cpus(spec, ec);
}

static int check_distances(const struct guest_spec *spec, uint32_t n_nodes, struct errctx *ec)
{
    struct pair_set seen = { 0 };

    for (size_t i = 0; i < spec->n_distances; i++) {
        const struct guest_distance_spec *d = &spec->distances[i];

        if (d->from >= n_nodes || d->to >= n_nodes)
            return errctx_set(ec, EINVAL, "--distance %u-%u=%u: there is no node %u", d->from,
                              d->to, d->value, d->from >= n_nodes ? d->from : d->to);
        if (d->from == d->to && d->value != GUEST_DISTANCE_LOCAL)
            return errctx_set(ec, EINVAL,
                              "--distance %u-%u=%u: the distance of a node to itself is %d",
                              d->from, d->to, d->value, GUEST_DISTANCE_LOCAL);
        if (d->from != d->to && d->value <= GUEST_DISTANCE_LOCAL)
            return errctx_set(ec, EINVAL,
                              "--distance %u-%u=%u: Linux drops the whole table when a distance "
                              "between two nodes is %d or less",
                              d->from, d->to, d->value, GUEST_DISTANCE_LOCAL);
        if (d->value > GUEST_DISTANCE_MAX)
            return errctx_set(ec, ERANGE,
                              "--distance %u-%u=%u: the greatest distance is %d (255 means "
                              "unreachable)",
                              d->from, d->to, d->value, GUEST_DISTANCE_MAX);
        if (pair_add(&seen, d->from, d->to))
            return errctx_set(ec, EINVAL, "--distance %u-%u is given twice", d->from, d->to);
    }
    return 0;
}

/* Can the HMAT say it, and will Linux, which drops what exceeds 32 bits, read it? */
static int check_link_values(const struct guest_link_spec *l, struct errctx *ec)
{
    if (l->latency_ns == 0 && l->bandwidth_bytes_per_s == 0)
        return errctx_set(ec, EINVAL, "--link from=%u,to=%u says neither latency= nor bandwidth=",
                          l->from, l->to);
    if (l->latency_ns > GUEST_LINK_MAX_NS)
        return errctx_set(ec, ERANGE,
                          "--link from=%u,to=%u: Linux drops latencies above %d ns", l->from,
                          l->to, GUEST_LINK_MAX_NS);
    if (l->bandwidth_bytes_per_s != 0 && l->bandwidth_bytes_per_s < MIB)
        return errctx_set(ec, ERANGE,
                          "--link from=%u,to=%u: the guest can be told of no bandwidth below 1M/s",
                          l->from, l->to);
    if (l->bandwidth_bytes_per_s / MIB >= UINT32_MAX)
        return errctx_set(ec, ERANGE,
                          "--link from=%u,to=%u: Linux drops bandwidths of 4P/s and above", l->from,
                          l->to);
    return 0;
}

/* One unit serves all values of a kind: beyond this ratio the smallest would be a fraction of it. */
static int check_link_range(const struct guest_spec *spec, bool bandwidth, struct errctx *ec)
{
    uint64_t min = UINT64_MAX, max = 0;

    for (size_t i = 0; i < spec->n_links; i++) {
        const struct guest_link_spec *l = &spec->links[i];
        uint64_t v = bandwidth ? l->bandwidth_bytes_per_s / MIB : l->latency_ns;

        if (v != 0)
            min = MIN(min, v);
        max = MAX(max, v);
    }
    if (max / GUEST_LINK_ENTRY_MAX < min)
        return 0;
    if (max == min * GUEST_LINK_ENTRY_MAX)
        return 0;
    return errctx_set(ec, ERANGE,
                      "--link: %s from %" PRIu64 " to %" PRIu64 " %s: the greatest can be %d times "
                      "the least",
                      bandwidth ? "bandwidths" : "latencies", min, max, bandwidth ? "MiB/s" : "ns",
                      GUEST_LINK_ENTRY_MAX);
}

/* CPUs, or a device. */
static bool initiates(const struct guest_spec *spec, const struct guest_shape *sh, uint32_t node)
{
    return sh->cpus[node] > 0 || (spec->n_nodes > 0 && spec->nodes[node].generic_initiator);
}

static int check_links(const struct guest_spec *spec, const struct guest_shape *sh,
                       struct errctx *ec)
{
    int r;

    struct pair_set seen = { 0 };

    for (size_t i = 0; i < spec->n_links; i++) {
        const struct guest_link_spec *l = &spec->links[i];

        if (l->from >= sh->n_nodes || l->to >= sh->n_nodes)
            return errctx_set(ec, EINVAL, "--link from=%u,to=%u: there is no node %u", l->from,
                              l->to, l->from >= sh->n_nodes ? l->from : l->to);
        if (pair_add(&seen, l->from, l->to))
            return errctx_set(ec, EINVAL, "--link from=%u,to=%u is given twice", l->from, l->to);
        r = check_link_values(l, ec);
        if (r < 0)
            return r;
        if (!initiates(spec, sh, l->from))
            return errctx_set(ec, EINVAL,
                              "--link from=%u,to=%u: node %u has no CPUs and no generic "
                              "initiator that could reach memory",
                              l->from, l->to, l->from);
        if (sh->ram_bytes[l->to] == 0 &&
            (spec->n_nodes == 0 || spec->nodes[l->to].hotplug_bytes == 0))
            return errctx_set(ec, EINVAL,
                              "--link from=%u,to=%u: node %u has no memory that could be reached",
                              l->from, l->to, l->to);
    }
    r = check_link_range(spec, false, ec);
    return r < 0 ? r : check_link_range(spec, true, ec);
}

/* What a node says about its memory, once it is known who has CPUs and memory. */
static int check_node_effects(const struct guest_spec *spec, const struct guest_shape *sh,
                              struct errctx *ec)
{
    for (uint32_t i = 0; i < spec->n_nodes; i++) {
        const struct guest_node_spec *n = &spec->nodes[i];
        bool memory = sh->ram_bytes[i] > 0 || n->hotplug_bytes > 0;

        if (!memory && sh->cpus[i] == 0 && !idset_empty(&n->host_nodes))
            return errctx_set(ec, EINVAL,
                              "--node %u: host= has no effect on a node without CPUs and memory", i);
        if (n->n_mem_caches > 0 && !memory)
            return errctx_set(ec, EINVAL,
                              "--node %u describes a memory-side cache but has no memory", i);
        for (uint32_t k = 0; k < n->n_mem_caches; k++)
            if (n->mem_cache[k].size_bytes > sh->ram_bytes[i] + n->hotplug_bytes)
                return errctx_set(ec, EINVAL,
                                  "--node %u: memory-side cache %u is larger than the node's memory",
                                  i, k + 1);
        if (!n->has_initiator)
            continue;
        if (n->initiator >= sh->n_nodes)
            return errctx_set(ec, EINVAL, "--node %u: initiator=%u: there is no such node", i,
                              n->initiator);
        if (!initiates(spec, sh, n->initiator))
            return errctx_set(ec, EINVAL,
                              "--node %u: initiator=%u: node %u has no CPUs and no generic initiator",
                              i, n->initiator, n->initiator);
        if (sh->cpus[i] > 0 && n->initiator != i)
            return errctx_set(ec, EINVAL,
                              "--node %u: initiator=%u: the node has CPUs, so it is its own "
                              "initiator",
                              i, n->initiator);
        if (!memory)
            return errctx_set(ec, EINVAL,
                              "--node %u: initiator=%u has no effect on a node without memory", i,
                              n->initiator);
    }
    return 0;
}

int guest_spec_check(const struct guest_spec *spec, struct errctx *ec)
{
    struct guest_shape sh;
    int r;

    r = check_auto(spec, ec);
    if (r == 0)
        r = check_counts(spec, ec);
    if (r == 0)
        r = check_share(&spec->share, ec);
    if (r == 0)
        r = check_nodes(spec, ec);
    if (r == 0)
        r = check_distances(spec, guest_spec_n_nodes(spec), ec);
    if (r == 0)
        r = guest_shape_resolve(spec, &sh, ec);
    if (r == 0)
        r = check_links(spec, &sh, ec);
    if (r == 0)
        r = check_node_effects(spec, &sh, ec);
    if (r == 0)
        r = guest_memory_check(spec, &sh, ec);
    if (r == 0)
        r = guest_caches_check(spec, &sh, ec);
    return r;
}
