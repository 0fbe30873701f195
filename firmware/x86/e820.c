/* SPDX-License-Identifier: Apache-2.0 */
#include "firmware/x86/e820.h"

#include <errno.h>
#include <stdbool.h>

#include "firmware/x86/x86_map.h"
#include "vmm/base/macros.h"

/* Append [start, end); joins what touches and is of one type. Return: false when full. */
static bool append(struct e820_map *map, uint64_t start, uint64_t end, enum e820_type type)
{
    struct e820_entry *last = map->n ? &map->entry[map->n - 1] : NULL;

    if (start >= end)
        return true;
    if (last != NULL && last->type == type && last->base + last->len_bytes == start) {
        last->len_bytes += end - start;
        return true;
    }
    if (map->n == E820_MAX_ENTRIES)
        return false;
    map->entry[map->n++] =
        (struct e820_entry){ .base = start, .len_bytes = end - start, .type = type };
    return true;
}

/* RAM below 4 GiB: without the legacy hole, and without the tables at its end. */
static bool append_low(struct e820_map *map, const struct layout_range *range, uint64_t acpi_base)
{
    uint64_t start = range->base.v, end = start + range->len_bytes;

    if (start == 0) {
        if (!append(map, 0, X86_ISA_HOLE_START, E820_RAM) ||
            !append(map, X86_BIOS_START, X86_BIOS_END, E820_RESERVED))
            return false;
        start = X86_BIOS_END;
    }
    return append(map, start, MIN(end, acpi_base), E820_RAM) &&
           append(map, MAX(start, acpi_base), end, E820_ACPI);
}

int e820_make(const struct mem_layout *layout, struct gpa acpi_base, struct e820_map *ret_map,
              struct errctx *ec)
{
    struct e820_map map = { 0 };
    bool ok = true, ecam_done = false;

    for (size_t i = 0; ok && i < layout->n_ranges; i++) {
        const struct layout_range *range = &layout->ranges[i];

        if (range->kind != LAYOUT_RAM)
            continue;
        if (range->base.v < X86_HIGH_BASE) {
            ok = append_low(&map, range, acpi_base.v);
            continue;
        }
        if (!ecam_done) /* it lies between the two parts of RAM */
            ok = append(&map, X86_ECAM_BASE, X86_ECAM_BASE + X86_ECAM_LEN, E820_RESERVED);
        ecam_done = true;
        ok = ok && append(&map, range->base.v, range->base.v + range->len_bytes, E820_RAM);
    }
    if (ok && !ecam_done)
        ok = append(&map, X86_ECAM_BASE, X86_ECAM_BASE + X86_ECAM_LEN, E820_RESERVED);
    if (!ok)
        return errctx_set(ec, ERANGE, "guest memory is in more than %d pieces", E820_MAX_ENTRIES);
    *ret_map = map;
    return 0;
}
