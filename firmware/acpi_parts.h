/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts that acpi_build() puts together: what a table is made from, and one function each.
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

/* APIC ids below this are told by Local APIC structures, the others by x2APIC ones. ACPI 6.5,
 * 5.2.12.12: processors with ids below 255 must use the former, since an OS that does not know
 * x2APIC must find them; 255 itself is the broadcast id of xAPIC mode. */
enum { ACPI_FIRST_X2APIC_ID = 255 };

struct acpi_input {
    const struct topo_plan *plan;
    const struct mem_layout *layout;
    struct gpa base; /* guest address of the blob */
};

int dsdt_append(struct bytebuf *b, const struct acpi_input *in, struct errctx *ec);
/** @dsdt_off: where the DSDT is in the blob. */
void fadt_append(struct bytebuf *b, const struct acpi_input *in, size_t dsdt_off);
/** dsdt_append_cpus() - the processors, below \_SB. Return: 0 or as madt_append(). */
int dsdt_append_cpus(struct bytebuf *b, const struct topo_plan *plan, struct errctx *ec);
bool dsdt_has_later_cpus(const struct topo_plan *plan);
/** madt_append_cpu() - the structure of one processor, of madt_cpu_bytes(), which is @there or may
 *  come. Return: 0 or -ERANGE. */
int madt_append_cpu(struct bytebuf *b, const struct topo_plan_vcpu *cpu, bool there,
                    struct errctx *ec);
size_t madt_cpu_bytes(const struct topo_plan_vcpu *cpu);
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
