/* SPDX-License-Identifier: Apache-2.0 */
/* See bandwidth.h. */
#include "vcpu/policy/bandwidth.h"

#include "vmm/base/macros.h"

enum { DEBT_QUOTAS = 50 }; /* five seconds of standing still with periods of 100 ms */

void bandwidth_init(struct bandwidth *b, uint64_t period_ns, uint64_t quota_ns, uint64_t now_ns,
                    uint64_t used_ns)
{
    *b = (struct bandwidth){ .period_ns = period_ns,
                             .quota_ns = quota_ns,
                             .end_ns = now_ns + period_ns,
                             .used_ns = used_ns,
                             .left_ns = (int64_t)quota_ns };
}

/* Each period that began pays for a debt first; no more than one quota is ever there to be used. */
static void refill(struct bandwidth *b, uint64_t now_ns)
{
    const int64_t quota = (int64_t)b->quota_ns;
    uint64_t n, pays;

    if (now_ns < b->end_ns)
        return;
    n = (now_ns - b->end_ns) / b->period_ns + 1;
    b->n_periods += n;
    b->n_throttled += b->held || b->left_ns <= 0;
    b->end_ns += n * b->period_ns;
    pays = b->left_ns < 0 ? ((uint64_t)-b->left_ns + b->quota_ns - 1) / b->quota_ns : 0;
    b->left_ns = n > pays ? quota : MIN(b->left_ns + (int64_t)n * quota, quota);
}

static void hold(struct bandwidth *b, uint64_t now_ns, bool held)
{
    if (b->held && !held)
        b->throttled_ns += now_ns - b->held_ns;
    if (!b->held && held)
        b->held_ns = now_ns;
    b->held = held;
}

struct bandwidth_next bandwidth_look(struct bandwidth *b, uint64_t now_ns, uint64_t used_ns,
                                     uint32_t n_threads, uint64_t least_ns)
{
    uint64_t run_ns;

    b->left_ns -= (int64_t)(used_ns - b->used_ns);
    b->left_ns = MAX(b->left_ns, -DEBT_QUOTAS * (int64_t)b->quota_ns);
    b->used_ns = used_ns;
    refill(b, now_ns);
    hold(b, now_ns, b->left_ns <= 0);
    if (b->held)
        return (struct bandwidth_next){ .hold = true, .at_ns = b->end_ns };
    run_ns = MAX((uint64_t)b->left_ns / n_threads, least_ns);
    return (struct bandwidth_next){ .at_ns = MIN(now_ns + run_ns, b->end_ns) };
}
