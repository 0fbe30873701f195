/* SPDX-License-Identifier: Apache-2.0 */
/* What other threads may do to the event loop: messages and calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "vmm/base/test/evloop_fixture.h"

enum { N_THREADS = 4 };

static void count_message(void *ctx)
{
    struct fixture *f = ctx;

    f->calls++; /* loop thread only: the thread sanitizer would see two at once */
}

static void *post_many(void *arg)
{
    struct fixture *f = arg;

    for (int i = 0; i < N_POSTS; i++)
        if (i % 8 == 0)
            evloop_call(f->loop, count_message, f);
        else
            (void)evloop_post(f->loop, count_message, f);
    return NULL;
}

static void *run_loop(void *arg)
{
    struct fixture *f = arg;

    return (void *)(intptr_t)evloop_run(f->loop, NULL);
}

static void mark_served(void *ctx)
{
    struct fixture *f = ctx;

    atomic_store(&f->served, 1);
}

static void messages_of_many_threads_are_all_served(void **state)
{
    pthread_t runner, posters[N_THREADS];
    struct fixture f;
    void *r;

    (void)state;
    setup(&f);
    assert_int_equal(pthread_create(&runner, NULL, run_loop, &f), 0);
    while (!atomic_load(&f.served)) { /* until it runs: a call would otherwise run here */
        assert_int_equal(evloop_post(f.loop, mark_served, &f), 0);
        (void)sched_yield();
    }
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&posters[i], NULL, post_many, &f), 0);
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_join(posters[i], NULL), 0);
    evloop_stop(f.loop);
    assert_int_equal(pthread_join(runner, &r), 0);
    assert_null(r);
    assert_int_equal(f.calls, N_THREADS * N_POSTS);
    teardown(&f);
}

struct numbered {
    struct fixture *f;
    unsigned number;
};

static void note(void *ctx)
{
    struct numbered *n = ctx;

    n->f->order[n->f->n_order++] = n->number;
}

static void messages_keep_their_order_and_precede_the_stop(void **state)
{
    struct numbered n[10];
    struct fixture f;

    (void)state;
    setup(&f);
    for (unsigned i = 0; i < 10; i++) {
        n[i] = (struct numbered){ &f, i };
        assert_int_equal(evloop_post(f.loop, note, &n[i]), 0);
    }
    evloop_stop(f.loop); /* before the run: it ends at once, but serves first */
    assert_int_equal(evloop_run(f.loop, NULL), 0);
    assert_int_equal(f.n_order, 10);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(f.order[i], i);
    teardown(&f);
}

static void look(void *ctx)
{
    struct fixture *f = ctx;

    f->calls++;
}

static void call_and_stop(void *ctx)
{
    struct fixture *f = ctx;

    evloop_call(f->loop, look, f); /* on its own thread: at once, not a deadlock */
    assert_int_equal(f->calls, 1);
    evloop_stop(f->loop);
}

static void a_call_runs_at_once_on_the_loops_own_thread(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(evloop_post(f.loop, call_and_stop, &f), 0);
    assert_int_equal(evloop_run(f.loop, NULL), 0);
    evloop_call(f.loop, look, &f); /* nobody runs it any more: here and now */
    assert_int_equal(f.calls, 2);
    teardown(&f);
}

static void messages_never_served_are_released(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    for (int i = 0; i < 10; i++)
        assert_int_equal(evloop_post(f.loop, look, &f), 0);
    teardown(&f); /* the address sanitizer watches */
    assert_int_equal(f.calls, 0);
}

/* Calls and messages race with the begin and the end of the loop: each call returns, and never
 * are two at work. The counter is not atomic, for ThreadSanitizer to see it too. */
struct alone {
    struct evloop *loop;
    atomic_bool inside, overlapped, let_go;
    unsigned n_calls;
    atomic_uint n_returned;
};

enum { N_CALLERS = 3, N_CALLS = 200, N_ROUNDS = 30 };

static void be_alone(void *ctx)
{
    struct alone *a = ctx;

    if (atomic_exchange(&a->inside, true))
        atomic_store(&a->overlapped, true);
    a->n_calls++;
    (void)sched_yield();
    atomic_store(&a->inside, false);
}

static void be_alone_within(void *ctx)
{
    struct alone *a = ctx;

    evloop_call(a->loop, be_alone, a); /* the loop is ours, whoever we are */
}

