/* SPDX-License-Identifier: Apache-2.0 */
/* See move_heat.h. */
#include "memory/move_heat.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/macros.h"

enum {
    PAGE_BYTES = 4096,
    WINDOW_PAGES = 16, /* what one fault maps around itself, so less would tell no more */
    WINDOWS = MOVE_EXTENT_PAGES / WINDOW_PAGES,
    STRIDE = 13, /* odd: the rounds visit different windows */
};

#define PAGEMAP_PRESENT (1ull << 63)

/* The pages that @round samples, within the backing. */
static size_t window(const struct backing *b, size_t off, enum move_sample sample, unsigned round,
                     size_t *ret_first)
{
    const size_t n = MIN((size_t)MOVE_EXTENT_BYTES, b->len_bytes - off) / PAGE_BYTES;
    const size_t first = round * STRIDE % WINDOWS * WINDOW_PAGES;

    *ret_first = sample == MOVE_SAMPLE_HUGE || first >= n ? 0 : first;
    return sample == MOVE_SAMPLE_HUGE ? n : MIN((size_t)WINDOW_PAGES, n - *ret_first);
}

enum move_sample move_heat_look(struct move_glass *g, const struct backing *b, size_t off)
{
    return g->pagemap < 0 ? MOVE_SAMPLE_NONE : move_extent_look(g, b, off);
}

bool move_heat_zap(const struct backing *b, size_t off, enum move_sample sample, unsigned round)
{
    size_t first, n;

    if (sample == MOVE_SAMPLE_NONE)
        return false;
    n = window(b, off, sample, round, &first);
    return madvise(b->host + off + first * PAGE_BYTES, n * PAGE_BYTES, MADV_DONTNEED) == 0;
}

bool move_heat_is_warm(struct move_glass *g, const struct backing *b, size_t off,
                       enum move_sample sample, unsigned round)
{
    const uintptr_t at = (uintptr_t)b->host + off;
    size_t first, n = window(b, off, sample, round, &first);
    const size_t len = n * sizeof(g->entry[0]);

    if (pread(g->pagemap, g->entry, len,
              (off_t)((at / PAGE_BYTES + first) * sizeof(g->entry[0]))) != (ssize_t)len)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((g->entry[i] & PAGEMAP_PRESENT) != 0)
            return true;
    return false;
}
