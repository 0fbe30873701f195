/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A number for each 4 KiB page of guest RAM, without gaps, and sets of such pages: what a guest
 * says twice is counted once, and no account can grow beyond the memory that there is.
 *
 * A set takes 32 MiB for a TiB of guest memory at most; the host gives that as bits are set. One
 * thread uses a set.
 */
#ifndef DEVICES_VIRTIO_PAGE_MAP_H
#define DEVICES_VIRTIO_PAGE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/layout.h"

enum { PAGE_MAP_BYTES = 4096 };

/* One range of RAM, or a window for RAM that is plugged in. */
struct page_map_range {
    uint64_t base;    /* guest address */
    uint64_t n_pages;
    uint64_t first;   /* number of its first page, a multiple of 64 */
    struct vnode_id vnode;
    bool window;
};

struct page_map {
    struct page_map_range *ranges; /* by ascending address */
    size_t n_ranges;
    uint64_t n_pages; /* one past the highest number */
};

struct page_set {
    uint64_t *words;
    size_t n_words;
};

/** page_map_init() - number the RAM of @layout and its windows, which is not kept. Return: 0 or -ENOMEM. */
int page_map_init(const struct mem_layout *layout, struct page_map *ret_map);
void page_map_fini(struct page_map *map);

/** page_map_find() - the range that holds guest address @addr, or NULL. */
const struct page_map_range *page_map_find(const struct page_map *map, uint64_t addr);

/** page_map_number() - of the page at @addr, which lies in @range. */
static inline uint64_t page_map_number(const struct page_map_range *range, uint64_t addr)
{
    return range->first + (addr - range->base) / PAGE_MAP_BYTES;
}

/** page_set_init() - the empty set of @map's pages. Return: 0 or -ENOMEM. */
int page_set_init(const struct page_map *map, struct page_set *ret_set);
void page_set_fini(struct page_set *set);

/** page_set_clear() - the empty set again. */
void page_set_clear(struct page_set *set);

static inline bool page_set_has(const struct page_set *set, uint64_t number)
{
    return set->words[number / 64] >> number % 64 & 1;
}

static inline void page_set_add(struct page_set *set, uint64_t number)
{
    set->words[number / 64] |= 1ull << number % 64;
}

static inline void page_set_del(struct page_set *set, uint64_t number)
{
    if (page_set_has(set, number)) /* else it would take memory for nothing */
        set->words[number / 64] &= ~(1ull << number % 64);
}

/** page_set_has_all() - every page of [@number, @number+@n)? */
bool page_set_has_all(const struct page_set *set, uint64_t number, uint64_t n);

#endif
