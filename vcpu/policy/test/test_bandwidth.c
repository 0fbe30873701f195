/* SPDX-License-Identifier: Apache-2.0 */
/* Bandwidth control against threads that use what they get, in made-up time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>

#include "vcpu/policy/bandwidth.h"
#include "vmm/base/macros.h"

#define MS UINT64_C(1000000)

enum { PERIOD_MS = 100, LEAST_MS = 1 };

struct world {
    struct bandwidth b;
    uint64_t now_ns, used_ns;
    uint64_t ran_ns;     /* in which they could run */
    uint64_t longest_ns; /* without being looked at */
    unsigned n_looks, n_threads;
    uint64_t late_ns; /* each look, by up to so much */
    uint64_t dice;
};

static uint64_t roll(struct world *w, uint64_t sides)
{
    w->dice = w->dice * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (w->dice >> 33) % sides;
}

static struct world begin(uint64_t quota_ms, unsigned n_threads)
{
    struct world w = { .now_ns = 5 * MS, .used_ns = 777 * MS, .n_threads = n_threads, .dice = 1 };

    bandwidth_init(&w.b, PERIOD_MS * MS, quota_ms * MS, w.now_ns, w.used_ns);
    return w;
}

/* For @ms, while each of the threads that may run wants @percent of a CPU. */
static void go(struct world *w, uint64_t ms, unsigned percent)
{
    const uint64_t end = w->now_ns + ms * MS;

    while (w->now_ns < end) {
        const struct bandwidth_next next =
            bandwidth_look(&w->b, w->now_ns, w->used_ns, w->n_threads, LEAST_MS * MS);
        uint64_t step;

        assert_true(next.at_ns > w->now_ns);
        assert_true(next.at_ns <= w->b.end_ns);
        step = next.at_ns - w->now_ns + (w->late_ns > 0 ? roll(w, w->late_ns) : 0);
        if (!next.hold) {
            w->used_ns += step * w->n_threads * percent / 100;
            w->ran_ns += step;
        }
        w->now_ns += step;
        w->longest_ns = MAX(w->longest_ns, step);
        w->n_looks++;
    }
}

static double part_used(const struct world *w)
{
    return (double)(w->used_ns - 777 * MS) / (double)(w->now_ns - 5 * MS);
}

static void who_wants_more_gets_the_quota(void **state)
{
    static const struct {
        uint64_t quota_ms;
        unsigned n_threads;
        uint64_t late_ns;
    } cases[] = {
        { 1, 1, 0 },        { 20, 1, 0 },        { 50, 4, 0 },
        { 150, 2, 0 },      { 250, 64, 0 },      { 20, 1, 3 * MS },
        { 50, 4, 30 * MS }, { 100, 16, 250 * MS }, { 300, 8, 90 * MS },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct world w = begin(cases[i].quota_ms, cases[i].n_threads);
        const double wanted = (double)cases[i].quota_ms / PERIOD_MS;
        /* A debt is what can be used between two looks; it is paid in the end. */
        const double debt = cases[i].n_threads * (double)(LEAST_MS * MS + cases[i].late_ns);

        w.late_ns = cases[i].late_ns;
        go(&w, 60000, 100);
        assert_true(part_used(&w) <= wanted + debt / 60e9 + 0.0001);
        if (cases[i].late_ns == 0)
            assert_true(part_used(&w) > wanted * 0.95);
        assert_true(w.b.n_throttled > 0);
        assert_true(w.b.throttled_ns > 0);
        assert_true(w.b.n_throttled <= w.b.n_periods);
    }
}

static void who_wants_less_is_never_held(void **state)
{
    struct world w = begin(50, 4);

    (void)state;
    go(&w, 10000, 12); /* 0.48 CPUs of 0.5 */
    assert_int_equal(w.b.n_throttled, 0);
    assert_int_equal(w.b.throttled_ns, 0);
    assert_int_equal(w.ran_ns, w.now_ns - 5 * MS);
    assert_in_range(w.b.n_periods, 99, 100);
}

