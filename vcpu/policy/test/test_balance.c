/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rebalancing: decisions that can be predicted by hand, 1,000 random traces with noise, and random
 * changes against the best of all assignments.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "vcpu/policy/test/balance_cases.h"

enum { TRACES = 1000, EPOCHS = 60, STEADY = 40, CASES = 60 };

#define GIB    (UINT64_C(1) << 30)
#define SECOND UINT64_C(1000000000)

/* Two equal host nodes of 8 CPUs, two virtual nodes of 4 busy CPUs and 4 GiB, one on each. */
static void make_pair(struct balance_case *c)
{
    *c = (struct balance_case){ .dice = 1 };
    case_aim(c, 2, 2);
    for (uint32_t h = 0; h < 2; h++) {
        c->nodes[h] = (struct balance_node){ .capacity_milli = 8000,
                                             .mem_bytes = 32 * GIB,
                                             .free_bytes = 28 * GIB };
        c->distances[h * 2 + h] = 1000;
        c->distances[h * 2 + 1 - h] = 2100;
        c->vnodes[h] = (struct balance_vnode){ .demand_milli = 4000, .home = h };
        c->at[h * 2 + h] = 4 * GIB;
    }
    c->snap.told = NULL;
}

static struct balance *start(const struct balance_case *c)
{
    const struct balance_params p = balance_defaults();
    struct balance *b = NULL;

    assert_int_equal(balance_new(&p, c->snap.n_nodes, c->snap.n_vnodes, &b, NULL), 0);
    return b;
}

static int epoch(struct balance *b, struct balance_case *c, struct balance_decision *d)
{
    c->snap.time_ns += CASE_EPOCH_S * SECOND;
    return balance_epoch(b, &c->snap, d, NULL);
}

/* Epochs until a decision, or @n of them without one: -1. */
static int wait_for(struct balance *b, struct balance_case *c, int n, struct balance_decision *d)
{
    for (int i = 0; i < n; i++)
        if (epoch(b, c, d) == 1)
            return i;
    return -1;
}

static void a_node_whose_cpus_went_is_left(void **state)
{
    struct balance_decision d;
    struct balance_case c;
    struct balance *b;

    (void)state;
    make_pair(&c);
    b = start(&c);
    c.nodes[1].capacity_milli = 0;
    /* Confirmed by three epochs, not by one. */
    assert_int_equal(wait_for(b, &c, 10, &d), 2);
    assert_int_equal(d.step.n, 1);
    assert_int_equal(d.step.vnode[0], 1);
    assert_int_equal(d.step.from[0], 1);
    assert_int_equal(d.step.to[0], 0);
    assert_int_equal(d.bytes, 4 * GIB);
    assert_true(d.predicted > 4 * BALANCE_CPU / 2 && d.predicted > d.threshold);
    assert_int_equal(balance_log(b, 0)->outcome, BALANCE_WAITING);

    (void)case_obey(&c, &d);
    assert_int_equal(wait_for(b, &c, 30, &d), -1);
    assert_int_equal(balance_log(b, 0)->outcome, BALANCE_DONE);
    assert_true(balance_log(b, 0)->achieved == balance_log(b, 0)->predicted);
    assert_null(balance_log(b, 1));
    balance_free(b);
}

static void nothing_moves_while_all_wait_for_memory(void **state)
{
    struct balance_decision d;
    struct balance_case c;
    struct balance *b;

    (void)state;
    make_pair(&c);
    b = start(&c);
    c.nodes[1].capacity_milli = 0;
    c.snap.stall = BALANCE_STALL_ALL / 5;
    assert_int_equal(wait_for(b, &c, 20, &d), -1);
    c.snap.stall = BALANCE_STALL_ALL / 20;
    assert_int_equal(wait_for(b, &c, 10, &d), 2);
    c.snap.stall = BALANCE_STALL_ALL + 1;
    assert_int_equal(epoch(b, &c, &d), -EINVAL);
    balance_free(b);
}

static void what_is_fixed_or_has_no_room_stays(void **state)
{
    struct balance_decision d;
    struct balance_case c;
    struct balance *b;

    (void)state;
    make_pair(&c);
    c.nodes[1].capacity_milli = 0;
    c.vnodes[1].fixed = true;
    b = start(&c);
    assert_int_equal(wait_for(b, &c, 20, &d), -1);
    balance_free(b);

    c.vnodes[1].fixed = false;
    c.nodes[0].free_bytes = 4 * GIB - 1;
    b = start(&c);
    assert_int_equal(wait_for(b, &c, 20, &d), -1);
    balance_free(b);
}

