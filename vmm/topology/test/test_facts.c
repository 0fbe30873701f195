/* SPDX-License-Identifier: Apache-2.0 */
/* Facts of plans, as text, and compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/topology/facts.h"

static char *facts_told(const struct guest_spec *spec, enum facts_told how)
{
    static const struct host_topo nowhere = { .source = "no host" };
    struct topo_plan *plan;
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_int_equal(topo_plan_make(spec, &nowhere, &plan, NULL), 0);
    assert_non_null(f);
    assert_int_equal(facts_of_plan(plan, how, f), 0);
    assert_int_equal(fclose(f), 0);
    topo_plan_free(plan);
    return text;
}

static char *facts_of(const struct guest_spec *spec)
{
    return facts_told(spec, FACTS_TOLD_BY_ACPI);
}

static void has(const char *text, const char *line)
{
    if (strstr(text, line) == NULL)
        fail_msg("no %s in\n%s", line, text);
}

static void cpus_that_come_later_are_not_there(void **state)
{
    struct guest_spec spec = { .n_cpus = 0 };
    struct guest_node_spec node = { .memory_bytes = 256ull << 20 };
    char *text;

    (void)state;
    idset_add_range(&node.cpus, 0, 2);
    assert_int_equal(guest_spec_add_node(&spec, &node, NULL), 0);
    node = (struct guest_node_spec){ .memory_bytes = 256ull << 20 };
    idset_add_range(&node.cpus, 2, 2);
    idset_add(&node.later_cpus, 3);
    assert_int_equal(guest_spec_add_node(&spec, &node, NULL), 0);
    node = (struct guest_node_spec){ .memory_bytes = 0 };
    idset_add(&node.cpus, 4);
    idset_add(&node.later_cpus, 4);
    assert_int_equal(guest_spec_add_node(&spec, &node, NULL), 0);
    text = facts_of(&spec);
    has(text, "nodes 0-1\n");
    has(text, "cpus 0-2\n");
    has(text, "node1.cpus 2\n");
    has(text, "node0.distance 10 20\n");
    has(text, "cpu2.package 2\n");
    assert_null(strstr(text, "cpu3."));
    assert_null(strstr(text, "cpu4."));
    free(text);
    guest_spec_fini(&spec);
}

static void a_plan_has_them_all(void **state)
{
    struct guest_spec spec = { .n_cpus = 4, .memory_bytes = 512ull << 20, .n_vnuma = 2 };
    char *text = facts_of(&spec);

    (void)state;
    has(text, "nodes 0-1\n");
    has(text, "node0.cpus 0-1\n");
    has(text, "node1.cpus 2-3\n");
    has(text, "node1.memory 262144\n");
    has(text, "node1.distance 20 10\n");
    has(text, "\ncpus 0-3\n");
    has(text, "cpu3.package ");
    has(text, "cpu3.core ");
    has(text, "cpu3.caches ");
    assert_null(strstr(text, "latency"));
    free(text);
}

/* Linux has such a node online, and shows what its memory's initiator gets, whoever that is. */
static void a_device_makes_a_node(void **state)
{
    struct guest_spec spec = { .n_cpus = 2 };
    struct guest_node_spec nodes[] = {
        { .memory_bytes = 512ull << 20 },
        { .generic_initiator = true },
        { .memory_bytes = 512ull << 20, .has_initiator = true, .initiator = 1 },
    };
    const struct guest_link_spec link = { .from = 1, .to = 2, .latency_ns = 90 };
    char *text;

    (void)state;
    idset_add_range(&nodes[0].cpus, 0, 2);
    for (size_t i = 0; i < ARRAY_SIZE(nodes); i++)
        assert_int_equal(guest_spec_add_node(&spec, &nodes[i], NULL), 0);
    assert_int_equal(guest_spec_add_link(&spec, &link, NULL), 0);
    assert_int_equal(guest_spec_check(&spec, NULL), 0);
    text = facts_of(&spec);
    has(text, "nodes 0-2\ngeneric_initiators 1\n");
    has(text, "node1.cpus -\nnode1.memory 0\nnode1.distance 20 10 20\n");
    has(text, "node2.read_latency 90\n");
    free(text);
    text = facts_told(&spec, FACTS_TOLD_BY_TREE);
    has(text, "nodes 0,2\n");
    has(text, "node2.distance 20 10\n");
    assert_null(strstr(text, "node1"));
    assert_null(strstr(text, "initiators"));
    assert_null(strstr(text, "latency"));
    free(text);
    guest_spec_fini(&spec);
}

