/* SPDX-License-Identifier: Apache-2.0 */
/* Second-level page tables of host nodes, from an archived tree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "vmm/base/macros.h"
#include "vmm/topology/host_tables.h"
#include "vmm/topology/test/archive.h"

static void tables_are_told_by_node_as_they_are_now(void **state)
{
    const struct topo_plan_host hosts[] = { { .id = { 0 } }, { .id = { 2 } }, { .id = { 5 } } };
    char dir[64] = "/tmp/test_host_tables.XXXXXX";
    struct host_tables *t = NULL;
    uint64_t bytes = 7;

    (void)state;
    assert_non_null(mkdtemp(dir));
    archive_put(dir, "sys/devices/system/node/node0/meminfo",
                "Node 0 PageTables:      4096 kB\\nNode 0 SecPageTables:    148 kB\\n"
                "Node 0 Bounce:             0 kB\\n");
    archive_put(dir, "sys/devices/system/node/node2/meminfo",
                "Node 2 MemTotal:       4096 kB\\nNode 2 PageTables:       12 kB\\n");
    assert_int_equal(host_tables_new(dir, hosts, ARRAY_SIZE(hosts), &t, NULL), 0);
    assert_true(host_tables_read(t, 0, &bytes));
    assert_int_equal(bytes, 148 * KIB);
    bytes = 7;
    assert_false(host_tables_read(t, 1, &bytes)); /* an older kernel */
    assert_false(host_tables_read(t, 2, &bytes)); /* no such node */
    assert_false(host_tables_read(t, 3, &bytes));
    assert_int_equal(bytes, 7);

    archive_put(dir, "sys/devices/system/node/node0/meminfo", "Node 0 SecPageTables: 0 kB\\n");
    assert_true(host_tables_read(t, 0, &bytes));
    assert_int_equal(bytes, 0);
    host_tables_free(t);
    host_tables_free(NULL);
    archive_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_told_by_node_as_they_are_now),
    };
    return cmocka_run_group_tests_name("topology/host_tables", tests, NULL, NULL);
}
