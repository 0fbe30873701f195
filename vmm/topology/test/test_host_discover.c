/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hosts as recorded: hwloc XML, synthetic descriptions, an archived /sys, and this machine.
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
#include <unistd.h>

#include "vmm/base/macros.h"
#include "vmm/topology/host_topo.h"
#include "vmm/topology/test/archive.h"

#define HOSTS "vmm/topology/test/hosts/"

static void assert_set(const struct idset *s, const char *expected)
{
    char buf[256];

    assert_string_equal(idset_format(s, buf, sizeof(buf)), expected);
}

static void the_128_node_machine_is_read_whole(void **state)
{
    struct host_topo h = { 0 };
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(host_topo_from_xml(HOSTS "eight-socket-128-node.xml", &h, &ec), 0);
    assert_int_equal(h.n_nodes, 128);
    assert_int_equal(h.n_cpus, 1024);
    assert_set(&h.nodes[127].cpus, "1016-1023");
    assert_true(h.nodes[0].mem_bytes == 16ull << 30);
    assert_true(h.nodes[0].mem_free_bytes == 0); /* XML does not tell */
    assert_int_equal(h.cpus[1023].package, 7);
    assert_int_equal(h.cpus[1023].node, 127);
    assert_int_equal(h.cpus[1023].core, 511);
    assert_int_equal(h.cpus[1023].thread, 1);
    assert_int_equal(h.cpus[1023].llc, 127);
    assert_true(h.has_distances);
    assert_int_equal(host_topo_distance(&h, 5, 5), 10);
    assert_int_equal(host_topo_distance(&h, 0, 3), 12);
    assert_int_equal(host_topo_distance(&h, 0, 15), 16);
    assert_int_equal(host_topo_distance(&h, 0, 63), 32);
    assert_int_equal(host_topo_distance(&h, 127, 0), 40);
    assert_string_equal(h.source, HOSTS "eight-socket-128-node.xml");
    host_topo_fini(&h);
    assert_null(h.nodes);
}

static void memory_only_nodes_own_no_cpus(void **state)
{
    struct host_topo h = { 0 };

    (void)state;
    assert_int_equal(host_topo_from_xml(HOSTS "two-socket-hbm.xml", &h, NULL), 0);
    assert_int_equal(h.n_nodes, 4);
    assert_set(&h.nodes[0].cpus, "0-7");
    assert_true(idset_empty(&h.nodes[1].cpus)); /* the small fast memory beside node 0 */
    assert_set(&h.nodes[2].cpus, "8-15");
    assert_true(idset_empty(&h.nodes[3].cpus));
    assert_int_equal(host_topo_node_index(&h, (struct hnode_id){ 3 }), 3);
    assert_int_equal(host_topo_node_index(&h, (struct hnode_id){ 9 }), -1);
    assert_false(h.has_distances);
    assert_int_equal(host_topo_distance(&h, 0, 1), 20);
    host_topo_fini(&h);
}

static void synthetic_machines_have_sizes_and_nodes(void **state)
{
    struct host_topo h = { 0 };

    (void)state;
    assert_int_equal(host_topo_from_synthetic(
                         "pack:2 numa:2(memory=4GB) l3:1(size=8388608) core:3 pu:1", &h, NULL),
                     0);
    assert_int_equal(h.n_nodes, 4);
    assert_int_equal(h.n_cpus, 12);
    assert_set(&h.nodes[3].cpus, "9-11");
    assert_int_equal(h.cpus[9].package, 1);
    assert_int_equal(h.n_caches, 4);
    assert_int_equal(h.caches[0].level, 3);
    assert_true(h.caches[0].size_bytes == 8u << 20);
    host_topo_fini(&h);
}

