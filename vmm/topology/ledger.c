/* SPDX-License-Identifier: Apache-2.0 */
/* See ledger.h. */
#include "vmm/topology/ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"

static size_t host_index(const struct topo_plan *plan, uint32_t id)
{
    size_t i = 0;

    while (i < plan->n_hosts && plan->hosts[i].id.v != id)
        i++;
    return i;
}

uint32_t ledger_real(const struct topo_plan *plan, const struct idset *from, const struct idset *to)
{
    uint32_t max = 0;

    if (plan->host_distances == NULL)
        return 0;
    IDSET_FOREACH(a, from) {
        const size_t x = host_index(plan, a);

        if (x == plan->n_hosts)
            return 0;
        IDSET_FOREACH(b, to) {
            const size_t y = host_index(plan, b);

            if (y == plan->n_hosts)
                return 0;
            max = MAX(max, plan->host_distances[x * plan->n_hosts + y]);
            max = MAX(max, plan->host_distances[y * plan->n_hosts + x]);
        }
    }
    return max;
}

bool ledger_is_broken(const struct ledger *l, size_t from, size_t to)
{
    return from != to && l->real[from * l->n_nodes + to] > l->told[from * l->n_nodes + to];
}

/* Is @a worse than @b? Fractions, compared without division. */
static bool is_worse(const struct ledger_pair *a, const struct ledger_pair *b)
{
    return (uint64_t)a->real * b->told > (uint64_t)b->real * a->told;
}

static void judge_pairs(struct ledger *l)
{
    const size_t n = l->n_nodes;

    for (size_t i = 0; i < n * n; i++) {
        const struct ledger_pair pair = { (uint32_t)(i / n), (uint32_t)(i % n), l->told[i],
                                          l->real[i] };

        if (pair.from == pair.to || pair.real == 0)
            continue;
        l->n_broken += pair.real > pair.told;
        if (l->worst.real == 0 || is_worse(&pair, &l->worst))
            l->worst = pair;
    }
}

static void judge_order(struct ledger *l)
{
    const size_t n = l->n_nodes;

    for (size_t a = 0; a < n; a++) {
        const uint32_t *told = l->told + a * n, *real = l->real + a * n;

        for (size_t b = 0; b < n; b++)
            for (size_t c = 0; c < n; c++)
                l->n_inversions += b != a && c != a && real[b] > 0 && real[c] > 0 &&
                                   told[b] < told[c] && real[b] > real[c];
    }
}

int ledger_make(size_t n, const uint32_t *told, const uint32_t *real,
                const struct ledger_node *nodes, struct ledger **ret_ledger, struct errctx *ec)
{
    struct ledger *l = calloc(1, sizeof(*l));

    if (l == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a ledger");
    l->n_nodes = n;
    l->nodes = calloc(n, sizeof(*l->nodes));
    l->told = calloc(n * n, sizeof(*l->told));
    l->real = calloc(n * n, sizeof(*l->real));
    if (l->nodes == NULL || l->told == NULL || l->real == NULL) {
        ledger_free(l);
        return errctx_set(ec, ENOMEM, "no memory for a ledger of %zu nodes", n);
    }
    memcpy(l->nodes, nodes, n * sizeof(*nodes));
    memcpy(l->told, told, n * n * sizeof(*told));
    memcpy(l->real, real, n * n * sizeof(*real));
    judge_pairs(l);
    judge_order(l);
    *ret_ledger = l;
    return 0;
}

int ledger_new(const struct topo_plan *plan, const struct ledger_node *nodes,
               struct ledger **ret_ledger, struct errctx *ec)
{
    const size_t n = plan->n_nodes;
    uint32_t *real = calloc(n * n, sizeof(*real));
    int r;

    if (real == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a ledger of %zu nodes", n);
    for (size_t i = 0; i < n * n; i++)
        real[i] = ledger_real(plan, &nodes[i / n].homes, &nodes[i % n].homes);
    r = ledger_make(n, plan->distances, real, nodes, ret_ledger, ec);
    free(real);
    return r;
}

void ledger_free(struct ledger *l)
{
    if (l == NULL)
        return;
    free(l->nodes);
    free(l->told);
    free(l->real);
    free(l);
}

bool ledger_breaks(const struct topo_plan *plan, const struct idset *homes, struct vnode_id vnode,
                   struct hnode_id to, struct ledger_pair *ret_pair)
{
    const size_t n = plan->n_nodes;
    struct ledger_pair worst = { 0 };
    struct idset next = { 0 };

    idset_add(&next, to.v);
    for (uint32_t i = 0; i < 2 * n; i++) { /* to each other node, and back */
        const uint32_t from = i < n ? vnode.v : i - (uint32_t)n;
        const uint32_t dest = i < n ? i : vnode.v;
        const struct idset *a = from == vnode.v ? &next : &homes[from];
        const struct idset *b = dest == vnode.v ? &next : &homes[dest];
        const struct ledger_pair pair = { from, dest, plan->distances[from * n + dest],
                                          ledger_real(plan, a, b) };

        if (from == dest || pair.real <= pair.told ||
            pair.real <= ledger_real(plan, &homes[from], &homes[dest]))
            continue;
        if (worst.real == 0 || is_worse(&pair, &worst))
            worst = pair;
    }
    if (worst.real > 0)
        *ret_pair = worst;
    return worst.real > 0;
}
