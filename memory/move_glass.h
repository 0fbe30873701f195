/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a move sees of guest memory: which pages of an extent are there, and whether they are one
 * huge page.
 *
 * The page cache tells what is there (mincore), since our page table may lack pages. Whether an
 * extent is one huge page is seen in a window of our own on the memory file: mapping an extent's
 * last small page maps its first one, too, if both are parts of one. The window shows 32 extents
 * and keeps what was mapped in it until it is wiped, which has to be before a move: the kernel
 * moves no page that is mapped twice (MPOL_MF_MOVE).
 *
 * One thread's.
 */
#ifndef MEMORY_MOVE_GLASS_H
#define MEMORY_MOVE_GLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/backing.h"
#include "memory/move_gate.h"
#include "vmm/base/errctx.h"

enum { MOVE_EXTENT_PAGES = 512, MOVE_EXTENT_BYTES = MOVE_EXTENT_PAGES * BACKING_PAGE };

struct move_glass {
    int pagemap; /* as of residency_open(); -1: every page counts as small */
    struct move_gate gate;
    struct mem_area area;       /* addresses of the window */
    const struct backing *seen; /* what it shows; NULL: nothing */
    uint64_t seen_off;
    unsigned char there[MOVE_EXTENT_PAGES];
    uint64_t entry[MOVE_EXTENT_PAGES]; /* of the pagemap, as the extent was listed */
    bool known;                        /* ->entry is */
    void *page[MOVE_EXTENT_PAGES];
    int node[2 * MOVE_EXTENT_PAGES];
};

/* What an extent of normal memory is made of. */
enum move_sample { MOVE_SAMPLE_NONE, MOVE_SAMPLE_SMALL, MOVE_SAMPLE_HUGE };

/** move_glass_init() - @uffd, @fixed: as of move_gate_init(). @ret_glass is large: keep it off the
 *  stack. Return: 0 or an errno of mmap. */
int move_glass_init(int pagemap, int uffd, bool fixed, struct move_glass *ret_glass,
                    struct errctx *ec);
void move_glass_fini(struct move_glass *g);

/** move_glass_at() - where the window shows @off of @b, 2 MiB from there on at most; valid until
 *  the next call that may move the window, which every function here is. NULL: the errno of mmap.
 */
uint8_t *move_glass_at(struct move_glass *g, const struct backing *b, uint64_t off);

/** move_glass_wipe() - nothing is mapped in the window any more. */
void move_glass_wipe(struct move_glass *g);

/** move_glass_look() - NONE where nothing is there, or the memory is a pool's; HUGE: one huge page.
 *  Leaves pages mapped in the window. */
enum move_sample move_glass_look(struct move_glass *g, const struct backing *b, uint64_t off);

/** move_glass_is_huge() - the same for an extent all of whose pages are there. */
bool move_glass_is_huge(struct move_glass *g, const struct backing *b, uint64_t off);

/** move_glass_pages() - small pages that the extent has room for. */
size_t move_glass_pages(const struct backing *b, uint64_t off);

/** move_glass_list() - list in ->page what is there of the extent, by its addresses in the guest's
 *  mapping. Return: how many, or the errno of mincore. */
int move_glass_list(struct move_glass *g, const struct backing *b, uint64_t off, struct errctx *ec);

/** move_glass_map() - map the @n small pages in ->page. Return: 0 or the errno of madvise. */
int move_glass_map(struct move_glass *g, size_t n, struct errctx *ec);

/** move_glass_complete() - the same for pages that were listed, whose extent is at @base now and is
 *  mapped as it was then: those only that were missing. */
int move_glass_complete(struct move_glass *g, const uint8_t *base, size_t n, struct errctx *ec);

/** move_glass_restore() - have our page table know what is there of an extent of normal memory, in
 *  the guest's mapping. Leaves pages mapped in the window, too. */
void move_glass_restore(struct move_glass *g, const struct backing *b, uint64_t off);

#endif
