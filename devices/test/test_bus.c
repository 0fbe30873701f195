/* SPDX-License-Identifier: Apache-2.0 */
/* Address decoding, saved state, and the three devices of a few registers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "devices/bus.h"
#include "devices/debug_exit.h"
#include "devices/platform.h"
#include "devices/power_block.h"
#include "devices/reset_port.h"
#include "devices/test/legacy_rig.h"

static void echo_read(struct device *dev, uint64_t off, void *data, size_t size)
{
    (void)dev;
    memset(data, (int)(off & 0xff), size);
}

static void echo_write(struct device *dev, uint64_t off, const void *data, size_t size)
{
    (void)dev;
    (void)off;
    (void)data;
    (void)size;
}

static const struct device_ops echo_ops = { .type = "echo", .read = echo_read,
                                            .write = echo_write };

static void regions_answer_whole_accesses_only(void **state)
{
    struct device a = { .ops = &echo_ops, .name = "a" }, b = { .ops = &echo_ops, .name = "b" };
    struct bus *bus;
    uint8_t v[8];

    (void)state;
    assert_int_equal(bus_new("memory", &bus, NULL), 0);
    assert_int_equal(bus_add(bus, 0x1000, 0x10, &a, 0, NULL), 0);
    assert_int_equal(bus_add(bus, 0x1010, 0x10, &b, 0x40, NULL), 0);
    assert_int_equal(bus_add(bus, UINT64_MAX, 1, &b, 0x80, NULL), 0);
    assert_true(bus_read(bus, 0x100c, v, 4));
    assert_int_equal(v[0], 0x0c);
    assert_true(bus_read(bus, 0x1010, v, 8));
    assert_int_equal(v[7], 0x40);
    assert_true(bus_read(bus, UINT64_MAX, v, 1));
    assert_int_equal(v[0], 0x80);
    assert_false(bus_read(bus, 0x100d, v, 4)); /* half a's, half b's: nobody's */
    assert_memory_equal(v, "\xff\xff\xff\xff", 4);
    assert_false(bus_read(bus, UINT64_MAX, v, 2));
    assert_false(bus_write(bus, 0xfff, v, 1));
    assert_true(bus_write(bus, 0x101f, v, 1));
    bus_remove(bus, 0x1001); /* nothing starts there */
    assert_true(bus_write(bus, 0x1000, v, 1));
    bus_remove(bus, 0x1000);
    assert_false(bus_write(bus, 0x1000, v, 1));
    assert_int_equal(bus_add(bus, 0x2000, 0x10, &a, 0, NULL), 0); /* moved */
    assert_true(bus_write(bus, 0x2000, v, 1));
    bus_free(bus);
}

static void overlaps_and_impossible_places_are_refused(void **state)
{
    static const uint64_t overlapping[][2] = { { 0x1000, 0x10 }, { 0xff8, 9 }, { 0x100f, 1 },
                                               { 0x1004, 4 }, { 0, 0x10000 } };
    struct device a = { .ops = &echo_ops, .name = "serial0" };
    struct device b = { .ops = &echo_ops, .name = "rtc" };
    struct errctx ec = { 0 };
    struct bus *bus;

    (void)state;
    assert_int_equal(bus_new("port", &bus, NULL), 0);
    assert_int_equal(bus_add(bus, 0x1000, 0x10, &a, 0, NULL), 0);
    for (size_t i = 0; i < sizeof(overlapping) / sizeof(overlapping[0]); i++)
        assert_int_equal(bus_add(bus, overlapping[i][0], overlapping[i][1], &b, 0, &ec), -EEXIST);
    assert_string_equal(ec.msg, "rtc at 0x0 on the port bus overlaps serial0");
    assert_int_equal(bus_add(bus, 0xff8, 8, &b, 0, NULL), 0);
    assert_int_equal(bus_add(bus, 0x1010, 1, &b, 0, NULL), 0);
    assert_int_equal(bus_add(bus, 5, 0, &b, 0, &ec), -ERANGE);
    assert_string_equal(ec.msg, "rtc has no place at 0x5 on the port bus");
    assert_int_equal(bus_add(bus, UINT64_MAX, 2, &b, 0, &ec), -ERANGE);
    bus_free(bus);
}

