/* SPDX-License-Identifier: Apache-2.0 */
/* The planner against a solver that tries every assignment, over many small random problems; and
 * what must not change when a problem is told otherwise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "vcpu/policy/test/place_recheck.h"

enum { CASES = 5000, ENOUGH = 1000 * 1000 };

/* Everything that can be said about an answer from outside. */
static void recheck(const struct recheck_case *c, const struct place_result *r)
{
    const struct place_problem *p = &c->problem;
    int64_t cost = place_terms_total(&r->terms);

    assert_int_equal(r->n_vnodes, p->n_vnodes);
    assert_int_equal(r->n_spread, 0);
    assert_true(recheck_limits(&c->topo, p, r->node));
    assert_int_equal(cost, recheck_cost(&c->topo, p, r->node));
    assert_int_equal(r->kept,
                     recheck_bounds(&c->topo, p, r->node) && recheck_order(&c->topo, p, r->node));
    assert_true(r->bound <= cost && (!r->proved || r->bound == cost));
}

static int solve(struct recheck_case *c, uint32_t budget, struct place_result *r)
{
    struct place_host *host;
    struct errctx ec = { 0 };
    int result;

    assert_int_equal(place_host_new(&c->topo, &host, NULL), 0);
    c->problem.host = host;
    c->problem.budget = budget;
    result = place_solve(&c->problem, r, &ec);
    place_host_free(host);
    if (result < 0) {
        assert_int_equal(result, -ENOSPC);
        assert_true(ec.msg[0] != '\0');
    }
    return result;
}

static void every_small_case_agrees_with_the_exact_solver(void **state)
{
    static struct recheck_case c;
    struct recheck_dice d = { 0x9e3779b97f4a7c15ull };
    unsigned solved = 0, turned = 0, given_up = 0, impossible = 0, quick = 0, gaps = 0;
    double gap = 0;

    (void)state;
    for (int i = 0; i < CASES; i++) {
        struct recheck_best best;
        struct place_result r;
        int64_t least;

        recheck_make(&c, &d, 1 + recheck_roll(&d, 4), 1 + recheck_roll(&d, 5));
        recheck_exact(&c.topo, &c.problem, &best);
        if (solve(&c, ENOUGH, &r) < 0) {
            assert_int_equal(best.any_cost, INT64_MAX);
            impossible++;
            continue;
        }
        least = best.cost != INT64_MAX ? best.cost : best.any_cost;
        turned += best.cost == INT64_MAX;
        recheck(&c, &r);
        assert_true(r.proved);
        assert_int_equal(place_terms_total(&r.terms), least);
        place_result_fini(&r);
        solved++;
        /* With the usual budget: sound, and hardly worse. */
        if (solve(&c, 0, &r) < 0)
            continue;
        recheck(&c, &r);
        assert_true(r.bound <= least && place_terms_total(&r.terms) >= MIN(least, best.any_cost));
        quick += r.proved;
        given_up += best.cost != INT64_MAX && !recheck_order(&c.topo, &c.problem, r.node);
        if (least > PLACE_COST_CPU / 100 &&
            (best.cost == INT64_MAX || recheck_order(&c.topo, &c.problem, r.node))) {
            gap += (double)(place_terms_total(&r.terms) - least) / (double)least;
            gaps++;
        }
        place_result_fini(&r);
    }
    print_message("# %u solved, %u of them with turned orders, %u impossible; usual budget: %u "
                  "proved, mean gap %.4f %% of %u\n",
                  solved, turned, impossible, quick, 100 * gap / MAX(gaps, 1u), gaps);
    assert_true(solved >= 1000 && impossible >= 50 && turned >= 20);
    assert_int_equal(given_up, 0);
    assert_true(gap / MAX(gaps, 1u) <= 0.005);
}

