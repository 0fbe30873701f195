/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heterogeneous Memory Attribute Table (ACPI 6.5, 5.2.28), only when the plan says something
 * that it alone can tell: links, memory-side caches, or a memory-only node's initiator.
 *
 * Matrix entries have 16 bits and a common unit. The unit is the greatest common divisor of the
 * values, so entries are exact whenever the largest is below 65,535 units; otherwise it is the
 * smallest unit that lets the largest fit, and the others are rounded to the nearest. Latency
 * is in picoseconds, bandwidth in megabytes per second, a megabyte being 2^20 bytes as sizes
 * are everywhere here. 0 means that nothing was said about a pair (0xffff: unreachable).
 */
#include <errno.h>

#include "firmware/acpi_parts.h"
#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

enum {
    HMAT_REVISION = 2,
    TYPE_PROXIMITY = 0,
    TYPE_LOCALITY = 1,
    TYPE_MEM_CACHE = 2,
    INITIATOR_VALID = 1,
    DATA_ACCESS_LATENCY = 0,
    DATA_ACCESS_BANDWIDTH = 3,
    ENTRY_MAX = 0xfffe,
    PS_PER_NS = 1000,
};

/* Nodes that are targets (have memory, now or later) or initiators (have CPUs). */
struct node_list {
    uint32_t n;
    uint32_t id[GUEST_MAX_VNODES];
};

static bool is_target(const struct topo_plan_node *node)
{
    return node->ram_bytes != 0 || node->hotplug_bytes != 0;
}

bool hmat_wanted(const struct topo_plan *plan)
{
    if (plan->links != NULL)
        return true;
    for (size_t i = 0; i < plan->n_nodes; i++) {
        const struct topo_plan_node *node = &plan->nodes[i];

        if (node->n_mem_caches != 0)
            return true;
        if (node->has_initiator && node->initiator.v != node->vnode.v)
            return true;
    }
    return false;
}

static void append_proximity(struct bytebuf *b, const struct topo_plan_node *node)
{
    bytebuf_u16(b, TYPE_PROXIMITY);
    bytebuf_u16(b, 0);
    bytebuf_u32(b, 40);
    bytebuf_u16(b, node->has_initiator ? INITIATOR_VALID : 0);
    bytebuf_u16(b, 0);
    bytebuf_u32(b, node->has_initiator ? node->initiator.v : 0);
    bytebuf_u32(b, node->vnode.v);
    bytebuf_zeros(b, 4 + 8 + 8);
}

