/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pairs are measured, what their values say of the others, and what contradicts SLIT; all
 * with made-up numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/topology/host_measured.h"
#include "vmm/topology/host_pairs.h"
#include "vmm/topology/show.h"

#define HOSTS "vmm/topology/test/hosts/"

static struct host_topo big_host(void)
{
    struct host_topo h = { 0 };
    struct errctx ec = { 0 };

    if (host_topo_from_xml(HOSTS "eight-socket-128-node.xml", &h, &ec) < 0)
        fail_msg("%s", ec.msg);
    return h;
}

/* Four nodes of two packages: 10 at home, 12 to the neighbour, 21 to the other package. */
static struct host_topo small_host(void)
{
    struct host_topo h = { 0 };

    assert_int_equal(host_topo_from_synthetic("pack:2 numa:2 core:2 pu:2", &h, NULL), 0);
    for (size_t i = 0; i < 16; i++)
        h.distances[i] = i / 4 == i % 4 ? 10 : i / 8 == i % 4 / 2 ? 12 : 21;
    h.has_distances = true;
    return h;
}

static size_t choose(const struct host_topo *h, uint64_t seed, size_t max, struct host_pair **ret)
{
    struct errctx ec = { 0 };
    size_t n = 0;

    if (host_pairs_choose(h, seed, max, ret, &n, &ec) < 0)
        fail_msg("%s", ec.msg);
    return n;
}

static void every_class_of_the_128_node_machine_has_its_pair(void **state)
{
    struct host_topo h = big_host();
    struct host_pair *pairs = NULL;
    uint32_t packages[128];
    struct idset memory = { 0 };
    size_t n = choose(&h, 1, 1024, &pairs), checks = 0;

    (void)state;
    host_pairs_packages(&h, packages);
    assert_int_equal(packages[0], 0);
    assert_int_equal(packages[127], 7);
    assert_true(n < 200); /* of 16,384 */
    for (size_t from = 0; from < 128; from++)
        for (size_t to = 0; to < 128; to++) {
            const uint64_t class = host_pairs_class(&h, packages, from, to);
            size_t hits = 0;

            for (size_t i = 0; i < n; i++)
                hits += !pairs[i].check &&
                        host_pairs_class(&h, packages, pairs[i].from, pairs[i].to) == class;
            assert_int_equal(hits, 1);
        }
    for (size_t i = 0; i < n; i++) {
        checks += pairs[i].check;
        if (!pairs[i].check)
            idset_add(&memory, pairs[i].to);
        for (size_t k = 0; k < i; k++) /* none twice */
            assert_false(pairs[k].from == pairs[i].from && pairs[k].to == pairs[i].to);
    }
    assert_int_equal(checks, 16);
    assert_true(idset_count(&memory) < 40); /* the same memory serves many pairs */
    free(pairs);
    host_topo_fini(&h);
}

static void the_first_pairs_stand_for_every_distance(void **state)
{
    struct host_topo h = big_host();
    struct host_pair *pairs = NULL;
    struct idset all = { 0 }, first = { 0 };
    uint32_t n_distances;

    (void)state;
    for (size_t i = 0; i < 128 * 128; i++)
        idset_add(&all, h.distances[i]);
    n_distances = idset_count(&all);
    assert_int_equal(choose(&h, 1, n_distances, &pairs), n_distances); /* no room for more */
    for (size_t i = 0; i < n_distances; i++)
        idset_add(&first, host_topo_distance(&h, pairs[i].from, pairs[i].to));
    assert_true(idset_equal(&all, &first));
    free(pairs);
    host_topo_fini(&h);
}

static void equal_seeds_choose_equally_others_otherwise(void **state)
{
    struct host_topo h = big_host();
    struct host_pair *a = NULL, *b = NULL, *c = NULL;
    const size_t n = choose(&h, 7, 1024, &a);

    (void)state;
    assert_int_equal(choose(&h, 7, 1024, &b), n);
    assert_int_equal(choose(&h, 8, 1024, &c), n);
    for (size_t i = 0; i < n; i++)
        assert_true(a[i].from == b[i].from && a[i].to == b[i].to && a[i].check == b[i].check);
    assert_memory_not_equal(a, c, n * sizeof(*a));
    free(a);
    free(b);
    free(c);
    host_topo_fini(&h);
}

