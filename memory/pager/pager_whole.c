/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extents of 2 MiB as wholes: huge pages, again.
 *
 * What is brought back comes by pages of 4 KiB, and so does what the guest touches while it is
 * being evicted, and on most hosts what it touches for the first time. MADV_COLLAPSE (Linux 6.1)
 * makes a huge page of an extent's 512 pages, in the guest's mapping, where it maps it, too: if it is
 * one already that costs no more than a fault. It maps all of the extent, so all of its pages are pinned meanwhile: none is armed, and all are
 * RESIDENT, also those that were never touched, where the kernel's zeroes are right. Linux 6.1
 * fills holes with zeroes even where it then refuses.
 *
 * Memory that can be protected (pager_look.c) the kernel refuses whether it is or not: it is not
 * registered meanwhile. Who touches it then is served by the kernel, as is right for pages that are
 * RESIDENT.
 */
#include <sys/mman.h>
#include <time.h>

#include "memory/page_table.h"
#include "memory/pager/pager_int.h"
#include "memory/pager/uffd.h"
#include "vmm/base/macros.h"

enum { /* how long to try to have an extent's faults again */
    WATCH_TRIES = 1000,
    WATCH_NS = 10 * 1000 * 1000,
};

enum { /* a host that has to look for huge pages, or whose CPUs do not answer, is not asked by who
          serves faults for some time: as often as it took */
    TAKE_SLOW_NS = 100 * 1000 * 1000,
    TAKE_REST = 10,
};

size_t pager_extents_in(const struct pager_node *node)
{
    size_t n = 0;

    for (size_t i = 0; i < node->n_regions; i++)
        n += node->regions[i].n_extents;
    return n;
}

struct pager_span pager_span_at(struct pager_node *node, size_t k)
{
    const struct pager_region *r = node->regions;

    for (; k >= r->n_extents; r++)
        k -= r->n_extents;
    return (struct pager_span){
        .node = node, .region = r, .first = k * PAGER_EXTENT_PAGES,
        .n = MIN((size_t)PAGER_EXTENT_PAGES, r->n_pages - k * PAGER_EXTENT_PAGES),
    };
}

