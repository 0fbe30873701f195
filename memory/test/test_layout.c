/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's address map: by hand for the interesting shapes, by property for random ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "memory/layout.h"
#include "memory/test/plan_ram.h"
#include "memory/test/test_map.h"
#include "vmm/base/macros.h"

#define G ((uint64_t)GIB)
#define M ((uint64_t)MIB)

static struct mem_layout *layout_of(const struct topo_plan *plan, unsigned phys_bits)
{
    struct mem_layout *l = NULL;
    struct errctx ec = { 0 };

    if (mem_layout_make(&test_map, plan, phys_bits, &l, &ec) < 0)
        fail_msg("%s", ec.msg);
    return l;
}

static void assert_range(const struct mem_layout *l, size_t i, uint64_t base, uint64_t len,
                         uint32_t vnode, enum layout_kind kind, uint64_t off)
{
    assert_true(i < l->n_ranges);
    assert_true(l->ranges[i].base.v == base);
    assert_true(l->ranges[i].len_bytes == len);
    assert_int_equal(l->ranges[i].vnode.v, vnode);
    assert_int_equal(l->ranges[i].kind, kind);
    assert_true(l->ranges[i].backing_off == off);
}

static void nodes_that_fit_stay_below_the_hole(void **state)
{
    struct plan_ram p;
    struct mem_layout *l;

    (void)state;
    plan_ram_init(&p, 3, (const uint64_t[]){ 1 * G, 1 * G, 1 * G });
    l = layout_of(&p.plan, 46);
    assert_int_equal(l->n_ranges, 3);
    assert_range(l, 0, 0, 1 * G, 0, LAYOUT_RAM, 0);
    assert_range(l, 1, 1 * G, 1 * G, 1, LAYOUT_RAM, 0);
    assert_range(l, 2, 2 * G, 1 * G, 2, LAYOUT_RAM, 0);
    assert_true(l->low_end == 3 * G);
    assert_true(l->high_end == test_map.high_base);
    mem_layout_free(l);
}

static void the_first_that_does_not_fit_goes_above_whole_and_so_do_the_rest(void **state)
{
    struct plan_ram p;
    struct mem_layout *l;

    (void)state;
    plan_ram_init(&p, 4, (const uint64_t[]){ 1 * G, 3 * G, 0, 2 * M });
    l = layout_of(&p.plan, 46);
    assert_int_equal(l->n_ranges, 3);
    assert_range(l, 0, 0, 1 * G, 0, LAYOUT_RAM, 0);
    assert_range(l, 1, 4 * G, 3 * G, 1, LAYOUT_RAM, 0);
    assert_range(l, 2, 7 * G, 2 * M, 3, LAYOUT_RAM, 0);
    assert_true(l->low_end == 1 * G);
    assert_true(l->high_end == 7 * G + 2 * M);
    mem_layout_free(l);
}

/* Pages of 1 GiB begin at multiples of that; nothing below 4 GiB gets a gap for it. */
static void giant_pages_are_aligned(void **state)
{
    struct topo_plan_backing giant[] = {
        { .vnode = { 1 }, .len_bytes = 2 * G, .pages = GUEST_PAGES_1G },
        { .vnode = { 3 }, .len_bytes = 1 * G, .pages = GUEST_PAGES_1G },
        { .vnode = { 3 }, .off = 1 * G, .len_bytes = 2 * M, .pages = GUEST_PAGES_4K },
    };
    struct plan_ram p;
    struct mem_layout *l;

    (void)state;
    plan_ram_init(&p, 4, (const uint64_t[]){ 1 * G, 2 * G, 6 * M, 1 * G + 2 * M });
    p.plan.backings = giant;
    p.plan.n_backings = ARRAY_SIZE(giant);
    l = layout_of(&p.plan, 46);
    assert_range(l, 0, 0, 1 * G, 0, LAYOUT_RAM, 0);
    assert_range(l, 1, 1 * G, 2 * G, 1, LAYOUT_RAM, 0); /* it fits as it is */
    assert_range(l, 2, 4 * G, 6 * M, 2, LAYOUT_RAM, 0);
    assert_range(l, 3, 5 * G, 1 * G + 2 * M, 3, LAYOUT_RAM, 0);
    assert_true(l->high_end == 6 * G + 2 * M);
    mem_layout_free(l);

    plan_ram_init(&p, 2, (const uint64_t[]){ 6 * M, 2 * G });
    p.plan.backings = giant;
    p.plan.n_backings = 1;
    l = layout_of(&p.plan, 46);
    assert_range(l, 1, 4 * G, 2 * G, 1, LAYOUT_RAM, 0); /* above, since below it would not be */
    assert_true(l->low_end == 6 * M);
    mem_layout_free(l);
}