static void nodes_without_cpus_are_measured_as_memory_only(void **state)
{
    struct host_topo h = { 0 };
    struct host_pair *pairs = NULL;
    uint32_t packages[4];
    struct errctx ec = { 0 };
    size_t n;

    (void)state;
    assert_int_equal(host_topo_from_xml(HOSTS "two-socket-hbm.xml", &h, NULL), 0);
    host_pairs_packages(&h, packages);
    assert_int_equal(packages[2], 1);
    n = choose(&h, 1, 100, &pairs);
    assert_int_equal(n, 8); /* two nodes with CPUs, four with memory; the checks are the rest */
    for (size_t i = 0; i < n; i++)
        assert_true(pairs[i].from == 0 || pairs[i].from == 2);
    free(pairs);
    for (size_t i = 0; i < h.n_nodes; i++)
        h.nodes[i].cpus = (struct idset){ 0 };
    pairs = (void *)0x1;
    assert_int_equal(host_pairs_choose(&h, 1, 100, &pairs, &n, &ec), -ENODEV);
    assert_ptr_equal(pairs, (void *)0x1);
    assert_int_equal(n, 8);
    host_topo_fini(&h);
}

static struct host_sample sample(uint32_t from, uint32_t to, uint32_t ns)
{
    return (struct host_sample){
        .from = { from }, .to = { to }, .latency_ps = ns * 1000, .bytes_per_s = 1000000 / ns
    };
}

static void assert_link(const struct host_topo *h, size_t from, size_t to,
                        enum host_measured_by by, uint32_t ns)
{
    const struct host_link *l = host_topo_measured(h, from, to);

    assert_non_null(l);
    assert_int_equal(l->by, by);
    assert_int_equal(l->latency_ps, ns * 1000);
    assert_int_equal(l->bytes_per_s, 1000000 / ns);
}

static void pairs_stand_for_their_class_then_their_distance(void **state)
{
    struct host_topo h = small_host();
    const struct host_sample s[] = {
        sample(0, 0, 80),  sample(2, 2, 84),  sample(0, 1, 100), sample(0, 2, 140),
        sample(0, 3, 150), sample(1, 2, 160), sample(9, 0, 999), /* no such node */
    };
    struct errctx ec = { 0 };

    (void)state;
    assert_null(host_topo_measured(&h, 0, 0));
    assert_int_equal(host_measured_apply(&h, s, ARRAY_SIZE(s), 4711, &ec), 0);
    assert_true(h.has_measured);
    assert_true(h.measured_at == 4711);
    assert_int_equal(h.n_samples, 6);
    assert_link(&h, 0, 0, HOST_MEASURED_PAIR, 80);
    assert_link(&h, 1, 1, HOST_MEASURED_CLASS, 80);
    assert_link(&h, 3, 3, HOST_MEASURED_CLASS, 84);
    assert_link(&h, 1, 0, HOST_MEASURED_CLASS, 100);
    assert_link(&h, 3, 2, HOST_MEASURED_DISTANCE, 100); /* the other package */
    assert_link(&h, 1, 3, HOST_MEASURED_CLASS, 150);    /* the median of 140, 150, 160 */
    assert_link(&h, 2, 0, HOST_MEASURED_DISTANCE, 150); /* the way back is another class */
    /* A new measurement takes the place of the old one. */
    assert_int_equal(host_measured_apply(&h, s, 1, 4712, &ec), 0);
    assert_int_equal(h.n_samples, 1);
    assert_null(host_topo_measured(&h, 0, 1));
    assert_link(&h, 3, 3, HOST_MEASURED_DISTANCE, 80);
    /* One without a single known node leaves it. */
    assert_int_equal(host_measured_apply(&h, &s[6], 1, 4713, &ec), -ENOENT);
    assert_int_equal(h.n_samples, 1);
    assert_true(h.measured_at == 4712);
    host_topo_fini(&h);
}

