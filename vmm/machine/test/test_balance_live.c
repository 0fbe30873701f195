/* SPDX-License-Identifier: Apache-2.0 */
/* From two readings of a host to a snapshot, and to the CPUs that are left for threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/machine/balance_live.h"

#define GIB64  (UINT64_C(1) << 30)
#define SECOND UINT64_C(1000000000)

/* Three host nodes in a line with two CPUs each, two virtual nodes on the first two. */
struct fixture {
    struct topo_plan plan;
    struct topo_plan_host hosts[3];
    struct topo_plan_node nodes[2];
    uint32_t host_distances[9], distances[4];
    struct host_watch_node was[3], is[3];
    struct host_reading before, now;
    struct balance_live_vnode vnodes[2];
    uint64_t at[6];
    struct balance_live live;
};

static void fill(struct fixture *f)
{
    *f = (struct fixture){ .distances = { 10, 20, 20, 10 },
                           .vnodes = { { .used_ns = 2 * SECOND, .home = 0, .runs = 0 },
                                       { .used_ns = 1 * SECOND, .home = 1, .runs = 1 } },
                           .at = { GIB64, 0, 0, 0, GIB64, GIB64 } };
    for (uint32_t h = 0; h < 3; h++) {
        f->hosts[h].id.v = h * 2; /* numbers with gaps */
        idset_add(&f->hosts[h].cpus, 2 * h);
        idset_add(&f->hosts[h].cpus, 2 * h + 1);
        for (uint32_t k = 0; k < 3; k++)
            f->host_distances[3 * h + k] = 10 + 10 * (h > k ? h - k : k - h);
        f->is[h] = (struct host_watch_node){ .capacity_milli = 2000,
                                             .mem_bytes = 4 * GIB64,
                                             .free_bytes = 3 * GIB64 };
    }
    f->is[0].busy_ns = 4 * SECOND;
    f->is[0].wait_ns = 2 * SECOND;
    f->is[1].busy_ns = 1 * SECOND;
    f->plan = (struct topo_plan){ .n_nodes = 2,
                                  .n_hosts = 3,
                                  .nodes = f->nodes,
                                  .hosts = f->hosts,
                                  .host_distances = f->host_distances,
                                  .distances = f->distances };
    f->before = (struct host_reading){ .n_nodes = 3, .nodes = f->was };
    f->now = (struct host_reading){ .n_nodes = 3, .nodes = f->is };
    f->live = (struct balance_live){ .plan = &f->plan,
                                     .before = &f->before,
                                     .now = &f->now,
                                     .time_ns = 5,
                                     .passed_ns = 2 * SECOND,
                                     .vnodes = f->vnodes,
                                     .at_bytes = f->at };
}

static void time_is_shared_out_between_us_and_others(void **state)
{
    struct balance_line line;
    struct fixture f;

    (void)state;
    fill(&f);
    f.now.memory = (struct host_pressure){ .has = true, .full.avg10 = 77 };
    assert_int_equal(balance_live_make(&f.live, &line, NULL), 0);
    /* Half of the four seconds used on node 0 is ours, and half of the two that were waited for. */
    assert_int_equal(line.vnodes[0].demand_milli, 1500);
    assert_int_equal(line.nodes[0].others_milli, 1500);
    assert_int_equal(line.vnodes[1].demand_milli, 500);
    assert_int_equal(line.nodes[1].others_milli, 0);
    assert_int_equal(line.nodes[2].others_milli, 0);
    assert_int_equal(line.distances[2], 3000);
    assert_int_equal(line.told[1], 20);
    assert_int_equal(line.snap.stall, 77);
    assert_int_equal(line.at[4], GIB64); /* half of node 1's memory strays, and is seen to */
    assert_int_equal(line.at[5], GIB64);
    balance_line_fini(&line);
}

/* A device's node, or a window: its distances promise nothing of a host node. */
static void who_is_nowhere_was_told_nothing(void **state)
{
    struct balance_line line;
    struct fixture f;

    (void)state;
    fill(&f);
    f.vnodes[1].nowhere = f.vnodes[1].fixed = true;
    assert_int_equal(balance_live_make(&f.live, &line, NULL), 0);
    assert_int_equal(line.told[0], 10);
    for (size_t i = 1; i < 4; i++)
        assert_int_equal(line.told[i], 0);
    balance_line_fini(&line);
}

