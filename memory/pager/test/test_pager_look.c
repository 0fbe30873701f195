/* SPDX-License-Identifier: Apache-2.0 */
/* What is in use is found, and what is not goes until a target is met. */
#include "memory/pager/test/pager_rig.h"

enum { EXTENTS = NODE_BYTES / BACKING_EXTENT };

/* Extents 2 and 5 of node 0 are in use: all small pages, all huge ones, or away. */
static void look_while_two_are_used(struct rig *rig, unsigned rounds)
{
    const uint64_t until = count(rig, 0).rounds + rounds;

    for (size_t i = 0; count(rig, 0).rounds < until; i++) {
        touch(rig, 2 * 512 + i * 31 % 512);
        touch(rig, 5 * 512 + i * 31 % 512);
        rig->now_ns += 100 * 1000 * 1000;
        pager_look(rig->pager, rig->now_ns);
    }
}

static void what_is_in_use_is_found(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    struct pager_counts c;

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    memset(page_at(rig, 0, 0), 7, NODE_BYTES);
    rig->now_ns = 1000 * 1000 * 1000;
    pager_look(rig->pager, rig->now_ns);
    assert_int_equal(count(rig, 0).samples, 0); /* nothing was evicted, nothing is looked at */
    assert_int_equal(evict(rig, 0, SMALL), SMALL);
    look_while_two_are_used(rig, 12);
    c = count(rig, 0);
    assert_int_equal(c.regions, EXTENTS);
    assert_int_equal(c.hot_bytes, 2 * BACKING_EXTENT);
    assert_int_equal(c.warm_bytes, 0);
    assert_int_equal(c.cold_bytes, (EXTENTS - 2) * (uint64_t)BACKING_EXTENT);
    assert_true(c.samples >= 12 * 4 * EXTENTS);
    assert_true(c.look_cpu_ns > 0);
    mend(rig); /* the same of huge pages, where the kernel makes some */
    look_while_two_are_used(rig, 12);
    assert_int_equal(count(rig, 0).hot_bytes, 2 * BACKING_EXTENT);
    assert_int_equal(evict(rig, 0, UINT64_MAX), NODE_BYTES - SMALL);
    look_while_two_are_used(rig, 12);
    c = count(rig, 0);
    assert_int_equal(c.hot_bytes, 2 * BACKING_EXTENT);
    assert_int_equal(c.cold_bytes, 0); /* gone */
    for (size_t i = 0; i < NODE_BYTES; i++)
        assert_int_equal(page_at(rig, 0, 0)[i], 7);
    assert_int_equal(pager_reset(rig->pager, NULL), 0);
    pager_look(rig->pager, rig->now_ns += 1000 * 1000 * 1000);
    assert_int_equal(count(rig, 0).rounds, c.rounds);
    rig_fini(rig);
    free(rig);
}

/* One touch of an extent brings all of it back into the page table, where the kernel does not do all
 * by itself. */
static void a_look_costs_the_guest_one_fault_an_extent(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    uint64_t before;

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    memset(page_at(rig, 0, 0), 7, NODE_BYTES);
    assert_int_equal(evict(rig, 0, SMALL), SMALL);
    pager_look(rig->pager, 1000 * 1000 * 1000);
    assert_int_equal(count(rig, 0).samples, EXTENTS);
    before = count(rig, 0).faults;
    for (size_t i = 0; i < 512; i++)
        touch(rig, 3 * 512 + i * 31 % 512);
    assert_int_equal(count(rig, 0).faults, before + !count(rig, 0).can_protect);
    rig_fini(rig);
    free(rig);
}

static void without_a_budget_nothing_is_looked_at(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    rig->pager->params.budget_milli = 0;
    memset(page_at(rig, 0, 0), 7, NODE_BYTES);
    assert_int_equal(evict(rig, 0, SMALL), SMALL);
    for (uint64_t i = 1; i < 50; i++)
        pager_look(rig->pager, i * 1000 * 1000 * 1000);
    assert_int_equal(count(rig, 0).samples, 0);
    rig->pager->params.budget_milli = 10;
    pager_look(rig->pager, UINT64_C(51) * 1000 * 1000 * 1000);
    assert_true(count(rig, 0).samples > 0);
    rig_fini(rig);
    free(rig);
}

static uint64_t resident(const struct rig *rig)
{
    return guest_mem_resident_bytes(rig->mem, (struct vnode_id){ 0 });
}

static bool is_all_there(const struct rig *rig, size_t extent)
{
    for (size_t i = 0; i < 512; i++)
        if (state_of(rig, 0, extent * 512 + i) != PAGE_RESIDENT)
            return false;
    return true;
}

