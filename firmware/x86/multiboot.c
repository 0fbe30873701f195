/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multiboot version 1 (Multiboot Specification 0.6.96): a header in the first 8 KiB; segments
 * from ELF headers or from the address fields; 32-bit entry with the magic in eax and the
 * information structure at ebx. The initrd is the one module.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "firmware/x86/boot.h"
#include "firmware/x86/elf.h"
#include "vmm/base/macros.h"

#define HEADER_MAGIC 0x1badb002u
#define ENTRY_MAGIC  0x2badb002u

enum {
    SEARCH_BYTES = 8192,
    /* Header flags: a loader must refuse what it does not know of the low sixteen. */
    WANT_PAGE_ALIGN = 1u << 0,
    WANT_MEMORY = 1u << 1,
    WANT_VIDEO = 1u << 2,
    MUST_KNOW = 0xffff,
    HAS_ADDRESSES = 1u << 16,
    /* Information flags. */
    INFO_MEMORY = 1u << 0,
    INFO_CMDLINE = 1u << 2,
    INFO_MODULES = 1u << 3,
    INFO_MEMMAP = 1u << 6,
    INFO_LOADER = 1u << 9,
    NAME_BYTES = 256,
};

struct mb_header {
    uint32_t magic, flags, checksum;
    uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

struct mb_info {
    uint32_t flags;
    uint32_t mem_lower, mem_upper; /* KiB */
    uint32_t boot_device;
    uint32_t cmdline;
    uint32_t n_modules, modules;
    uint32_t symbols[4];
    uint32_t memmap_bytes, memmap;
    uint32_t drives_bytes, drives;
    uint32_t config_table;
    uint32_t loader_name;
    uint32_t apm_table;
};

struct mb_module {
    uint32_t start, end, name, reserved;
};

struct mb_memmap {
    uint32_t size; /* of what follows */
    uint64_t base, len_bytes;
    uint32_t type;
} __attribute__((packed));

/* All of it, as it lies at BOOT_INFO. */
struct mb_block {
    struct mb_info info;
    struct mb_module module;
    char loader[16];
    char module_name[NAME_BYTES];
    struct mb_memmap memmap[E820_MAX_ENTRIES];
};

_Static_assert(sizeof(struct mb_info) == 72, "up to the APM table");
_Static_assert(sizeof(struct mb_block) <= BOOT_INFO_BYTES, "fits its place");

#define BLOCK_ADDR(member) ((uint32_t)(BOOT_INFO + offsetof(struct mb_block, member)))

int multiboot_probe(const struct image *img, uint32_t *ret_header_off, struct errctx *ec)
{
    uint32_t words[SEARCH_BYTES / 4];
    size_t n = (size_t)(MIN(img->size_bytes, (uint64_t)SEARCH_BYTES) / 4);
    int r = image_read(img, 0, words, n * 4, ec);

    if (r < 0)
        return r;
    for (size_t i = 0; i + 2 < n; i++) {
        if (words[i] != HEADER_MAGIC || words[i] + words[i + 1] + words[i + 2] != 0)
            continue;
        *ret_header_off = (uint32_t)(i * 4);
        return 1;
    }
    return 0;
}

static int read_header(const struct image *img, uint32_t off, struct mb_header *h,
                       struct errctx *ec)
{
    size_t short_bytes = offsetof(struct mb_header, header_addr);
    int r;

    memset(h, 0, sizeof(*h));
    r = image_read(img, off, h, short_bytes, ec);
    if (r == 0 && (h->flags & HAS_ADDRESSES))
        r = image_read(img, off, h, sizeof(*h), ec);
    if (r < 0)
        return r;
    if (h->flags & WANT_VIDEO)
        return errctx_set(ec, ENOEXEC,
                          "%s: its multiboot header demands a video mode; there is "
                          "no display",
                          img->name);
    if (h->flags & MUST_KNOW & ~(uint32_t)(WANT_PAGE_ALIGN | WANT_MEMORY))
        return errctx_set(ec, ENOEXEC, "%s: its multiboot header demands unknown features 0x%x",
                          img->name, h->flags & MUST_KNOW);
    return 0;
}

/* Load by the header's address fields (3.1.3). */
static int load_by_addresses(struct boot *boot, const struct mb_header *h, uint32_t header_off,
                             struct errctx *ec)
{
    const struct image *img = &boot->kernel;
    uint64_t off, len, mem_bytes;
    int r;

