/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who pays how much for a slow node's memory, played through with threads that touch random pages of
 * a set in a world without a clock: what they get done, with and without, is the factor.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>

#include "memory/policy/slow.h"
#include "vmm/base/macros.h"

enum { USERS_MAX = 8, STEPS = 100, WARM_UP = 6000, LOOK = 6000 }; /* of a charge; charges */

struct world {
    uint32_t n_users;
    uint32_t pages;      /* of the set that all of them touch */
    uint32_t touch_ns;   /* from one touch of a thread's to the next */
    uint32_t late_ns;    /* how much longer than told a charge takes */
    uint32_t extra_ns;   /* any touch takes longer by, and nobody sees it */
    uint32_t idle_pages; /* that are mapped, and nobody touches */
    uint32_t max_users;
    uint32_t factor_milli;
    uint64_t seed;
};

static double dice(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return (double)((z ^ z >> 31) >> 11) / (double)(1ull << 53);
}

struct play {
    struct slow slow;
    uint64_t zap_at, tick_at, until[USERS_MAX], seen[USERS_MAX];
    bool waits[USERS_MAX], is_free[USERS_MAX];
    uint32_t out; /* pages that are out and in use */
    uint32_t idle;
    uint64_t step_ns;
    uint64_t ran_ns, all_ns;
};

static void end_wait(struct play *p, const struct world *w, uint32_t i, uint64_t now)
{
    const uint64_t waited = now - p->seen[i];
    const uint64_t seen = waited - MIN(waited, (uint64_t)w->extra_ns);

    p->waits[i] = false;
    if (p->is_free[i])
        slow_answered_free(&p->slow, seen);
    else
        slow_answered(&p->slow, now, seen);
}

static void touch(struct play *p, const struct world *w, uint32_t i, uint64_t now)
{
    const uint64_t charge = slow_touch(&p->slow, now);

    p->out--;
    p->waits[i] = true;
    p->is_free[i] = charge == 0;
    p->seen[i] = now;
    p->until[i] = now + charge + (charge > 0 ? w->late_ns : 0) + w->extra_ns;
}

static void step(struct play *p, const struct world *w, uint64_t *seed, uint64_t now, bool counts)
{
    for (; p->zap_at <= now; p->zap_at += slow_zap_ns(&p->slow)) {
        const uint32_t n = slow_may_take(&p->slow, now);

        if (dice(seed) * (w->pages - p->out + p->idle) < p->idle)
            p->idle -= MIN(p->idle, n);
        else
            p->out = MIN(p->out + n, w->pages);
    }
    if (now >= p->tick_at) {
        slow_tick(&p->slow, now, w->pages + p->idle);
        p->tick_at = now + slow_tick_ns(&p->slow);
    }
    for (uint32_t i = 0; i < w->n_users; i++) {
        if (p->waits[i] && now >= p->until[i])
            end_wait(p, w, i, now);
        if (counts)
            p->all_ns += p->step_ns;
        if (p->waits[i])
            continue;
        if (counts)
            p->ran_ns += p->step_ns;
        if (p->out > 0 &&
            dice(seed) < (double)p->out / w->pages * (double)p->step_ns / w->touch_ns)
            touch(p, w, i, now);
    }
}

/* How many times slower the threads are. */
static double play(const struct world *world, struct play *ret_play)
{
    const struct slow_cost cost = { .charge_ns = slow_charge_ns(world->extra_ns),
                                    .extra_ns = world->extra_ns };
    const uint64_t start = 1000000, warm = start + WARM_UP * cost.charge_ns;
    uint64_t seed = world->seed;
    struct play p = { .zap_at = start, .tick_at = start, .idle = world->idle_pages,
                      .step_ns = cost.charge_ns / STEPS };

    slow_init(&p.slow, world->factor_milli, &cost, world->max_users, start);
    for (uint64_t now = start; now < warm + LOOK * cost.charge_ns; now += p.step_ns)
        step(&p, world, &seed, now, now >= warm);
    if (ret_play != NULL)
        *ret_play = p;
    return (double)p.all_ns / (double)p.ran_ns;
}

static const struct world one = { .n_users = 1, .pages = 8192, .touch_ns = 100, .max_users = 8,
                                  .factor_milli = 4000, .seed = 1 };

static void must_be_near(double is, double wanted, double by)
{
    if (is < wanted * (1 - by) || is > wanted * (1 + by))
        fail_msg("%.2f instead of %.2f", is, wanted);
}

static void a_chase_is_slower_by_the_factor(void **state)
{
    static const uint32_t factors[] = { 1100, 1500, 2000, 3000, 4000, 8000, 16000 };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(factors); i++) {
        struct world w = one;

        w.factor_milli = factors[i];
        must_be_near(play(&w, NULL), factors[i] / 1000.0, factors[i] > 4000 ? 0.2 : 0.1);
    }
}