static void nodes_beside_packages_and_caches_keep_their_cpus(void **state)
{
    static const struct {
        const char *host, *cpus[2];
    } row[] = {
        { "node:2 core:4 pu:2", { "0-7", "8-15" } }, /* the manual's */
        { "pack:2 node:1 core:4 pu:2", { "0-7", "8-15" } },
        { "pack:1 node:2 core:4 pu:1", { "0-3", "4-7" } },
        { "group:1 node:2 pu:2", { "0-1", "2-3" } },
        { "[numa] [numa] core:4 pu:1", { "0-3", "" } },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        struct host_topo h = { 0 };

        assert_int_equal(host_topo_from_synthetic(row[i].host, &h, NULL), 0);
        assert_int_equal(h.n_nodes, 2);
        assert_set(&h.nodes[0].cpus, row[i].cpus[0]);
        assert_set(&h.nodes[1].cpus, row[i].cpus[1]);
        host_topo_fini(&h);
    }
}

/* --- archived /sys -------------------------------------------------------------------------- */

static void archived_sysfs_tells_offline_cpus_and_free_memory(void **state)
{
    char dir[] = "/tmp/test_host_discover.XXXXXX";
    struct host_topo h = { 0 };
    struct errctx ec = { 0 };

    (void)state;
    assert_non_null(mkdtemp(dir));
    archive_unpack(HOSTS "smt-offline-memory-only.sysfs", dir);
    assert_int_equal(setenv("HWLOC_FSROOT", "/nowhere", 1), 0);
    assert_int_equal(host_topo_discover(dir, &h, &ec), 0);
    assert_string_equal(getenv("HWLOC_FSROOT"), "/nowhere"); /* put back */
    assert_null(getenv("HWLOC_COMPONENTS"));
    assert_int_equal(unsetenv("HWLOC_FSROOT"), 0);
    archive_remove(dir);

    assert_int_equal(h.n_nodes, 3);
    assert_int_equal(h.n_cpus, 7); /* CPU 7 is offline */
    assert_set(&h.nodes[0].cpus, "0-3");
    assert_set(&h.nodes[1].cpus, "4-6");
    assert_true(idset_empty(&h.nodes[2].cpus));
    assert_true(h.nodes[0].mem_bytes == 32ull << 30);
    assert_true(h.nodes[2].mem_bytes == 128ull << 30);
    assert_true(h.nodes[0].mem_free_bytes == 8ull << 30);
    assert_true(h.nodes[2].mem_free_bytes == 96ull << 30);
    assert_int_equal(h.nodes[0].n_pools, 2);
    assert_true(h.nodes[0].pool[0].page_bytes == 2u << 20);
    assert_int_equal(h.nodes[0].pool[0].total_pages, 512);
    assert_int_equal(h.nodes[0].pool[0].free_pages, 128);
    assert_true(h.nodes[0].pool[1].page_bytes == 1u << 30);
    assert_true(h.has_distances);
    assert_int_equal(host_topo_distance(&h, 0, 2), 14);
    assert_int_equal(host_topo_distance(&h, 1, 2), 24);
    assert_int_equal(h.cpus[6].thread, 0);
    assert_int_equal(h.cpus[5].thread, 1);
    assert_int_equal(h.cpus[5].core, h.cpus[4].core);
    assert_int_equal(h.cpus[0].llc, h.cpus[3].llc);
    assert_int_not_equal(h.cpus[0].llc, h.cpus[4].llc);
    assert_int_equal(h.caches[0].level, 1);
    assert_int_equal(h.caches[0].ways, 8);
    assert_int_equal(h.caches[0].line_bytes, 64);
    host_topo_fini(&h);
}

static void nodes_of_one_package_without_caches_keep_their_cpus(void **state)
{
    char dir[] = "/tmp/test_host_discover.XXXXXX";
    struct host_topo h = { 0 };

    (void)state;
    assert_non_null(mkdtemp(dir));
    archive_unpack(HOSTS "one-package-two-nodes.sysfs", dir);
    assert_int_equal(host_topo_discover(dir, &h, NULL), 0);
    archive_remove(dir);
    assert_int_equal(h.n_nodes, 2);
    assert_set(&h.nodes[0].cpus, "0-1");
    assert_set(&h.nodes[1].cpus, "2-3");
    assert_int_equal(h.cpus[3].package, 0);
    assert_int_equal(h.cpus[3].core, 3);
    assert_int_equal(host_topo_distance(&h, 0, 1), 20);
    host_topo_fini(&h);
}

