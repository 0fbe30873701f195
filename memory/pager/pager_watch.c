/* SPDX-License-Identifier: Apache-2.0 */
/* Whose faults come to the fault threads, and from when on. */
#include "memory/pager/pager_int.h"
#include "memory/pager/uffd.h"

enum { KNOWN_FROM = 2 /* rounds of looks: before, nothing goes by itself */ };

int pager_watch(const struct pager_node *node, const struct pager_region *region, uint8_t *at,
                size_t len, struct errctx *ec)
{
    return region->is_rwp ? uffd_register_rwp(node->uffd, at, len, ec)
                          : uffd_register(node->uffd, at, len, ec);
}

int pager_register(struct pager_node *node, struct errctx *ec)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < node->n_regions; i++) {
        struct pager_region *region = &node->regions[i];

        region->is_rwp = node->can_protect && !region->is_window; /* whose blocks may be closed */
        r = pager_watch(node, region, region->backing->host, region->backing->len_bytes, ec);
    }
    if (r == 0) {
        node->known_from = node->heat.rounds + KNOWN_FROM;
        atomic_store(&node->registered, true);
    }
    return r;
}

bool pager_watches(const struct pager *pager, struct vnode_id vnode)
{
    return atomic_load(&pager->nodes[vnode.v].registered);
}

bool pager_active(const struct pager *pager)
{
    for (size_t i = 0; i < pager->n_nodes; i++)
        if (atomic_load(&pager->nodes[i].registered) ||
            atomic_load(&pager->nodes[i].target_bytes) != PAGER_NO_TARGET)
            return true;
    return false;
}
