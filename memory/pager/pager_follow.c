/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a node's evicted pages are kept, after it was moved to another host node.
 *
 * A store's slots are filled up before new memory is taken, so what it has must move as well for
 * what is put later to lie on the new node. A store that others use stays where they are.
 */
#include "memory/pager/pager_int.h"

static bool others_use(const struct pager *p, const struct pager_node *node)
{
    for (size_t i = 0; i < p->n_nodes; i++)
        if (&p->nodes[i] != node && p->nodes[i].first == node->first &&
            atomic_load(&p->nodes[i].own) == NULL)
            return true;
    return false;
}

/* What has no room there stays. */
static void move_all(struct store *store, struct hnode_id to, const struct pager_follow_ops *ops,
                     void *ctx)
{
    uint64_t done = 0;
    uint32_t at = 0;
    int n;

    do {
        n = store_move_some(store, &at, to, NULL);
        done += n > 0 ? (uint64_t)n : 0;
    } while (n > 0 && ops->between(ctx, done));
}

bool pager_claim(struct pager_node *node)
{
    struct store *own = atomic_load(&node->own);
    const uint64_t share = pager_share(node->pager, pager_pages(node));
    uint64_t more;

    if (own == NULL || node->own_bytes >= share)
        return false;
    more = store_yield(node->first, share - node->own_bytes);
    node->own_bytes += more;
    store_set_limit(own, node->own_bytes);
    return more > 0;
}

/* For what goes from now on. What the node has in the other store counts there until it comes
 * back. */
static int make_own(struct pager_node *node, const struct idset *home, struct errctx *ec)
{
    struct store *own;
    int r = pager_make_store(node->pager, pager_pages(node), home, &own, ec);

    if (r < 0)
        return r;
    if (pager_share(node->pager, pager_pages(node)) > 0) {
        store_lower(node->first, pager_share(node->pager, pager_pages(node)));
        store_set_limit(own, 0);
    }
    atomic_store(&node->own, own);
    (void)pager_claim(node);
    return 0;
}

int pager_follow(struct pager *pager, struct vnode_id vnode, struct hnode_id to,
                 const struct pager_follow_ops *ops, void *ctx, struct errctx *ec)
{
    struct pager_node *node = &pager->nodes[vnode.v];
    struct idset home = { 0 };
    int r;

    if (node->n_regions == 0)
        return 0;
    idset_add(&home, to.v);
    if (atomic_load(&node->own) == NULL && others_use(pager, node))
        return make_own(node, &home, ec);
    r = store_bind(pager_store(node), &home, ec);
    if (r == 0)
        move_all(pager_store(node), to, ops, ctx);
    return r;
}
