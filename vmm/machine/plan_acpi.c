/* SPDX-License-Identifier: Apache-2.0 */
/* See plan_acpi.h. */
#include "vmm/machine/plan_acpi.h"

#include <cpuid.h>

#include "firmware/acpi.h"
#include "memory/layout.h"

enum { PHYS_BITS_MIN = 36 };

/* CPUID 0x80000008 EAX[7:0]; KVM passes it on to guests. */
static unsigned physical_bits(void)
{
    unsigned eax = 0, ebx, ecx, edx;

    if (__get_cpuid(0x80000008, &eax, &ebx, &ecx, &edx) == 0 || (eax & 0xff) < PHYS_BITS_MIN)
        return PHYS_BITS_MIN;
    return eax & 0xff;
}

int plan_acpi_write(const struct topo_plan *plan, const char *dir, struct errctx *ec)
{
    struct mem_layout *layout;
    struct acpi_tables tables;
    struct gpa base;
    int r = mem_layout_make(plan, physical_bits(), &layout, ec);

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
