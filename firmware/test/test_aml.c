/* SPDX-License-Identifier: Apache-2.0 */
/* Encodings of the AML writer, against bytes worked out by hand from ACPI 6.5, chapter 20. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "firmware/aml.h"
#include "vmm/base/macros.h"

#define ASSERT_BYTES(b, ...)                                                                       \
    do {                                                                                           \
        const uint8_t want_[] = { __VA_ARGS__ };                                                   \
        assert_false((b)->failed);                                                                 \
        assert_int_equal((b)->len, sizeof(want_));                                                 \
        assert_memory_equal((b)->data, want_, sizeof(want_));                                      \
        bytebuf_fini(b);                                                                           \
    } while (0)

static void integers_take_their_shortest_form(void **state)
{
    struct bytebuf b = { 0 };

    (void)state;
    aml_integer(&b, 0);
    aml_integer(&b, 1);
    aml_integer(&b, 2);
    aml_integer(&b, 255);
    ASSERT_BYTES(&b, 0x00, 0x01, 0x0a, 0x02, 0x0a, 0xff);
    aml_integer(&b, 256);
    aml_integer(&b, 0xffff);
    ASSERT_BYTES(&b, 0x0b, 0x00, 0x01, 0x0b, 0xff, 0xff);
    aml_integer(&b, 0x10000);
    aml_integer(&b, 0xffffffff);
    ASSERT_BYTES(&b, 0x0c, 0x00, 0x00, 0x01, 0x00, 0x0c, 0xff, 0xff, 0xff, 0xff);
    aml_integer(&b, 0x100000000);
    ASSERT_BYTES(&b, 0x0e, 0, 0, 0, 0, 1, 0, 0, 0);
    aml_integer(&b, UINT64_MAX);
    ASSERT_BYTES(&b, 0xff);
}

static void names_are_filled_and_prefixed(void **state)
{
    struct bytebuf b = { 0 };

    (void)state;
    aml_name_string(&b, "FOO");
    ASSERT_BYTES(&b, 'F', 'O', 'O', '_');
    aml_name_string(&b, "\\_SB_.PC00");
    ASSERT_BYTES(&b, '\\', 0x2e, '_', 'S', 'B', '_', 'P', 'C', '0', '0');
    aml_name_string(&b, "^^A.B.C");
    ASSERT_BYTES(&b, '^', '^', 0x2f, 3, 'A', '_', '_', '_', 'B', '_', '_', '_', 'C', '_', '_', '_');
    aml_name_string(&b, "\\");
    ASSERT_BYTES(&b, '\\', 0);
}

static void bad_names_fail_the_buffer(void **state)
{
    static const char *const bad[] = { "TOOLONG", "low", "0ABC", "A..B", "A-B", "EISA." };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct bytebuf b = { 0 };

        aml_name_string(&b, bad[i]);
        if (!b.failed)
            fail_msg("\"%s\" was taken", bad[i]);
        bytebuf_fini(&b);
    }
}

static void eisa_ids_are_compressed(void **state)
{
    struct bytebuf b = { 0 };

    (void)state;
    aml_eisa_id(&b, "PNP0A08");
    ASSERT_BYTES(&b, 0x0c, 0x41, 0xd0, 0x0a, 0x08);
    aml_eisa_id(&b, "PNP0A");
    assert_true(b.failed);
    bytebuf_fini(&b);
    aml_eisa_id(&b, "PNP0x08");
    assert_true(b.failed);
    bytebuf_fini(&b);
}

static void uuids_swap_their_first_fields(void **state)
{
    struct bytebuf b = { 0 };

    (void)state;
    aml_uuid(&b, "33db4d5b-1ff7-401c-9657-7441c03dd766");
    ASSERT_BYTES(&b, 0x11, 0x13, 0x0a, 0x10, 0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40, 0x96,
                 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66);
}

/* A scope whose PkgLength counts @body bytes besides itself. */
static void scope_of(struct bytebuf *b, size_t body)
{
    size_t mark = aml_scope_begin(b, "S");

    bytebuf_zeros(b, body - 4);
    aml_end(b, mark);
    assert_false(b->failed);
}

