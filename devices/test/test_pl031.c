/* SPDX-License-Identifier: Apache-2.0 */
/* The PL031: the time, setting it, and its alarm. The host's clock and the loop are replaced. */
// LDFLAGS: -Wl,--wrap=clock_gettime -Wl,--wrap=evloop_timer_arm -Wl,--wrap=evloop_timer_new
// LDFLAGS: -Wl,--wrap=evloop_timer_free -Wl,--wrap=evloop_post
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <time.h>

#include "devices/pl031.h"
#include "devices/test/legacy_rig.h"

enum { LINE = 2, DR = 0, MR = 4, LR = 8, CR = 0xc, IMSC = 0x10, RIS = 0x14, MIS = 0x18, ICR = 0x1c };

#define S 1000000000ull

struct fixture {
    struct legacy_rig rig;
    struct device *dev;
    struct timespec wall, mono;
    bool plays, refuses_posts;
    uint64_t armed_ns;
    void (*fire)(void *ctx);
    void *fire_ctx;
};

static struct fixture f;

int __real_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_evloop_timer_new(struct evloop *loop, void (*cb)(void *ctx), void *ctx,
                            struct evloop_timer **ret_timer, struct errctx *ec);
void __wrap_evloop_timer_free(struct evloop_timer *timer);
void __wrap_evloop_timer_arm(struct evloop_timer *timer, uint64_t deadline_ns);
int __wrap_evloop_post(struct evloop *loop, void (*cb)(void *ctx), void *ctx);

int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
    if (!f.plays)
        return __real_clock_gettime(id, ret);
    *ret = id == CLOCK_REALTIME ? f.wall : f.mono;
    return 0;
}

int __wrap_evloop_timer_new(struct evloop *loop, void (*cb)(void *ctx), void *ctx,
                            struct evloop_timer **ret_timer, struct errctx *ec)
{
    (void)loop;
    (void)ec;
    (void)ret_timer;
    f.fire = cb;
    f.fire_ctx = ctx;
    return 0;
}

void __wrap_evloop_timer_free(struct evloop_timer *timer)
{
    (void)timer;
}

void __wrap_evloop_timer_arm(struct evloop_timer *timer, uint64_t deadline_ns)
{
    (void)timer;
    f.armed_ns = deadline_ns;
}

int __wrap_evloop_post(struct evloop *loop, void (*cb)(void *ctx), void *ctx)
{
    (void)loop;
    if (f.refuses_posts)
        return -ENOMEM;
    cb(ctx);
    return 0;
}

static uint32_t in(uint64_t off)
{
    uint32_t v = 0;

    f.dev->ops->read(f.dev, off, &v, sizeof(v));
    return v;
}

static void out(uint64_t off, uint32_t v)
{
    f.dev->ops->write(f.dev, off, &v, sizeof(v));
}

static int setup(void **state)
{
    (void)state;
    f = (struct fixture){ .wall = { .tv_sec = 1700000000, .tv_nsec = 250000000 },
                          .mono = { .tv_sec = 100 },
                          .plays = true };
    assert_int_equal(pl031_new(NULL, LINE, &rig_line_ops, &f.rig, &f.dev, NULL), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_destroy(f.dev);
    f.plays = false;
    return 0;
}

static void it_tells_the_hosts_time_until_it_is_set(void **state)
{
    static const uint8_t id[] = { 0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1 };

    (void)state;
    for (unsigned i = 0; i < sizeof(id); i++)
        assert_int_equal(in(0xfe0 + 4 * i), id[i]);
    assert_int_equal(in(DR), 1700000000);
    assert_int_equal(in(CR), 1);
    out(LR, 5000);
    assert_int_equal(in(DR), 5000);
    f.wall.tv_sec += 7;
    assert_int_equal(in(DR), 5007);
    assert_int_equal(in(LR), 5000);
    f.dev->ops->reset(f.dev);
    assert_int_equal(in(DR), 1700000007);
}

static void its_alarm_is_timed_and_raised(void **state)
{
    (void)state;
    out(MR, 1700000010);
    assert_int_equal(f.armed_ns, 0); /* its interrupt is off */
    out(IMSC, 1);
    assert_int_equal(f.armed_ns, 110 * S - S / 4);
    f.wall.tv_sec += 10;
    f.fire(f.fire_ctx);
    assert_true(f.rig.level[LINE]);
    assert_int_equal(in(RIS) & in(MIS), 1);
    assert_int_equal(f.armed_ns, 0);
    out(ICR, 1);
    assert_false(f.rig.level[LINE]);
    f.fire(f.fire_ctx); /* once only */
    assert_int_equal(in(RIS), 0);
    out(MR, 1600000000); /* of the past */
    assert_int_equal(f.armed_ns, 0);
    assert_int_equal(in(RIS), 0);
}

static void an_alarm_is_told_of_although_a_message_was_lost(void **state)
{
    (void)state;
    f.refuses_posts = true;
    out(IMSC, 1);
    assert_int_equal(f.armed_ns, 0);
    f.refuses_posts = false;
    out(MR, 1700000001);
    assert_int_equal(f.armed_ns, 101 * S - S / 4);
}

static void its_state_moves(void **state)
{
    struct device *copy, *mine = f.dev;

    (void)state;
    out(LR, 4000);
    out(MR, 4003);
    out(IMSC, 1);
    assert_int_equal(pl031_new(NULL, LINE, &rig_line_ops, &f.rig, &copy, NULL), 0);
    f.armed_ns = 0;
    assert_int_equal(rig_copy(mine, copy, NULL), 0);
    assert_int_equal(f.armed_ns, 103 * S - S / 4);
    f.dev = copy;
    assert_int_equal(in(DR), 4000);
    assert_int_equal(in(MR), 4003);
    rig_destroy(copy);
    f.dev = mine;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_tells_the_hosts_time_until_it_is_set, setup, teardown),
        cmocka_unit_test_setup_teardown(its_alarm_is_timed_and_raised, setup, teardown),
        cmocka_unit_test_setup_teardown(an_alarm_is_told_of_although_a_message_was_lost, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(its_state_moves, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
