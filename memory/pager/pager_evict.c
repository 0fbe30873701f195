/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking memory away, extent by extent of 2 MiB.
 *
 * Some extents ahead are armed: taken out of the page table with one call each, which is one flush
 * of remote TLBs. Until it is their turn the guest has time to touch what it uses; that cancels.
 * Then pages are copied, sixteen at a time, by reading the memory file: a mapping of our own would
 * have to be flushed at each hole, on all CPUs that the guest runs on. What went into the store and
 * was not touched is punched in runs, all of an extent at once where all of it goes, because a hole
 * in the middle of a huge page makes the kernel take it apart.
 *
 * A page that is copied cannot change unseen: it is in no page table, and whoever maps it again
 * goes through the fault thread, which says so in the page's word first.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory/pager/pager_int.h"
#include "memory/pager/uffd.h"
#include "vmm/base/macros.h"

enum {
    ROOM_TRIES = 64, /* to find room for a page */
};

static void cancel(const struct pager_span *s, size_t i)
{
    pager_drop(s->node, page_cancel(pager_span_word(s, i)));
}

static bool is_armed(const struct pager_span *s, size_t i)
{
    return page_state(atomic_load_explicit(pager_span_word(s, i), memory_order_acquire)) ==
           PAGE_ARMED;
}

/* Arm at most @max pages of what the file has. */
static int arm(struct pager_span *s, size_t max, struct pager_desk *desk, struct errctx *ec)
{
    /* Before it is so: the next fault finds it. */
    atomic_fetch_or(pager_span_extent(s), EXTENT_AWAY);
    if (mincore(pager_span_address(s, 0), s->n * PAGER_PAGE, desk->there) < 0)
        return errctx_set_os(ec, errno, "mincore");
    for (size_t i = 0; i < s->n; i++) {
        s->n_there += desk->there[i] & 1;
        if ((desk->there[i] & 1) != 0 && s->n_armed < max && page_arm(pager_span_word(s, i)))
            s->n_armed++;
    }
    if (s->n_armed > 0 && madvise(pager_span_address(s, 0), s->n * PAGER_PAGE, MADV_DONTNEED) < 0)
        return errctx_set_os(ec, errno, "take %zu pages out of the page table", s->n);
    return 0;
}

/* What came back since, and what was packed, may have left room, spare copies make way, and what
 * has been there for longest goes to the swap, where there is one. */
static bool make_room(struct pager_node *node)
{
    return pager_claim(node) || store_make_room(pager_store(node)) ||
           (!pager_hurries(node->pager) && pager_swap_some(node));
}

/* Return: 0; -ENOSPC; -EINTR: there may be room in the swap, or the page in the golden file, but
 * somebody waits for this thread, who should not wait for a disk. */
static int put(struct pager_node *node, const uint8_t *page, struct pager_desk *desk,
               uint32_t *ret_object)
{
    int r = -EINTR;

    if (node->pager->params.golden == NULL || !pager_hurries(node->pager))
        r = pager_put(node, &desk->store, page, ret_object);
    for (unsigned n = 0; r == -ENOSPC && n < ROOM_TRIES && make_room(node); n++)
        r = pager_put(node, &desk->store, page, ret_object);
    return r == -ENOSPC && node->pager->port != NULL && pager_hurries(node->pager) ? -EINTR : r;
}

/* A copy of one page into the store. Return: as put(). */
static int keep(const struct pager_span *s, size_t i, const uint8_t *page, struct pager_desk *desk,
                struct errctx *ec)
{
    struct pager_node *node = s->node;
    uint32_t object;
    const int r = put(node, page, desk, &object);

    if (r == -EINTR)
        return r;
    if (r < 0)
        return errctx_set(ec, ENOSPC, "the store of virtual node %u is full", node->vnode.v);
    if (!page_keep(pager_span_word(s, i), object))
        pager_drop(node, object);
    return 0;
}