/* As the evicting thread's ticks, while extents 2 and 5 are used. */
static void live(struct rig *rig, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        look_while_two_are_used(rig, 1);
        assert_int_equal(pager_evict_cold(rig->pager, NULL), 0);
    }
}

static void the_coldest_go_until_the_target_is_met(void **state)
{
    const struct vnode_id node0 = { 0 };
    struct rig *rig = malloc(sizeof(*rig));
    uint64_t gone;

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    for (size_t i = 0; i < NODE_BYTES; i++)
        page_at(rig, 0, 0)[i] = (uint8_t)(i / SMALL);
    assert_false(pager_active(rig->pager));
    assert_false(pager_watches(rig->pager, (struct vnode_id){ 0 }));
    pager_set_target(rig->pager, node0, 2 * NODE_BYTES);
    assert_true(pager_active(rig->pager));
    assert_int_equal(pager_evict_cold(rig->pager, NULL), 0);
    pager_look(rig->pager, 1000 * 1000 * 1000);
    assert_int_equal(count(rig, 0).samples, 0); /* far from it nothing happens */
    assert_int_equal(count(rig, 0).faults, 0);
    pager_set_target(rig->pager, node0, 4 * BACKING_EXTENT);
    assert_int_equal(pager_evict_cold(rig->pager, NULL), 0);
    assert_int_equal(resident(rig), NODE_BYTES); /* it is not known yet what is cold */
    live(rig, 6);
    assert_int_equal(resident(rig), 4 * BACKING_EXTENT);
    assert_true(is_all_there(rig, 2));
    assert_true(is_all_there(rig, 5));
    gone = count(rig, 0).evicted_pages;
    live(rig, 3);
    assert_int_equal(count(rig, 0).evicted_pages, gone); /* and no more */
    pager_set_target(rig->pager, node0, SMALL);
    live(rig, 8);
    assert_int_equal(resident(rig), 2 * BACKING_EXTENT); /* what is in use stays */
    assert_true(is_all_there(rig, 2));
    pager_set_target(rig->pager, node0, PAGER_NO_TARGET);
    gone = count(rig, 0).evicted_pages;
    for (size_t i = 0; i < NODE_BYTES; i++)
        assert_int_equal(page_at(rig, 0, 0)[i], (uint8_t)(i / SMALL));
    live(rig, 3);
    assert_int_equal(count(rig, 0).evicted_pages, gone);
    rig_fini(rig);
    free(rig);
}

/* Once it is known what is cold, that goes first; more goes when more is asked for. */
static void who_asks_for_some_gets_the_coldest(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    uint64_t left;

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    memset(page_at(rig, 0, 0), 7, NODE_BYTES);
    assert_int_equal(evict(rig, 0, SMALL), SMALL);
    look_while_two_are_used(rig, 12);
    for (unsigned i = 0; i < EXTENTS - 3; i++) {
        assert_true(evict(rig, 0, BACKING_EXTENT) >= BACKING_EXTENT - SMALL);
        assert_true(is_all_there(rig, 2));
        assert_true(is_all_there(rig, 5));
    }
    left = resident(rig);
    assert_true(left >= 2 * BACKING_EXTENT && left <= 3 * BACKING_EXTENT);
    assert_int_equal(evict(rig, 0, UINT64_MAX), left);
    assert_int_equal(resident(rig), 0);
    for (size_t i = 0; i < NODE_BYTES; i++)
        assert_int_equal(page_at(rig, 0, 0)[i], 7);
    rig_fini(rig);
    free(rig);
}

static void a_target_outlives_a_reset(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    pager_set_target(rig->pager, (struct vnode_id){ 0 }, 4 * BACKING_EXTENT);
    for (int round = 0; round < 2; round++) {
        memset(page_at(rig, 0, 0), 7, NODE_BYTES);
        assert_int_equal(pager_evict_cold(rig->pager, NULL), 0);
        live(rig, 6);
        assert_int_equal(resident(rig), 4 * BACKING_EXTENT);
        assert_int_equal(pager_reset(rig->pager, NULL), 0);
        assert_int_equal(guest_mem_discard(rig->mem, NULL), 0);
        for (size_t i = 0; i < PAGES; i++)
            assert_int_equal(*(volatile uint64_t *)page_at(rig, 0, i), 0);
    }
    rig_fini(rig);
    free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_use_is_found),
        cmocka_unit_test(a_look_costs_the_guest_one_fault_an_extent),
        cmocka_unit_test(without_a_budget_nothing_is_looked_at),
        cmocka_unit_test(the_coldest_go_until_the_target_is_met),
        cmocka_unit_test(who_asks_for_some_gets_the_coldest),
        cmocka_unit_test(a_target_outlives_a_reset),
    };
    return cmocka_run_group_tests_name("memory/pager: look", tests, NULL, NULL);
}
