/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the evicting thread does by itself within the user's budget of CPU time, but for looking:
 * what has been kept for some time is packed anew, and stores that became loose are compacted.
 */
#include "memory/pager/pager_int.h"
#include "vmm/base/macros.h"

#define AGE_NS UINT64_C(5000000000) /* a store's step of time: what is kept for two is old */

enum {
    CREDIT_MAX_NS = 1000 * 1000 * 1000, /* a pause saves up no more than a second's CPU time */
    SWAP_WRITES = 8,    /* to the swap in one go: each waits for the disk, and a pause for us */
    SWAP_PART = 16,     /* of a full store's limit that leaves for the swap at once, and */
    SWAP_LEAST = 1 * MIB, /* so much of it at least, and */
    SWAP_MOST = 8 * MIB,  /* so much at most */
};

static uint64_t spent(const struct pager *p)
{
    uint64_t ns = atomic_load(&p->pack_cpu_ns) + atomic_load(&p->domain_cpu_ns);

    for (size_t i = 0; i < p->n_nodes; i++)
        ns += atomic_load(&p->nodes[i].n.look_cpu_ns);
    return ns;
}

/* What time has brought, less what was spent since, also in the fault threads. */
uint64_t pager_budget(struct pager *p, uint64_t now_ns)
{
    const uint64_t passed = MIN(now_ns - p->budget_then_ns, (uint64_t)CREDIT_MAX_NS);
    const uint64_t all = spent(p);
    const int64_t most = (int64_t)CREDIT_MAX_NS / 1000 * p->params.budget_milli;

    p->budget_ns += (int64_t)(passed / 1000 * p->params.budget_milli);
    p->budget_ns -= (int64_t)(all - p->budget_spent_ns);
    p->budget_ns = MIN(p->budget_ns, most);
    p->budget_then_ns = now_ns;
    p->budget_spent_ns = all;
    return (uint64_t)MAX(p->budget_ns, INT64_C(0));
}

static void swap_old(struct pager *p, struct store *store, uint64_t until_cpu_ns)
{
    for (unsigned i = 0; i < SWAP_WRITES && pager_cpu_ns() < until_cpu_ns && !pager_hurries(p); i++)
        if (store_swap_out(store, p->port, true) <= 0)
            return;
}

static bool swap_some(const struct pager *p, struct store *store)
{
    const uint64_t part = MIN(store_limit_bytes(store) / SWAP_PART, (uint64_t)SWAP_MOST);
    const uint64_t want = MAX(part, (uint64_t)SWAP_LEAST);
    uint64_t done = 0;
    int n;

    do {
        n = store_swap_out(store, p->port, false);
        done += n > 0 ? (uint64_t)n : 0;
    } while (n > 0 && done < want && !pager_hurries(p));
    if (done > 0)
        store_trim(store);
    return done > 0;
}

/* What it shared before it moved away may have room that is to be its own. */
bool pager_swap_some(struct pager_node *node)
{
    const struct pager *p = node->pager;
    struct store *now = pager_store(node);

    return p->port != NULL &&
           (swap_some(p, now) || (now != node->first && swap_some(p, node->first)));
}

/* Return: whether time ran out. */
static bool pack_store(struct pager *p, struct store *store, uint64_t until_cpu_ns)
{
    if (store_is_loose(store))
        store_trim(store);
    while (pager_cpu_ns() < until_cpu_ns)
        if (!store_pack(store, p->press))
            break;
    if (p->port != NULL)
        swap_old(p, store, until_cpu_ns);
    return pager_cpu_ns() >= until_cpu_ns;
}

void pager_pack(struct pager *pager, uint64_t now_ns)
{
    const uint64_t start = pager_cpu_ns(), budget = pager_budget(pager, now_ns);
    const bool older = now_ns - pager->aged_ns >= AGE_NS;
    bool late = budget == 0;

    for (size_t i = 0; older && i < pager->n_stores; i++)
        store_age(pager->stores[i]);
    if (older)
        pager->aged_ns = now_ns;
    for (size_t i = 0; i < pager->n_stores && !late; i++)
        late = pack_store(pager, pager->stores[(pager->pack_first + i) % pager->n_stores],
                          start + budget);
    pager->pack_first++;
    pager_add(&pager->pack_cpu_ns, pager_cpu_ns() - start);
}
