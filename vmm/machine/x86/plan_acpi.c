/* SPDX-License-Identifier: Apache-2.0 */
/* See plan_acpi.h. */
#include "vmm/machine/plan_acpi.h"

#include "firmware/acpi.h"
#include "memory/layout.h"
#include "vmm/machine/machine_config.h"

int plan_acpi_write(const struct topo_plan *plan, const char *dir, struct errctx *ec)
{
    struct mem_layout *layout;
    struct acpi_tables tables;
    struct gpa base;
    int r = machine_config_layout(plan, &layout, ec);

    if (r < 0)
        return r;
    r = acpi_build_in_place(plan, layout, &tables, &base, ec);
    if (r == 0) {
        r = acpi_write_files(&tables, dir, ec);
        acpi_tables_fini(&tables);
    }
    mem_layout_free(layout);
    return r;
}
