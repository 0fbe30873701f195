/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multiple APIC Description Table (ACPI 6.5, 5.2.12): the processors and the I/O APIC.
 *
 * There is no 8259 pair (PCAT_COMPAT clear), so GSIs are the I/O APIC's pins and no source is
 * overridden; edge and level are told by the devices' resources in the DSDT. No NMI source
 * exists, so none is described.
 */
#include <errno.h>

#include "firmware/x86/acpi_x86.h"
#include "firmware/x86/x86_platform.h"
#include "vmm/topology/topo_limits.h"

enum {
    MADT_REVISION = 6,
    TYPE_LOCAL_APIC = 0,
    TYPE_IO_APIC = 1,
    TYPE_LOCAL_X2APIC = 9,
    CPU_ENABLED = 1,
    CPU_ONLINE_CAPABLE = 2, /* not there, but may come */
};

/* An id below the first of x2APIC is told by a structure whose number has 8 bits, and kernels ignore
 * such a processor in the wider structure (ACPI 6.5, 5.2.12.2 and 5.2.12.12). */
_Static_assert(TOPO_NARROW_APIC_ID == ACPI_FIRST_X2APIC_ID - 1 && TOPO_NARROW_CPU == UINT8_MAX,
               "every processor of a plan can be told");

size_t madt_cpu_bytes(const struct topo_plan_vcpu *cpu)
{
    return cpu->apic_id >= ACPI_FIRST_X2APIC_ID ? 16 : 8;
}

int madt_append_cpu(struct bytebuf *b, const struct topo_plan_vcpu *cpu, bool there,
                    struct errctx *ec)
{
    const uint32_t flags = there ? CPU_ENABLED : CPU_ONLINE_CAPABLE;

    if (cpu->apic_id >= ACPI_FIRST_X2APIC_ID) {
        bytebuf_u8(b, TYPE_LOCAL_X2APIC);
        bytebuf_u8(b, 16);
        bytebuf_u16(b, 0);
        bytebuf_u32(b, cpu->apic_id);
        bytebuf_u32(b, flags);
        bytebuf_u32(b, cpu->id.v);
        return 0;
    }
    if (cpu->id.v > UINT8_MAX)
        return errctx_set(ec, ERANGE, "vCPU %u has APIC id %u, which the MADT cannot say",
                          cpu->id.v, cpu->apic_id);
    bytebuf_u8(b, TYPE_LOCAL_APIC);
    bytebuf_u8(b, 8);
    bytebuf_u8(b, (uint8_t)cpu->id.v);
    bytebuf_u8(b, (uint8_t)cpu->apic_id);
    bytebuf_u32(b, flags);
    return 0;
}

int madt_append(struct bytebuf *b, const struct acpi_input *in, struct errctx *ec)
{
    size_t off = acpi_table_begin(b, "APIC", MADT_REVISION);

    bytebuf_u32(b, (uint32_t)X86_LAPIC_BASE);
    bytebuf_u32(b, 0); /* flags */
    for (size_t i = 0; i < in->plan->n_vcpus; i++) {
        int r = madt_append_cpu(b, &in->plan->vcpus[i], !in->plan->vcpus[i].later, ec);

        if (r < 0)
            return r;
    }
    bytebuf_u8(b, TYPE_IO_APIC);
    bytebuf_u8(b, 12);
    bytebuf_u8(b, PLATFORM_IOAPIC_ID);
    bytebuf_u8(b, 0);
    bytebuf_u32(b, (uint32_t)X86_IOAPIC_BASE);
    bytebuf_u32(b, 0); /* first GSI */
    acpi_table_end(b, off);
    return 0;
}
