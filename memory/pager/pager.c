/* SPDX-License-Identifier: Apache-2.0 */
/* Making and resetting a pager, counters. See pager.h. */
#include "memory/pager/pager.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory/page_table.h"
#include "memory/pager/pager_int.h"
#include "memory/pager/uffd.h"
#include "memory/residency.h"
#include "vmm/base/cleanup.h"
#include "memory/store/store_domain.h"
#include "vmm/base/macros.h"

int pager_pageable(const struct topo_plan *plan, struct errctx *ec)
{
    for (size_t i = 0; i < plan->n_backings; i++) {
        const struct topo_plan_backing *b = &plan->backings[i];

        if (guest_page_bytes(b->pages) > 0)
            return errctx_set(ec, ENOTSUP,
                              "virtual node %u has pages of %s from a pool, which cannot be paged",
                              b->vnode.v, guest_page_name(b->pages));
        if (b->reserve)
            return errctx_set(ec, ENOTSUP,
                              "memory of virtual node %u is reserved, which paging would undo",
                              b->vnode.v);
    }
    return 0;
}

static size_t words_bytes(const struct pager_region *r)
{
    return r->n_pages * sizeof(page_word);
}

/* Of its extents. */
static void know_nothing(const struct pager_region *r)
{
    for (size_t k = 0; k < r->n_extents; k++)
        atomic_store_explicit(&r->extents[k], r->is_window ? EXTENT_AWAY : 0, memory_order_relaxed);
}

