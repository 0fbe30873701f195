/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts that acpi_build() puts together: what a table is made from, and a function for each of
 * those that are the same on all architectures; the others are in the folder of theirs.
 *
 * Revisions and lengths are those of ACPI 6.5 chapter 5.2. A table function fails only when a
 * number of the plan does not fit its field.
 */
#ifndef FIRMWARE_ACPI_PARTS_H
#define FIRMWARE_ACPI_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "firmware/acpi.h"
#include "firmware/acpi_table.h"
#include "firmware/bytebuf.h"

struct acpi_input {
    const struct topo_plan *plan;
    const struct mem_layout *layout;
    struct gpa base; /* guest address of the blob */
};

int slit_append(struct bytebuf *b, const struct acpi_input *in, struct errctx *ec);
void mcfg_append(struct bytebuf *b, const struct acpi_input *in);
/** hmat_wanted() - true when the plan says more about memory than SRAT and SLIT can. */
bool hmat_wanted(const struct topo_plan *plan);
int hmat_append(struct bytebuf *b, const struct acpi_input *in, struct errctx *ec);
/** @tables: those made so far; every one but the DSDT, which the FADT names, is listed. */
void xsdt_append(struct bytebuf *b, const struct acpi_input *in, const struct acpi_tables *tables);
void rsdp_make(struct gpa xsdt, uint8_t ret_rsdp[ACPI_RSDP_BYTES]);

#endif
