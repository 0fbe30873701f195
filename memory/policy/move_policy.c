/* SPDX-License-Identifier: Apache-2.0 */
/* See move_policy.h. */
#include "memory/policy/move_policy.h"

#include "vmm/base/macros.h"

#define NS_PER_S 1000000000u

static enum move_phase turn(struct move_state *s)
{
    s->pass = 0;
    if (s->stay || s->phase == MOVE_BACK)
        return MOVE_HALF_WAY;
    return MOVE_BACK;
}

static enum move_phase pass_done(struct move_state *s, uint64_t left_bytes)
{
    s->pass++;
    if (left_bytes > 0 && s->pass < MOVE_PASSES)
        return s->phase;
    if (s->phase == MOVE_FORWARD)
        return MOVE_ARRIVED; /* the few pages that somebody holds on to are told */
    return left_bytes == 0 ? MOVE_RETURNED : MOVE_HALF_WAY;
}

enum move_phase move_next(struct move_state *s, enum move_event event, uint64_t left_bytes)
{
    if (move_is_over(s->phase))
        return s->phase;
    switch (event) {
    case MOVE_PASS_DONE:
        s->phase = pass_done(s, left_bytes);
        break;
    case MOVE_FULL:
        s->was_full = true;
        s->phase = turn(s);
        break;
    case MOVE_CANCEL_STAY:
        s->cancelled = s->stay = true;
        s->phase = turn(s);
        break;
    case MOVE_CANCEL:
        s->cancelled = true;
        if (s->phase == MOVE_FORWARD) /* else it is on its way back already */
            s->phase = turn(s);
        break;
    }
    return s->phase;
}

bool move_is_over(enum move_phase phase)
{
    return phase >= MOVE_ARRIVED;
}

void move_rate_spend(struct move_rate *rate, uint64_t began_ns, uint64_t bytes)
{
    unsigned __int128 ns;

    if (rate->bytes_per_s == 0)
        return;
    ns = (unsigned __int128)bytes * NS_PER_S / rate->bytes_per_s + MAX(began_ns, rate->ready_ns);
    rate->ready_ns = ns > UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
}

void move_order(const uint8_t *heat, size_t n, uint32_t *ret_order)
{
    size_t first[UINT8_MAX + 2] = { 0 }; /* [k]: where those that are k colder than 255 begin */

    for (size_t i = 0; i < n; i++)
        first[UINT8_MAX - heat[i] + 1]++;
    for (size_t k = 1; k < ARRAY_SIZE(first); k++)
        first[k] += first[k - 1];
    for (size_t i = 0; i < n; i++)
        ret_order[first[UINT8_MAX - heat[i]]++] = (uint32_t)i;
}
