/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every node's memory is made of and where it comes from, and what gives way where the host
 * has not enough. Pure.
 *
 * Larger pages come first in a node, so that a part in pages of 1 GiB begins where the node does.
 * Nodes that may live on one host node only take their memory first; the others make do with what
 * is left.
 */
#include "vmm/topology/plan_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/base/units.h"
#include "vmm/topology/guest_memory_check.h"
#include "vmm/topology/plan_supply.h"

enum {
    CHUNK_BYTES = 2 * MIB, /* at least a page of the backing */
    /* Each chunk is a mapping of the process at its worst, of which Linux allows 65,530. */
    CHUNKS_MAX = 32768,
};

struct memory_plan {
    const struct guest_spec *spec;
    const struct host_topo *host;
    struct topo_plan *plan;
    struct plan_supply supply;
    uint64_t chunks_per_node;
};

struct hnode_id topo_plan_backing_home(const struct topo_plan_backing *b, uint64_t off)
{
    const uint32_t n = idset_count(&b->host_nodes);
    uint32_t sum = 0, at, i = 0;

    for (uint32_t k = 0; k < n; k++)
        sum += b->weights.n > 0 ? b->weights.weight[k] : 1;
    at = (uint32_t)(off / b->chunk_bytes % MAX(sum, 1u));
    IDSET_FOREACH(host, &b->host_nodes)
    {
        const uint32_t weight = b->weights.n > 0 ? b->weights.weight[i++] : 1;

        if (at < weight)
            return (struct hnode_id){ host };
        at -= weight;
    }
    return (struct hnode_id){ 0 }; /* no host nodes: not a backing in chunks */
}

static void set_chunks(const struct memory_plan *mp, struct topo_plan_backing *b)
{
    b->chunk_bytes = 0;
    /* The kernel interleaves pages of 4 KiB well itself; a huge page made of such goes wherever
     * its first one is, which is the same node for all of them. */
    if (b->policy != GUEST_POLICY_WEIGHTED &&
        (b->policy != GUEST_POLICY_INTERLEAVE || b->pages == GUEST_PAGES_4K))
        return;
    b->chunk_bytes = MAX((uint64_t)CHUNK_BYTES, guest_page_bytes(b->pages));
    while (b->len_bytes / b->chunk_bytes > mp->chunks_per_node)
        b->chunk_bytes *= 2;
}

static bool alike(const struct topo_plan_backing *a, const struct topo_plan_backing *b)
{
    return a->vnode.v == b->vnode.v && a->pages == b->pages && a->policy == b->policy &&
           a->chunk_bytes == 0 && b->chunk_bytes == 0 &&
           idset_equal(&a->host_nodes, &b->host_nodes);
}

