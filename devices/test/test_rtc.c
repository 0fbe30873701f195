/* SPDX-License-Identifier: Apache-2.0 */
/* The clock: time in every form it is told, its interrupts, hostile registers. */
// LDFLAGS: -Wl,--wrap=clock_gettime
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <time.h>

#include "devices/rtc.h"
#include "devices/test/legacy_rig.h"

enum { IRQ = 8, A = 10, B = 11, C = 12, D = 13, SET = 0x80, PIE = 0x40, AIE = 0x20, UIE = 0x10,
       BINARY = 4, H24 = 2 };

int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
int __real_clock_gettime(clockid_t id, struct timespec *ts);

static time_t frozen; /* CLOCK_REALTIME stands here unless 0 */

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
    if (id != CLOCK_REALTIME || frozen == 0)
        return __real_clock_gettime(id, ts);
    *ts = (struct timespec){ .tv_sec = frozen };
    return 0;
}

struct fixture {
    struct legacy_rig rig;
    struct evloop *loop;
    struct device *dev;
};

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    frozen = 1709298000; /* Friday 2024-03-01 13:00:00 UTC */
    assert_int_equal(evloop_new(&f.loop, NULL), 0);
    assert_int_equal(rtc_new(f.loop, IRQ, &rig_line_ops, &f.rig, &f.dev, NULL), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    rig_destroy(f->dev);
    evloop_free(f->loop);
    frozen = 0;
    return 0;
}

static uint8_t get(struct fixture *f, uint8_t reg)
{
    rig_out(f->dev, 0, reg);
    return rig_in(f->dev, 1);
}

static void put(struct fixture *f, uint8_t reg, uint8_t v)
{
    rig_out(f->dev, 0, reg);
    rig_out(f->dev, 1, v);
}

static void assert_time(struct fixture *f, const uint8_t want[8])
{
    static const uint8_t regs[] = { 0x32, 9, 8, 7, 6, 4, 2, 0 };

    for (size_t i = 0; i < sizeof(regs); i++)
        assert_int_equal(get(f, regs[i]), want[i]);
}

static void the_time_is_told_in_every_form(void **state)
{
    struct fixture *f = *state;

    assert_time(f, (const uint8_t[]){ 0x20, 0x24, 3, 1, 6, 0x13, 0, 0 });
    put(f, B, BINARY | H24);
    assert_time(f, (const uint8_t[]){ 20, 24, 3, 1, 6, 13, 0, 0 });
    put(f, B, BINARY);
    assert_int_equal(get(f, 4), 1 | 0x80);
    put(f, B, 0);
    assert_int_equal(get(f, 4), 0x01 | 0x80);
    frozen -= 13 * 3600; /* midnight is 12 AM */
    assert_int_equal(get(f, 4), 0x12);
    frozen += 12 * 3600; /* noon is 12 PM */
    assert_int_equal(get(f, 4), 0x12 | 0x80);
    assert_int_equal(get(f, D), 0x80);
    assert_int_equal(get(f, A) & 0x80, 0); /* an update is never in progress */
    assert_int_equal(rig_in(f->dev, 0), 0xff);
}

static void a_time_set_by_the_guest_goes_on_from_there(void **state)
{
    struct fixture *f = *state;

    put(f, B, SET | H24);
    put(f, 0x32, 0x19);
    put(f, 9, 0x99);
    put(f, 8, 0x12);
    put(f, 7, 0x31);
    put(f, 4, 0x23);
    put(f, 2, 0x59);
    put(f, 0, 0x58);
    frozen += 5; /* stands still while SET */
    assert_int_equal(get(f, 0), 0x58);
    put(f, B, H24);
    frozen += 1;
    assert_time(f, (const uint8_t[]){ 0x19, 0x99, 0x12, 0x31, 6, 0x23, 0x59, 0x59 });
    frozen += 1;
    assert_time(f, (const uint8_t[]){ 0x20, 0x00, 1, 1, 7, 0, 0, 0 });
    f->dev->ops->reset(f->dev); /* the battery keeps the time, the registers start anew */
    assert_int_equal(get(f, 9), 0x00);
    put(f, B, BINARY); /* 12 hours: PM is added to 1..12 */
    put(f, 4, 12 | 0x80);
    assert_int_equal(get(f, 4), 12 | 0x80);
    put(f, B, BINARY | H24);
    assert_int_equal(get(f, 4), 12);
}

