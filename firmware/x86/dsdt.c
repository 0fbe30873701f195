/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Differentiated System Description Table (ACPI 6.5, 5.2.11.1): the devices that cannot be
 * found by probing. The serial port, the RTC, the generic event device with the power button, what
 * is reserved, soft off; the processors are in dsdt_cpus.c, the root bridges in dsdt_pci.c.
 */
#include <errno.h>
#include <stdio.h>

#include "firmware/aml.h"
#include "firmware/x86/acpi_x86.h"
#include "firmware/x86/x86_platform.h"
#include "vmm/base/macros.h"

/* DSDT revision 2: integers have 64 bits. */
enum { DSDT_REVISION = 2, POWER_BUTTON_PRESSED = 0x80 };

static size_t begin_pnp_device(struct bytebuf *b, const char *name, const char *hid)
{
    size_t dev = aml_device_begin(b, name);

    aml_name_eisa_id(b, "_HID", hid);
    return dev;
}

/* What a part of the ISA bus takes: @n ports from @port on, and an edge-triggered line. */
static void end_isa_device(struct bytebuf *b, size_t dev, uint16_t port, uint8_t n, uint32_t irq)
{
    size_t res = aml_crs_begin(b);

    aml_res_io(b, port, n);
    aml_res_irq_edge(b, irq);
    aml_resources_end(b, res);
    aml_end(b, dev);
}

static void append_serial(struct bytebuf *b)
{
    size_t dev = begin_pnp_device(b, "COM1", "PNP0501");

    aml_name_integer(b, "_UID", 0);
    end_isa_device(b, dev, PLATFORM_SERIAL_PORT, 8, PLATFORM_SERIAL_IRQ);
}

static void append_rtc(struct bytebuf *b)
{
    size_t dev = begin_pnp_device(b, "RTC_", "PNP0B00");

    end_isa_device(b, dev, PLATFORM_RTC_PORT, 2, PLATFORM_RTC_IRQ);
}

static void append_power_button(struct bytebuf *b)
{
    size_t dev = begin_pnp_device(b, "PWRB", "PNP0C0C");

    aml_name_integer(b, "_UID", 0);
    aml_end(b, dev);
}

/* Read what is pending, clear just that, tell the devices. */
static void append_event_method(struct bytebuf *b, bool with_cpus)
{
    size_t method = aml_method_begin(b, "_EVT", 1, true), block;

    aml_op_store(b);
    aml_name_string(b, "PEND");
    aml_term(b, AML_LOCAL0);
    aml_op_store(b);
    aml_term(b, AML_LOCAL0);
    aml_name_string(b, "PEND");
    block = aml_if_begin(b);
    aml_op_and(b);
    aml_term(b, AML_LOCAL0);
    aml_integer(b, PLATFORM_GED_POWER);
    aml_term(b, 0);
    aml_op_notify(b);
    aml_name_string(b, "PWRB");
    aml_integer(b, POWER_BUTTON_PRESSED);
    aml_end(b, block);
    if (with_cpus) {
        block = aml_if_begin(b);
        aml_op_and(b);
        aml_term(b, AML_LOCAL0);
        aml_integer(b, PLATFORM_GED_CPU);
        aml_term(b, 0);
        aml_name_string(b, "CSCN");
        aml_end(b, block);
    }
    aml_end(b, method);
}

/* Generic event device (5.6.9). */
static void append_event_device(struct bytebuf *b, bool with_cpus)
{
    size_t dev = aml_device_begin(b, "GED_"), res;

    aml_name_string_value(b, "_HID", "ACPI0013");
    aml_name_integer(b, "_UID", 0);
    res = aml_crs_begin(b);
    aml_res_irq_edge(b, PLATFORM_GED_IRQ);
    aml_resources_end(b, res);
    aml_op_region(b, "EVTR", AML_SYSTEM_IO, PLATFORM_GED_PORT, 1);
    aml_field_u8(b, "EVTR", "PEND");
    append_event_method(b, with_cpus);
    aml_end(b, dev);
}

/* Taken addresses that no other device claims: ECAM (PCI Firmware Specification 3.3, 4.1.2
 * wants it here), the block of CPUs, the power block, the debug-exit port. */
static void append_reserved(struct bytebuf *b, bool with_cpus)
{
    size_t dev = begin_pnp_device(b, "MBRD", "PNP0C02"), res;

    aml_name_integer(b, "_UID", 0);
    res = aml_crs_begin(b);
    aml_res_memory32(b, (uint32_t)X86_ECAM_BASE, (uint32_t)X86_ECAM_LEN);
    if (with_cpus)
        aml_res_memory32(b, (uint32_t)PLATFORM_CPU_BASE, (uint32_t)PLATFORM_CPU_LEN);
    aml_res_io(b, PLATFORM_DEBUG_EXIT, 1);
    aml_res_io(b, PLATFORM_SLEEP_CONTROL, 1);
    aml_res_io(b, PLATFORM_SLEEP_STATUS, 1);
    aml_res_io(b, PLATFORM_GED_PORT, 1);
    aml_resources_end(b, res);
    aml_end(b, dev);
}

/* \_S5 (7.4.2.6): what to write into SLP_TYP for soft off. */
static void append_soft_off(struct bytebuf *b)
{
    size_t package;

    aml_name(b, "_S5_");
    package = aml_package_begin(b, 4);
    aml_integer(b, PLATFORM_S5_TYPE);
    for (int i = 0; i < 3; i++)
        aml_integer(b, 0);
    aml_end(b, package);
}

int dsdt_append(struct bytebuf *b, const struct acpi_input *in, struct errctx *ec)
{
    const bool with_cpus = dsdt_has_later_cpus(in->plan);
    size_t off, scope;
    int r;

    if (in->layout->n_bridges == 0 || in->layout->n_bridges > X86_ECAM_LEN / MIB)
        return errctx_set(ec, ERANGE, "%zu PCI root bridges do not fit one segment's %llu buses",
                          in->layout->n_bridges, X86_ECAM_LEN / MIB);
    off = acpi_table_begin(b, "DSDT", DSDT_REVISION);
    append_soft_off(b);
    scope = aml_scope_begin(b, "_SB_");
    r = dsdt_append_cpus(b, in->plan, ec);
    if (r < 0)
        return r;
    append_power_button(b);
    append_event_device(b, with_cpus);
    append_serial(b);
    append_rtc(b);
    append_reserved(b, with_cpus);
    dsdt_append_bridges(b, in);
    aml_end(b, scope);
    acpi_table_end(b, off);
    return 0;
}
