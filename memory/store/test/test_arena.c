/* SPDX-License-Identifier: Apache-2.0 */
/* Slots of many sizes that come and go, against a model; what is held when holes are left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "memory/store/arena.h"
#include "vmm/base/macros.h"

enum { OWNERS = 6000, STEPS = 120000, LIMIT = 64 * MIB };

struct model {
    struct arena *arena;
    struct arena_slot slot[OWNERS];
    uint16_t len[OWNERS]; /* 0: has none */
    uint64_t used_bytes;
    size_t n_moves;
    uint64_t seed;
};

static uint32_t dice(struct model *m, uint32_t sides)
{
    m->seed = m->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(m->seed >> 33) % sides;
}

static void was_moved(void *ctx, uint32_t owner, struct arena_slot slot)
{
    struct model *m = ctx;

    assert_true(m->len[owner] > 0);
    m->slot[owner] = slot;
    m->n_moves++;
}

static void put(struct model *m, uint32_t owner, uint16_t len)
{
    assert_int_equal(arena_take(m->arena, len, owner, &m->slot[owner]), 0);
    memset(arena_at(m->arena, m->slot[owner]), (int)(owner % 251), len);
    m->len[owner] = len;
    m->used_bytes += arena_bytes_for(len);
}

static void drop(struct model *m, uint32_t owner)
{
    arena_give(m->arena, m->slot[owner]);
    m->used_bytes -= arena_bytes_for(m->len[owner]);
    m->len[owner] = 0;
}

static void check(const struct model *m)
{
    assert_int_equal(arena_used_bytes(m->arena), m->used_bytes);
    assert_true(arena_held_bytes(m->arena) >= m->used_bytes);
    for (uint32_t i = 0; i < OWNERS; i++)
        for (uint16_t k = 0; k < m->len[i]; k++)
            if (arena_at(m->arena, m->slot[i])[k] != i % 251)
                fail_msg("byte %u of owner %u is another's", k, i);
}

static void model_init(struct model *m)
{
    const struct idset anywhere = { 0 };

    memset(m, 0, sizeof(*m));
    m->seed = 4711;
    assert_int_equal(arena_new(LIMIT, &anywhere, &m->arena, NULL), 0);
}

static void what_is_in_slots_survives_all_that_comes_and_goes(void **state)
{
    struct model *m = malloc(sizeof(*m));

    (void)state;
    assert_non_null(m);
    model_init(m);
    for (unsigned step = 0; step < STEPS; step++) {
        const uint32_t owner = dice(m, OWNERS);

        if (m->len[owner] > 0)
            drop(m, owner);
        else
            put(m, owner, (uint16_t)(1 + dice(m, dice(m, 2) == 0 ? 300 : 4096)));
        if (dice(m, 500) == 0)
            arena_trim(m->arena, dice(m, 2) == 0 ? 1024 : dice(m, 20), was_moved, m);
        if (step % (STEPS / 8) == 0)
            check(m);
    }
    check(m);
    assert_true(m->n_moves > 0);
    for (uint32_t i = 0; i < OWNERS; i++)
        if (m->len[i] > 0)
            drop(m, i);
    arena_trim(m->arena, 0, was_moved, m);
    assert_int_equal(arena_held_bytes(m->arena), 0);
    arena_free(m->arena);
    free(m);
}

/* Of each size half of the slots go, here and there: the pages of less than a block are free then,
 * too, but for the one that a last slot is in and the end of each block. */
static void holes_of_less_than_a_block_are_given_back(void **state)
{
    struct model *m = malloc(sizeof(*m));
    uint64_t most;

    (void)state;
    assert_non_null(m);
    model_init(m);
    for (uint32_t i = 0; i < OWNERS; i++)
        put(m, i, (uint16_t)(200 + i % 60 * 64));
    for (uint32_t i = 0; i < OWNERS; i++)
        if (dice(m, 2) == 0)
            drop(m, i);
    for (unsigned i = 0; i < 20; i++)
        arena_trim(m->arena, 1024, was_moved, m);
    most = m->used_bytes + 60 * 4096 + m->used_bytes / ARENA_BLOCK * 4096 * 2;
    assert_true(arena_held_bytes(m->arena) <= most);
    check(m);
    m->n_moves = 0;
    arena_trim(m->arena, 1024, was_moved, m);
    assert_int_equal(m->n_moves, 0); /* nothing is moved to and fro */
    arena_free(m->arena);
    free(m);
}

/* A few pages at once, which the next slots need no fault for, and back when nothing uses them. */
static void pages_come_ahead_and_are_told_before(void **state)
{
    struct model *m = malloc(sizeof(*m));
    uint64_t held = 0;
    size_t n_grown = 0, n = 0;

    (void)state;
    assert_non_null(m);
    model_init(m);
    for (; m->used_bytes + arena_bytes_for(1000) <= ARENA_BLOCK; n++) {
        const size_t growth = arena_growth(m->arena, 1000);

        put(m, (uint32_t)n, 1000);
        assert_int_equal(arena_held_bytes(m->arena) - held, growth);
        held = arena_held_bytes(m->arena);
        assert_true(held <= MAX(2 * m->used_bytes, UINT64_C(4096)));
        n_grown += growth > 0;
    }
    assert_true(held <= ARENA_BLOCK);
    assert_true(n_grown <= ARENA_BLOCK_PAGES / 4);
    while (n-- > 1)
        drop(m, (uint32_t)n);
    arena_trim(m->arena, 0, was_moved, m);
    assert_int_equal(arena_held_bytes(m->arena), 4096);
    check(m);
    arena_free(m->arena);
    free(m);
}

static void a_trim_moves_no_more_than_it_may(void **state)
{
    struct model *m = malloc(sizeof(*m));

    (void)state;
    assert_non_null(m);
    model_init(m);
    for (uint32_t i = 0; i < OWNERS; i++)
        put(m, i, 1000);
    for (uint32_t i = 0; i < OWNERS; i += 2)
        drop(m, i);
    for (size_t most = 0; most < 100; most += 7) {
        m->n_moves = 0;
        arena_trim(m->arena, most, was_moved, m);
        assert_true(m->n_moves <= most);
    }
    check(m);
    arena_free(m->arena);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_slots_survives_all_that_comes_and_goes),
        cmocka_unit_test(holes_of_less_than_a_block_are_given_back),
        cmocka_unit_test(pages_come_ahead_and_are_told_before),
        cmocka_unit_test(a_trim_moves_no_more_than_it_may),
    };
    return cmocka_run_group_tests_name("memory/store/arena", tests, NULL, NULL);
}
