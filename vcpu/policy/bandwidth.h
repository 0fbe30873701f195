/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU bandwidth control: when do threads that may use so much CPU time in each period have to stand
 * still, and when may they go on?
 *
 * As the kernel's scheduler does it for a cgroup's cpu.max (Turner, Rao, Rao: "CPU bandwidth
 * control for CFS", Linux Symposium 2010), for whoever has no cgroup and only can look at his
 * clock. Who looks is late by some time, and what was used too much is taken off the next periods,
 * 50 at most; what was left over is not kept. Pure: it is told the time and what was used.
 */
#ifndef VCPU_POLICY_BANDWIDTH_H
#define VCPU_POLICY_BANDWIDTH_H

#include <stdbool.h>
#include <stdint.h>

struct bandwidth {
    uint64_t period_ns, quota_ns; /* quota_ns of CPU time in each period */
    uint64_t end_ns;              /* of this period */
    uint64_t used_ns;             /* at the last look */
    int64_t left_ns;              /* of this period's quota; negative: a debt */
    bool held;
    uint64_t held_ns;                              /* since then, when held */
    uint64_t n_periods, n_throttled, throttled_ns; /* so far; as in a cgroup's cpu.stat */
};

struct bandwidth_next {
    bool hold;      /* stand still until then; else run */
    uint64_t at_ns; /* when to look again; later than now */
};

/** bandwidth_init() - @quota_ns > 0 in each @period_ns > 0, from @now_ns on, when @used_ns had been
 *  used. */
void bandwidth_init(struct bandwidth *b, uint64_t period_ns, uint64_t quota_ns, uint64_t now_ns,
                    uint64_t used_ns);

/**
 * bandwidth_look() - what is next.
 * @now_ns:  never before that of the last call.
 * @used_ns: CPU time used by all threads together, since ever.
 * @n_threads: that may run at once, at least 1: so fast can the quota be used up.
 * @least_ns: the shortest time that is worth to wait; so late may a look be.
 */
struct bandwidth_next bandwidth_look(struct bandwidth *b, uint64_t now_ns, uint64_t used_ns,
                                     uint32_t n_threads, uint64_t least_ns);

#endif
