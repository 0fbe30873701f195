/* SPDX-License-Identifier: Apache-2.0 */
/* The ACPI tables of every preset go through iasl without an error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "vmm/base/macros.h"
#include "vmm/config/config_presets.h"
#include "vmm/config/config_topology.h"
#include "vmm/machine/plan_acpi.h"

static void write_tables(const char *preset, const char *dir)
{
    static const struct host_topo nowhere = { .source = "nowhere" };
    struct topo_notes notes = { 0 };
    struct guest_spec spec;
    struct topo_plan *plan = NULL;
    struct errctx ec = { 0 };
    char *about;

    if (config_topology_read(preset, &spec, &about, NULL, &notes, &ec) < 0 ||
        topo_plan_make(&spec, &nowhere, &plan, &ec) < 0 || plan_acpi_write(plan, dir, &ec) < 0)
        fail_msg("%s: %s", preset, ec.msg);
    topo_plan_free(plan);
    guest_spec_fini(&spec);
    free(about);
}

static void iasl_accepts_the_tables_of_every_preset(void **state)
{
    struct config_presets all;

    (void)state;
    if (system("command -v iasl >/dev/null 2>&1") != 0) {
        print_message("iasl (package acpica-tools) is not installed\n");
        skip();
    }
    assert_int_equal(config_presets_list(&all, NULL), 0);
    assert_true(all.n >= 14);
    for (size_t i = 0; i < all.n; i++) {
        char dir[] = "/tmp/nv-preset-XXXXXX", command[512];

        assert_non_null(mkdtemp(dir));
        write_tables(all.name[i], dir);
        (void)snprintf(command, sizeof(command),
                       "cd %s && rm RSDP.dat && for t in *.dat; do s=${t%%.dat}; "
                       "iasl -d $t >>log 2>&1 && iasl -p again-$s $s.dsl >$s.said 2>&1; "
                       "grep -q ' 0 Errors, 0 Warnings, 0 Remarks' $s.said || exit 1; done", dir);
        if (system(command) != 0)
            fail_msg("iasl complains about a table of %s, see %s", all.name[i], dir);
        (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
        assert_int_equal(system(command), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(iasl_accepts_the_tables_of_every_preset),
    };

    return cmocka_run_group_tests_name("machine/presets", tests, NULL, NULL);
}