static void *move_about(void *arg)
{
    static struct device moving = { .ops = &echo_ops, .name = "moving" };
    struct bus *bus = arg;

    for (uint64_t i = 0; i < 2000; i++) {
        (void)bus_add(bus, 0x10000 + i % 50 * 0x100, 0x100, &moving, 0, NULL);
        bus_remove(bus, 0x10000 + i % 50 * 0x100);
    }
    return NULL;
}

static void lookups_go_on_while_regions_move(void **state)
{
    static struct device fixed = { .ops = &echo_ops, .name = "fixed" };
    pthread_t mover;
    struct bus *bus;
    uint8_t v;

    (void)state;
    assert_int_equal(bus_new("memory", &bus, NULL), 0);
    assert_int_equal(bus_add(bus, 0x20000, 0x100, &fixed, 0, NULL), 0);
    assert_int_equal(pthread_create(&mover, NULL, move_about, bus), 0);
    for (int i = 0; i < 5000; i++) {
        assert_true(bus_read(bus, 0x20042, &v, 1));
        assert_int_equal(v, 0x42);
        (void)bus_read(bus, 0x10000 + (uint64_t)(i % 50) * 0x100, &v, 1);
    }
    assert_int_equal(pthread_join(mover, NULL), 0);
    bus_free(bus);
}

/* --- saved state ------------------------------------------------------------------------------ */

static void numbers_come_back_and_the_end_is_noticed(void **state)
{
    struct snapshot_writer w = { 0 };

    (void)state;
    snapshot_put_bytes(&w, NULL, 0);
    snapshot_put_u8(&w, 0x11);
    snapshot_put_u16(&w, 0x2233);
    snapshot_put_u32(&w, 0x44556677);
    snapshot_put_u64(&w, 0x8899aabbccddeeffull);
    assert_int_equal(w.len, 15);
    assert_memory_equal(w.buf, "\x11\x33\x22\x77\x66\x55\x44\xff", 8);
    struct snapshot_reader r = { .buf = w.buf, .len = w.len };
    assert_int_equal(snapshot_get_u8(&r), 0x11);
    assert_int_equal(snapshot_get_u16(&r), 0x2233);
    assert_int_equal(snapshot_get_u32(&r), 0x44556677);
    assert_true(snapshot_get_u64(&r) == 0x8899aabbccddeeffull);
    assert_true(snapshot_reader_ok(&r));
    assert_int_equal(snapshot_get_u8(&r), 0);
    assert_false(snapshot_reader_ok(&r));
    r.pos = 0;
    assert_int_equal(snapshot_get_u8(&r), 0); /* once failed, nothing is believed */
    snapshot_writer_fini(&w);
}

