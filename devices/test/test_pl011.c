/* SPDX-License-Identifier: Apache-2.0 */
/* The PL011: what drivers look for, FIFOs, interrupts, and a wire that stops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "devices/pl011.h"
#include "devices/test/legacy_rig.h"
#include "vmm/base/macros.h"

enum {
    LINE = 1, DR = 0x00, FR = 0x18, LCR_H = 0x2c, CR = 0x30, IMSC = 0x38, RIS = 0x3c, MIS = 0x40,
    ICR = 0x44, RXFE = 0x10, TXFF = 0x20, RXFF = 0x40, TXFE = 0x80, RX = 0x10, TX = 0x20, RT = 0x40,
};

struct fixture {
    struct legacy_rig rig;
    struct device *dev;
    char sent[256];
    size_t n_sent, room;
};

static size_t wire_send(void *ctx, const void *data, size_t len)
{
    struct fixture *f = ctx;
    const size_t n = MIN(len, MIN(f->room, sizeof(f->sent) - f->n_sent));

    memcpy(f->sent + f->n_sent, data, n);
    f->n_sent += n;
    f->room -= n;
    return n;
}

static const struct serial_wire_ops wire = { .send = wire_send };

static uint32_t in(struct device *dev, uint64_t off)
{
    uint32_t v = 0;

    dev->ops->read(dev, off, &v, sizeof(v));
    return v;
}

static void out(struct device *dev, uint64_t off, uint32_t v)
{
    dev->ops->write(dev, off, &v, sizeof(v));
}

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    f.room = SIZE_MAX;
    assert_int_equal(pl011_new(LINE, &rig_line_ops, &f.rig, &wire, &f, &f.dev, NULL), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    rig_destroy(((struct fixture *)*state)->dev);
    return 0;
}

static void drivers_find_it_by_its_number(void **state)
{
    static const uint8_t id[] = { 0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1 };
    struct fixture *f = *state;

    for (unsigned i = 0; i < sizeof(id); i++)
        assert_int_equal(in(f->dev, 0xfe0 + 4 * i), id[i]);
    assert_int_equal(in(f->dev, CR), 0x300);
    assert_int_equal(in(f->dev, FR) & (TXFE | RXFE | TXFF | RXFF), TXFE | RXFE);
    assert_int_equal(rig_in(f->dev, FR) & TXFE, TXFE); /* narrow reads, too */
    out(f->dev, LCR_H, 0x70);
    assert_int_equal(in(f->dev, LCR_H), 0x70);
    assert_int_equal(in(f->dev, 0x100), 0); /* nothing there */
}

static void bytes_go_out_and_raise_the_empty_interrupt(void **state)
{
    struct fixture *f = *state;

    out(f->dev, IMSC, TX);
    assert_false(f->rig.level[LINE]);
    for (const char *p = "hello"; *p != '\0'; p++)
        out(f->dev, DR, (uint8_t)*p);
    assert_int_equal(f->n_sent, 5);
    assert_memory_equal(f->sent, "hello", 5);
    assert_true(f->rig.level[LINE]);
    assert_int_equal(in(f->dev, MIS), TX);
    out(f->dev, ICR, TX);
    assert_false(f->rig.level[LINE]);
    assert_int_equal(in(f->dev, RIS), 0);
}

static void bytes_wait_while_the_wire_takes_none(void **state)
{
    struct fixture *f = *state;

    f->room = 3;
    for (unsigned i = 0; i < 80; i++)
        out(f->dev, DR, 'a' + i % 26);
    assert_int_equal(f->n_sent, 3);
    assert_int_equal(in(f->dev, FR) & (TXFF | TXFE), TXFF); /* those beyond are lost, as on the chip */
    f->room = SIZE_MAX;
    pl011_output_ready(f->dev);
    assert_int_equal(f->n_sent, 3 + 64);
    assert_memory_equal(f->sent, "abcdefghijklmnopqrstuvwxyzabc", 29);
    assert_int_equal(in(f->dev, FR) & (TXFF | TXFE), TXFE);
}

static void bytes_come_in_until_the_fifo_is_full(void **state)
{
    struct fixture *f = *state;
    char many[100];

    memset(many, 'x', sizeof(many));
    out(f->dev, IMSC, RX | RT);
    assert_int_equal(pl011_receive(f->dev, many, sizeof(many)), 64);
    assert_true(f->rig.level[LINE]);
    assert_int_equal(in(f->dev, MIS), RX | RT);
    assert_int_equal(in(f->dev, FR) & (RXFF | RXFE), RXFF);
    for (unsigned i = 0; i < 64; i++) {
        assert_true(f->rig.level[LINE]);
        assert_int_equal(in(f->dev, DR), 'x');
    }
    assert_false(f->rig.level[LINE]); /* with the last byte, without an acknowledgement */
    assert_int_equal(in(f->dev, FR) & RXFE, RXFE);
    assert_int_equal(in(f->dev, DR), 0);
}

static void loopback_gives_bytes_back(void **state)
{
    struct fixture *f = *state;

    out(f->dev, CR, 0x381);
    out(f->dev, DR, 'q');
    assert_int_equal(f->n_sent, 0);
    assert_int_equal(in(f->dev, DR), 'q');
    for (unsigned i = 0; i < 70; i++)
        out(f->dev, DR, 'z');
    assert_int_equal(in(f->dev, RIS) & 0x400, 0x400);
    assert_int_equal(in(f->dev, DR), 0x800 | 'z'); /* some were lost before it */
}

static void its_state_moves(void **state)
{
    struct fixture *f = *state;
    struct device *copy;

    out(f->dev, IMSC, RX);
    out(f->dev, LCR_H, 0x60);
    assert_int_equal(pl011_receive(f->dev, "ab", 2), 2);
    f->room = 0;
    out(f->dev, DR, 'w');
    assert_int_equal(pl011_new(LINE, &rig_line_ops, &f->rig, &wire, f, &copy, NULL), 0);
    assert_int_equal(rig_copy(f->dev, copy, NULL), 0);
    assert_int_equal(in(copy, LCR_H), 0x60);
    assert_int_equal(in(copy, DR), 'a');
    assert_int_equal(in(copy, DR), 'b');
    f->room = 9;
    copy->ops->resume(copy);
    assert_int_equal(f->sent[0], 'w');
    copy->ops->reset(copy);
    assert_int_equal(in(copy, LCR_H) | in(copy, IMSC), 0);
    rig_destroy(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(drivers_find_it_by_its_number, setup, teardown),
        cmocka_unit_test_setup_teardown(bytes_go_out_and_raise_the_empty_interrupt, setup, teardown),
        cmocka_unit_test_setup_teardown(bytes_wait_while_the_wire_takes_none, setup, teardown),
        cmocka_unit_test_setup_teardown(bytes_come_in_until_the_fifo_is_full, setup, teardown),
        cmocka_unit_test_setup_teardown(loopback_gives_bytes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(its_state_moves, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
