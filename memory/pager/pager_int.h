/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of memory/pager/ share. */
#ifndef MEMORY_PAGER_PAGER_INT_H
#define MEMORY_PAGER_PAGER_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "memory/pager/page_word.h"
#include "memory/pager/pager.h"
#include "memory/policy/heat.h"

enum {
    PAGER_PAGE = BACKING_PAGE,
    PAGER_EXTENT = BACKING_EXTENT,
    PAGER_EXTENT_PAGES = PAGER_EXTENT / PAGER_PAGE,
    PAGER_WINDOW = 8, /* extents that are armed together */
    EVICT_CHUNK = 16, /* pages that are copied at once: they stay in the nearest cache */
    FILL_CHUNK = 16,  /* pages that are brought back at once */
    LOOK_REGIONS = 200, /* of a node, that are taken to be alike in use */
};

enum { LOOK_HOT = HEAT_MAX / 2 }; /* from here on a region is not evicted by itself */

/* A backing and the words of its pages, in a range of its own that the kernel fills with zeroes
 * as it is touched. */
struct pager_region {
    const struct backing *backing;
    page_word *words;
    size_t n_pages;
    bool is_window; /* whose blocks are plugged in and out; at first none is in */
    bool is_rwp;    /* registered for protecting pages, too */
    bool wants_huge; /* pages that it may be made of, and that the kernel does not give by itself */
    _Atomic uint8_t *extents; /* enum pager_extent of each, of 2 MiB; the last may be shorter */
    size_t n_extents;
};

/* What is known of an extent; for deciding what pays, never for what is right. */
enum pager_extent {
    EXTENT_MEND = 1 << 0,  /* its pages came one by one: see whether they can be a huge page */
    EXTENT_WHOLE = 1 << 1, /* it was one huge page when last seen */
    EXTENT_ZAPPED = 1 << 2, /* taken out of the page table, or protected, to see who touches it:
                               nobody yet, as far as the fault thread was told */
    EXTENT_SEEN = 1 << 3,   /* touched since somebody asked */
    EXTENT_AWAY = 1 << 4,   /* nothing of it is there, as far as was seen */
    EXTENT_SPARED = 1 << 5, /* touched while it was being evicted, in this round of looks */
    EXTENT_REFUSED = 1 << 6, /* it could not be a huge page as it was touched first; until it is
                                mended */
};

struct pager_counters {
    _Atomic uint64_t away, away_zero, evicted, cancelled, filled, dropped, ahead, faults,
        first_touches, taken, strange, lost, mended, samples, protected, rounds, regions, hot, warm,
        cold, evict_cpu_ns, mend_cpu_ns, look_cpu_ns;
    _Atomic uint64_t fault_ns[PAGER_BUCKETS];
};

struct pager_node {
    struct pager *pager;
    struct vnode_id vnode;
    int uffd; /* -1: no memory */
    bool can_poison, can_protect; /* pages, through that */
    struct pager_region *regions; /* into pager.regions, n of them */
    size_t n_regions;
    struct store *first; /* shared with nodes that had the same home at the start */
    struct store *_Atomic own; /* for what goes since it moved away from these; NULL: it did not */
    _Atomic bool registered;
    _Atomic bool evicts; /* memory of it goes, or is soon to: what is in use is worth knowing */
    struct pager_counters n;
    _Atomic bool any_to_mend;
    _Atomic bool any_lost; /* since the start or a reset */
    page_word *_Atomic starved; /* held, and waits for the host's memory; mostly NULL */
    _Atomic bool reads_golden;  /* what is FILLING may wait for the golden file's disk */
    _Atomic uint64_t target_bytes; /* PAGER_NO_TARGET: none */

    /* the thread that evicts, or the one that moves memory while it is held */
    uint64_t own_bytes; /* of the node's share: its own store's limit */

    /* the thread that evicts */
    size_t hand;      /* extent to look at next, counted through all regions */
    size_t mend_hand; /* the same for mending */
    struct heat heat;
    uint64_t known_from; /* rounds of ->heat from which on it is known what is cold */
    struct pager_sample {
        size_t region;
        uint32_t extent;
    } asked[LOOK_REGIONS]; /* and not answered; n of them */
    size_t n_asked;
    uint32_t order[LOOK_REGIONS]; /* of regions, the coldest first */

    /* the fault thread, and a reset, which waits for the end of what it is at */
    pthread_mutex_t serving; /* taken before the store's lock; covers the rest */
    struct swap_port *port;  /* NULL: no swap */
    uint8_t page[FILL_CHUNK][PAGER_PAGE];
    const page_word *expected; /* where a fault would be that goes on in sequence */
    unsigned ahead;            /* pages to bring with it */
    uint64_t take_again_ns;    /* when the kernel may be asked for huge pages again */
};

