/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Put a kernel image, an initrd, a command line and the boot data into guest memory.
 *
 * Three kinds of image: Linux bzImage by its 64-bit boot protocol (Documentation/arch/x86/boot),
 * ELF with a PVH note (Xen "HVM direct boot ABI", XEN_ELFNOTE_PHYS32_ENTRY), and multiboot
 * version 1 ELF. Image and initrd come from files that are read anew at every reset, through
 * descriptors opened once. Their bytes are untrusted: every offset and length is checked.
 */
#ifndef FIRMWARE_LOADER_H
#define FIRMWARE_LOADER_H

#include <stdint.h>

#include "firmware/acpi.h"
#include "memory/guest_mem.h"
#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"

enum boot_mode {
    BOOT_LONG64, /* 64-bit mode, paging by identity tables, rsi = boot_params */
    BOOT_PROT32, /* flat 32-bit protected mode, paging off; PVH: ebx, multiboot: eax and ebx */
};

/* How the first vCPU starts; the machine hands it to vcpu/. */
struct boot_entry {
    enum boot_mode mode;
    uint64_t rip;
    uint64_t rax, rbx, rsi;
    uint64_t rsp;
    uint64_t cr3;      /* BOOT_LONG64: page tables in guest memory */
    uint64_t gdt_base; /* a flat GDT in guest memory: null, 0x08 unused, 0x10 code, 0x18 data */
    uint16_t gdt_limit;
};

/* What to boot; descriptors and strings are borrowed. */
struct boot_source {
    int kernel_fd;
    const char *kernel_name; /* for sentences */
    int initrd_fd;           /* -1: none */
    const char *initrd_name;
    const char *cmdline;       /* may be ""; NULL: not said */
    const char *linux_cmdline; /* instead, for a kernel by the Linux or PVH protocol; may be "" */
};

/**
 * loader_check() - can both files be read, and is the kernel of a kind that we know?
 *
 * Needs no memory of the guest's, so that a mistyped name is told before any is taken; what the
 * images say about themselves is checked by loader_load().
 * Return: 0, -ENOEXEC, or an errno from reading, with a sentence naming the file.
 */
int loader_check(const struct boot_source *src, struct errctx *ec);

/**
 * loader_load() - write everything the guest needs for its first instruction.
 * @plan: source of the ACPI tables, which the loader places itself (at the top
 *        of the RAM below 4 GiB), marked as reclaimable in E820.
 *
 * Works on memory that is all zero (power-on or after guest_mem_discard()). Not thread-safe;
 * before any vCPU runs.
 *
 * Return: 0, or with a sentence naming the file
 *   -ENOEXEC  not a kernel in a form we know, truncated, or contradicting itself;
 *   -E2BIG    kernel, initrd or command line do not fit the memory or the kernel's own limits;
 *   -EIO or another errno from reading the files.
 */
int loader_load(const struct boot_source *src, const struct topo_plan *plan, struct guest_mem *mem,
                struct boot_entry *ret_entry, struct errctx *ec);

#endif