/* Looking costs something, and who idles should not pay for it. */
static void who_idles_is_looked_at_once_a_period(void **state)
{
    struct world w = begin(100, 1);

    (void)state;
    go(&w, 10000, 0);
    assert_in_range(w.n_looks, 99, 101);
}

static void what_was_left_over_is_not_kept(void **state)
{
    struct world w = begin(20, 1);
    uint64_t before;

    (void)state;
    go(&w, 10000, 0);
    before = w.used_ns;
    go(&w, PERIOD_MS, 100);
    assert_in_range(w.used_ns - before, 20 * MS, 41 * MS); /* of two periods that it lies in */
}

static void a_debt_is_paid_before_anything_runs(void **state)
{
    struct world w = begin(20, 1);
    struct bandwidth_next next;

    (void)state;
    w.now_ns += 50 * MS;
    w.used_ns += 70 * MS; /* 20 of this period, 50 too many */
    next = bandwidth_look(&w.b, w.now_ns, w.used_ns, 1, MS);
    assert_true(next.hold);
    for (int i = 0; i < 2; i++) {
        next = bandwidth_look(&w.b, next.at_ns, w.used_ns, 1, MS);
        assert_true(next.hold);
    }
    next = bandwidth_look(&w.b, next.at_ns, w.used_ns, 1, MS);
    assert_false(next.hold);
    assert_int_equal(w.b.left_ns, 10 * MS);
    assert_int_equal(w.b.n_throttled, 3);
    assert_int_equal(w.b.throttled_ns, 250 * MS);
}

/* Nobody looked for long: no quotas pile up, and none is lost while there is a debt. */
static void a_late_look_counts_all_periods(void **state)
{
    struct world w = begin(20, 1);

    (void)state;
    (void)bandwidth_look(&w.b, w.now_ns + 1050 * MS, w.used_ns, 1, MS);
    assert_int_equal(w.b.left_ns, 20 * MS);
    assert_int_equal(w.b.n_periods, 10);
    (void)bandwidth_look(&w.b, w.now_ns + 1060 * MS, w.used_ns + 320 * MS, 1, MS);
    assert_int_equal(w.b.left_ns, -300 * MS);
    (void)bandwidth_look(&w.b, w.now_ns + 2050 * MS, w.used_ns + 320 * MS, 1, MS);
    assert_int_equal(w.b.left_ns, -100 * MS);
    (void)bandwidth_look(&w.b, w.now_ns + 9050 * MS, w.used_ns + 320 * MS, 1, MS);
    assert_int_equal(w.b.left_ns, 20 * MS);
}

/* Whoever worked for a minute on the machine's behalf does not keep it standing for long. */
static void a_debt_has_an_end(void **state)
{
    struct world w = begin(20, 1);
    struct bandwidth_next next;
    unsigned n = 0;

    (void)state;
    w.used_ns += 60000 * MS;
    next = bandwidth_look(&w.b, w.now_ns, w.used_ns, 1, MS);
    assert_int_equal(w.b.left_ns, -50 * 20 * (int64_t)MS);
    for (; next.hold && n < 1000; n++)
        next = bandwidth_look(&w.b, next.at_ns, w.used_ns, 1, MS);
    assert_in_range(n, 50, 51);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_wants_more_gets_the_quota),
        cmocka_unit_test(who_wants_less_is_never_held),
        cmocka_unit_test(who_idles_is_looked_at_once_a_period),
        cmocka_unit_test(what_was_left_over_is_not_kept),
        cmocka_unit_test(a_debt_is_paid_before_anything_runs),
        cmocka_unit_test(a_debt_has_an_end),
        cmocka_unit_test(a_late_look_counts_all_periods),
    };

    return cmocka_run_group_tests_name("vcpu/policy/bandwidth", tests, NULL, NULL);
}
