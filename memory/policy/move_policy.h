/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moving a virtual node's memory: what to do next, how fast, in which order.
 *
 * Pure: no system call, no clock; times come in as arguments, so that every decision can be
 * replayed. memory/mem_move.c does what is decided here.
 *
 *   FORWARD ─ everything is there ────────────────────────► ARRIVED
 *      │  └── cancelled or target full, told to stay ─────► HALF_WAY
 *      └───── cancelled or target full ─► BACK ─ all back ─► RETURNED
 *                                          └── no room, or told to stay ─► HALF_WAY
 *
 * A pass goes once over all extents; what was in use at that moment is tried again by the next
 * one, MOVE_PASSES times at most.
 */
#ifndef MEMORY_POLICY_MOVE_POLICY_H
#define MEMORY_POLICY_MOVE_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MOVE_PASSES = 8 };

enum move_phase {
    MOVE_FORWARD,
    MOVE_BACK,
    MOVE_ARRIVED,  /* here and below: over */
    MOVE_RETURNED,
    MOVE_HALF_WAY, /* some of it is here, some there */
};

enum move_event {
    MOVE_PASS_DONE,   /* all extents were visited */
    MOVE_CANCEL,      /* somebody wants it undone */
    MOVE_CANCEL_STAY, /* somebody wants it to end where it is */
    MOVE_FULL,        /* the node that memory goes to has no room */
};

struct move_state {
    enum move_phase phase;
    uint32_t pass; /* passes done in this phase */
    bool stay;     /* half-way is where to stay, whatever ends the move */
    bool was_full; /* the target was */
    bool cancelled;
};

/**
 * move_next() - what follows from @event.
 * @left_bytes: that the last pass could not move; only with MOVE_PASS_DONE.
 * @state: changed; a phase that is over stays.
 * Return: the new phase. The pass begins anew when it is FORWARD or BACK.
 */
enum move_phase move_next(struct move_state *state, enum move_event event, uint64_t left_bytes);

/** move_is_over() - nothing more is to be done. */
bool move_is_over(enum move_phase phase);

/* How fast: every extent pays for the time that its bytes take. */
struct move_rate {
    uint64_t bytes_per_s; /* 0: as fast as it goes */
    uint64_t ready_ns;    /* the next extent may begin then */
};

/** move_rate_spend() - @bytes were moved; the work began at @began_ns. What was not used in time
 *  is lost, so there are no bursts after a pause. */
void move_rate_spend(struct move_rate *rate, uint64_t began_ns, uint64_t bytes);

/** move_order() - extents by heat, the hottest first, by address among equals.
 *  @ret_order: receives @n indices. */
void move_order(const uint8_t *heat, size_t n, uint32_t *ret_order);

#endif
