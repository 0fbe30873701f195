/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a node's memory slow: who pays how much, and how often pages are taken out.
 *
 * Pages that are in use are taken out of the page table, a few at a time and chosen at random, and
 * the first touch of one is charged: whoever touches it waits. With a factor f a thread that does
 * nothing but touch the node is to wait for the share 1 - 1/f of its time, so that is what may be
 * charged: credit grows with time, and every wait takes from it what it took in fact. A touch that
 * finds no credit is answered at once. It costs something nevertheless, in some hosts a lot, which
 * is paid from the same credit; and pages are taken out only while there is credit, no more of them
 * at once than it can pay the touches of. So nobody ever waits for more than that share, whatever it
 * does.
 *
 * Where touches are rarer than pages that are out, most of those are not in use: more are taken out
 * at a time, side by side.
 *
 * Several threads may use the node at a time, and nobody tells which of them waits. How many there
 * are is read off how much their waits overlap: n threads that wait for the share x each, one not
 * knowing of the other, leave some of them waiting for 1 - (1 - x)^n of the time.
 *
 * Memory that is small enough for a processor's caches would not feel a distance: the share is
 * less, in proportion, where less than SLOW_SET_PAGES are in use.
 *
 * Pure: no system call, no clock. One thread's.
 */
#ifndef MEMORY_POLICY_SLOW_H
#define MEMORY_POLICY_SLOW_H

#include <stdint.h>

enum {
    SLOW_FACTOR_MIN_MILLI = 1100,
    SLOW_FACTOR_MAX_MILLI = 16000,
    SLOW_SET_PAGES = 1024,     /* 4 MiB */
    SLOW_TICK_CHARGES = 16,    /* a tick is as long as so many charges */
    SLOW_CHARGE_MIN_NS = 500000,
    SLOW_CHARGE_MAX_NS = 50000000,
};

/* What waiting costs on this host; slow_measure.h finds it out. */
struct slow_cost {
    uint64_t charge_ns; /* that one touch waits for; 0: none does, its own cost is what is charged */
    uint64_t extra_ns;  /* what any touch costs beyond what who answers it can see; not 0, too */
    uint64_t burst_ns;  /* credit that may be spent at once, where that is more than a touch costs */
};

/** slow_charge_ns() - a charge beside which @touch_ns, the cost of a touch that is not charged, is
 *  small. */
uint64_t slow_charge_ns(uint64_t touch_ns);

struct slow {
    struct slow_cost cost;
    double share;       /* 1 - 1/f */
    uint32_t max_users;
    uint32_t users;     /* threads that seem to use the node at a time */
    double weight;      /* 0 to 1: of the share, by how much is in use */
    double credit_ns;
    uint64_t credit_at_ns;
    double supply;      /* pages to be taken out for each charge */
    double free_ns;     /* what who answers saw touches wait for that were not charged; a mean */
    uint32_t waiting;   /* charged touches that are not answered */
    uint64_t busy_since_ns; /* while some wait */
    /* Since the last tick. */
    uint64_t tick_at_ns;
    uint32_t charged, spared; /* touches of pages that were taken out; no credit was there for those */
    double earned_ns, lost_ns; /* credit; for which there was no room */
    double waited_ns, busy_ns;
    /* Of the last ticks, the latest counting most: shares of time, and waiting at a time. */
    double mean_waited, mean_busy, most_waiting;
};

/** slow_init() - @factor_milli: thousandths, SLOW_FACTOR_MIN_MILLI to _MAX_. @max_users: there are no
 *  more threads than that, at least 1. */
void slow_init(struct slow *s, uint32_t factor_milli, const struct slow_cost *cost,
               uint32_t max_users, uint64_t now_ns);

/** slow_touch() - a page that was taken out is touched. Return: how long that waits; 0: there is no
 *  credit, answer it now. */
uint64_t slow_touch(struct slow *s, uint64_t now_ns);

/** slow_answered() - a charged touch is answered, @waited_ns after it was seen. */
void slow_answered(struct slow *s, uint64_t now_ns, uint64_t waited_ns);

/** slow_answered_free() - one that was not charged. */
void slow_answered_free(struct slow *s, uint64_t waited_ns);

/** slow_tick_ns() - between two calls of slow_tick(). */
uint64_t slow_tick_ns(const struct slow *s);

/** slow_tick() - @used_pages: of the node, as far as known. */
void slow_tick(struct slow *s, uint64_t now_ns, uint64_t used_pages);

/** slow_may_take() - how many pages may be taken out now, side by side; 0: there is no credit for
 *  the touch of one. */
uint32_t slow_may_take(struct slow *s, uint64_t now_ns);

/** slow_zap_ns() - how long to wait from one time that pages are taken out to the next. */
uint64_t slow_zap_ns(const struct slow *s);

#endif
