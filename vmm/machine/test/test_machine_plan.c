/* SPDX-License-Identifier: Apache-2.0 */
/* When a machine gets places on the host, and what of the plan they touch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "vmm/machine/machine_arch.h"
#include "vmm/machine/machine_plan.h"
#include "vmm/topology/host_measured.h"
#include "vmm/topology/test/spec_text.h"

#define HOST "pack:2 numa:2(memory=8GB) l3:1(size=33554432) l2:2 l1d:1 l1i:1 core:1 pu:2"

static int make(const char *text, enum guest_pin pin, enum guest_objective objective,
                struct topo_plan **ret_plan, struct machine_placement *why, struct errctx *ec)
{
    struct host_topo host;
    struct guest_spec spec;
    int r;

    assert_int_equal(host_topo_from_synthetic(HOST, &host, NULL), 0);
    for (size_t i = 0; i < host.n_nodes; i++)
        host.nodes[i].mem_free_bytes = 1; /* page cache everywhere */
    spec_text_parse(text, &spec);
    spec.pin = pin;
    spec.objective = objective;
    r = machine_plan_make(&spec, &host, NULL, ret_plan, why, ec);
    guest_spec_fini(&spec);
    host_topo_fini(&host);
    return r;
}

static const char *pins(const struct topo_plan *plan, char *buf, size_t size)
{
    size_t len = 0;

    for (size_t i = 0; i < plan->n_vcpus; i++) {
        char list[32];

        len += (size_t)snprintf(buf + len, size - len, "%s%s", i > 0 ? " " : "",
                                idset_format(&plan->vcpus[i].host_cpus, list, sizeof(list)));
    }
    return buf;
}

static void places_are_made_when_asked_for_and_bind_no_node(void **state)
{
    static const struct {
        const char *spec;
        enum guest_pin pin;
        enum guest_objective objective;
        const char *pins;
    } row[] = {
        { "cpus=2 vnuma=2", GUEST_PIN_UNSAID, GUEST_OBJECTIVE_UNSAID, " " },
        /* small enough to share a host node; else neighbours */
        { "cpus=2 vnuma=2", GUEST_PIN_NODE, GUEST_OBJECTIVE_UNSAID, "0-3 0-3" },
        { "cpus=6 vnuma=2", GUEST_PIN_NODE, GUEST_OBJECTIVE_UNSAID, "0-3 0-3 0-3 4-7 4-7 4-7" },
        { "cpus=2 vnuma=2", GUEST_PIN_UNSAID, GUEST_OBJECTIVE_NUMA, "0-3 0-3" },
        { "cpus=2 vnuma=2", GUEST_PIN_SOCKET, GUEST_OBJECTIVE_LOAD, "0-7 0-7" },
        { "cpus=4 vnuma=2 threads=2", GUEST_PIN_DEDICATED, GUEST_OBJECTIVE_UNSAID, "0 1 2 3" },
        { "cpus=2", GUEST_PIN_LLC, GUEST_OBJECTIVE_UNSAID, "0-3 0-3" },
        /* host= keeps its say, and the level is --pin's */
        { "node:cpus=0;memory=2M;host=3 node:cpus=1;memory=2M", GUEST_PIN_UNSAID,
          GUEST_OBJECTIVE_UNSAID, "12-15 " },
        { "node:cpus=0;memory=2M;host=3", GUEST_PIN_DEDICATED, GUEST_OBJECTIVE_UNSAID, "12" },
        /* wider than a node: two neighbours */
        { "cpus=6", GUEST_PIN_NODE, GUEST_OBJECTIVE_UNSAID, "0-7 0-7 0-7 0-7 0-7 0-7" },
    };
    char buf[256];

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        struct topo_plan *plan = NULL;
        struct errctx ec = { 0 };

        if (make(row[i].spec, row[i].pin, row[i].objective, &plan, NULL, &ec) < 0)
            fail_msg("%s: %s", row[i].spec, ec.msg);
        if (strcmp(pins(plan, buf, sizeof(buf)), row[i].pins) != 0)
            print_error("%s\n", row[i].spec);
        assert_string_equal(pins(plan, buf, sizeof(buf)), row[i].pins);
        for (size_t n = 0; n < plan->n_nodes; n++)
            assert_int_equal(idset_empty(&plan->nodes[n].host_nodes),
                             strstr(row[i].spec, "host=") == NULL || n > 0);
        topo_plan_free(plan);
    }
}

