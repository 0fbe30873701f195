/* SPDX-License-Identifier: Apache-2.0 */
/* The index against a model: who has what, who is asked, who is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "vmm/host/service_index.h"

enum { MEMBERS = 5, PAGES = 40, STEPS = 60000 };

struct world {
    struct service_index *ix;
    int member[MEMBERS];                 /* -1: not there */
    bool has[MEMBERS][PAGES], told[MEMBERS][PAGES];
    uint32_t where[PAGES];               /* place it is published at; 0: nowhere */
    int asked[PAGES];                    /* member that was asked and has not answered; -1 */
    uint32_t places, dropped;            /* last one given; sum of those that are not used */
    uint64_t seed;
};

static struct domain_hash hash_of(uint32_t page)
{
    return (struct domain_hash){ .low = page % 7, .high = page }; /* long chains */
}

static void dropped(void *ctx, const struct service_place *place)
{
    struct world *w = ctx;

    w->dropped += place->at;
}

static const struct service_index_ops ops = { .dropped = dropped };

static uint32_t dice(struct world *w, uint32_t n)
{
    w->seed = w->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(w->seed >> 33) % n;
}

static unsigned owners(const struct world *w, uint32_t page)
{
    unsigned n = 0;

    for (size_t i = 0; i < MEMBERS; i++)
        n += w->has[i][page];
    return n;
}

/* Of the model, after @page is not the member's any more. */
static void lost(struct world *w, int i, uint32_t page)
{
    w->has[i][page] = w->told[i][page] = false;
    if (w->asked[page] == i || owners(w, page) < 2)
        w->asked[page] = -1;
    if (owners(w, page) == 0)
        w->where[page] = 0;
}

static void leave(struct world *w, int i)
{
    service_index_leave(w->ix, (uint32_t)w->member[i]);
    w->member[i] = -1;
    for (uint32_t p = 0; p < PAGES; p++)
        lost(w, i, p);
}

static void publish(struct world *w, uint32_t page)
{
    const struct service_place place = { .segment = page % 3 + 1, .at = ++w->places, .len = 5 };
    const uint32_t before = w->dropped;

    service_index_publish(w->ix, hash_of(page), &place);
    assert_int_equal(w->dropped - before, w->where[page]);
    w->where[page] = place.at;
    w->asked[page] = -1;
    for (size_t i = 0; i < MEMBERS; i++)
        w->told[i][page] = false;
}

/* What is said to a member is about a page that it has: where it is, or that it is wanted. */
static void hear(struct world *w, int i)
{
    const uint32_t m = (uint32_t)w->member[i];
    struct service_task t;
    uint32_t page;

    if (!service_index_task(w->ix, m, &t))
        return;
    page = (uint32_t)t.hash.high;
    assert_true(w->has[i][page]);
    if (t.kind == SERVICE_TASK_PLACE) {
        assert_true(t.place.at == w->where[page] && t.place.at != 0);
        w->told[i][page] = true;
    } else {
        assert_true(w->where[page] == 0 && w->asked[page] == -1 && owners(w, page) > 1);
        assert_false(service_index_asked(w->ix, m, t.hash));
        w->asked[page] = i;
    }
    service_index_said(w->ix, m);
    assert_int_equal(service_index_asked(w->ix, m, t.hash), t.kind == SERVICE_TASK_NEED);
}

static void step(struct world *w)
{
    const int i = (int)dice(w, MEMBERS);
    const uint32_t page = dice(w, PAGES), d = dice(w, 100);

    if (w->member[i] < 0) {
        w->member[i] = service_index_join(w->ix);
        assert_true(w->member[i] > 0);
        return;
    }
    if (d == 0) {
        leave(w, i);
    } else if (d < 40) {
        assert_int_equal(service_index_offer(w->ix, (uint32_t)w->member[i], hash_of(page)), 0);
        w->has[i][page] = true;
    } else if (d < 60) {
        service_index_withdraw(w->ix, (uint32_t)w->member[i], hash_of(page));
        lost(w, i, page);
    } else if (d < 80) {
        hear(w, i);
    } else if (w->asked[page] >= 0) { /* answers */
        assert_true(service_index_asked(w->ix, (uint32_t)w->member[w->asked[page]], hash_of(page)));
        publish(w, page);
    } else if (w->where[page] != 0 && d < 85) { /* is moved */
        publish(w, page);
    }
}

