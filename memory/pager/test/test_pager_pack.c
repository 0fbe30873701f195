/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept for long becomes smaller, within the budget, and what goes is given back. */
#include "memory/pager/test/pager_rig.h"

#define SECOND UINT64_C(1000000000)

/* Letters in any order. */
static void write_letters(const struct rig *rig, uint8_t *want)
{
    uint64_t seed = 1;

    for (size_t i = 0; i < NODE_BYTES; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        want[i] = (uint8_t)"eeeeetttaaoinshr"[seed >> 60];
    }
    memcpy(page_at(rig, 0, 0), want, NODE_BYTES);
}

/* So many ticks of a tenth of a second. */
static void pass(struct rig *rig, unsigned ticks)
{
    for (unsigned i = 0; i < ticks; i++)
        pager_pack(rig->pager, rig->now_ns += SECOND / 10);
}

static void what_is_kept_for_long_becomes_smaller(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    uint8_t *want = malloc(NODE_BYTES);
    struct pager_counts first, now;

    (void)state;
    assert_non_null(rig);
    assert_non_null(want);
    rig_init(rig);
    rig->now_ns = 100 * SECOND;
    pass(rig, 1);
    write_letters(rig, want);
    assert_int_equal(evict(rig, 0, UINT64_MAX), NODE_BYTES);
    first = count(rig, 0);
    pass(rig, 95); /* one step of time is over, not two */
    assert_int_equal(count(rig, 0).store.packed_objects, 0);
    for (int i = 0; i < 10000 && count(rig, 0).store.packed_objects < PAGES; i++)
        pass(rig, 1);
    now = count(rig, 0);
    assert_int_equal(now.store.packed_objects, PAGES);
    assert_int_equal(now.store.objects, PAGES);
    pass(rig, 1000); /* and the room that became free goes */
    now = count(rig, 0);
    assert_true(now.store.held_bytes < first.store.held_bytes * 9 / 10);
    assert_true(now.pack_cpu_ns > first.pack_cpu_ns);
    assert_memory_equal(page_at(rig, 0, 0), want, NODE_BYTES);
    (void)count_all_back(rig, 0);
    pass(rig, 1000);
    assert_true(count(rig, 0).store.held_bytes < MIB); /* without another eviction */
    assert_int_equal(rig->lost, 0);
    rig_fini(rig);
    free(want);
    free(rig);
}

/* What was read goes again as it was; what is written does not. */
static void what_was_only_read_goes_again(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    uint8_t *want = malloc(NODE_BYTES);
    struct pager_counts c;

    (void)state;
    assert_non_null(rig);
    assert_non_null(want);
    rig_init(rig);
    write_letters(rig, want);
    assert_int_equal(evict(rig, 0, UINT64_MAX), NODE_BYTES);
    for (size_t i = 0; i < 8; i++) { /* none is beside another */
        touch(rig, 100 * i + 1);
        want[(100 * i + 50) * SMALL] ^= 1;
        *(volatile uint8_t *)page_at(rig, 0, 100 * i + 50) = want[(100 * i + 50) * SMALL];
    }
    do
        c = count(rig, 0);
    while (c.store.pages > PAGES - 16);
    assert_int_equal(c.store.spare_objects, 8);
    assert_int_equal(evict(rig, 0, UINT64_MAX), 16 * SMALL);
    c = count(rig, 0);
    assert_int_equal(c.store.again, 8);
    assert_int_equal(c.store.spare_objects, 0);
    assert_int_equal(c.store.objects, PAGES);
    assert_memory_equal(page_at(rig, 0, 0), want, NODE_BYTES);
    rig_fini(rig);
    free(want);
    free(rig);
}

static void it_takes_no_more_than_the_budget(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    uint8_t *want = malloc(NODE_BYTES);
    uint64_t packed;

    (void)state;
    assert_non_null(rig);
    assert_non_null(want);
    rig_init(rig);
    rig->pager->params.budget_milli = 0;
    write_letters(rig, want);
    assert_int_equal(evict(rig, 0, UINT64_MAX), NODE_BYTES);
    pass(rig, 1000);
    assert_int_equal(count(rig, 0).store.packed_objects, 0);
    rig->pager->params.budget_milli = 10;
    /* A millisecond: not all of 4096 pages, and none where it went before the first one. */
    for (int i = 0; i < 100 && count(rig, 0).store.packed_objects == 0; i++)
        pager_pack(rig->pager, rig->now_ns += SECOND / 10);
    assert_in_range(count(rig, 0).store.packed_objects, 1, PAGES - 1);
    /* what was spent, by looks say, is not there any more */
    packed = count(rig, 0).store.packed_objects;
    pager_add(&rig->pager->nodes[1].n.look_cpu_ns, 3600 * SECOND);
    pass(rig, 1000);
    assert_int_equal(count(rig, 0).store.packed_objects, packed);
    assert_memory_equal(page_at(rig, 0, 0), want, NODE_BYTES);
    rig_fini(rig);
    free(want);
    free(rig);
}

static void a_limit_is_kept_and_told(void **state)
{
    const struct vnode_id node0 = { 0 };
    struct rig *rig = malloc(sizeof(*rig));
    uint8_t *want = malloc(NODE_BYTES);
    struct errctx ec = { 0 };
    uint64_t first = 0, more = 0;

    (void)state;
    assert_non_null(rig);
    assert_non_null(want);
    rig_init_with(rig, 8 * MIB); /* of both nodes, which share a store here */
    write_letters(rig, want);
    assert_int_equal(pager_evict(rig->pager, node0, UINT64_MAX, &evict_ops, NULL, &first, &ec),
                     -ENOSPC);
    assert_string_equal(ec.msg, "the store of virtual node 0 is full");
    assert_in_range(first, 4 * MIB, 10 * MIB);
    assert_in_range(count(rig, 0).store.held_bytes, 5 * MIB, 6 * MIB);
    pass(rig, 1000);
    assert_true(count(rig, 0).store.held_bytes < 5 * MIB); /* packing made room */
    assert_int_equal(pager_evict(rig->pager, node0, 2 * MIB, &evict_ops, NULL, &more, &ec), 0);
    assert_int_equal(more, 2 * MIB);
    assert_true(count(rig, 0).store.held_bytes <= 8 * MIB);
    assert_memory_equal(page_at(rig, 0, 0), want, NODE_BYTES);
    assert_int_equal(rig->lost, 0);
    rig_fini(rig);
    free(want);
    free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_kept_for_long_becomes_smaller),
        cmocka_unit_test(a_limit_is_kept_and_told),
        cmocka_unit_test(what_was_only_read_goes_again),
        cmocka_unit_test(it_takes_no_more_than_the_budget),
    };
    return cmocka_run_group_tests_name("memory/pager: pack", tests, NULL, NULL);
}
