/* SPDX-License-Identifier: Apache-2.0 */
/* The 16550 as drivers use it, and a wire that does not always take what it is given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/serial_reg.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "devices/serial.h"
#include "devices/test/legacy_rig.h"

enum { IRQ = 4, N_BYTES = 20000 };

struct fixture {
    struct legacy_rig rig;
    struct device *dev;
    pthread_mutex_t lock;
    uint8_t sent[N_BYTES + 64];
    size_t n_sent;
    bool busy;
    bool moody; /* every third byte is refused at first */
    unsigned offers;
    _Atomic bool done;
};

static size_t wire_send(void *ctx, const void *data, size_t len)
{
    struct fixture *f = ctx;
    size_t n = 0;

    (void)pthread_mutex_lock(&f->lock);
    f->offers++;
    if (!f->busy && !(f->moody && f->offers % 3 == 0) && f->n_sent + len <= sizeof(f->sent)) {
        memcpy(f->sent + f->n_sent, data, len);
        f->n_sent += len;
        n = len;
    }
    (void)pthread_mutex_unlock(&f->lock);
    return n;
}

static const struct serial_wire_ops wire = { .send = wire_send };

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    (void)pthread_mutex_init(&f.lock, NULL);
    assert_int_equal(serial_new(IRQ, &rig_line_ops, &f.rig, &wire, &f, &f.dev, NULL), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    rig_destroy(((struct fixture *)*state)->dev);
    return 0;
}

