/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moving extents of guest memory, 2 MiB or a page of a pool each, to a host node while the guest
 * uses them: the step that a move repeats.
 *
 * Only what is there is moved; a hole stays one.
 *
 * Huge pages of normal memory go several at once, since every call of move_pages(2) has all CPUs
 * drain their lists of pages first, which takes as long as copying a few of them. They are named by
 * their last small page, while only the first one is mapped: so the kernel says "no entry" for an
 * extent that is not one page (any more).
 *
 * Small pages go by the extent. Each that the guest has mapped would cost a flush of remote TLBs of
 * its own, so all are taken from it together, which is one, and moved while they are mapped
 * elsewhere (move_gate.h), so that nobody maps them in between, and without access, so that the
 * kernel has no TLB of ours to flush, either. Where that is impossible they are shaken out of KVM's
 * tables, or zapped, and moved in the guest's mapping page by page; what the guest touches in
 * between is flushed once more.
 *
 * Where pages were is asked of all that are not all in one place by a sample of 16; so is where
 * they are afterwards, and of each where the kernel does not say that all went well. Where the
 * target has no free huge page the kernel splits the page and moves its pieces; move_extent_mend()
 * puts them together again.
 */
#ifndef MEMORY_MOVE_EXTENT_H
#define MEMORY_MOVE_EXTENT_H

#include <stddef.h>
#include <stdint.h>

#include "memory/move_glass.h"
#include "vmm/base/ids.h"

enum { MOVE_BATCH = 8 }; /* huge pages in one call */

struct move_tally {
    uint64_t moved_bytes; /* that are on the target now and were not */
    uint64_t left_bytes;  /* that are elsewhere still: in use, or no room */
    struct hnode_id from; /* where most of them were; only where moved_bytes is not 0 */
};

struct move_task {
    const struct backing *b;
    uint64_t off;
    enum move_sample kind; /* as it was when it was looked at; NONE: nobody has */
    struct move_tally tally;
};

/** move_extent_bytes() - the size of @b's extents: 2 MiB, or a page of its pool. */
size_t move_extent_bytes(const struct backing *b);

/**
 * move_extents() - move what is there of @n extents to @to.
 * @tasks: one of any kind, or up to MOVE_BATCH whose kind is HUGE. ->tally receives what became of
 *         each, with -ENOMEM, too; ->kind what was found.
 * Return: 0, also where pages were left that are in use; -ENOMEM: @to has no room; or the errno of
 * mmap, mincore, madvise, mprotect or move_pages. Tallies then have what moved or may have.
 */
int move_extents(struct move_glass *g, struct move_task *tasks, size_t n, struct hnode_id to,
                 struct errctx *ec);

/**
 * move_extent_mend() - put an extent together again that was a huge page, if it is none any more.
 * Works where all of its pages are there, as they have to be: an extent with a hole would be
 * filled by some kernels. Leaves pages mapped in the window.
 * Return: false when it is in pieces now.
 */
bool move_extent_mend(struct move_glass *g, const struct backing *b, uint64_t off);

#endif