enum { CUBE_NODES = 16, CUBE_CPUS = 8 };

/* The first eight nodes have a CPU each. Nodes are 10 more apart for each bit that differs. */
static void put_cube(const char *dir)
{
    char name[128], text[128];

    archive_put(dir, "sys/devices/system/cpu/online", "0-7");
    archive_put(dir, "sys/devices/system/cpu/possible", "0-7");
    archive_put(dir, "sys/devices/system/node/online", "0-15");
    for (unsigned n = 0; n < CUBE_NODES; n++) {
        size_t at = 0;

        for (unsigned m = 0; m < CUBE_NODES; m++)
            at += (size_t)snprintf(text + at, sizeof(text) - at, "%d ",
                                   10 + 10 * __builtin_popcount(n ^ m));
        (void)snprintf(name, sizeof(name), "sys/devices/system/node/node%u/distance", n);
        archive_put(dir, name, text);
        (void)snprintf(name, sizeof(name), "sys/devices/system/node/node%u/meminfo", n);
        (void)snprintf(text, sizeof(text), "Node %u MemTotal:       4194304 kB", n);
        archive_put(dir, name, text);
        (void)snprintf(name, sizeof(name), "sys/devices/system/node/node%u/cpumap", n);
        (void)snprintf(text, sizeof(text), "%08x", n < CUBE_CPUS ? 1u << n : 0);
        archive_put(dir, name, text);
        if (n >= CUBE_CPUS)
            continue;
        (void)snprintf(name, sizeof(name), "sys/devices/system/cpu/cpu%u/topology/core_cpus", n);
        archive_put(dir, name, text);
        (void)snprintf(name, sizeof(name), "sys/devices/system/cpu/cpu%u/topology/package_cpus", n);
        archive_put(dir, name, text);
        (void)snprintf(name, sizeof(name),
                       "sys/devices/system/cpu/cpu%u/topology/physical_package_id", n);
        (void)snprintf(text, sizeof(text), "%u", n);
        archive_put(dir, name, text);
    }
}

static void distances_that_are_no_tree_are_read_without_a_word(void **state)
{
    char dir[] = "/tmp/test_host_discover.XXXXXX";
    struct host_topo h = { 0 };
    FILE *said = tmpfile();
    const int err = dup(STDERR_FILENO);
    int r;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_non_null(said);
    assert_true(err >= 0);
    put_cube(dir);
    assert_int_equal(setenv("HWLOC_USE_NUMA_DISTANCES", "7", 1), 0);
    (void)fflush(stderr);
    assert_true(dup2(fileno(said), STDERR_FILENO) >= 0);
    r = host_topo_discover(dir, &h, NULL);
    (void)fflush(stderr);
    assert_true(dup2(err, STDERR_FILENO) >= 0);
    (void)close(err);
    archive_remove(dir);
    assert_int_equal(r, 0);
    assert_int_equal(lseek(fileno(said), 0, SEEK_END), 0);
    (void)fclose(said);
    assert_string_equal(getenv("HWLOC_USE_NUMA_DISTANCES"), "7");
    assert_int_equal(unsetenv("HWLOC_USE_NUMA_DISTANCES"), 0);
    assert_int_equal(h.n_nodes, CUBE_NODES);
    assert_set(&h.nodes[7].cpus, "7");
    assert_int_equal(host_topo_distance(&h, 0, 15), 50);
    assert_int_equal(host_topo_distance(&h, 5, 6), 30);
    host_topo_fini(&h);
}

static void this_machine_has_a_node_with_memory_and_cpus(void **state)
{
    struct host_topo h = { 0 };
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(host_topo_discover("", &h, &ec), 0);
    assert_true(h.n_nodes >= 1);
    assert_true(h.n_cpus >= 1);
    assert_true(h.nodes[0].mem_bytes > 0);
    assert_true(h.nodes[0].mem_free_bytes > 0);
    assert_true(h.nodes[0].mem_free_bytes < h.nodes[0].mem_bytes * 2);
    assert_int_equal(host_topo_distance(&h, 0, 0), 10);
    for (size_t i = 1; i < h.n_cpus; i++)
        assert_true(h.cpus[i].id.v > h.cpus[i - 1].id.v);
    host_topo_fini(&h);
}

