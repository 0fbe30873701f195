/* SPDX-License-Identifier: Apache-2.0 */
/* What the planner keeps so as not to add it up again, against adding it up from nothing. A sum
 * that drifts would break no promise, it would only make plans worse, so that nobody would notice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vcpu/policy/place_private.h"
#include "vcpu/policy/test/place_recheck.h"

enum { CASES = 2000 };

struct fixture {
    struct recheck_case c;
    struct place_host *host;
    struct place_search s;
};

static void begin(struct fixture *f, struct recheck_dice *d)
{
    recheck_make(&f->c, d, 1 + recheck_roll(d, RECHECK_HOST), 1 + recheck_roll(d, RECHECK_VNODES));
    assert_int_equal(place_host_new(&f->c.topo, &f->host, NULL), 0);
    f->c.problem.host = f->host;
    assert_int_equal(place_search_init(&f->s, &f->c.problem, NULL), 0);
}

static void end(struct fixture *f)
{
    place_search_fini(&f->s);
    place_host_free(f->host);
}

/* Anywhere, so that there is much to move. */
static bool put_all(struct place_search *s, struct recheck_dice *d)
{
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t h = recheck_roll(d, s->H), tried = 0;

        while (tried < s->H && !place_fits(s, i, h)) {
            h = (h + 1) % s->H;
            tried++;
        }
        if (tried == s->H)
            return false;
        place_put(s, i, (int)h);
    }
    return true;
}

static void check_loads(const struct place_search *s)
{
    for (uint32_t h = 0; h < s->H; h++) {
        const struct place_load *l = &s->load[h];

        assert_int_equal(l->convex, place_convex(s, l, l->milli));
        assert_int_equal(l->now, place_host_cost(s, l, l->milli, l->mib));
    }
}

static void check_rows(const struct place_search *s, const struct place_guest *g)
{
    for (uint32_t i = g->first; i < g->first + g->n; i++)
        for (uint32_t h = 0; h < s->H; h++)
            assert_int_equal(s->pull[(size_t)i * s->H + h], place_traffic_at(s, i, h));
}

static void rows_and_loads_follow_what_moves(void **state)
{
    static struct fixture f;
    struct recheck_dice d = { 20240229 };
    unsigned moved = 0;
    int was[RECHECK_VNODES];

    (void)state;
    for (int i = 0; i < CASES; i++) {
        begin(&f, &d);
        f.s.strict = false; /* else groups may be grown anew, which takes the rows for itself */
        if (put_all(&f.s, &d)) {
            memcpy(was, f.s.at, f.s.n * sizeof(was[0]));
            for (uint32_t g = 0; g < f.s.problem->n_guests; g++) {
                place_polish(&f.s, g);
                if (f.s.problem->guests[g].n > 1)
                    check_rows(&f.s, &f.s.problem->guests[g]);
            }
            moved += memcmp(was, f.s.at, f.s.n * sizeof(was[0])) != 0;
        }
        check_loads(&f.s);
        end(&f);
    }
    print_message("# something moved in %u of %d\n", moved, CASES);
    assert_true(moved >= 500);
}

/* Every host node asked, with the convex terms as they are defined. */
static int64_t pair_from_nothing(const struct place_search *s, uint32_t i, uint32_t k)
{
    const struct place_guest *g = &s->problem->guests[s->guest_of[i]];
    const size_t pair = (size_t)(i - g->first) * g->n + (k - g->first);
    const int64_t traffic = s->traffic[s->guest_of[i]][pair], a = s->milli[i], b = s->milli[k];
    const uint32_t told = s->told[s->guest_of[i]][pair];
    int64_t least = INT64_MAX;

    for (uint32_t h = 0; h < s->H; h++) {
        const struct place_load *l = &s->load[h];
        int64_t both = place_convex(s, l, l->milli + a + b) - place_convex(s, l, l->milli + a) -
                       place_convex(s, l, l->milli + b) + place_convex(s, l, l->milli);

        for (uint32_t o = 0; o < s->H; o++)
            if (o != h)
                least = MIN(least, place_pair(s, traffic, told, place_distance(s->host, h, o)));
        if (l->mib + s->mib[i] + s->mib[k] <= l->mem_mib)
            least = MIN(least, both + place_pair(s, traffic, told, place_distance(s->host, h, h)));
    }
    return least != INT64_MAX ? least : 0;
}

static void a_pair_costs_what_its_best_host_nodes_say(void **state)
{
    static struct fixture f;
    struct place_room rooms[RECHECK_HOST];
    struct recheck_dice d = { 4711 };
    unsigned pairs = 0, fewer = 0;

    (void)state;
    for (int i = 0; i < CASES; i++) {
        uint32_t list[RECHECK_VNODES], n_rooms;

        begin(&f, &d);
        for (uint32_t v = 0; v < f.s.n; v++)
            list[v] = v;
        n_rooms = place_rooms(&f.s, list, f.s.n, rooms);
        assert_true(n_rooms >= 1 && n_rooms <= f.s.H);
        fewer += n_rooms < f.s.H;
        for (uint32_t a = 0; a < f.s.n; a++) {
            for (uint32_t b = 0; b < a; b++) {
                int64_t least = place_rooms_pair(&f.s, rooms, n_rooms, a, b);

                if (f.s.guest_of[a] != f.s.guest_of[b]) {
                    assert_int_equal(least, 0);
                    continue;
                }
                assert_int_equal(least, pair_from_nothing(&f.s, a, b));
                pairs++;
            }
        }
        end(&f);
    }
    print_message("# %u pairs, fewer host nodes asked in %u cases\n", pairs, fewer);
    assert_true(pairs >= 1000 && fewer >= 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_and_loads_follow_what_moves),
        cmocka_unit_test(a_pair_costs_what_its_best_host_nodes_say),
    };
    return cmocka_run_group_tests_name("vcpu/policy/place sums", tests, NULL, NULL);
}
