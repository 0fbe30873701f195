/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of memory/pager/ share. */
#ifndef MEMORY_PAGER_PAGER_INT_H
#define MEMORY_PAGER_PAGER_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "memory/pager/page_word.h"
#include "memory/pager/pager.h"

enum {
    PAGER_PAGE = BACKING_PAGE,
    PAGER_EXTENT = BACKING_EXTENT,
    PAGER_EXTENT_PAGES = PAGER_EXTENT / PAGER_PAGE,
    EVICT_CHUNK = 16, /* pages that are copied at once: they stay in the nearest cache */
};

/* A backing and the words of its pages, in a range of its own that the kernel fills with zeroes as it
 * is touched. */
struct pager_region {
    const struct backing *backing;
    page_word *words;
    size_t n_pages;
};

struct pager_counters {
    _Atomic uint64_t away, away_zero, evicted, cancelled, filled, ahead, faults, first_touches,
        strange, lost, evict_cpu_ns;
    _Atomic uint64_t fault_ns[PAGER_BUCKETS];
};

struct pager_node {
    struct pager *pager;
    struct vnode_id vnode;
    int uffd; /* -1: no memory */
    struct pager_region *regions; /* into pager.regions, n of them */
    size_t n_regions;
    struct store *store; /* shared with nodes of the same home */
    _Atomic bool registered;
    struct pager_counters n;

    /* the thread that evicts */
    size_t hand; /* extent to look at next, counted through all regions */

    /* the fault thread, and a reset, which waits for the end of what it is at */
    pthread_mutex_t serving; /* taken before the store's lock; covers the rest */
    uint8_t page[PAGER_PAGE];
    const page_word *expected; /* where a fault would be that goes on in sequence */
    unsigned ahead;            /* pages to bring with it */
};

/* For the thread that evicts. */
struct pager_desk {
    struct store_desk store;
    uint8_t pages[EVICT_CHUNK][PAGER_PAGE];
    unsigned char there[PAGER_EXTENT_PAGES];
};

struct pager {
    struct pager_params params;
    struct pager_node *nodes; /* one per virtual node */
    size_t n_nodes;
    struct pager_region *regions;
    size_t n_regions;
    struct store **stores;
    size_t n_stores;
    struct pager_desk *desk;
};

static inline void pager_add(_Atomic uint64_t *counter, uint64_t n)
{
    (void)atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline void pager_sub(_Atomic uint64_t *counter, uint64_t n)
{
    (void)atomic_fetch_sub_explicit(counter, n, memory_order_relaxed);
}

#endif
