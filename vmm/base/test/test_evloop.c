/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop: what callbacks may do to it, and what other threads may. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/base/evloop.h"

enum { N_THREADS = 4, N_POSTS = 2000, N_FDS = 8 };

static unsigned open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(d) != NULL)
        n++;
    (void)closedir(d);
    return n;
}

struct fixture {
    struct evloop *loop;
    struct evloop_watch *watch[N_FDS];
    struct evloop_timer *timer;
    int fd[N_FDS];
    unsigned calls;
    unsigned order[16], n_order;
    _Atomic unsigned served;
};

static void setup(struct fixture *f)
{
    *f = (struct fixture){ 0 };
    assert_int_equal(evloop_new(&f->loop, NULL), 0);
    for (int i = 0; i < N_FDS; i++)
        f->fd[i] = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK); /* readable at once */
}

static void teardown(struct fixture *f)
{
    evloop_free(f->loop);
    for (int i = 0; i < N_FDS; i++)
        (void)close(f->fd[i]);
}

static void stop(void *ctx)
{
    struct fixture *f = ctx;

    evloop_stop(f->loop);
}

/* --- one thread ------------------------------------------------------------------------------- */

static void remove_everybody(void *ctx, uint32_t events)
{
    struct fixture *f = ctx;

    assert_true(events & EPOLLIN);
    f->calls++;
    for (int i = 0; i < N_FDS; i++) {
        evloop_unwatch(f->watch[i]);
        f->watch[i] = NULL;
    }
    assert_int_equal(evloop_post(f->loop, stop, f), 0);
}

/* All are ready in one batch; the first callback removes the others and itself. */
static void a_removed_watch_is_not_called_in_the_same_batch(void **state)
{
    const unsigned before = open_fds();
    struct fixture f;

    (void)state;
    setup(&f);
    for (int i = 0; i < N_FDS; i++)
        assert_int_equal(evloop_watch_fd(f.loop, f.fd[i], EPOLLIN, remove_everybody, &f,
                                         &f.watch[i], NULL), 0);
    assert_int_equal(evloop_run(f.loop, NULL), 0);
    assert_int_equal(f.calls, 1);
    teardown(&f);
    assert_int_equal(open_fds(), before);
}

static void second(void *ctx, uint32_t events)
{
    struct fixture *f = ctx;

    (void)events;
    f->calls += 100;
    evloop_stop(f->loop);
}

static void replace_by_second(void *ctx, uint32_t events)
{
    struct fixture *f = ctx;

    (void)events;
    f->calls++;
    evloop_unwatch(f->watch[0]);
    assert_int_equal(evloop_watch_fd(f->loop, f->fd[0], EPOLLIN, second, f, &f->watch[0], NULL), 0);
}

static void a_callback_may_replace_its_own_watch(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(evloop_watch_fd(f.loop, f.fd[0], EPOLLIN, replace_by_second, &f, &f.watch[0],
                                     NULL), 0);
    assert_int_equal(evloop_run(f.loop, NULL), 0);
    assert_int_equal(f.calls, 101);
    teardown(&f); /* releases the watch that is left */
}

static void mute(void *ctx, uint32_t events)
{
    struct fixture *f = ctx;

    (void)events;
    f->calls++;
    evloop_watch_set(f->watch[0], 0);
    evloop_timer_arm(f->timer, evloop_now_ns() + 20000000u);
}

static void a_muted_watch_stays_silent_until_set_again(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(evloop_timer_new(f.loop, stop, &f, &f.timer, NULL), 0);
    assert_int_equal(evloop_watch_fd(f.loop, f.fd[0], EPOLLIN, mute, &f, &f.watch[0], NULL), 0);
    assert_int_equal(evloop_run(f.loop, NULL), 0);
    assert_int_equal(f.calls, 1);
    evloop_watch_set(f.watch[0], EPOLLIN);
    assert_int_equal(evloop_run(f.loop, NULL), 0);
    assert_int_equal(f.calls, 2);
    evloop_timer_free(f.timer);
    teardown(&f);
}