static void must_match(const struct world *w)
{
    struct service_index_counts n, want = { 0 };

    service_index_count(w->ix, &n);
    for (uint32_t p = 0; p < PAGES; p++) {
        want.pages += owners(w, p) > 0;
        want.offers += owners(w, p);
        want.published += w->where[p] != 0;
        want.published_bytes += w->where[p] != 0 ? 5 : 0;
        want.uses += w->where[p] != 0 ? owners(w, p) : 0;
    }
    assert_memory_equal(&n, &want, sizeof(n));
    for (uint32_t s = 1; s <= 3; s++) {
        struct domain_hash hash;
        struct service_place place;
        uint32_t at = 0, seen = 0, expected = 0;

        while (service_index_next(w->ix, s, &at, &hash, &place)) {
            assert_int_equal(place.at, w->where[hash.high]);
            seen++;
        }
        for (uint32_t p = 0; p < PAGES; p++)
            expected += w->where[p] != 0 && p % 3 + 1 == s;
        assert_int_equal(seen, expected);
    }
}

static void index_is_what_members_said(void **state)
{
    struct world w = { .seed = 5 };

    (void)state;
    assert_int_equal(service_index_new(&ops, &w, &w.ix), 0);
    memset(w.member, -1, sizeof(w.member));
    memset(w.asked, -1, sizeof(w.asked));
    for (unsigned k = 0; k < STEPS; k++) {
        step(&w);
        if (k % 50 == 0)
            must_match(&w);
    }
    /* All are told in the end, and wanted pages are asked for. */
    for (int i = 0; i < MEMBERS; i++)
        for (unsigned k = 0; w.member[i] >= 0 && k < 1000; k++)
            hear(&w, i);
    for (uint32_t p = 0; p < PAGES; p++) {
        assert_true(w.where[p] != 0 || owners(&w, p) < 2 || w.asked[p] >= 0);
        for (int i = 0; i < MEMBERS; i++)
            assert_true(!w.has[i][p] || w.where[p] == 0 || w.told[i][p]);
    }
    for (int i = 0; i < MEMBERS; i++)
        if (w.member[i] >= 0)
            leave(&w, i);
    must_match(&w);
    service_index_free(w.ix);
}

static void many_pages_are_found(void **state)
{
    struct world w = { 0 };
    struct service_index_counts n;
    int a, b;

    (void)state;
    assert_int_equal(service_index_new(&ops, &w, &w.ix), 0);
    a = service_index_join(w.ix);
    b = service_index_join(w.ix);
    for (uint32_t i = 0; i < 5000; i++) {
        const struct domain_hash hash = { .low = i * 0x9e3779b97f4a7c15ull, .high = i };

        assert_int_equal(service_index_offer(w.ix, (uint32_t)a, hash), 0);
        assert_int_equal(service_index_offer(w.ix, (uint32_t)b, hash), 0);
    }
    service_index_leave(w.ix, (uint32_t)a);
    service_index_count(w.ix, &n);
    assert_int_equal(n.pages, 5000);
    assert_int_equal(n.offers, 5000);
    service_index_leave(w.ix, (uint32_t)b);
    service_index_count(w.ix, &n);
    assert_int_equal(n.pages, 0);
    service_index_free(w.ix);
}

static void who_gives_up_is_not_asked_again_until_another_offers(void **state)
{
    const struct domain_hash hash = { .low = 3, .high = 4 };
    struct world w = { 0 };
    struct service_task t;
    uint32_t m[3];

    (void)state;
    assert_int_equal(service_index_new(&ops, &w, &w.ix), 0);
    for (size_t i = 0; i < 3; i++)
        m[i] = (uint32_t)service_index_join(w.ix);
    assert_int_equal(service_index_offer(w.ix, m[0], hash), 0);
    assert_false(service_index_task(w.ix, m[0], &t));
    assert_int_equal(service_index_offer(w.ix, m[1], hash), 0);
    assert_true(service_index_task(w.ix, m[1], &t));
    assert_int_equal(t.kind, SERVICE_TASK_NEED);
    service_index_said(w.ix, m[1]);
    service_index_give_up(w.ix, hash);
    assert_false(service_index_asked(w.ix, m[1], hash));
    assert_false(service_index_task(w.ix, m[0], &t));
    assert_false(service_index_task(w.ix, m[1], &t));
    assert_int_equal(service_index_offer(w.ix, m[2], hash), 0);
    assert_true(service_index_task(w.ix, m[2], &t));
    service_index_said(w.ix, m[2]);
    service_index_withdraw(w.ix, m[2], hash); /* it has not: another one is asked */
    assert_true(service_index_task(w.ix, m[1], &t));
    service_index_free(w.ix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_is_what_members_said),
        cmocka_unit_test(many_pages_are_found),
        cmocka_unit_test(who_gives_up_is_not_asked_again_until_another_offers),
    };
    return cmocka_run_group_tests_name("vmm/host/service_index", tests, NULL, NULL);
}
