/* SPDX-License-Identifier: Apache-2.0 */
/* The memory map of the boot protocols. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "firmware/test/plan_fixture.h"
#include "firmware/x86/e820.h"
#include "firmware/x86/x86_map.h"
#include "vmm/base/macros.h"

static void expect(const struct e820_map *m, size_t i, uint64_t base, uint64_t end,
                   enum e820_type type)
{
    assert_true(i < m->n);
    assert_int_equal(m->entry[i].base, base);
    assert_int_equal(m->entry[i].len_bytes, end - base);
    assert_int_equal(m->entry[i].type, type);
}

static void a_small_guest_has_five_entries(void **state)
{
    struct plan_fixture f;
    struct e820_map m;
    struct errctx ec = { 0 };

    (void)state;
    plan_fixture_init(&f, 2, 1, 64ull * MIB);
    assert_int_equal(plan_fixture_layout(&f, &x86_layout_map, &ec), 0);
    assert_int_equal(e820_make(f.layout, (struct gpa){ 128 * MIB - 8192 }, &m, &ec), 0);
    assert_int_equal(m.n, 5);
    expect(&m, 0, 0, 0xa0000, E820_RAM);
    expect(&m, 1, 0xe0000, 0x100000, E820_RESERVED);
    expect(&m, 2, 0x100000, 128 * MIB - 8192, E820_RAM); /* both nodes, joined */
    expect(&m, 3, 128 * MIB - 8192, 128 * MIB, E820_ACPI);
    expect(&m, 4, 0xe0000000, 0xf0000000, E820_RESERVED);
    plan_fixture_fini(&f);
}

static void many_nodes_join_above_4g_and_windows_are_left_out(void **state)
{
    struct plan_fixture f;
    struct e820_map m;
    struct errctx ec = { 0 };

    (void)state;
    plan_fixture_init(&f, 128, 1, 1ull * GIB);
    f.plan.nodes[7].hotplug_bytes = 4ull * GIB;
    assert_int_equal(plan_fixture_layout(&f, &x86_layout_map, &ec), 0);
    assert_int_equal(e820_make(f.layout, (struct gpa){ f.layout->low_end - 4096 }, &m, &ec), 0);
    assert_int_equal(m.n, 6);
    expect(&m, 3, 3ull * GIB - 4096, 3ull * GIB, E820_ACPI);
    expect(&m, 4, 0xe0000000, 0xf0000000, E820_RESERVED);
    expect(&m, 5, 4ull * GIB, 129ull * GIB, E820_RAM);
    plan_fixture_fini(&f);
}

static void too_many_pieces_are_refused(void **state)
{
    struct layout_range ranges[200] = { 0 };
    struct mem_layout layout = { .ranges = ranges, .n_ranges = 200, .low_end = 2 * MIB };
    struct e820_map m = { .n = 99 };
    struct errctx ec = { 0 };

    (void)state;
    ranges[0].len_bytes = 2 * MIB;
    for (size_t i = 1; i < 200; i++) {
        ranges[i].base.v = 4ull * GIB + i * 4 * MIB;
        ranges[i].len_bytes = 2 * MIB;
    }
    assert_int_equal(e820_make(&layout, (struct gpa){ 2 * MIB - 4096 }, &m, &ec), -ERANGE);
    assert_string_equal(ec.msg, "guest memory is in more than 128 pieces");
    assert_int_equal(m.n, 99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_guest_has_five_entries),
        cmocka_unit_test(many_nodes_join_above_4g_and_windows_are_left_out),
        cmocka_unit_test(too_many_pieces_are_refused),
    };
    return cmocka_run_group_tests_name("firmware/e820", tests, NULL, NULL);
}
