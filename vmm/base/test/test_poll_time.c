/* SPDX-License-Identifier: Apache-2.0 */
/* For how long to poll: as a table, and as a bound on what polling may cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vmm/base/macros.h"
#include "vmm/base/poll_time.h"

enum { MAX_NS = 32000 };

static void the_time_follows_the_waits(void **state)
{
    static const struct {
        uint64_t ns, max_ns, waited_ns, next_ns;
    } rows[] = {
        { 0, MAX_NS, 1000, POLL_TIME_FIRST_NS }, /* soon enough to try */
        { 4000, MAX_NS, 5000, 8000 },            /* a little late: grow */
        { 8000, MAX_NS, 8000, 8000 },            /* in time: stay */
        { 8000, MAX_NS, 0, 8000 },
        { 20000, MAX_NS, 30000, MAX_NS }, /* no further than the bound */
        { MAX_NS, MAX_NS, MAX_NS, MAX_NS },
        { MAX_NS, MAX_NS, MAX_NS + 1, 0 }, /* looking would never have covered it */
        { 4000, MAX_NS, UINT64_MAX, 0 },
        { 0, 1000, 500, 1000 }, /* a bound below the first step */
        { 0, 0, 0, 0 },
        { 0, 0, 5, 0 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct poll_time slept = { .max_ns = rows[i].max_ns, .ns = rows[i].ns }, looked = slept;

        poll_time_slept(&slept, rows[i].waited_ns);
        assert_int_equal(poll_time_allowed(&slept, 1), rows[i].next_ns);
        if (rows[i].waited_ns / 2 > rows[i].max_ns)
            continue; /* another rule, below */
        poll_time_looked(&looked, 1, rows[i].waited_ns, true);
        assert_int_equal(poll_time_allowed(&looked, 1), rows[i].next_ns);
    }
}

/* Looking in vain is at most as long as the bound, and stops with the first long wait. */
static void idling_costs_one_bound_at_most(void **state)
{
    struct poll_time pt = { .max_ns = MAX_NS, .ns = MAX_NS };
    uint64_t wasted_ns = 0;

    (void)state;
    for (uint64_t now = 1; now < 1000000000u; now += 1000000) {
        uint64_t looked_ns = poll_time_allowed(&pt, now);

        wasted_ns += looked_ns;
        poll_time_looked(&pt, now + looked_ns, looked_ns, false);
        poll_time_slept(&pt, 1000000);
    }
    assert_int_equal(wasted_ns, MAX_NS);
}

static void steady_work_is_looked_for_after_a_few_events(void **state)
{
    struct poll_time pt = { .max_ns = MAX_NS };
    unsigned late = 0;

    (void)state;
    for (int i = 0; i < 100; i++) {
        late += poll_time_allowed(&pt, 1) < 20000;
        poll_time_slept(&pt, 20000);
    }
    assert_int_equal(late, 4); /* 0, 4, 8 and 16 us were too short */
}

static void who_lost_its_cpu_rests(void **state)
{
    const uint64_t now = 1000000000, until = now + POLL_TIME_REST_NS;
    struct poll_time pt;

    (void)state;
    for (int found = 0; found < 2; found++) {
        pt = (struct poll_time){ .max_ns = MAX_NS, .ns = 8000 };
        poll_time_looked(&pt, now, 2 * MAX_NS + 1, found); /* late, but not that late */
        assert_int_equal(pt.rest_until_ns, 0);
        poll_time_looked(&pt, now, 2 * MAX_NS + 2, found);
        poll_time_slept(&pt, 1000); /* work that comes soon makes no difference ... */
        assert_int_equal(poll_time_allowed(&pt, now), 0);
        assert_int_equal(poll_time_allowed(&pt, until - 1), 0);
        assert_int_equal(poll_time_allowed(&pt, until), POLL_TIME_FIRST_NS); /* ... until then */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_time_follows_the_waits),
        cmocka_unit_test(idling_costs_one_bound_at_most),
        cmocka_unit_test(steady_work_is_looked_for_after_a_few_events),
        cmocka_unit_test(who_lost_its_cpu_rests),
    };
    return cmocka_run_group_tests_name("vmm/base/poll_time", tests, NULL, NULL);
}
