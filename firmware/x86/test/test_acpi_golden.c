/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every table of every golden topology: the same bytes as in firmware/test/golden/NAME, clean
 * through iasl, and byte-identical after disassembling and compiling again. After an intended
 * change write new files with NUMAVISOR_UPDATE_GOLDEN=1 make unit, and look at the difference
 * that iasl -d shows. Runs in the root of the tree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "firmware/acpi.h"
#include "firmware/x86/test/golden_cases.h"
#include "firmware/x86/x86_map.h"
#include "vmm/base/cleanup.h"

static void build_case(size_t i, struct plan_fixture *f, struct acpi_tables *t)
{
    struct errctx ec = { 0 };

    golden_cases[i].make(f);
    assert_int_equal(plan_fixture_layout(f, &x86_layout_map, &ec), 0);
    assert_int_equal(acpi_build(&f->plan, f->layout, (struct gpa){ GOLDEN_BASE }, t, &ec), 0);
}

static void compare_file(const char *dir, const char *stem, const uint8_t *bytes, size_t len)
{
    CLEANUP_FCLOSE FILE *file = NULL;
    CLEANUP_FREE uint8_t *want = NULL;
    char path[PATH_MAX];
    size_t n;

    (void)snprintf(path, sizeof(path), "%s/%s.dat", dir, stem);
    file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("no golden file %s", path);
    want = malloc(len + 1);
    assert_non_null(want);
    n = fread(want, 1, len + 1, file);
    if (n != len || memcmp(want, bytes, len) != 0)
        fail_msg("%s differs from what is built (NUMAVISOR_UPDATE_GOLDEN=1 renews it)", path);
}

static void tables_equal_the_golden_files(void **state)
{
    bool update = getenv("NUMAVISOR_UPDATE_GOLDEN") != NULL;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(golden_cases); i++) {
        struct plan_fixture f;
        struct acpi_tables t;
        struct errctx ec = { 0 };
        char dir[64];

        build_case(i, &f, &t);
        (void)snprintf(dir, sizeof(dir), "firmware/test/golden/%s", golden_cases[i].name);
        if (update && acpi_write_files(&t, dir, &ec) < 0)
            fail_msg("%s", ec.msg);
        compare_file(dir, "RSDP", t.rsdp, sizeof(t.rsdp));
        for (size_t k = 0; k < t.n_tables; k++)
            compare_file(dir, t.table[k].signature, t.blob + t.table[k].off, t.table[k].len);
        acpi_tables_fini(&t);
        plan_fixture_fini(&f);
    }
}

/* Run a command line in @dir; its output ends up in @dir/log. */
static int shell(const char *dir, const char *command)
{
    char line[PATH_MAX];

    (void)snprintf(line, sizeof(line), "cd %s && { %s; } >>log 2>&1", dir, command);
    return system(line);
}

/* What iasl made of its own disassembly: our bytes but for the checksum and the creator. */
static void compare_recompiled(const char *dir, const char *stem, const uint8_t *bytes, size_t len)
{
    CLEANUP_FCLOSE FILE *file = NULL;
    CLEANUP_FREE uint8_t *got = malloc(len + 1);
    char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s/again-%s.aml", dir, stem);
    file = fopen(path, "rb");
    assert_non_null(got);
    if (file == NULL)
        fail_msg("iasl made no %s", path);
    assert_int_equal(fread(got, 1, len + 1, file), len);
    got[9] = bytes[9];
    memcpy(got + 28, bytes + 28, 8);
    assert_memory_equal(got, bytes, len);
}

static void iasl_finds_nothing_to_say(void **state)
{
    (void)state;
    if (system("command -v iasl >/dev/null 2>&1") != 0) {
        print_message("iasl (package acpica-tools) is not installed\n");
        skip();
    }
    for (size_t i = 0; i < ARRAY_SIZE(golden_cases); i++) {
        char dir[] = "/tmp/numavisor-acpi-XXXXXX", command[512];
        struct plan_fixture f;
        struct acpi_tables t;
        struct errctx ec = { 0 };

        build_case(i, &f, &t);
        assert_non_null(mkdtemp(dir));
        assert_int_equal(acpi_write_files(&t, dir, &ec), 0);
        for (size_t k = 0; k < t.n_tables; k++) {
            const char *s = t.table[k].signature;

            (void)snprintf(command, sizeof(command),
                           "iasl -d %s.dat && iasl -p again-%s %s.dsl >%s.said 2>&1; cat %s.said; "
                           "grep -q ' 0 Errors, 0 Warnings, 0 Remarks' %s.said",
                           s, s, s, s, s, s);
            if (shell(dir, command) != 0)
                fail_msg("iasl complains about %s of topology %s, see %s/log", s,
                         golden_cases[i].name, dir);
            compare_recompiled(dir, s, t.blob + t.table[k].off, t.table[k].len);
        }
        (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
        assert_int_equal(system(command), 0);
        acpi_tables_fini(&t);
        plan_fixture_fini(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_equal_the_golden_files),
        cmocka_unit_test(iasl_finds_nothing_to_say),
    };
    return cmocka_run_group_tests_name("firmware/acpi_golden", tests, NULL, NULL);
}
