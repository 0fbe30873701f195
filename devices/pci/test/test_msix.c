/* SPDX-License-Identifier: Apache-2.0 */
/* MSI-X: masks, pending bits, and when a line learns its message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "devices/pci/msix.h"
#include "devices/virtio/test/fake_pci.h"

struct fixture {
    struct fake_machine m;
    struct msix *msix;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    fake_machine_init(&f->m);
    assert_int_equal(msix_new(3, &f->m.irq, &f->msix, NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    msix_free(f->msix);
    fake_machine_fini(&f->m);
    free(f);
    return 0;
}

static void put(struct fixture *f, uint64_t off, uint64_t v, size_t size)
{
    msix_write(f->msix, off, &v, size);
}

static uint64_t get(struct fixture *f, uint64_t off, size_t size)
{
    uint64_t v = 0;

    msix_read(f->msix, off, &v, size);
    return v;
}

static void program(struct fixture *f, unsigned vector, uint32_t data)
{
    put(f, 16 * vector, 0xfee01000, 8);
    put(f, 16 * vector + 8, data, 4);
}

static void table_keeps_what_is_written_at_4_and_8_bytes(void **state)
{
    struct fixture *f = *state;

    put(f, 0x10, 0x1122334455667788, 8);
    put(f, 0x18, 0x99, 4);
    put(f, 0x1c, 0xfffffffe, 4); /* only the mask bit exists */
    assert_int_equal(get(f, 0x10, 8), 0x1122334455667788);
    assert_int_equal(get(f, 0x14, 4), 0x11223344);
    assert_int_equal(get(f, 0x18, 8), 0x99);
    put(f, 0x18, 0xaa, 1); /* not an access of the specification */
    put(f, 0x19, 0xaa, 4);
    put(f, 0x16, 0xaa, 2);
    assert_int_equal(get(f, 0x18, 8), 0x99);
    assert_int_equal(get(f, 0x19, 4), 0);
    put(f, 0x30, 1, 4); /* beyond the table */
    put(f, MSIX_PBA_OFF, ~0ull, 8);
    put(f, MSIX_BAR_BYTES - 8, 1, 8);
    assert_int_equal(get(f, 0x30, 4), 0);
    assert_int_equal(get(f, MSIX_PBA_OFF, 8), 0);
    put(f, 0, 0xfee00003, 4); /* the low address bits are zero */
    assert_int_equal(get(f, 0, 4), 0xfee00000);
}

static void unmasked_vector_fires_with_its_message(void **state)
{
    struct fixture *f = *state;

    program(f, 1, 0x41);
    put(f, 0x1c, 0, 4);
    assert_false(msix_notify(f->msix, 1)); /* MSI-X is off */
    assert_int_equal(fake_line_fired(&f->m, 1), 0);
    assert_int_equal(get(f, MSIX_PBA_OFF, 8), 0);
    assert_int_equal(f->m.lines[1].sets, 0);
    msix_control(f->msix, true, false);
    msix_notify(f->msix, 1);
    assert_int_equal(fake_line_fired(&f->m, 1), 1);
    assert_int_equal(f->m.lines[1].addr, 0xfee01000);
    assert_int_equal(f->m.lines[1].data, 0x41);
    assert_int_equal(f->m.lines[1].sets, 1);
    assert_int_equal(f->m.lines[0].sets, 0); /* masked: nobody asked for it */
    assert_true(msix_notify(f->msix, 3));    /* no such vector, but MSI-X is on */
    assert_true(msix_notify(f->msix, 0xffff));
}

static void masked_vector_waits_in_the_pending_bits(void **state)
{
    struct fixture *f = *state;

    msix_control(f->msix, true, false);
    program(f, 2, 0x42);
    msix_notify(f->msix, 2);
    msix_notify(f->msix, 2);
    assert_int_equal(fake_line_fired(&f->m, 2), 0);
    assert_int_equal(get(f, MSIX_PBA_OFF, 8), 4);
    put(f, 0x2c, 0, 4);
    assert_int_equal(fake_line_fired(&f->m, 2), 1);
    assert_int_equal(get(f, MSIX_PBA_OFF, 8), 0);
    assert_int_equal(f->m.lines[2].data, 0x42);
}

