/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of a slow node's pages, for the thread that serves it:
 *
 *   UNKNOWN ─ found in the file ─► MAPPED ─ chosen ─► CHOSEN ─ for long not touched ─► OUT
 *      ▲                             ▲                  │ touched                       │
 *      └─ not in the file any more   └──── answered ─ WAITING ◄── touched ──────────────┘
 *
 * New pages of the file are mapped by the kernel as they are made, and nobody is told; they are found
 * by looking, when the file has grown, and taken for used until they are chosen and nobody comes.
 */
#ifndef MEMORY_SLOW_PAGES_H
#define MEMORY_SLOW_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/slow_node.h"

enum {
    SLOW_PAGE = 4096,
    SLOW_AROUND = 16,   /* pages that a touch that is not charged brings back */
    SLOW_TORN = 512,    /* ... of a huge page, which goes as a whole where one page is taken out */
};

enum slow_page_state { SLOW_UNKNOWN, SLOW_OUT, SLOW_MAPPED, SLOW_CHOSEN, SLOW_WAITING };

struct slow_pages {
    struct slow_range *ranges;
    size_t n_ranges;
    uint32_t n;        /* pages of all ranges, numbered through */
    uint8_t *state;    /* by page */
    uint32_t *mapped;  /* pages that are MAPPED, in no order; n_mapped */
    uint32_t *place;   /* in that; by page */
    uint32_t n_mapped, n_chosen;
    uint64_t seed;
    uint64_t blocks;   /* of the files, when the look that is under way or over began */
    uint32_t look_at;  /* page; n: over */
};

/** slow_pages_init() - all unknown. Return: 0; -ENOMEM; -E2BIG: 2^32 pages or more. */
int slow_pages_init(const struct slow_range *ranges, size_t n_ranges, struct slow_pages *ret_pages);
void slow_pages_fini(struct slow_pages *pages);

/** slow_pages_address() - of page @i; *@ret_left, which may be NULL: pages from it to its range's
 *  end. */
uint8_t *slow_pages_address(const struct slow_pages *p, uint32_t i, uint32_t *ret_left);

/** slow_pages_find() - false: @addr is none of them. */
bool slow_pages_find(const struct slow_pages *p, uint64_t addr, uint32_t *ret_page);

/** slow_pages_reset() - all unknown again. */
void slow_pages_reset(struct slow_pages *p);

/** slow_pages_choose() - take pages out, the first at random of those that are mapped, the others of
 *  those behind it; *@ret_span: from the first to the last. Return: how many, at most @most; 0: none
 *  is mapped. */
uint32_t slow_pages_choose(struct slow_pages *p, uint32_t most, uint32_t *ret_first,
                           uint32_t *ret_span);

/** slow_pages_forget() - nobody has touched @page, which was chosen. */
void slow_pages_forget(struct slow_pages *p, uint32_t page);

/** slow_pages_wait() - @page, which is CHOSEN or OUT, is touched, and the answer is to come. */
void slow_pages_wait(struct slow_pages *p, uint32_t page);

/** slow_pages_come() - @n pages from @page on are mapped now. */
void slow_pages_come(struct slow_pages *p, uint32_t page, uint32_t n);

/** slow_pages_around() - how many pages from @page on are to be brought back with it. */
uint32_t slow_pages_around(const struct slow_pages *p, uint32_t page);

/** slow_pages_look() - where the files have changed their sizes: find what is new, as far as it gets
 *  until @until_ns. */
void slow_pages_look(struct slow_pages *p, uint64_t until_ns);

/** slow_pages_returned() - of @n pages from @first on that are CHOSEN or OUT, those that somebody
 *  touched, where the kernel serves touches by itself, are MAPPED now. @pagemap_fd: of this process's
 *  /proc/PID/pagemap. Return: how many. */
uint32_t slow_pages_returned(struct slow_pages *p, int pagemap_fd, uint32_t first, uint32_t n);

/** slow_pages_now_ns() - the monotonic clock. */
uint64_t slow_pages_now_ns(void);

#endif