static void package_lengths_grow_at_their_limits(void **state)
{
    static const struct {
        size_t body;
        uint8_t bytes[4];
        size_t n;
    } cases[] = {
        { 4, { 0x05 }, 1 },
        { 62, { 0x3f }, 1 },
        { 63, { 0x41, 0x04 }, 2 },
        { 4093, { 0x4f, 0xff }, 2 },
        { 4094, { 0x81, 0x00, 0x01 }, 3 },
        { 0xffffc, { 0x8f, 0xff, 0xff }, 3 },
        { 0xffffd, { 0xc1, 0x00, 0x00, 0x01 }, 4 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct bytebuf b = { 0 };

        scope_of(&b, cases[i].body);
        assert_int_equal(b.len, 1 + cases[i].n + cases[i].body);
        assert_int_equal(b.data[0], 0x10);
        assert_memory_equal(b.data + 1, cases[i].bytes, cases[i].n);
        assert_memory_equal(b.data + 1 + cases[i].n, "S___", 4);
        bytebuf_fini(&b);
    }
}

static void a_package_beyond_28_bits_fails_the_buffer(void **state)
{
    struct bytebuf b = { .len = 1u << 28 }; /* only the length is looked at */

    (void)state;
    aml_end(&b, 0);
    assert_true(b.failed);
}

static void blocks_nest(void **state)
{
    struct bytebuf b = { 0 };
    size_t dev = aml_device_begin(&b, "DEV"), method;

    (void)state;
    method = aml_method_begin(&b, "_STA", 2, true);
    aml_op_return(&b);
    aml_integer(&b, 15);
    aml_end(&b, method);
    aml_end(&b, dev);
    ASSERT_BYTES(&b, 0x5b, 0x82, 0x0f, 'D', 'E', 'V', '_', 0x14, 0x09, '_', 'S', 'T', 'A', 0x0a,
                 0xa4, 0x0a, 0x0f);
}

static void regions_and_fields_are_encoded(void **state)
{
    struct bytebuf b = { 0 };

    (void)state;
    aml_op_region(&b, "REG", AML_SYSTEM_IO, 0x604, 1);
    ASSERT_BYTES(&b, 0x5b, 0x80, 'R', 'E', 'G', '_', 0x01, 0x0b, 0x04, 0x06, 0x01);
    aml_field_u8(&b, "REG", "BITS");
    ASSERT_BYTES(&b, 0x5b, 0x81, 0x0b, 'R', 'E', 'G', '_', 0x41, 'B', 'I', 'T', 'S', 0x08);
}

static void resources_end_with_their_tag_and_size(void **state)
{
    struct bytebuf b = { 0 };
    size_t res = aml_resources_begin(&b);

    (void)state;
    aml_res_io(&b, 0x3f8, 8);
    aml_res_irq_edge(&b, 4);
    aml_resources_end(&b, res);
    ASSERT_BYTES(&b, 0x11, 0x16, 0x0a, 0x13, 0x47, 0x01, 0xf8, 0x03, 0xf8, 0x03, 0x01, 0x08, 0x89,
                 0x06, 0x00, 0x03, 0x01, 0x04, 0, 0, 0, 0x79, 0x00);
}

static void windows_carry_bounds_and_length(void **state)
{
    struct bytebuf b = { 0 };

    (void)state;
    aml_res_bus_window(&b, 5, 5);
    ASSERT_BYTES(&b, 0x88, 0x0d, 0x00, 0x02, 0x0c, 0x00, 0, 0, 5, 0, 5, 0, 0, 0, 1, 0);
    aml_res_io_window(&b, 0xd00, 0xffff);
    ASSERT_BYTES(&b, 0x88, 0x0d, 0x00, 0x01, 0x0c, 0x03, 0, 0, 0x00, 0x0d, 0xff, 0xff, 0, 0, 0x00,
                 0xf3);
    aml_res_memory32_window(&b, 0xc0000000, 0xdfffffff);
    ASSERT_BYTES(&b, 0x87, 0x17, 0x00, 0x00, 0x0c, 0x01, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff,
                 0xff, 0xdf, 0, 0, 0, 0, 0, 0, 0, 0x20);
    aml_res_memory64_window(&b, 0x100000000, 0x1ffffffff);
    ASSERT_BYTES(&b, 0x8a, 0x2b, 0x00, 0x00, 0x0c, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
                 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
                 0, 0);
    aml_res_memory32(&b, 0xe0000000, 0x10000000);
    ASSERT_BYTES(&b, 0x86, 0x09, 0x00, 0x01, 0, 0, 0, 0xe0, 0, 0, 0, 0x10);
}

static void patches_outside_fail_the_buffer(void **state)
{
    struct bytebuf b = { 0 };

    (void)state;
    bytebuf_u32(&b, 0);
    bytebuf_patch_u32(&b, 0, 0x11223344);
    assert_false(b.failed);
    assert_int_equal(b.data[0], 0x44);
    bytebuf_patch_u32(&b, 1, 0);
    assert_true(b.failed);
    bytebuf_u8(&b, 1); /* nothing happens any more */
    assert_int_equal(b.len, 4);
    bytebuf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_take_their_shortest_form),
        cmocka_unit_test(names_are_filled_and_prefixed),
        cmocka_unit_test(bad_names_fail_the_buffer),
        cmocka_unit_test(eisa_ids_are_compressed),
        cmocka_unit_test(uuids_swap_their_first_fields),
        cmocka_unit_test(package_lengths_grow_at_their_limits),
        cmocka_unit_test(a_package_beyond_28_bits_fails_the_buffer),
        cmocka_unit_test(blocks_nest),
        cmocka_unit_test(regions_and_fields_are_encoded),
        cmocka_unit_test(resources_end_with_their_tag_and_size),
        cmocka_unit_test(windows_carry_bounds_and_length),
        cmocka_unit_test(patches_outside_fail_the_buffer),
    };
    return cmocka_run_group_tests_name("firmware/aml", tests, NULL, NULL);
}