/* Node 1 of a guest, planned on host nodes 0 and 1, on host node @to. */
static int repin(const char *text, enum guest_pin pin, uint32_t to, char *buf, size_t size,
                 char *notes, struct errctx *ec)
{
    struct topo_plan *plan = NULL;
    struct host_topo host;
    struct guest_spec spec;
    struct idset cpus[8] = { 0 };
    int r;

    assert_int_equal(host_topo_from_synthetic(HOST, &host, NULL), 0);
    spec_text_parse(text, &spec);
    spec.pin = pin;
    assert_int_equal(machine_plan_make(&spec, &host, NULL, &plan, NULL, NULL), 0);
    r = machine_plan_repin(&spec, &host, plan, (struct vnode_id){ 1 }, (struct hnode_id){ to },
                           cpus, notes, ec);
    for (size_t i = 0; r == 0 && i < plan->n_vcpus; i++)
        if (plan->vcpus[i].vnode.v == 1)
            plan->vcpus[i].host_cpus = cpus[i];
    (void)pins(plan, buf, size);
    topo_plan_free(plan);
    guest_spec_fini(&spec);
    host_topo_fini(&host);
    return r;
}

static void a_node_that_moves_is_pinned_as_it_was(void **state)
{
    static const struct {
        const char *spec;
        enum guest_pin pin;
        uint32_t to;
        int result;
        const char *pins, *says;
    } row[] = {
        { "cpus=6 vnuma=2", GUEST_PIN_NODE, 3, 0, "0-3 0-3 0-3 12-15 12-15 12-15", "" },
        { "cpus=6 vnuma=2", GUEST_PIN_SOCKET, 3, 0, "0-7 0-7 0-7 8-15 8-15 8-15", "" },
        { "cpus=4 vnuma=2 threads=2", GUEST_PIN_LLC, 2, 0, "0-3 0-3 8-11 8-11", "" },
        { "cpus=6 vnuma=2", GUEST_PIN_DEDICATED, 3, 0, "0 2 1 12 14 13", "" },
        { "cpus=6 vnuma=2", GUEST_PIN_DEDICATED, 1, 0, "0 2 1 4 6 5", "" }, /* where it is */
        { "cpus=6 vnuma=2", GUEST_PIN_DEDICATED, 0, -ENOSPC, "0 2 1 4 6 5",
          "node 1: 3 CPUs of their own are wanted, its host nodes have 1 left" },
        { "cpus=6 vnuma=2", GUEST_PIN_DEDICATED, 9, -ENOENT, "0 2 1 4 6 5",
          "there is no host node 9" },
    };
    char buf[256], notes[MACHINE_PLAN_NOTES] = "";

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        struct errctx ec = { 0 };

        assert_int_equal(repin(row[i].spec, row[i].pin, row[i].to, buf, sizeof(buf), notes, &ec),
                         row[i].result);
        assert_string_equal(buf, row[i].pins);
        assert_string_equal(ec.msg, row[i].says);
        assert_string_equal(notes, "");
    }
}

