/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Caches in the tree. Level 1 is told in the CPU's own node; from level 2 on each instance has a
 * node, which the CPUs behind it, or the caches of the level below, name as their next one. So who
 * shares a cache is who comes to the same node.
 */
#include <errno.h>
#include <inttypes.h>

#include "firmware/fdt_parts.h"
#include "vmm/base/macros.h"

enum { LEVEL_HANDLES = 0x1000 }; /* more than there are CPUs */

_Static_assert((int)GUEST_MAX_VCPUS <= (int)LEVEL_HANDLES, "a handle for every instance");

static const struct topo_plan_cache *first_of_level(const struct topo_plan *plan, uint32_t level)
{
    for (size_t i = 0; i < plan->n_caches; i++)
        if (plan->caches[i].level == level)
            return &plan->caches[i];
    return NULL;
}

int fdt_caches_check(const struct topo_plan *plan, struct errctx *ec)
{
    for (size_t i = 0; i < plan->n_caches; i++) {
        const struct topo_plan_cache *c = &plan->caches[i];

        if (c->size_bytes > UINT32_MAX)
            return errctx_set(ec, ERANGE,
                              "a level %u cache of %" PRIu64 " bytes: a device tree can say less "
                              "than 4 GiB",
                              c->level, c->size_bytes);
        if (c->level == 1 && c->apic_shift > plan->apic.core_shift)
            return errctx_set(ec, ENOTSUP,
                              "level 1 caches that cores share: a device tree cannot say them");
        if (c->apic_shift != first_of_level(plan, c->level)->apic_shift)
            return errctx_set(ec, ENOTSUP,
                              "level %u caches for data and for instructions that different CPUs "
                              "share: a device tree cannot say them",
                              c->level);
    }
    return 0;
}

/* Sizes of all caches of a level, in the node of a CPU or of a cache. */
static void append_sizes(struct fdt_out *w, const struct topo_plan *plan, uint32_t level)
{
    static const char *const names[][3] = {
        [CACHE_DATA] = { "d-cache-size", "d-cache-line-size", "d-cache-sets" },
        [CACHE_INSTRUCTION] = { "i-cache-size", "i-cache-line-size", "i-cache-sets" },
        [CACHE_UNIFIED] = { "cache-size", "cache-line-size", "cache-sets" },
    };

    for (size_t i = 0; i < plan->n_caches; i++) {
        const struct topo_plan_cache *c = &plan->caches[i];

        if (c->level != level)
            continue;
        if (c->type == CACHE_UNIFIED)
            fdt_out_flag(w, "cache-unified");
        fdt_out_u32(w, names[c->type][0], (uint32_t)c->size_bytes);
        fdt_out_u32(w, names[c->type][1], c->line_bytes);
        fdt_out_u32(w, names[c->type][2], c->sets);
    }
}

static uint32_t handle(const struct fdt_cpu_order *order, size_t level, uint32_t vcpu)
{
    return FDT_HANDLE_CACHE + (uint32_t)level * LEVEL_HANDLES +
           order->group[level * order->plan->n_vcpus + vcpu];
}

void fdt_caches_of_cpu(struct fdt_out *w, const struct fdt_cpu_order *order, uint32_t vcpu)
{
    append_sizes(w, order->plan, 1);
    if (order->n_levels > 0)
        fdt_out_u32(w, "next-level-cache", handle(order, 0, vcpu));
}

static void append_instance(struct fdt_out *w, const struct fdt_cpu_order *order, size_t level,
                            uint32_t vcpu)
{
    const uint32_t number = order->level[level]->level;

    fdt_out_begin(w, "l%u-cache-%u", number, order->group[level * order->plan->n_vcpus + vcpu]);
    fdt_out_text(w, "compatible", "cache");
    fdt_out_u32(w, "cache-level", number);
    append_sizes(w, order->plan, number);
    if (level + 1 < order->n_levels)
        fdt_out_u32(w, "next-level-cache", handle(order, level + 1, vcpu));
    fdt_out_u32(w, "phandle", handle(order, level, vcpu));
    fdt_out_end(w);
}

void fdt_caches_append(struct fdt_out *w, const struct fdt_cpu_order *order)
{
    const size_t n = order->plan->n_vcpus;

    for (size_t level = 0; level < order->n_levels; level++) {
        uint32_t next = 0;

        for (size_t i = 0; i < n; i++) {
            const uint32_t vcpu = order->by_place[i];

            if (order->group[level * n + vcpu] != next)
                continue; /* the instance has been written for a CPU before */
            append_instance(w, order, level, vcpu);
            next++;
        }
    }
}
