/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --vnuma auto: numbers that can be predicted by hand, on hosts that were recorded, and what must
 * hold for any guest on any host.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "vmm/base/macros.h"
#include "vmm/topology/test/archive.h"
#include "vmm/topology/test/plan_invariants.h"
#include "vmm/topology/test/spec_text.h"

#define HOSTS     "vmm/topology/test/hosts/"
#define SMALL     "pack:2 numa:2(memory=8GiB) core:4 pu:2" /* 4 nodes of 4 cores, 8 threads */
#define ONE       "node:1(memory=64GiB) core:16 pu:1"

static void read_host(const char *name, struct host_topo *ret_host)
{
    struct errctx ec = { 0 };
    int r = strstr(name, ".xml") != NULL ? host_topo_from_xml(name, ret_host, &ec)
                                         : host_topo_from_synthetic(name, ret_host, &ec);

    if (r < 0)
        fail_msg("%s: %s", name, ec.msg);
}

static int plan_on(const struct host_topo *host, const char *text, struct topo_plan **ret_plan,
                   struct errctx *ec)
{
    struct guest_spec spec;
    int r;

    spec_text_parse(text, &spec);
    r = topo_plan_make(&spec, host, ret_plan, ec);
    guest_spec_fini(&spec);
    return r;
}

static void nodes_come_by_cores_and_by_memory(void **state)
{
    static const struct {
        const char *host, *spec;
        uint32_t nodes;
        const char *note;
    } row[] = {
        { SMALL, "cpus=4 memory=2G", 1,
          "--vnuma auto: one node: 4 cores and 2 GiB fit on one host node (up to 4 cores and 8 GiB "
          "of memory)." },
        { SMALL, "cpus=5 memory=2G", 2,
          "--vnuma auto: 2 nodes: 2 by CPUs (5 cores, a host node has up to 4), 1 by memory (2 GiB, "
          "a host node has up to 8 GiB of memory)." },
        { SMALL, "cpus=12 memory=2G", 3, "3 by CPUs (12 cores" },
        { SMALL, "cpus=2 memory=9G", 2, "1 by CPUs (2 cores, a host node has up to 4), 2 by memory" },
        /* Threads of one core are one core. */
        { SMALL, "cpus=8 threads=2 memory=2G", 1, "4 cores and 2 GiB fit" },
        /* More cores than the host has, but no more threads: those are counted. */
        { SMALL, "cpus=24 memory=2G", 3, "3 by CPUs (24 hardware threads, a host node has up to 8)" },
        { SMALL, "cpus=33 memory=2G", 4,
          "--vnuma auto: 4 nodes: 33 hardware threads and 2 GiB fit on no set of this host's nodes, "
          "which have up to 8 hardware threads and 8 GiB each." },
        { SMALL, "cpus=4 memory=64G", 4, "fit on no set of this host's nodes" },
        /* No node without a core. */
        { SMALL, "cpus=1 memory=64G", 1, "fit on no set of this host's nodes" },
        { ONE, "cpus=16 memory=60G", 1, "one node: 16 cores" },
        { ONE, "cpus=64 memory=60G", 1, "1 node: 64 hardware threads" },
        { HOSTS "eight-socket-128-node.xml", "cpus=1024 memory=100G", 128, "128 by CPUs" },
        { HOSTS "eight-socket-128-node.xml", "cpus=8 memory=100G", 7, "7 by memory" },
        { HOSTS "eight-socket-128-node.xml", "cpus=2 memory=2G", 1, "one node" },
        /* The other counts have their say: 3 would do, but make no 2 sockets of 6 cores. */
        { SMALL, "cpus=12 cores=6 sockets=2 memory=2G", 2, "12 hardware threads" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        struct errctx ec = { 0 };
        struct host_topo host;
        struct topo_plan *plan;
        char text[128];

        read_host(row[i].host, &host);
        (void)snprintf(text, sizeof(text), "vnuma=auto %s", row[i].spec);
        if (plan_on(&host, text, &plan, &ec) < 0)
            fail_msg("%s: %s", row[i].spec, ec.msg);
        if (plan->n_nodes != row[i].nodes || strstr(plan->notes, row[i].note) == NULL)
            fail_msg("%s: %zu nodes\n%s", row[i].spec, plan->n_nodes, plan->notes);
        assert_int_equal(plan->sized.nodes, row[i].nodes);
        topo_plan_free(plan);
        host_topo_fini(&host);
    }
}

static void free_memory_counts_before_all_of_it(void **state)
{
    static const struct {
        uint64_t free_mib;
        const char *spec;
        uint32_t nodes;
        const char *note;
    } row[] = {
        { 4096, "cpus=2 memory=3G", 1, "of free memory" },
        { 2048, "cpus=2 memory=3G", 2, "2 by memory (3 GiB, a host node has up to 2 GiB of free" },
        /* Not free in any number of nodes: files in memory make way. */
        { 1, "cpus=2 memory=3G", 1, "and 8 GiB of memory)" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        struct errctx ec = { 0 };
        struct host_topo host;
        struct topo_plan *plan;
        char text[128];

        read_host(SMALL, &host);
        for (size_t h = 0; h < host.n_nodes; h++) {
            host.nodes[h].mem_free_bytes = row[i].free_mib * MIB / 2;
            host.nodes[h].mem_cache_bytes = row[i].free_mib * MIB - row[i].free_mib * MIB / 2;
        }
        (void)snprintf(text, sizeof(text), "vnuma=auto %s", row[i].spec);
        if (plan_on(&host, text, &plan, &ec) < 0)
            fail_msg("%s: %s", row[i].spec, ec.msg);
        if (plan->n_nodes != row[i].nodes || strstr(plan->notes, row[i].note) == NULL)
            fail_msg("%s: %zu nodes\n%s", row[i].spec, plan->n_nodes, plan->notes);
        topo_plan_free(plan);
        host_topo_fini(&host);
    }
}

/* Nodes without CPUs hold no node of a guest, and huge pages are those of the pools. */
static void recorded_machines_are_counted_as_they_are(void **state)
{
    char dir[] = "/tmp/test_guest_auto.XXXXXX";
    struct errctx ec = { 0 };
    struct host_topo host;
    struct topo_plan *plan = NULL;
    struct guest_spec spec;
    uint64_t pool = 0;

    (void)state;
    assert_non_null(mkdtemp(dir));
    archive_unpack(HOSTS "smt-offline-memory-only.sysfs", dir);
    archive_put(dir, "proc/self/cgroup", "0::/");
    if (host_topo_discover(dir, &host, &ec) < 0)
        fail_msg("%s", ec.msg);
    assert_int_equal(plan_on(&host, "vnuma=auto cpus=1 memory=64M", &plan, &ec), 0);
    assert_int_equal(plan->n_nodes, 1);
    topo_plan_free(plan);
    for (size_t h = 0; h < host.n_nodes; h++)
        for (uint32_t k = 0; k < host.nodes[h].n_pools; k++)
            if (host.nodes[h].pool[k].page_bytes == 2 * MIB && !idset_empty(&host.nodes[h].cpus))
                pool = MAX(pool, host.nodes[h].pool[k].free_pages);
    spec_text_parse("vnuma=auto cpus=1 memory=64M", &spec);
    spec.pages.n = 1;
    spec.pages.part[0].kind = GUEST_PAGES_2M;
    {
        struct guest_spec sized;
        struct guest_auto why;

        assert_int_equal(guest_auto_resolve(&spec, &host, &sized, &why, &ec), 0);
        assert_true(why.host_memory_bytes >= pool * 2 * MIB);
        assert_true(why.too_large == (why.host_memory_bytes < 64 * MIB));
        guest_auto_release(&sized);
    }
    guest_spec_fini(&spec);
    host_topo_fini(&host);
    archive_remove(dir);
}

/* The longest distance between the host's nodes: told so, no place breaks the promise. */
static void the_guest_is_told_distances_that_hold(void **state)
{
    struct host_topo host;
    struct topo_plan *plan;

    (void)state;
    read_host(HOSTS "eight-socket-128-node.xml", &host);
    assert_int_equal(plan_on(&host, "vnuma=auto cpus=24 memory=4G", &plan, NULL), 0);
    assert_true(plan->n_nodes > 1);
    for (size_t i = 0; i < host.n_nodes; i++)
        for (size_t k = 0; k < host.n_nodes; k++)
            assert_true(i == k || host_topo_distance(&host, i, k) <= plan->distances[1]);
    assert_int_equal(plan->distances[0], 10);
    topo_plan_free(plan);
    host_topo_fini(&host);
}

/* What was decided can be said, and then is planned again on any host. */
static void a_decision_can_be_written_down(void **state)
{
    struct host_topo host, other;
    struct topo_plan *plan, *again;
    struct guest_spec spec;

    (void)state;
    read_host(HOSTS "eight-socket-128-node.xml", &host);
    read_host(ONE, &other);
    spec_text_parse("vnuma=auto cpus=24 memory=4G", &spec);
    assert_int_equal(topo_plan_make(&spec, &host, &plan, NULL), 0);
    assert_int_equal(topo_plan_describe_nodes(plan, &spec, NULL), 0);
    assert_int_equal(spec.n_vnuma, plan->n_nodes);
    assert_int_equal(spec.pin, GUEST_PIN_NODE);
    assert_int_equal(topo_plan_make(&spec, &other, &again, NULL), 0);
    assert_int_equal(again->n_nodes, plan->n_nodes);
    assert_memory_equal(again->distances, plan->distances,
                        plan->n_nodes * plan->n_nodes * sizeof(plan->distances[0]));
    assert_null(strstr(again->notes, "--vnuma auto"));
    topo_plan_free(again);
    topo_plan_free(plan);
    guest_spec_fini(&spec);
    host_topo_fini(&host);
    host_topo_fini(&other);
}

static void contradictions_are_refused(void **state)
{
    static const struct {
        const char *spec, *sentence;
    } row[] = {
        { "vnuma=auto node:cpus=0;memory=1G",
          "--vnuma auto and --node exclude each other: nodes are either sized from the host or "
          "described" },
        { "vnuma=auto d:0-1=20", "--vnuma auto and --distance exclude each other: which nodes there "
                                 "are is decided on the host" },
        { "vnuma=auto l:0-1=90;0", "--vnuma auto and --link exclude each other: which nodes there "
                                   "are is decided on the host" },
        { "vnuma=auto cpus=3 threads=2", "--cpus 3 is not a multiple of --threads 2" },
    };
    struct host_topo host;

    (void)state;
    read_host(SMALL, &host);
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        struct topo_plan *plan = NULL;
        struct errctx ec = { 0 };

        assert_int_equal(plan_on(&host, row[i].spec, &plan, &ec), -EINVAL);
        assert_string_equal(ec.msg, row[i].sentence);
        assert_null(plan);
    }
    host_topo_fini(&host);
}

static uint32_t next_random(uint64_t *state, uint32_t below)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 33) % below;
}