    if (h->load_addr > h->header_addr || h->header_addr - h->load_addr > header_off)
        return errctx_set(ec, ENOEXEC,
                          "%s: multiboot load address 0x%x lies before the file's "
                          "beginning or behind its header at 0x%x",
                          img->name, h->load_addr, h->header_addr);
    off = header_off - (h->header_addr - h->load_addr);
    len = img->size_bytes - off;
    if (h->load_end_addr != 0) {
        if (h->load_end_addr < h->load_addr || h->load_end_addr - h->load_addr > len)
            return errctx_set(ec, ENOEXEC,
                              "%s is truncated: multiboot load end 0x%x does not "
                              "match the file",
                              img->name, h->load_end_addr);
        len = h->load_end_addr - h->load_addr;
    }
    mem_bytes = len;
    if (h->bss_end_addr != 0) {
        if (h->bss_end_addr < h->load_addr || h->bss_end_addr - h->load_addr < len)
            return errctx_set(ec, ENOEXEC, "%s: multiboot bss end 0x%x lies before the load end",
                              img->name, h->bss_end_addr);
        mem_bytes = h->bss_end_addr - h->load_addr;
    }
    if (h->entry_addr - h->load_addr >= mem_bytes)
        return errctx_set(ec, ENOEXEC, "%s: multiboot entry 0x%x is not in what is loaded",
                          img->name, h->entry_addr);
    r = boot_claim(boot, h->load_addr, mem_bytes, ec);
    if (r < 0)
        return r;
    return image_to_guest(img, off, len, boot->mem, (struct gpa){ h->load_addr }, ec);
}

static void fill_info(const struct boot *boot, uint64_t initrd, struct mb_block *block)
{
    block->info = (struct mb_info){
        .flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MEMMAP | INFO_LOADER,
        .mem_lower = (uint32_t)(X86_ISA_HOLE_START / KIB),
        .mem_upper = (uint32_t)((boot->low_limit - BOOT_IMAGE_BASE) / KIB),
        .cmdline = (uint32_t)BOOT_CMDLINE,
        .memmap = BLOCK_ADDR(memmap),
        .memmap_bytes = (uint32_t)(boot->e820.n * sizeof(block->memmap[0])),
        .loader_name = BLOCK_ADDR(loader),
    };
    (void)snprintf(block->loader, sizeof(block->loader), "numavisor");
    if (boot->initrd.size_bytes != 0) {
        block->info.n_modules = 1;
        block->info.modules = BLOCK_ADDR(module);
        block->module.start = (uint32_t)initrd;
        block->module.end = (uint32_t)(initrd + boot->initrd.size_bytes);
        block->module.name = BLOCK_ADDR(module_name);
        (void)snprintf(block->module_name, sizeof(block->module_name), "%s", boot->initrd.name);
    }
    for (size_t i = 0; i < boot->e820.n; i++)
        block->memmap[i] = (struct mb_memmap){
            .size = sizeof(block->memmap[i]) - sizeof(block->memmap[i].size),
            .base = boot->e820.entry[i].base,
            .len_bytes = boot->e820.entry[i].len_bytes,
            .type = boot->e820.entry[i].type,
        };
}

int multiboot_load(struct boot *boot, const struct elf_image *elf, uint32_t header_off,
                   struct boot_entry *ret_entry, struct errctx *ec)
{
    struct boot_entry entry = { .mode = BOOT_PROT32, .rax = ENTRY_MAGIC, .rbx = BOOT_INFO };
    struct mb_block block = { 0 };
    struct mb_header h;
    uint32_t rip = 0;
    const char *cmdline = boot->src->cmdline != NULL ? boot->src->cmdline : "";
    uint64_t initrd;
    int r = read_header(&boot->kernel, header_off, &h, ec);

    if (r < 0)
        return r;
    if (h.flags & HAS_ADDRESSES) {
        r = load_by_addresses(boot, &h, header_off, ec);
        rip = h.entry_addr;
    } else if (elf != NULL) {
        r = elf_load(elf, boot, ec);
        if (r == 0)
            r = elf_phys_entry(elf, &rip, ec);
    } else {
        r = errctx_set(ec, ENOEXEC, "%s has a multiboot header without addresses and is not ELF",
                       boot->kernel.name);
    }
    /* By custom the first word is the image's name, which programs skip. */
    if (r == 0)
        r = boot_write_cmdline(boot, boot->kernel.name, cmdline, SIZE_MAX, ec);
    if (r == 0)
        r = boot_place_initrd(boot, UINT32_MAX, false, &initrd, ec);
    if (r < 0)
        return r;
    fill_info(boot, initrd, &block);
    entry.rip = rip;
    r = boot_write(boot, BOOT_INFO, &block, sizeof(block), ec);
    if (r == 0)
        r = boot_pages_write(boot, &entry, ec);
    if (r == 0)
        *ret_entry = entry;
    return r;
}
