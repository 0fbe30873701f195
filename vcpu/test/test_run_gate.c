/* SPDX-License-Identifier: Apache-2.0 */
/* Who is away waits at an open gate, counts as parked, and leaves when all stop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vcpu/run_gate.h"

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
    run_gate_wait_parked(&v->gate);
    run_gate_set(&v->gate, RUN_STATE_RUN);
}

static void who_is_away_waits_until_it_is_not(void **state)
{
    struct visitor v;
    pthread_t thread;

    (void)state;
    begin(&v, &thread);
    run_gate_set(&v.gate, RUN_STATE_PAUSE); /* parked as before: nobody waits for it for ever */
    run_gate_wait_parked(&v.gate);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_away_waits_until_it_is_not),
        cmocka_unit_test(who_is_away_stops_with_all),
    };

    return cmocka_run_group_tests_name("vcpu/run_gate", tests, NULL, NULL);
}
