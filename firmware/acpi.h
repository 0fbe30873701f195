/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables of one machine, as bytes.
 *
 * acpi_build() is in the folder of an architecture whose machines have them. It makes every table
 * from the plan, the layout and the platform constants, pure and deterministic; the same bytes go
 * into guest memory, into the folder that `numavisor plan --acpi` writes, and into the golden files
 * of the tests. Tables refer to each other by guest physical address, so the place of the blob is
 * an input.
 */
#ifndef FIRMWARE_ACPI_H
#define FIRMWARE_ACPI_H

#include <stddef.h>
#include <stdint.h>

#include "memory/layout.h"
#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"
#include "vmm/topology/topo_plan.h"

enum { ACPI_MAX_TABLES = 16, ACPI_RSDP_BYTES = 36 };

struct acpi_table {
    char signature[5]; /* "SRAT", zero-terminated; also the file name's stem */
    size_t off, len;   /* within the blob */
};

struct acpi_tables {
    uint8_t *blob; /* every table but the RSDP, each 64-byte aligned; to be placed at @base */
    size_t len;
    uint8_t rsdp[ACPI_RSDP_BYTES]; /* to be placed where guests look for it */
    struct acpi_table table[ACPI_MAX_TABLES];
    size_t n_tables;
};

/**
 * acpi_build() - make the tables (ACPI 6.5).
 * @base: where the caller will place the blob; 64-byte aligned. The length does not depend on
 *        it, so a caller may build twice to learn the length first.
 * Return: 0, -ENOMEM, or -ERANGE (a table would exceed what its fields can hold).
 */
int acpi_build(const struct topo_plan *plan, const struct mem_layout *layout, struct gpa base,
               struct acpi_tables *ret_tables, struct errctx *ec);
void acpi_tables_fini(struct acpi_tables *tables);

/** acpi_build_in_place() - build the tables for the place they have in guest memory, the end of
 *  the RAM below 4 GiB. Return: as acpi_build(), or -E2BIG when they do not fit there. */
int acpi_build_in_place(const struct topo_plan *plan, const struct mem_layout *layout,
                        struct acpi_tables *ret_tables, struct gpa *ret_base,
                        struct errctx *ec);

/** acpi_write_files() - RSDP.dat, XSDT.dat, DSDT.dat, ... below @dir, which is made if missing.
 *  Return: 0 or the errno of the file operation with its path. */
int acpi_write_files(const struct acpi_tables *tables, const char *dir, struct errctx *ec);

#endif
