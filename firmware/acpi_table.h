/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files that make one ACPI table each share: the header, and their functions.
 *
 * A table file appends its table to the blob between acpi_table_begin() and acpi_table_end().
 * Revisions and lengths are those of ACPI 6.5 chapter 5.2. Running out of memory is noted in
 * the buffer and reported once by acpi_build(); a table function fails only when a number of
 * the plan does not fit its field.
 */
#ifndef FIRMWARE_ACPI_TABLE_H
#define FIRMWARE_ACPI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "firmware/acpi.h"
#include "firmware/bytebuf.h"

enum { ACPI_HEADER_BYTES = 36 };

/* APIC ids below this are told by Local APIC structures, the others by x2APIC ones. ACPI 6.5,
 * 5.2.12.12: processors with ids below 255 must use the former, since an OS that does not know
 * x2APIC must find them; 255 itself is the broadcast id of xAPIC mode. */
enum { ACPI_FIRST_X2APIC_ID = 255 };

struct acpi_input {
    const struct topo_plan *plan;
    const struct mem_layout *layout;
    struct gpa base; /* guest address of the blob */
};

/** acpi_table_begin() - align, append a header. Return: the table's offset in the blob. */
size_t acpi_table_begin(struct bytebuf *b, const char *signature, uint8_t revision);
/** acpi_table_end() - fill in length and checksum of the table at @off. */
void acpi_table_end(struct bytebuf *b, size_t off);
uint8_t acpi_checksum(const uint8_t *bytes, size_t len);

/** acpi_generic_port() - a 12-byte Generic Address Structure for a byte-wide I/O port. */
void acpi_generic_port(struct bytebuf *b, uint16_t port);

int dsdt_append(struct bytebuf *b, const struct acpi_input *in, struct errctx *ec);
/** @dsdt_off: where the DSDT is in the blob. */
void fadt_append(struct bytebuf *b, const struct acpi_input *in, size_t dsdt_off);
int madt_append(struct bytebuf *b, const struct acpi_input *in, struct errctx *ec);
void srat_append(struct bytebuf *b, const struct acpi_input *in);
int slit_append(struct bytebuf *b, const struct acpi_input *in, struct errctx *ec);
void mcfg_append(struct bytebuf *b, const struct acpi_input *in);
/** hmat_wanted() - true when the plan says more about memory than SRAT and SLIT can. */
bool hmat_wanted(const struct topo_plan *plan);
int hmat_append(struct bytebuf *b, const struct acpi_input *in, struct errctx *ec);
/** @tables: those made so far; every one but the DSDT, which the FADT names, is listed. */
void xsdt_append(struct bytebuf *b, const struct acpi_input *in, const struct acpi_tables *tables);
void rsdp_make(struct gpa xsdt, uint8_t ret_rsdp[ACPI_RSDP_BYTES]);

/** dsdt_append_bridges() - the PCI root bridges, below \_SB. */
void dsdt_append_bridges(struct bytebuf *b, const struct acpi_input *in);

#endif