/* What one link says, in the table's smallest unit; 0: nothing. */
static uint64_t link_value(const struct topo_plan_link *link, uint8_t data)
{
    if (data == DATA_ACCESS_LATENCY)
        return link->latency_ns;
    return link->bandwidth_bytes_per_s / MIB + (link->bandwidth_bytes_per_s % MIB != 0);
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* The unit for all pairs of @from and @to; 0 when no pair says anything. */
static uint64_t choose_unit(const struct topo_plan *plan, const struct node_list *from,
                            const struct node_list *to, uint8_t data)
{
    uint64_t unit = 0, max = 0;

    for (uint32_t i = 0; i < from->n; i++) {
        for (uint32_t j = 0; j < to->n; j++) {
            uint64_t v = link_value(&plan->links[from->id[i] * plan->n_nodes + to->id[j]], data);

            unit = gcd(unit, v);
            max = MAX(max, v);
        }
    }
    if (unit != 0 && max / unit > ENTRY_MAX)
        unit = max / ENTRY_MAX + (max % ENTRY_MAX != 0);
    return unit;
}

/* Nearest entry; never 0 for a value that was said. */
static uint16_t scale(uint64_t value, uint64_t unit)
{
    uint64_t entry = value / unit + (value % unit >= unit - unit / 2);

    if (value == 0)
        return 0;
    return (uint16_t)(entry == 0 ? 1 : MIN(entry, (uint64_t)ENTRY_MAX));
}

static int append_locality(struct bytebuf *b, const struct topo_plan *plan,
                           const struct node_list *from, const struct node_list *to, uint8_t data,
                           struct errctx *ec)
{
    uint64_t unit = choose_unit(plan, from, to, data), base = unit;

    if (unit == 0)
        return 0;
    if (data == DATA_ACCESS_LATENCY && !checked_mul(unit, PS_PER_NS, &base))
        return errctx_set(ec, ERANGE, "a link's latency is above what the HMAT can say");
    bytebuf_u16(b, TYPE_LOCALITY);
    bytebuf_u16(b, 0);
    bytebuf_u32(b, 32 + 4 * (from->n + to->n) + 2 * from->n * to->n);
    bytebuf_u8(b, 0); /* memory itself, not a cache in front of it */
    bytebuf_u8(b, data);
    bytebuf_u8(b, 0); /* smallest transfer: any */
    bytebuf_u8(b, 0);
    bytebuf_u32(b, from->n);
    bytebuf_u32(b, to->n);
    bytebuf_u32(b, 0);
    bytebuf_u64(b, base);
    for (uint32_t i = 0; i < from->n; i++)
        bytebuf_u32(b, from->id[i]);
    for (uint32_t j = 0; j < to->n; j++)
        bytebuf_u32(b, to->id[j]);
    for (uint32_t i = 0; i < from->n; i++)
        for (uint32_t j = 0; j < to->n; j++)
            bytebuf_u16(
                b, scale(link_value(&plan->links[from->id[i] * plan->n_nodes + to->id[j]], data),
                         unit));
    return 0;
}

static int append_mem_caches(struct bytebuf *b, const struct topo_plan_node *node,
                             struct errctx *ec)
{
    for (uint32_t i = 0; i < node->n_mem_caches; i++) {
        const struct guest_mem_cache_spec *c = &node->mem_cache[i];

        if (c->line_bytes > UINT16_MAX)
            return errctx_set(ec, ERANGE,
                              "node %u: a memory-side cache line of %u bytes is above %u",
                              node->vnode.v, c->line_bytes, UINT16_MAX);
        bytebuf_u16(b, TYPE_MEM_CACHE);
        bytebuf_u16(b, 0);
        bytebuf_u32(b, 32);
        bytebuf_u32(b, node->vnode.v);
        bytebuf_u32(b, 0);
        bytebuf_u64(b, c->size_bytes);
        /* Table 5.147: levels in all, this level, associativity, write policy, line size. */
        bytebuf_u32(b, node->n_mem_caches | (i + 1) << 4 | (uint32_t)c->assoc << 8 |
                           (uint32_t)c->write << 12 | c->line_bytes << 16);
        bytebuf_u16(b, 0);
        bytebuf_u16(b, 0); /* SMBIOS handles */
    }
    return 0;
}

int hmat_append(struct bytebuf *b, const struct acpi_input *in, struct errctx *ec)
{
    const struct topo_plan *plan = in->plan;
    struct node_list from = { 0 }, to = { 0 };
    size_t off = acpi_table_begin(b, "HMAT", HMAT_REVISION);
    int r = 0;

    bytebuf_u32(b, 0);
    for (size_t i = 0; i < plan->n_nodes; i++) {
        const struct topo_plan_node *node = &plan->nodes[i];

        if (!idset_empty(&node->cpus))
            from.id[from.n++] = node->vnode.v;
        if (!is_target(node))
            continue;
        to.id[to.n++] = node->vnode.v;
        append_proximity(b, node);
    }
    if (plan->links != NULL) {
        r = append_locality(b, plan, &from, &to, DATA_ACCESS_LATENCY, ec);
        if (r == 0)
            r = append_locality(b, plan, &from, &to, DATA_ACCESS_BANDWIDTH, ec);
    }
    for (size_t i = 0; r == 0 && i < plan->n_nodes; i++)
        r = append_mem_caches(b, &plan->nodes[i], ec);
    acpi_table_end(b, off);
    return r;
}
