/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every interleaving of evicting, faulting, cancelling, punching, leasing and resetting one page:
 * from each state of the world every actor that can go is tried, until no new state is found.
 *
 * What must hold: who reads finds what was written last; what a device wrote is not lost; nobody
 * waits for ever; each object of the store is dropped exactly once; what was given back reads as
 * zero; a page that is lost is read by nobody until it was given back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/pager/test/page_world.h"
#include "vmm/base/macros.h"

/* Who is in the world: not all at once, which would be too many states. */
enum {
    ALL = (1u << ACTORS) - 1 - (1u << FETCHER),
    WITH_RESET = ALL - (1u << COLLAPSER) - (1u << BALLOON) - (1u << PLUGGER),
    WITH_BALLOON = ALL - (1u << COLLAPSER) - (1u << RESET) - (1u << PLUGGER),
    WITH_COLLAPSER = ALL - (1u << STRANGER) - (1u << RESET) - (1u << BALLOON) - (1u << PLUGGER),
    WITH_COLLAPSER_AND_BALLOON = WITH_COLLAPSER - (1u << DEVICE) + (1u << BALLOON),
    WITH_PLUGGER = ALL - (1u << STRANGER) - (1u << COLLAPSER) - (1u << BALLOON) - (1u << RESET),
    WITH_PLUGGER_AND_COLLAPSER = WITH_COLLAPSER - (1u << DEVICE) + (1u << PLUGGER),
    WITH_PLUGGER_AND_BALLOON = WITH_PLUGGER - (1u << DEVICE) + (1u << BALLOON),
    /* The evictor, the fault thread and a guest of two vCPUs alone. */
    FEW = 1u << EVICTOR | 1u << FAULT | 1u << GUEST0 | 1u << GUEST1,
};

struct visited {
    struct world *worlds; /* open addressing; word UINT64_MAX: free */
    size_t size, n;
};

static uint64_t hash(const struct world *w)
{
    const uint8_t *p = (const uint8_t *)w;
    uint64_t h = 0xcbf29ce484222325ull;

    for (size_t i = 0; i < sizeof(*w); i++)
        h = (h ^ p[i]) * 0x100000001b3ull;
    return h ^ h >> 29;
}

static void visited_init(struct visited *v, size_t size)
{
    v->worlds = malloc(size * sizeof(*v->worlds));
    assert_non_null(v->worlds);
    v->size = size;
    v->n = 0;
    for (size_t i = 0; i < size; i++)
        v->worlds[i].word = UINT64_MAX;
}

static bool visit(struct visited *v, const struct world *w);

static void grow(struct visited *v)
{
    struct visited bigger;

    visited_init(&bigger, 2 * v->size);
    for (size_t i = 0; i < v->size; i++)
        if (v->worlds[i].word != UINT64_MAX)
            (void)visit(&bigger, &v->worlds[i]);
    free(v->worlds);
    *v = bigger;
}

/* Return: false when it was seen before. */
static bool visit(struct visited *v, const struct world *w)
{
    size_t i;

    if (2 * v->n > v->size)
        grow(v);
    for (i = hash(w) & (v->size - 1); v->worlds[i].word != UINT64_MAX; i = (i + 1) & (v->size - 1))
        if (memcmp(&v->worlds[i], w, sizeof(*w)) == 0)
            return false;
    v->worlds[i] = *w;
    v->n++;
    return true;
}

static void explore(struct visited *v, const struct world *w, unsigned who, size_t *n_ends)
{
    bool any = false;

    if (!visit(v, w))
        return;
    for (int a = 0; a < ACTORS && broken == NULL; a++) {
        for (int choice = 0, n = 1; (who >> a & 1) != 0 && choice < n && broken == NULL;
             choice++) {
            struct world next = *w;

            n = go(&next, (enum actor)a, choice);
            if (n == 0)
                break;
            /* who may do something is not who must: the guests' work can end without them */
            any = any || (a != STRANGER && a != RESET && (a != BALLOON || w->balloon_pc != 0) &&
                          (a != PLUGGER || w->plugger_pc != 0) &&
                          (a != FETCHER || w->fetch_pc != 0));
            if (broken != NULL)
                (void)fprintf(stderr, "# actor %d after word %#llx: %s\n", a,
                              (unsigned long long)w->word, broken);
            explore(v, &next, who, n_ends);
        }
    }
    if (!any && broken == NULL) {
        check_end(w);
        ++*n_ends;
    }
}

