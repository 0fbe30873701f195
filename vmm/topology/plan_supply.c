/* SPDX-License-Identifier: Apache-2.0 */
/* See plan_supply.h. Pure. */
#include "vmm/topology/plan_supply.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "vmm/base/macros.h"
#include "vmm/base/units.h"

int plan_supply_init(const struct host_topo *host, struct plan_supply *ret_supply,
                     struct errctx *ec)
{
    struct plan_supply s = { .host = host };

    s.left = calloc(host->n_nodes, sizeof(*s.left));
    if (s.left == NULL && host->n_nodes > 0)
        return errctx_set(ec, ENOMEM, "no memory to plan memory");
    for (size_t i = 0; i < host->n_nodes; i++) {
        const struct host_node *n = &host->nodes[i];

        s.left[i][SUPPLY_MEMORY] = n->mem_bytes;
        s.left[i][SUPPLY_FREE] = n->mem_free_bytes + n->mem_cache_bytes;
        s.known[SUPPLY_MEMORY] |= n->mem_bytes > 0;
        s.known[SUPPLY_FREE] |= n->mem_free_bytes > 0;
        s.known[SUPPLY_2M] |= n->n_pools > 0;
        s.known[SUPPLY_1G] |= n->n_pools > 0;
        for (uint32_t k = 0; k < n->n_pools; k++) {
            const uint64_t page = n->pool[k].page_bytes, bytes = page * n->pool[k].free_pages;

            if (page == guest_page_bytes(GUEST_PAGES_2M))
                s.left[i][SUPPLY_2M] = bytes;
            else if (page == guest_page_bytes(GUEST_PAGES_1G))
                s.left[i][SUPPLY_1G] = bytes;
        }
    }
    for (size_t i = 0; !s.known[SUPPLY_FREE] && i < host->n_nodes; i++)
        s.left[i][SUPPLY_FREE] = host->nodes[i].mem_bytes; /* no more than there is */
    s.known[SUPPLY_FREE] |= s.known[SUPPLY_MEMORY];
    for (int k = 0; k < SUPPLY_KINDS; k++)
        s.allowed[k] = UINT64_MAX;
    if (host->limits.pool[HOST_POOL_2M].has)
        s.allowed[SUPPLY_2M] = host->limits.pool[HOST_POOL_2M].left_bytes;
    if (host->limits.pool[HOST_POOL_1G].has)
        s.allowed[SUPPLY_1G] = host->limits.pool[HOST_POOL_1G].left_bytes;
    *ret_supply = s;
    return 0;
}

void plan_supply_fini(struct plan_supply *supply)
{
    free(supply->left);
    supply->left = NULL;
}

enum supply_kind plan_supply_kind(const struct topo_plan_backing *b)
{
    if (b->pages == GUEST_PAGES_1G)
        return SUPPLY_1G;
    if (b->pages == GUEST_PAGES_2M)
        return SUPPLY_2M;
    return b->reserve || b->prealloc ? SUPPLY_FREE : SUPPLY_MEMORY;
}

/* May it come from nodes that it does not name, too? */
static bool comes_from_anywhere(const struct topo_plan_backing *b)
{
    return idset_empty(&b->host_nodes) || b->policy == GUEST_POLICY_PREFERRED;
}

static bool is_home(const struct plan_supply *s, const struct topo_plan_backing *b, size_t i)
{
    return idset_has(&b->host_nodes, s->host->nodes[i].id.v);
}

/* What host node @i gives to a backing in chunks. */
static uint64_t chunks_of(const struct topo_plan_backing *b, struct hnode_id host)
{
    uint64_t bytes = 0;

    for (uint64_t off = 0; off < b->len_bytes; off += b->chunk_bytes)
        if (topo_plan_backing_home(b, off).v == host.v)
            bytes += MIN(b->chunk_bytes, b->len_bytes - off);
    return bytes;
}

/* Memory that comes when the guest touches it, from wherever there is some: nobody counts it. */
static bool is_uncounted(const struct plan_supply *s, const struct topo_plan_backing *b)
{
    const enum supply_kind kind = plan_supply_kind(b);

    return !s->known[kind] || (kind == SUPPLY_MEMORY && comes_from_anywhere(b));
}

uint64_t plan_supply_fit(const struct plan_supply *s, const struct topo_plan_backing *b)
{
    const enum supply_kind kind = plan_supply_kind(b);
    const uint64_t unit = guest_page_unit(b->pages);
    const uint64_t allowed = MIN(s->allowed[kind] / unit * unit, b->len_bytes);
    uint64_t fit = 0;

    if (b->chunk_bytes > 0 && allowed < b->len_bytes)
        return 0;
    if (is_uncounted(s, b))
        return allowed;
    for (size_t i = 0; i < s->host->n_nodes; i++) {
        if (b->chunk_bytes > 0 && is_home(s, b, i) &&
            chunks_of(b, s->host->nodes[i].id) > s->left[i][kind])
            return 0;
        if (is_home(s, b, i) || comes_from_anywhere(b))
            fit += s->left[i][kind] / unit * unit;
    }
    return b->chunk_bytes > 0 ? b->len_bytes : MIN(fit, allowed);
}