static void watching_a_bad_descriptor_fails_with_a_sentence(void **state)
{
    struct evloop_watch *w = (void *)0x1;
    struct errctx ec = { 0 };
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(evloop_watch_fd(f.loop, 123456, EPOLLIN, second, &f, &w, &ec), -EBADF);
    assert_string_equal(ec.msg, "watch descriptor 123456: Bad file descriptor");
    assert_ptr_equal(w, (void *)0x1);
    teardown(&f);
}

/* --- timers ----------------------------------------------------------------------------------- */

static void free_own_timer(void *ctx)
{
    struct fixture *f = ctx;

    f->calls++;
    evloop_timer_free(f->timer);
    f->timer = NULL;
    evloop_stop(f->loop);
}

static void a_timer_fires_once_not_early_and_may_free_itself(void **state)
{
    const unsigned before = open_fds();
    struct fixture f;
    uint64_t deadline;

    (void)state;
    setup(&f);
    assert_int_equal(evloop_timer_new(f.loop, free_own_timer, &f, &f.timer, NULL), 0);
    deadline = evloop_now_ns() + 5000000u;
    evloop_timer_arm(f.timer, deadline);
    assert_int_equal(evloop_run(f.loop, NULL), 0);
    assert_int_equal(f.calls, 1);
    assert_true(evloop_now_ns() >= deadline);
    teardown(&f);
    assert_int_equal(open_fds(), before);
}

static void count_timer(void *ctx)
{
    struct fixture *f = ctx;

    f->calls++;
}

static void a_disarmed_timer_is_silent_and_a_past_deadline_fires(void **state)
{
    struct evloop_timer *silent, *past;
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(evloop_timer_new(f.loop, stop, &f, &f.timer, NULL), 0);
    assert_int_equal(evloop_timer_new(f.loop, count_timer, &f, &silent, NULL), 0);
    assert_int_equal(evloop_timer_new(f.loop, count_timer, &f, &past, NULL), 0);
    evloop_timer_arm(silent, evloop_now_ns() + 1000000u);
    evloop_timer_arm(silent, 0);
    evloop_timer_arm(past, 1);
    evloop_timer_arm(f.timer, evloop_now_ns() + 10000000u);
    assert_int_equal(evloop_run(f.loop, NULL), 0);
    assert_int_equal(f.calls, 1);
    evloop_timer_free(silent);
    evloop_timer_free(past);
    evloop_timer_free(f.timer);
    teardown(&f);
}

/* --- later ------------------------------------------------------------------------------------ */

enum { N_LATER = 3 };

struct later_fixture {
    struct fixture f;
    struct evloop_later *later[N_LATER];
    int self;      /* which of them is called */
    char done[32]; /* what was called, in order */
    unsigned n;
};

static void done(struct later_fixture *l, char what)
{
    assert_true(l->n < sizeof(l->done) - 1);
    l->done[l->n++] = what;
}

static void later_setup(struct later_fixture *l, void (*cb)(void *ctx))
{
    *l = (struct later_fixture){ .n = 0 };
    setup(&l->f);
    for (int i = 0; i < N_LATER; i++)
        assert_int_equal(evloop_later_new(l->f.loop, cb, l, &l->later[i], NULL), 0);
}

static void later_teardown(struct later_fixture *l)
{
    for (int i = 0; i < N_LATER; i++)
        evloop_later_free(l->later[i]);
    teardown(&l->f);
}

static void ready(void *ctx, uint32_t events)
{
    struct later_fixture *l = ctx;
    uint64_t count;

    (void)events;
    assert_int_equal(read(l->f.fd[0], &count, sizeof(count)), sizeof(count));
    done(l, 'd');
}

static void ask_again_twice(void *ctx)
{
    struct later_fixture *l = ctx;
    uint64_t one = 1;

    done(l, 'l');
    if (l->n > 4) {
        evloop_stop(l->f.loop);
        return;
    }
    evloop_later_ask(l->later[0]);
    evloop_later_ask(l->later[0]); /* no more than once */
    assert_int_equal(write(l->f.fd[0], &one, sizeof(one)), sizeof(one));
}