static void function_mask_covers_all_vectors(void **state)
{
    struct fixture *f = *state;

    program(f, 0, 1);
    program(f, 1, 2);
    put(f, 0x0c, 0, 4);
    put(f, 0x1c, 0, 4);
    msix_control(f->msix, true, true);
    msix_notify(f->msix, 0);
    msix_notify(f->msix, 1);
    assert_int_equal(fake_line_fired(&f->m, 0) + fake_line_fired(&f->m, 1), 0);
    assert_int_equal(get(f, MSIX_PBA_OFF, 8), 3);
    msix_control(f->msix, true, false);
    assert_int_equal(fake_line_fired(&f->m, 0), 1);
    assert_int_equal(fake_line_fired(&f->m, 1), 1);
}

static void line_is_told_only_what_is_new(void **state)
{
    struct fixture *f = *state;

    msix_control(f->msix, true, false);
    program(f, 0, 7);
    for (int i = 0; i < 100; i++) { /* mask and unmask, as drivers do */
        put(f, 0x0c, 1, 4);
        put(f, 0x0c, 0, 4);
    }
    assert_int_equal(f->m.lines[0].sets, 1);
    put(f, 8, 8, 4); /* changed in place */
    assert_int_equal(f->m.lines[0].sets, 2);
    assert_int_equal(f->m.lines[0].data, 8);
}

static void reset_masks_everything(void **state)
{
    struct fixture *f = *state;

    msix_control(f->msix, true, false);
    program(f, 0, 7);
    msix_notify(f->msix, 1); /* pending */
    put(f, 0x0c, 0, 4);
    msix_reset(f->msix);
    assert_false(msix_notify(f->msix, 0));
    assert_int_equal(fake_line_fired(&f->m, 0), 0);
    assert_int_equal(get(f, 0, 8), 0);
    assert_int_equal(get(f, 0x0c, 4), 1);
    assert_int_equal(get(f, MSIX_PBA_OFF, 4), 0);
}

static void saved_vectors_fire_after_load(void **state)
{
    struct fixture *f = *state;
    struct snapshot_writer w = { 0 };
    struct snapshot_reader r;
    struct msix *other = NULL, *small = NULL;
    struct errctx ec = { 0 };

    msix_control(f->msix, true, false);
    program(f, 0, 7);
    put(f, 0x0c, 0, 4);
    msix_notify(f->msix, 2); /* masked: pending */
    msix_save(f->msix, &w);
    assert_int_equal(msix_new(3, &f->m.irq, &other, NULL), 0);
    r = (struct snapshot_reader){ .buf = w.buf, .len = w.len };
    assert_int_equal(msix_load(other, &r, NULL), 0);
    assert_int_equal(r.pos, w.len);
    msix_notify(other, 0);
    assert_int_equal(fake_line_fired(&f->m, 3), 1); /* lines 3.. are the other's */
    assert_int_equal(f->m.lines[3].data, 7);
    assert_int_equal(msix_new(2, &f->m.irq, &small, NULL), 0);
    r.pos = 0;
    assert_int_equal(msix_load(small, &r, &ec), -EINVAL);
    assert_string_equal(ec.msg, "saved state has 3 MSI-X vectors, the device has 2");
    msix_free(other);
    msix_free(small);
    snapshot_writer_fini(&w);
}

static void creation_fails_cleanly(void **state)
{
    struct fixture *f = *state;
    struct msix *m = NULL;
    struct errctx ec = { 0 };

    assert_int_equal(msix_new(257, &f->m.irq, &m, &ec), -EINVAL);
    assert_int_equal(msix_new(0, &f->m.irq, &m, &ec), -EINVAL);
    f->m.lines_left = 2;
    assert_int_equal(msix_new(4, &f->m.irq, &m, &ec), -ENOSPC);
    assert_string_equal(ec.msg, "MSI-X vector 2 of 4: no interrupt lines left");
    assert_null(m);
    assert_int_equal(f->m.lines_left, 2);
    f->m.lines_left = FAKE_LINES - 3;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        T(table_keeps_what_is_written_at_4_and_8_bytes),
        T(unmasked_vector_fires_with_its_message),
        T(masked_vector_waits_in_the_pending_bits),
        T(function_mask_covers_all_vectors),
        T(line_is_told_only_what_is_new),
        T(reset_masks_everything),
        T(saved_vectors_fire_after_load),
        T(creation_fails_cleanly),
#undef T
    };
    return cmocka_run_group_tests_name("devices/pci/msix", tests, NULL, NULL);
}