/* Copies of all armed pages of [@from, @from+EVICT_CHUNK). */
static int keep_chunk(const struct pager_span *s, size_t from, struct pager_desk *desk,
                      struct errctx *ec)
{
    const size_t n = MIN((size_t)EVICT_CHUNK, s->n - from);
    size_t first = n, last = 0;
    ssize_t got;
    int r = 0;

    for (size_t i = 0; i < n; i++) {
        if (is_armed(s, from + i)) {
            first = MIN(first, i);
            last = i + 1;
        }
    }
    if (first >= last)
        return 0;
    got = pread(s->region->backing->memfd, desk->pages[first], (last - first) * PAGER_PAGE,
                backing_file_at(s->region->backing, (s->first + from + first) * PAGER_PAGE));
    if (got != (ssize_t)((last - first) * PAGER_PAGE))
        return errctx_set_os(ec, got < 0 ? errno : EIO, "read guest memory");
    for (size_t i = first; r == 0 && i < last; i++)
        if (is_armed(s, from + i))
            r = keep(s, from + i, desk->pages[i], desk, ec);
    return r;
}

/* [@from, @end) is PUNCHING: make the hole, or leave all as it was. */
static int punch_run(const struct pager_span *s, size_t from, size_t end, struct errctx *ec)
{
    const int made = fallocate(s->region->backing->memfd,
                               FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                               backing_file_at(s->region->backing, (s->first + from) * PAGER_PAGE),
                               (off_t)((end - from) * PAGER_PAGE));
    const int code = errno;

    for (size_t i = from; i < end; i++) {
        if (made < 0) {
            cancel(s, i);
            continue;
        }
        pager_add(&s->node->n.away, 1);
        if (page_object(atomic_load(pager_span_word(s, i))) == STORE_ZERO)
            pager_add(&s->node->n.away_zero, 1);
        page_emptied(pager_span_word(s, i));
    }
    uffd_wake(s->node->uffd, pager_span_address(s, from), (end - from) * PAGER_PAGE);
    return made < 0 ? errctx_set_os(ec, code, "give %zu pages back", end - from) : 0;
}

/* What is STORED still. @ret_n: how many pages went. */
static int punch(const struct pager_span *s, size_t *ret_n, struct errctx *ec)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < s->n; i++) {
        const size_t from = i;

        while (i < s->n && page_punch(pager_span_word(s, i)))
            i++;
        if (i > from)
            r = punch_run(s, from, i, ec);
        if (r == 0)
            *ret_n += i - from;
    }
    return r;
}

/* It goes as a whole or not at all: was a page of it touched? */
static bool is_in_use(const struct pager_span *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++)
        n += page_state(atomic_load(pager_span_word(s, i))) == PAGE_STORED;
    return n < s->n_armed;
}

/* Whatever happens, no page stays half-way. */
static int store_span(const struct pager_span *s, bool whole, struct pager_desk *desk,
                      size_t *ret_n, struct errctx *ec)
{
    bool spared;
    size_t n = 0;
    int r = 0, r2 = 0;

    for (size_t from = 0; r == 0 && s->n_armed > 0 && from < s->n; from += EVICT_CHUNK)
        r = keep_chunk(s, from, desk, ec);
    spared = r == 0 && whole && is_in_use(s);
    if (!spared)
        r2 = punch(s, &n, r == 0 ? ec : NULL);
    if (n < s->n_armed) /* zapped: who touches it next gets all of it back */
        atomic_fetch_or(pager_span_extent(s), EXTENT_SPARED | (spared ? EXTENT_ZAPPED : 0));
    if (n < s->n_there)
        atomic_fetch_and(pager_span_extent(s), (uint8_t)~EXTENT_AWAY);
    for (size_t i = 0; (spared || r < 0 || r2 < 0) && i < s->n; i++)
        cancel(s, i);
    if (n > 0)
        atomic_fetch_and(pager_span_extent(s), (uint8_t)~EXTENT_WHOLE);
    pager_add(&s->node->n.evicted, n);
    pager_add(&s->node->n.cancelled, s->n_armed - n);
    *ret_n += n;
    return r < 0 ? r : r2;
}

