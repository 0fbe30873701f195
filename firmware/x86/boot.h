/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the loaders of the three image kinds share: where boot data lies, who may take which
 * memory, and the boot pages.
 *
 *   0x00000 .. 0x88000   free for images that load low
 *   0x88000 .. 0x8e000   identity page tables (64-bit entry)
 *   0x8e000              boot_params
 *   0x8f000              GDT, and the first stack below 0x90000
 *   0x90000              PVH start info, or multiboot info, with their lists
 *   0x91000 .. 0x99000   command line
 *   0xa0000 .. 1 MiB     legacy hole, RSDP at 0xe0000, reset vector at 0xffff0
 *   1 MiB   .. low_limit kernel from below, initrd from above
 *   low_limit ..         ACPI tables, to the end of the RAM below 4 GiB
 *
 * Linux takes memory below 640 KiB for its trampolines only after it has copied these; its
 * decompressor borrows the pages just below 0x9f000.
 */
#ifndef FIRMWARE_X86_BOOT_H
#define FIRMWARE_X86_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "firmware/image.h"
#include "firmware/loader.h"
#include "firmware/x86/e820.h"
#include "firmware/x86/x86_map.h"
#include "memory/guest_mem.h"
#include "vmm/base/errctx.h"

#define BOOT_DATA_START  0x88000ull
#define BOOT_PAGE_TABLES 0x88000ull
#define BOOT_PARAMS      0x8e000ull
#define BOOT_GDT         0x8f000ull
#define BOOT_STACK_TOP   0x90000ull
#define BOOT_INFO        0x90000ull
#define BOOT_CMDLINE     0x91000ull
#define BOOT_DATA_END    0x99000ull
#define BOOT_IMAGE_BASE  0x100000ull /* images from here up */

enum { BOOT_CMDLINE_BYTES = 0x8000, BOOT_INFO_BYTES = 0x1000 };

struct boot {
    const struct boot_source *src;
    struct guest_mem *mem;
    struct image kernel;
    struct image initrd; /* size 0: none */
    struct e820_map e820;
    struct gpa rsdp;
    uint64_t low_limit;                /* images end below this */
    uint64_t kernel_start, kernel_end; /* above 1 MiB, as far as claimed; 0, 0: nothing yet */
};

/** boot_claim() - the kernel takes [@start, @start+@len). Return: 0, -E2BIG (beyond RAM, with
 *  the sizes), -ENOEXEC (on memory that boot data or the legacy hole has). */
int boot_claim(struct boot *boot, uint64_t start, uint64_t len, struct errctx *ec);

/**
 * boot_place_initrd() - choose a place beside the kernel and load the initrd there.
 * @addr_max:  highest address its last byte may have.
 * @above_4g:  may also be placed above 4 GiB, where @addr_max does not count.
 * @ret_start: 0 when there is no initrd.
 */
int boot_place_initrd(struct boot *boot, uint64_t addr_max, bool above_4g, uint64_t *ret_start,
                      struct errctx *ec);

/** boot_write() - copy boot data to a place from the map above. */
int boot_write(struct boot *boot, uint64_t addr, const void *bytes, size_t len, struct errctx *ec);

/** boot_linux_cmdline() - what was said, or what Linux gets when nothing was. */
const char *boot_linux_cmdline(const struct boot *boot);

/** boot_write_cmdline() - @prefix, a space when both are there, and @text; at most @max bytes
 *  without the zero. */
int boot_write_cmdline(struct boot *boot, const char *prefix, const char *text, size_t max,
                       struct errctx *ec);

/** boot_pages_write() - GDT, and for BOOT_LONG64 page tables; fills in the entry's part. */
int boot_pages_write(struct boot *boot, struct boot_entry *entry, struct errctx *ec);

struct elf_image;
int bzimage_load(struct boot *boot, struct boot_entry *ret_entry, struct errctx *ec);
int pvh_load(struct boot *boot, const struct elf_image *elf, struct boot_entry *ret_entry,
             struct errctx *ec);
/** multiboot_load() - @elf: NULL when the file is not ELF. */
int multiboot_load(struct boot *boot, const struct elf_image *elf, uint32_t header_off,
                   struct boot_entry *ret_entry, struct errctx *ec);

/** bzimage_probe() / multiboot_probe() - 1 when the file says that it is one, 0 when not, or a
 *  negative errno. */
int bzimage_probe(const struct image *img, struct errctx *ec);
int multiboot_probe(const struct image *img, uint32_t *ret_header_off, struct errctx *ec);

#endif
