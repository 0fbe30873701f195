/* SPDX-License-Identifier: Apache-2.0 */
/* What changes on a host, from an archived tree whose files change between two readings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "vmm/base/macros.h"
#include "vmm/topology/host_watch.h"
#include "vmm/topology/test/archive.h"

#define HOSTS "vmm/topology/test/hosts/"
#define SECOND UINT64_C(1000000000)

struct tree {
    char dir[64];
    struct topo_plan_host hosts[3];
    struct host_watch *watch;
    struct host_reading r;
};

static void idset_of(struct idset *s, const char *list)
{
    *s = (struct idset){ 0 };
    if (list[0] != '\0')
        assert_int_equal(idset_parse(list, s, NULL), 0);
}

/* Two packages with SMT, CPU 7 offline, node 2 without CPUs. */
static void begin(struct tree *t)
{
    (void)snprintf(t->dir, sizeof(t->dir), "/tmp/test_host_watch.XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    archive_unpack(HOSTS "smt-offline-memory-only.sysfs", t->dir);
    archive_put(t->dir, "proc/stat",
                "cpu  0 9 9 9 9 9 9 9 0 0\\ncpu0 100 0 50 900 7 0 0 3 60 0\\n"
                "cpu1 10 20 30 900 7 5 5 3 0 0\\ncpu4 1 0 0 0 0 0 0 0 0 0\\nintr 123 4 5\\n"
                "ctxt 77\\n");
    archive_put(t->dir, "proc/schedstat",
                "version 15\\ntimestamp 4294\\ncpu0 0 0 10 5 7 3 500 1000 20\\n"
                "domain0 03 1 2 3 4 5 6 7 8 9\\ncpu1 0 0 10 5 7 3 500 2000 20\\n");
    archive_put(t->dir, "proc/pressure/cpu",
                "some avg10=12.34 avg60=1.00 avg300=0.50 total=99\\n"
                "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\\n");
    archive_put(t->dir, "proc/pressure/memory",
                "some avg10=5.00 avg60=1.00 avg300=0.50 total=99\\n"
                "full avg10=2.50 avg60=0.00 avg300=0.00 total=0\\n");
    archive_put(t->dir, "sys/devices/system/node/node0/meminfo",
                "Node 0 MemTotal:       4096 kB\\nNode 0 MemFree:        1000 kB\\n"
                "Node 0 Active(file):     100 kB\\nNode 0 Inactive(file):   20 kB\\n"
                "Node 0 Shmem:          2000 kB\\n");
    for (uint32_t i = 0; i < 3; i++)
        t->hosts[i] = (struct topo_plan_host){ .id = { i } };
    idset_of(&t->hosts[0].cpus, "0-3");
    idset_of(&t->hosts[1].cpus, "4-6");
}

static void open_watch(struct tree *t)
{
    assert_int_equal(host_watch_new(t->dir, t->hosts, 3, &t->watch, NULL), 0);
}

/* @at: milliseconds. */
static void read_watch(struct tree *t, uint64_t at)
{
    assert_int_equal(host_watch_read(t->watch, at * 1000000, &t->r, NULL), 0);
    assert_int_equal(t->r.n_nodes, 3);
}

static void end(struct tree *t)
{
    host_watch_free(t->watch);
    archive_remove(t->dir);
}

static void loads_memory_and_pressure_are_read(void **state)
{
    struct tree t;
    char list[64];

    (void)state;
    begin(&t);
    open_watch(&t);
    read_watch(&t, 1000);
    assert_string_equal(idset_format(&t.r.online, list, sizeof(list)), "0-6");
    assert_int_equal(t.r.nodes[0].busy_ns, 0); /* the first reading */
    assert_int_equal(t.r.nodes[0].wait_ns, 3000);
    assert_int_equal(t.r.nodes[1].wait_ns, 0);
    assert_int_equal(t.r.nodes[0].mem_bytes, 4096 * KIB);
    assert_int_equal(t.r.nodes[0].free_bytes, 1120 * KIB);
    assert_int_equal(t.r.nodes[0].capacity_milli, 4000);
    assert_int_equal(t.r.nodes[1].capacity_milli, 3000);
    assert_int_equal(t.r.nodes[2].capacity_milli, 0);
    assert_true(t.r.cpu.has && t.r.memory.has);
    assert_int_equal(t.r.cpu.some.avg10, 1234);
    assert_int_equal(t.r.memory.full.avg10, 250);
    host_reading_fini(&t.r);
    end(&t);
}

static void what_changes_is_seen_through_open_files(void **state)
{
    struct tree t;

    (void)state;
    begin(&t);
    open_watch(&t);
    read_watch(&t, 1000);
    host_reading_fini(&t.r);
    archive_put(t.dir, "sys/devices/system/cpu/online", "0-1,3-6");
    archive_put(t.dir, "proc/stat", "cpu  900 9 9 9 9 9 9 9 9\\ncpu0 100 0 51 900 7 0 0 3 0 0\\n"
                                    "cpu1 90000 20 30 900 7 5 5 3 0 0\\n");
    archive_put(t.dir, "proc/schedstat", "version 15\\ncpu0 0 0 10 5 7 3 300000500 1500 20\\n"
                                         "cpu1 0 0 10 5 7 3 501 2000 20\\n");
    archive_put(t.dir, "sys/devices/system/node/node0/meminfo",
                "Node 0 MemTotal: 4096 kB\\nNode 0 MemFree: 9000 kB\\n");
    read_watch(&t, 2000);
    assert_int_equal(t.r.nodes[0].capacity_milli, 3000);
    /* Of CPU 0 what its tasks say, since that is more; of CPU 1 no more than the time passed. */
    assert_int_equal(t.r.nodes[0].busy_ns, 300000000 + SECOND);
    assert_int_equal(t.r.nodes[0].wait_ns, 3500);
    assert_int_equal(t.r.nodes[0].free_bytes, 4096 * KIB); /* never more than there is */
    host_reading_fini(&t.r);
    end(&t);
}

static void heat_takes_capacity(void **state)
{
    struct tree t;
    char path[96];

    (void)state;
    begin(&t);
    for (int cpu = 0; cpu < 4; cpu++) {
        (void)snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%d/cpufreq/cpuinfo_max_freq",
                       cpu);
        archive_put(t.dir, path, "3000000");
        (void)snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%d/cpufreq/scaling_max_freq",
                       cpu);
        archive_put(t.dir, path, cpu < 2 ? "1500000" : "4000000");
    }
    archive_put(t.dir, "sys/devices/system/cpu/cpu4/cpu_capacity", "512");
    open_watch(&t);
    read_watch(&t, 1000);
    assert_int_equal(t.r.nodes[0].capacity_milli, 3000);
    assert_int_equal(t.r.nodes[1].capacity_milli, 2500);
    host_reading_fini(&t.r);
    archive_put(t.dir, "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", "3000000");
    read_watch(&t, 2000);
    assert_int_equal(t.r.nodes[0].capacity_milli, 3500);
    host_reading_fini(&t.r);
    end(&t);
}

static void a_host_without_files_has_its_cpus(void **state)
{
    struct tree t = { .dir = "/nowhere" };

    (void)state;
    idset_of(&t.hosts[0].cpus, "0-1");
    open_watch(&t);
    read_watch(&t, 1000);
    assert_int_equal(t.r.nodes[0].capacity_milli, 2000);
    assert_int_equal(t.r.nodes[0].busy_ns + t.r.nodes[0].wait_ns + t.r.nodes[0].mem_bytes, 0);
    assert_false(t.r.cpu.has || t.r.memory.has);
    host_reading_fini(&t.r);
    host_watch_free(t.watch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_memory_and_pressure_are_read),
        cmocka_unit_test(what_changes_is_seen_through_open_files),
        cmocka_unit_test(heat_takes_capacity),
        cmocka_unit_test(a_host_without_files_has_its_cpus),
    };
    return cmocka_run_group_tests_name("vmm/topology/host_watch", tests, NULL, NULL);
}
