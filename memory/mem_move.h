/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moving all memory of a virtual node to another host node, while the guest uses it.
 *
 * Order: policy first, so that what is touched meanwhile is taken on the target already; then,
 * after a moment of looking which extents are in use (move_heat.h), one after the other, the
 * hottest first (move_extent.h), what could not be moved once more; after each pass huge pages that
 * the kernel split are put together again, if by then it can be had; at last the policy that stays.
 * While it moves memory is preferred from the target, not bound to it: were it full, a first touch
 * by the guest would otherwise call the host's out-of-memory killer. What is decided and when it is
 * over is in memory/policy/move_policy.h.
 *
 * mem_move_run() works on the thread that calls it, which alone uses the object until it returns.
 * Pages must not be given back (guest_mem_discard()) but while it waits in mem_move_ops.between();
 * guest_mem_give_back() waits for the end of an extent by itself.
 */
#ifndef MEMORY_MEM_MOVE_H
#define MEMORY_MEM_MOVE_H

#include "memory/guest_mem.h"
#include "memory/policy/move_policy.h"

struct mem_move;

struct mem_move_params {
    const struct guest_mem *mem; /* borrowed */
    struct vnode_id vnode;
    struct hnode_id to;
    uint64_t bytes_per_s; /* 0: as fast as it goes */
    bool stay;            /* not back when the target is full or the move is cancelled */
    int pagemap;          /* as of residency_open() */
    int gate;             /* as of uffd_open(), or -1 */
    bool paged;           /* a pager watches the mappings: they stay what they are */
    int vmstat;           /* as of move_splits_open(), or -1 */
};

struct mem_move_progress {
    enum move_phase phase;
    uint32_t pass;
    bool was_full, cancelled;
    uint64_t total_bytes; /* the node's memory, whether it is there or not */
    uint64_t seen_bytes;  /* of it, in this pass */
    uint64_t moved_bytes; /* to the target, less what went back */
    uint64_t left_bytes;  /* that the last full pass could not move */
    uint64_t split_bytes; /* of huge pages that are small ones now */
    uint64_t hot_bytes;   /* extents that were in use at the start, and went first */
};

enum mem_move_word {
    MEM_MOVE_GO,
    MEM_MOVE_CANCEL,
    MEM_MOVE_CANCEL_STAY,
    MEM_MOVE_QUIT, /* the machine ends: leave everything as it is */
};

struct mem_move_ops {
    /* Between two extents: wait until @ready_ns of CLOCK_MONOTONIC, say how to go on. */
    enum mem_move_word (*between)(void *ctx, const struct mem_move_progress *progress,
                                  uint64_t ready_ns);
};

/** mem_move_new() - prepare a move; nothing is changed. Return: 0, -ENOENT (the node has no memory
 *  of its own), -ENOMEM, or an errno of mmap. */
int mem_move_new(const struct mem_move_params *params, struct mem_move **ret_move,
                 struct errctx *ec);
void mem_move_free(struct mem_move *move);

/**
 * mem_move_run() - move until it is over; how it ended is in mem_move_progress()->phase.
 * Return: 0; -ECANCELED: told to quit; the errno of a call that failed, with its sentence, in which
 * case memory went back or is half-way as if somebody had cancelled.
 */
int mem_move_run(struct mem_move *move, const struct mem_move_ops *ops, void *ctx,
                 struct errctx *ec);

/** mem_move_progress() - after mem_move_run(). */
const struct mem_move_progress *mem_move_progress(const struct mem_move *move);

/** mem_move_record() - tell @mem, whose main thread calls, where its memory is taken from now. */
void mem_move_record(const struct mem_move *move, struct guest_mem *mem);

/** mem_move_home() - what a home becomes by a move to @to that ended as @phase. Pure. */
struct backing_home mem_move_home(const struct backing_home *home, struct hnode_id to,
                                  enum move_phase phase);

#endif