static void threads_that_wait_at_a_time_are_all_as_slow(void **state)
{
    (void)state;
    for (uint32_t n = 2; n <= USERS_MAX; n *= 2) {
        struct world w = one;
        struct play p;

        w.n_users = n;
        must_be_near(play(&w, &p), 4, 0.25);
        assert_in_range(p.slow.users, n > 2 ? n / 2 : 2, USERS_MAX);
    }
}

static void one_thread_is_never_taken_for_more(void **state)
{
    struct play p;

    (void)state;
    (void)play(&one, &p);
    assert_int_equal(p.slow.users, 1);
}

static void answers_that_come_late_are_paid_with_later_ones(void **state)
{
    struct world w = one;

    (void)state;
    w.late_ns = 400000;
    w.extra_ns = 200000;
    must_be_near(play(&w, NULL), 4, 0.1);
}

/* From a processor with second-level tables of its own to an emulated one. */
static void what_a_touch_costs_makes_no_difference(void **state)
{
    static const uint32_t costs[] = { 2000, 20000, 200000, 1000000, 5000000 };
    static const uint32_t factors[] = { 2000, 4000, 8000, 16000 };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(costs); i++)
        for (size_t k = 0; k < ARRAY_SIZE(factors); k++) {
            struct world w = one;

            w.extra_ns = costs[i];
            w.factor_milli = factors[k];
            w.touch_ns = costs[i] < 1000000 ? 100 : 1000;
            must_be_near(play(&w, NULL), factors[k] / 1000.0, 0.25);
        }
}

/* Credit of half a millisecond pays many of them at once. */
static void what_touches_cost_may_be_all_that_is_charged(void **state)
{
    static const uint32_t costs[] = { 2000, 20000, 500000 };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(costs); i++) {
        const struct slow_cost cost = { .extra_ns = costs[i], .burst_ns = 500000 };
        uint64_t now = 1000000, paid = 0;
        struct slow s;

        slow_init(&s, 4000, &cost, 8, now);
        for (uint64_t tick = 0; now < 2000000000; now += slow_zap_ns(&s)) {
            const uint32_t n = slow_may_take(&s, now);

            if (now >= tick) {
                slow_tick(&s, now, 100000);
                tick = now + slow_tick_ns(&s);
            }
            for (uint32_t k = 0; k < n; k++) {
                assert_int_equal(slow_touch(&s, now), 0);
                slow_answered_free(&s, 0);
                paid += costs[i];
            }
        }
        assert_in_range(paid, now / 10 * 6, now / 10 * 8);
    }
}

static void pages_that_nobody_uses_are_found_out(void **state)
{
    struct world w = one;
    struct play p;

    (void)state;
    w.idle_pages = 524288; /* 2 GiB */
    must_be_near(play(&w, &p), 4, 0.25);
    assert_in_range(p.idle, 0, w.idle_pages / 10);
}

static void a_large_set_gets_more_pages_taken_out(void **state)
{
    struct world w = one;
    struct play p;

    (void)state;
    w.pages = 262144; /* 1 GiB */
    must_be_near(play(&w, &p), 4, 0.15);
    w.touch_ns = 2000; /* an emulated processor */
    w.pages = 8192;
    must_be_near(play(&w, &p), 4, 0.15);
}

static void a_set_that_fits_into_caches_pays_in_proportion(void **state)
{
    struct world w = one;

    (void)state;
    w.pages = SLOW_SET_PAGES / 4;
    must_be_near(play(&w, NULL), 1 / (1 - 0.75 / 4), 0.1);
    w.pages = 8;
    must_be_near(play(&w, NULL), 1, 0.02);
}

static void nobody_waits_beyond_the_share_however_many_touches_there_are(void **state)
{
    const struct slow_cost cost = { .charge_ns = 500000 };
    struct slow s;
    uint64_t now = 0, waited = 0;

    (void)state;
    slow_init(&s, 4000, &cost, 8, 0);
    slow_tick(&s, 1, 100000);
    for (int i = 0; i < 1000000; i++) {
        const uint64_t charge = slow_touch(&s, now);

        if (charge > 0) {
            now += charge;
            waited += charge;
            slow_answered(&s, now, charge);
        } else {
            now += 1000;
        }
    }
    assert_in_range(waited, now * 73 / 100, now * 76 / 100);
}