static void a_promise_is_kept_before_load(void **state)
{
    struct balance_decision d;
    struct balance_case c;
    struct balance *b;

    (void)state;
    /* Node 0 is crowded by others; the second virtual node was told that the first is as near as
     * its own memory, and they are together. */
    make_pair(&c);
    case_move(&c, 1, 0);
    c.nodes[0].others_milli = 3000;
    b = start(&c);
    assert_int_equal(wait_for(b, &c, 20, &d), 2);
    balance_free(b);

    for (int i = 0; i < 4; i++)
        c.told[i] = 10;
    c.snap.told = c.told;
    b = start(&c);
    if (wait_for(b, &c, 20, &d) >= 0) /* both together may go */
        assert_int_equal(d.step.n, 2);
    balance_free(b);
}

static void stray_memory_is_brought_home(void **state)
{
    struct balance_decision d;
    struct balance_case c;
    struct balance *b;

    (void)state;
    make_pair(&c);
    c.at[0] = 0;
    c.at[1] = 4 * GIB;
    c.nodes[0].free_bytes = 32 * GIB;
    c.nodes[1].free_bytes = 24 * GIB;
    c.nodes[0].others_milli = c.nodes[1].others_milli = 4000; /* so nobody can follow the memory */
    for (int i = 0; i < 4; i++) /* and the guest keeps away from the other node's */
        c.told[i] = i % 3 == 0 ? 10 : 40;
    c.snap.told = c.told;
    b = start(&c);
    assert_true(wait_for(b, &c, 20, &d) >= 2);
    assert_int_equal(d.step.n, 1);
    assert_int_equal(d.step.vnode[0], 0);
    assert_int_equal(d.step.to[0], 0);
    assert_int_equal(d.bytes, 4 * GIB);
    (void)case_obey(&c, &d);
    assert_int_equal(wait_for(b, &c, 20, &d), -1);
    assert_int_equal(balance_log(b, 0)->outcome, BALANCE_DONE);
    assert_true(balance_log(b, 0)->achieved > 0);
    balance_free(b);
}

static void advice_that_nobody_takes_rests(void **state)
{
    struct balance_decision d;
    struct balance_case c;
    struct balance *b;
    uint64_t first;

    (void)state;
    make_pair(&c);
    b = start(&c);
    c.nodes[1].capacity_milli = 0;
    assert_int_equal(wait_for(b, &c, 10, &d), 2);
    first = d.time_ns;
    assert_true(wait_for(b, &c, 40, &d) >= 0);
    assert_true(d.time_ns - first >= 60 * SECOND);
    assert_int_equal(balance_log(b, 0)->outcome, BALANCE_NOT_DONE);
    balance_free(b);
}

/* Both nodes lose their CPUs in turn, again and again: each return asks for more. */
static void going_to_and_fro_raises_the_threshold(void **state)
{
    int64_t threshold = 0;
    struct balance_decision d;
    struct balance_case c;
    struct balance *b;

    (void)state;
    make_pair(&c);
    c.vnodes[0].fixed = true;
    c.distances[1] = c.distances[2] = 1200;
    b = start(&c);
    for (uint32_t turn = 0; turn < 3; turn++) {
        c.nodes[1 - turn % 2].capacity_milli = 0;
        c.nodes[turn % 2].capacity_milli = 8000;
        assert_true(wait_for(b, &c, 30, &d) >= 0);
        assert_int_equal(d.ping_pong, turn > 1 ? turn - 1 : 0);
        assert_true(d.threshold >= threshold * (d.ping_pong > 0 ? 3 : 2) / 2 || turn < 2);
        threshold = d.threshold;
        (void)case_obey(&c, &d);
    }
    balance_free(b);
}

static void nonsense_is_refused_and_changes_nothing(void **state)
{
    struct balance_decision d = { .bytes = 7 };
    struct balance *b = (void *)0x1, *real;
    struct balance_params p = balance_defaults();
    struct errctx ec = { 0 };
    struct balance_case c;

    (void)state;
    assert_int_equal(balance_new(&p, 2, 0, &b, &ec), -EINVAL);
    assert_string_equal(ec.msg, "0 virtual nodes on 2 host nodes cannot be balanced");
    assert_ptr_equal(b, (void *)0x1);

    make_pair(&c);
    real = start(&c);
    c.vnodes[1].home = 2;
    assert_int_equal(balance_epoch(real, &c.snap, &d, &ec), -EINVAL);
    assert_string_equal(ec.msg, "virtual node 1 is on a host node that is none");
    c.vnodes[1].home = 1;
    c.nodes[0].free_bytes = 33 * GIB;
    assert_int_equal(balance_epoch(real, &c.snap, &d, &ec), -EINVAL);
    c.nodes[0].free_bytes = 28 * GIB;
    assert_int_equal(balance_epoch(real, &c.snap, &d, &ec), 0);
    assert_int_equal(balance_epoch(real, &c.snap, &d, &ec), -EINVAL);
    assert_string_equal(ec.msg, "time went back");
    c.snap.time_ns++;
    c.snap.n_vnodes = 1;
    assert_int_equal(balance_epoch(real, &c.snap, &d, &ec), -EINVAL);
    assert_string_equal(ec.msg, "the numbers of nodes have changed");
    assert_int_equal(d.bytes, 7);
    balance_free(real);
    balance_free(NULL);
}