static void relabelling_the_host_changes_no_cost(void **state)
{
    static struct recheck_case c, m;
    struct recheck_dice d = { 4711 };

    (void)state;
    for (int i = 0; i < 200; i++) {
        uint32_t n = 2 + recheck_roll(&d, 4), to[RECHECK_HOST];
        struct place_result r, rm;

        recheck_make(&c, &d, n, 1 + recheck_roll(&d, 5));
        for (uint32_t h = 0; h < n; h++) /* rotate and mirror */
            to[h] = (n - h + (uint32_t)i) % n;
        m = c;
        m.topo.nodes = m.nodes;
        m.topo.cpus = m.cpus;
        m.topo.distances = m.distances;
        m.problem.vnodes = m.vnodes;
        m.problem.used = m.used;
        for (uint32_t h = 0; h < n; h++) {
            m.nodes[to[h]] = c.nodes[h]; /* the kernel's numbers go along, for "only" */
            m.used[to[h]] = c.used[h];
            for (uint32_t k = 0; k < n; k++)
                m.distances[to[h] * n + to[k]] = c.distances[h * n + k];
        }
        for (size_t k = 0; k < m.topo.n_cpus; k++)
            m.cpus[k].node = to[c.cpus[k].node];
        for (uint32_t k = 0; k < m.problem.n_vnodes; k++)
            if (m.vnodes[k].current >= 0)
                m.vnodes[k].current = (int)to[m.vnodes[k].current];
        if (solve(&c, ENOUGH, &r) < 0) {
            assert_int_equal(solve(&m, ENOUGH, &rm), -ENOSPC);
            continue;
        }
        assert_int_equal(solve(&m, ENOUGH, &rm), 0);
        assert_int_equal(place_terms_total(&r.terms), place_terms_total(&rm.terms));
        assert_int_equal(r.kept, rm.kept);
        place_result_fini(&r);
        place_result_fini(&rm);
    }
}

static void assert_same_places(const struct place_result *a, const struct place_result *b)
{
    assert_int_equal(a->n_vnodes, b->n_vnodes);
    for (uint32_t i = 0; i < a->n_vnodes; i++)
        assert_int_equal(a->node[i], b->node[i]);
    assert_int_equal(place_terms_total(&a->terms), place_terms_total(&b->terms));
}

static void distances_in_another_unit_change_nothing(void **state)
{
    static struct recheck_case c;
    struct recheck_dice d = { 99 };

    (void)state;
    for (int i = 0; i < 200; i++) {
        struct place_result r, scaled;
        int first;

        recheck_make(&c, &d, 2 + recheck_roll(&d, 4), 1 + recheck_roll(&d, 5));
        first = solve(&c, 0, &r);
        for (size_t k = 0; k < c.topo.n_nodes * c.topo.n_nodes; k++)
            c.distances[k] *= 7;
        assert_int_equal(solve(&c, 0, &scaled), first);
        if (first < 0)
            continue;
        assert_same_places(&r, &scaled);
        place_result_fini(&r);
        place_result_fini(&scaled);
    }
}

static void a_far_node_without_room_changes_nothing(void **state)
{
    static struct recheck_case c, more;
    struct recheck_dice d = { 123456 };

    (void)state;
    for (int i = 0; i < 200; i++) {
        uint32_t n = 1 + recheck_roll(&d, 4);
        struct place_result r, rm;
        int first;

        recheck_make(&c, &d, n, 1 + recheck_roll(&d, 5));
        more = c;
        more.topo.nodes = more.nodes;
        more.topo.cpus = more.cpus;
        more.topo.distances = more.distances;
        more.problem.used = more.used;
        more.topo.n_nodes = n + 1;
        more.nodes[n] = (struct host_node){ .id = { 200 } };
        more.used[n] = (struct place_use){ 0 };
        for (uint32_t a = 0; a <= n; a++)
            for (uint32_t b = 0; b <= n; b++)
                more.distances[a * (n + 1) + b] = a == b             ? 10
                                                  : a == n || b == n ? 200
                                                                     : c.distances[a * n + b];
        for (uint32_t k = 0; k < c.problem.n_vnodes; k++) /* what needs nothing fits anywhere */
            if (c.vnodes[k].n_vcpus == 0 && c.vnodes[k].mem_bytes == 0)
                c.vnodes[k].mem_bytes = 1 << 20;
        memcpy(more.vnodes, c.vnodes, sizeof(c.vnodes));
        first = solve(&c, ENOUGH, &r);
        assert_int_equal(solve(&more, ENOUGH, &rm), first);
        if (first < 0)
            continue;
        assert_same_places(&r, &rm);
        place_result_fini(&r);
        place_result_fini(&rm);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_small_case_agrees_with_the_exact_solver),
        cmocka_unit_test(relabelling_the_host_changes_no_cost),
        cmocka_unit_test(distances_in_another_unit_change_nothing),
        cmocka_unit_test(a_far_node_without_room_changes_nothing),
    };
    return cmocka_run_group_tests_name("vcpu/policy/place exact", tests, NULL, NULL);
}
