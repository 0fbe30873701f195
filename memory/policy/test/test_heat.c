/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding what is in use by samples: regions stay a partition whatever the answers are, the same
 * seed gives the same regions, heat is found where it is and found again where it went.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memory/policy/heat.h"
#include "vmm/base/macros.h"

enum { EXTENTS = 4096 };

struct world {
    struct heat heat;
    uint32_t hot_first, hot_n; /* always touched; the rest never */
};

static bool touched(const struct world *w, uint32_t extent)
{
    return extent >= w->hot_first && extent - w->hot_first < w->hot_n;
}

static void must_be_a_partition(const struct heat *h)
{
    uint32_t at = 0;

    assert_in_range(h->n, 1, h->max);
    for (size_t i = 0; i < h->n; i++) {
        assert_int_equal(h->regions[i].first, at);
        assert_true(h->regions[i].n > 0);
        assert_in_range(h->regions[i].heat, 0, HEAT_MAX);
        assert_int_equal(heat_at(h, at), i);
        assert_int_equal(heat_at(h, at + h->regions[i].n - 1), i);
        at += h->regions[i].n;
    }
    assert_int_equal(at, h->n_extents);
}

/* Return: samples it took. */
static size_t round_of(struct world *w)
{
    size_t region, n = 0;
    uint32_t extent;

    while (heat_pick(&w->heat, &region, &extent)) {
        const struct heat_region *r = &w->heat.regions[region];

        assert_true(extent >= r->first && extent - r->first < r->n);
        heat_note(&w->heat, region, touched(w, extent));
        n++;
    }
    heat_end_round(&w->heat);
    must_be_a_partition(&w->heat);
    return n;
}

static void begin(struct world *w, uint32_t n_extents, size_t max, uint64_t seed)
{
    *w = (struct world){ 0 };
    assert_int_equal(heat_init(&w->heat, n_extents, max, seed), 0);
    must_be_a_partition(&w->heat);
}

/* Extents whose region says wrong, in per mille of all. */
static uint32_t wrong(const struct world *w)
{
    uint32_t n = 0;

    for (uint32_t e = 0; e < w->heat.n_extents; e++) {
        const bool hot = w->heat.regions[heat_at(&w->heat, e)].heat >= HEAT_MAX / 2;

        n += hot != touched(w, e);
    }
    return n * 1000 / w->heat.n_extents;
}

static void what_is_hot_is_found_wherever_it_is(void **state)
{
    struct world w;

    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        begin(&w, EXTENTS, 64, seed);
        w.hot_n = EXTENTS / 16;
        w.hot_first = (uint32_t)(seed * 7919 % (EXTENTS - w.hot_n));
        for (int i = 0; i < 40; i++)
            (void)round_of(&w);
        assert_true(wrong(&w) <= 30);
        heat_fini(&w.heat);
    }
}

static void it_is_found_again_where_it_went(void **state)
{
    struct world w;

    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        begin(&w, EXTENTS, 64, seed);
        w.hot_n = EXTENTS / 8;
        for (int i = 0; i < 40; i++)
            (void)round_of(&w);
        w.hot_first = EXTENTS / 2;
        for (int i = 0; i < 60; i++)
            (void)round_of(&w);
        assert_true(wrong(&w) <= 40);
        heat_fini(&w.heat);
    }
}

static void samples_do_not_grow_with_memory(void **state)
{
    struct world small, large;

    (void)state;
    begin(&small, 1000, 50, 1);
    begin(&large, 1000 * 1000, 50, 1);
    for (int i = 0; i < 20; i++) {
        assert_true(round_of(&small) <= 50 * HEAT_TRIES);
        assert_true(round_of(&large) <= 50 * HEAT_TRIES);
    }
    heat_fini(&small.heat);
    heat_fini(&large.heat);
}