static int add_region(struct pager *p, const struct backing *b, struct errctx *ec)
{
    struct pager_region *r = &p->regions[p->n_regions];
    struct pager_node *node = &p->nodes[b->plan->vnode.v];

    r->backing = b;
    r->n_pages = b->len_bytes / PAGER_PAGE;
    r->wants_huge = b->plan->pages != GUEST_PAGES_4K && !b->plan->prealloc &&
                    !backing_comes_huge("", b->plan->pages);
    r->is_window = b->plan->off >= guest_mem_plan(p->params.mem)->nodes[b->plan->vnode.v].ram_bytes;
    r->words = mmap(NULL, words_bytes(r), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (r->words == MAP_FAILED)
        return errctx_set_os(ec, errno, "find addresses for page states");
    p->n_regions++;
    (void)madvise(r->words, words_bytes(r), MADV_NOHUGEPAGE);
    r->n_extents = (r->n_pages + PAGER_EXTENT_PAGES - 1) / PAGER_EXTENT_PAGES;
    r->extents = calloc(r->n_extents, sizeof(r->extents[0]));
    if (r->extents == NULL)
        return errctx_set(ec, ENOMEM, "no memory for what is known of pages");
    know_nothing(r);
    if (node->n_regions++ == 0)
        node->regions = r;
    return 0;
}

uint64_t pager_pages(const struct pager_node *node)
{
    uint64_t n = 0;

    for (size_t i = 0; i < node->n_regions; i++)
        n += node->regions[i].n_pages;
    return n;
}

uint64_t pager_share(const struct pager *p, uint64_t pages)
{
    uint64_t all = 0;

    for (size_t i = 0; i < p->n_nodes; i++)
        all += pager_pages(&p->nodes[i]);
    return all > 0 ? (uint64_t)((unsigned __int128)p->params.store_bytes * pages / all) : 0;
}

int pager_make_store(struct pager *p, uint64_t pages, const struct idset *home,
                     struct store **ret_store, struct errctx *ec)
{
    const uint64_t share = pager_share(p, pages);
    int r = store_new(share > 0 ? share : pages * (PAGER_PAGE + PAGER_PAGE / 16) + 4 * MIB,
                      (uint32_t)MIN(pages, (uint64_t)PAGER_OBJECTS_MAX), home,
                      &p->stores[p->n_stores], ec);

    if (r < 0)
        return r;
    store_set_swap(p->stores[p->n_stores], p->params.swap);
    store_set_golden(p->stores[p->n_stores], p->params.golden);
    if (p->params.domain != NULL &&
        store_set_domain(p->stores[p->n_stores], domain_client_segments(p->params.domain)) < 0) {
        store_free(p->stores[p->n_stores]);
        return errctx_set(ec, ENOMEM, "no memory for a store");
    }
    *ret_store = p->stores[p->n_stores++];
    return 0;
}

/* Nodes of one home share a store; the first of them makes it. */
static int give_store(struct pager *p, struct pager_node *node, struct errctx *ec)
{
    struct idset home, other;
    uint64_t pages = 0;

    guest_mem_home(p->params.mem, node->vnode, &home);
    for (size_t i = 0; i < p->n_nodes; i++) {
        guest_mem_home(p->params.mem, p->nodes[i].vnode, &other);
        if (p->nodes[i].n_regions == 0 || !idset_equal(&home, &other))
            continue;
        if (p->nodes[i].first != NULL) {
            node->first = p->nodes[i].first;
            return 0;
        }
        pages += pager_pages(&p->nodes[i]);
    }
    return pager_make_store(p, pages, &home, &node->first, ec);
}

/* --- life ------------------------------------------------------------------------------------- */

static int open_node(struct pager_node *node, struct errctx *ec)
{
    struct uffd_can can;
    const int r = uffd_open_all(&node->uffd, &can, ec);

    if (r < 0)
        return r;
    node->can_poison = can.poison;
    node->can_protect = can.protect && page_table_tells(node->pager->pagemap);
    for (size_t i = 0; i < node->n_regions; i++) /* but windows, whose blocks may be closed */
        node->regions[i].is_rwp = node->can_protect && !node->regions[i].is_window;
    return 0;
}

static int make_nodes(struct pager *p, struct errctx *ec)
{
    const struct guest_mem *mem = p->params.mem;
    int r = 0;

    for (size_t i = 0; i < p->n_nodes; i++)
        p->nodes[i] = (struct pager_node){
            .pager = p, .vnode = guest_mem_plan(mem)->nodes[i].vnode, .uffd = -1,
            .serving = PTHREAD_MUTEX_INITIALIZER, .target_bytes = PAGER_NO_TARGET,
        };
    for (size_t i = 0; r == 0 && i < guest_mem_n_backings(mem); i++)
        r = add_region(p, guest_mem_backing(mem, i), ec);
    for (size_t i = 0; r == 0 && i < p->n_nodes; i++) {
        if (p->nodes[i].n_regions == 0)
            continue;
        r = open_node(&p->nodes[i], ec);
        if (r == 0)
            r = give_store(p, &p->nodes[i], ec);
        if (r == 0 && p->params.swap != NULL)
            r = swap_port_new(p->params.swap, &p->nodes[i].port, ec);
        if (r == 0 && heat_init(&p->nodes[i].heat, (uint32_t)pager_extents_in(&p->nodes[i]),
                                LOOK_REGIONS, p->nodes[i].vnode.v) < 0)
            r = errctx_set(ec, ENOMEM, "no memory for what is known of pages");
    }
    return r;
}

int pager_new(const struct pager_params *params, struct pager **ret_pager, struct errctx *ec)
{
    const struct topo_plan *plan = guest_mem_plan(params->mem);
    struct pager *p;
    int r = pager_pageable(plan, ec);

    if (r < 0)
        return r;
    p = calloc(1, sizeof(*p));
    if (p == NULL)
        return errctx_set(ec, ENOMEM, "no memory for paging");
    p->params = *params;
    p->pagemap = residency_open();
    (void)pthread_mutex_init(&p->closed.lock, NULL);
    p->n_nodes = plan->n_nodes;
    p->nodes = calloc(plan->n_nodes, sizeof(*p->nodes));
    p->regions = calloc(guest_mem_n_backings(params->mem), sizeof(*p->regions));
    p->stores = calloc(plan->n_nodes * 2, sizeof(struct store *)); /* one, and one of its own */
    p->desk = malloc(sizeof(*p->desk));
    p->press = calloc(1, sizeof(*p->press));
    if (p->nodes == NULL || p->regions == NULL || p->stores == NULL || p->desk == NULL ||
        p->press == NULL || codec_packer_init(&p->press->packer) < 0) {
        p->n_nodes = 0;
        r = errctx_set(ec, ENOMEM, "no memory for paging");
    } else {
        r = make_nodes(p, ec);
        if (r == 0 && p->params.swap != NULL)
            r = swap_port_new(p->params.swap, &p->port, ec);
    }
    if (r < 0) {
        pager_free(p);
        return r;
    }
    guest_mem_set_dma_ops(params->mem, &pager_lease_ops, p);
    *ret_pager = p;
    return 0;
}

void pager_free(struct pager *pager)
{
    if (pager == NULL)
        return;
    guest_mem_set_dma_ops(pager->params.mem, NULL, NULL);
    for (size_t i = 0; i < pager->n_nodes; i++) {
        if (pager->nodes[i].uffd >= 0)
            (void)close(pager->nodes[i].uffd);
        heat_fini(&pager->nodes[i].heat);
        swap_port_free(pager->nodes[i].port);
    }
    for (size_t i = 0; i < pager->n_regions; i++) {
        (void)munmap(pager->regions[i].words, words_bytes(&pager->regions[i]));
        free((void *)(uintptr_t)pager->regions[i].extents);
    }
    for (size_t i = 0; i < pager->n_stores; i++)
        store_free(pager->stores[i]);
    if (pager->press != NULL)
        codec_packer_fini(&pager->press->packer);
    swap_port_free(pager->port);
    if (pager->pagemap >= 0)
        (void)close(pager->pagemap);
    (void)pthread_mutex_destroy(&pager->closed.lock);
    free(pager->press);
    free(pager->desk);
    free(pager->stores);
    free(pager->regions);
    free(pager->nodes);
    free(pager);
}

/* The fault thread may still be bringing pages that nobody waits for. */
static int reset_node(struct pager_node *node, struct errctx *ec)
{
    LOCK_SCOPE(&node->serving);

    for (size_t i = 0; atomic_load(&node->registered) && i < node->n_regions; i++) {
        const struct backing *b = node->regions[i].backing;
        int r = uffd_unregister(node->uffd, b->host, b->len_bytes, ec);

        if (r < 0)
            return r;
    }
    atomic_store(&node->registered, false);
    atomic_store(&node->evicts, false);
    if (pager_open_all_lost(node, ec) < 0)
        return -EIO;
    for (size_t i = 0; i < node->n_regions; i++) {
        (void)madvise(node->regions[i].words, words_bytes(&node->regions[i]), MADV_DONTNEED);
        know_nothing(&node->regions[i]);
    }
    atomic_store(&node->n.away, 0);
    atomic_store(&node->n.away_zero, 0);
    node->expected = NULL;
    node->hand = 0;
    node->n_asked = 0;
    return 0;
}

int pager_reset(struct pager *pager, struct errctx *ec)
{
    for (size_t i = 0; i < pager->n_nodes; i++) {
        int r = reset_node(&pager->nodes[i], ec);

        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < pager->n_stores; i++)
        store_clear(pager->stores[i]);
    if (pager->params.swap != NULL)
        swap_clear(pager->params.swap);
    return 0;
}

/* --- counters --------------------------------------------------------------------------------- */

static uint64_t value(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

bool pager_count(struct pager *pager, struct vnode_id vnode, struct pager_counts *ret_counts)
{
    const struct pager_node *node = &pager->nodes[vnode.v];
    const struct pager_counters *n = &node->n;

    if (node->n_regions == 0)
        return false;
    *ret_counts = (struct pager_counts){
        .away_pages = value(&n->away),
        .away_zero_pages = value(&n->away_zero),
        .evicted_pages = value(&n->evicted),
        .cancelled_pages = value(&n->cancelled),
        .filled_pages = value(&n->filled),
        .dropped_pages = value(&n->dropped),
        .ahead_pages = value(&n->ahead),
        .faults = value(&n->faults),
        .first_touches = value(&n->first_touches),
        .taken_extents = value(&n->taken),
        .strange_pages = value(&n->strange),
        .lost_pages = value(&n->lost),
        .target_bytes = value(&node->target_bytes),
        .mended_extents = value(&n->mended),
        .evict_cpu_ns = value(&n->evict_cpu_ns),
        .mend_cpu_ns = value(&n->mend_cpu_ns),
        .look_cpu_ns = value(&n->look_cpu_ns),
        .pack_cpu_ns = value(&pager->pack_cpu_ns),
        .domain_cpu_ns = value(&pager->domain_cpu_ns),
        .samples = value(&n->samples),
        .protected_samples = value(&n->protected),
        .can_protect = node->can_protect,
        .rounds = value(&n->rounds),
        .regions = value(&n->regions),
        .hot_bytes = value(&n->hot),
        .warm_bytes = value(&n->warm),
        .cold_bytes = value(&n->cold),
    };
    for (size_t i = 0; i < PAGER_BUCKETS; i++)
        ret_counts->fault_ns[i] = value(&n->fault_ns[i]);
    store_count(pager_store(node), &ret_counts->store);
    return true;
}

uint64_t pager_fault_ns(const struct pager_counts *counts, unsigned permille)
{
    uint64_t all = 0, seen = 0;

    for (size_t i = 0; i < PAGER_BUCKETS; i++)
        all += counts->fault_ns[i];
    for (size_t i = 0; i < PAGER_BUCKETS; i++) {
        seen += counts->fault_ns[i];
        if (seen > 0 && seen * 1000 >= all * permille)
            return 2ull << i;
    }
    return 0;
}
