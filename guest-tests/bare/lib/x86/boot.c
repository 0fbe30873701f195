/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First C code of the boot CPU: copy what the loader left, which may lie anywhere in low memory,
 * then start the guest. Also the two string functions that are one instruction here.
 */
#include "guest-tests/bare/lib/bare.h"

enum { MB_BOOT_MAGIC = 0x2badb002, MB_HAS_MEM = 1, MB_HAS_CMDLINE = 4, MB_HAS_MODULES = 8 };
enum { MB_HAS_MMAP = 64, MB_HAS_LOADER = 512 };
enum { PIC1_MASK = 0x21, PIC2_MASK = 0xa1 };

/* Multiboot 0.6.96, 3.3: the fields we read. */
struct mb_info {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
    uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, loader_name;
};

struct mb_range {
    uint32_t size; /* of what follows */
    uint64_t base, len;
    uint32_t type;
} __attribute__((packed));

struct boot_data boot;
extern uint32_t boot_magic, boot_info_ptr, boot_eflags, boot_cr0;

void bsp_main(void);

static void copy_ranges(const struct mb_info *mb)
{
    uint32_t at = mb->mmap_addr, end = mb->mmap_addr + mb->mmap_length;

    while (at < end && boot.n_ranges < BOOT_MAX_RANGES) {
        const struct mb_range *r = (const struct mb_range *)(uintptr_t)at;

        boot.range[boot.n_ranges++] = (struct boot_range){ r->base, r->len, r->type };
        at += r->size + 4;
    }
}

/* Up to @end or the end of @s; returns where it stopped. */
static const char *copy_text(char *to, size_t size, const char *s, char end)
{
    size_t n = 0;

    for (; *s != '\0' && *s != end; s++)
        if (n < size - 1)
            to[n++] = *s;
    return s;
}

/* A loader puts the image's name in front (3.3, "command line"); the rest is for us. */
static void copy_cmdline(const char *s)
{
    s = copy_text(boot.image, sizeof(boot.image), s, ' ');
    while (*s == ' ')
        s++;
    copy_text(boot.cmdline, sizeof(boot.cmdline), s, '\0');
}

static void copy_info(const struct mb_info *mb)
{
    const uint32_t *module = (const uint32_t *)(uintptr_t)mb->mods_addr;

    boot.flags = mb->flags;
    if (mb->flags & MB_HAS_MEM) {
        boot.mem_lower_kib = mb->mem_lower;
        boot.mem_upper_kib = mb->mem_upper;
    }
    if (mb->flags & MB_HAS_MMAP)
        copy_ranges(mb);
    if (mb->flags & MB_HAS_CMDLINE)
        copy_cmdline((const char *)(uintptr_t)mb->cmdline);
    if (mb->flags & MB_HAS_LOADER)
        copy_text(boot.loader, sizeof(boot.loader), (const char *)(uintptr_t)mb->loader_name, '\0');
    if ((mb->flags & MB_HAS_MODULES) && mb->mods_count > 0) {
        boot.n_modules = mb->mods_count;
        boot.module_start = module[0];
        boot.module_end = module[1];
    }
}

void bsp_main(void)
{
    const struct mb_info *mb = (const struct mb_info *)(uintptr_t)boot_info_ptr;

    boot.magic = boot_magic;
    boot.eflags = boot_eflags;
    boot.cr0 = boot_cr0;
    if (boot.magic == MB_BOOT_MAGIC)
        copy_info(mb);
    outb(PIC1_MASK, 0xff); /* other loaders' firmware may have left them on; we have none */
    outb(PIC2_MASK, 0xff);
    trap_load();
    apic_on();
    guest_main();
    tap_done();
}

void *memcpy(void *dst, const void *src, size_t n)
{
    void *d = dst;

    __asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(n) : : "memory");
    return dst;
}

void *memset(void *dst, int c, size_t n)
{
    void *d = dst;

    __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
    return dst;
}