/* For the thread that evicts. */
struct pager_desk {
    struct store_desk store;
    uint8_t pages[EVICT_CHUNK][PAGER_PAGE];
    unsigned char there[PAGER_EXTENT_PAGES];
};

/* Pages that are lost, where the kernel cannot poison them: nobody has access to them. */
struct pager_closed {
    pthread_mutex_t lock; /* a leaf; covers the rest and changes of access */
    size_t n;
    uint8_t *at[PAGER_CLOSED_MAX];
};

struct pager {
    struct pager_params params;
    struct pager_closed closed;
    struct pager_node *nodes; /* one per virtual node */
    size_t n_nodes;
    struct pager_region *regions;
    size_t n_regions;
    struct store **stores;
    size_t n_stores;
    struct pager_desk *desk;
    /* the thread that evicts */
    size_t mend_first, look_first; /* nodes to begin with */
    size_t pack_first;             /* store to begin with */
    struct store_press *press;
    struct swap_port *port; /* NULL: no swap */
    int pagemap;            /* as of residency_open() */
    int64_t budget_ns; /* CPU time that looking and packing may take now */
    uint64_t budget_then_ns, budget_spent_ns, aged_ns;
    _Atomic uint64_t pack_cpu_ns, domain_cpu_ns;
};

/* An extent of a region. */
struct pager_span {
    struct pager_node *node;
    const struct pager_region *region;
    size_t first, n; /* pages; n: up to PAGER_EXTENT_PAGES */
    size_t n_there, n_armed; /* the thread that evicts */
};

/* For guest memory (guest_mem_set_dma_ops()); its context is the pager. */
extern const struct guest_mem_dma_ops pager_lease_ops;

size_t pager_extents_in(const struct pager_node *node);

/** pager_span_at() - extent number @k of the node, counted through all its regions. */
struct pager_span pager_span_at(struct pager_node *node, size_t k);

static inline uint8_t *pager_span_address(const struct pager_span *s, size_t i)
{
    return s->region->backing->host + (s->first + i) * PAGER_PAGE;
}

static inline page_word *pager_span_word(const struct pager_span *s, size_t i)
{
    return &s->region->words[s->first + i];
}

static inline _Atomic uint8_t *pager_span_extent(const struct pager_span *s)
{
    return &s->region->extents[s->first / PAGER_EXTENT_PAGES];
}

/** pager_may_take_whole() - whether pager_take_whole() has a chance. The fault thread. */
bool pager_may_take_whole(const struct pager_span *s);

/** pager_take_whole() - all of @s, with zeroes where nothing was, as one huge page if one can be had
 *  now. The fault thread, which keeps page @at from going, and has brought it; wakes nobody. Return:
 *  whether all of it is there; if not more of it may be than was. */
bool pager_take_whole(const struct pager_span *s, size_t at);

uint64_t pager_cpu_ns(void);
uint64_t pager_now_ns(void);

/** pager_hurries() - is the thread that evicts waited for? */
static inline bool pager_hurries(const struct pager *p)
{
    return p->params.hurry != NULL && p->params.hurry(p->params.ctx);
}

/** pager_budget() - CPU time that pager_look(), pager_pack() and pager_domain() may take now, in
 *  ns. */
uint64_t pager_budget(struct pager *p, uint64_t now_ns);

/** pager_swap_some() - the store that @node's pages go to is full: have a part of it leave for
 *  the swap, until somebody waits for this thread. The thread that evicts. Return: whether any
 *  did. */
bool pager_swap_some(struct pager_node *node);

/** pager_wants_looks() - is what of the node is in use worth knowing now? */
bool pager_wants_looks(struct pager_node *node);

/* Extents that are armed together, before the first of them is copied. */
struct pager_window {
    struct pager_span span[PAGER_WINDOW];
    size_t n, armed_pages;
    bool whole; /* extents go as wholes or not at all */
};

/** pager_window_add() - arm one more extent of @node, at most @max pages of it. Room is the caller's
 *  to see. Return: 0 or an errno. */
int pager_window_add(struct pager_window *w, struct pager_node *node, size_t extent, size_t max,
                     struct errctx *ec);

/** pager_window_finish() - keep and punch what is still armed; @r: what adding returned, where it is
 *  an errno all is cancelled. @ret_n: grows by the pages that went. Return: 0 or an errno; -EINTR:
 *  again, later. */
int pager_window_finish(const struct pager_window *w, int r, struct pager_desk *desk,
                        size_t *ret_n, struct errctx *ec);

/** pager_knows_cold() - have the looks gone around often enough to say what is cold? */
bool pager_knows_cold(const struct pager_node *node);