static void what_is_no_machine_is_refused_untouched(void **state)
{
    struct host_topo h = { .n_nodes = 77 };
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(host_topo_from_synthetic("three apples", &h, &ec), -EINVAL);
    assert_string_equal(ec.msg, "\"three apples\" is not a machine in hwloc's synthetic form");
    assert_int_equal(host_topo_from_xml(HOSTS "smt-offline-memory-only.sysfs", &h, &ec), -EINVAL);
    assert_string_equal(ec.msg, HOSTS "smt-offline-memory-only.sysfs is not a machine in hwloc's "
                                      "XML form");
    assert_int_equal(host_topo_from_xml("/nowhere.xml", &h, &ec), -ENOENT);
    assert_int_equal(host_topo_discover("/nowhere", &h, &ec), -EIO);
    assert_int_equal(h.n_nodes, 77);
}

/* The recorded machine with every @attribute gone, cut after @len bytes, in a file of its own. */
static void damage(const char *path, const char *attribute, size_t len)
{
    FILE *in = fopen(HOSTS "two-socket-hbm.xml", "re"), *out = fopen(path, "we");
    static char text[256 * 1024];
    const size_t n = fread(text, 1, sizeof(text) - 1, in);
    char *p = text, *hit;

    text[MIN(n, len)] = '\0';
    while (attribute != NULL && (hit = strstr(p, attribute)) != NULL) {
        char *end = strchr(hit, '"');

        end = end != NULL ? strchr(end + 1, '"') : NULL;
        if (end == NULL)
            break;
        (void)fwrite(p, 1, (size_t)(hit - p), out);
        p = end + 1;
    }
    (void)fputs(p, out);
    (void)fclose(in);
    (void)fclose(out);
}

/* hwloc 2.9 itself crashes on the first of these. */
static void a_damaged_file_is_refused_with_a_sentence(void **state)
{
    static const char *const attributes[] = { " complete_cpuset=", " complete_nodeset=", " cpuset=",
                                              " nodeset=", " type=" };
    char path[] = "/tmp/host-damaged-XXXXXX";
    const int fd = mkstemp(path);
    unsigned refused = 0;

    (void)state;
    assert_true(fd >= 0);
    for (size_t i = 0; i < ARRAY_SIZE(attributes) + 40; i++) {
        struct host_topo h = { .n_nodes = 4711 };
        struct errctx ec = { 0 };

        if (i < ARRAY_SIZE(attributes))
            damage(path, attributes[i], SIZE_MAX);
        else
            damage(path, NULL, 1 + (i - ARRAY_SIZE(attributes)) * 200);
        if (host_topo_from_xml(path, &h, &ec) == 0) {
            host_topo_fini(&h);
            continue;
        }
        refused++;
        assert_int_equal(ec.code, EINVAL);
        assert_non_null(strstr(ec.msg, path));
        assert_int_equal(h.n_nodes, 4711);
    }
    assert_true(refused > 30); /* hwloc takes some whose last lines alone are cut */
    (void)close(fd);
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_128_node_machine_is_read_whole),
        cmocka_unit_test(memory_only_nodes_own_no_cpus),
        cmocka_unit_test(synthetic_machines_have_sizes_and_nodes),
        cmocka_unit_test(nodes_beside_packages_and_caches_keep_their_cpus),
        cmocka_unit_test(archived_sysfs_tells_offline_cpus_and_free_memory),
        cmocka_unit_test(nodes_of_one_package_without_caches_keep_their_cpus),
        cmocka_unit_test(distances_that_are_no_tree_are_read_without_a_word),
        cmocka_unit_test(this_machine_has_a_node_with_memory_and_cpus),
        cmocka_unit_test(what_is_no_machine_is_refused_untouched),
        cmocka_unit_test(a_damaged_file_is_refused_with_a_sentence),
    };
    return cmocka_run_group_tests_name("topology/host_discover", tests, NULL, NULL);
}