static const struct {
    const char *spec;
    enum guest_pin pin;
    enum guest_policy policy[2];
    const char *hosts[2];
} preferring[] = {
    { "cpus=6 vnuma=2",
      GUEST_PIN_UNSAID,
      { GUEST_POLICY_NONE, GUEST_POLICY_NONE },
      { "", "" } },
    { "cpus=6 vnuma=2",
      GUEST_PIN_NODE,
      { GUEST_POLICY_PREFERRED, GUEST_POLICY_PREFERRED },
      { "0", "1" } },
    { "cpus=6 vnuma=2",
      GUEST_PIN_SOCKET,
      { GUEST_POLICY_PREFERRED, GUEST_POLICY_PREFERRED },
      { "0", "1" } },
    { "cpus=6 vnuma=2 policy=auto",
      GUEST_PIN_NODE,
      { GUEST_POLICY_PREFERRED, GUEST_POLICY_PREFERRED },
      { "0", "1" } },
    /* whoever said something has it */
    { "cpus=6 vnuma=2 policy=local",
      GUEST_PIN_NODE,
      { GUEST_POLICY_LOCAL, GUEST_POLICY_LOCAL },
      { "", "" } },
    { "cpus=6 vnuma=2 policy=interleave",
      GUEST_PIN_NODE,
      { GUEST_POLICY_INTERLEAVE, GUEST_POLICY_INTERLEAVE },
      { "0-3", "0-3" } },
    { "node:cpus=0;memory=2M;host=3 node:cpus=1;memory=2M",
      GUEST_PIN_NODE,
      { GUEST_POLICY_BIND, GUEST_POLICY_PREFERRED },
      { "3", "3" } },
};

static void memory_without_a_policy_prefers_the_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(preferring) / sizeof(preferring[0]); i++) {
        struct topo_plan *plan = NULL;

        assert_int_equal(make(preferring[i].spec, preferring[i].pin, GUEST_OBJECTIVE_UNSAID, &plan, NULL, NULL),
                         0);
        assert_int_equal(plan->n_backings, 2);
        for (size_t n = 0; n < 2; n++) {
            char list[32];

            if (plan->backings[n].policy != preferring[i].policy[n])
                print_error("%s, node %zu\n", preferring[i].spec, n);
            assert_int_equal(plan->backings[n].policy, preferring[i].policy[n]);
            assert_string_equal(idset_format(&plan->backings[n].host_nodes, list, sizeof(list)),
                                preferring[i].hosts[n]);
        }
        topo_plan_free(plan);
    }
    /* One node over two of the host's: no one place to prefer. */
    {
        struct topo_plan *plan = NULL;

        assert_int_equal(make("cpus=6", GUEST_PIN_NODE, GUEST_OBJECTIVE_UNSAID, &plan, NULL, NULL),
                         0);
        assert_int_equal(plan->backings[0].policy, GUEST_POLICY_NONE);
        topo_plan_free(plan);
    }
}