static void nobody_is_far_from_where_no_cpu_is(void **state)
{
    struct host_topo h = small_host();
    const struct host_sample s[] = { sample(0, 0, 80), sample(0, 1, 100) };

    (void)state;
    h.nodes[1].cpus = (struct idset){ 0 };
    assert_int_equal(host_measured_apply(&h, s, ARRAY_SIZE(s), 1, NULL), 0);
    assert_null(host_topo_measured(&h, 1, 0));
    assert_null(host_topo_measured(&h, 1, 1));
    assert_link(&h, 0, 1, HOST_MEASURED_PAIR, 100);
    host_topo_fini(&h);
}

static size_t judge(const struct host_sample *s, size_t n, struct host_contradiction *ret,
                    size_t max)
{
    struct host_topo h = small_host();

    assert_int_equal(host_measured_apply(&h, s, n, 1, NULL), 0);
    n = host_measured_judge(&h, ret, max);
    host_topo_fini(&h);
    return n;
}

static void an_order_within_noise_is_no_contradiction(void **state)
{
    const struct host_sample as_told[] = { sample(0, 0, 80), sample(0, 1, 100), sample(0, 2, 140) };
    const struct host_sample flat[] = { sample(0, 0, 119), sample(0, 1, 101), sample(0, 2, 100) };
    struct host_contradiction c;

    (void)state;
    assert_int_equal(judge(as_told, ARRAY_SIZE(as_told), &c, 1), 0);
    assert_int_equal(judge(flat, ARRAY_SIZE(flat), &c, 1), 0);
}

static void a_nearer_node_that_takes_longer_is_reported(void **state)
{
    const struct host_sample s[] = { sample(0, 0, 80), sample(1, 0, 300), sample(2, 3, 100),
                                     sample(0, 2, 140), sample(3, 1, 160) };
    struct host_contradiction c[4];
    char text[HOST_CONTRADICTION_BYTES];

    (void)state;
    assert_int_equal(judge(s, ARRAY_SIZE(s), c, ARRAY_SIZE(c)), 1);
    assert_int_equal(c[0].kind, HOST_CONTRADICTS_ORDER);
    assert_int_equal(c[0].percent, 214);
    assert_string_equal(host_contradiction_text(&c[0], text, sizeof(text)),
                        "node 1 to 0 has distance 12 but took 300.0 ns, longer than 0 to 2 with "
                        "distance 21, 140.0 ns");
}

static void a_pair_unlike_its_class_is_reported(void **state)
{
    const struct host_sample s[] = { sample(0, 0, 80), sample(0, 2, 140), sample(0, 3, 141),
                                     sample(1, 2, 190) };
    struct host_contradiction c[4];
    char text[HOST_CONTRADICTION_BYTES];

    (void)state;
    assert_int_equal(judge(s, ARRAY_SIZE(s), c, ARRAY_SIZE(c)), 1);
    assert_int_equal(c[0].kind, HOST_CONTRADICTS_CLASS);
    assert_string_equal(host_contradiction_text(&c[0], text, sizeof(text)),
                        "node 1 to 2 took 190.0 ns, 134 % of what pairs like it take (distance 21)");
}

static void the_worst_come_first_and_all_are_counted(void **state)
{
    const struct host_sample s[] = { sample(0, 0, 500), sample(1, 1, 300), sample(0, 1, 200),
                                     sample(0, 2, 100) };
    struct host_contradiction c[2];

    (void)state;
    /* 10 before 12, 10 before 21, 12 before 21; and 0 to 0 beside 1 to 1 */
    assert_int_equal(judge(s, ARRAY_SIZE(s), c, 2), 4);
    assert_int_equal(c[0].percent, 500);
    assert_int_equal(c[0].slow.from.v, 0);
    assert_int_equal(c[1].percent, 250);
    assert_int_equal(judge(s, ARRAY_SIZE(s), NULL, 0), 4);
}

