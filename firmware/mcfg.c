/* SPDX-License-Identifier: Apache-2.0 */
/* PCI Express memory mapped configuration (PCI Firmware Specification 3.3, 4.1.2): one segment,
 * one bus per root bridge, from bus 0. */
#include "firmware/acpi_parts.h"

void mcfg_append(struct bytebuf *b, const struct acpi_input *in)
{
    size_t off = acpi_table_begin(b, "MCFG", 1);

    bytebuf_u64(b, 0);
    bytebuf_u64(b, in->layout->ecam_base);
    bytebuf_u16(b, 0); /* segment */
    bytebuf_u8(b, 0);  /* first bus */
    bytebuf_u8(b, (uint8_t)(in->layout->n_bridges - 1));
    bytebuf_u32(b, 0);
    acpi_table_end(b, off);
}