/** pager_evict_coldest() - a window of the coldest extents that are there, were not touched just now
 *  and are not hot. Return: as pager_window_finish(). */
int pager_evict_coldest(struct pager_node *node, uint64_t want_pages, size_t *ret_n,
                        struct errctx *ec);

/** pager_trim() - give back memory that the node's stores do not need any more. */
void pager_trim(const struct pager_node *node);

/** pager_begin() - memory of the node is to go: from now on its faults come to its fault thread, if
 *  they do not yet. The thread that evicts. Return: 0 or the errno of uffd_register(). */
int pager_begin(struct pager_node *node, struct errctx *ec);

/** pager_watch() - the same for a part of a region of it. */
int pager_watch(const struct pager_node *node, const struct pager_region *region, uint8_t *at,
                size_t len, struct errctx *ec);

/* The objects of a node are those of two stores: a bit of the number tells them apart. */
enum { PAGER_OBJECTS_MAX = 0x7ffffff0 };
#define PAGER_OBJECT_OWN 0x80000000u

/* The store that pages go to. */
static inline struct store *pager_store(const struct pager_node *node)
{
    struct store *own = atomic_load(&node->own);

    return own != NULL ? own : node->first;
}

static inline int pager_put(const struct pager_node *node, struct store_desk *desk,
                            const void *page, uint32_t *ret_object)
{
    struct store *own = atomic_load(&node->own);
    int r = store_put(own != NULL ? own : node->first, desk, page, ret_object);

    if (r == 0 && own != NULL && *ret_object != STORE_ZERO)
        *ret_object |= PAGER_OBJECT_OWN;
    return r;
}

/* By the node's fault thread. */
static inline int pager_get(struct pager_node *node, uint32_t object, void *page)
{
    int r;

    atomic_store(&node->reads_golden, node->pager->params.golden != NULL);
    r = store_get((object & PAGER_OBJECT_OWN) != 0 ? atomic_load(&node->own) : node->first,
                  node->port, object & ~PAGER_OBJECT_OWN, page);
    atomic_store(&node->reads_golden, false);
    return r;
}

static inline void pager_drop(const struct pager_node *node, uint32_t object)
{
    store_drop((object & PAGER_OBJECT_OWN) != 0 ? atomic_load(&node->own) : node->first,
               object & ~PAGER_OBJECT_OWN);
}

/* As pager_drop(); the page may go again as it is. */
static inline void pager_leave(const struct pager_node *node, uint32_t object)
{
    store_leave((object & PAGER_OBJECT_OWN) != 0 ? atomic_load(&node->own) : node->first,
                object & ~PAGER_OBJECT_OWN);
}

static inline void pager_add(_Atomic uint64_t *counter, uint64_t n)
{
    (void)atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline void pager_sub(_Atomic uint64_t *counter, uint64_t n)
{
    (void)atomic_fetch_sub_explicit(counter, n, memory_order_relaxed);
}

/* pager_lost.c; @error: why it was lost, a positive errno of store_get(). */

/** pager_lost_how() - the end of a sentence that begins with the page. */
const char *pager_lost_how(int error);
/** pager_lost_why() - that sentence. */
void pager_lost_why(const struct pager_node *node, const struct pager_region *region, size_t page,
                    int error, char *why, size_t size);

/** pager_shut() - accesses to the page at @at, which is lost, fail from now on; then wake who
 *  waits. The fault thread. Return: false: that cannot be had. */
bool pager_shut(struct pager_node *node, uint8_t *at);

/** pager_open_lost() - what pager_shut() did is undone: the page's word is another one. Waits for
 *  what the fault thread is at. @is_out: its block was plugged out, whose mapping stays closed. */
void pager_open_lost(struct pager_node *node, uint8_t *at, bool is_out);

/** pager_open_all_lost() - of the node, before its memory is given up. While nobody touches it,
 *  with ->serving. Return: 0 or the errno of mprotect or madvise. */
int pager_open_all_lost(struct pager_node *node, struct errctx *ec);

/** pager_pages() - of all memory of a node. */
uint64_t pager_pages(const struct pager_node *node);

/** pager_share() - of what all stores may take, that of @pages pages; 0: nobody set a limit. */
uint64_t pager_share(const struct pager *p, uint64_t pages);

/** pager_claim() - a node that has a store of its own: as much of the node's share as the other
 *  one does not hold any more becomes its own. Who evicts, or moves what was. Return: whether
 *  that was anything. */
bool pager_claim(struct pager_node *node);

/** pager_make_store() - for @pages pages. One for each node at the start, and one more, later,
 *  at most. */
int pager_make_store(struct pager *p, uint64_t pages, const struct idset *home,
                     struct store **ret_store, struct errctx *ec);

#endif