/* The synthetic host's nodes are 20 apart. */
static void what_policy_auto_is_and_what_host_breaks_is_said(void **state)
{
    const struct {
        const char *spec;
        enum guest_pin pin;
        const char *says, *silent;
    } row[] = {
        { "cpus=6 vnuma=2 policy=auto", GUEST_PIN_UNSAID, "Node 1: policy=auto is local here.\n",
          "preferred" },
        { "cpus=6 vnuma=2 policy=auto", GUEST_PIN_NODE, "Node 1: policy=auto is preferred here.\n",
          "local" },
        { "node:cpus=0;memory=2M;host=0 node:cpus=1;memory=2M;host=3 d:0-1=12", GUEST_PIN_UNSAID,
          "Node 0 is told that node 1 is 12 away; their host nodes are 20 apart", "farther apart," },
        { "node:cpus=0;memory=2M;host=0 node:cpus=1;memory=2M;host=3 d:0-1=12", GUEST_PIN_NODE,
          "On this host nodes are farther apart,", "is told that" },
        { "node:cpus=0;memory=2M;host=0 node:cpus=1;memory=2M;host=3 d:0-1=20", GUEST_PIN_UNSAID,
          "", "is told that" },
        { "node:cpus=0;memory=2M;host=2 node:cpus=1;memory=2M;host=2 d:0-1=12", GUEST_PIN_UNSAID,
          "", "is told that" },
        { "node:cpus=0;memory=2M node:memory=2M node:cpus=1", GUEST_PIN_UNSAID,
          machine_arch_tree() == NULL ? "those with CPUs first: node 2 is its node 1." : "",
          "is told that" },
        { "node:cpus=1;memory=2M node:cpus=0;memory=2M", GUEST_PIN_UNSAID,
          machine_arch_tree() == NULL ? "those with CPUs first: node 1 is its node 0." : "",
          "is told that" },
        { "node:cpus=0;memory=2M node:cpus=1 node:memory=2M", GUEST_PIN_UNSAID, "",
          "numbers nodes" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        struct topo_plan *plan = NULL;

        assert_int_equal(
            make(row[i].spec, row[i].pin, GUEST_OBJECTIVE_UNSAID, &plan, NULL, NULL), 0);
        if (strstr(plan->notes, row[i].says) == NULL || strstr(plan->notes, row[i].silent) != NULL)
            fail_msg("%s: %s", row[i].spec, plan->notes);
        topo_plan_free(plan);
    }
}

/* 2 MiB pages on host nodes 1 and 3 only: what is all of such pages goes there. */
static void pools_of_huge_pages_are_the_memory_of_who_wants_them(void **state)
{
    static const struct {
        const char *spec;
        struct guest_pages pages;
        uint64_t free_pages[4];
        const char *pins;
        enum guest_pin pin;
    } row[] = {
        { "cpus=2 memory=64M", { 1, { { GUEST_PAGES_2M, 0 } } }, { 0, 32, 0, 32 }, "4-7 4-7", GUEST_PIN_NODE },
        { "cpus=2 memory=64M", { 1, { { GUEST_PAGES_2M, 0 } } }, { 0, 31, 0, 32 }, "12-15 12-15", GUEST_PIN_NODE },
        { "cpus=2 vnuma=2 memory=64M", { 1, { { GUEST_PAGES_2M, 0 } } }, { 0, 16, 0, 16 },
          "4-7 12-15", GUEST_PIN_NODE },
        { "cpus=2 memory=64M", { 0 }, { 0, 31, 0, 32 }, "0-3 0-3", GUEST_PIN_NODE },
        { "cpus=2 memory=64M", { 2, { { GUEST_PAGES_2M, 32 << 20 }, { GUEST_PAGES_4K, 0 } } },
          { 0, 31, 0, 32 }, "0-3 0-3", GUEST_PIN_NODE },
        { "node:cpus=0;memory=32M;host=3 node:cpus=1;memory=32M",
          { 1, { { GUEST_PAGES_2M, 0 } } }, { 0, 16, 0, 16 }, "12-15 4-7", GUEST_PIN_NODE },
        /* enough in all, nowhere enough: on both */
        { "cpus=2 memory=64M", { 1, { { GUEST_PAGES_2M, 0 } } }, { 0, 20, 0, 20 }, "4-7,12-15 4-7,12-15", GUEST_PIN_NODE },
        { "cpus=2 memory=64M", { 1, { { GUEST_PAGES_2M, 0 } } }, { 0, 20, 0, 20 }, "4 6",
          GUEST_PIN_DEDICATED },
    };
    char buf[256];

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        struct topo_plan *plan = NULL;
        struct host_topo host;
        struct guest_spec spec;
        struct errctx ec = { 0 };

        assert_int_equal(host_topo_from_synthetic(HOST, &host, NULL), 0);
        for (size_t h = 0; h < host.n_nodes; h++) {
            host.nodes[h].n_pools = 1;
            host.nodes[h].pool[0] = (struct host_page_pool){ .page_bytes = 2 << 20,
                                                             .total_pages = 32,
                                                             .free_pages = row[i].free_pages[h] };
        }
        spec_text_parse(row[i].spec, &spec);
        spec.pin = row[i].pin;
        spec.pages = row[i].pages;
        if (machine_plan_make(&spec, &host, NULL, &plan, NULL, &ec) < 0)
            fail_msg("%s: %s", row[i].spec, ec.msg);
        assert_string_equal(pins(plan, buf, sizeof(buf)), row[i].pins);
        topo_plan_free(plan);
        guest_spec_fini(&spec);
        host_topo_fini(&host);
    }
}

static void an_explanation_applies_nothing_by_itself(void **state)
{
    struct machine_placement why;
    struct topo_plan *plan;

    (void)state;
    assert_int_equal(
        make("cpus=2 vnuma=2", GUEST_PIN_UNSAID, GUEST_OBJECTIVE_UNSAID, &plan, &why, NULL), 0);
    assert_true(idset_empty(&plan->vcpus[0].host_cpus));
    assert_false(why.applied);
    assert_true(why.proved && why.kept && why.n_nodes == 2);
    assert_true(why.bound == why.total && why.traffic > 0 && why.overload == 0);
    assert_int_equal(idset_count(&why.nodes[0]), 1);
    machine_placement_fini(&why);
    topo_plan_free(plan);
}

