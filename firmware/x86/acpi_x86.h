/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables that differ from one architecture to another, of those that acpi_build() puts
 * together: processors by APIC id, interrupt lines, ports, and memory with the legacy hole.
 */
#ifndef FIRMWARE_X86_ACPI_X86_H
#define FIRMWARE_X86_ACPI_X86_H

#include <stdbool.h>

#include "firmware/acpi_parts.h"
#include "firmware/x86/x86_map.h"

/* APIC ids below this are told by Local APIC structures, the others by x2APIC ones. ACPI 6.5,
 * 5.2.12.12: processors with ids below 255 must use the former, since an OS that does not know
 * x2APIC must find them; 255 itself is the broadcast id of xAPIC mode. */
enum { ACPI_FIRST_X2APIC_ID = 255 };

int dsdt_append(struct bytebuf *b, const struct acpi_input *in, struct errctx *ec);
/** dsdt_append_bridges() - the PCI root bridges, below \_SB. */
void dsdt_append_bridges(struct bytebuf *b, const struct acpi_input *in);
/** dsdt_append_cpus() - the processors, below \_SB. Return: 0 or as madt_append(). */
int dsdt_append_cpus(struct bytebuf *b, const struct topo_plan *plan, struct errctx *ec);
bool dsdt_has_later_cpus(const struct topo_plan *plan);
/** @dsdt_off: where the DSDT is in the blob. */
void fadt_append(struct bytebuf *b, const struct acpi_input *in, size_t dsdt_off);
/** madt_append_cpu() - the structure of one processor, of madt_cpu_bytes(), which is @there or may
 *  come. Return: 0 or -ERANGE. */
int madt_append_cpu(struct bytebuf *b, const struct topo_plan_vcpu *cpu, bool there,
                    struct errctx *ec);
size_t madt_cpu_bytes(const struct topo_plan_vcpu *cpu);
int madt_append(struct bytebuf *b, const struct acpi_input *in, struct errctx *ec);
void srat_append(struct bytebuf *b, const struct acpi_input *in);

#endif
