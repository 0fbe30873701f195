/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moving one extent of guest memory, 2 MiB or a page of a pool, to a host node while the guest uses
 * it: the step that a move repeats.
 *
 * Only what is there is moved; a hole stays one. For normal memory the page cache is asked first
 * (mincore), then pages are mapped that our page table lacks, then move_pages(2) is told one
 * address of a huge page or those of all small ones at once, which were taken from the guest
 * together before: each costs one flush of remote TLBs. Whether an extent is one huge page is seen as in residency.h, in a mapping that is gone
 * before the move: the kernel moves no page that is mapped twice (MPOL_MF_MOVE). What really
 * happened is asked again afterwards instead of believed.
 *
 * Where the target has no free huge page the kernel splits the page and moves its pieces. They are
 * put together again, if by then it can be had, and told as split otherwise.
 */
#ifndef MEMORY_MOVE_EXTENT_H
#define MEMORY_MOVE_EXTENT_H

#include <stddef.h>
#include <stdint.h>

#include "memory/backing.h"
#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"

enum { MOVE_EXTENT_PAGES = 512, MOVE_EXTENT_BYTES = MOVE_EXTENT_PAGES * 4096 };

/* Room to work in; one thread's. */
struct move_glass {
    int pagemap;          /* as of residency_open(); -1: every page counts as small */
    struct mem_area area; /* addresses for a second look */
    unsigned char there[MOVE_EXTENT_PAGES];
    uint64_t entry[MOVE_EXTENT_PAGES]; /* of the pagemap */
    void *page[MOVE_EXTENT_PAGES];
    int node[2 * MOVE_EXTENT_PAGES];
};

struct move_tally {
    uint64_t moved_bytes; /* that are on the target now and were not */
    uint64_t left_bytes;  /* that are elsewhere still: in use, or no room */
    uint64_t split_bytes; /* of huge pages that became small ones */
    struct hnode_id from; /* where most of them were; only where moved_bytes is not 0 */
};

/** move_glass_init() - @ret_glass is large: keep it off the stack. Return: 0 or an errno of mmap.
 */
int move_glass_init(int pagemap, struct move_glass *ret_glass, struct errctx *ec);
void move_glass_fini(struct move_glass *glass);

/** move_extent_bytes() - the size of @b's extents: 2 MiB, or a page of its pool. */
size_t move_extent_bytes(const struct backing *b);

/* What an extent of normal memory is made of. */
enum move_sample { MOVE_SAMPLE_NONE, MOVE_SAMPLE_SMALL, MOVE_SAMPLE_HUGE };

/** move_extent_look() - NONE where nothing is there, or the memory is a pool's; HUGE: one huge
 * page. */
enum move_sample move_extent_look(struct move_glass *glass, const struct backing *b, size_t off);

/** move_extent_map() - have our page table know what is there of an extent of normal memory. */
void move_extent_map(struct move_glass *glass, const struct backing *b, size_t off);

/**
 * move_extent() - move what is there of the extent at @off to @to.
 * @ret_tally: what became of it; filled with -ENOMEM, too, else untouched on failure.
 * Return: 0, also where pages were left that are in use; -ENOMEM: @to has no room; or the errno of
 * mmap, mincore, madvise or move_pages.
 */
int move_extent(struct move_glass *glass, const struct backing *b, size_t off, struct hnode_id to,
                struct move_tally *ret_tally, struct errctx *ec);

#endif