static void forget_span(const struct pager_span *s)
{
    for (size_t i = 0; s->n_armed > 0 && i < s->n; i++)
        cancel(s, i);
    atomic_fetch_and(pager_span_extent(s), (uint8_t)~EXTENT_AWAY);
}

int pager_window_add(struct pager_window *w, struct pager_node *node, size_t extent, size_t max,
                     struct errctx *ec)
{
    struct pager_span *s = &w->span[w->n++];
    int r;

    *s = pager_span_at(node, extent);
    r = arm(s, max, node->pager->desk, ec);
    w->armed_pages += s->n_armed;
    return r;
}

int pager_window_finish(const struct pager_window *w, int r, struct pager_desk *desk,
                        size_t *ret_n, struct errctx *ec)
{
    for (size_t i = 0; i < w->n; i++) {
        if (r == 0)
            r = store_span(&w->span[i], w->whole, desk, ret_n, ec);
        else
            forget_span(&w->span[i]);
    }
    return r;
}

/* Once through a few extents. @ret_n: pages that went. Return: how many extents, or an errno;
 * -EINTR: this one again, later. */
static int evict_window(struct pager_node *node, size_t n_extents, uint64_t want_pages,
                        size_t *ret_n, struct errctx *ec)
{
    const size_t first = node->hand;
    struct pager_window w = { .n = 0 };
    int r = 0;

    while (r == 0 && w.n < n_extents && w.armed_pages < want_pages) {
        r = pager_window_add(&w, node, node->hand, want_pages - w.armed_pages, ec);
        node->hand = (node->hand + 1) % pager_extents_in(node);
    }
    r = pager_window_finish(&w, r, node->pager->desk, ret_n, ec);
    if (r == -EINTR)
        node->hand = first;
    return r < 0 ? r : (int)w.n;
}

void pager_trim(const struct pager_node *node)
{
    store_trim(node->first);
    if (pager_store(node) != node->first)
        store_trim(pager_store(node));
}

int pager_evict(struct pager *pager, struct vnode_id vnode, uint64_t want_bytes,
                const struct pager_evict_ops *ops, void *ctx, uint64_t *ret_evicted_bytes,
                struct errctx *ec)
{
    struct pager_node *node = vnode.v < pager->n_nodes ? &pager->nodes[vnode.v] : NULL;
    const uint64_t want = want_bytes / PAGER_PAGE + (want_bytes % PAGER_PAGE != 0);
    size_t done = 0, seen = 0;
    bool any_cold = true;
    int r = 0;

    if (node == NULL || node->n_regions == 0)
        return errctx_set(ec, ENOENT, "virtual node %u has no memory", vnode.v);
    while (r >= 0 && done < want && seen < pager_extents_in(node)) {
        const uint64_t begin = pager_cpu_ns();
        const size_t before = done;

        r = pager_begin(node, ec); /* the first time, and after a reset in between() */
        if (r < 0)
            break;
        any_cold = any_cold && want - done >= PAGER_EXTENT_PAGES && pager_knows_cold(node);
        if (any_cold) /* until none of these goes any more; then by turns */
            r = pager_evict_coldest(node, want - done, &done, ec);
        else
            r = evict_window(node, MIN((size_t)PAGER_WINDOW, pager_extents_in(node) - seen),
                             want - done, &done, ec);
        any_cold = any_cold && done > before;
        pager_add(&node->n.evict_cpu_ns, pager_cpu_ns() - begin);
        seen += r > 0 ? (size_t)r : 0;
        r = r == -EINTR ? 0 : r;
        if (!ops->between(ctx, (uint64_t)done * PAGER_PAGE))
            break;
    }
    pager_trim(node);
    *ret_evicted_bytes = (uint64_t)done * PAGER_PAGE;
    return MIN(r, 0);
}
