/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory: pages that are made in a batch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "memory/guest_mem.h"
#include "vmm/base/macros.h"

/* One node of 4 MiB from address 0. */
struct fixture {
    struct topo_plan_node node;
    struct topo_plan plan;
    struct mem_layout *layout;
    struct guest_mem *mem;
};

static int setup(void **state)
{
    static struct fixture f;

    f = (struct fixture){ .node = { .ram_bytes = 4 * MIB } };
    f.plan = (struct topo_plan){ .nodes = &f.node, .n_nodes = 1 };
    assert_int_equal(mem_layout_make(&f.plan, 46, &f.layout, NULL), 0);
    assert_int_equal(guest_mem_new(&f.plan, f.layout, &f.mem, NULL), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    guest_mem_free(f->mem);
    mem_layout_free(f->layout);
    return 0;
}

static uint64_t resident(struct fixture *f)
{
    return guest_mem_resident_bytes(f->mem, f->node.vnode);
}

static void makes_the_pages_that_hold_the_bytes(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(resident(f), 0);
    guest_mem_populate(f->mem, (struct gpa){ 2 * MIB + 100 }, 8 * 4096);
    assert_int_equal(resident(f), 9 * 4096); /* begins and ends within a page */
    assert_int_equal(guest_mem_leases(f->mem), 0);
}

/* Whether this kernel makes huge pages of a memfd's: by asking for one. */
static bool host_has_huge_pages(struct fixture *f)
{
    guest_mem_populate(f->mem, (struct gpa){ 0 }, MIB);
    return resident(f) == 2 * MIB;
}

static void takes_a_huge_page_where_half_of_it_is_wanted(void **state)
{
    struct fixture *f = *state;
    const bool huge = host_has_huge_pages(f);
    const uint64_t before = resident(f);

    guest_mem_populate(f->mem, (struct gpa){ 3 * MIB }, MIB); /* to the very end of memory */
    assert_int_equal(resident(f) - before, huge ? 2 * MIB : MIB);
    assert_int_equal(guest_mem_leases(f->mem), 0);
}

static void takes_normal_pages_where_less_is_wanted(void **state)
{
    struct fixture *f = *state;

    guest_mem_populate(f->mem, (struct gpa){ 2 * MIB - 8 * 4096 }, MIB);
    assert_int_equal(resident(f), MIB);
}

static void keeps_what_is_there(void **state)
{
    struct fixture *f = *state;
    char text[8] = "";

    assert_int_equal(guest_mem_write(f->mem, (struct gpa){ MIB }, "content", 8), 0);
    guest_mem_populate(f->mem, (struct gpa){ MIB }, 4096);
    assert_int_equal(guest_mem_read(f->mem, (struct gpa){ MIB }, text, 8), 0);
    assert_string_equal(text, "content");
}

static void passes_over_what_is_no_memory(void **state)
{
    struct fixture *f = *state;

    guest_mem_populate(f->mem, (struct gpa){ 64 * MIB }, 4096);
    guest_mem_populate(f->mem, (struct gpa){ UINT64_MAX - 100 }, 4096);
    assert_int_equal(resident(f), 0);
    assert_int_equal(guest_mem_leases(f->mem), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(makes_the_pages_that_hold_the_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(takes_a_huge_page_where_half_of_it_is_wanted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(takes_normal_pages_where_less_is_wanted, setup, teardown),
        cmocka_unit_test_setup_teardown(keeps_what_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(passes_over_what_is_no_memory, setup, teardown),
    };

    return cmocka_run_group_tests_name("guest_populate", tests, NULL, NULL);
}
