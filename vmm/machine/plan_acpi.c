/* SPDX-License-Identifier: Apache-2.0 */
/* See plan_acpi.h. */
#include "vmm/machine/plan_acpi.h"

#include <cpuid.h>
#include <errno.h>

#include "firmware/acpi.h"
#include "memory/layout.h"
#include "vmm/base/checked.h"

enum { PAGE_BYTES = 4096, PHYS_BITS_MIN = 36 };

/* CPUID 0x80000008 EAX[7:0]; KVM passes it on to guests. */
static unsigned physical_bits(void)
{
    unsigned eax = 0, ebx, ecx, edx;

    if (__get_cpuid(0x80000008, &eax, &ebx, &ecx, &edx) == 0 || (eax & 0xff) < PHYS_BITS_MIN)
        return PHYS_BITS_MIN;
    return eax & 0xff;
}

static int build_in_place(const struct topo_plan *plan, const struct mem_layout *layout,
                          struct acpi_tables *ret_tables, struct errctx *ec)
{
    struct gpa base;
    int r = acpi_build(plan, layout, (struct gpa){ 0 }, ret_tables, ec);

    if (r < 0)
        return r;
    if (ret_tables->len > layout->low_end) {
        r = errctx_set(ec, E2BIG, "%zu bytes of ACPI tables do not fit the guest's memory",
                       ret_tables->len);
        acpi_tables_fini(ret_tables);
        return r;
    }
    base.v = align_down(layout->low_end - ret_tables->len, PAGE_BYTES); /* as the loader does */
    acpi_tables_fini(ret_tables);
    return acpi_build(plan, layout, base, ret_tables, ec);
}

int plan_acpi_write(const struct topo_plan *plan, const char *dir, struct errctx *ec)
{
    struct mem_layout *layout;
    struct acpi_tables tables;
    int r = mem_layout_make(plan, physical_bits(), &layout, ec);

    if (r < 0)
        return r;
    r = build_in_place(plan, layout, &tables, ec);
    if (r == 0) {
        r = acpi_write_files(&tables, dir, ec);
        acpi_tables_fini(&tables);
    }
    mem_layout_free(layout);
    return r;
}
