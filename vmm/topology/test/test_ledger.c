/* SPDX-License-Identifier: Apache-2.0 */
/* What the ledger calls broken, worst and turned round, on small cases and against a slow judge. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/topology/ledger.h"

enum { MAX_NODES = 8, MAX_HOSTS = 6 };

/* A plan of which only distances matter; hosts have odd numbers. */
struct fixture {
    struct topo_plan plan;
    struct topo_plan_host hosts[MAX_HOSTS];
    uint32_t told[MAX_NODES * MAX_NODES], real[MAX_HOSTS * MAX_HOSTS];
    struct ledger_node nodes[MAX_NODES];
    struct idset homes[MAX_NODES];
};

static void begin(struct fixture *f, size_t n_nodes, size_t n_hosts)
{
    memset(f, 0, sizeof(*f));
    f->plan.n_nodes = n_nodes;
    f->plan.distances = f->told;
    f->plan.n_hosts = n_hosts;
    f->plan.hosts = f->hosts;
    f->plan.host_distances = f->real;
    for (uint32_t i = 0; i < n_hosts; i++)
        f->hosts[i].id.v = 2 * i + 1;
    for (size_t i = 0; i < n_hosts * n_hosts; i++) /* a line: 10 more for each step */
        f->real[i] = 10 + 10 * (uint32_t)abs((int)(i / n_hosts) - (int)(i % n_hosts));
    for (size_t i = 0; i < n_nodes * n_nodes; i++)
        f->told[i] = i / n_nodes == i % n_nodes ? 10 : 20;
}

static void put(struct fixture *f, size_t node, uint32_t host_index)
{
    f->nodes[node].homes = (struct idset){ 0 };
    idset_add(&f->nodes[node].homes, 2 * host_index + 1);
    f->homes[node] = f->nodes[node].homes;
}

static struct ledger *make(const struct fixture *f)
{
    struct ledger *l = NULL;

    assert_int_equal(ledger_new(&f->plan, f->nodes, &l, NULL), 0);
    return l;
}

static void a_promise_that_is_kept_is_no_more_than_that(void **state)
{
    struct fixture f;
    struct ledger *l;

    (void)state;
    begin(&f, 3, 4);
    put(&f, 0, 0);
    put(&f, 1, 1);
    put(&f, 2, 1); /* beside the other one: nearer than told */
    l = make(&f);
    assert_int_equal(l->n_broken, 0);
    assert_int_equal(l->n_inversions, 0);
    assert_int_equal(l->worst.real, 20);
    assert_int_equal(l->worst.told, 20);
    assert_int_equal(l->real[1 * 3 + 2], 10);
    ledger_free(l);
}

static void what_is_farther_than_told_is_broken_both_ways(void **state)
{
    struct ledger_pair pair = { 0 };
    struct fixture f;
    struct ledger *l;

    (void)state;
    begin(&f, 2, 4);
    put(&f, 0, 0);
    put(&f, 1, 1);
    assert_false(ledger_breaks(&f.plan, f.homes, (struct vnode_id){ 1 }, (struct hnode_id){ 1 },
                               &pair));
    assert_true(ledger_breaks(&f.plan, f.homes, (struct vnode_id){ 1 }, (struct hnode_id){ 7 },
                              &pair));
    assert_int_equal(pair.real, 40);
    assert_int_equal(pair.told, 20);
    put(&f, 1, 3);
    l = make(&f);
    assert_int_equal(l->n_broken, 2);
    assert_true(ledger_is_broken(l, 0, 1) && ledger_is_broken(l, 1, 0));
    assert_false(ledger_is_broken(l, 0, 0));
    assert_int_equal(l->worst.real, 40);
    ledger_free(l);
    /* It may come nearer again, and need not be perfect at once. */
    assert_false(ledger_breaks(&f.plan, f.homes, (struct vnode_id){ 1 }, (struct hnode_id){ 5 },
                               &pair));
}

static void the_farthest_home_counts_and_no_home_is_not_judged(void **state)
{
    struct fixture f;
    struct ledger *l;

    (void)state;
    begin(&f, 3, 4);
    put(&f, 0, 0);
    put(&f, 1, 1);
    idset_add(&f.nodes[1].homes, 2 * 3 + 1); /* half-way */
    l = make(&f);
    assert_int_equal(l->real[0 * 3 + 1], 40);
    assert_int_equal(l->real[0 * 3 + 2], 0);
    assert_int_equal(l->n_broken, 2);
    ledger_free(l);
    idset_add(&f.nodes[1].homes, 99); /* a host node that the plan does not know */
    l = make(&f);
    assert_int_equal(l->worst.real, 0);
    ledger_free(l);
}

static void an_order_turned_round_is_an_inversion(void **state)
{
    struct fixture f;
    struct ledger *l;

    (void)state;
    begin(&f, 3, 4);
    f.told[0 * 3 + 2] = f.told[2 * 3 + 0] = 60; /* 1 is near, 2 is far, says the plan */
    f.told[1 * 3 + 2] = f.told[2 * 3 + 1] = 60;
    f.told[0 * 3 + 1] = f.told[1 * 3 + 0] = 50;
    put(&f, 0, 0);
    put(&f, 1, 3);
    put(&f, 2, 1);
    l = make(&f);
    assert_int_equal(l->n_broken, 0);     /* every bound is kept ... */
    assert_int_equal(l->n_inversions, 2); /* ... but for 0 and for 1 the order is not */
    ledger_free(l);
}

