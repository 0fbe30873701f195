/* SPDX-License-Identifier: Apache-2.0 */
/* Pollers of the event loop: nothing is lost between looking and sleeping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "vmm/base/test/evloop_fixture.h"

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
    assert_int_equal(
        evloop_watch_fd(f.loop, f.fd[1], EPOLLIN, throw_when_ready, &b, &f.watch[1], NULL), 0);
    assert_int_equal(evloop_run(f.loop, NULL), 0);
    assert_int_equal(atomic_load(&b.thrown), 100);
    assert_int_equal(b.ends, 0);
    assert_true(b.looks >= 90);
    assert_true(b.rung <= 10);
    evloop_poller_free(poller);
    evloop_poller_free(NULL);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_between_looking_and_sleeping),
        cmocka_unit_test(descriptors_are_served_while_looking),
    };

    return cmocka_run_group_tests_name("base/evloop_poll", tests, NULL, NULL);
}