/* Whatever the registers hold, the clock stays defined (the sanitizer watches). */
static void nonsense_in_the_registers_is_harmless(void **state)
{
    struct fixture *f = *state;
    static const uint8_t regs[] = { 0, 2, 4, 6, 7, 8, 9, 0x32 };
    static const uint8_t values[] = { 0xff, 0x00, 0x9f, 0x80 };

    for (size_t v = 0; v < sizeof(values); v++)
        for (unsigned b = 0; b < 8; b += 2) {
            put(f, B, (uint8_t)(SET | b));
            for (size_t i = 0; i < sizeof(regs); i++)
                put(f, regs[i], values[v]);
            put(f, B, (uint8_t)b);
            for (unsigned r = 0; r < 128; r++)
                (void)get(f, (uint8_t)r);
        }
    put(f, 0x7f, 0x5a); /* plain memory */
    assert_int_equal(get(f, 0x7f), 0x5a);
    put(f, 0xff, 0xa5); /* the top bit masks NMI on a PC: not part of the index */
    assert_int_equal(get(f, 0x7f), 0xa5);
    put(f, D, 0);
    assert_int_equal(get(f, D), 0x80);
}

static void stop(void *ctx)
{
    evloop_stop(ctx);
}

static void run_for_ms(struct fixture *f, unsigned ms)
{
    struct evloop_timer *t;

    assert_int_equal(evloop_timer_new(f->loop, stop, f->loop, &t, NULL), 0);
    evloop_timer_arm(t, evloop_now_ns() + ms * 1000000ull);
    assert_int_equal(evloop_run(f->loop, NULL), 0);
    evloop_timer_free(t);
}

static void the_periodic_interrupt_waits_for_its_acknowledgement(void **state)
{
    struct fixture *f = *state;

    put(f, B, H24 | PIE); /* 1024 Hz from reset on */
    run_for_ms(f, 30);
    assert_int_equal(f->rig.rises[IRQ], 1);
    assert_true(f->rig.level[IRQ]);
    assert_int_equal(get(f, C) & 0xc0, 0xc0);
    assert_false(f->rig.level[IRQ]);
    assert_int_equal(get(f, C), 0); /* told once */
    run_for_ms(f, 30);
    assert_int_equal(f->rig.rises[IRQ], 2);
    put(f, B, H24);
    (void)get(f, C);
    run_for_ms(f, 30);
    assert_int_equal(f->rig.rises[IRQ], 2);
}

/* With a frozen wall clock the tick comes a second after it is armed; the periodic timer makes
 * the clock look sooner. */
static void the_alarm_matches_with_wildcards(void **state)
{
    struct fixture *f = *state;

    put(f, 1, 0x07); /* second 7 of any minute and hour */
    put(f, 3, 0xff);
    put(f, 5, 0xc0);
    put(f, B, H24 | AIE | PIE);
    frozen += 6;
    run_for_ms(f, 20);
    assert_int_equal(get(f, C) & 0x20, 0);
    frozen += 1;
    run_for_ms(f, 20);
    assert_int_equal(get(f, C) & 0xb0, 0xb0);
    frozen += 60;
    run_for_ms(f, 20);
    assert_int_equal(get(f, C) & 0x20, 0x20);
}

static void state_survives_a_copy(void **state)
{
    struct fixture *f = *state, g;

    memset(&g, 0, sizeof(g));
    g.loop = f->loop;
    assert_int_equal(rtc_new(g.loop, IRQ, &rig_line_ops, &g.rig, &g.dev, NULL), 0);
    put(f, B, H24 | PIE);
    put(f, 9, 0x31); /* the year */
    run_for_ms(f, 20);
    assert_true(f->rig.level[IRQ]);
    assert_int_equal(rig_copy(f->dev, g.dev, NULL), 0);
    assert_true(g.rig.level[IRQ]); /* an interrupt that was not acknowledged */
    assert_int_equal(get(&g, 9), 0x31);
    assert_int_equal(get(&g, C) & 0xc0, 0xc0);
    assert_false(g.rig.level[IRQ]);
    rig_destroy(g.dev);
}

static void a_time_beyond_every_register_is_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot_writer w = { 0 };
    struct errctx ec = { 0 };

    assert_int_equal(device_save(f->dev, &w, NULL), 0);
    memset(w.buf + w.len - 8, 0x7f, 8);
    struct snapshot_reader r = { .buf = w.buf, .len = w.len };
    assert_int_equal(device_load(f->dev, &r, &ec), -EINVAL);
    assert_string_equal(ec.msg, "rtc: a time that no clock register can say");
    assert_int_equal(get(f, 9), 0x24);
    snapshot_writer_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_time_is_told_in_every_form, setup, teardown),
        cmocka_unit_test_setup_teardown(a_time_set_by_the_guest_goes_on_from_there, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(nonsense_in_the_registers_is_harmless, setup, teardown),
        cmocka_unit_test_setup_teardown(the_periodic_interrupt_waits_for_its_acknowledgement,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(the_alarm_matches_with_wildcards, setup, teardown),
        cmocka_unit_test_setup_teardown(state_survives_a_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(a_time_beyond_every_register_is_refused, setup, teardown),
    };

    return cmocka_run_group_tests_name("devices/rtc", tests, NULL, NULL);
}
