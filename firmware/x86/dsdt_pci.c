/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI root bridges: one per virtual node, with the node as its proximity and one bus each, so
 * that a device sits on a node. There are no interrupt pins, hence no _PRT: every device
 * signals by MSI-X.
 */
#include <stdio.h>

#include "firmware/aml.h"
#include "firmware/x86/acpi_x86.h"
#include "firmware/x86/x86_platform.h"

/* PCI Firmware Specification 3.3, 4.5.1. */
#define OSC_UUID "33db4d5b-1ff7-401c-9657-7441c03dd766"

enum {
    OSC_UNKNOWN_UUID = 1u << 2,
    OSC_UNKNOWN_REVISION = 1u << 3,
    OSC_MASKED = 1u << 4,
    /* Of the control field, the OS gets the PCI Express capability structures. Hot-plug, PME and
     * error reporting stay away: no device here has them. */
    OSC_GRANT = 1u << 4,
};

/* CDW1 |= @bit. */
static void osc_flag(struct bytebuf *b, uint64_t bit)
{
    aml_op_or(b);
    aml_name_string(b, "CDW1");
    aml_integer(b, bit);
    aml_name_string(b, "CDW1");
}

/* One method for all bridges: POSC (uuid, revision, buffer). Serialized, for it makes names. */
static void append_osc_method(struct bytebuf *b)
{
    size_t method = aml_method_begin(b, "POSC", 3, true), known, block;

    aml_create_dword_field(b, AML_ARG2, 0, "CDW1");
    known = aml_if_begin(b);
    aml_op_equal(b);
    aml_term(b, AML_ARG0);
    aml_uuid(b, OSC_UUID);
    aml_create_dword_field(b, AML_ARG2, 8, "CDW3");
    aml_op_and(b);
    aml_name_string(b, "CDW3");
    aml_integer(b, OSC_GRANT);
    aml_term(b, AML_LOCAL0);

    block = aml_if_begin(b);
    aml_op_not_equal(b);
    aml_term(b, AML_ARG1);
    aml_integer(b, 1);
    osc_flag(b, OSC_UNKNOWN_REVISION);
    aml_end(b, block);

    block = aml_if_begin(b);
    aml_op_not_equal(b);
    aml_name_string(b, "CDW3");
    aml_term(b, AML_LOCAL0);
    osc_flag(b, OSC_MASKED);
    aml_end(b, block);

    aml_op_store(b);
    aml_term(b, AML_LOCAL0);
    aml_name_string(b, "CDW3");
    aml_end(b, known);

    block = aml_else_begin(b);
    osc_flag(b, OSC_UNKNOWN_UUID);
    aml_end(b, block);

    aml_op_return(b);
    aml_term(b, AML_ARG2);
    aml_end(b, method);
}

static void append_osc_call(struct bytebuf *b)
{
    size_t method = aml_method_begin(b, "_OSC", 4, false);

    aml_op_return(b);
    aml_name_string(b, "POSC");
    aml_term(b, AML_ARG0);
    aml_term(b, AML_ARG1);
    aml_term(b, AML_ARG3);
    aml_end(b, method);
}

/* Bridge 0 has the I/O ports too, all but those of configuration mechanism #1, which it takes
 * itself: the legacy devices are behind it. */
static void append_io_windows(struct bytebuf *b)
{
    aml_res_io(b, PLATFORM_PCI_CF8, 8);
    aml_res_io_window(b, 0, PLATFORM_PCI_CF8 - 1);
    aml_res_io_window(b, PLATFORM_PCI_CF8 + 8, UINT16_MAX);
}

static void append_bridge(struct bytebuf *b, const struct layout_bridge *bridge)
{
    char name[12];
    size_t dev, res;

    (void)snprintf(name, sizeof(name), "PC%02X", bridge->bus);
    dev = aml_device_begin(b, name);
    aml_name_eisa_id(b, "_HID", "PNP0A08");
    aml_name_eisa_id(b, "_CID", "PNP0A03");
    aml_name_integer(b, "_UID", bridge->bus);
    aml_name_integer(b, "_SEG", 0);
    aml_name_integer(b, "_BBN", bridge->bus);
    aml_name_integer(b, "_PXM", bridge->vnode.v);
    res = aml_crs_begin(b);
    aml_res_bus_window(b, bridge->bus, bridge->bus);
    if (bridge->bus == 0)
        append_io_windows(b);
    if (bridge->mmio32_len != 0)
        aml_res_memory32_window(b, (uint32_t)bridge->mmio32_base,
                                (uint32_t)(bridge->mmio32_base + bridge->mmio32_len - 1));
    if (bridge->mmio64_len != 0)
        aml_res_memory64_window(b, bridge->mmio64_base,
                                bridge->mmio64_base + bridge->mmio64_len - 1);
    aml_resources_end(b, res);
    append_osc_call(b);
    aml_end(b, dev);
}

void dsdt_append_bridges(struct bytebuf *b, const struct acpi_input *in)
{
    append_osc_method(b);
    for (size_t i = 0; i < in->layout->n_bridges; i++)
        append_bridge(b, &in->layout->bridges[i]);
}