static void what_cannot_be_had_is_said(void **state)
{
    struct topo_plan *plan = NULL;
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(make("cpus=17", GUEST_PIN_DEDICATED, GUEST_OBJECTIVE_UNSAID, &plan, NULL, &ec),
                     -ENOSPC);
    assert_string_equal(ec.msg, "node 0: 17 CPUs of their own are wanted, its host nodes have 16 "
                                "left");
    assert_int_equal(make("node:cpus=0;memory=2M;host=0", GUEST_PIN_UNSAID, GUEST_OBJECTIVE_NUMA,
                          &plan, NULL, &ec),
                     -EINVAL);
    assert_string_equal(ec.msg, "--objective has no effect when every node says host=");
    assert_null(plan);
    /* More memory than the host has, not bound: the CPUs still get places. */
    assert_int_equal(make("memory=64G", GUEST_PIN_NODE, GUEST_OBJECTIVE_UNSAID, &plan, NULL, &ec),
                     0);
    assert_non_null(strstr(plan->notes, "places are for the CPUs alone."));
    assert_false(idset_empty(&plan->vcpus[0].host_cpus));
    topo_plan_free(plan);
    /* Told to be nearer than any two host nodes are. */
    assert_int_equal(make("memory=12G vnuma=2 cpus=8 d:0-1=11", GUEST_PIN_NODE,
                          GUEST_OBJECTIVE_UNSAID, &plan, NULL, &ec),
                     0);
    assert_non_null(strstr(plan->notes, "farther apart"));
    topo_plan_free(plan);
}

static void distances_to_hold_against_are_the_planners(void **state)
{
    struct host_sample samples[16];
    struct topo_plan *plan;
    struct host_topo host;
    struct guest_spec spec;

    (void)state;
    assert_int_equal(host_topo_from_synthetic(HOST, &host, NULL), 0);
    spec_text_parse("cpus=2 vnuma=2", &spec);
    assert_int_equal(machine_plan_make(&spec, &host, NULL, &plan, NULL, NULL), 0);
    assert_int_equal(plan->n_hosts, 4);
    for (size_t i = 0; i < 16; i++) /* the firmware's */
        assert_int_equal(plan->host_distances[i], host_topo_distance(&host, i / 4, i % 4));
    topo_plan_free(plan);
    for (uint32_t i = 0; i < 16; i++)
        samples[i] = (struct host_sample){ .from = { i / 4 },
                                           .to = { i % 4 },
                                           .latency_ps = i / 4 == i % 4 ? 80000 : 103000 };
    assert_int_equal(host_measured_apply(&host, samples, 16, 0, NULL), 0);
    assert_int_equal(machine_plan_make(&spec, &host, NULL, &plan, NULL, NULL), 0);
    for (size_t i = 0; i < 16; i++) /* measured, to the steps that a guest can be told */
        assert_int_equal(plan->host_distances[i], i / 4 == i % 4 ? 10 : 13);
    topo_plan_free(plan);
    guest_spec_fini(&spec);
    host_topo_fini(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_are_made_when_asked_for_and_bind_no_node),
        cmocka_unit_test(a_node_that_moves_is_pinned_as_it_was),
        cmocka_unit_test(memory_without_a_policy_prefers_the_place),
        cmocka_unit_test(what_policy_auto_is_and_what_host_breaks_is_said),
        cmocka_unit_test(pools_of_huge_pages_are_the_memory_of_who_wants_them),
        cmocka_unit_test(an_explanation_applies_nothing_by_itself),
        cmocka_unit_test(what_cannot_be_had_is_said),
        cmocka_unit_test(distances_to_hold_against_are_the_planners),
    };
    return cmocka_run_group_tests_name("vmm/machine/machine_plan", tests, NULL, NULL);
}
