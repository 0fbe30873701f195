/* SPDX-License-Identifier: Apache-2.0 */
/* Decisions of a move: where it ends, how fast it goes, what goes first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "memory/policy/move_policy.h"
#include "vmm/base/macros.h"

static void a_move_arrives_when_nothing_is_left(void **state)
{
    struct move_state s = { .phase = MOVE_FORWARD };

    (void)state;
    assert_int_equal(move_next(&s, MOVE_PASS_DONE, 4096), MOVE_FORWARD);
    assert_int_equal(move_next(&s, MOVE_PASS_DONE, 0), MOVE_ARRIVED);
    assert_int_equal(move_next(&s, MOVE_CANCEL, 0), MOVE_ARRIVED); /* too late */
    assert_false(s.cancelled);
}

static void pages_that_are_held_for_ever_do_not_hold_the_move(void **state)
{
    struct move_state s = { .phase = MOVE_FORWARD };

    (void)state;
    for (int i = 1; i < MOVE_PASSES; i++)
        assert_int_equal(move_next(&s, MOVE_PASS_DONE, 4096), MOVE_FORWARD);
    assert_int_equal(move_next(&s, MOVE_PASS_DONE, 4096), MOVE_ARRIVED);
    s = (struct move_state){ .phase = MOVE_BACK };
    for (int i = 1; i < MOVE_PASSES; i++)
        assert_int_equal(move_next(&s, MOVE_PASS_DONE, 4096), MOVE_BACK);
    assert_int_equal(move_next(&s, MOVE_PASS_DONE, 4096), MOVE_HALF_WAY);
}

static void what_ends_a_move_early_turns_it_round(void **state)
{
    static const enum move_event events[] = { MOVE_CANCEL, MOVE_FULL };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
        struct move_state s = { .phase = MOVE_FORWARD, .pass = 5 };

        assert_int_equal(move_next(&s, events[i], 0), MOVE_BACK);
        assert_int_equal(s.pass, 0); /* all tries again */
        assert_int_equal(s.was_full, events[i] == MOVE_FULL);
        assert_int_equal(s.cancelled, events[i] == MOVE_CANCEL);
        assert_int_equal(move_next(&s, MOVE_CANCEL, 0), MOVE_BACK); /* once more says nothing new */
        assert_int_equal(move_next(&s, MOVE_PASS_DONE, 0), MOVE_RETURNED);
    }
}

static void who_wants_to_stay_stays(void **state)
{
    struct move_state s = { .phase = MOVE_FORWARD, .stay = true };

    (void)state;
    assert_int_equal(move_next(&s, MOVE_FULL, 0), MOVE_HALF_WAY);
    s = (struct move_state){ .phase = MOVE_FORWARD, .stay = true };
    assert_int_equal(move_next(&s, MOVE_CANCEL, 0), MOVE_HALF_WAY);
    s = (struct move_state){ .phase = MOVE_FORWARD };
    assert_int_equal(move_next(&s, MOVE_CANCEL_STAY, 0), MOVE_HALF_WAY);
    s = (struct move_state){ .phase = MOVE_BACK };
    assert_int_equal(move_next(&s, MOVE_CANCEL_STAY, 0), MOVE_HALF_WAY);
}

static void without_room_on_the_way_back_it_stays(void **state)
{
    struct move_state s = { .phase = MOVE_FORWARD };

    (void)state;
    assert_int_equal(move_next(&s, MOVE_FULL, 0), MOVE_BACK);
    assert_int_equal(move_next(&s, MOVE_FULL, 0), MOVE_HALF_WAY);
}