/* Descriptors get their turn between two calls, although the loop never sleeps. */
static void later_work_takes_turns_with_descriptors(void **state)
{
    struct later_fixture l;

    (void)state;
    later_setup(&l, ask_again_twice);
    assert_int_equal(evloop_watch_fd(l.f.loop, l.f.fd[0], EPOLLIN, ready, &l, &l.f.watch[0], NULL),
                     0);
    evloop_later_ask(l.later[0]);
    assert_int_equal(evloop_run(l.f.loop, NULL), 0);
    assert_string_equal(l.done, "dldldl");
    later_teardown(&l);
}

static void cancel_the_others_and_free_itself(void *ctx)
{
    struct later_fixture *l = ctx;

    done(l, 'l');
    for (int i = 0; i < N_LATER; i++)
        evloop_later_cancel(l->later[i]);
    evloop_later_free(l->later[l->self]);
    l->later[l->self] = NULL;
    evloop_stop(l->f.loop);
}

/* What was asked for last is done first. */
static void cancelled_later_work_is_not_done(void **state)
{
    struct later_fixture l;

    (void)state;
    for (int last = 0; last < N_LATER; last++) {
        later_setup(&l, cancel_the_others_and_free_itself);
        l.self = last;
        for (int i = 1; i <= N_LATER; i++)
            evloop_later_ask(l.later[(last + i) % N_LATER]);
        assert_int_equal(evloop_run(l.f.loop, NULL), 0);
        assert_string_equal(l.done, "l");
        later_teardown(&l);
    }
}

static void later_work_may_be_asked_for_and_freed_while_nobody_runs_the_loop(void **state)
{
    struct later_fixture l;

    (void)state;
    later_setup(&l, ask_again_twice);
    for (int i = 0; i < N_LATER; i++)
        evloop_later_ask(l.later[i]);
    later_teardown(&l); /* the address sanitizer watches */
    assert_int_equal(l.n, 0);
}

/* --- pollers ---------------------------------------------------------------------------------- */

/* A box that another thread throws things into: it rings unless it was told not to. */
struct box {
    struct evloop *loop;
    int bell;
    _Atomic unsigned thrown;
    _Atomic bool hushed;
    unsigned taken, looks, ends, rung;
};

static bool box_take(struct box *b)
{
    unsigned thrown = atomic_load(&b->thrown);
    bool any = thrown != b->taken;

    b->taken = thrown;
    if (b->taken == N_POSTS)
        evloop_stop(b->loop);
    return any;
}

static bool box_look(void *ctx)
{
    struct box *b = ctx;

    b->looks++;
    atomic_store(&b->hushed, true);
    return box_take(b);
}

static bool box_end(void *ctx)
{
    struct box *b = ctx;

    b->ends++;
    atomic_store(&b->hushed, false);
    return box_take(b);
}

static void box_rang(void *ctx, uint32_t events)
{
    struct box *b = ctx;
    uint64_t count;

    (void)events;
    assert_int_equal(read(b->bell, &count, sizeof(count)), sizeof(count));
    b->rung++;
    (void)box_take(b);
}

static void throw_in(struct box *b)
{
    uint64_t one = 1;

    atomic_fetch_add(&b->thrown, 1);
    if (!atomic_load(&b->hushed))
        assert_int_equal(write(b->bell, &one, sizeof(one)), sizeof(one));
}

static void *throw_many(void *arg)
{
    for (int i = 0; i < N_POSTS; i++)
        throw_in(arg);
    return NULL;
}

static const struct evloop_poller_ops box_ops = { .look = box_look, .end = box_end };

static void box_setup(struct fixture *f, struct box *b, struct evloop_poller **ret_poller)
{
    uint64_t count;

    setup(f);
    *b = (struct box){ .loop = f->loop, .bell = f->fd[0] };
    assert_int_equal(read(b->bell, &count, sizeof(count)), sizeof(count));
    assert_int_equal(evloop_watch_fd(f->loop, b->bell, EPOLLIN, box_rang, b, &f->watch[0], NULL),
                     0);
    assert_int_equal(evloop_poller_new(f->loop, &box_ops, b, ret_poller, NULL), 0);
}

