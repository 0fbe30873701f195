/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for a machine's work: what goes on, what takes too long, who has enough of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>

#include "vmm/cli/ctl_wait.h"

static void who_interrupts_wants_no_more(void **state)
{
    struct ctl_wait w;
    sigset_t now;

    (void)state;
    assert_int_equal(ctl_wait_begin(&w, 600, NULL), 0);
    assert_true(ctl_wait_more(&w, 1));
    assert_int_equal(raise(SIGINT), 0);
    assert_false(ctl_wait_more(&w, 2));
    assert_true(w.cancelled);
    assert_false(ctl_wait_more(&w, 3)); /* nothing makes up for it */
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &now), 0);
    assert_false(sigismember(&now, SIGINT)); /* the next one ends us */
    ctl_wait_end(&w);
}

static void only_what_stands_still_takes_too_long(void **state)
{
    struct ctl_wait w;

    (void)state;
    assert_int_equal(ctl_wait_begin(&w, 0, NULL), 0);
    assert_false(ctl_wait_more(&w, 1));
    assert_false(w.cancelled);
    w.patience_ns = UINT64_MAX;
    assert_true(ctl_wait_more(&w, 1));
    w.since_ns = 0;
    w.patience_ns = 1000000000; /* of a clock that has been running for longer */
    assert_false(ctl_wait_more(&w, 1));
    w.patience_ns = 3600000000000;
    w.since_ns = 0;
    assert_true(ctl_wait_more(&w, 2)); /* it got on: from now */
    assert_true(w.since_ns > 0);
    ctl_wait_end(&w);
}

static void signals_are_as_before(void **state)
{
    struct ctl_wait w;
    sigset_t before, now;

    (void)state;
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &before), 0);
    assert_int_equal(ctl_wait_begin(&w, 1, NULL), 0);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &now), 0);
    assert_true(sigismember(&now, SIGINT) && sigismember(&now, SIGTERM));
    ctl_wait_end(&w);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &now), 0);
    assert_int_equal(sigismember(&now, SIGINT), sigismember(&before, SIGINT));
    assert_int_equal(sigismember(&now, SIGTERM), sigismember(&before, SIGTERM));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_interrupts_wants_no_more),
        cmocka_unit_test(only_what_stands_still_takes_too_long),
        cmocka_unit_test(signals_are_as_before),
    };

    return cmocka_run_group_tests_name("vmm/cli/ctl_wait", tests, NULL, NULL);
}
