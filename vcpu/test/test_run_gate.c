/* SPDX-License-Identifier: Apache-2.0 */
/* Who is away waits at an open gate, counts as parked, and leaves when all stop; who is told, and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <unistd.h>

#include "vcpu/test/gate_wait.h"

struct visitor {
    struct run_gate gate;
    atomic_bool away;
    bool went_on;
};

static void *visit(void *arg)
{
    struct visitor *v = arg;

    v->went_on = run_gate_pass(&v->gate, &v->away);
    run_gate_leave(&v->gate);
    return NULL;
}

static void begin(struct visitor *v, pthread_t *ret_thread)
{
    run_gate_init(&v->gate);
    atomic_store(&v->away, true);
    v->went_on = false;
    run_gate_enter(&v->gate);
    assert_int_equal(pthread_create(ret_thread, NULL, visit, v), 0);
    gate_wait(&v->gate);
    run_gate_set(&v->gate, RUN_STATE_RUN);
}

static void who_is_away_waits_until_it_is_not(void **state)
{
    struct visitor v;
    pthread_t thread;

    (void)state;
    begin(&v, &thread);
    run_gate_set(&v.gate, RUN_STATE_PAUSE); /* parked as before: nobody waits for it for ever */
    gate_wait(&v.gate);
    run_gate_set(&v.gate, RUN_STATE_RUN);
    assert_int_equal(v.gate.parked, 1);
    atomic_store(&v.away, false);
    run_gate_look_again(&v.gate);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(v.went_on);
    run_gate_fini(&v.gate);
}

static void who_is_away_stops_with_all(void **state)
{
    struct visitor v;
    pthread_t thread;

    (void)state;
    begin(&v, &thread);
    run_gate_set(&v.gate, RUN_STATE_STOP);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_false(v.went_on);
    run_gate_fini(&v.gate);
}

struct told {
    struct run_gate gate;
    atomic_bool nobody;
    atomic_uint n;
};

static void count(void *ctx)
{
    atomic_fetch_add(&((struct told *)ctx)->n, 1);
}

static void *come_by(void *arg)
{
    struct told *t = arg;

    (void)run_gate_pass(&t->gate, &t->nobody);
    run_gate_leave(&t->gate);
    return NULL;
}

static void who_wants_to_know_is_told_by_the_last_one(void **state)
{
    struct told t = { 0 };
    pthread_t first, last;

    (void)state;
    run_gate_init(&t.gate);
    run_gate_tell(&t.gate, count, &t);
    run_gate_enter(&t.gate);
    run_gate_enter(&t.gate);
    assert_int_equal(pthread_create(&first, NULL, come_by, &t), 0);
    (void)usleep(20000);
    assert_false(run_gate_is_parked(&t.gate)); /* one is not there */
    assert_int_equal(atomic_load(&t.n), 0);
    assert_int_equal(pthread_create(&last, NULL, come_by, &t), 0);
    gate_wait(&t.gate);
    assert_int_equal(atomic_load(&t.n), 1);
    run_gate_set(&t.gate, RUN_STATE_RUN);
    assert_int_equal(pthread_join(first, NULL), 0);
    assert_int_equal(pthread_join(last, NULL), 0);
    assert_int_equal(atomic_load(&t.n), 1); /* of those that leave a gate that is open nobody asks */
    run_gate_enter(&t.gate);
    run_gate_set(&t.gate, RUN_STATE_PAUSE);
    run_gate_leave(&t.gate); /* it failed instead of coming by */
    assert_true(run_gate_is_parked(&t.gate));
    assert_int_equal(atomic_load(&t.n), 2);
    run_gate_fini(&t.gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_wants_to_know_is_told_by_the_last_one),
        cmocka_unit_test(who_is_away_waits_until_it_is_not),
        cmocka_unit_test(who_is_away_stops_with_all),
    };

    return cmocka_run_group_tests_name("vcpu/run_gate", tests, NULL, NULL);
}
