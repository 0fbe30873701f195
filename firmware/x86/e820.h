/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory map that every boot protocol hands over, made once from the layout.
 *
 * The type numbers are those of E820, which PVH and multiboot share. Neighbouring RAM of
 * several nodes is one entry: nodes are SRAT's business.
 */
#ifndef FIRMWARE_X86_E820_H
#define FIRMWARE_X86_E820_H

#include <stddef.h>
#include <stdint.h>

#include "memory/layout.h"
#include "vmm/base/errctx.h"

/* As many as the zero page of Linux holds. */
enum { E820_MAX_ENTRIES = 128 };
enum e820_type { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3 };

struct e820_entry {
    uint64_t base, len_bytes;
    enum e820_type type;
};

struct e820_map {
    size_t n;
    struct e820_entry entry[E820_MAX_ENTRIES]; /* sorted, never overlapping */
};

/**
 * e820_make() - @acpi_base: start of the ACPI tables, which end at layout->low_end.
 * Return: 0, or -ERANGE when there are too many pieces.
 */
int e820_make(const struct mem_layout *layout, struct gpa acpi_base, struct e820_map *ret_map,
              struct errctx *ec);

#endif
