/* SPDX-License-Identifier: Apache-2.0 */
/* See move_glass.h. */
#include "memory/move_glass.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "memory/page_table.h"
#include "vmm/base/macros.h"

enum {
    WINDOW_BYTES = 32 * MOVE_EXTENT_BYTES,
    FIRST_LOOK = 16, /* pages */
    RUNS = 8,        /* questions about an extent before the rest is asked for at once */
};

int move_glass_init(int pagemap, int uffd, bool fixed, struct move_glass *ret_glass,
                    struct errctx *ec)
{
    struct mem_area area;
    int r = mem_area_init(WINDOW_BYTES, MOVE_EXTENT_BYTES, &area, ec);

    if (r < 0)
        return r;
    r = move_gate_init(uffd, fixed, &ret_glass->gate, ec);
    if (r < 0) {
        mem_area_fini(&area);
        return r;
    }
    ret_glass->pagemap = pagemap;
    ret_glass->area = area;
    ret_glass->seen = NULL;
    ret_glass->known = false;
    return 0;
}

void move_glass_fini(struct move_glass *g)
{
    move_gate_fini(&g->gate);
    mem_area_fini(&g->area);
}

/* Addresses without memory again. */
static void close_window(struct move_glass *g)
{
    if (g->seen != NULL)
        (void)mmap(g->area.start, WINDOW_BYTES, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    g->seen = NULL;
}

uint8_t *move_glass_at(struct move_glass *g, const struct backing *b, uint64_t off)
{
    const uint64_t first = off / WINDOW_BYTES * WINDOW_BYTES;

    if (g->seen != b || g->seen_off != first) {
        const size_t len = MIN((uint64_t)WINDOW_BYTES, b->len_bytes - first);

        if (len < WINDOW_BYTES)
            close_window(g);
        if (mmap(g->area.start, len, PROT_READ, MAP_SHARED | MAP_FIXED, b->memfd,
                 backing_file_at(b, first)) == MAP_FAILED)
            return NULL;
        g->seen = b;
        g->seen_off = first;
        /* As the guest's mapping is: in no dump and in no child. */
        (void)madvise(g->area.start, len, MADV_DONTDUMP);
        (void)madvise(g->area.start, len, MADV_DONTFORK);
    }
    return g->area.start + (off - first);
}

void move_glass_wipe(struct move_glass *g)
{
    if (g->seen != NULL && madvise(g->area.start, WINDOW_BYTES, MADV_DONTNEED) < 0)
        close_window(g);
}

size_t move_glass_pages(const struct backing *b, uint64_t off)
{
    return MIN((uint64_t)MOVE_EXTENT_BYTES, b->len_bytes - off) / BACKING_PAGE;
}

bool move_glass_is_huge(struct move_glass *g, const struct backing *b, uint64_t off)
{
    uint64_t entry = 0;
    uint8_t *at;

    if (g->pagemap < 0 || b->plan->pages == GUEST_PAGES_4K)
        return false;
    at = move_glass_at(g, b, off);
    return at != NULL &&
           madvise(at + MOVE_EXTENT_BYTES - BACKING_PAGE, BACKING_PAGE, MADV_POPULATE_READ) == 0 &&
           page_table_read(g->pagemap, at, 1, &entry) && page_table_has(entry);
}

/* The same where there may be holes. The last page is asked for alone: asking for all 512 takes the
 * kernel long where none is mapped. */
static bool is_one_page(struct move_glass *g, const struct backing *b, uint64_t off)
{
    uint8_t *const last = b->host + off + MOVE_EXTENT_BYTES - BACKING_PAGE;

    return move_glass_pages(b, off) == MOVE_EXTENT_PAGES && b->plan->pages != GUEST_PAGES_4K &&
           mincore(last, BACKING_PAGE, g->there) == 0 && (g->there[0] & 1) != 0 &&
           move_glass_is_huge(g, b, off);
}

enum move_sample move_glass_look(struct move_glass *g, const struct backing *b, uint64_t off)
{
    const size_t n = move_glass_pages(b, off);

    if (guest_page_bytes(b->plan->pages) > 0)
        return MOVE_SAMPLE_NONE;
    if (is_one_page(g, b, off))
        return MOVE_SAMPLE_HUGE;
    for (size_t i = 0, end; i < n; i = end) { /* most extents say it with their first pages */
        end = i == 0 ? MIN(n, (size_t)FIRST_LOOK) : n;
        if (mincore(b->host + off + i * BACKING_PAGE, (end - i) * BACKING_PAGE, g->there) < 0)
            return MOVE_SAMPLE_NONE;
        for (size_t k = 0; k < end - i; k++)
            if ((g->there[k] & 1) != 0)
                return MOVE_SAMPLE_SMALL;
    }
    return MOVE_SAMPLE_NONE;
}

static bool is_mapped(const struct move_glass *g, size_t i)
{
    return g->known && page_table_has(g->entry[i]);
}

/* What @at's page table has of the first @n pages. */
static void read_table(struct move_glass *g, const uint8_t *at, size_t n)
{
    g->known = page_table_read(g->pagemap, at, n, g->entry);
}

/* In ->there which of the @n pages at @at exist. The page cache is asked for those only that our
 * page table lacks, as long as they are few runs. */
static int find_pages(struct move_glass *g, uint8_t *at, size_t n)
{
    unsigned runs = 0;

    for (size_t i = 0, end; i < n; i = end) {
        const bool mapped = runs < RUNS && is_mapped(g, i);

        for (end = i + 1; end < n && runs < RUNS && is_mapped(g, end) == mapped; end++)
            ;
        if (mapped) {
            memset(g->there + i, 1, end - i);
            continue;
        }
        if (++runs == RUNS)
            end = n;
        if (mincore(at + i * BACKING_PAGE, (end - i) * BACKING_PAGE, g->there + i) < 0)
            return -errno;
    }
    return 0;
}

int move_glass_list(struct move_glass *g, const struct backing *b, uint64_t off, struct errctx *ec)
{
    uint8_t *const at = b->host + off;
    const size_t n = move_glass_pages(b, off);
    int count = 0, r = 0;

    read_table(g, at, n);
    if (b->plan->reserve) /* memory that was set aside is no page until it is touched */
        memset(g->there, 1, n);
    else
        r = find_pages(g, at, n);
    if (r < 0)
        return errctx_set_os(ec, -r, "mincore");
    for (size_t i = 0; i < n; i++)
        if ((g->there[i] & 1) != 0)
            g->page[count++] = at + i * BACKING_PAGE;
    return count;
}

/* Map those of the @n pages in ->page that are not, if @base, where the extent is, is given: as
 * far as its page table was read. */
static int map_missing(struct move_glass *g, const uint8_t *base, size_t n, struct errctx *ec)
{
    for (size_t i = 0, end; i < n; i = end) {
        uint8_t *const first = g->page[i];
        const size_t number = base != NULL ? (size_t)(first - base) / BACKING_PAGE : 0;

        end = i + 1;
        if (base != NULL && is_mapped(g, number))
            continue;
        while (end < n && (uint8_t *)g->page[end] == first + (end - i) * BACKING_PAGE &&
               !(base != NULL && is_mapped(g, number + (end - i))))
            end++;
        if (madvise(first, (end - i) * BACKING_PAGE, MADV_POPULATE_READ) < 0)
            return errctx_set_os(ec, errno, "look at pages: madvise");
    }
    return 0;
}

int move_glass_map(struct move_glass *g, size_t n, struct errctx *ec)
{
    return map_missing(g, NULL, n, ec);
}

int move_glass_complete(struct move_glass *g, const uint8_t *base, size_t n, struct errctx *ec)
{
    return map_missing(g, base, n, ec);
}

void move_glass_restore(struct move_glass *g, const struct backing *b, uint64_t off)
{
    int n;

    switch (move_glass_look(g, b, off)) {
    case MOVE_SAMPLE_NONE:
        break;
    case MOVE_SAMPLE_SMALL:
        n = move_glass_list(g, b, off, NULL);
        if (n > 0)
            (void)move_glass_map(g, (size_t)n, NULL);
        break;
    case MOVE_SAMPLE_HUGE:
        (void)madvise(b->host + off, BACKING_PAGE, MADV_POPULATE_READ);
        break;
    }
}