static size_t explore_trouble(uint8_t present, unsigned who, uint8_t may_lose, uint8_t may_starve)
{
    struct visited v;
    struct world w;
    size_t n_ends = 0;

    memset(&w, 0, sizeof(w));
    w.present = present;
    w.may_lose = may_lose;
    w.may_starve = may_starve;
    w.device_pc = (who >> DEVICE & 1) != 0 ? 0 : 5; /* or it was there before */
    broken = NULL;
    visited_init(&v, 1 << 16);
    explore(&v, &w, who, &n_ends);
    print_message("# %zu states, %zu ends\n", v.n, n_ends);
    free(v.worlds);
    if (broken != NULL)
        fail_msg("%s", broken);
    assert_true(n_ends > 20);
    return v.n;
}

static void explore_losing(uint8_t present, unsigned who, uint8_t may_lose)
{
    assert_true(explore_trouble(present, who, may_lose, 0) > 100000);
}

static void explore_from(uint8_t present, unsigned who)
{
    explore_losing(present, who, 0);
}

static void no_order_of_events_loses_a_byte(void **state)
{
    (void)state;
    explore_from(1, WITH_RESET);
    explore_from(1, WITH_BALLOON);
}

static void nor_where_a_page_was_never_touched(void **state)
{
    (void)state;
    explore_from(0, WITH_RESET);
    explore_from(0, WITH_BALLOON);
}

static void nor_where_it_becomes_part_of_a_huge_page(void **state)
{
    (void)state;
    explore_from(1, WITH_COLLAPSER);
    explore_from(0, WITH_COLLAPSER);
    explore_from(1, WITH_COLLAPSER_AND_BALLOON);
    explore_from(0, WITH_COLLAPSER_AND_BALLOON);
}

static void nor_where_the_copy_of_a_page_is_lost(void **state)
{
    (void)state;
    explore_losing(1, WITH_RESET - (1u << STRANGER), 2);
    explore_losing(1, WITH_BALLOON - (1u << STRANGER), 1);
    explore_losing(1, WITH_BALLOON - (1u << DEVICE), 1);
}

static void nor_where_it_is_plugged_out_and_in(void **state)
{
    (void)state;
    explore_from(1, WITH_PLUGGER);
    explore_from(0, WITH_PLUGGER);
    explore_from(1, WITH_PLUGGER_AND_COLLAPSER);
    explore_from(0, WITH_PLUGGER_AND_COLLAPSER);
    explore_from(1, WITH_PLUGGER_AND_BALLOON);
    explore_from(0, WITH_PLUGGER_AND_BALLOON);
}

static void nor_where_a_lost_page_is_plugged_out_and_in(void **state)
{
    (void)state;
    explore_losing(1, WITH_PLUGGER, 2);
    explore_losing(1, WITH_PLUGGER_AND_BALLOON, 1);
}

/* Ahead of any touch, and where the host has no memory for it the first time. */
static void nor_where_it_is_fetched(void **state)
{
    static const unsigned with[] = { DEVICE, STRANGER, COLLAPSER, BALLOON, PLUGGER, RESET };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(with); i++)
        assert_true(explore_trouble(1, FEW | 1u << FETCHER | 1u << with[i], 0, 1) > 20000);
    assert_true(explore_trouble(1, FEW | 1u << FETCHER, 1, 1) > 20000);
    assert_true(explore_trouble(1, FEW | 1u << FETCHER | 1u << BALLOON, 1, 0) > 20000);
    assert_true(explore_trouble(1, FEW | 1u << FETCHER | 1u << PLUGGER, 1, 0) > 20000);
}

static void nor_where_all_is_reset(void **state)
{
    static const unsigned with[] = { COLLAPSER, BALLOON, PLUGGER };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(with); i++)
        for (unsigned lost = 0; lost < 2; lost++)
            assert_true(explore_trouble(1, FEW | 1u << RESET | 1u << with[i], (uint8_t)lost, 0) >
                        20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_order_of_events_loses_a_byte),
        cmocka_unit_test(nor_where_a_page_was_never_touched),
        cmocka_unit_test(nor_where_it_becomes_part_of_a_huge_page),
        cmocka_unit_test(nor_where_the_copy_of_a_page_is_lost),
        cmocka_unit_test(nor_where_it_is_plugged_out_and_in),
        cmocka_unit_test(nor_where_a_lost_page_is_plugged_out_and_in),
        cmocka_unit_test(nor_where_it_is_fetched),
        cmocka_unit_test(nor_where_all_is_reset),
    };
    return cmocka_run_group_tests_name("memory/pager/page_word orders", tests, NULL, NULL);
}
