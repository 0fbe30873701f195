/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/layout.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/checked.h"
#include "vmm/base/macros.h"
#include "vmm/base/units.h"

/* Each bridge's 64-bit window: large, because it costs only address space, but never so large
 * that 128 of them leave no room under a 40-bit address width. */
#define MMIO64_LEN_MAX (16ull * GIB)
#define MMIO64_LEN_MIN (256ull * MIB)
#define MMIO32_ALIGN   (1ull * MIB)

static void add_range(struct mem_layout *l, uint64_t base, uint64_t len, struct vnode_id vnode,
                      enum layout_kind kind, uint64_t off)
{
    l->ranges[l->n_ranges++] = (struct layout_range){
        .base = { base }, .len_bytes = len, .vnode = vnode, .kind = kind, .backing_off = off
    };
}

static int compare_base(const void *a, const void *b)
{
    const struct layout_range *x = a, *y = b;

    return x->base.v < y->base.v ? -1 : x->base.v > y->base.v;
}

/* The largest page that the node's memory is made of; its memory begins at a multiple of that, here
 * and in the guest, or KVM could not map such pages whole. */
static uint64_t node_align(const struct topo_plan *plan, struct vnode_id vnode)
{
    uint64_t align = guest_page_unit(GUEST_PAGES_ANY);

    for (size_t i = 0; i < plan->n_backings; i++)
        if (plan->backings[i].vnode.v == vnode.v)
            align = MAX(align, guest_page_unit(plan->backings[i].pages));
    return align;
}

/*
 * RAM. The first node with memory holds the first page and may be split at the 32-bit hole; of the
 * others each goes below while it fits whole, and all go above from the first that does not.
 */
static int place_ram(const struct layout_map *map, const struct topo_plan *plan,
                     struct mem_layout *l, struct errctx *ec)
{
    uint64_t low = map->low_base, high = map->high_base;
    bool below = true;

    for (size_t i = 0; i < plan->n_nodes; i++) {
        const struct topo_plan_node *n = &plan->nodes[i];
        uint64_t len = n->ram_bytes, first = 0, align = node_align(plan, n->vnode);

        if (len == 0)
            continue;
        if (below && len <= map->low_end - low && low % align == 0) {
            add_range(l, low, len, n->vnode, LAYOUT_RAM, 0);
            low += len;
            continue;
        }
        if (low == map->low_base) {
            first = map->low_end - low;
            add_range(l, low, first, n->vnode, LAYOUT_RAM, 0);
            low = map->low_end;
        }
        below = false;
        if (high % align != 0 && !checked_align_up(high, align, &high))
            return errctx_set(ec, ERANGE, "virtual node %zu: memory does not fit in 64 bits", i);
        add_range(l, high, len - first, n->vnode, LAYOUT_RAM, first);
        if (!checked_add(high, len - first, &high))
            return errctx_set(ec, ERANGE, "virtual node %zu: memory does not fit in 64 bits", i);
    }
    if (low == map->low_base)
        return errctx_set(ec, EINVAL, "no virtual node has memory");
    l->low_end = low;
    l->high_end = high;
    l->top = high;
    return 0;
}

static int place_hotplug(const struct topo_plan *plan, struct mem_layout *l, struct errctx *ec)
{
    for (size_t i = 0; i < plan->n_nodes; i++) {
        const struct topo_plan_node *n = &plan->nodes[i];
        uint64_t base;

        if (n->hotplug_bytes == 0)
            continue;
        if (!checked_align_up(l->top, LAYOUT_HOTPLUG_ALIGN, &base) ||
            !checked_add(base, n->hotplug_bytes, &l->top))
            return errctx_set(ec, ERANGE,
                              "virtual node %zu: hotplug window does not fit in 64 bits", i);
        add_range(l, base, n->hotplug_bytes, n->vnode, LAYOUT_HOTPLUG, n->ram_bytes);
    }
    return 0;
}

/* Windows behind everything else, as large as the address width allows. */
static int place_bridges(const struct layout_map *map, const struct topo_plan *plan,
                         unsigned phys_bits, struct mem_layout *l, struct errctx *ec)
{
    const uint64_t limit = 1ull << phys_bits;
    const uint64_t n = plan->n_nodes;
    uint64_t len32 = align_down(map->pci32_len / n, MMIO32_ALIGN);
    uint64_t len64 = MMIO64_LEN_MAX, base;
    char want[32];

    if (!checked_align_up(l->top, MMIO64_LEN_MIN, &base) || base > limit)
        return errctx_set(ec, ERANGE,
                          "memory ends at %s, above the %u-bit addresses that this host's KVM "
                          "gives to guests",
                          units_format_human(l->top, want, sizeof(want)), phys_bits);
    while (len64 > MMIO64_LEN_MIN && len64 * n > limit - base)
        len64 /= 2;
    if (len64 * n > limit - base)
        return errctx_set(ec, ERANGE,
                          "PCI windows of %" PRIu64 " nodes above the memory's end at %s do not "
                          "fit the %u-bit addresses that this host's KVM gives to guests",
                          n, units_format_human(l->top, want, sizeof(want)), phys_bits);
    for (size_t i = 0; i < n; i++)
        l->bridges[i] = (struct layout_bridge){
            .vnode = plan->nodes[i].vnode, .bus = (uint8_t)i,
            .mmio32_base = map->pci32_base + i * len32, .mmio32_len = len32,
            .mmio64_base = base + i * len64, .mmio64_len = len64,
        };
    l->n_bridges = n;
    l->top = base + n * len64;
    return 0;
}

int mem_layout_make(const struct layout_map *map, const struct topo_plan *plan, unsigned phys_bits,
                    struct mem_layout **ret_layout, struct errctx *ec)
{
    struct mem_layout *l = calloc(1, sizeof(*l));
    int r;

    if (l == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the address map");
    l->ranges = calloc(plan->n_nodes * 3, sizeof(l->ranges[0]));
    l->bridges = calloc(plan->n_nodes, sizeof(l->bridges[0]));
    if (l->ranges == NULL || l->bridges == NULL) {
        r = errctx_set(ec, ENOMEM, "no memory for the address map");
        goto err_free;
    }
    if (phys_bits < 36 || phys_bits > 52) {
        r = errctx_set(ec, ERANGE, "a physical address width of %u bits is not supported",
                       phys_bits);
        goto err_free;
    }
    l->ecam_base = map->ecam_base;
    r = place_ram(map, plan, l, ec);
    if (r == 0)
        r = place_hotplug(plan, l, ec);
    if (r == 0)
        r = place_bridges(map, plan, phys_bits, l, ec);
    if (r < 0)
        goto err_free;
    qsort(l->ranges, l->n_ranges, sizeof(l->ranges[0]), compare_base);
    *ret_layout = l;
    return 0;

err_free:
    mem_layout_free(l);
    return r;
}

void mem_layout_free(struct mem_layout *layout)
{
    if (layout == NULL)
        return;
    free(layout->ranges);
    free(layout->bridges);
    free(layout);
}

const struct layout_range *mem_layout_find(const struct mem_layout *layout, struct gpa addr)
{
    size_t lo = 0, hi = layout->n_ranges;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct layout_range *r = &layout->ranges[mid];

        if (addr.v < r->base.v)
            hi = mid;
        else if (addr.v - r->base.v >= r->len_bytes)
            lo = mid + 1;
        else
            return r;
    }
    return NULL;
}