/* Take @b out of the host's supply and append it, to the one before where they are alike. */
static int emit(struct memory_plan *mp, const struct topo_plan_backing *b, struct errctx *ec)
{
    struct topo_plan *plan = mp->plan;
    struct topo_plan_backing *bigger, *last;

    plan_supply_take(&mp->supply, b);
    last = plan->n_backings > 0 ? &plan->backings[plan->n_backings - 1] : NULL;
    if (last != NULL && alike(last, b) && last->off + last->len_bytes == b->off) {
        last->len_bytes += b->len_bytes;
        return 0;
    }
    bigger = reallocarray(plan->backings, plan->n_backings + 1, sizeof(*bigger));
    if (bigger == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the plan of memory");
    plan->backings = bigger;
    bigger[plan->n_backings++] = *b;
    return 0;
}

static const char *human(uint64_t bytes, char *buf, size_t size)
{
    return units_format_human(bytes, buf, size);
}

static int place(struct memory_plan *mp, struct topo_plan_backing *b, struct errctx *ec);

/* As many of the pages as there are, the next smaller kind for the rest. Return: 1 when done, 0
 * when there is no smaller kind. */
static int yield_pages(struct memory_plan *mp, struct topo_plan_backing *b, struct errctx *ec)
{
    const uint64_t fit = plan_supply_fit(&mp->supply, b);
    struct topo_plan_backing rest = *b;
    char a[32];
    int r = 0;

    if (b->pages != GUEST_PAGES_1G && b->pages != GUEST_PAGES_2M)
        return 0;
    rest.pages = b->pages == GUEST_PAGES_1G ? GUEST_PAGES_2M : GUEST_PAGES_THP;
    rest.off += fit;
    rest.len_bytes -= fit;
    set_chunks(mp, &rest);
    b->len_bytes = fit;
    plan_worse(mp->plan, "Node %u: %s is in pages of %s instead of %s, of which there are too few.",
              b->vnode.v, human(rest.len_bytes, a, sizeof(a)), guest_page_name(rest.pages),
              guest_page_name(b->pages));
    if (fit > 0)
        r = emit(mp, b, ec);
    if (r == 0)
        r = place(mp, &rest, ec);
    return r < 0 ? r : 1;
}

static int yield_policy(struct memory_plan *mp, struct topo_plan_backing *b, struct errctx *ec)
{
    struct topo_plan_backing softer = *b;
    char list[64], a[32];
    int r;

    if (idset_empty(&b->host_nodes) || b->policy == GUEST_POLICY_PREFERRED)
        return 0;
    softer.policy = GUEST_POLICY_PREFERRED;
    softer.weights.n = 0;
    set_chunks(mp, &softer);
    if (plan_supply_fit(&mp->supply, &softer) < softer.len_bytes)
        return 0;
    plan_worse(mp->plan,
              "Node %u: %s in pages of %s prefers host node %s instead of keeping to it, which has "
              "too little.",
              b->vnode.v, human(b->len_bytes, a, sizeof(a)), guest_page_name(b->pages),
              idset_format(&b->host_nodes, list, sizeof(list)));
    r = emit(mp, &softer, ec);
    return r < 0 ? r : 1;
}

/* The host node nearest to the first of those wanted that has room for all of it. */
static int yield_host(struct memory_plan *mp, struct topo_plan_backing *b, struct errctx *ec)
{
    const struct host_topo *host = mp->host;
    const uint32_t wanted = idset_next(&b->host_nodes, 0);
    const int from = host_topo_node_index(host, (struct hnode_id){ wanted });
    struct topo_plan_backing best = *b;
    uint32_t nearest = UINT32_MAX;
    char a[32];
    int r;

    if (from < 0)
        return 0;
    for (size_t i = 0; i < host->n_nodes; i++) {
        struct topo_plan_backing there = *b;
        const uint32_t d = host_topo_distance(host, (size_t)from, i);

        if (idset_has(&b->host_nodes, host->nodes[i].id.v) || d >= nearest)
            continue;
        there.policy = GUEST_POLICY_BIND;
        there.weights.n = 0;
        there.host_nodes = (struct idset){ 0 };
        idset_add(&there.host_nodes, host->nodes[i].id.v);
        set_chunks(mp, &there);
        if (plan_supply_fit(&mp->supply, &there) < there.len_bytes)
            continue;
        nearest = d;
        best = there;
    }
    if (nearest == UINT32_MAX)
        return 0;
    plan_worse(mp->plan,
              "Node %u: %s in pages of %s is on host node %u, at distance %u, instead of %u, which "
              "has too little.",
              b->vnode.v, human(b->len_bytes, a, sizeof(a)), guest_page_name(b->pages),
              idset_next(&best.host_nodes, 0), nearest, wanted);
    r = emit(mp, &best, ec);
    return r < 0 ? r : 1;
}

/* Give @b its place; where it has none, what may give way does, in the order given. */
static int place(struct memory_plan *mp, struct topo_plan_backing *b, struct errctx *ec)
{
    const struct guest_fallback *f = &mp->spec->fallback;
    int r = 0;

    if (plan_supply_fit(&mp->supply, b) >= b->len_bytes)
        return emit(mp, b, ec);
    for (uint32_t k = 0; r == 0 && k < f->n; k++) {
        if (f->step[k] == GUEST_YIELD_PAGES)
            r = yield_pages(mp, b, ec);
        else if (f->step[k] == GUEST_YIELD_POLICY)
            r = yield_policy(mp, b, ec);
        else
            r = yield_host(mp, b, ec);
    }
    if (r != 0)
        return r < 0 ? r : 0;
    return plan_supply_explain(&mp->supply, b, ec);
}

/* Does host node or nodes have free what the node wants, as far as is known? */
static bool looks_roomy(const struct memory_plan *mp, const struct topo_plan_node *n)
{
    uint64_t left = 0;

    for (size_t i = 0; i < mp->host->n_nodes; i++)
        if (idset_has(&n->host_nodes, mp->host->nodes[i].id.v))
            for (int k = SUPPLY_FREE; k < SUPPLY_KINDS; k++)
                left += mp->supply.left[i][k];
    return left >= n->ram_bytes || !mp->supply.known[SUPPLY_FREE];
}

static enum guest_policy choose(const struct memory_plan *mp, const struct topo_plan_node *n,
                                const struct guest_node_memory *m)
{
    enum guest_policy chosen;

    if (m->policy == GUEST_POLICY_NONE)
        return idset_empty(&n->host_nodes) ? GUEST_POLICY_NONE : GUEST_POLICY_BIND;
    if (m->policy != GUEST_POLICY_AUTO)
        return m->policy;
    if (idset_empty(&n->host_nodes))
        chosen = m->reserve || m->prealloc ? GUEST_POLICY_NONE : GUEST_POLICY_LOCAL;
    else if (idset_count(&n->host_nodes) > 1)
        chosen = GUEST_POLICY_INTERLEAVE;
    else
        chosen = looks_roomy(mp, n) ? GUEST_POLICY_BIND : GUEST_POLICY_PREFERRED;
    return chosen;
}

/* Policy and host nodes of all that is node @n's. */
static int set_policy(const struct memory_plan *mp, const struct topo_plan_node *n,
                      const struct guest_node_memory *m, struct topo_plan_backing *b,
                      struct errctx *ec)
{
    b->policy = choose(mp, n, m);
    if (b->policy == GUEST_POLICY_NONE || b->policy == GUEST_POLICY_LOCAL)
        return 0;
    b->host_nodes = n->host_nodes;
    if (m->weights != NULL)
        b->weights = *m->weights;
    if (!idset_empty(&b->host_nodes))
        return 0;
    if (guest_policy_needs_hosts(b->policy))
        return errctx_set(ec, EINVAL,
                          "--node %u: policy=%s needs host=, the host nodes that memory is taken "
                          "from",
                          n->vnode.v, guest_policy_words[b->policy]);
    for (size_t i = 0; i < mp->host->n_nodes; i++) /* interleaved: over all there are */
        if (mp->host->nodes[i].mem_bytes > 0)
            idset_add(&b->host_nodes, mp->host->nodes[i].id.v);
    return 0;
}

static int plan_node(struct memory_plan *mp, uint32_t i, struct errctx *ec)
{
    static const enum guest_page_kind order[] = { GUEST_PAGES_1G, GUEST_PAGES_2M, GUEST_PAGES_THP,
                                                  GUEST_PAGES_4K, GUEST_PAGES_ANY };
    const struct guest_node_memory m = guest_node_memory(mp->spec, i);
    const struct guest_pages any = { .n = 1 }, *pages = m.pages->n > 0 ? m.pages : &any;
    const struct topo_plan_node *n = &mp->plan->nodes[i];
    struct topo_plan_backing b = {
        .vnode = n->vnode, .reserve = m.reserve, .prealloc = m.prealloc
    };
    uint64_t rest = n->ram_bytes, off = 0;
    int r = set_policy(mp, n, &m, &b, ec);

    for (uint32_t k = 0; k < pages->n; k++)
        rest -= pages->part[k].bytes; /* guest_memory_check() has added them up */
    for (size_t o = 0; r == 0 && o < ARRAY_SIZE(order); o++)
        for (uint32_t k = 0; r == 0 && k < pages->n; k++) {
            struct topo_plan_backing part = b;

            if (pages->part[k].kind != order[o])
                continue;
            part.pages = order[o];
            part.off = off;
            part.len_bytes = pages->part[k].bytes > 0 ? pages->part[k].bytes : rest;
            off += part.len_bytes;
            set_chunks(mp, &part);
            if (part.reserve && part.pages == GUEST_PAGES_THP)
                plan_note(mp->plan,
                          "Node %u: reserve takes pages of 4 KiB, prealloc would take huge ones.",
                          i);
            r = place(mp, &part, ec);
        }
    return r;
}

static int compare_backing(const void *a, const void *b)
{
    const struct topo_plan_backing *x = a, *y = b;

    if (x->vnode.v != y->vnode.v)
        return x->vnode.v < y->vnode.v ? -1 : 1;
    return x->off < y->off ? -1 : x->off > y->off;
}

static int fill_hosts(const struct host_topo *host, struct topo_plan *plan, struct errctx *ec)
{
    const size_t n = MAX(host->n_nodes, (size_t)1);

    plan->hosts = calloc(n, sizeof(*plan->hosts));
    plan->host_distances = calloc(n * n, sizeof(*plan->host_distances));
    if (plan->hosts == NULL || plan->host_distances == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the plan of memory");
    plan->n_hosts = host->n_nodes;
    for (size_t i = 0; i < host->n_nodes; i++) {
        plan->hosts[i].id = host->nodes[i].id;
        plan->hosts[i].cpus.n_words = host->nodes[i].cpus.n_words; /* not the 1 KiB behind them */
        memcpy(plan->hosts[i].cpus.word, host->nodes[i].cpus.word,
               host->nodes[i].cpus.n_words * sizeof(uint64_t));
        for (size_t k = 0; k < n; k++)
            plan->host_distances[i * n + k] =
                host->distances != NULL ? host_topo_distance(host, i, k)
                : i == k                ? GUEST_DISTANCE_LOCAL
                                        : GUEST_DISTANCE_REMOTE; /* a host made by hand */
    }
    return 0;
}

/* That a host node or a policy may give way says nothing where no node has one. */
static int check_fallback(const struct guest_spec *spec, const struct topo_plan *plan,
                          struct errctx *ec)
{
    bool bound = false;

    for (size_t i = 0; i < plan->n_nodes; i++)
        bound = bound || !idset_empty(&plan->nodes[i].host_nodes);
    for (uint32_t k = 0; k < spec->fallback.n; k++)
        if (spec->fallback.step[k] != GUEST_YIELD_PAGES && !bound)
            return errctx_set(ec, EINVAL, "--fallback %s has no effect: no node has host nodes",
                              guest_yield_words[spec->fallback.step[k]]);
    return 0;
}

int plan_memory_fill(const struct guest_spec *spec, const struct host_topo *host,
                     struct topo_plan *plan, struct errctx *ec)
{
    struct memory_plan mp = { .spec = spec, .host = host, .plan = plan };
    int r = check_fallback(spec, plan, ec);

    if (r == 0)
        r = fill_hosts(host, plan, ec);
    if (r == 0)
        r = plan_supply_init(host, &mp.supply, ec);
    mp.chunks_per_node = MAX(CHUNKS_MAX / plan->n_nodes, (size_t)64);
    for (int pass = 0; r == 0 && pass < 2; pass++)
        for (uint32_t i = 0; r == 0 && i < plan->n_nodes; i++) {
            const bool picky = idset_count(&plan->nodes[i].host_nodes) == 1;

            if (plan->nodes[i].ram_bytes > 0 && picky == (pass == 0))
                r = plan_node(&mp, i, ec);
        }
    plan_supply_fini(&mp.supply);
    if (r == 0 && plan->n_backings > 1)
        qsort(plan->backings, plan->n_backings, sizeof(*plan->backings), compare_backing);
    return r;
}