static void only_the_first_node_with_memory_is_split(void **state)
{
    struct plan_ram p;
    struct mem_layout *l;

    (void)state;
    plan_ram_init(&p, 3, (const uint64_t[]){ 0, 5 * G, 4 * G });
    l = layout_of(&p.plan, 46);
    assert_int_equal(l->n_ranges, 3);
    assert_range(l, 0, 0, 3 * G, 1, LAYOUT_RAM, 0);
    assert_range(l, 1, 4 * G, 2 * G, 1, LAYOUT_RAM, 3 * G);
    assert_range(l, 2, 6 * G, 4 * G, 2, LAYOUT_RAM, 0);
    mem_layout_free(l);
}

static void a_node_of_exactly_3_gib_is_not_split(void **state)
{
    struct plan_ram p;
    struct mem_layout *l;

    (void)state;
    plan_ram_init(&p, 2, (const uint64_t[]){ 3 * G, 2 * M });
    l = layout_of(&p.plan, 46);
    assert_int_equal(l->n_ranges, 2);
    assert_range(l, 0, 0, 3 * G, 0, LAYOUT_RAM, 0);
    assert_range(l, 1, 4 * G, 2 * M, 1, LAYOUT_RAM, 0);
    mem_layout_free(l);
}

static void hotplug_windows_start_at_2_gib_above_all_ram(void **state)
{
    struct plan_ram p;
    struct mem_layout *l;

    (void)state;
    plan_ram_init(&p, 2, (const uint64_t[]){ 4 * G, 1 * G });
    p.nodes[0].hotplug_bytes = 2 * G;
    p.nodes[1].hotplug_bytes = 4 * G;
    l = layout_of(&p.plan, 46);
    assert_int_equal(l->n_ranges, 5);
    assert_range(l, 1, 4 * G, 1 * G, 0, LAYOUT_RAM, 3 * G);
    assert_range(l, 2, 5 * G, 1 * G, 1, LAYOUT_RAM, 0);
    assert_range(l, 3, 6 * G, 2 * G, 0, LAYOUT_HOTPLUG, 4 * G);
    assert_range(l, 4, 8 * G, 4 * G, 1, LAYOUT_HOTPLUG, 1 * G);
    assert_true(l->high_end == 6 * G); /* RAM only */
    assert_true(l->bridges[0].mmio64_base >= 12 * G);
    mem_layout_free(l);

    p.nodes[1].ram_bytes = 1 * G + 2 * M; /* RAM ends just above a boundary */
    l = layout_of(&p.plan, 46);
    assert_range(l, 3, 8 * G, 2 * G, 0, LAYOUT_HOTPLUG, 4 * G);
    mem_layout_free(l);
}

static void addresses_are_found_in_their_range_only(void **state)
{
    struct plan_ram p;
    struct mem_layout *l;

    (void)state;
    plan_ram_init(&p, 2, (const uint64_t[]){ 1 * G, 3 * G });
    l = layout_of(&p.plan, 46);
    assert_ptr_equal(mem_layout_find(l, (struct gpa){ 0 }), &l->ranges[0]);
    assert_ptr_equal(mem_layout_find(l, (struct gpa){ 1 * G - 1 }), &l->ranges[0]);
    assert_null(mem_layout_find(l, (struct gpa){ 1 * G }));
    assert_null(mem_layout_find(l, (struct gpa){ 4 * G - 1 }));
    assert_ptr_equal(mem_layout_find(l, (struct gpa){ 4 * G }), &l->ranges[1]);
    assert_null(mem_layout_find(l, (struct gpa){ 7 * G }));
    assert_null(mem_layout_find(l, (struct gpa){ UINT64_MAX }));
    mem_layout_free(l);
}