/* With a bound so long that looking never ends by itself, and with one so short that it ends all
 * the time: nothing is lost between the last look and the sleep. */
static void nothing_is_lost_between_looking_and_sleeping(void **state)
{
    static const uint64_t bounds_ns[] = { 0, 1, 20000, 10000000000u };

    (void)state;
    for (size_t i = 0; i < sizeof(bounds_ns) / sizeof(bounds_ns[0]); i++) {
        struct evloop_poller *poller;
        struct fixture f;
        pthread_t thrower;
        struct box b;

        box_setup(&f, &b, &poller);
        evloop_set_poll(f.loop, bounds_ns[i]);
        assert_int_equal(pthread_create(&thrower, NULL, throw_many, &b), 0);
        assert_int_equal(evloop_run(f.loop, NULL), 0);
        assert_int_equal(pthread_join(thrower, NULL), 0);
        assert_int_equal(b.taken, N_POSTS);
        assert_true(b.ends <= b.looks);
        if (bounds_ns[i] == 0)
            assert_int_equal(b.looks, 0);
        teardown(&f); /* frees the poller that is left */
    }
}

static void throw_when_ready(void *ctx, uint32_t events)
{
    struct box *b = ctx;

    (void)events;
    throw_in(b);
    if (atomic_load(&b->thrown) == 100)
        evloop_stop(b->loop);
}

/* A descriptor is ready all the time: after the first wait nobody sleeps, so nobody rings. */
static void descriptors_are_served_while_looking(void **state)
{
    struct evloop_poller *poller;
    struct fixture f;
    struct box b;

    (void)state;
    box_setup(&f, &b, &poller);
    evloop_set_poll(f.loop, 10000000000u);
    assert_int_equal(evloop_watch_fd(f.loop, f.fd[1], EPOLLIN, throw_when_ready, &b, &f.watch[1],
                                     NULL), 0);
    assert_int_equal(evloop_run(f.loop, NULL), 0);
    assert_int_equal(atomic_load(&b.thrown), 100);
    assert_int_equal(b.ends, 0);
    assert_true(b.looks >= 90);
    assert_true(b.rung <= 10);
    evloop_poller_free(poller);
    evloop_poller_free(NULL);
    teardown(&f);
}

/* --- several threads -------------------------------------------------------------------------- */

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
        cmocka_unit_test(a_removed_watch_is_not_called_in_the_same_batch),
        cmocka_unit_test(a_callback_may_replace_its_own_watch),
        cmocka_unit_test(a_muted_watch_stays_silent_until_set_again),
        cmocka_unit_test(watching_a_bad_descriptor_fails_with_a_sentence),
        cmocka_unit_test(a_timer_fires_once_not_early_and_may_free_itself),
        cmocka_unit_test(a_disarmed_timer_is_silent_and_a_past_deadline_fires),
        cmocka_unit_test(later_work_takes_turns_with_descriptors),
        cmocka_unit_test(cancelled_later_work_is_not_done),
        cmocka_unit_test(later_work_may_be_asked_for_and_freed_while_nobody_runs_the_loop),
        cmocka_unit_test(nothing_is_lost_between_looking_and_sleeping),
        cmocka_unit_test(descriptors_are_served_while_looking),
        cmocka_unit_test(messages_of_many_threads_are_all_served),
        cmocka_unit_test(messages_keep_their_order_and_precede_the_stop),
        cmocka_unit_test(a_call_runs_at_once_on_the_loops_own_thread),
        cmocka_unit_test(messages_never_served_are_released),
        cmocka_unit_test(a_loop_begins_when_the_call_before_it_is_done),
        cmocka_unit_test(calls_are_alone_while_the_loop_begins_and_ends),
    };

    return cmocka_run_group_tests_name("base/evloop", tests, NULL, NULL);
}
