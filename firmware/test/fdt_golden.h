/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trees of plans held against firmware/test/golden/NAME.dts, as dtc writes them: the same text, and
 * not a word from dtc about them. NUMAVISOR_UPDATE_GOLDEN=1 in the environment writes the files
 * instead of comparing. Runs in the root of the tree.
 */
#ifndef FIRMWARE_TEST_FDT_GOLDEN_H
#define FIRMWARE_TEST_FDT_GOLDEN_H

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "firmware/test/fdt_cases.h"
#include "vmm/base/cleanup.h"

static inline void fdt_golden_skip_without_dtc(void)
{
    if (system("command -v dtc >/dev/null 2>&1") == 0)
        return;
    print_message("dtc (package device-tree-compiler) is not installed\n");
    skip();
}

static inline void fdt_golden_write(const struct topo_plan *plan, const char *name,
                                    const char *path)
{
    CLEANUP_FCLOSE FILE *file = fopen(path, "wb");
    CLEANUP_FREE void *blob = NULL;
    struct fdt_input in = { .cmdline = "console=ttyAMA0 quiet", .plan = plan };
    struct mem_layout *layout;
    struct errctx ec = { 0 };
    size_t len;

    assert_non_null(file);
    assert_int_equal(mem_layout_make(fdt_arch_arm64.map, plan, 40, &layout, &ec), 0);
    in.layout = layout;
    if (fdt_build(&fdt_arch_arm64, &in, &blob, &len, &ec) < 0)
        fail_msg("%s: %s", name, ec.msg);
    assert_int_equal(fwrite(blob, 1, len, file), len);
    mem_layout_free(layout);
}

static inline void fdt_golden_compare(const struct topo_plan *plan, const char *name)
{
    const bool update = getenv("NUMAVISOR_UPDATE_GOLDEN") != NULL;
    char dir[] = "/tmp/numavisor-fdt-XXXXXX", path[PATH_MAX], line[PATH_MAX];

    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/tree.dtb", dir);
    fdt_golden_write(plan, name, path);
    (void)snprintf(line, sizeof(line),
                   "dtc -I dtb -O dts -o %s/tree.dts %s/tree.dtb 2>%s/said && ! grep . %s/said >&2", dir,
                   dir, dir, dir);
    if (system(line) != 0)
        fail_msg("dtc complains about the tree of %s", name);
    (void)snprintf(line, sizeof(line), "%s %s/tree.dts firmware/test/golden/%s.dts",
                   update ? "cp" : "diff -u", dir, name);
    if (system(line) != 0)
        fail_msg("the tree of %s differs (NUMAVISOR_UPDATE_GOLDEN=1 renews it)", name);
    (void)snprintf(line, sizeof(line), "rm -r %s", dir);
    assert_int_equal(system(line), 0);
}

#endif