/* Random guests on random hosts against the definition, and a move that is not refused breaks
 * nothing that was whole. */
static void judgements_hold_on_random_cases(void **state)
{
    unsigned refused = 0, allowed = 0;

    (void)state;
    srand(11);
    for (int round = 0; round < 3000; round++) {
        const size_t n = 2 + (size_t)rand() % (MAX_NODES - 1), h = 2 + (size_t)rand() % (MAX_HOSTS - 1);
        const struct vnode_id vnode = { (uint32_t)((size_t)rand() % n) };
        const uint32_t to = (uint32_t)((size_t)rand() % h);
        struct ledger *before, *after;
        struct ledger_pair pair;
        struct fixture f;
        size_t broken = 0;
        uint64_t turned = 0;
        bool breaks, worse = false;

        begin(&f, n, h);
        for (size_t i = 0; i < h * h; i++)
            f.real[i] = i / h == i % h ? 10 : 11 + (uint32_t)rand() % 50;
        for (size_t i = 0; i < n * n; i++)
            f.told[i] = i / n == i % n ? 10 : 11 + (uint32_t)rand() % 50;
        for (size_t i = 0; i < n; i++)
            put(&f, i, (uint32_t)((size_t)rand() % h));
        before = make(&f);
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < n; k++) {
                broken += i != k && before->real[i * n + k] > f.told[i * n + k];
                for (size_t m = k + 1; m < n; m++) {
                    const int64_t told = (int64_t)f.told[i * n + k] - f.told[i * n + m];
                    const int64_t real = (int64_t)before->real[i * n + k] - before->real[i * n + m];

                    turned += k != i && m != i && told * real < 0;
                }
            }
        assert_int_equal(before->n_broken, broken);
        assert_int_equal(before->n_inversions, turned);
        breaks = ledger_breaks(&f.plan, f.homes, vnode, (struct hnode_id){ 2 * to + 1 }, &pair);
        put(&f, vnode.v, to);
        after = make(&f);
        for (size_t i = 0; i < n * n; i++)
            worse = worse || (ledger_is_broken(after, i / n, i % n) &&
                              after->real[i] > before->real[i]);
        assert_int_equal(breaks, worse);
        *(breaks ? &refused : &allowed) += 1;
        if (breaks)
            assert_int_equal(after->real[pair.from * n + pair.to], pair.real);
        ledger_free(before);
        ledger_free(after);
    }
    assert_true(refused > 100 && allowed > 100);
}

/* Numbers of nodes and hosts are names: another order gives the same sums. */
static void names_do_not_matter(void **state)
{
    struct fixture f, g;
    struct ledger *a, *b;

    (void)state;
    srand(5);
    for (int round = 0; round < 200; round++) {
        begin(&f, 5, 4);
        for (size_t i = 0; i < 25; i++)
            f.told[i] = i / 5 == i % 5 ? 10 : 11 + (uint32_t)rand() % 40;
        for (size_t i = 0; i < 5; i++)
            put(&f, i, (uint32_t)rand() % 4);
        g = f;
        g.plan.distances = g.told;
        g.plan.hosts = g.hosts;
        g.plan.host_distances = g.real;
        for (size_t i = 0; i < 25; i++)
            g.told[(4 - i / 5) * 5 + 4 - i % 5] = f.told[i];
        for (size_t i = 0; i < 5; i++)
            g.nodes[4 - i] = f.nodes[i];
        a = make(&f);
        b = make(&g);
        assert_int_equal(a->n_broken, b->n_broken);
        assert_int_equal(a->n_inversions, b->n_inversions);
        assert_int_equal(a->worst.real * b->worst.told, b->worst.real * a->worst.told);
        ledger_free(a);
        ledger_free(b);
    }
}

static void the_picture_shows_what_is_wrong(void **state)
{
    char *text = NULL;
    struct fixture f;
    struct ledger *l;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    (void)state;
    begin(&f, 2, 4);
    put(&f, 0, 0);
    put(&f, 1, 3);
    f.nodes[0].resident_bytes = f.nodes[0].home_bytes = 64 * MIB;
    f.nodes[1].resident_bytes = 64 * MIB;
    f.nodes[1].home_bytes = 48 * MIB;
    f.nodes[1].forced = true;
    l = make(&f);
    ledger_write_svg(l, "a <guest>", out);
    assert_int_equal(fclose(out), 0);
    assert_non_null(strstr(text, "a &lt;guest>"));
    assert_non_null(strstr(text, "100.00 % of 64 MiB"));
    assert_non_null(strstr(text, "75.00 % of 64 MiB"));
    assert_non_null(strstr(text, "node 1 on host 7, forced"));
    assert_non_null(strstr(text, "40 / 20"));
    assert_non_null(strstr(text, "2 distances are broken; the worst: 0 to 1, real 40, told 20."));
    assert_string_equal(text + len - 7, "</svg>\n");
    free(text);
    ledger_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_promise_that_is_kept_is_no_more_than_that),
        cmocka_unit_test(what_is_farther_than_told_is_broken_both_ways),
        cmocka_unit_test(the_farthest_home_counts_and_no_home_is_not_judged),
        cmocka_unit_test(an_order_turned_round_is_an_inversion),
        cmocka_unit_test(judgements_hold_on_random_cases),
        cmocka_unit_test(names_do_not_matter),
        cmocka_unit_test(the_picture_shows_what_is_wrong),
    };

    return cmocka_run_group_tests_name("topology/ledger", tests, NULL, NULL);
}
