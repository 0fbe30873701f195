/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fixed ACPI Description Table (ACPI 6.5, 5.2.9), hardware-reduced: no PM1 block, no SCI, no
 * 8259, no timer. Events come through the generic event device, soft off through the sleep
 * control register, reset through the reset control port.
 */
#include "firmware/x86/acpi_x86.h"
#include "firmware/x86/x86_platform.h"

enum {
    FADT_REVISION = 6,
    FADT_MINOR = 5,
    FADT_BYTES = 276,

    IAPC_LEGACY_DEVICES = 1u << 0, /* the serial port a person can see */
    IAPC_NO_VGA = 1u << 2,
    IAPC_NO_ASPM = 1u << 4,
    /* Not set: 8042 present (there is none), MSI not supported, RTC not present. */

    FLAG_WBINVD = 1u << 0,
    FLAG_PROC_C1 = 1u << 2,
    FLAG_PWR_BUTTON = 1u << 4, /* a control-method device, not a fixed one */
    FLAG_SLP_BUTTON = 1u << 5, /* no fixed sleep button */
    FLAG_FIX_RTC = 1u << 6,    /* RTC wake status is not in fixed registers */
    FLAG_RESET_REG = 1u << 10,
    FLAG_APIC_PHYSICAL = 1u << 19,
    FLAG_HW_REDUCED = 1u << 20,

    LOGICAL_FLAT_CPUS = 8, /* the flat logical mode of the xAPIC addresses no more */
    C2_UNSUPPORTED = 101,  /* microseconds; above 100 means none (5.2.9) */
    C3_UNSUPPORTED = 1001,
};

static uint32_t flags(const struct topo_plan *plan)
{
    uint32_t f = FLAG_WBINVD | FLAG_PROC_C1 | FLAG_PWR_BUTTON | FLAG_SLP_BUTTON | FLAG_FIX_RTC |
                 FLAG_RESET_REG | FLAG_HW_REDUCED;

    return plan->max_apic_id >= LOGICAL_FLAT_CPUS ? f | FLAG_APIC_PHYSICAL : f;
}

void fadt_append(struct bytebuf *b, const struct acpi_input *in, size_t dsdt_off)
{
    uint64_t dsdt = in->base.v + dsdt_off;
    size_t off = acpi_table_begin(b, "FACP", FADT_REVISION);

    bytebuf_u32(b, 0); /* FACS: none on hardware-reduced systems */
    bytebuf_u32(b, dsdt <= UINT32_MAX ? (uint32_t)dsdt : 0);
    bytebuf_zeros(b, 96 - 44); /* to P_LVL2_LAT: fixed hardware that does not exist */
    bytebuf_u16(b, C2_UNSUPPORTED);
    bytebuf_u16(b, C3_UNSUPPORTED);
    bytebuf_zeros(b, 108 - 100); /* flush size and stride, duty: unused with WBINVD */
    bytebuf_u8(b, 0);            /* CENTURY: the RTC keeps none that the OS should use */
    bytebuf_u16(b, IAPC_LEGACY_DEVICES | IAPC_NO_VGA | IAPC_NO_ASPM);
    bytebuf_u8(b, 0);
    bytebuf_u32(b, flags(in->plan));
    acpi_generic_port(b, PLATFORM_RESET_PORT);
    bytebuf_u8(b, PLATFORM_RESET_VALUE);
    bytebuf_u16(b, 0); /* ARM_BOOT_ARCH */
    bytebuf_u8(b, FADT_MINOR);
    bytebuf_u64(b, 0); /* X_FIRMWARE_CTRL */
    bytebuf_u64(b, dsdt);
    bytebuf_zeros(b, 244 - 148); /* X_PM1a_EVT_BLK .. X_GPE1_BLK */
    acpi_generic_port(b, PLATFORM_SLEEP_CONTROL);
    acpi_generic_port(b, PLATFORM_SLEEP_STATUS);
    bytebuf_put(b, "NUMAVISR", 8); /* hypervisor vendor identity */
    if (!b->failed && b->len - off != FADT_BYTES)
        b->failed = true; /* our own miscount, never the plan's */
    acpi_table_end(b, off);
}