/* Host nodes that hold the first, largest node of @n, counted anew from the rule. */
static uint32_t holders(const struct host_topo *host, const struct guest_auto *w, uint32_t n)
{
    uint32_t cpus = (w->cpus + n - 1) / n, there = 0;
    uint64_t pages = w->memory_bytes / (2 * MIB), bytes = (pages + n - 1) / n * 2 * MIB;

    for (size_t h = 0; h < host->n_nodes; h++) {
        const struct host_node *node = &host->nodes[h];
        uint64_t have = w->by_total ? node->mem_bytes : node->mem_free_bytes;

        there += idset_count(&node->cpus) >= cpus && have >= bytes && cpus > 0 &&
                 !idset_empty(&node->cpus);
    }
    return there;
}

/* On hosts without SMT cores and CPUs are the same, so that the count above is the rule's. */
static void any_number_is_the_least_that_fits(void **state)
{
    uint64_t seed = 0x2545f4914f6cdd1dull;
    unsigned several = 0, too_large = 0;

    (void)state;
    for (unsigned round = 0; round < 3000; round++) {
        struct errctx ec = { 0 };
        struct host_topo host;
        struct topo_plan *plan, *more;
        struct guest_spec spec;
        char text[128];

        (void)snprintf(text, sizeof(text), "node:%u(memory=4GiB) core:%u pu:1",
                       1 + next_random(&seed, 6), 1 + next_random(&seed, 6));
        read_host(text, &host);
        for (size_t h = 0; h < host.n_nodes; h++)
            host.nodes[h].mem_free_bytes = (1 + next_random(&seed, 2000)) * 2 * MIB;
        (void)snprintf(text, sizeof(text), "vnuma=auto cpus=%u memory=%uM",
                       1 + next_random(&seed, 24), 2 * (24 + next_random(&seed, 6000)));
        spec_text_parse(text, &spec);
        if (topo_plan_make(&spec, &host, &plan, &ec) < 0)
            fail_msg("%s: %s", text, ec.msg);
        plan_check_invariants(&spec, &host, plan);
        if (!plan->sized.too_large) {
            assert_true(holders(&host, &plan->sized, (uint32_t)plan->n_nodes) >= plan->n_nodes);
            for (uint32_t n = 1; n < plan->n_nodes; n++)
                assert_true(holders(&host, &plan->sized, n) < n);
        }
        several += plan->n_nodes > 1;
        too_large += plan->sized.too_large;
        /* The same host with more of it free never needs more nodes. */
        for (size_t h = 0; h < host.n_nodes && !plan->sized.by_total; h++)
            host.nodes[h].mem_free_bytes =
                MIN(host.nodes[h].mem_free_bytes * 2, host.nodes[h].mem_bytes);
        assert_int_equal(topo_plan_make(&spec, &host, &more, &ec), 0);
        assert_true(more->n_nodes <= plan->n_nodes);
        topo_plan_free(more);
        topo_plan_free(plan);
        guest_spec_fini(&spec);
        host_topo_fini(&host);
    }
    assert_true(several > 500 && too_large > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_come_by_cores_and_by_memory),
        cmocka_unit_test(free_memory_counts_before_all_of_it),
        cmocka_unit_test(recorded_machines_are_counted_as_they_are),
        cmocka_unit_test(the_guest_is_told_distances_that_hold),
        cmocka_unit_test(a_decision_can_be_written_down),
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(any_number_is_the_least_that_fits),
    };
    return cmocka_run_group_tests_name("topology/guest_auto", tests, NULL, NULL);
}