/* Two dies of a socket, and two threads on each core of theirs. */
static void a_tree_tells_of_clusters_and_of_own_first_caches(void **state)
{
    struct guest_spec spec = {
        .n_cpus = 8,
        .threads = 2,
        .cores = 2,
        .dies = 2,
        .sockets = 1,
        .memory_bytes = 512ull << 20,
        .caches = { { .level = 1, .type = CACHE_DATA, .size_bytes = 32768, .line_bytes = 64,
                      .ways = 8, .cores = 1 } },
        .n_caches = 1,
        .no_host_caches = true,
    };
    char *text;

    (void)state;
    text = facts_told(&spec, FACTS_TOLD_BY_ACPI);
    has(text, "cpu5.die 4-7\n");
    has(text, "cpu5.caches l1d\ncpu5.l1d size=32K line=64 ways=8 cpus=4-5\n");
    free(text);
    text = facts_told(&spec, FACTS_TOLD_BY_TREE);
    has(text, "cpu5.cluster 4-7\n");
    has(text, "cpu5.core 4-5\n");
    has(text, "cpu5.package 0-7\n");
    has(text, "cpu5.l1d size=32K line=64 ways=8 cpus=5\n");
    assert_null(strstr(text, ".die"));
    assert_null(strstr(text, ".caches"));
    free(text);
}

static void told(void *ctx, const struct fact *expected, const char *seen)
{
    char *to = ctx;

    (void)snprintf(to + strlen(to), 256, "%s=%s!%s;", expected->name, expected->value,
                   seen != NULL ? seen : "nothing");
}

static void differences_are_told(void **state)
{
    struct facts expected, seen;
    char text[1024] = "";

    (void)state;
    assert_int_equal(facts_parse("# a comment\n\nnodes 0-1\nnode0.memory 262144\r\n"
                                 "node1.memory 262144\nnode0.distance 10 20\ncpus 0-3\n"
                                 "node2.memory 262144",
                                 &expected, NULL), 0);
    assert_int_equal(facts_parse("node1.memory 258047\nnode0.memory 258048\nnodes 0-1\nmore of it\n"
                                 "node0.distance 10 2\0331\nnode2.memory 262145\n",
                                 &seen, NULL), 0);
    assert_int_equal(expected.n, 6);
    assert_int_equal(facts_compare(&expected, &seen, told, text), 4);
    assert_string_equal(text, "cpus=0-3!nothing;node0.distance=10 20!10 2?1;"
                              "node1.memory=262144!258047;node2.memory=262144!262145;");
    assert_int_equal(facts_compare(&expected, &expected, NULL, NULL), 0);
    facts_fini(&expected);
    facts_fini(&seen);
}

static void what_is_no_fact_is_refused(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        { "nodes 0\nnodes\n", "line 2: \"nodes\" is no name and value" },
        { " 0-1\n", "line 1: \" 0-1\" is no name and value" },
        { "a b\nc d\na e\n", "\"a\" is given twice" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct facts f = { .n = 77 };
        struct errctx ec = { 0 };

        assert_int_equal(facts_parse(bad[i].text, &f, &ec), -EINVAL);
        assert_string_equal(ec.msg, bad[i].says);
        assert_int_equal(f.n, 77);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_has_them_all),
        cmocka_unit_test(a_device_makes_a_node),
        cmocka_unit_test(a_tree_tells_of_clusters_and_of_own_first_caches),
        cmocka_unit_test(cpus_that_come_later_are_not_there),
        cmocka_unit_test(differences_are_told),
        cmocka_unit_test(what_is_no_fact_is_refused),
    };
    return cmocka_run_group_tests_name("topology/facts", tests, NULL, NULL);
}