static void a_free_wire_takes_bytes_at_once(void **state)
{
    struct fixture *f = *state;

    for (const char *p = "hello"; *p != '\0'; p++) {
        assert_int_equal(rig_in(f->dev, UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
        rig_out(f->dev, UART_TX, (uint8_t)*p);
    }
    assert_int_equal(f->n_sent, 5);
    assert_memory_equal(f->sent, "hello", 5);
    assert_int_equal(f->rig.rises[IRQ], 0); /* nobody asked for interrupts */
}

static void a_busy_wire_keeps_the_byte_until_there_is_room(void **state)
{
    struct fixture *f = *state;

    rig_out(f->dev, UART_IER, UART_IER_THRI);
    assert_int_equal(rig_in(f->dev, UART_IIR), UART_IIR_THRI); /* empty already: at once */
    assert_false(f->rig.level[IRQ]);
    f->busy = true;
    rig_out(f->dev, UART_TX, 'a');
    assert_int_equal(rig_in(f->dev, UART_LSR), 0);
    assert_int_equal(rig_in(f->dev, UART_IIR), UART_IIR_NO_INT);
    rig_out(f->dev, UART_TX, 'b'); /* over a full register: lost, as on the chip */
    serial_output_ready(f->dev);   /* still busy */
    assert_int_equal(rig_in(f->dev, UART_LSR), 0);
    f->busy = false;
    serial_output_ready(f->dev);
    assert_int_equal(f->n_sent, 1);
    assert_int_equal(f->sent[0], 'a');
    assert_true(f->rig.level[IRQ]);
    assert_int_equal(rig_in(f->dev, UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
    assert_int_equal(rig_in(f->dev, UART_IIR), UART_IIR_THRI);
    assert_false(f->rig.level[IRQ]);
    serial_output_ready(f->dev); /* nothing waits: nothing is sent again */
    assert_int_equal(f->n_sent, 1);
}

/* Linux sees THRE once and then writes as many bytes as the chip's FIFO holds. */
static void a_busy_wire_keeps_a_burst_of_a_fifo(void **state)
{
    struct fixture *f = *state;

    rig_out(f->dev, UART_FCR, UART_FCR_ENABLE_FIFO);
    rig_out(f->dev, UART_IER, UART_IER_THRI);
    assert_int_equal(rig_in(f->dev, UART_IIR) & UART_IIR_ID, UART_IIR_THRI);
    f->busy = true;
    for (unsigned i = 0; i < 17; i++) /* the last one is lost */
        rig_out(f->dev, UART_TX, (uint8_t)('a' + i));
    rig_out(f->dev, UART_FCR, 0); /* bytes stay, but there is no room for more than one */
    rig_out(f->dev, UART_TX, 'z');
    assert_int_equal(rig_in(f->dev, UART_LSR), 0);
    assert_false(f->rig.level[IRQ]);
    f->busy = false;
    serial_output_ready(f->dev);
    assert_int_equal(f->n_sent, 16);
    assert_memory_equal(f->sent, "abcdefghijklmnop", 16);
    assert_true(f->rig.level[IRQ]);
    assert_int_equal(rig_in(f->dev, UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
}

/* Writing the register withdraws the interrupt that said it was empty. */
static void filling_the_register_withdraws_its_interrupt(void **state)
{
    struct fixture *f = *state;

    rig_out(f->dev, UART_IER, UART_IER_THRI);
    assert_true(f->rig.level[IRQ]);
    f->busy = true;
    rig_out(f->dev, UART_TX, 'a');
    assert_false(f->rig.level[IRQ]);
    assert_int_equal(rig_in(f->dev, UART_IIR), UART_IIR_NO_INT);
}

static void received_bytes_interrupt_until_read(void **state)
{
    struct fixture *f = *state;
    uint8_t many[100];

    rig_out(f->dev, UART_IER, UART_IER_RDI);
    assert_int_equal(serial_receive(f->dev, "xy", 2), 2);
    assert_true(f->rig.level[IRQ]);
    assert_int_equal(rig_in(f->dev, UART_IIR), UART_IIR_RDI);
    assert_true(f->rig.level[IRQ]); /* reading IIR does not acknowledge this one */
    assert_true(rig_in(f->dev, UART_LSR) & UART_LSR_DR);
    assert_int_equal(rig_in(f->dev, UART_RX), 'x');
    assert_int_equal(rig_in(f->dev, UART_RX), 'y');
    assert_false(f->rig.level[IRQ]);
    assert_int_equal(rig_in(f->dev, UART_RX), 0);

    memset(many, 'm', sizeof(many));
    size_t taken = serial_receive(f->dev, many, sizeof(many));
    assert_true(taken >= 16 && taken < sizeof(many));
    assert_int_equal(serial_receive(f->dev, many, 1), 0);
    rig_out(f->dev, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
    assert_false(rig_in(f->dev, UART_LSR) & UART_LSR_DR);
    assert_false(f->rig.level[IRQ]);
    assert_int_equal(rig_in(f->dev, UART_IIR) & 0xc0, 0xc0); /* the FIFO tells its presence */
    rig_out(f->dev, UART_FCR, 0);
    assert_int_equal(rig_in(f->dev, UART_IIR) & 0xc0, 0);
}

static void the_interrupt_of_highest_priority_is_told_first(void **state)
{
    struct fixture *f = *state;

    rig_out(f->dev, UART_IER, UART_IER_RDI | UART_IER_THRI);
    assert_int_equal(serial_receive(f->dev, "x", 1), 1);
    assert_int_equal(rig_in(f->dev, UART_IIR), UART_IIR_RDI);
    assert_int_equal(rig_in(f->dev, UART_RX), 'x');
    assert_int_equal(rig_in(f->dev, UART_IIR), UART_IIR_THRI); /* was not lost meanwhile */
    assert_int_equal(rig_in(f->dev, UART_IIR), UART_IIR_NO_INT);
}

static void loopback_returns_bytes_and_lines(void **state)
{
    struct fixture *f = *state;

    rig_out(f->dev, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
    assert_int_equal(rig_in(f->dev, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_CTS);
    rig_out(f->dev, UART_TX, 'l');
    assert_int_equal(f->n_sent, 0);
    assert_int_equal(rig_in(f->dev, UART_RX), 'l');
    for (int i = 0; i < 100; i++)
        rig_out(f->dev, UART_TX, 'o');
    rig_out(f->dev, UART_IER, UART_IER_RLSI);
    assert_int_equal(rig_in(f->dev, UART_IIR), UART_IIR_RLSI);
    assert_true(rig_in(f->dev, UART_LSR) & UART_LSR_OE);
    assert_false(rig_in(f->dev, UART_LSR) & UART_LSR_OE); /* told once */
    assert_false(f->rig.level[IRQ]);
    rig_out(f->dev, UART_MCR, 0);
    assert_int_equal(rig_in(f->dev, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
}

static void registers_read_back_and_wide_accesses_touch_one(void **state)
{
    struct fixture *f = *state;
    uint32_t wide = 0x00a5a5a5;

    rig_out(f->dev, UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
    rig_out(f->dev, UART_DLL, 0x0c);
    rig_out(f->dev, UART_DLM, 0x01);
    assert_int_equal(rig_in(f->dev, UART_DLL), 0x0c);
    assert_int_equal(rig_in(f->dev, UART_DLM), 0x01);
    rig_out(f->dev, UART_LCR, UART_LCR_WLEN8);
    assert_int_equal(rig_in(f->dev, UART_IER), 0);
    rig_out(f->dev, UART_IER, 0xff);
    assert_int_equal(rig_in(f->dev, UART_IER), 0x0f);
    f->dev->ops->write(f->dev, UART_SCR, &wide, 4);
    assert_int_equal(rig_in(f->dev, UART_SCR), 0xa5);
    f->dev->ops->read(f->dev, UART_SCR, &wide, 4);
    assert_int_equal(wide, 0xffffffa5);
    assert_int_equal(f->n_sent, 0);
}

static void state_survives_a_copy_and_a_reset_forgets_it(void **state)
{
    struct fixture *f = *state, g = { .busy = false };

    (void)pthread_mutex_init(&g.lock, NULL);
    assert_int_equal(serial_new(IRQ, &rig_line_ops, &g.rig, &wire, &g, &g.dev, NULL), 0);
    f->busy = true;
    rig_out(f->dev, UART_TX, 'w');
    rig_out(f->dev, UART_IER, UART_IER_RDI);
    rig_out(f->dev, UART_SCR, 0x77);
    assert_int_equal(serial_receive(f->dev, "abc", 3), 3);
    assert_int_equal(rig_copy(f->dev, g.dev, NULL), 0);
    assert_true(g.rig.level[IRQ]);
    assert_int_equal(rig_in(g.dev, UART_SCR), 0x77);
    assert_int_equal(rig_in(g.dev, UART_RX), 'a');
    assert_int_equal(rig_in(g.dev, UART_RX), 'b');
    /* The byte that waited goes out once the device runs; nobody would ask for it again. */
    assert_int_equal(g.n_sent, 0);
    g.dev->ops->resume(g.dev);
    assert_int_equal(g.n_sent, 1);
    assert_int_equal(g.sent[0], 'w');
    g.dev->ops->reset(g.dev);
    assert_false(g.rig.level[IRQ]);
    assert_int_equal(rig_in(g.dev, UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
    assert_int_equal(rig_in(g.dev, UART_SCR), 0);
    rig_destroy(g.dev);
}

static void a_fifo_longer_than_ours_is_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot_writer w = { 0 };
    struct errctx ec = { 0 };

    assert_int_equal(device_save(f->dev, &w, NULL), 0);
    w.buf[w.len - 1] = 65; /* its length is the last byte of an empty one */
    struct snapshot_reader r = { .buf = w.buf, .len = w.len };
    assert_int_equal(device_load(f->dev, &r, &ec), -EINVAL);
    assert_string_equal(ec.msg, "serial0: more bytes than the receive FIFO holds");
    w.buf[w.len - 2] = 17; /* and before it that of bytes to be sent */
    r = (struct snapshot_reader){ .buf = w.buf, .len = w.len };
    assert_int_equal(device_load(f->dev, &r, &ec), -EINVAL);
    assert_string_equal(ec.msg, "serial0: more bytes than the transmit FIFO holds");
    snapshot_writer_fini(&w);
}

/* The loop's "there is room" races with the vCPU's own attempt: each byte arrives once. */
static void *nag(void *arg)
{
    struct fixture *f = arg;

    while (!atomic_load(&f->done))
        serial_output_ready(f->dev);
    return NULL;
}

static void a_byte_goes_out_once_however_many_offer_it(void **state)
{
    struct fixture *f = *state;
    pthread_t t[2];

    f->moody = true;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, nag, f), 0);
    for (unsigned i = 0; i < N_BYTES; i++) {
        while (!(rig_in(f->dev, UART_LSR) & UART_LSR_THRE))
            (void)sched_yield();
        rig_out(f->dev, UART_TX, (uint8_t)(i * 7));
    }
    while (!(rig_in(f->dev, UART_LSR) & UART_LSR_THRE))
        (void)sched_yield();
    atomic_store(&f->done, true);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    assert_int_equal(f->n_sent, N_BYTES);
    for (unsigned i = 0; i < N_BYTES; i++)
        assert_int_equal(f->sent[i], (uint8_t)(i * 7));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_free_wire_takes_bytes_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_busy_wire_keeps_the_byte_until_there_is_room, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_busy_wire_keeps_a_burst_of_a_fifo, setup, teardown),
        cmocka_unit_test_setup_teardown(filling_the_register_withdraws_its_interrupt, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(received_bytes_interrupt_until_read, setup, teardown),
        cmocka_unit_test_setup_teardown(the_interrupt_of_highest_priority_is_told_first, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(loopback_returns_bytes_and_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(registers_read_back_and_wide_accesses_touch_one, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(state_survives_a_copy_and_a_reset_forgets_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_fifo_longer_than_ours_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_byte_goes_out_once_however_many_offer_it, setup,
                                        teardown),
    };

    return cmocka_run_group_tests_name("devices/serial", tests, NULL, NULL);
}