static void a_damaged_section_is_refused(void **state)
{
    struct legacy_rig rig = { 0 };
    struct snapshot_writer w = { 0 };
    struct device *dev;
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(reset_port_new(&rig_events_ops, &rig, &dev, NULL), 0);
    assert_int_equal(device_save(dev, &w, NULL), 0);
    assert_int_equal(w.len, 32 + 32 + 4 + 4 + 1);
    for (size_t len = 0; len < w.len; len++) {
        uint8_t *cut = malloc(len + 1); /* its own size, so that a read beyond is seen */

        memcpy(cut, w.buf, len);
        struct snapshot_reader r = { .buf = cut, .len = len };
        assert_int_equal(device_load(dev, &r, &ec), -EINVAL);
        free(cut);
    }
    assert_string_equal(ec.msg, "reset-port: the saved state is cut short");
    struct {
        size_t at;
        uint8_t v;
        const char *sentence;
    } rows[] = {
        { 0, 'x', "reset-port: the saved state holds another device here" },
        { 32, 'x', "reset-port: the saved state holds another device here" },
        { 64, 2, "reset-port: saved state version 2 is newer than ours, 1" },
        { 68, 0, "reset-port: the saved state has the wrong length" },
        { 71, 0xff, "reset-port: the saved state is cut short" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const uint8_t was = w.buf[rows[i].at];
        struct snapshot_reader r = { .buf = w.buf, .len = w.len };

        w.buf[rows[i].at] = rows[i].v;
        assert_int_equal(device_load(dev, &r, &ec), -EINVAL);
        assert_string_equal(ec.msg, rows[i].sentence);
        w.buf[rows[i].at] = was;
    }
    snapshot_writer_fini(&w);
    rig_destroy(dev);
}

/* --- devices of a few registers --------------------------------------------------------------- */

static void the_reset_port_asks_once_a_rise(void **state)
{
    struct legacy_rig rig = { 0 };
    struct device *dev;
    uint32_t wide = 0x06;

    (void)state;
    assert_int_equal(reset_port_new(&rig_events_ops, &rig, &dev, NULL), 0);
    rig_out(dev, 0, 0x02);
    assert_int_equal(rig.resets, 0);
    rig_out(dev, 0, PLATFORM_RESET_VALUE);
    rig_out(dev, 0, PLATFORM_RESET_VALUE);
    assert_int_equal(rig.resets, 1);
    assert_int_equal(rig_in(dev, 0), 0x06);
    rig_out(dev, 0, 0xf9);
    assert_int_equal(rig_in(dev, 0), 0);
    dev->ops->write(dev, 0, &wide, 4); /* PCI's configuration address, not ours */
    assert_int_equal(rig.resets, 1);
    rig_out(dev, 0, 0x04);
    assert_int_equal(rig.resets, 2);
    dev->ops->reset(dev);
    assert_int_equal(rig_in(dev, 0), 0);
    rig_destroy(dev);
}

static void debug_exit_tells_the_value_of_any_width(void **state)
{
    struct legacy_rig rig = { 0 };
    struct device *dev;
    uint32_t v = 0x12345678;

    (void)state;
    assert_int_equal(debug_exit_new(&rig_events_ops, &rig, &dev, NULL), 0);
    rig_out(dev, 0, 0x21);
    assert_int_equal(rig.code, 0x21);
    dev->ops->write(dev, 0, &v, 2);
    assert_int_equal(rig.code, 0x5678);
    dev->ops->write(dev, 0, &v, 4);
    assert_int_equal(rig.code, 0x12345678);
    assert_int_equal(rig.codes, 3);
    assert_int_equal(rig_in(dev, 2), 0);
    assert_int_equal(rig_copy(dev, dev, NULL), 0);
    rig_destroy(dev);
}

static void the_power_block_switches_off_and_tells_the_button(void **state)
{
    enum { EVENTS = PLATFORM_GED_OFF, LINE = 9 };
    struct legacy_rig rig = { 0 };
    const struct power_block_wires wires = { .events = &rig_events_ops,
                                             .events_ctx = &rig,
                                             .irq = &rig_line_ops,
                                             .irq_ctx = &rig,
                                             .line = LINE };
    struct evloop *loop;
    struct device *dev, *copy;

    (void)state;
    assert_int_equal(evloop_new(&loop, NULL), 0);
    assert_int_equal(power_block_new(loop, &wires, &dev, NULL), 0);
    for (unsigned type = 0; type < 8; type++) { /* other sleep types, or without SLP_EN */
        if (type != PLATFORM_S5_TYPE)
            rig_out(dev, 0, (uint8_t)(type << 2 | 1u << 5));
        rig_out(dev, 0, (uint8_t)(type << 2));
    }
    assert_int_equal(rig.power_offs, 0);
    rig_out(dev, 0, PLATFORM_S5_TYPE << 2 | 1u << 5);
    assert_int_equal(rig.power_offs, 1);

    power_block_press(dev);
    power_block_press(dev); /* each press is an edge, also before the first is served */
    assert_int_equal(rig.rises[LINE], 2);
    assert_int_equal(rig_in(dev, EVENTS), PLATFORM_GED_POWER);
    assert_int_equal(rig_in(dev, EVENTS), PLATFORM_GED_POWER);
    assert_int_equal(power_block_new(loop, &wires, &copy, NULL), 0);
    assert_int_equal(rig_copy(dev, copy, NULL), 0);
    assert_int_equal(rig_in(copy, EVENTS), PLATFORM_GED_POWER);
    rig_out(dev, EVENTS, 0xfe); /* other bits */
    assert_true(rig.level[LINE]);
    rig_out(dev, EVENTS, PLATFORM_GED_POWER);
    assert_false(rig.level[LINE]);
    assert_int_equal(rig_in(dev, EVENTS), 0);
    assert_int_equal(rig_in(dev, 1), 0);
    power_block_press(dev);
    dev->ops->reset(dev);
    assert_false(rig.level[LINE]);
    rig_destroy(dev);
    rig_destroy(copy);
    evloop_free(loop);
}

/* The guest that listens in the end: after @edges it takes note. */
struct late_guest {
    struct legacy_rig rig;
    struct evloop *loop;
    struct device *dev;
    struct evloop_timer *look;
    unsigned edges;
    bool took;
};

static void look_for_edges(void *ctx)
{
    struct late_guest *g = ctx;
    const uint64_t now = evloop_now_ns();

    if (!g->took && atomic_load(&g->rig.rises[9]) >= g->edges) {
        rig_out(g->dev, PLATFORM_GED_OFF, PLATFORM_GED_CPU);
        g->took = true;
        evloop_timer_arm(g->look, now + 1000000000); /* longer than to the next edge */
    } else if (g->took) {
        evloop_stop(g->loop);
    } else {
        evloop_timer_arm(g->look, now + 1000000);
    }
}

static void an_event_is_told_until_the_guest_takes_note(void **state)
{
    struct late_guest g = { .edges = 2 };
    const struct power_block_wires wires = { .events = &rig_events_ops,
                                             .events_ctx = &g.rig,
                                             .irq = &rig_line_ops,
                                             .irq_ctx = &g.rig,
                                             .line = 9 };

    (void)state;
    assert_int_equal(evloop_new(&g.loop, NULL), 0);
    assert_int_equal(power_block_new(g.loop, &wires, &g.dev, NULL), 0);
    assert_int_equal(evloop_timer_new(g.loop, look_for_edges, &g, &g.look, NULL), 0);
    power_block_raise(g.dev, PLATFORM_GED_CPU);
    g.dev->ops->quiesce(g.dev); /* a pause does not lose it */
    g.dev->ops->resume(g.dev);
    evloop_timer_arm(g.look, evloop_now_ns());
    assert_int_equal(evloop_run(g.loop, NULL), 0);
    assert_true(g.took);
    assert_int_equal(g.rig.rises[9], 2); /* and none came afterwards */
    evloop_timer_free(g.look);
    rig_destroy(g.dev);
    evloop_free(g.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regions_answer_whole_accesses_only),
        cmocka_unit_test(overlaps_and_impossible_places_are_refused),
        cmocka_unit_test(lookups_go_on_while_regions_move),
        cmocka_unit_test(numbers_come_back_and_the_end_is_noticed),
        cmocka_unit_test(a_damaged_section_is_refused),
        cmocka_unit_test(the_reset_port_asks_once_a_rise),
        cmocka_unit_test(debug_exit_tells_the_value_of_any_width),
        cmocka_unit_test(the_power_block_switches_off_and_tells_the_button),
        cmocka_unit_test(an_event_is_told_until_the_guest_takes_note),
    };

    return cmocka_run_group_tests_name("devices/bus", tests, NULL, NULL);
}
