/* SPDX-License-Identifier: Apache-2.0 */
/* The one rule for where the tables lie: as high as they fit below 4 GiB, on a page of their own. */
#include <errno.h>
#include <inttypes.h>

#include "firmware/acpi.h"
#include "firmware/x86/x86_map.h"
#include "vmm/base/checked.h"

enum { PAGE_BYTES = 4096 };

int acpi_build_in_place(const struct topo_plan *plan, const struct mem_layout *layout,
                        struct acpi_tables *ret_tables, struct gpa *ret_base, struct errctx *ec)
{
    struct acpi_tables sized;
    struct gpa base;
    size_t len;
    int r = acpi_build(plan, layout, (struct gpa){ 0 }, &sized, ec);

    if (r < 0)
        return r;
    len = sized.len;
    acpi_tables_fini(&sized);
    if (len > layout->low_end || layout->low_end - len < X86_BIOS_END)
        return errctx_set(ec, E2BIG,
                          "%zu bytes of ACPI tables do not fit the RAM that ends at 0x%" PRIx64,
                          len, layout->low_end);
    base.v = align_down(layout->low_end - len, PAGE_BYTES);
    r = acpi_build(plan, layout, base, ret_tables, ec);
    if (r == 0)
        *ret_base = base;
    return r;
}