/* Whatever happens, a move ends: no sequence of events goes on for ever. */
static void every_sequence_of_events_ends(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 20000; seed++) {
        struct move_state s = { .phase = MOVE_FORWARD, .stay = seed & 1 };
        unsigned bits = seed * 2654435761u, steps = 0;

        while (!move_is_over(s.phase)) {
            (void)move_next(&s, (enum move_event)(bits >> 30), (bits >> 29) & 1 ? 4096 : 0);
            bits = bits * 1664525u + 1013904223u;
            steps += 1;
            /* Cancelling again and again does nothing; it is the passes that are counted. */
            assert_true(steps < 1000);
        }
        assert_true(s.phase == MOVE_ARRIVED || s.phase == MOVE_RETURNED ||
                    s.phase == MOVE_HALF_WAY);
        assert_true(!s.stay || s.phase != MOVE_RETURNED || !s.cancelled);
    }
}

static void the_rate_is_kept_and_there_are_no_bursts(void **state)
{
    struct move_rate rate = { .bytes_per_s = 100 * MIB };
    uint64_t now = 1000;

    (void)state;
    for (int i = 0; i < 50; i++) { /* 100 MiB, as fast as it may */
        move_rate_spend(&rate, now, 2 * MIB);
        assert_true(rate.ready_ns > now);
        now = rate.ready_ns;
    }
    assert_int_equal(now, 1000 + 1000000000u);
    now += 5000000000u; /* a pause */
    move_rate_spend(&rate, now, 2 * MIB);
    assert_int_equal(rate.ready_ns, now + 20000000u);
    move_rate_spend(&rate, now, 0); /* an empty extent costs nothing */
    assert_int_equal(rate.ready_ns, now + 20000000u);
}

static void no_limit_never_waits_and_a_tiny_one_does_not_wrap(void **state)
{
    struct move_rate rate = { 0 };

    (void)state;
    move_rate_spend(&rate, UINT64_MAX - 5, UINT64_MAX);
    assert_int_equal(rate.ready_ns, 0);
    rate.bytes_per_s = 1;
    move_rate_spend(&rate, UINT64_MAX - 5, UINT64_MAX);
    assert_true(rate.ready_ns == UINT64_MAX);
}

static void the_hottest_go_first_in_the_order_of_addresses(void **state)
{
    static const uint8_t heat[] = { 0, 3, 255, 3, 0, 255, 1 };
    static const uint32_t want[] = { 2, 5, 1, 3, 6, 0, 4 };
    uint32_t order[ARRAY_SIZE(heat)];

    (void)state;
    move_order(heat, ARRAY_SIZE(heat), order);
    assert_memory_equal(order, want, sizeof(want));
}

static void an_order_is_a_permutation_by_heat(void **state)
{
    uint8_t heat[500];
    uint32_t order[500];
    uint8_t seen[500] = { 0 };

    (void)state;
    srand(7);
    for (size_t i = 0; i < ARRAY_SIZE(heat); i++)
        heat[i] = (uint8_t)rand();
    move_order(heat, ARRAY_SIZE(heat), order);
    for (size_t i = 0; i < ARRAY_SIZE(heat); i++) {
        assert_true(order[i] < ARRAY_SIZE(heat) && seen[order[i]]++ == 0);
        if (i > 0)
            assert_true(heat[order[i - 1]] > heat[order[i]] ||
                        (heat[order[i - 1]] == heat[order[i]] && order[i - 1] < order[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_move_arrives_when_nothing_is_left),
        cmocka_unit_test(pages_that_are_held_for_ever_do_not_hold_the_move),
        cmocka_unit_test(what_ends_a_move_early_turns_it_round),
        cmocka_unit_test(who_wants_to_stay_stays),
        cmocka_unit_test(without_room_on_the_way_back_it_stays),
        cmocka_unit_test(every_sequence_of_events_ends),
        cmocka_unit_test(the_rate_is_kept_and_there_are_no_bursts),
        cmocka_unit_test(no_limit_never_waits_and_a_tiny_one_does_not_wrap),
        cmocka_unit_test(the_hottest_go_first_in_the_order_of_addresses),
        cmocka_unit_test(an_order_is_a_permutation_by_heat),
    };

    return cmocka_run_group_tests_name("memory/policy/move_policy", tests, NULL, NULL);
}
