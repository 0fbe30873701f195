/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose faults come to the fault threads, and from when on.
 *
 * Of a node whose memory is to go, always. Of one whose memory the kernel gives no huge pages by
 * itself, from the start: the fault thread answers the first touch of an extent with all of it
 * (pager_fault.c), one fault instead of 512, and what is complete becomes a huge page
 * (pager_whole.c). Elsewhere the kernel does both, and no fault of such a node is anybody's business
 * until memory of it is to go.
 */
#include "memory/pager/pager_int.h"
#include "memory/pager/uffd.h"

enum { KNOWN_FROM = 2 /* rounds of looks: before, nothing goes by itself */ };

int pager_watch(const struct pager_node *node, const struct pager_region *region, uint8_t *at,
                size_t len, struct errctx *ec)
{
    return region->is_rwp ? uffd_register_rwp(node->uffd, at, len, ec)
                          : uffd_register(node->uffd, at, len, ec);
}

static int register_all(struct pager_node *node, struct errctx *ec)
{
    int r = 0;

    if (atomic_load(&node->registered))
        return 0;
    for (size_t i = 0; r == 0 && i < node->n_regions; i++) {
        const struct pager_region *region = &node->regions[i];

        r = pager_watch(node, region, region->backing->host, region->backing->len_bytes, ec);
    }
    if (r == 0)
        atomic_store(&node->registered, true);
    return r;
}

int pager_begin(struct pager_node *node, struct errctx *ec)
{
    int r;

    if (atomic_load(&node->evicts))
        return 0;
    r = register_all(node, ec);
    if (r == 0) {
        node->known_from = node->heat.rounds + KNOWN_FROM;
        atomic_store(&node->evicts, true);
    }
    return r;
}

static bool wants_huge(const struct pager_node *node)
{
    for (size_t i = 0; i < node->n_regions; i++)
        if (node->regions[i].wants_huge)
            return true;
    return false;
}

/* What was loaded before anybody was watched. */
static void mend_all(struct pager_node *node)
{
    for (size_t i = 0; i < node->n_regions; i++)
        for (size_t k = 0; k < node->regions[i].n_extents; k++)
            atomic_fetch_or(&node->regions[i].extents[k], EXTENT_MEND);
    atomic_store(&node->any_to_mend, true);
}

int pager_make_huge(struct pager *pager, struct errctx *ec)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < pager->n_nodes; i++) {
        struct pager_node *node = &pager->nodes[i];

        if (atomic_load(&node->registered) || !wants_huge(node))
            continue;
        r = register_all(node, ec);
        if (r == 0)
            mend_all(node);
    }
    return r;
}

bool pager_watches(const struct pager *pager, struct vnode_id vnode)
{
    return atomic_load(&pager->nodes[vnode.v].registered);
}

bool pager_watches_any(const struct pager *pager)
{
    for (size_t i = 0; i < pager->n_nodes; i++)
        if (atomic_load(&pager->nodes[i].registered))
            return true;
    return false;
}

bool pager_active(const struct pager *pager)
{
    for (size_t i = 0; i < pager->n_nodes; i++)
        if (atomic_load(&pager->nodes[i].evicts) ||
            atomic_load(&pager->nodes[i].target_bytes) != PAGER_NO_TARGET)
            return true;
    return false;
}