static uint64_t read_clock(clockid_t clock)
{
    struct timespec t = { 0 };

    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t pager_cpu_ns(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t pager_now_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

static bool can_be_whole(const struct pager_span *s)
{
    return s->n == PAGER_EXTENT_PAGES && s->region->backing->plan->pages != GUEST_PAGES_4K &&
           (uintptr_t)pager_span_address(s, 0) % PAGER_EXTENT == 0;
}

/* Until that can be had the pages cannot be let go: what is away would read as zeroes. */
static void watch_again(const struct pager_span *s)
{
    const struct timespec pause = { .tv_nsec = WATCH_NS };

    for (unsigned i = 0; i < WATCH_TRIES; i++) {
        if (pager_watch(s->node, s->region, pager_span_address(s, 0), PAGER_EXTENT, NULL) == 0)
            return;
        (void)nanosleep(&pause, NULL);
    }
    s->node->pager->params.lost(s->node->pager->params.ctx, s->node->vnode,
                                "its memory cannot be watched for faults any more");
}

/* All of its pages are pinned. */
static bool collapse(const struct pager_span *s)
{
    uint8_t *const at = pager_span_address(s, 0);
    bool is;

    if (!s->region->is_rwp)
        return page_table_collapse(at, PAGER_EXTENT) == 0;
    if (uffd_unregister(s->node->uffd, at, PAGER_EXTENT, NULL) < 0)
        return false;
    is = page_table_collapse(at, PAGER_EXTENT) == 0;
    watch_again(s);
    return is;
}

/*
 * One huge page of @s, mapped as that. Its pages are taken out of the page table first, with one
 * flush of remote TLBs: the kernel would do so one by one. Return: whether it is one now.
 */
static bool make_whole(const struct pager_span *s)
{
    uint8_t *const at = pager_span_address(s, 0);
    size_t n = 0;
    bool is = false, is_asked; /* and not touched: that is to be found out still */

    while (n < s->n && page_pin(pager_span_word(s, n)))
        n++;
    if (n == s->n) {
        const uint8_t known = atomic_load(pager_span_extent(s));

        is_asked = s->region->is_rwp && (known & (EXTENT_ZAPPED | EXTENT_SEEN)) == EXTENT_ZAPPED;
        if ((known & EXTENT_WHOLE) == 0)
            (void)madvise(at, PAGER_EXTENT, MADV_DONTNEED);
        is = collapse(s);
        atomic_fetch_and(pager_span_extent(s), (uint8_t)~(EXTENT_WHOLE | EXTENT_ZAPPED));
        atomic_fetch_or(pager_span_extent(s), (is ? EXTENT_WHOLE : 0) |
                                                  (is && !is_asked ? 0 : EXTENT_ZAPPED));
        if (is && is_asked)
            (void)madvise(at, PAGER_EXTENT, MADV_DONTNEED);
    }
    while (n > 0)
        page_unlease(pager_span_word(s, --n));
    if (is) /* the kernel wakes nobody */
        uffd_wake(s->node->uffd, at, PAGER_EXTENT);
    return is;
}

bool pager_may_take_whole(const struct pager_span *s)
{
    return s->region->wants_huge && can_be_whole(s) &&
           (atomic_load(pager_span_extent(s)) & EXTENT_REFUSED) == 0;
}

/* All pages of @s but @at, which its thread has. */
static void unpin(const struct pager_span *s, size_t n, size_t at)
{
    while (n-- > 0)
        if (n != at)
            page_unlease(pager_span_word(s, n));
}

/* Return: whether there was no hole left of @s. */
static bool fill_holes(const struct pager_span *s)
{
    unsigned char there[PAGER_EXTENT_PAGES];

    if (mincore(pager_span_address(s, 0), PAGER_EXTENT, there) < 0)
        return false;
    for (size_t i = 0, end; i < s->n; i = end + 1) {
        for (end = i; end < s->n && (there[end] & 1) == 0; end++)
            ;
        if (end > i && uffd_zero_quietly(s->node->uffd, pager_span_address(s, i),
                                         (end - i) * PAGER_PAGE) < 0)
            return false;
    }
    return true;
}

/* The kernel makes no huge page with holes whose faults are somebody's, hence after fill_holes().
 * Out of the page table with all of it at once, as in make_whole(). Return: whether it is one. */
static bool collapse_new(const struct pager_span *s)
{
    uint8_t *const start = pager_span_address(s, 0);
    const uint64_t begin = pager_now_ns();
    uint64_t took;
    bool is;

    if (s->region->is_rwp || begin < s->node->take_again_ns)
        return false;
    is = madvise(start, PAGER_EXTENT, MADV_DONTNEED) == 0 &&
         page_table_collapse(start, PAGER_EXTENT) == 0;
    took = pager_now_ns() - begin;
    if (took >= TAKE_SLOW_NS)
        s->node->take_again_ns = begin + took * (1 + TAKE_REST);
    return is;
}

bool pager_take_whole(const struct pager_span *s, size_t at)
{
    _Atomic uint8_t *known = pager_span_extent(s);
    size_t n = 0;
    bool is_full, is;

    while (n < s->n && (n == at || page_pin(pager_span_word(s, n))))
        n++;
    is_full = n == s->n && fill_holes(s);
    is = is_full && collapse_new(s);
    unpin(s, n, at);
    if (is) {
        atomic_fetch_and(known, (uint8_t)~(EXTENT_MEND | EXTENT_ZAPPED));
        atomic_fetch_or(known, EXTENT_WHOLE);
        pager_add(&s->node->n.taken, 1);
    } else {
        atomic_fetch_or(known, EXTENT_REFUSED);
    }
    return is_full;
}

/* All 512 in the file, as far as one look tells: cheaper than a refusal. */
static bool is_complete(const struct pager_span *s, unsigned char *there)
{
    if (!can_be_whole(s) || mincore(pager_span_address(s, 0), PAGER_EXTENT, there) < 0)
        return false;
    for (size_t i = 0; i < PAGER_EXTENT_PAGES; i++)
        if ((there[i] & 1) == 0)
            return false;
    return true;
}

/* Once around the node at most. Return: whether time ran out first. */
static bool mend_node(struct pager_node *node, uint64_t until_cpu_ns)
{
    const size_t n = pager_extents_in(node);

    if (!atomic_exchange(&node->any_to_mend, false))
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct pager_span s = pager_span_at(node, node->mend_hand);

        node->mend_hand = (node->mend_hand + 1) % n;
        if ((atomic_load_explicit(pager_span_extent(&s), memory_order_relaxed) & EXTENT_MEND) == 0)
            continue;
        /* the next fault says it anew */
        atomic_fetch_and(pager_span_extent(&s), (uint8_t)~(EXTENT_MEND | EXTENT_REFUSED));
        if (is_complete(&s, node->pager->desk->there) && make_whole(&s))
            pager_add(&node->n.mended, 1);
        if (pager_cpu_ns() >= until_cpu_ns) {
            atomic_store(&node->any_to_mend, true);
            return true;
        }
    }
    return false;
}

bool pager_mend(struct pager *pager, uint64_t cpu_ns)
{
    const uint64_t until = pager_cpu_ns() + cpu_ns;
    bool more = false;

    for (size_t i = 0; i < pager->n_nodes && !more; i++) {
        struct pager_node *node = &pager->nodes[(pager->mend_first + i) % pager->n_nodes];
        const uint64_t begin = pager_cpu_ns();

        if (!atomic_load(&node->registered))
            continue;
        more = mend_node(node, until);
        pager_add(&node->n.mend_cpu_ns, pager_cpu_ns() - begin);
    }
    pager->mend_first = (pager->mend_first + 1) % pager->n_nodes;
    return more;
}
