/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The trees of the golden topologies, as dtc writes them: the same text as in
 * firmware/test/golden/NAME.dts, and not a word from dtc about them. After an intended change
 * write new files with NUMAVISOR_UPDATE_GOLDEN=1 make unit. Runs in the root of the tree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "firmware/test/fdt_cases.h"
#include "vmm/base/cleanup.h"

static void write_tree(const struct fdt_case *c, const char *path)
{
    CLEANUP_FCLOSE FILE *file = fopen(path, "wb");
    CLEANUP_FREE void *blob = NULL;
    struct fdt_input in = { .cmdline = "console=ttyAMA0 quiet" };
    struct mem_layout *layout;
    struct topo_plan *plan;
    struct errctx ec = { 0 };
    size_t len;

    assert_non_null(file);
    if (fdt_case_plan(c->spec, &plan, &ec) < 0)
        fail_msg("%s: %s", c->name, ec.msg);
    assert_int_equal(mem_layout_make_on(fdt_arch_arm64.map, plan, 40, &layout, &ec), 0);
    in.plan = plan;
    in.layout = layout;
    if (fdt_build(&fdt_arch_arm64, &in, &blob, &len, &ec) < 0)
        fail_msg("%s: %s", c->name, ec.msg);
    assert_int_equal(fwrite(blob, 1, len, file), len);
    mem_layout_free(layout);
    topo_plan_free(plan);
}

static void trees_equal_the_golden_files(void **state)
{
    const bool update = getenv("NUMAVISOR_UPDATE_GOLDEN") != NULL;
    char dir[] = "/tmp/numavisor-fdt-XXXXXX", path[PATH_MAX], line[PATH_MAX];

    (void)state;
    if (system("command -v dtc >/dev/null 2>&1") != 0) {
        print_message("dtc (package device-tree-compiler) is not installed\n");
        skip();
    }
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < ARRAY_SIZE(fdt_cases); i++) {
        const char *name = fdt_cases[i].name;

        (void)snprintf(path, sizeof(path), "%s/%s.dtb", dir, name);
        write_tree(&fdt_cases[i], path);
        (void)snprintf(line, sizeof(line),
                       "dtc -I dtb -O dts -o %s/%s.dts %s/%s.dtb 2>%s/said && ! grep . %s/said >&2",
                       dir, name, dir, name, dir, dir);
        if (system(line) != 0)
            fail_msg("dtc complains about the tree of %s", name);
        (void)snprintf(line, sizeof(line), "%s %s/%s.dts firmware/test/golden/%s.dts",
                       update ? "cp" : "diff -u", dir, name, name);
        if (system(line) != 0)
            fail_msg("the tree of %s differs (NUMAVISOR_UPDATE_GOLDEN=1 renews it)", name);
    }
    (void)snprintf(line, sizeof(line), "rm -r %s", dir);
    assert_int_equal(system(line), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees_equal_the_golden_files),
    };
    return cmocka_run_group_tests_name("firmware/fdt_golden", tests, NULL, NULL);
}