/* The node that has most left: among its own ones, or among the others. */
static size_t richest(const struct plan_supply *s, const struct topo_plan_backing *b, bool own)
{
    const enum supply_kind kind = plan_supply_kind(b);
    size_t best = s->host->n_nodes;

    for (size_t i = 0; i < s->host->n_nodes; i++)
        if (is_home(s, b, i) == own && s->left[i][kind] >= guest_page_unit(b->pages) &&
            (best == s->host->n_nodes || s->left[i][kind] > s->left[best][kind]))
            best = i;
    return best;
}

static void take_from(struct plan_supply *s, size_t i, enum supply_kind kind, uint64_t bytes)
{
    s->left[i][kind] -= MIN(bytes, s->left[i][kind]);
    if (kind != SUPPLY_MEMORY) /* pools are part of it, too */
        s->left[i][SUPPLY_MEMORY] -= MIN(bytes, s->left[i][SUPPLY_MEMORY]);
}

void plan_supply_take(struct plan_supply *s, const struct topo_plan_backing *b)
{
    const enum supply_kind kind = plan_supply_kind(b);
    const uint64_t unit = guest_page_unit(b->pages);
    uint64_t want = b->len_bytes;

    if (s->allowed[kind] != UINT64_MAX)
        s->allowed[kind] -= MIN(want, s->allowed[kind]);
    if (is_uncounted(s, b))
        return;
    for (size_t i = 0; b->chunk_bytes > 0 && i < s->host->n_nodes; i++)
        if (is_home(s, b, i))
            take_from(s, i, kind, chunks_of(b, s->host->nodes[i].id));
    while (b->chunk_bytes == 0 && want > 0) {
        size_t i = richest(s, b, true);
        uint64_t part;

        if (i == s->host->n_nodes)
            i = richest(s, b, false);
        if (i == s->host->n_nodes)
            return; /* not known, or less than a page anywhere */
        part = MIN(want, s->left[i][kind] / unit * unit);
        take_from(s, i, kind, part);
        want -= part;
    }
}

/* "host node 1 has 3 free" for each node that it may come from, as many as there is room for. */
static void list_left(const struct plan_supply *s, const struct topo_plan_backing *b, char *buf,
                      size_t size)
{
    const enum supply_kind kind = plan_supply_kind(b);
    const uint64_t page = guest_page_bytes(b->pages);
    size_t len = 0;

    for (size_t i = 0; i < s->host->n_nodes && len + 48 < size; i++) {
        char amount[32];

        if (!is_home(s, b, i) && !comes_from_anywhere(b))
            continue;
        if (page > 0)
            (void)snprintf(amount, sizeof(amount), "%" PRIu64, s->left[i][kind] / page);
        else
            (void)units_format_human(s->left[i][kind], amount, sizeof(amount));
        len += (size_t)snprintf(buf + len, size - len, "%shost node %u has %s",
                                len > 0 ? ", " : "", s->host->nodes[i].id.v, amount);
    }
}

/* The group that allows less than is wanted, or NULL. */
static const struct host_pool_limit *limit_of(const struct plan_supply *s,
                                              const struct topo_plan_backing *b)
{
    const enum supply_kind kind = plan_supply_kind(b);

    if (s->allowed[kind] >= b->len_bytes)
        return NULL;
    return &s->host->limits.pool[kind == SUPPLY_1G ? HOST_POOL_1G : HOST_POOL_2M];
}

int plan_supply_explain(const struct plan_supply *s, const struct topo_plan_backing *b,
                        struct errctx *ec)
{
    const uint64_t page = guest_page_bytes(b->pages);
    const struct host_pool_limit *limit = limit_of(s, b);
    char left[192] = "", amount[32];

    if (limit != NULL)
        return errctx_set(ec, ENOSPC,
                          "--node %u: %" PRIu64 " pages of %s are wanted, but the cgroup %s allows "
                          "%" PRIu64 " more (hugetlb.%sB.max)",
                          b->vnode.v, b->len_bytes / page, guest_page_name(b->pages), limit->cgroup,
                          s->allowed[plan_supply_kind(b)] / page, guest_page_name(b->pages));
    list_left(s, b, left, sizeof(left));
    if (page > 0)
        return errctx_set(ec, ENOSPC, "--node %u: %" PRIu64 " pages of %s are wanted, %s free%s",
                          b->vnode.v, b->len_bytes / page, guest_page_name(b->pages), left,
                          b->chunk_bytes > 0 ? " (each gives its share)" : "");
    return errctx_set(ec, ENOSPC, "--node %u: %s of pages of %s %s, %s%s", b->vnode.v,
                      units_format_human(b->len_bytes, amount, sizeof(amount)),
                      b->pages == GUEST_PAGES_THP ? "4K (huge where possible)" : "4K",
                      plan_supply_kind(b) == SUPPLY_FREE ? "are wanted at the start" : "are wanted",
                      left, plan_supply_kind(b) == SUPPLY_FREE ? " free" : "");
}