/* A trace: a change in the middle, loads off by up to 20 % all the time. Times of moves are judged
 * here, not by what the policy remembers. */
static unsigned run_noisy(uint64_t seed, struct balance_decision *ret_all)
{
    uint64_t moved_ns[CASE_VNODES] = { 0 };
    struct balance_case c, base;
    struct balance_decision d;
    unsigned n = 0;
    struct balance *b;

    case_make(&c, seed);
    case_aim(&c, c.snap.n_nodes, c.snap.n_vnodes);
    b = start(&c);
    base = c;
    for (int i = 0; i < EPOCHS; i++) {
        if (i == EPOCHS / 2) {
            case_change(&base, (enum case_change)(seed % CASE_CHANGES));
            for (uint32_t h = 0; h < c.snap.n_nodes; h++)
                c.nodes[h].capacity_milli = base.nodes[h].capacity_milli;
        }
        case_noise(&c, &base);
        if (balance_epoch(b, &c.snap, &d, NULL) != 1)
            continue;
        for (uint32_t k = 0; k < d.step.n; k++) {
            const uint32_t v = d.step.vnode[k];

            assert_true(moved_ns[v] == 0 || c.snap.time_ns - moved_ns[v] >= 60 * SECOND);
            moved_ns[v] = c.snap.time_ns;
        }
        (void)case_obey(&c, &d);
        ret_all[n++] = d;
    }
    balance_free(b);
    return n;
}

static void no_node_moves_twice_within_its_residency(void **state)
{
    static struct balance_decision one[EPOCHS], two[EPOCHS];
    unsigned moves = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= TRACES; seed++) {
        const unsigned n = run_noisy(seed, one);

        moves += n;
        if (seed % 10 == 0) { /* the same again decides the same */
            assert_int_equal(run_noisy(seed, two), n);
            assert_memory_equal(one, two, n * sizeof(one[0]));
        }
    }
    assert_true(moves > TRACES / 4); /* there was something to see */
}

/* Noise alone moves nothing where all is as it should be. */
static void no_node_moves_in_steady_state(void **state)
{
    unsigned moves = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= TRACES; seed++) {
        struct balance_case c, base;
        struct balance_decision d;
        struct balance *b;
        unsigned settled;

        case_make(&c, seed);
        (void)case_settle(&c, &settled);
        base = c;
        b = start(&c);
        for (int i = 0; i < STEADY; i++) {
            case_noise(&c, &base);
            moves += balance_epoch(b, &c.snap, &d, NULL) == 1;
        }
        balance_free(b);
    }
    print_message("# decisions in steady state: %u in %d epochs\n", moves, TRACES * STEADY);
    assert_int_equal(moves, 0);
}

static void most_of_the_gain_is_had_for_little_memory(void **state)
{
    struct balance_score s = { 0 };

    (void)state;
    for (uint64_t seed = 0; seed < CASES; seed++)
        for (enum case_change what = CASE_HEAT; what < CASE_OFFLINE; what++)
            case_score(seed, what, &s);
    print_message("# %u cases: %.1f %% of the gain, %.1f %% of the memory\n", s.n,
                  100 * s.kept / s.possible, 100 * s.moved / s.memory);
    assert_true(s.n > CASES);
    assert_true(s.kept >= 0.8 * s.possible);
    assert_true(s.moved <= 0.15 * s.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_whose_cpus_went_is_left),
        cmocka_unit_test(nothing_moves_while_all_wait_for_memory),
        cmocka_unit_test(what_is_fixed_or_has_no_room_stays),
        cmocka_unit_test(a_promise_is_kept_before_load),
        cmocka_unit_test(stray_memory_is_brought_home),
        cmocka_unit_test(advice_that_nobody_takes_rests),
        cmocka_unit_test(going_to_and_fro_raises_the_threshold),
        cmocka_unit_test(nonsense_is_refused_and_changes_nothing),
        cmocka_unit_test(no_node_moves_twice_within_its_residency),
        cmocka_unit_test(no_node_moves_in_steady_state),
        cmocka_unit_test(most_of_the_gain_is_had_for_little_memory),
    };
    return cmocka_run_group_tests_name("vcpu/policy/balance", tests, NULL, NULL);
}
