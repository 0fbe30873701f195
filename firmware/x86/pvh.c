/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF kernels by the x86/HVM direct boot ABI of Xen ("PVH", docs/misc/pvh.pandoc and
 * public/arch-x86/hvm/start_info.h there): 32-bit entry from the note, ebx at the start info of
 * version 1, with the memory map, the command line, the initrd as a module and the RSDP.
 */
#include <stddef.h>

#include "firmware/x86/boot.h"
#include "firmware/x86/elf.h"

#define START_INFO_MAGIC 0x336ec578u

enum {
    START_INFO_VERSION = 1,
    /* Linux copies this much and cuts the rest off without a word (COMMAND_LINE_SIZE). */
    PVH_CMDLINE_MAX = 2047,
};

struct start_info {
    uint32_t magic, version, flags, n_modules;
    uint64_t modules, cmdline, rsdp, memmap;
    uint32_t n_memmap, reserved;
};

struct start_module {
    uint64_t start, size_bytes, cmdline, reserved;
};

struct start_memmap {
    uint64_t base, len_bytes;
    uint32_t type, reserved;
};

/* All of it, as it lies at BOOT_INFO. */
struct start_block {
    struct start_info info;
    struct start_module module;
    struct start_memmap memmap[E820_MAX_ENTRIES];
};

_Static_assert(sizeof(struct start_info) == 56, "start info version 1");
_Static_assert(sizeof(struct start_block) <= BOOT_INFO_BYTES, "fits its place");

int pvh_load(struct boot *boot, const struct elf_image *elf, struct boot_entry *ret_entry,
             struct errctx *ec)
{
    struct boot_entry entry = { .mode = BOOT_PROT32, .rbx = BOOT_INFO, .rip = elf->pvh_entry };
    struct start_block block = {
        .info = {
            .magic = START_INFO_MAGIC,
            .version = START_INFO_VERSION,
            .cmdline = BOOT_CMDLINE,
            .rsdp = boot->rsdp.v,
            .memmap = BOOT_INFO + offsetof(struct start_block, memmap),
            .n_memmap = (uint32_t)boot->e820.n,
        },
    };
    int r = elf_load(elf, boot, ec);

    if (r == 0)
        r = elf_check_phys(elf, elf->pvh_entry, ec);
    if (r == 0)
        r = boot_write_cmdline(boot, "", boot_linux_cmdline(boot), PVH_CMDLINE_MAX, ec);
    if (r == 0)
        r = boot_place_initrd(boot, UINT32_MAX, false, &block.module.start, ec);
    if (r < 0)
        return r;
    if (boot->initrd.size_bytes != 0) {
        block.info.n_modules = 1;
        block.info.modules = BOOT_INFO + offsetof(struct start_block, module);
        block.module.size_bytes = boot->initrd.size_bytes;
    }
    for (size_t i = 0; i < boot->e820.n; i++)
        block.memmap[i] = (struct start_memmap){
            .base = boot->e820.entry[i].base,
            .len_bytes = boot->e820.entry[i].len_bytes,
            .type = boot->e820.entry[i].type,
        };
    r = boot_write(boot, BOOT_INFO, &block, sizeof(block), ec);
    if (r == 0)
        r = boot_pages_write(boot, &entry, ec);
    if (r == 0)
        *ret_entry = entry;
    return r;
}
