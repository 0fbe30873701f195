/* SPDX-License-Identifier: Apache-2.0 */
/* See page_map.h. */
#include "devices/virtio/page_map.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/checked.h"

enum { WORD_BITS = 64 };

int page_map_init(const struct mem_layout *layout, struct page_map *ret_map)
{
    struct page_map map = { 0 };

    map.ranges = calloc(layout->n_ranges, sizeof(*map.ranges));
    if (map.ranges == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < layout->n_ranges; i++) {
        const struct layout_range *range = &layout->ranges[i];

        map.ranges[map.n_ranges++] = (struct page_map_range){
            .base = range->base.v,
            .n_pages = range->len_bytes / PAGE_MAP_BYTES,
            .first = map.n_pages,
            .vnode = range->vnode,
            .window = range->kind == LAYOUT_HOTPLUG,
        };
        map.n_pages += align_up(range->len_bytes / PAGE_MAP_BYTES, WORD_BITS);
    }
    *ret_map = map;
    return 0;
}

void page_map_fini(struct page_map *map)
{
    free(map->ranges);
    *map = (struct page_map){ 0 };
}

const struct page_map_range *page_map_find(const struct page_map *map, uint64_t addr)
{
    size_t lo = 0, hi = map->n_ranges;

    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const struct page_map_range *range = &map->ranges[mid];

        if (addr < range->base)
            hi = mid;
        else if ((addr - range->base) / PAGE_MAP_BYTES >= range->n_pages)
            lo = mid + 1;
        else
            return range;
    }
    return NULL;
}

int page_set_init(const struct page_map *map, struct page_set *ret_set)
{
    struct page_set set = { .n_words = map->n_pages / WORD_BITS };

    set.words = calloc(set.n_words + 1, sizeof(*set.words));
    if (set.words == NULL)
        return -ENOMEM;
    *ret_set = set;
    return 0;
}

void page_set_fini(struct page_set *set)
{
    free(set->words);
    *set = (struct page_set){ 0 };
}

void page_set_clear(struct page_set *set)
{
    for (size_t i = 0; i < set->n_words; i++)
        if (set->words[i] != 0) /* reading what was never written takes no memory */
            set->words[i] = 0;
}

bool page_set_has_all(const struct page_set *set, uint64_t number, uint64_t n)
{
    for (uint64_t end = number + n; number < end;) {
        const uint64_t in_word = WORD_BITS - number % WORD_BITS;
        const uint64_t part = end - number < in_word ? end - number : in_word;
        const uint64_t mask = (part == WORD_BITS ? ~0ull : (1ull << part) - 1)
                              << number % WORD_BITS;

        if ((set->words[number / WORD_BITS] & mask) != mask)
            return false;
        number += part;
    }
    return true;
}
