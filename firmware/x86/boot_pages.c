/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The GDT, and identity page tables over the first 4 GiB, in which all boot data lies. 2 MiB
 * pages, since every 64-bit processor has them and 1 GiB pages are a feature that may be taken
 * away; six pages of tables in all. Linux maps an initrd above 4 GiB itself.
 */
#include <endian.h>

#include "firmware/x86/boot.h"
#include "vmm/base/macros.h"

enum {
    PTE_PRESENT_WRITE = 0x3,
    PTE_LARGE = 0x80,
    ENTRIES = 512,
    TABLE_BYTES = 4096,
    DIRECTORIES = 4, /* 1 GiB each */
};

static int write_page_tables(struct boot *boot, struct errctx *ec)
{
    uint64_t pml4 = BOOT_PAGE_TABLES, pdpt = pml4 + TABLE_BYTES, first_pd = pdpt + TABLE_BYTES;
    uint64_t entry[ENTRIES] = { htole64(pdpt | PTE_PRESENT_WRITE) };
    int r = boot_write(boot, pml4, entry, sizeof(entry), ec);

    for (uint64_t i = 0; i < DIRECTORIES; i++)
        entry[i] = htole64((first_pd + i * TABLE_BYTES) | PTE_PRESENT_WRITE);
    if (r == 0)
        r = boot_write(boot, pdpt, entry, sizeof(entry), ec);
    for (uint64_t d = 0; r == 0 && d < DIRECTORIES; d++) {
        for (uint64_t i = 0; i < ENTRIES; i++)
            entry[i] = htole64((d * ENTRIES + i) * 2 * MIB | PTE_PRESENT_WRITE | PTE_LARGE);
        r = boot_write(boot, first_pd + d * TABLE_BYTES, entry, sizeof(entry), ec);
    }
    return r;
}

int boot_pages_write(struct boot *boot, struct boot_entry *entry, struct errctx *ec)
{
    /* Flat: present, ring 0, accessed; code is 64-bit (L) or 32-bit (D). */
    const uint64_t code64 = 0x00af9b000000ffff, code32 = 0x00cf9b000000ffff;
    const uint64_t gdt[] = {
        0,
        0,
        htole64(entry->mode == BOOT_LONG64 ? code64 : code32),
        htole64(0x00cf93000000ffff),
    };
    int r = boot_write(boot, BOOT_GDT, gdt, sizeof(gdt), ec);

    entry->gdt_base = BOOT_GDT;
    entry->gdt_limit = sizeof(gdt) - 1;
    entry->rsp = BOOT_STACK_TOP;
    if (r < 0 || entry->mode != BOOT_LONG64)
        return r;
    entry->cr3 = BOOT_PAGE_TABLES;
    return write_page_tables(boot, ec);
}
