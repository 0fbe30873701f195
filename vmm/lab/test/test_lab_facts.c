/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's program that tells what its kernel shows, on a /sys and a /proc that are ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vmm/lab/parts/facts.c" /* a program of the guest's, no part of the library */

static const char *const files[][2] = {
    { "devices/system/node/online", "0,2-3\n" },
    { "devices/system/node/node0/cpulist", "0-1\n" },
    { "devices/system/node/node0/distance", "10 20 30\n" },
    { "devices/system/node/node0/access0/initiators/read_latency", "110\n" },
    { "devices/system/node/node2/cpulist", "\n" },
    { "devices/system/node/node3/memory_side_cache/index1/size", "1048576\n" },
    { "devices/system/node/node3/memory_side_cache/index1/line_size", "64\n" },
    { "devices/system/node/node3/memory_side_cache/index1/indexing", "0\n" },
    { "devices/system/node/node3/memory_side_cache/index1/write_policy", "1\n" },
    { "devices/system/cpu/online", "0\n" },
    { "devices/system/cpu/cpu0/topology/package_cpus_list", "0-1\n" },
    { "devices/system/cpu/cpu0/topology/core_cpus_list", "0\n" },
    { "devices/system/cpu/cpu0/cache/index0/level", "1\n" },
    { "devices/system/cpu/cpu0/cache/index0/type", "Data\n" },
    { "devices/system/cpu/cpu0/cache/index0/size", "32K\n" },
    { "devices/system/cpu/cpu0/cache/index0/coherency_line_size", "64\n" },
    { "devices/system/cpu/cpu0/cache/index0/ways_of_associativity", "8\n" },
    { "devices/system/cpu/cpu0/cache/index0/shared_cpu_list", "0\n" },
    { "devices/system/cpu/cpu0/cache/index2/level", "2\n" },
    { "devices/system/cpu/cpu0/cache/index2/type", "Unified\n" },
    { "devices/system/cpu/cpu0/cache/index2/size", "512K\n" },
    { "devices/system/cpu/cpu0/cache/index2/coherency_line_size", "64\n" },
    { "devices/system/cpu/cpu0/cache/index2/ways_of_associativity", "16\n" },
    { "devices/system/cpu/cpu0/cache/index2/shared_cpu_list", "0-1\n" },
    { "bus/pci/devices/0000:00:01.0/vendor", "0x1af4\n" },
    { "bus/pci/devices/0000:00:01.0/device", "0x1044\n" },
    { "bus/pci/devices/0000:00:01.0/numa_node", "2\n" },
    { "bus/pci/devices/0000:00:02.0/vendor", "0x1af4\n" },
    { "bus/pci/devices/0000:00:02.0/device", "0x1044\n" },
    { "bus/pci/devices/0000:00:02.0/numa_node", "0\n" },
    { "bus/pci/devices/0000:00:03.0/vendor", "0x8086\n" },
    { "bus/pci/devices/0000:00:03.0/device", "0x1044\n" },
    { "bus/pci/devices/0000:00:03.0/numa_node", "0\n" },
    { "zoneinfo",
      "Node 0, zone      DMA\n  pages free     3840\n        present  100\n"
      "Node 0, zone    DMA32\n        present  200\n        managed  9\n"
      "Node 2, zone   Normal\n        present  1000\n" },
};

static void put(const char *dir, const char *name, const char *text)
{
    char path[256];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    for (char *at = path + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        (void)mkdir(path, 0700);
        *at = '/';
    }
    f = fopen(path, "we");
    assert_non_null(f);
    (void)fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static void every_fact_is_told(void **state)
{
    char dir[] = "/tmp/nv-facts-XXXXXX", *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    (void)state;
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        put(dir, files[i][0], files[i][1]);
    facts_write(dir, dir, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "nodes 0,2-3\n"
                              "node0.cpus 0-1\n"
                              "node0.distance 10 20 30\n"
                              "node0.read_latency 110\n"
                              "node2.cpus -\n"
                              "node3.memory_cache1 size=1048576 line=64 indexing=0 write=1\n"
                              "node0.memory 1200\n"
                              "node2.memory 4000\n"
                              "cpus 0\n"
                              "cpu0.package 0-1\n"
                              "cpu0.core 0\n"
                              "cpu0.l1d size=32K line=64 ways=8 cpus=0\n"
                              "cpu0.l2 size=512K line=64 ways=16 cpus=0-1\n"
                              "cpu0.caches l1d,l2\n"
                              "pci.1044 0,2\n");
    free(text);
    assert_int_equal(nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void a_kernel_that_tells_nothing_is_no_failure(void **state)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    (void)state;
    facts_write("/there/is/none", "/there/is/none", out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fact_is_told),
        cmocka_unit_test(a_kernel_that_tells_nothing_is_no_failure),
    };
    return cmocka_run_group_tests_name("lab/facts", tests, NULL, NULL);
}
