/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heterogeneous Memory Attribute Table (ACPI 6.5, 5.2.28), only when the plan says something
 * that it alone can tell: links, memory-side caches, or a memory-only node's initiator.
 *
 * The plan holds latencies and bandwidths as entries of 16 bits can say them, and the unit of
 * each: latency is in picoseconds here, bandwidth in megabytes per second, a megabyte being 2^20
 * bytes as sizes are everywhere. 0 means that nothing was said about a pair.
 */
#include <errno.h>

#include "firmware/acpi_parts.h"
#include "vmm/base/macros.h"

enum {
    HMAT_REVISION = 2,
    TYPE_PROXIMITY = 0,
    TYPE_LOCALITY = 1,
    TYPE_MEM_CACHE = 2,
    INITIATOR_VALID = 1,
    DATA_ACCESS_LATENCY = 0,
    DATA_ACCESS_BANDWIDTH = 3,
    PS_PER_NS = 1000,
};

/* Nodes that are targets (have memory, now or later) or initiators (have CPUs, or a device). */
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
        /* Its own CPUs go without saying. */
        if (node->has_initiator &&
            (node->initiator.v != node->vnode.v || idset_empty(&node->cpus)))
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

/* How many units a link's value is; 0: nothing was said. */
static uint16_t entry(const struct topo_plan *plan, uint32_t from, uint32_t to, uint8_t data)
{
    const struct topo_plan_link *link = &plan->links[from * plan->n_nodes + to];

    if (data == DATA_ACCESS_LATENCY)
        return (uint16_t)(link->latency_ns / plan->latency_unit_ns);
    return (uint16_t)(link->bandwidth_bytes_per_s / MIB / plan->bandwidth_unit_mib);
}

static void append_locality(struct bytebuf *b, const struct topo_plan *plan,
                            const struct node_list *from, const struct node_list *to, uint8_t data)
{
    uint64_t base = data == DATA_ACCESS_LATENCY ? plan->latency_unit_ns * PS_PER_NS
                                                : plan->bandwidth_unit_mib;

    if (base == 0)
        return;
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
            bytebuf_u16(b, entry(plan, from->id[i], to->id[j], data));
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

        if (topo_plan_node_initiates(node))
            from.id[from.n++] = node->vnode.v;
        if (!is_target(node))
            continue;
        to.id[to.n++] = node->vnode.v;
        append_proximity(b, node);
    }
    if (plan->links != NULL) {
        append_locality(b, plan, &from, &to, DATA_ACCESS_LATENCY);
        append_locality(b, plan, &from, &to, DATA_ACCESS_BANDWIDTH);
    }
    for (size_t i = 0; r == 0 && i < plan->n_nodes; i++)
        r = append_mem_caches(b, &plan->nodes[i], ec);
    acpi_table_end(b, off);
    return r;
}
