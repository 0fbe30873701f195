/* SPDX-License-Identifier: Apache-2.0 */
/* See move_extent.h. */
#include "memory/move_extent.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory/numa_policy.h"
#include "vmm/base/macros.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1; Debian 12's C library does not name it */
#endif

enum { PAGE_BYTES = 4096 };

#define PAGEMAP_PRESENT (1ull << 63)

int move_glass_init(int pagemap, struct move_glass *ret_glass, struct errctx *ec)
{
    struct mem_area area;
    int r = mem_area_init(MOVE_EXTENT_BYTES, MOVE_EXTENT_BYTES, &area, ec);

    if (r < 0)
        return r;
    ret_glass->pagemap = pagemap;
    ret_glass->area = area;
    return 0;
}

void move_glass_fini(struct move_glass *g)
{
    mem_area_fini(&g->area);
}

static bool from_pool(const struct backing *b)
{
    return guest_page_bytes(b->plan->pages) > 0;
}

size_t move_extent_bytes(const struct backing *b)
{
    return MAX(backing_page_bytes(b), (size_t)MOVE_EXTENT_BYTES);
}

/* Is the extent at @off, all of which is there, one huge page? Mapping its last small page then
 * maps the first one, too. Afterwards nothing of it is mapped here. */
static bool is_huge(struct move_glass *g, const struct backing *b, size_t off)
{
    uint64_t entry = 0;
    uint8_t *at;

    if (g->pagemap < 0)
        return false;
    at = mmap(g->area.start, MOVE_EXTENT_BYTES, PROT_READ, MAP_SHARED | MAP_FIXED, b->memfd,
              (off_t)off);
    if (at == MAP_FAILED)
        return false;
    if (madvise(at + MOVE_EXTENT_BYTES - PAGE_BYTES, PAGE_BYTES, MADV_POPULATE_READ) < 0 ||
        pread(g->pagemap, &entry, sizeof(entry),
              (off_t)((uintptr_t)at / PAGE_BYTES * sizeof(entry))) != (ssize_t)sizeof(entry))
        entry = 0;
    /* Addresses without memory again, so that nobody else gets them. */
    (void)mmap(g->area.start, MOVE_EXTENT_BYTES, PROT_NONE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    return (entry & PAGEMAP_PRESENT) != 0;
}

/* The same of an extent of @n pages that may have holes. Its last page is asked for alone: asking
 * for all 512 takes the kernel long where none is mapped. */
static bool is_one_page(struct move_glass *g, const struct backing *b, size_t off, size_t n)
{
    uint8_t *const last = b->host + off + MOVE_EXTENT_BYTES - PAGE_BYTES;

    return n == MOVE_EXTENT_PAGES && b->plan->pages != GUEST_PAGES_4K &&
           mincore(last, PAGE_BYTES, g->there) == 0 && (g->there[0] & 1) != 0 && is_huge(g, b, off);
}

/* Map what is there of @n small pages at @at, and list it in ->page. Return: how many, or -errno.
 */
static int list_small(struct move_glass *g, uint8_t *at, size_t n, struct errctx *ec)
{
    int count = 0;

    for (size_t i = 0; i < n;) {
        size_t run = i;

        while (run < n && (g->there[run] & 1) != 0)
            g->page[count++] = at + run++ * PAGE_BYTES;
        if (run > i && madvise(at + i * PAGE_BYTES, (run - i) * PAGE_BYTES, MADV_POPULATE_READ) < 0)
            return errctx_set_os(ec, errno, "look at pages: madvise");
        i = run + (run == i);
    }
    return count;
}

enum move_sample move_extent_look(struct move_glass *g, const struct backing *b, size_t off)
{
    const size_t n = MIN((size_t)MOVE_EXTENT_BYTES, b->len_bytes - off) / PAGE_BYTES;
    size_t there = 0;

    if (from_pool(b))
        return MOVE_SAMPLE_NONE;
    if (is_one_page(g, b, off, n))
        return MOVE_SAMPLE_HUGE;
    if (mincore(b->host + off, n * PAGE_BYTES, g->there) < 0)
        return MOVE_SAMPLE_NONE;
    for (size_t i = 0; i < n; i++)
        there += g->there[i] & 1;
    return there > 0 ? MOVE_SAMPLE_SMALL : MOVE_SAMPLE_NONE;
}

void move_extent_map(struct move_glass *g, const struct backing *b, size_t off)
{
    const size_t n = MIN((size_t)MOVE_EXTENT_BYTES, b->len_bytes - off) / PAGE_BYTES;

    switch (move_extent_look(g, b, off)) {
    case MOVE_SAMPLE_NONE:
        break;
    case MOVE_SAMPLE_SMALL:
        (void)list_small(g, b->host + off, n, NULL);
        break;
    case MOVE_SAMPLE_HUGE:
        (void)madvise(b->host + off, PAGE_BYTES, MADV_POPULATE_READ);
        break;
    }
}

/* The pages of an extent of normal memory as move_pages(2) wants them. */
static int list_pages(struct move_glass *g, const struct backing *b, size_t off, bool *ret_huge,
                      struct errctx *ec)
{
    uint8_t *const at = b->host + off;
    const size_t n = MIN((size_t)MOVE_EXTENT_BYTES, b->len_bytes - off) / PAGE_BYTES;
    size_t there = 0;

    *ret_huge = is_one_page(g, b, off, n);
    if (!*ret_huge && mincore(at, n * PAGE_BYTES, g->there) < 0)
        return errctx_set_os(ec, errno, "mincore");
    if (b->plan->reserve) /* memory that was set aside is no page until it is touched */
        memset(g->there, 1, n);
    for (size_t i = 0; !*ret_huge && i < n; i++)
        there += g->there[i] & 1;
    if (!*ret_huge)
        return there > 0 ? list_small(g, at, n, ec) : 0;
    memset(g->there, 1, n);
    if (madvise(at, PAGE_BYTES, MADV_POPULATE_READ) < 0)
        return errctx_set_os(ec, errno, "look at pages: madvise");
    g->page[0] = at;
    return 1;
}

static bool is_gone(int node)
{
    return node == -ENOENT || node == -EFAULT;
}

/* Keep in ->page what is not on @to, and say where most of it is. */
static size_t keep_strangers(struct move_glass *g, size_t n, struct hnode_id to,
                             struct hnode_id *ret_from)
{
    size_t kept = 0, best = 0;

    for (size_t i = 0; i < n; i++) {
        if (is_gone(g->node[i]) || g->node[i] == (int)to.v)
            continue;
        g->page[kept] = g->page[i];
        g->node[kept++] = g->node[i];
    }
    for (size_t i = 0; i < kept;) { /* runs, since neighbours mostly are neighbours there, too */
        size_t end = i + 1;

        while (end < kept && g->node[end] == g->node[i])
            end++;
        if (g->node[i] >= 0 && end - i > best) {
            best = end - i;
            *ret_from = (struct hnode_id){ (uint32_t)g->node[i] };
        }
        i = end;
    }
    return kept;
}

/* A huge page that the kernel split on its way is put together again, if that can be had. All its
 * pages are there, as they have to be (an extent with a hole would be filled by some kernels), and
 * nothing takes pages away while a move works. */
static bool is_split(struct move_glass *g, const struct backing *b, size_t off)
{
    if (is_huge(g, b, off))
        return false;
    return madvise(b->host + off, MOVE_EXTENT_BYTES, MADV_COLLAPSE) < 0 || !is_huge(g, b, off);
}

/* What became of the @n pages in ->page, each of @page_bytes. */
static int judge(struct move_glass *g, size_t n, size_t page_bytes, struct hnode_id to,
                 struct move_tally *t, struct errctx *ec)
{
    int r = numa_policy_locate(g->page, n, g->node, ec);

    for (size_t i = 0; r == 0 && i < n; i++) {
        t->moved_bytes += g->node[i] == (int)to.v ? page_bytes : 0;
        t->left_bytes += g->node[i] != (int)to.v && !is_gone(g->node[i]) ? page_bytes : 0;
    }
    return r;
}

/* Small pages would be taken from the guest one by one, with a flush of remote TLBs each. All of
 * the extent at once is one; then those that move, the @n in ->page, are mapped here, not there. */
static int take_from_guest(struct move_glass *g, const struct backing *b, size_t off, size_t n,
                           struct errctx *ec)
{
    const size_t len = MIN((size_t)MOVE_EXTENT_BYTES, b->len_bytes - off);

    if (madvise(b->host + off, len, MADV_DONTNEED) < 0)
        return errctx_set_os(ec, errno, "take pages from the guest: madvise");
    for (size_t i = 0; i < n;) {
        uint8_t *const first = g->page[i];
        size_t end = i + 1;

        while (end < n && (uint8_t *)g->page[end] == first + (end - i) * PAGE_BYTES)
            end++;
        if (madvise(first, (end - i) * PAGE_BYTES, MADV_POPULATE_READ) < 0)
            return errctx_set_os(ec, errno, "look at pages: madvise");
        i = end;
    }
    return 0;
}

/* Move the @n pages in ->page, none of which is on @to. */
static int move_listed(struct move_glass *g, const struct backing *b, size_t off, size_t n,
                       size_t page_bytes, struct hnode_id to, struct move_tally *t,
                       struct errctx *ec)
{
    const bool huge = page_bytes == MOVE_EXTENT_BYTES && !from_pool(b);
    const bool small = page_bytes == PAGE_BYTES && n > 1;
    int r = small ? take_from_guest(g, b, off, n, ec) : 0;
    int moved;

    if (r < 0)
        return r;
    moved = numa_policy_move(g->page, n, to, g->node, ec);
    if (moved < 0 && moved != -ENOMEM)
        return moved;
    if (huge && is_split(g, b, off)) { /* part of it may be here, part there */
        r = list_small(g, b->host + off, MOVE_EXTENT_PAGES, ec);
        if (r < 0)
            return r;
        n = (size_t)r;
        page_bytes = PAGE_BYTES;
        t->split_bytes = MOVE_EXTENT_BYTES;
    }
    r = judge(g, n, page_bytes, to, t, ec);
    return r < 0 ? r : moved;
}

int move_extent(struct move_glass *g, const struct backing *b, size_t off, struct hnode_id to,
                struct move_tally *ret_tally, struct errctx *ec)
{
    struct move_tally t = { 0 };
    size_t page_bytes = backing_page_bytes(b), n, strangers;
    bool huge = false;
    int r = 1;

    if (from_pool(b))
        g->page[0] = b->host + off;
    else
        r = list_pages(g, b, off, &huge, ec);
    if (huge)
        page_bytes = MOVE_EXTENT_BYTES;
    if (r < 0)
        return r;
    n = (size_t)r;
    r = n > 0 ? numa_policy_locate(g->page, n, g->node, ec) : 0;
    if (r < 0)
        return r;
    strangers = keep_strangers(g, n, to, &t.from);
    if (strangers > 0)
        r = move_listed(g, b, off, strangers, page_bytes, to, &t, ec);
    if (strangers > 0 && strangers < n)
        move_extent_map(g, b, off); /* what was taken and did not have to move */
    if (r == 0 || r == -ENOMEM)
        *ret_tally = t;
    return r;
}
