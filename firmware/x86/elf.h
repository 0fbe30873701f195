/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF executables for x86, 32- and 64-bit, read piece by piece and never believed: program
 * headers, the PVH note, and the loading of segments to their physical addresses.
 */
#ifndef FIRMWARE_X86_ELF_H
#define FIRMWARE_X86_ELF_H

#include <stdbool.h>
#include <stdint.h>

#include "firmware/image.h"
#include "vmm/base/errctx.h"

struct boot;

struct elf_image {
    const struct image *img; /* borrowed */
    bool is_64;
    uint64_t entry;
    uint64_t phdr_off;
    uint32_t n_phdrs;
    bool has_pvh_entry;
    uint32_t pvh_entry; /* XEN_ELFNOTE_PHYS32_ENTRY */
};

/* One program header, whatever its width. */
struct elf_segment {
    uint32_t type;
    uint64_t off, vaddr, paddr, file_bytes, mem_bytes;
};

/** elf_probe() - 1 when the file begins as ELF does, 0 when not, or a negative errno. */
int elf_probe(const struct image *img, struct errctx *ec);

/** elf_open() - read and check the file header. Return: 0, -ENOEXEC, or a read's errno. */
int elf_open(const struct image *img, struct elf_image *ret_elf, struct errctx *ec);

/** elf_segment() - program header @i < n_phdrs, its file part checked to be in the file. */
int elf_segment(const struct elf_image *elf, uint32_t i, struct elf_segment *ret_segment,
                struct errctx *ec);

/** elf_find_pvh_entry() - look through the notes; sets has_pvh_entry and pvh_entry. */
int elf_find_pvh_entry(struct elf_image *elf, struct errctx *ec);

/** elf_load() - every PT_LOAD segment to its physical address. The rest of a segment beyond its
 *  file part is zero because guest memory is. Return: 0, -ENOEXEC (no segment, contradiction),
 *  -E2BIG (beyond RAM), or a read's errno. */
int elf_load(const struct elf_image *elf, struct boot *boot, struct errctx *ec);

/** elf_check_phys() - that the entry at physical @addr is in a loaded segment; -ENOEXEC if not. */
int elf_check_phys(const struct elf_image *elf, uint64_t addr, struct errctx *ec);

/** elf_phys_entry() - the physical address of the entry point, as the segment that holds it
 *  says; -ENOEXEC when none does or it is above 4 GiB. */
int elf_phys_entry(const struct elf_image *elf, uint32_t *ret_entry, struct errctx *ec);

#endif