static void what_is_alike_is_not_looked_at_twice(void **state)
{
    struct world w;
    size_t n = 0;

    (void)state;
    begin(&w, EXTENTS, 400, 5);
    for (int i = 0; i < 30; i++)
        n = round_of(&w); /* all cold: merged, and split once */
    assert_true(n <= 4 * HEAT_REGIONS_MIN * HEAT_TRIES);
    heat_fini(&w.heat);
}

static void the_same_seed_gives_the_same_regions(void **state)
{
    struct world a, b;

    (void)state;
    begin(&a, EXTENTS, 100, 42);
    begin(&b, EXTENTS, 100, 42);
    a.hot_n = b.hot_n = 100;
    for (int i = 0; i < 30; i++) {
        (void)round_of(&a);
        (void)round_of(&b);
        assert_int_equal(a.heat.n, b.heat.n);
        assert_memory_equal(a.heat.regions, b.heat.regions,
                            a.heat.n * sizeof(a.heat.regions[0]));
    }
    heat_fini(&a.heat);
    heat_fini(&b.heat);
}

static void the_coldest_come_first_and_of_them_the_oldest(void **state)
{
    uint32_t order[64];
    struct world w;

    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        begin(&w, EXTENTS, 64, seed);
        w.hot_first = 1000;
        w.hot_n = 700;
        for (int i = 0; i < 15; i++)
            (void)round_of(&w);
        heat_order(&w.heat, order);
        for (size_t i = 1; i < w.heat.n; i++) {
            const struct heat_region *a = &w.heat.regions[order[i - 1]];
            const struct heat_region *b = &w.heat.regions[order[i]];

            assert_true(a->heat < b->heat || (a->heat == b->heat && a->age >= b->age));
        }
        assert_false(touched(&w, w.heat.regions[order[0]].first));
        heat_fini(&w.heat);
    }
}

/* Answers that make no sense, rounds cut short, sizes at the edge. */
static void any_answers_leave_a_partition(void **state)
{
    static const uint32_t sizes[] = { 1, 2, 3, 7, 8, 9, 100, EXTENTS };
    struct world w;
    uint64_t x = 1;

    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(sizes); k++) {
        begin(&w, sizes[k], 1 + k * 20, k);
        for (int i = 0; i < 200; i++) {
            size_t region;
            uint32_t extent;

            for (unsigned n = 0; heat_pick(&w.heat, &region, &extent); n++) {
                assert_true(extent < sizes[k]);
                x = x * 6364136223846793005ull + 1442695040888963407ull;
                if (x >> 60 == 0)
                    break;
                if (x >> 62 != 0)
                    heat_note(&w.heat, region, (x >> 40 & 1) != 0);
            }
            heat_end_round(&w.heat);
            must_be_a_partition(&w.heat);
        }
        heat_fini(&w.heat);
    }
}

static void heat_of_what_is_not_sampled_stays(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 8, 8, 1);
    w.hot_n = 8;
    for (int i = 0; i < 20; i++)
        (void)round_of(&w);
    assert_int_equal(w.heat.regions[0].heat, HEAT_MAX);
    heat_end_round(&w.heat);
    assert_int_equal(w.heat.regions[0].heat, HEAT_MAX);
    w.hot_n = 0;
    for (int i = 0; i < 20; i++)
        (void)round_of(&w);
    assert_int_equal(w.heat.regions[0].heat, 0);
    assert_true(w.heat.regions[0].age > 0);
    heat_fini(&w.heat);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_hot_is_found_wherever_it_is),
        cmocka_unit_test(it_is_found_again_where_it_went),
        cmocka_unit_test(samples_do_not_grow_with_memory),
        cmocka_unit_test(what_is_alike_is_not_looked_at_twice),
        cmocka_unit_test(the_same_seed_gives_the_same_regions),
        cmocka_unit_test(the_coldest_come_first_and_of_them_the_oldest),
        cmocka_unit_test(any_answers_leave_a_partition),
        cmocka_unit_test(heat_of_what_is_not_sampled_stays),
    };
    return cmocka_run_group_tests_name("memory/policy/heat", tests, NULL, NULL);
}
