/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel's files tell beyond hwloc, from archived trees: HMAT, capacity, pressure, and
 * what the process is confined to; and what plans and the shown forms make of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "vmm/base/macros.h"
#include "vmm/topology/show.h"
#include "vmm/topology/test/archive.h"
#include "vmm/topology/test/spec_text.h"

#define HOSTS "vmm/topology/test/hosts/"

struct tree {
    char dir[64];
    struct host_topo host;
};

static void tree_make(struct tree *t)
{
    (void)snprintf(t->dir, sizeof(t->dir), "/tmp/test_host_kernel.XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    archive_unpack(HOSTS "smt-offline-memory-only.sysfs", t->dir);
    archive_unpack(HOSTS "confined-hmat.sysfs", t->dir);
}

static void tree_read(struct tree *t)
{
    struct errctx ec = { 0 };

    memset(&t->host, 0, sizeof(t->host));
    if (host_topo_discover(t->dir, &t->host, &ec) < 0)
        fail_msg("%s", ec.msg);
}

static void tree_fini(struct tree *t)
{
    host_topo_fini(&t->host);
    archive_remove(t->dir);
}

static void assert_set(const struct idset *s, const char *expected)
{
    char buf[256];

    assert_string_equal(idset_format(s, buf, sizeof(buf)), expected);
}

static const struct host_cpu *cpu(const struct host_topo *h, uint32_t id)
{
    for (size_t i = 0; i < h->n_cpus; i++)
        if (h->cpus[i].id.v == id)
            return &h->cpus[i];
    fail_msg("no CPU %u", id);
    return NULL;
}

/* The whole machine, its limits taken away. */
static void unconfine(const struct tree *t)
{
    archive_put(t->dir, "proc/self/cgroup", "0::/");
}

static void firmwares_latencies_and_memory_caches_are_read(void **state)
{
    struct tree t;
    const struct host_node *n;

    (void)state;
    tree_make(&t);
    unconfine(&t);
    tree_read(&t);
    assert_int_equal(t.host.n_nodes, 3);
    n = &t.host.nodes[2];
    assert_true(n->has_hmat);
    assert_int_equal(n->hmat.read_latency_ns, 230);
    assert_int_equal(n->hmat.write_latency_ns, 310);
    assert_true(n->hmat.read_bytes_per_s == 21000ull << 20);
    assert_true(n->hmat.write_bytes_per_s == 9000ull << 20);
    assert_set(&n->hmat.initiators, "0-1");
    assert_int_equal(n->n_mem_caches, 1);
    assert_int_equal(n->mem_cache[0].level, 1);
    assert_true(n->mem_cache[0].size_bytes == 16ull << 30);
    assert_int_equal(n->mem_cache[0].line_bytes, 64);
    assert_true(n->mem_cache[0].direct_mapped);
    assert_false(n->mem_cache[0].write_through);
    assert_int_equal(t.host.nodes[0].n_mem_caches, 0);
    tree_fini(&t);
}

static void heat_and_small_cores_lower_a_cpus_capacity(void **state)
{
    struct tree t;

    (void)state;
    tree_make(&t);
    unconfine(&t);
    tree_read(&t);
    assert_int_equal(t.host.n_cpus, 7);
    assert_int_equal(cpu(&t.host, 0)->capacity, 768);
    assert_int_equal(cpu(&t.host, 0)->capacity_full, 1024);
    assert_true(cpu(&t.host, 0)->throttled == 17);
    assert_int_equal(cpu(&t.host, 2)->capacity, 1024);
    assert_true(cpu(&t.host, 2)->throttled == 0);
    assert_int_equal(cpu(&t.host, 5)->capacity, 512); /* the firmware's word */
    assert_int_equal(cpu(&t.host, 6)->capacity, 512);
    assert_int_equal(cpu(&t.host, 6)->capacity_full, 512);
    assert_true(t.host.has_smt && t.host.smt_active);
    assert_set(&t.host.cpus_online, "0-6");
    assert_set(&t.host.cpus_offline, "7");
    tree_fini(&t);
}

static void the_smallest_limit_on_the_way_up_counts(void **state)
{
    struct tree t;
    const struct host_limits *l = &t.host.limits;

    (void)state;
    tree_make(&t);
    tree_read(&t);
    assert_string_equal(l->cgroup, "/tenants/red/vm");
    assert_true(l->has_memory);
    assert_true(l->memory_max_bytes == 16ull << 30);
    assert_string_equal(l->memory_cgroup, "/tenants/red");
    assert_true(l->memory_left_bytes == 3ull << 30); /* 64 - 61, not 16 - 4 */
    assert_string_equal(l->memory_left_cgroup, "/tenants");
    assert_true(l->has_cpu);
    assert_true(l->cpu_milli == 2500);
    assert_string_equal(l->cpu_cgroup, "/tenants/red");
    assert_true(l->has_cpus);
    assert_set(&l->cpus, "1-3,5");
    assert_string_equal(l->cpus_cgroup, "/tenants/red"); /* whose doing it is */
    assert_true(l->has_mems);
    assert_set(&l->mems, "0,2");
    assert_int_equal(t.host.cpu_pressure.some.avg10, 1234);
    assert_int_equal(t.host.cpu_pressure.some.avg60, 506);
    assert_int_equal(t.host.mem_pressure.full.avg300, 1);
    assert_true(t.host.cgroup_mem_pressure.has);
    assert_int_equal(t.host.cgroup_mem_pressure.some.avg60, 200);
    assert_false(t.host.cgroup_cpu_pressure.has);
    tree_fini(&t);
}

static void assert_confined(const struct host_topo *h)
{
    assert_int_equal(h->n_nodes, 2);
    assert_int_equal(h->nodes[0].id.v, 0);
    assert_int_equal(h->nodes[1].id.v, 2);
    assert_int_equal(host_topo_distance(h, 0, 1), 14);
    assert_int_equal(host_topo_distance(h, 1, 1), 10);
    assert_int_equal(h->n_cpus, 3); /* 5 is beside memory that is not ours */
    assert_set(&h->nodes[0].cpus, "1-3");
    assert_true(idset_empty(&h->nodes[1].cpus));
    assert_int_equal(cpu(h, 3)->node, 0);
}

static void cpus_and_nodes_outside_are_left_out(void **state)
{
    struct tree t;

    (void)state;
    tree_make(&t);
    tree_read(&t);
    assert_confined(&t.host);
    host_topo_fini(&t.host);
    /* A mount that shows a container's part of the tree: hwloc looks in vain, we do not. */
    archive_put(t.dir, "proc/self/mountinfo",
                "30 23 0:26 /tenants /con\\040tainer rw - cgroup2 cgroup2 rw");
    archive_put(t.dir, "proc/mounts", "none /nowhere tmpfs rw 0 0");
    archive_put(t.dir, "con tainer/red/cpuset.cpus.effective", "1-3,5");
    archive_put(t.dir, "con tainer/red/vm/cpuset.mems.effective", "0,2");
    archive_put(t.dir, "con tainer/red/memory.max", "1073741824");
    archive_put(t.dir, "con tainer/memory.max", "536870912");
    archive_put(t.dir, "memory.max", "1"); /* above the mount: not a cgroup */
    tree_read(&t);
    assert_confined(&t.host);
    assert_string_equal(t.host.limits.cpus_cgroup, "/tenants/red");
    assert_true(t.host.limits.memory_max_bytes == 512u << 20);
    assert_string_equal(t.host.limits.memory_cgroup, "/tenants");
    tree_fini(&t);
}

static void cpus_all_beside_foreign_memory_are_kept(void **state)
{
    struct tree t;

    (void)state;
    tree_make(&t);
    archive_put(t.dir, "proc/mounts", "none /nowhere tmpfs rw 0 0"); /* we, not hwloc */
    archive_put(t.dir, "sys/fs/cgroup/tenants/red/vm/cpuset.cpus.effective", "4-5");
    archive_put(t.dir, "sys/fs/cgroup/tenants/red/vm/cpuset.mems.effective", "0");
    tree_read(&t);
    assert_int_equal(t.host.n_nodes, 1);
    assert_set(&t.host.nodes[0].cpus, "4-5");
    assert_int_equal(cpu(&t.host, 4)->node, 0);
    assert_string_equal(t.host.limits.cpus_cgroup, "/tenants/red/vm");
    tree_fini(&t);
}

static void files_of_nonsense_are_not_there(void **state)
{
    static const struct {
        const char *file, *text;
    } row[] = {
        { "proc/self/cgroup", "0:nothing" },
        { "proc/pressure/cpu", "some avg10=many" },
        { "proc/self/mountinfo", "garbage - cgroup2 " },
        { "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "0" },
        { "sys/devices/system/cpu/cpu6/cpu_capacity", "99999" },
        { "sys/devices/system/node/node2/access0/initiators/read_latency", "99999999999" },
        { "sys/devices/system/node/node2/access0/initiators/read_bandwidth",
          "18446744073709551615" },
        { "sys/devices/system/node/node2/memory_side_cache/index1/size", "big" },
    };
    struct tree t;

    (void)state;
    tree_make(&t);
    for (size_t i = 0; i < ARRAY_SIZE(row); i++)
        archive_put(t.dir, row[i].file, row[i].text);
    tree_read(&t);
    assert_string_equal(t.host.limits.cgroup, "");
    assert_false(t.host.limits.has_memory);
    assert_false(t.host.cpu_pressure.has);
    assert_int_equal(cpu(&t.host, 0)->capacity, 1024);
    assert_int_equal(cpu(&t.host, 6)->capacity, 1024);
    assert_int_equal(t.host.nodes[2].hmat.read_latency_ns, 0);
    assert_true(t.host.nodes[2].hmat.read_bytes_per_s == 0);
    assert_int_equal(t.host.nodes[2].hmat.write_latency_ns, 310);
    assert_int_equal(t.host.nodes[2].n_mem_caches, 0);
    tree_fini(&t);
}

static int try_plan(const struct host_topo *host, const char *text, struct topo_plan **ret_plan,
                    struct errctx *ec)
{
    struct guest_spec spec;
    int r;

    spec_text_parse(text, &spec);
    r = topo_plan_make(&spec, host, ret_plan, ec);
    guest_spec_fini(&spec);
    return r;
}

static void plans_beyond_a_limit_name_its_cgroup(void **state)
{
    struct tree t;
    struct errctx ec = { 0 };
    struct topo_plan *plan = NULL;

    (void)state;
    tree_make(&t);
    tree_read(&t);
    assert_int_equal(try_plan(&t.host, "memory=17G", &plan, &ec), -ENOSPC);
    assert_string_equal(ec.msg, "the guest has 17 GiB of memory, but the cgroup /tenants/red allows "
                                "16 GiB (memory.max): raise the limit or make the guest smaller");
    assert_int_equal(try_plan(&t.host, "node:cpus=0;memory=1G;host=1", &plan, &ec), -ENOENT);
    assert_string_equal(ec.msg, "--node 0: host=1: the cgroup /tenants/red keeps this process to "
                                "host nodes 0,2 (cpuset.mems)");
    assert_int_equal(try_plan(&t.host, "node:cpus=0;memory=1G;host=5", &plan, &ec), -ENOENT);
    assert_string_equal(ec.msg, "--node 0: host=5: this host has no such node (it has 0,2)");
    assert_null(plan);

    assert_int_equal(try_plan(&t.host, "memory=16G cpus=4", &plan, &ec), 0);
    assert_non_null(strstr(plan->notes, "The guest's 16 GiB do not fit in the 3 GiB that the cgroup "
                                        "/tenants has left.\n"));
    assert_non_null(strstr(plan->notes, "The cgroup /tenants/red gives the 4 vCPUs the time of 2.50 "
                                        "CPUs (cpu.max).\n"));
    assert_non_null(strstr(plan->notes, "4 vCPUs share the CPUs that the cgroup /tenants/red allows, "
                                        "1-3,5.\n"));
    topo_plan_free(plan);

    /* Within all limits, nothing is said; and vCPUs are pinned inside the cpuset. */
    assert_int_equal(try_plan(&t.host, "node:cpus=0-1;memory=1G;host=0", &plan, &ec), 0);
    assert_string_equal(plan->notes, "");
    assert_set(&plan->vcpus[1].host_cpus, "1-3");
    topo_plan_free(plan);
    tree_fini(&t);
}

/* The smallest rest on the way up, of pages taken and of pages reserved. */
static void pools_that_a_cgroup_limits_are_kept_to(void **state)
{
    struct tree t;
    struct errctx ec = { 0 };
    struct topo_plan *plan = NULL;
    struct guest_spec spec;

    (void)state;
    tree_make(&t);
    archive_put(t.dir, "sys/fs/cgroup/tenants/hugetlb.2MB.max", "max");
    archive_put(t.dir, "sys/fs/cgroup/tenants/hugetlb.2MB.rsvd.max", "1073741824");
    archive_put(t.dir, "sys/fs/cgroup/tenants/hugetlb.2MB.rsvd.current", "1069547520");
    archive_put(t.dir, "sys/fs/cgroup/tenants/red/hugetlb.2MB.max", "536870912");
    archive_put(t.dir, "sys/fs/cgroup/tenants/red/hugetlb.2MB.current", "0");
    archive_put(t.dir, "sys/fs/cgroup/tenants/red/hugetlb.1GB.max", "0");
    tree_read(&t);
    assert_true(t.host.limits.pool[HOST_POOL_2M].has && t.host.limits.pool[HOST_POOL_1G].has);
    assert_true(t.host.limits.pool[HOST_POOL_2M].left_bytes == 4 << 20);
    assert_string_equal(t.host.limits.pool[HOST_POOL_2M].cgroup, "/tenants");
    assert_true(t.host.limits.pool[HOST_POOL_1G].left_bytes == 0);

    spec_text_parse("memory=8M", &spec);
    spec.pages = (struct guest_pages){ .n = 1, .part = { { .kind = GUEST_PAGES_2M } } };
    assert_int_equal(topo_plan_make(&spec, &t.host, &plan, &ec), -ENOSPC);
    assert_string_equal(ec.msg, "--node 0: 4 pages of 2M are wanted, but the cgroup /tenants allows "
                                "2 more (hugetlb.2MB.max)");
    spec.fallback = (struct guest_fallback){ .n = 1, .step = { GUEST_YIELD_PAGES } };
    assert_int_equal(topo_plan_make(&spec, &t.host, &plan, &ec), 0);
    assert_int_equal(plan->n_backings, 2);
    assert_true(plan->backings[0].pages == GUEST_PAGES_2M);
    assert_true(plan->backings[0].len_bytes == 4 << 20);
    assert_true(plan->backings[1].pages == GUEST_PAGES_THP);
    topo_plan_free(plan);
    guest_spec_fini(&spec);
    tree_fini(&t);
}

static char *table_of(const struct host_topo *host)
{
    char *text = NULL;
    size_t len = 0;
    FILE *mem = open_memstream(&text, &len);

    host_topo_print_table(host, mem, false);
    assert_int_equal(fclose(mem), 0);
    return text;
}

static void tables_have_what_was_read_and_no_more(void **state)
{
    static const char *const lines[] = {
        "memory-side cache 1: 16 GiB, lines of 64 bytes, direct-mapped, write-back\n",
        "  node 2: read 230 ns, 20.5 GiB/s; write 310 ns, 8.8 GiB/s; from node 0-1\n",
        "  online 0-6, offline 7, SMT active\n",
        "  clock lowered to 75 % on CPUs 1 (heat, power limit or setting)\n",
        "  slowed down by heat at some time since the boot: 1\n",
        "  CPUs             some 12.34 5.06 0.70   full 0.00 0.00 0.00\n",
        "  memory, cgroup   some 3.00 2.00 1.00   full 0.30 0.20 0.10\n",
        "  CPUs 1-3,5, by cgroup /tenants/red\n",
        "  nodes 0,2, by cgroup /tenants/red\n",
        "  the time of 2.50 CPUs, by cgroup /tenants/red\n",
        "  16 GiB of memory, by cgroup /tenants/red\n",
    };
    static const char *const absent[] = { "HMAT", "online", "Pressure", "confined" };
    struct host_topo other = { 0 };
    struct tree t;
    char *text;

    (void)state;
    tree_make(&t);
    tree_read(&t);
    text = table_of(&t.host);
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        if (strstr(text, lines[i]) == NULL)
            fail_msg("missing: %s in\n%s", lines[i], text);
    free(text);
    tree_fini(&t);

    assert_int_equal(host_topo_from_synthetic("node:2 core:2 pu:1", &other, NULL), 0);
    text = table_of(&other);
    for (size_t i = 0; i < ARRAY_SIZE(absent); i++)
        assert_null(strstr(text, absent[i]));
    free(text);
    host_topo_fini(&other);
}

static void json_has_what_was_read(void **state)
{
    static const char *const parts[] = {
        "\"hmat\":{\"read_latency_ns\":230,\"write_latency_ns\":310,",
        "\"read_bandwidth\":22020096000,\"write_bandwidth\":9437184000,\"initiators\":\"0-1\"}",
        "\"capacity\":768,\"capacity_full\":1024,\"throttled\":17",
        "\"memory_left\":{\"value\":3221225472,\"cgroup\":\"/tenants\"}",
        "\"cpu_milli\":{\"value\":2500,\"cgroup\":\"/tenants/red\"}",
        "\"cgroup_memory\":{\"some\":{\"avg10\":3.0,",
        "\"llc_groups\":[\"1-3\"]",
        "\"smt_active\":true",
    };
    struct tree t;
    json_t *j = NULL;
    char *text;

    (void)state;
    tree_make(&t);
    tree_read(&t);
    assert_int_equal(host_topo_to_json(&t.host, &j), 0);
    text = json_dumps(j, JSON_COMPACT);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (strstr(text, parts[i]) == NULL)
            fail_msg("missing: %s in\n%s", parts[i], text);
    free(text);
    json_decref(j);
    tree_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(firmwares_latencies_and_memory_caches_are_read),
        cmocka_unit_test(heat_and_small_cores_lower_a_cpus_capacity),
        cmocka_unit_test(the_smallest_limit_on_the_way_up_counts),
        cmocka_unit_test(cpus_and_nodes_outside_are_left_out),
        cmocka_unit_test(cpus_all_beside_foreign_memory_are_kept),
        cmocka_unit_test(files_of_nonsense_are_not_there),
        cmocka_unit_test(plans_beyond_a_limit_name_its_cgroup),
        cmocka_unit_test(pools_that_a_cgroup_limits_are_kept_to),
        cmocka_unit_test(tables_have_what_was_read_and_no_more),
        cmocka_unit_test(json_has_what_was_read),
    };
    return cmocka_run_group_tests_name("topology/host_kernel", tests, NULL, NULL);
}
