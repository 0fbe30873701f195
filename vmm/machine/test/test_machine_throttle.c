/* SPDX-License-Identifier: Apache-2.0 */
/* A limit that the machine keeps itself, by a pthread of its own: a busy process closes the gate,
 * an idle one finds it open. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "vmm/machine/machine_private.h"

enum { NAP_US = 1000 };

static struct topo_plan_host hosts[1];
static struct topo_plan plan = { .hosts = hosts, .n_hosts = 1 };

static void begin(struct machine *m, uint32_t max_milli)
{
    *m = (struct machine){ .plan = &plan };
    idset_add(&hosts[0].cpus, 0);
    run_gate_init(&m->gate);
    run_gate_set(&m->gate, RUN_STATE_RUN);
    machine_limit_cpu(m, max_milli);
    assert_int_equal(machine_start_throttle(m, NULL), 0);
}

static void end(struct machine *m)
{
    machine_stop_throttle(m);
    assert_null(m->throttle);
    assert_true(run_gate_is_open(&m->gate));
    run_gate_fini(&m->gate);
}

static json_int_t counted(const struct machine *m, const char *what)
{
    json_t *json = machine_throttle_json(m);
    const json_int_t n = json_integer_value(json_object_get(json, what));

    json_decref(json);
    return n;
}

/* This thread stands for the vCPUs: it is busy while it may be. */
static void who_uses_more_is_held_again_and_again(void **state)
{
    struct machine m;

    (void)state;
    begin(&m, 50);
    /* One hold may last for three periods, and its time counts when it has ended. */
    while (counted(&m, "nr_throttled") < 3 || counted(&m, "throttled_usec") == 0)
        if (!run_gate_is_open(&m.gate))
            (void)usleep(NAP_US);
    assert_true(counted(&m, "nr_periods") >= 3);
    assert_true(counted(&m, "usage_usec") > 0);
    end(&m);
}

static void it_ends_in_the_midst_of_a_hold(void **state)
{
    struct machine m;

    (void)state;
    begin(&m, 10);
    while (run_gate_is_open(&m.gate))
        (void)sched_yield();
    end(&m);
}

static void who_sleeps_is_not_held(void **state)
{
    struct machine m;

    (void)state;
    begin(&m, 1000000);
    while (counted(&m, "nr_periods") < 3) {
        assert_true(run_gate_is_open(&m.gate));
        (void)usleep(NAP_US);
    }
    assert_int_equal(counted(&m, "nr_throttled"), 0);
    end(&m);
}

static void without_a_limit_there_is_nothing(void **state)
{
    struct machine m;

    (void)state;
    begin(&m, 0);
    assert_null(m.throttle);
    assert_null(machine_throttle_json(&m));
    end(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_uses_more_is_held_again_and_again),
        cmocka_unit_test(it_ends_in_the_midst_of_a_hold),
        cmocka_unit_test(who_sleeps_is_not_held),
        cmocka_unit_test(without_a_limit_there_is_nothing),
    };

    return cmocka_run_group_tests_name("machine/machine_throttle", tests, NULL, NULL);
}
