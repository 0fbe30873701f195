/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a machine's cgroup goes, on trees of plain files that look like the kernel's. That the
 * kernel obeys is seen in a real one: guest-tests/linux/test-sched.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/kernel_file.h"
#include "vmm/base/macros.h"
#include "vmm/machine/cpu_group.h"
#include "vmm/topology/test/archive.h"

#define MOUNT "30 20 0:26 / /cg rw shared:9 - cgroup2 cgroup2 rw"

static char root[64];

static int make_root(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof(root), "/tmp/test_cpu_group.XXXXXX");
    return mkdtemp(root) != NULL ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    archive_remove(root);
    return 0;
}

static void group(const char *path, const char *controllers, const char *below)
{
    char file[256];

    (void)snprintf(file, sizeof(file), "cg%s/cgroup.controllers", path);
    archive_put(root, file, controllers);
    (void)snprintf(file, sizeof(file), "cg%s/cgroup.subtree_control", path);
    archive_put(root, file, below);
    (void)snprintf(file, sizeof(file), "cg%s/cgroup.procs", path);
    archive_put(root, file, "1");
}

static void the_first_group_that_can_is_taken(void **state)
{
    struct cpu_group g = CPU_GROUP_NONE;
    struct errctx ec = { 0 };
    char expected[256], text[64];

    (void)state;
    archive_put(root, "proc/self/cgroup", "0::/user/app/shell");
    archive_put(root, "proc/self/mountinfo", MOUNT);
    group("", "cpuset cpu io memory", "cpu memory");
    group("/user", "cpu memory", "cpu memory");
    group("/user/app", "cpu", "");
    group("/user/app/shell", "memory", "");
    /* Our own has no cpu controller; the one above can hand it down, and does. */
    assert_int_equal(cpu_group_possible(root, &ec), 0);
    assert_int_equal(cpu_group_choose(root, "web", 42, &g, &ec), 0);
    (void)snprintf(expected, sizeof(expected), "%s/cg/user/app/numavisor-web.42", root);
    assert_string_equal(g.dir, expected);
    assert_true(kernel_file_text(text, sizeof(text), root, "/cg/user/app/cgroup.subtree_control"));
    assert_string_equal(text, "+cpu");
    assert_false(g.entered);
    /* What was chosen is no group of the kernel's: it cannot be entered, and nothing is left. */
    assert_true(cpu_group_enter(&g, 200, 0, &ec) < 0);
    assert_non_null(strstr(ec.msg, "use the cgroup"));
    assert_int_equal(access(g.dir, F_OK), -1);
    assert_true(cpu_group_leave(&g)); /* which is no matter for who never entered */
}

static void without_one_the_reason_is_told(void **state)
{
    struct cpu_group g = { .max_milli = 77 };
    struct errctx ec = { 0 };

    (void)state;
    archive_put(root, "proc/self/mountinfo", "30 20 0:26 / /cg rw - cgroup cgroup rw,cpu");
    assert_int_equal(cpu_group_choose(root, "web", 42, &g, &ec), -ENOTSUP);
    assert_string_equal(ec.msg, "there is no cgroup of version 2");
    archive_put(root, "proc/self/mountinfo", MOUNT);
    archive_put(root, "proc/self/cgroup", "0::/user");
    group("", "memory", "");
    group("/user", "memory", "");
    assert_int_equal(cpu_group_choose(root, "web", 42, &g, &ec), -ENOTSUP);
    assert_string_equal(ec.msg, "no cgroup of ours has the cpu controller");
    assert_int_equal(cpu_group_possible(root, &ec), -ENOTSUP);
    assert_int_equal(g.max_milli, 77);
}

static void a_weight_is_written_and_an_empty_group_removed(void **state)
{
    char dir[128], text[32];

    (void)state;
    (void)snprintf(dir, sizeof(dir), "%s/cg/other", root);
    archive_put(root, "cg/other/cpu.weight", "100");
    assert_int_equal(cpu_group_set_weight(dir, 250), 0);
    assert_true(kernel_file_text(text, sizeof(text), root, "/cg/other/cpu.weight"));
    assert_string_equal(text, "250");
    assert_int_equal(cpu_group_set_weight("/tmp/nv-no-such-group", 250), -ENOENT);
    cpu_group_remove("/tmp/nv-no-such-group");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_group_that_can_is_taken),
        cmocka_unit_test(without_one_the_reason_is_told),
        cmocka_unit_test(a_weight_is_written_and_an_empty_group_removed),
    };
    return cmocka_run_group_tests_name("machine/cpu_group", tests, make_root, remove_root);
}
