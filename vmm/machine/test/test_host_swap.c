/* SPDX-License-Identifier: Apache-2.0 */
/* What of the host's swap reaches us, on trees of plain files that look like the kernel's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vmm/base/kernel_file.h"
#include "vmm/base/macros.h"
#include "vmm/machine/host_swap.h"
#include "vmm/topology/test/archive.h"

#define MOUNT   "30 20 0:26 / /cg rw shared:9 - cgroup2 cgroup2 rw"
#define HEADING "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority"

static char root[64];

static int make_root(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof(root), "/tmp/test_host_swap.XXXXXX");
    return mkdtemp(root) != NULL ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    archive_remove(root);
    return 0;
}

static void swap_that_is_not_there_reaches_nobody(void **state)
{
    (void)state;
    assert_int_equal(host_swap_look(root), HOST_SWAP_NONE); /* a kernel without swapping */
    archive_put(root, "proc/swaps", HEADING);
    assert_int_equal(host_swap_look(root), HOST_SWAP_NONE);
}

static void some_group_above_may_keep_it_out(void **state)
{
    (void)state;
    archive_put(root, "proc/swaps", HEADING "\\n/dev/zram0 partition 1048572 0 -2\n");
    assert_int_equal(host_swap_look(root), HOST_SWAP_REACHES); /* no cgroup */
    archive_put(root, "proc/self/cgroup", "0::/user/app");
    archive_put(root, "proc/self/mountinfo", MOUNT);
    archive_put(root, "cg/user/app/memory.swap.max", "max\n");
    archive_put(root, "cg/user/memory.swap.max", "4096\n");
    assert_int_equal(host_swap_look(root), HOST_SWAP_REACHES);
    archive_put(root, "cg/user/memory.swap.max", "0\n");
    assert_int_equal(host_swap_look(root), HOST_SWAP_OFF);
    archive_put(root, "proc/self/cgroup", "0::/other");
    archive_put(root, "cg/other/memory.swap.max", "max\n");
    assert_int_equal(host_swap_look(root), HOST_SWAP_REACHES);
}

static void a_group_is_kept_from_it(void **state)
{
    struct errctx ec = { 0 };
    char dir[128], text[64];

    (void)state;
    (void)snprintf(dir, sizeof(dir), "%s/cg/mine", root);
    archive_put(root, "cg/mine/memory.swap.max", "max");
    assert_int_equal(host_swap_forbid(dir, &ec), 0);
    assert_true(kernel_file_text(text, sizeof(text), root, "/cg/mine/memory.swap.max"));
    assert_string_equal(text, "0ax"); /* the first byte: a plain file keeps the others */
}

static void a_group_without_the_controller_asks_its_parent(void **state)
{
    struct errctx ec = { 0 };
    char dir[128], text[64];

    (void)state;
    archive_put(root, "cg/cgroup.subtree_control", "");
    archive_put(root, "cg/mine/cgroup.procs", "1");
    (void)snprintf(dir, sizeof(dir), "%s/cg/mine", root);
    assert_int_equal(host_swap_forbid(dir, &ec), -ENOENT); /* nobody makes the file here */
    assert_non_null(strstr(ec.msg, "from being swapped out"));
    assert_true(kernel_file_text(text, sizeof(text), root, "/cg/cgroup.subtree_control"));
    assert_string_equal(text, "+memory");
    (void)snprintf(dir, sizeof(dir), "%s/nowhere", root);
    assert_true(host_swap_forbid(dir, &ec) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(swap_that_is_not_there_reaches_nobody, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(some_group_above_may_keep_it_out, make_root, remove_root),
        cmocka_unit_test_setup_teardown(a_group_is_kept_from_it, make_root, remove_root),
        cmocka_unit_test_setup_teardown(a_group_without_the_controller_asks_its_parent, make_root,
                                        remove_root),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
