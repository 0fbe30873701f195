/* SPDX-License-Identifier: Apache-2.0 */
/* The I/O APIC: which message leaves when, and what the guest reads back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "devices/ioapic.h"
#include "devices/test/legacy_rig.h"

enum { SELECT = 0x00, WINDOW = 0x10, EOI = 0x40, LEVEL = 1 << 15, MASKED = 1 << 16,
       REMOTE_IRR = 1 << 14, STATUS = 1 << 12 };

struct fixture {
    struct device *dev;
    unsigned n_sent, n_routes;
    uint64_t addr;
    uint32_t data;
    struct {
        uint64_t addr;
        uint32_t data;
        bool masked;
    } route[24];
    atomic_uint slow_vector; /* telling this vector's route takes a while; 0: none */
    atomic_bool telling;     /* it has begun */
};

static void on_send(void *ctx, uint64_t addr, uint32_t data)
{
    struct fixture *f = ctx;

    f->n_sent++;
    f->addr = addr;
    f->data = data;
}

static void on_route(void *ctx, uint32_t pin, uint64_t addr, uint32_t data, bool masked)
{
    struct fixture *f = ctx;
    struct timespec nap = { .tv_nsec = 20000000 };

    if ((data & 0xff) == atomic_load(&f->slow_vector)) {
        atomic_store(&f->telling, true);
        (void)nanosleep(&nap, NULL);
    }
    f->n_routes++;
    f->route[pin].addr = addr;
    f->route[pin].data = data;
    f->route[pin].masked = masked;
}

static const struct ioapic_ops ops = { .send = on_send, .route = on_route };

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    assert_int_equal(ioapic_new(&ops, &f, &f.dev, NULL), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    rig_destroy(((struct fixture *)*state)->dev);
    return 0;
}

static void put(struct fixture *f, uint8_t index, uint32_t v)
{
    uint32_t select = index;

    f->dev->ops->write(f->dev, SELECT, &select, 4);
    f->dev->ops->write(f->dev, WINDOW, &v, 4);
}

static uint32_t get(struct fixture *f, uint8_t index)
{
    uint32_t v = index;

    f->dev->ops->write(f->dev, SELECT, &v, 4);
    f->dev->ops->read(f->dev, WINDOW, &v, 4);
    return v;
}

static void rte(struct fixture *f, unsigned pin, uint32_t low, uint32_t high)
{
    put(f, (uint8_t)(0x11 + 2 * pin), high);
    put(f, (uint8_t)(0x10 + 2 * pin), low);
}

static void at_power_on_every_pin_is_masked(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(get(f, 1), 0x20 | 23 << 16);
    for (unsigned pin = 0; pin < 24; pin++) {
        assert_int_equal(get(f, (uint8_t)(0x10 + 2 * pin)), MASKED);
        assert_true(f->route[pin].masked);
        ioapic_set_pin(f->dev, pin, true);
    }
    ioapic_set_pin(f->dev, 24, true); /* there is no such pin */
    assert_int_equal(f->n_sent, 0);
    assert_int_equal(get(f, 0x40), 0); /* nor such a register */
    put(f, 0x40, 0xffffffff);
    put(f, 0, 0x05000000);
    assert_int_equal(get(f, 0), 0x05000000);
    put(f, 1, 0); /* read-only */
    assert_int_equal(get(f, 1), 0x20 | 23 << 16);
}

static void an_edge_pin_fires_once_a_rise(void **state)
{
    struct fixture *f = *state;

    rte(f, 4, 0x31, 5u << 24);
    ioapic_set_pin(f->dev, 4, true);
    assert_int_equal(f->n_sent, 1);
    assert_int_equal(f->addr, 0xfee05000);
    assert_int_equal(f->data, 0x31);
    ioapic_set_pin(f->dev, 4, true);
    assert_int_equal(f->n_sent, 1);
    ioapic_set_pin(f->dev, 4, false);
    ioapic_set_pin(f->dev, 4, true);
    assert_int_equal(f->n_sent, 2);
    ioapic_eoi(f->dev, 0x31); /* means nothing for an edge */
    assert_int_equal(f->n_sent, 2);
    put(f, 0x18, 0x31 | MASKED);
    ioapic_set_pin(f->dev, 4, false);
    ioapic_set_pin(f->dev, 4, true);
    put(f, 0x18, 0x31); /* an edge under the mask is lost */
    assert_int_equal(f->n_sent, 2);
}

static void a_level_pin_waits_for_its_end_of_interrupt(void **state)
{
    struct fixture *f = *state;
    uint32_t v = 0x41;

    rte(f, 10, 0x41 | LEVEL, 0);
    ioapic_set_pin(f->dev, 10, true);
    assert_int_equal(f->n_sent, 1);
    assert_int_equal(f->data, 0x41 | 1 << 15 | 1 << 14);
    assert_true(get(f, 0x24) & REMOTE_IRR);
    ioapic_set_pin(f->dev, 10, true);
    assert_int_equal(f->n_sent, 1);
    ioapic_eoi(f->dev, 0x42); /* somebody else's */
    assert_int_equal(f->n_sent, 1);
    ioapic_eoi(f->dev, 0x41); /* still high: again */
    assert_int_equal(f->n_sent, 2);
    ioapic_set_pin(f->dev, 10, false);
    f->dev->ops->write(f->dev, EOI, &v, 4); /* through the register as well */
    assert_int_equal(f->n_sent, 2);
    assert_false(get(f, 0x24) & REMOTE_IRR);
}

