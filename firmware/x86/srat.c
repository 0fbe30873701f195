/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System Resource Affinity Table (ACPI 6.5, 5.2.16): which node each processor and each range
 * of memory belongs to. The kind of processor entry follows the MADT's (acpi_x86.h).
 *
 * The RAM at 0 is told in two parts, so that the legacy hole with the firmware's own memory is
 * not claimed by a node. Hotplug windows are enabled and hot-pluggable: the OS reserves their
 * node before anything is plugged there.
 */
#include "firmware/x86/acpi_x86.h"

enum {
    SRAT_REVISION = 3,
    TYPE_LOCAL_APIC = 0,
    TYPE_MEMORY = 1,
    TYPE_LOCAL_X2APIC = 2,
    TYPE_GENERIC_INITIATOR = 5,
    CPU_ENABLED = 1,
    MEMORY_ENABLED = 1u << 0,
    MEMORY_HOT_PLUGGABLE = 1u << 1,
    HANDLE_PCI = 1,
    INITIATOR_ENABLED = 1,
};

static void append_cpu(struct bytebuf *b, const struct topo_plan_vcpu *cpu)
{
    uint32_t domain = cpu->vnode.v;

    if (cpu->apic_id >= ACPI_FIRST_X2APIC_ID) {
        bytebuf_u8(b, TYPE_LOCAL_X2APIC);
        bytebuf_u8(b, 24);
        bytebuf_u16(b, 0);
        bytebuf_u32(b, domain);
        bytebuf_u32(b, cpu->apic_id);
        bytebuf_u32(b, CPU_ENABLED);
        bytebuf_u32(b, 0); /* clock domain */
        bytebuf_u32(b, 0);
        return;
    }
    bytebuf_u8(b, TYPE_LOCAL_APIC);
    bytebuf_u8(b, 16);
    bytebuf_u8(b, (uint8_t)domain);
    bytebuf_u8(b, (uint8_t)cpu->apic_id);
    bytebuf_u32(b, CPU_ENABLED);
    bytebuf_u8(b, 0); /* SAPIC EID */
    bytebuf_u8(b, (uint8_t)(domain >> 8));
    bytebuf_u16(b, (uint16_t)(domain >> 16));
    bytebuf_u32(b, 0); /* clock domain */
}

static void append_memory(struct bytebuf *b, uint32_t domain, uint64_t start, uint64_t end,
                          uint32_t flags)
{
    if (start >= end)
        return;
    bytebuf_u8(b, TYPE_MEMORY);
    bytebuf_u8(b, 40);
    bytebuf_u32(b, domain);
    bytebuf_u16(b, 0);
    bytebuf_u64(b, start);
    bytebuf_u64(b, end - start);
    bytebuf_u32(b, 0);
    bytebuf_u32(b, flags);
    bytebuf_u64(b, 0);
}

static void append_range(struct bytebuf *b, const struct layout_range *range)
{
    uint64_t start = range->base.v, end = start + range->len_bytes;
    uint32_t flags = MEMORY_ENABLED;

    if (range->kind == LAYOUT_HOTPLUG)
        flags |= MEMORY_HOT_PLUGGABLE;
    if (start < X86_ISA_HOLE_START) {
        append_memory(b, range->vnode.v, start,
                      end < X86_ISA_HOLE_START ? end : X86_ISA_HOLE_START, flags);
        start = X86_BIOS_END;
    }
    append_memory(b, range->vnode.v, start, end, flags);
}

/*
 * The device (5.2.16.6): the function at device 0 of the node's bus, which is there whatever else
 * the guest has. Devices that the user puts on the node are behind the same bridge.
 */
static void append_initiator(struct bytebuf *b, uint32_t domain, uint8_t bus)
{
    bytebuf_u8(b, TYPE_GENERIC_INITIATOR);
    bytebuf_u8(b, 32);
    bytebuf_u8(b, 0);
    bytebuf_u8(b, HANDLE_PCI);
    bytebuf_u32(b, domain);
    bytebuf_u16(b, 0);  /* segment */
    bytebuf_u8(b, bus); /* bytes of their own, no number of 16 bits */
    bytebuf_u8(b, 0);   /* device and function */
    bytebuf_zeros(b, 12);
    bytebuf_u32(b, INITIATOR_ENABLED);
    bytebuf_u32(b, 0);
}

void srat_append(struct bytebuf *b, const struct acpi_input *in)
{
    size_t off = acpi_table_begin(b, "SRAT", SRAT_REVISION);

    bytebuf_u32(b, 1); /* reserved, must be 1 */
    bytebuf_u64(b, 0);
    for (size_t i = 0; i < in->plan->n_vcpus; i++)
        append_cpu(b, &in->plan->vcpus[i]);
    for (size_t i = 0; i < in->layout->n_ranges; i++)
        append_range(b, &in->layout->ranges[i]);
    for (size_t i = 0; i < in->layout->n_bridges; i++)
        if (in->plan->nodes[in->layout->bridges[i].vnode.v].generic_initiator)
            append_initiator(b, in->layout->bridges[i].vnode.v, in->layout->bridges[i].bus);
    acpi_table_end(b, off);
}
