/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fault thread of a virtual node: the page's word decides what to do, never the kind of fault.
 *
 * A hole that somebody else filled with zeroes (another mapping of the file that was read, an old
 * kernel's huge pages) makes a fault a minor one, and a copy fail with EEXIST: what the store has
 * is then written into the file and mapped. What the store lost is kept from everybody by
 * pager_lost.c. Nothing here allocates.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "memory/pager/pager_int.h"
#include "memory/pager/uffd.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/prefault.h"

enum {
    AHEAD_FIRST = 4,
    AHEAD_MAX = PAGER_EXTENT_PAGES,
    MAP_RUN = 64, /* pages that are mapped at once; a hole among them costs the rest a fault each */
    /* How long a fill tries to get a page from the host. */
    TRIES = 1000,
    TRY_NS = 10 * 1000 * 1000,
    STACK_BYTES = 64 * 1024,
    AHEAD_NS = 10 * 1000 * 1000, /* of reading ahead from a disk: who faults next waits for it */
};

/* A page of a region. */
struct spot {
    struct pager_node *node;
    const struct pager_region *region;
    size_t page;
};

static uint8_t *address(const struct spot *s)
{
    return s->region->backing->host + s->page * PAGER_PAGE;
}

static page_word *word_of(const struct spot *s)
{
    return &s->region->words[s->page];
}

static void tell_no_memory(struct pager_node *node)
{
    pager_add(&node->n.lost, 1);
    node->pager->params.lost(node->pager->params.ctx, node->vnode,
                             "the host has no memory for a page");
}

/* A page that is lost: let nobody have it. Where that cannot be done the machine ends, and the page
 * is zero for who waits for it and does not enter the guest any more. */
static void keep_lost(const struct spot *s)
{
    struct pager_node *node = s->node;

    if (!pager_shut(node, address(s))) {
        node->pager->params.lost(node->pager->params.ctx, node->vnode,
                                 "a page that is lost cannot be closed");
        if (uffd_zero(node->uffd, address(s), PAGER_PAGE) == -EEXIST)
            (void)uffd_continue(node->uffd, address(s), PAGER_PAGE);
    }
    uffd_wake(node->uffd, address(s), PAGER_PAGE);
}

/* Wait for the host to have a page again. Return: false when it takes too long. */
static bool wait_for_memory(unsigned *n_tries)
{
    const struct timespec pause = { .tv_nsec = TRY_NS };

    if (++*n_tries > TRIES)
        return false;
    (void)nanosleep(&pause, NULL);
    return true;
}

static struct pager_span extent_of(const struct spot *s)
{
    const size_t first = s->page - s->page % PAGER_EXTENT_PAGES;

    return (struct pager_span){
        .node = s->node, .region = s->region, .first = first,
        .n = MIN((size_t)PAGER_EXTENT_PAGES, s->region->n_pages - first),
    };
}

/* --- never touched ---------------------------------------------------------------------------- */

/* Keep the pages behind @s from being evicted, as far as they are the file's. Return: how many, @s,
 * which is kept already, among them. */
static size_t pin(const struct spot *s, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (!page_pin(&s->region->words[s->page + i]))
            return i;
    return n;
}

/*
 * The file has no page here and never had one. A guest that takes new memory takes more: the rest
 * of the extent comes with it, as far as it is new, too, up to what was given back for long. Zeroes
 * in the hole of a page that is away would be wrong, so each is looked at, and kept from going
 * while the kernel is at it. @skip: 1: but @s.
 */
static int bring_new(const struct spot *s, size_t skip)
{
    const size_t in_extent =
        PAGER_EXTENT_PAGES - (uintptr_t)address(s) / PAGER_PAGE % PAGER_EXTENT_PAGES;
    const size_t n = pin(s, MIN(in_extent, s->region->n_pages - s->page));
    int r = n > skip ? uffd_zero(s->node->uffd, address(s) + skip * PAGER_PAGE,
                                 (n - skip) * PAGER_PAGE)
                     : 0;

    for (size_t i = 1; i < n; i++)
        page_unlease(&s->region->words[s->page + i]);
    return r;
}

/* Where the kernel gives no huge pages by itself the extent becomes one, if it can, before the guest
 * goes on: KVM maps it as one then, too. */
static int first_touch(const struct spot *s)
{
    const struct pager_span extent = extent_of(s);
    int r;

    if (!pager_may_take_whole(&extent)) {
        r = bring_new(s, 0);
    } else {
        r = uffd_zero_quietly(s->node->uffd, address(s), PAGER_PAGE);
        if (r == 0 && !pager_take_whole(&extent, s->page - extent.first))
            (void)bring_new(s, 1);
        uffd_wake(s->node->uffd, pager_span_address(&extent, 0), extent.n * PAGER_PAGE);
    }
    if (r == 0)
        pager_add(&s->node->n.first_touches, 1);
    return r;
}

/* --- mapping and filling ---------------------------------------------------------------------- */

/* Have it looked at whether its extent can be a huge page. */
static void want_mending(const struct spot *s)
{
    const struct pager_span extent = extent_of(s);
    _Atomic uint8_t *known = pager_span_extent(&extent);

    if ((atomic_load_explicit(known, memory_order_relaxed) & EXTENT_MEND) != 0)
        return;
    atomic_fetch_or(known, EXTENT_MEND);
    atomic_store(&s->node->any_to_mend, true);
}

/* Pages of the extent from @first on, up to @max, that are not on their way out. Return: how
 * many. */
static size_t map_run(const struct pager_span *extent, size_t first, size_t max)
{
    size_t n = 0;

    while (n < max && page_pin(pager_span_word(extent, first + n)))
        n++;
    if (n > 0)
        (void)uffd_continue(extent->node->uffd, pager_span_address(extent, first), n * PAGER_PAGE);
    for (size_t i = 0; i < n; i++)
        page_unlease(pager_span_word(extent, first + i));
    return n;
}

/* The extent was taken out of the page table, to see who faults in it, or in order to evict it.
 * All that is there comes back, or each page would cost a fault. (MADV_COLLAPSE would map a huge
 * page as one, but waits for all CPUs of the host before it begins: that is left to
 * pager_mend().) */
static void put_back(const struct spot *s)
{
    const struct pager_span extent = extent_of(s);
    const size_t at = s->page - extent.first;
    const uint64_t begin = pager_cpu_ns();

    for (size_t i = 0, n; i < extent.n; i += MAX(n, (size_t)1)) {
        const size_t end = i <= at ? at : extent.n; /* @s itself is mapped already */

        n = map_run(&extent, i, MIN((size_t)MAP_RUN, end - i));
    }
    pager_add(&s->node->n.look_cpu_ns, pager_cpu_ns() - begin);
}

/* Return: whether the extent has to be put back. */
static bool was_touched(const struct spot *s)
{
    const struct pager_span extent = extent_of(s);
    _Atomic uint8_t *known = pager_span_extent(&extent);
    const uint8_t was = atomic_load(known);

    if ((was & (EXTENT_SEEN | EXTENT_AWAY | EXTENT_ZAPPED)) != EXTENT_SEEN) {
        atomic_fetch_or(known, EXTENT_SEEN);
        atomic_fetch_and(known, (uint8_t)~(EXTENT_AWAY | EXTENT_ZAPPED));
    }
    return (was & (EXTENT_ZAPPED | EXTENT_WHOLE)) != 0;
}

/* What the file has. */
static void map_page(const struct spot *s)
{
    unsigned n_tries = 0;
    int r;

    want_mending(s);
    do {
        r = uffd_continue(s->node->uffd, address(s), PAGER_PAGE);
        if (r == -EFAULT)
            r = first_touch(s); /* EEXIST: it came meanwhile; the next fault maps it */
        atomic_store(&s->node->starved, r == -ENOMEM ? word_of(s) : NULL);
    } while (r == -ENOMEM && wait_for_memory(&n_tries));
    atomic_store(&s->node->starved, NULL);
    if (r == -ENOMEM)
        tell_no_memory(s->node);
    if (r < 0)
        uffd_wake(s->node->uffd, address(s), PAGER_PAGE);
}

/* The node's page buffer into the hole. */
static int put_page(const struct spot *s)
{
    const struct backing *b = s->region->backing;
    int r = uffd_copy(s->node->uffd, address(s), s->node->page[0]);
    ssize_t put;

    if (r != -EEXIST)
        return r;
    pager_add(&s->node->n.strange, 1);
    put = pwrite(b->memfd, s->node->page[0], PAGER_PAGE, backing_file_at(b, s->page * PAGER_PAGE));
    if (put != PAGER_PAGE)
        return put < 0 && errno == ENOMEM ? -ENOMEM : -EIO;
    r = uffd_continue(s->node->uffd, address(s), PAGER_PAGE);
    if (r == -EEXIST) {
        uffd_wake(s->node->uffd, address(s), PAGER_PAGE);
        r = 0;
    }
    return r;
}

/*
 * The copy of a page that is FILLING, by us, into the node's buffer. Return: false: there is none,
 * and who touches the page is told so; where that cannot be done the machine ends, and the buffer
 * has zeroes.
 */
static bool get_page(const struct spot *s, uint32_t object)
{
    struct pager_node *node = s->node;
    const int r = pager_get(node, object, node->page[0]);
    char why[160];

    if (r == 0)
        return true;
    pager_add(&node->n.lost, 1);
    if (!pager_shut(node, address(s))) {
        pager_lost_why(node, s->region, s->page, -r, why, sizeof(why));
        node->pager->params.lost(node->pager->params.ctx, node->vnode, why);
        memset(node->page[0], 0, PAGER_PAGE);
        return true;
    }
    atomic_store(&node->any_lost, true);
    page_lose(word_of(s), (uint32_t)-r);
    pager_drop(node, object);
    pager_sub(&node->n.away, 1);
    uffd_wake(node->uffd, address(s), PAGER_PAGE);
    return false;
}

/* @is_read: it may stay as its copy is, and go like that again. */
static void is_back(const struct spot *s, uint32_t object, bool is_read)
{
    struct pager_node *node = s->node;

    page_filled(word_of(s));
    if (is_read)
        pager_leave(node, object);
    else
        pager_drop(node, object);
    pager_add(&node->n.filled, 1);
    pager_sub(&node->n.away, 1);
    if (object == STORE_ZERO)
        pager_sub(&node->n.away_zero, 1);
}

/* The page is FILLING, by us. Return: false when it could not be had. */
static bool fill_page(const struct spot *s, uint32_t object, bool is_write)
{
    struct pager_node *node = s->node;
    unsigned n_tries = 0;
    int r;

    if (!get_page(s, object))
        return false;
    while ((r = put_page(s)) == -ENOMEM) {
        atomic_store(&node->starved, word_of(s));
        if (!wait_for_memory(&n_tries))
            break;
    }
    atomic_store(&node->starved, NULL);
    if (r < 0) {
        tell_no_memory(node);
        page_unfetch(word_of(s));
        uffd_wake(node->uffd, address(s), PAGER_PAGE);
        return false;
    }
    is_back(s, object, !is_write);
    return true;
}

/* Is it time to serve others? */
static bool is_late(const struct pager_node *node, uint64_t begin_ns)
{
    return (node->port != NULL || node->pager->params.golden != NULL) &&
           pager_now_ns() - begin_ns > AHEAD_NS;
}

/*
 * Bring back what is EMPTY from @s on, up to @max pages and FILL_CHUNK, before anybody asked:
 * written into the file at once and mapped at once. Return: how many.
 */
static size_t fill_chunk(const struct spot *s, size_t max, uint64_t begin_ns)
{
    struct pager_node *node = s->node;
    uint32_t object[FILL_CHUNK];
    struct spot at = *s;
    size_t n = 0, n_put;
    ssize_t put;

    for (; n < MIN(max, (size_t)FILL_CHUNK) && !is_late(node, begin_ns); n++, at.page++) {
        object[n] = page_fetch(word_of(&at));
        if (object[n] == 0)
            break;
        if (pager_get(node, object[n], node->page[n]) < 0) { /* told when somebody asks for it */
            page_unfetch(word_of(&at));
            uffd_wake(node->uffd, address(&at), PAGER_PAGE);
            break;
        }
    }
    if (n == 0)
        return 0;
    put = pwrite(s->region->backing->memfd, node->page, n * PAGER_PAGE,
                 backing_file_at(s->region->backing, s->page * PAGER_PAGE));
    n_put = put > 0 ? (size_t)put / PAGER_PAGE : 0;
    /* Before they can be armed. Where it fails each costs one fault more. */
    if (n_put > 0)
        (void)uffd_continue(node->uffd, address(s), n_put * PAGER_PAGE);
    at.page = s->page;
    for (size_t i = 0; i < n; i++, at.page++) {
        if (i < n_put)
            is_back(&at, object[i], true);
        else
            page_unfetch(word_of(&at)); /* no memory now: it comes when it is asked for */
    }
    uffd_wake(node->uffd, address(s), n * PAGER_PAGE);
    at.page = s->page + n - 1; /* some of it is mapped: to be asked about anew */
    (void)was_touched(s);
    (void)was_touched(&at);
    return n_put;
}

/* Who reads in sequence gets more and more of what comes next, at last all of an extent. */
static void fill_ahead(const struct spot *s)
{
    struct pager_node *node = s->node;
    const uint64_t begin = pager_now_ns();
    struct spot next = *s;
    size_t left, n;

    node->ahead = node->expected != word_of(s) ? 0
                  : node->ahead == 0           ? AHEAD_FIRST
                                               : MIN(2 * node->ahead, (unsigned)AHEAD_MAX);
    next.page++;
    left = MIN((size_t)node->ahead, s->region->n_pages - next.page);
    if (node->ahead == AHEAD_MAX) /* and not a few pages of the one behind it */
        left = MIN(left, PAGER_EXTENT_PAGES - s->page % PAGER_EXTENT_PAGES - 1);
    for (; left > 0; left -= n, next.page += n) {
        n = fill_chunk(&next, left, begin);
        if (n == 0)
            break;
        pager_add(&node->n.ahead, n);
    }
    node->expected = word_of(&next);
}

static void serve(const struct spot *s, bool is_write)
{
    const bool was_zapped = was_touched(s);
    uint32_t object;

    switch (page_touch(word_of(s), &object)) {
    case PAGE_TOUCH_MAP:
        map_page(s);
        page_touched(word_of(s));
        pager_drop(s->node, object);
        if (was_zapped)
            put_back(s);
        return;
    case PAGE_TOUCH_FILL:
        want_mending(s);
        if (fill_page(s, object, is_write))
            fill_ahead(s);
        if (was_zapped)
            put_back(s);
        return;
    case PAGE_TOUCH_WAIT:
        return; /* who makes the hole wakes, and the next fault finds it */
    case PAGE_TOUCH_LOST: /* it was unmapped since */
        keep_lost(s);
        return;
    case PAGE_TOUCH_NONE: /* it was plugged out since: this access fails now */
        uffd_wake(s->node->uffd, address(s), PAGER_PAGE);
        return;
    }
}

static void serve_fault(struct pager_node *node, const struct uffd_fault *fault)
{
    const uint64_t addr = fault->addr;
    const uint64_t begin = pager_now_ns();
    uint64_t took;
    unsigned bucket = 0;

    for (size_t i = 0; i < node->n_regions; i++) {
        const struct pager_region *r = &node->regions[i];
        const uint64_t start = (uintptr_t)r->backing->host;

        if (addr < start || addr - start >= r->backing->len_bytes)
            continue;
        serve(&(struct spot){ node, r, (size_t)(addr - start) / PAGER_PAGE }, fault->is_write);
    }
    took = pager_now_ns() - begin;
    while (bucket + 1 < PAGER_BUCKETS && took >= 2ull << bucket)
        bucket++;
    pager_add(&node->n.fault_ns[bucket], 1);
    pager_add(&node->n.faults, 1);
}

/* What there is now. */
static void serve_batch(struct pager_node *node)
{
    struct uffd_fault fault[UFFD_BATCH];
    LOCK_SCOPE(&node->serving);
    const size_t n = uffd_read(node->uffd, fault);

    for (size_t i = 0; i < n; i++)
        serve_fault(node, &fault[i]);
}

/* What is below the caller's frame: deeper than any fault's answer goes. */
static __attribute__((noinline)) void touch_stack(void)
{
    volatile uint8_t room[STACK_BYTES];

    for (size_t i = 0; i < sizeof(room); i += PREFAULT_PAGE / 2)
        room[i] = 0;
}

/* A host without memory need not give this thread any to answer a fault. */
static void get_ready(struct pager_node *node)
{
    LOCK_SCOPE(&node->serving);

    touch_stack();
    prefault(node->page, sizeof(node->page));
}

void pager_serve(struct pager *pager, struct vnode_id vnode, int quit_fd)
{
    struct pager_node *node = &pager->nodes[vnode.v];
    struct pollfd fds[2] = { { .fd = node->uffd, .events = POLLIN },
                             { .fd = quit_fd, .events = POLLIN } };

    if (node->n_regions == 0)
        return;
    get_ready(node);
    while ((fds[1].revents & POLLIN) == 0) {
        serve_batch(node);
        (void)poll(fds, 2, -1);
    }
}