static void assumed_distances_cannot_be_contradicted(void **state)
{
    const struct host_sample s[] = { sample(0, 0, 500), sample(0, 1, 100) };
    struct host_topo h = { 0 };
    struct host_contradiction c;

    (void)state;
    assert_int_equal(host_topo_from_synthetic("pack:2 numa:2 core:2 pu:1", &h, NULL), 0);
    assert_int_equal(host_measured_judge(&h, &c, 1), 0); /* nor what was not measured */
    assert_int_equal(host_measured_apply(&h, s, ARRAY_SIZE(s), 1, NULL), 0);
    assert_int_equal(host_measured_judge(&h, &c, 1), 0);
    h.has_distances = true;
    assert_int_equal(host_measured_judge(&h, &c, 1), 1);
    host_topo_fini(&h);
}

static void measured_values_are_shown(void **state)
{
    static const char *const lines[] = {
        "Measured on 2026-01-02 03:04 UTC\n",
        "        10      1     80.0 -    80.0  12.2 KiB/s - 12.2 KiB/s\n",
        "        21      2    140.0 -   160.0  6.1 KiB/s - 7.0 KiB/s\n",
        "\n     0    80.0   300.0   140.0 ~ 140.0\n",
        "Measured values contradict the firmware's distances\n",
        "  node 0 to 1 has distance 12 but took 300.0 ns",
    };
    const struct host_sample s[] = { sample(0, 0, 80), sample(0, 1, 300), sample(0, 2, 140),
                                     sample(1, 3, 160) };
    struct host_topo h = small_host();
    char *text = NULL;
    size_t len = 0;
    FILE *mem = open_memstream(&text, &len);
    json_t *j = NULL;

    (void)state;
    assert_int_equal(host_measured_apply(&h, s, ARRAY_SIZE(s), 1767323040, NULL), 0);
    host_topo_print_table(&h, mem, false);
    assert_int_equal(fclose(mem), 0);
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        if (strstr(text, lines[i]) == NULL)
            fail_msg("missing: %s in\n%s", lines[i], text);
    free(text);
    assert_int_equal(host_topo_to_json(&h, &j), 0);
    text = json_dumps(json_object_get(j, "measured"), JSON_COMPACT);
    assert_non_null(strstr(text, "{\"at\":1767323040,\"pairs\":[{\"from\":0,\"to\":0,"
                                 "\"latency_ps\":80000,\"bandwidth\":12500,\"check\":false}"));
    assert_non_null(strstr(text, "\"latency_ps\":[[80000,300000,140000,140000],"));
    assert_non_null(strstr(text, "{\"kind\":\"order\",\"from\":0,\"to\":1,\"percent\":214,"));
    free(text);
    json_decref(j);
    host_topo_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_class_of_the_128_node_machine_has_its_pair),
        cmocka_unit_test(the_first_pairs_stand_for_every_distance),
        cmocka_unit_test(equal_seeds_choose_equally_others_otherwise),
        cmocka_unit_test(nodes_without_cpus_are_measured_as_memory_only),
        cmocka_unit_test(pairs_stand_for_their_class_then_their_distance),
        cmocka_unit_test(nobody_is_far_from_where_no_cpu_is),
        cmocka_unit_test(an_order_within_noise_is_no_contradiction),
        cmocka_unit_test(a_nearer_node_that_takes_longer_is_reported),
        cmocka_unit_test(a_pair_unlike_its_class_is_reported),
        cmocka_unit_test(the_worst_come_first_and_all_are_counted),
        cmocka_unit_test(assumed_distances_cannot_be_contradicted),
        cmocka_unit_test(measured_values_are_shown),
    };
    return cmocka_run_group_tests_name("topology/host_measured", tests, NULL, NULL);
}