static void who_runs_elsewhere_counts_there_and_at_home(void **state)
{
    struct balance_line line;
    struct fixture f;

    (void)state;
    fill(&f);
    f.vnodes[1].runs = 0;
    f.is[1].capacity_milli = 0; /* which has no CPU left */
    f.is[1].busy_ns = 0;
    assert_int_equal(balance_live_make(&f.live, &line, NULL), 0);
    assert_int_equal(line.vnodes[1].home, 1);
    assert_int_equal(line.vnodes[1].demand_milli, 750);
    assert_int_equal(line.vnodes[0].demand_milli, 1500);
    assert_int_equal(line.nodes[0].others_milli, 750);
    assert_int_equal(line.nodes[1].others_milli, 0);
    balance_line_fini(&line);
}

static void a_little_stray_memory_is_none(void **state)
{
    struct balance_line line;
    struct fixture f;

    (void)state;
    fill(&f);
    f.at[4] = 127 * GIB64 / 64;
    f.at[5] = GIB64 / 64 - MIB;
    f.is[1].mem_bytes = f.is[1].free_bytes = 3 * GIB64;
    assert_int_equal(balance_live_make(&f.live, &line, NULL), 0);
    assert_int_equal(line.at[5], 0);
    assert_int_equal(line.at[4], 2 * GIB64 - MIB);
    balance_line_fini(&line);
}

/* Counters that went back, numbers that cannot be: a snapshot comes of it that the policy takes. */
static void nonsense_becomes_a_snapshot(void **state)
{
    struct balance_line line;
    struct fixture f;

    (void)state;
    fill(&f);
    memset(f.was, 0x7f, sizeof(f.was));
    memset(f.is, 0xff, sizeof(f.is));
    f.is[0] = (struct host_watch_node){ 0 };
    f.host_distances[1] = 0;
    f.host_distances[2] = UINT32_MAX;
    f.vnodes[0].used_ns = UINT64_MAX / 4;
    f.live.passed_ns = 1;
    f.now.memory.full.avg10 = 999999;
    assert_int_equal(balance_live_make(&f.live, &line, NULL), 0);
    assert_int_equal(line.nodes[0].mem_bytes, 0);
    assert_int_equal(line.at[0], 0);
    assert_int_equal(line.distances[1], 2000);
    balance_line_fini(&line);
}

static void a_home_is_where_memory_is_or_all_cpus_are(void **state)
{
    struct idset nodes = { 0 }, cpus = { 0 };
    struct fixture f;

    (void)state;
    fill(&f);
    assert_int_equal(balance_live_home(&f.plan, &nodes, &cpus), -1);
    idset_add(&cpus, 3);
    assert_int_equal(balance_live_home(&f.plan, &nodes, &cpus), 1);
    idset_add(&cpus, 4);
    assert_int_equal(balance_live_home(&f.plan, &nodes, &cpus), -1);
    idset_add(&nodes, 4);
    assert_int_equal(balance_live_home(&f.plan, &nodes, &cpus), 2);
    idset_add(&nodes, 0);
    assert_int_equal(balance_live_home(&f.plan, &nodes, &cpus), -1);
}

static const char *left(const struct fixture *f, const char *cpus, uint32_t home,
                        const char *online, char *buf, size_t size)
{
    struct idset mine = { 0 }, on = { 0 }, can;

    assert_int_equal(idset_parse(cpus, &mine, NULL), 0);
    if (online != NULL)
        assert_int_equal(idset_parse(online, &on, NULL), 0);
    balance_live_cpus(&f->plan, &mine, home, &on, &can);
    return idset_format(&can, buf, size);
}

static void threads_run_on_the_nearest_cpus_that_are_left(void **state)
{
    struct fixture f;
    char buf[64];

    (void)state;
    fill(&f);
    assert_string_equal(left(&f, "0", 0, NULL, buf, sizeof(buf)), "0");
    assert_string_equal(left(&f, "0-1", 0, "1-5", buf, sizeof(buf)), "1");
    assert_string_equal(left(&f, "0", 0, "1-5", buf, sizeof(buf)), "1");
    assert_string_equal(left(&f, "0-1", 0, "3-5", buf, sizeof(buf)), "3");
    assert_string_equal(left(&f, "0-1", 0, "5", buf, sizeof(buf)), "5");
    assert_string_equal(left(&f, "0-1", 0, "7", buf, sizeof(buf)), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_is_shared_out_between_us_and_others),
        cmocka_unit_test(who_is_nowhere_was_told_nothing),
        cmocka_unit_test(who_runs_elsewhere_counts_there_and_at_home),
        cmocka_unit_test(a_little_stray_memory_is_none),
        cmocka_unit_test(nonsense_becomes_a_snapshot),
        cmocka_unit_test(a_home_is_where_memory_is_or_all_cpus_are),
        cmocka_unit_test(threads_run_on_the_nearest_cpus_that_are_left),
    };
    return cmocka_run_group_tests_name("vmm/machine/balance_live", tests, NULL, NULL);
}