static void what_does_not_fit_is_refused_with_both_numbers(void **state)
{
    static const struct {
        uint64_t ram, hotplug;
        unsigned phys_bits;
        int code;
        const char *sentence;
    } rows[] = {
        { 2 * M, 0, 35, ERANGE, "a physical address width of 35 bits is not supported" },
        { 2 * M, 0, 53, ERANGE, "a physical address width of 53 bits is not supported" },
        { 0, 0, 46, EINVAL, "no virtual node has memory" },
        { 64 * G, 0, 36, ERANGE,
          "memory ends at 65 GiB, above the 36-bit addresses that this host's KVM gives to "
          "guests" },
        { 63 * G, 0, 36, ERANGE,
          "PCI windows of 1 nodes above the memory's end at 64 GiB do not fit the 36-bit addresses "
          "that this host's KVM gives to guests" },
        { UINT64_MAX - 2 * M + 1, 0, 52, ERANGE,
          "virtual node 0: memory does not fit in 64 bits" },
        { 2 * M, UINT64_MAX - 2 * G + 1, 52, ERANGE,
          "virtual node 0: hotplug window does not fit in 64 bits" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct mem_layout *l = (void *)0x1;
        struct errctx ec = { 0 };
        struct plan_ram p;

        plan_ram_init(&p, 1, &rows[i].ram);
        p.nodes[0].hotplug_bytes = rows[i].hotplug;
        assert_int_equal(mem_layout_make(&test_map, &p.plan, rows[i].phys_bits, &l, &ec),
                         -rows[i].code);
        assert_int_equal(ec.code, rows[i].code);
        assert_string_equal(ec.msg, rows[i].sentence);
        assert_ptr_equal(l, (void *)0x1);
    }
}

static void windows_shrink_where_the_width_is_small(void **state)
{
    struct plan_ram p;
    struct mem_layout *l;

    (void)state;
    plan_ram_init(&p, 1, (const uint64_t[]){ 56 * G }); /* ends at 57 GiB of 64 */
    l = layout_of(&p.plan, 36);
    assert_true(l->bridges[0].mmio64_len == 4 * G);
    assert_true(l->top <= 64 * G);
    mem_layout_free(l);
    l = layout_of(&p.plan, 46);
    assert_true(l->bridges[0].mmio64_len == 16 * G);
    mem_layout_free(l);
}

/* No overlap, every byte of every node placed once, everything aligned, below the limit. */
static void check(const struct topo_plan *plan, const struct mem_layout *l, unsigned phys_bits)
{
    uint64_t end = 0, top = test_map.high_base;
    unsigned splits = 0;

    for (size_t i = 0; i < l->n_ranges; i++) {
        const struct layout_range *r = &l->ranges[i];

        assert_true(r->base.v >= end);
        end = r->base.v + r->len_bytes;
        assert_true(r->len_bytes > 0);
        assert_true(end <= test_map.low_end || r->base.v >= test_map.high_base);
        if (r->kind == LAYOUT_HOTPLUG)
            assert_true(r->base.v % LAYOUT_HOTPLUG_ALIGN == 0);
        else
            splits += r->backing_off != 0;
        top = MAX(top, end);
    }
    assert_true(splits <= 1);
    assert_true(mem_layout_find(l, (struct gpa){ 0 }) != NULL);
    for (size_t n = 0; n < plan->n_nodes; n++) {
        uint64_t ram = 0, hotplug = 0;

        for (size_t i = 0; i < l->n_ranges; i++) {
            if (l->ranges[i].vnode.v != n)
                continue;
            if (l->ranges[i].kind == LAYOUT_RAM) {
                assert_true(l->ranges[i].backing_off == ram); /* pieces in order, no gap */
                ram += l->ranges[i].len_bytes;
            } else {
                hotplug += l->ranges[i].len_bytes;
            }
        }
        assert_true(ram == plan->nodes[n].ram_bytes);
        assert_true(hotplug == plan->nodes[n].hotplug_bytes);
    }
    assert_int_equal(l->n_bridges, plan->n_nodes);
    for (size_t i = 0; i < l->n_bridges; i++) {
        const struct layout_bridge *b = &l->bridges[i];

        assert_int_equal(b->bus, i);
        assert_int_equal(b->vnode.v, i);
        assert_true(b->mmio32_base == test_map.pci32_base + i * b->mmio32_len);
        assert_true(b->mmio32_base + b->mmio32_len <= test_map.pci32_base + test_map.pci32_len);
        assert_true(b->mmio64_base >= top);
        assert_true(b->mmio64_len >= 256 * M);
        top = b->mmio64_base + b->mmio64_len;
    }
    assert_true(l->top == top);
    assert_true(top <= 1ull << phys_bits);
}

static void random_plans_keep_the_rules(void **state)
{
    uint64_t seed = 42;
    unsigned accepted = 0;

    (void)state;
    for (int round = 0; round < 2000; round++) {
        uint64_t ram[128];
        struct plan_ram p;
        struct mem_layout *l;
        unsigned phys_bits;
        size_t n;

        seed = seed * 6364136223846793005u + 1442695040888963407u;
        n = 1 + (seed >> 33) % (round % 4 ? 8 : 128);
        phys_bits = 36 + (unsigned)(seed >> 50) % 17;
        for (size_t i = 0; i < n; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            ram[i] = seed >> 60 == 0 ? 0 : (1 + (seed >> 33) % 2048) * 2 * M;
        }
        plan_ram_init(&p, n, ram);
        for (size_t i = 0; i < n; i++)
            p.nodes[i].hotplug_bytes = ram[i] % (6 * M) == 0 ? 2 * G : 0;
        if (mem_layout_make(&test_map, &p.plan, phys_bits, &l, NULL) < 0)
            continue;
        accepted++;
        check(&p.plan, l, phys_bits);
        mem_layout_free(l);
    }
    assert_true(accepted > 1000);
}

static void a_hundred_and_twenty_eight_nodes_fit_40_bits(void **state)
{
    uint64_t ram[128];
    struct plan_ram p;
    struct mem_layout *l;

    (void)state;
    for (size_t i = 0; i < 128; i++)
        ram[i] = 2 * G;
    plan_ram_init(&p, 128, ram);
    l = layout_of(&p.plan, 40);
    check(&p.plan, l, 40);
    assert_int_equal(l->n_bridges, 128);
    assert_true(l->bridges[127].mmio32_len == 4 * M);
    mem_layout_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_that_fit_stay_below_the_hole),
        cmocka_unit_test(the_first_that_does_not_fit_goes_above_whole_and_so_do_the_rest),
        cmocka_unit_test(giant_pages_are_aligned),
        cmocka_unit_test(only_the_first_node_with_memory_is_split),
        cmocka_unit_test(a_node_of_exactly_3_gib_is_not_split),
        cmocka_unit_test(hotplug_windows_start_at_2_gib_above_all_ram),
        cmocka_unit_test(addresses_are_found_in_their_range_only),
        cmocka_unit_test(what_does_not_fit_is_refused_with_both_numbers),
        cmocka_unit_test(windows_shrink_where_the_width_is_small),
        cmocka_unit_test(random_plans_keep_the_rules),
        cmocka_unit_test(a_hundred_and_twenty_eight_nodes_fit_40_bits),
    };

    return cmocka_run_group_tests_name("memory/layout", tests, NULL, NULL);
}