static void a_rest_earns_no_burst(void **state)
{
    const struct slow_cost cost = { .charge_ns = 500000 };
    const uint64_t hour = 3600 * UINT64_C(1000000000);
    struct slow s;
    int charged = 0;

    (void)state;
    slow_init(&s, 4000, &cost, 8, 0);
    slow_tick(&s, hour, 100000);
    for (int i = 0; i < 100; i++)
        charged += slow_touch(&s, 2 * hour) > 0;
    assert_int_equal(charged, 4);
}

/* As in an emulated host: 2 ms for a touch that nobody charges. */
static void what_a_touch_costs_by_itself_is_within_the_share(void **state)
{
    const struct slow_cost cost = { .charge_ns = 500000 };
    const uint64_t touch_ns = 2000000, second = 1000000000;
    struct slow s;
    uint64_t now = second, waited = 0;

    (void)state;
    slow_init(&s, 4000, &cost, 8, 0);
    slow_tick(&s, now, 100000);
    while (now < 11 * second) {
        if (slow_may_take(&s, now) > 0) {
            now += touch_ns;
            waited += touch_ns;
            slow_answered_free(&s, touch_ns);
        }
        now += 10000;
    }
    assert_in_range(waited, 7 * second, 8 * second); /* three of four seconds, and no more */
}

/* However idle what is taken out was so far. */
static void no_more_is_out_than_there_is_credit_for(void **state)
{
    const struct slow_cost cost = { .charge_ns = 50000000, .extra_ns = 3000000 };
    const uint64_t second = 1000000000;
    struct slow s;
    uint32_t most = 0;

    (void)state;
    slow_init(&s, 4000, &cost, 8, 0);
    for (uint64_t now = second; now < 600 * second; now += slow_tick_ns(&s)) {
        slow_tick(&s, now, 100000);
        most = slow_may_take(&s, now);
    }
    assert_in_range(most, 10, 4 * 53 / 3); /* four charges, and 3 ms for each */
}

static void charges_of_nothing_tell_what_touches_cost(void **state)
{
    const struct slow_cost cost = { .extra_ns = 20000 };
    struct slow s;

    (void)state;
    slow_init(&s, 2000, &cost, 1, 0);
    slow_tick(&s, 1000000, 100000);
    assert_int_equal(slow_may_take(&s, 2000000), 1);
    assert_int_equal(slow_touch(&s, 2000000), 0);
    assert_in_range(slow_zap_ns(&s), 20000, 40000);
}

static void nothing_is_charged_before_it_is_known_what_is_in_use(void **state)
{
    const struct slow_cost cost = { .charge_ns = 500000 };
    struct slow s;

    (void)state;
    slow_init(&s, 4000, &cost, 8, 0);
    assert_int_equal(slow_touch(&s, 1000000000), 0);
    slow_tick(&s, 1000000000, 0);
    assert_int_equal(slow_touch(&s, 2000000000), 0);
}

static void a_charge_is_large_beside_what_a_touch_costs(void **state)
{
    (void)state;
    assert_int_equal(slow_charge_ns(0), SLOW_CHARGE_MIN_NS);
    assert_int_equal(slow_charge_ns(5000), SLOW_CHARGE_MIN_NS);
    assert_int_equal(slow_charge_ns(25000), 1000000);
    assert_int_equal(slow_charge_ns(1000000), 40000000);
    assert_int_equal(slow_charge_ns(5000000), SLOW_CHARGE_MAX_NS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chase_is_slower_by_the_factor),
        cmocka_unit_test(threads_that_wait_at_a_time_are_all_as_slow),
        cmocka_unit_test(one_thread_is_never_taken_for_more),
        cmocka_unit_test(answers_that_come_late_are_paid_with_later_ones),
        cmocka_unit_test(what_a_touch_costs_makes_no_difference),
        cmocka_unit_test(what_touches_cost_may_be_all_that_is_charged),
        cmocka_unit_test(pages_that_nobody_uses_are_found_out),
        cmocka_unit_test(no_more_is_out_than_there_is_credit_for),
        cmocka_unit_test(charges_of_nothing_tell_what_touches_cost),
        cmocka_unit_test(a_large_set_gets_more_pages_taken_out),
        cmocka_unit_test(a_set_that_fits_into_caches_pays_in_proportion),
        cmocka_unit_test(nobody_waits_beyond_the_share_however_many_touches_there_are),
        cmocka_unit_test(a_rest_earns_no_burst),
        cmocka_unit_test(what_a_touch_costs_by_itself_is_within_the_share),
        cmocka_unit_test(nothing_is_charged_before_it_is_known_what_is_in_use),
        cmocka_unit_test(a_charge_is_large_beside_what_a_touch_costs),
    };

    return cmocka_run_group_tests_name("memory/policy/slow", tests, NULL, NULL);
}