static void unmasking_a_high_level_pin_fires(void **state)
{
    struct fixture *f = *state;

    rte(f, 11, 0x51 | LEVEL | MASKED, 0);
    ioapic_set_pin(f->dev, 11, true);
    assert_int_equal(f->n_sent, 0);
    put(f, 0x26, 0x51 | LEVEL);
    assert_int_equal(f->n_sent, 1);
    put(f, 0x26, 0x51 | LEVEL); /* in service */
    assert_int_equal(f->n_sent, 1);
}

static void read_only_bits_stay_and_edge_mode_forgets_remote_irr(void **state)
{
    struct fixture *f = *state;

    rte(f, 12, 0x61 | LEVEL | REMOTE_IRR | STATUS, 0);
    assert_int_equal(get(f, 0x28) & (REMOTE_IRR | STATUS), 0);
    ioapic_set_pin(f->dev, 12, true);
    put(f, 0x28, 0x61 | LEVEL | MASKED);
    assert_true(get(f, 0x28) & REMOTE_IRR);
    put(f, 0x28, 0x61 | MASKED);
    put(f, 0x28, 0x61 | LEVEL | MASKED);
    assert_false(get(f, 0x28) & REMOTE_IRR);
}

/* Bits 55:49 of the entry are bits 14:8 of the destination. */
static void the_extended_destination_goes_to_address_bits_11_to_5(void **state)
{
    struct fixture *f = *state;

    rte(f, 3, 0x71 | 1 << 11, 0xa5u << 24 | 0x55u << 17);
    assert_int_equal(f->route[3].addr, 0xfee00000 | 0xa5 << 12 | 0x55 << 5 | 1 << 2);
    assert_int_equal(f->route[3].data, 0x71);
    assert_false(f->route[3].masked);
    ioapic_set_pin(f->dev, 3, true);
    assert_int_equal(f->addr, f->route[3].addr);
}

static void state_survives_a_copy_and_routes_are_told_anew(void **state)
{
    struct fixture *f = *state, g;

    memset(&g, 0, sizeof(g));
    assert_int_equal(ioapic_new(&ops, &g, &g.dev, NULL), 0);
    rte(f, 10, 0x41 | LEVEL, 3u << 24);
    rte(f, 4, 0x31, 0);
    ioapic_set_pin(f->dev, 10, true);
    assert_int_equal(rig_copy(f->dev, g.dev, NULL), 0);
    assert_int_equal(g.route[10].addr, 0xfee03000);
    assert_false(g.route[4].masked);
    assert_true(g.route[5].masked);
    assert_int_equal(g.n_sent, 0);
    ioapic_eoi(g.dev, 0x41); /* the line is still high there */
    assert_int_equal(g.n_sent, 1);
    g.dev->ops->reset(g.dev);
    assert_int_equal(get(&g, 0x24), MASKED);
    assert_true(g.route[10].masked);
    rig_destroy(g.dev);
}

enum { ROUNDS = 4, FIRST = 0x81, SECOND = 0x82 };

static void *write_first(void *ctx)
{
    uint32_t v = FIRST;
    struct fixture *f = ctx;

    f->dev->ops->write(f->dev, WINDOW, &v, 4);
    return NULL;
}

/* One vCPU is still at telling its change of a pin when another changes the pin again. */
static void the_last_change_of_a_pin_is_the_last_route_told(void **state)
{
    struct fixture *f = *state;

    atomic_store(&f->slow_vector, FIRST);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint32_t v = SECOND;
        pthread_t first;

        rte(f, 7, MASKED, 0);
        atomic_store(&f->telling, false);
        assert_int_equal(pthread_create(&first, NULL, write_first, f), 0);
        while (!atomic_load(&f->telling))
            (void)sched_yield();
        ioapic_set_pin(f->dev, 9, i & 1); /* lines do not wait for it */
        f->dev->ops->write(f->dev, WINDOW, &v, 4);
        assert_int_equal(pthread_join(first, NULL), 0);
        assert_int_equal(get(f, 0x1e), SECOND);
        assert_int_equal(f->route[7].data, SECOND);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(at_power_on_every_pin_is_masked, setup, teardown),
        cmocka_unit_test_setup_teardown(an_edge_pin_fires_once_a_rise, setup, teardown),
        cmocka_unit_test_setup_teardown(a_level_pin_waits_for_its_end_of_interrupt, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(unmasking_a_high_level_pin_fires, setup, teardown),
        cmocka_unit_test_setup_teardown(read_only_bits_stay_and_edge_mode_forgets_remote_irr,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(the_extended_destination_goes_to_address_bits_11_to_5,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(the_last_change_of_a_pin_is_the_last_route_told, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(state_survives_a_copy_and_routes_are_told_anew, setup,
                                        teardown),
    };

    return cmocka_run_group_tests_name("devices/ioapic", tests, NULL, NULL);
}
