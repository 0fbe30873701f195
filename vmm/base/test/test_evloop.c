/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop: what callbacks may do to it, and work put off to later. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "vmm/base/test/evloop_fixture.h"

static unsigned open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(d) != NULL)
        n++;
    (void)closedir(d);
    return n;
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
        assert_int_equal(
            evloop_watch_fd(f.loop, f.fd[i], EPOLLIN, remove_everybody, &f, &f.watch[i], NULL), 0);
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
    assert_int_equal(
        evloop_watch_fd(f.loop, f.fd[0], EPOLLIN, replace_by_second, &f, &f.watch[0], NULL), 0);
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
    };

    return cmocka_run_group_tests_name("base/evloop", tests, NULL, NULL);
}
