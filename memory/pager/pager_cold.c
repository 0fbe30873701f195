/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coldest extents first, as wholes: toward a node's target, and for whoever has some evicted.
 * What is cold the looks have found (pager_look.c).
 */
#include <errno.h>

#include "memory/pager/pager_int.h"
#include "vmm/base/macros.h"

/* Bytes above the target; 0 without one. */
static uint64_t above_target(struct pager_node *node)
{
    const uint64_t target = atomic_load(&node->target_bytes);
    const uint64_t there =
        target == PAGER_NO_TARGET ? 0
                                  : guest_mem_resident_bytes(node->pager->params.mem, node->vnode);

    return there > target ? there - target : 0;
}

bool pager_wants_looks(struct pager_node *node)
{
    const uint64_t target = atomic_load(&node->target_bytes);

    if (!atomic_load(&node->evicts) || target == PAGER_NO_TARGET)
        return atomic_load(&node->evicts);
    return guest_mem_resident_bytes(node->pager->params.mem, node->vnode) >= target - target / 8;
}

bool pager_knows_cold(const struct pager_node *node)
{
    return atomic_load(&node->evicts) && node->heat.rounds >= node->known_from;
}

int pager_evict_coldest(struct pager_node *node, uint64_t want_pages, size_t *ret_n,
                        struct errctx *ec)
{
    struct pager_window w = { .whole = true };
    int r = 0;

    heat_order(&node->heat, node->order);
    for (size_t i = 0; i < node->heat.n; i++) {
        const struct heat_region *region = &node->heat.regions[node->order[i]];

        if (region->heat >= LOOK_HOT)
            break;
        for (uint32_t k = region->first; k < region->first + region->n; k++) {
            const struct pager_span s = pager_span_at(node, k);

            if (r < 0 || w.n == PAGER_WINDOW || w.armed_pages >= want_pages)
                return pager_window_finish(&w, r, node->pager->desk, ret_n, ec);
            if ((atomic_load(pager_span_extent(&s)) & (EXTENT_AWAY | EXTENT_SPARED)) == 0)
                r = pager_window_add(&w, node, k, SIZE_MAX, ec);
        }
    }
    return pager_window_finish(&w, r, node->pager->desk, ret_n, ec);
}

/* Near its target a node is looked at, which needs its faults; then there is something to go by. */
static int approach(struct pager_node *node, struct errctx *ec)
{
    const uint64_t target = atomic_load(&node->target_bytes), above = above_target(node);
    const uint64_t begin = pager_cpu_ns();
    size_t done = 0;
    int r = 0;

    if (node->n_regions == 0 || target == PAGER_NO_TARGET)
        return 0;
    if (!atomic_load(&node->evicts))
        return guest_mem_resident_bytes(node->pager->params.mem, node->vnode) >= target - target / 8
                   ? pager_begin(node, ec)
                   : 0;
    if (above == 0 || !pager_knows_cold(node))
        return 0;
    r = pager_evict_coldest(node, (above + PAGER_PAGE - 1) / PAGER_PAGE, &done, ec);
    pager_add(&node->n.evict_cpu_ns, pager_cpu_ns() - begin);
    if (done > 0)
        pager_trim(node);
    return r == -EINTR ? 0 : r;
}

int pager_evict_cold(struct pager *pager, struct errctx *ec)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < pager->n_nodes; i++)
        r = approach(&pager->nodes[i], ec);
    return r;
}

void pager_set_target(struct pager *pager, struct vnode_id vnode, uint64_t bytes)
{
    atomic_store(&pager->nodes[vnode.v].target_bytes, bytes);
}