static void *call_many(void *arg)
{
    struct alone *a = arg;

    for (int i = 0; i < N_CALLS; i++) {
        if (i % 4 == 0 && evloop_post(a->loop, be_alone, a) < 0)
            abort();
        evloop_call(a->loop, i % 2 ? be_alone : be_alone_within, a);
        atomic_fetch_add(&a->n_returned, 1);
    }
    return NULL;
}

static void *run_alone(void *arg)
{
    if (evloop_run(((struct alone *)arg)->loop, NULL) < 0)
        abort();
    return NULL;
}

static void calls_are_alone_while_the_loop_begins_and_ends(void **state)
{
    (void)state;
    for (unsigned round = 0; round < N_ROUNDS; round++) {
        pthread_t runner, callers[N_CALLERS];
        struct alone a = { 0 };

        assert_int_equal(evloop_new(&a.loop, NULL), 0);
        for (int i = 0; i < N_CALLERS; i++)
            assert_int_equal(pthread_create(&callers[i], NULL, call_many, &a), 0);
        assert_int_equal(pthread_create(&runner, NULL, run_alone, &a), 0);
        while (atomic_load(&a.n_returned) < round * N_CALLERS * N_CALLS / N_ROUNDS)
            (void)sched_yield();
        evloop_stop(a.loop);
        assert_int_equal(pthread_join(runner, NULL), 0);
        for (int i = 0; i < N_CALLERS; i++)
            assert_int_equal(pthread_join(callers[i], NULL), 0);
        assert_int_equal(atomic_load(&a.n_returned), N_CALLERS * N_CALLS);
        assert_false(atomic_load(&a.overlapped));
        evloop_stop(a.loop);
        assert_int_equal(evloop_run(a.loop, NULL), 0); /* the messages that came after the end */
        assert_int_equal(a.n_calls, N_CALLERS * (N_CALLS + N_CALLS / 4));
        evloop_free(a.loop);
    }
}

static void hold(void *ctx)
{
    struct alone *a = ctx;

    atomic_store(&a->inside, true);
    while (!atomic_load(&a->let_go))
        (void)sched_yield();
    atomic_store(&a->inside, false);
}

static void *call_hold(void *arg)
{
    evloop_call(((struct alone *)arg)->loop, hold, arg);
    return NULL;
}

static void *call_once(void *arg)
{
    struct alone *a = arg;

    evloop_call(a->loop, be_alone, a);
    atomic_fetch_add(&a->n_returned, 1);
    return NULL;
}

/* A call has found the loop idle and takes its time. */
static void a_loop_begins_when_the_call_before_it_is_done(void **state)
{
    pthread_t holder, runner, caller;
    struct alone a = { 0 };

    (void)state;
    assert_int_equal(evloop_new(&a.loop, NULL), 0);
    assert_int_equal(evloop_post(a.loop, be_alone, &a), 0);
    assert_int_equal(pthread_create(&holder, NULL, call_hold, &a), 0);
    while (!atomic_load(&a.inside))
        (void)sched_yield();
    assert_int_equal(pthread_create(&runner, NULL, run_alone, &a), 0);
    assert_int_equal(pthread_create(&caller, NULL, call_once, &a), 0);
    (void)usleep(20000);
    assert_int_equal(atomic_load(&a.n_returned), 0);
    atomic_store(&a.let_go, true);
    assert_int_equal(pthread_join(holder, NULL), 0);
    assert_int_equal(pthread_join(caller, NULL), 0);
    evloop_stop(a.loop);
    assert_int_equal(pthread_join(runner, NULL), 0);
    assert_false(atomic_load(&a.overlapped));
    assert_int_equal(a.n_calls, 2);
    evloop_free(a.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_of_many_threads_are_all_served),
        cmocka_unit_test(messages_keep_their_order_and_precede_the_stop),
        cmocka_unit_test(a_call_runs_at_once_on_the_loops_own_thread),
        cmocka_unit_test(messages_never_served_are_released),
        cmocka_unit_test(a_loop_begins_when_the_call_before_it_is_done),
        cmocka_unit_test(calls_are_alone_while_the_loop_begins_and_ends),
    };

    return cmocka_run_group_tests_name("base/evloop_messages", tests, NULL, NULL);
}
