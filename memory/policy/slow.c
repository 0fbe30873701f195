/* SPDX-License-Identifier: Apache-2.0 */
/* See slow.h. */
#include "memory/policy/slow.h"

#include "vmm/base/macros.h"

#define SUPPLY_FIRST 1.5
#define SUPPLY_MIN   1.2
#define SUPPLY_MAX   1024.0
#define SUPPLY_ONES  2.0 /* up to so many are taken out one by one */
#define MEAN_TICKS   40  /* how far means look back */
#define MOST_KEPT    0.992

enum {
    CREDIT_CHARGES = 4, /* saved up at most, or owed: there are no bursts after a rest */
    OWED_CHARGES = 8,
    CHARGE_TOUCHES = 40, /* a charge is worth so many touches */
};

static double share_of(uint32_t factor_milli)
{
    return 1 - 1000.0 / factor_milli;
}

uint64_t slow_charge_ns(uint64_t touch_ns)
{
    return MIN(MAX(touch_ns * CHARGE_TOUCHES, (uint64_t)SLOW_CHARGE_MIN_NS),
               (uint64_t)SLOW_CHARGE_MAX_NS);
}

void slow_init(struct slow *s, uint32_t factor_milli, const struct slow_cost *cost,
               uint32_t max_users, uint64_t now_ns)
{
    *s = (struct slow){ .cost = *cost,
                        .share = share_of(factor_milli),
                        .max_users = max_users,
                        .users = 1,
                        .supply = SUPPLY_FIRST,
                        .credit_at_ns = now_ns,
                        .tick_at_ns = now_ns };
}

/* What a touch costs that is charged. */
static double unit_ns(const struct slow *s)
{
    return (double)(s->cost.charge_ns + s->cost.extra_ns);
}

/* ... and one that is not. */
static double touch_ns(const struct slow *s)
{
    return s->free_ns + (double)s->cost.extra_ns;
}

static double burst_ns(const struct slow *s)
{
    return MAX(unit_ns(s), (double)s->cost.burst_ns);
}

static double credit_most(const struct slow *s)
{
    return CREDIT_CHARGES * burst_ns(s);
}

static void earn(struct slow *s, uint64_t now_ns)
{
    const double earned = (double)(now_ns - s->credit_at_ns) * s->share * s->users * s->weight;

    s->earned_ns += earned;
    s->lost_ns += MAX(s->credit_ns + earned - credit_most(s), 0.0);
    s->credit_ns = MIN(s->credit_ns + earned, credit_most(s));
    s->credit_at_ns = now_ns;
}

static void pay(struct slow *s, double ns)
{
    s->credit_ns = MAX(s->credit_ns - ns, -OWED_CHARGES * (burst_ns(s) + touch_ns(s)));
}

/* The charge is paid now, what it took beyond that when it is answered: while somebody waits others
 * are not to spend the same credit. */
uint64_t slow_touch(struct slow *s, uint64_t now_ns)
{
    earn(s, now_ns);
    if (s->credit_ns <= 0) {
        s->spared++;
        return 0;
    }
    s->charged++;
    if (s->cost.charge_ns == 0)
        return 0;
    if (s->waiting++ == 0)
        s->busy_since_ns = now_ns;
    s->most_waiting = MAX(s->most_waiting, (double)s->waiting);
    pay(s, (double)s->cost.charge_ns);
    return s->cost.charge_ns;
}

void slow_answered(struct slow *s, uint64_t now_ns, uint64_t waited_ns)
{
    const double waited = (double)waited_ns + (double)s->cost.extra_ns;

    earn(s, now_ns);
    pay(s, waited - (double)s->cost.charge_ns);
    s->waited_ns += (double)waited_ns;
    if (--s->waiting == 0)
        s->busy_ns += (double)(now_ns - MAX(s->busy_since_ns, s->tick_at_ns));
}

void slow_answered_free(struct slow *s, uint64_t waited_ns)
{
    s->free_ns += ((double)waited_ns - s->free_ns) / 16;
    pay(s, (double)waited_ns + (double)s->cost.extra_ns);
}

uint64_t slow_tick_ns(const struct slow *s)
{
    return (uint64_t)burst_ns(s) * SLOW_TICK_CHARGES;
}

/* For which part of the time at least one of @n waits, when all of them together do for @waited. */
static double busy_with(double waited, uint32_t n)
{
    const double idle = MAX(1 - waited / n, 0.0);
    double all_idle = 1;

    for (uint32_t i = 0; i < n; i++)
        all_idle *= idle;
    return 1 - all_idle;
}

/* The fewest that explain what was seen, and no more than waited at a time. Where nobody waits much
 * nothing can be told. */
static void count_users(struct slow *s)
{
    const uint32_t most = MIN(s->max_users, (uint32_t)(s->most_waiting + 0.5));
    uint32_t n = 1;

    s->most_waiting *= MOST_KEPT;
    if (s->mean_waited < s->share * s->weight / 4) {
        s->users = 1;
        return;
    }
    while (n < most && busy_with(s->mean_waited, n) > s->mean_busy * 1.01)
        n++;
    s->users = n;
}

/* Credit that nobody uses: too few are out, or few of them are in use. Touches without credit: too
 * many. */
static void adapt_supply(struct slow *s, uint64_t used_pages)
{
    const uint32_t touches = s->charged + s->spared;

    if (used_pages == 0)
        s->supply = SUPPLY_FIRST;
    else if (s->lost_ns > s->earned_ns / 20)
        s->supply = MIN(s->supply * 1.3, SUPPLY_MAX);
    else if (s->spared > touches / 2)
        s->supply = MAX(s->supply * 0.8, SUPPLY_MIN);
}

void slow_tick(struct slow *s, uint64_t now_ns, uint64_t used_pages)
{
    const double passed = (double)(now_ns - s->tick_at_ns);
    double waited = s->waited_ns, busy = s->busy_ns;

    earn(s, now_ns);
    if (passed <= 0)
        return;
    if (s->waiting > 0)
        busy += (double)(now_ns - MAX(s->busy_since_ns, s->tick_at_ns));
    s->mean_waited += (waited / passed - s->mean_waited) / MEAN_TICKS;
    s->mean_busy += (busy / passed - s->mean_busy) / MEAN_TICKS;
    count_users(s);
    s->weight = MIN(1, (double)used_pages / SLOW_SET_PAGES);
    adapt_supply(s, used_pages);
    s->waited_ns = s->busy_ns = s->earned_ns = s->lost_ns = 0;
    s->charged = s->spared = 0;
    s->tick_at_ns = now_ns;
}

uint32_t slow_may_take(struct slow *s, uint64_t now_ns)
{
    double n = s->supply / SUPPLY_ONES * burst_ns(s) / unit_ns(s);

    earn(s, now_ns);
    if (s->credit_ns <= 0)
        return 0;
    n = MIN(n, s->credit_ns / MAX(touch_ns(s), 1.0));
    return n > 1 ? (uint32_t)n : 1;
}

uint64_t slow_zap_ns(const struct slow *s)
{
    const double rate = s->share * s->users * MAX(s->weight, 0.05) * MIN(s->supply, SUPPLY_ONES);

    return (uint64_t)(burst_ns(s) / rate);
}
