/* SPDX-License-Identifier: Apache-2.0 */
/* See move_heat.h. */
#include "memory/move_heat.h"

#include <sys/mman.h>

#include "memory/page_table.h"
#include "vmm/base/macros.h"

enum {
    WINDOW_PAGES = 16, /* what one fault maps around itself, so less would tell no more */
    WINDOWS = MOVE_EXTENT_PAGES / WINDOW_PAGES,
    STRIDE = 13, /* odd: the rounds visit different windows */
};

/* The first small page that @round samples, within the extent; a huge page is its first one. */
static size_t window(const struct backing *b, uint64_t off, enum move_sample kind, unsigned round)
{
    const size_t first = round * STRIDE % WINDOWS * WINDOW_PAGES;

    return kind == MOVE_SAMPLE_HUGE || first >= move_glass_pages(b, off) ? 0 : first;
}

bool move_heat_zap(const struct backing *b, uint64_t off, enum move_sample kind, unsigned round)
{
    const size_t first = window(b, off, kind, round);
    const size_t n = MIN(move_glass_pages(b, off) - first,
                         kind == MOVE_SAMPLE_HUGE ? (size_t)MOVE_EXTENT_PAGES : WINDOW_PAGES);

    return kind != MOVE_SAMPLE_NONE &&
           madvise(b->host + off + first * BACKING_PAGE, n * BACKING_PAGE, MADV_DONTNEED) == 0;
}

bool move_heat_is_warm(struct move_glass *g, const struct backing *b, uint64_t off,
                       enum move_sample kind, unsigned round)
{
    const size_t first = window(b, off, kind, round);
    const size_t n =
        kind == MOVE_SAMPLE_HUGE ? 1 : MIN(move_glass_pages(b, off) - first, (size_t)WINDOW_PAGES);

    if (!page_table_read(g->pagemap, b->host + off + first * BACKING_PAGE, n, g->entry))
        return false;
    for (size_t i = 0; i < n; i++)
        if (page_table_has(g->entry[i]))
            return true;
    return false;
}
