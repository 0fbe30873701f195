/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order of a load: tables first, since they fix where usable RAM ends; then the memory map; then
 * the image by its kind, told by its bytes alone.
 */
#include "firmware/loader.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "firmware/x86/boot.h"
#include "firmware/x86/elf.h"
#include "firmware/x86/x86_platform.h"
#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

#define RESET_VECTOR 0xffff0ull /* f000:fff0 */

/*
 * What a BIOS has at its entry, as real-mode code: a request to reset the machine. Linux gets
 * here with every reboot: on reduced hardware it wants EFI's reset, not the FADT's register, and
 * without EFI it jumps to the BIOS.
 */
static int place_reset_vector(struct boot *boot, struct errctx *ec)
{
    /* mov dx, PORT; mov al, VALUE; out dx, al; 1: cli; hlt; jmp 1b */
    static const uint8_t code[] = { 0xba,
                                    PLATFORM_RESET_PORT & 0xff,
                                    PLATFORM_RESET_PORT >> 8,
                                    0xb0,
                                    PLATFORM_RESET_VALUE,
                                    0xee,
                                    0xfa,
                                    0xf4,
                                    0xeb,
                                    0xfc };

    return boot_write(boot, RESET_VECTOR, code, sizeof(code), ec);
}

/* Put the tables at the end of the RAM below 4 GiB, and the RSDP where a scan finds it. */
static int place_tables(struct boot *boot, const struct topo_plan *plan, struct errctx *ec)
{
    const struct mem_layout *layout = guest_mem_layout(boot->mem);
    struct acpi_tables tables;
    struct gpa base;
    int r = acpi_build_in_place(plan, layout, &tables, &base, ec);

    if (r < 0)
        return r;
    boot->low_limit = base.v;
    boot->rsdp.v = X86_BIOS_START;
    r = boot_write(boot, base.v, tables.blob, tables.len, ec);
    if (r == 0)
        r = boot_write(boot, boot->rsdp.v, tables.rsdp, sizeof(tables.rsdp), ec);
    acpi_tables_fini(&tables);
    if (r < 0)
        return r;
    return e820_make(layout, base, &boot->e820, ec);
}

/* Linux for other architectures says what it is at one place (the kernel's arm64/booting.rst and
 * riscv/boot-image-header.rst). Return: -ENOEXEC, or the errno of a read. */
static int refuse_other(const struct image *kernel, struct errctx *ec)
{
    static const struct {
        char magic[4];
        const char *arch;
    } others[] = { { { 'A', 'R', 'M', 0x64 }, "arm64" }, { { 'R', 'S', 'C', 5 }, "riscv64" } };
    enum { MAGIC_OFF = 56 };
    char magic[4] = { 0 };
    int r = 0;

    if (kernel->size_bytes >= MAGIC_OFF + sizeof(magic))
        r = image_read(kernel, MAGIC_OFF, magic, sizeof(magic), ec);
    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        if (memcmp(magic, others[i].magic, sizeof(magic)) == 0)
            return errctx_set(ec, ENOEXEC, "%s is a Linux kernel for %s, and guests here are x86-64",
                              kernel->name, others[i].arch);
    return errctx_set(ec, ENOEXEC,
                      "%s is no kernel: neither a Linux bzImage nor an ELF or multiboot image",
                      kernel->name);
}

enum kernel_kind { KERNEL_BZIMAGE, KERNEL_ELF, KERNEL_MULTIBOOT };

/* *@ret_header_off is of a multiboot image that is not ELF. */
static int find_kind(const struct image *kernel, enum kernel_kind *ret_kind,
                     uint32_t *ret_header_off, struct errctx *ec)
{
    enum kernel_kind kind = KERNEL_BZIMAGE;
    int r = bzimage_probe(kernel, ec);

    if (r == 0) {
        kind = KERNEL_ELF;
        r = elf_probe(kernel, ec);
    }
    if (r == 0) {
        kind = KERNEL_MULTIBOOT;
        r = multiboot_probe(kernel, ret_header_off, ec);
    }
    if (r < 0)
        return r;
    if (r == 0)
        return refuse_other(kernel, ec);
    *ret_kind = kind;
    return 0;
}

static int load_elf(struct boot *boot, struct boot_entry *ret_entry, struct errctx *ec)
{
    struct elf_image elf;
    uint32_t header_off;
    int r = elf_open(&boot->kernel, &elf, ec);

    if (r < 0)
        return r;
    r = elf_find_pvh_entry(&elf, ec);
    if (r < 0)
        return r;
    if (elf.has_pvh_entry)
        return pvh_load(boot, &elf, ret_entry, ec);
    r = multiboot_probe(&boot->kernel, &header_off, ec);
    if (r < 0)
        return r;
    if (r == 0)
        return errctx_set(ec, ENOEXEC,
                          "%s is an ELF file with neither a PVH note nor a multiboot header",
                          boot->kernel.name);
    return multiboot_load(boot, &elf, header_off, ret_entry, ec);
}

static int load_by_kind(struct boot *boot, struct boot_entry *ret_entry, struct errctx *ec)
{
    uint32_t header_off = 0;
    enum kernel_kind kind;
    int r = find_kind(&boot->kernel, &kind, &header_off, ec);

    if (r < 0)
        return r;
    switch (kind) {
    case KERNEL_BZIMAGE:
        return bzimage_load(boot, ret_entry, ec);
    case KERNEL_ELF:
        return load_elf(boot, ret_entry, ec);
    case KERNEL_MULTIBOOT:
        break;
    }
    return multiboot_load(boot, NULL, header_off, ret_entry, ec);
}

static int open_images(const struct boot_source *src, struct boot *boot, struct errctx *ec)
{
    int r = image_open(src->kernel_fd, src->kernel_name, &boot->kernel, ec);

    if (r == 0 && src->initrd_fd >= 0)
        r = image_open(src->initrd_fd, src->initrd_name, &boot->initrd, ec);
    return r;
}

int loader_check(const struct boot_source *src, struct errctx *ec)
{
    struct boot boot = { .src = src };
    enum kernel_kind kind;
    uint32_t header_off;
    int r = open_images(src, &boot, ec);

    return r < 0 ? r : find_kind(&boot.kernel, &kind, &header_off, ec);
}

int loader_load(const struct boot_source *src, const struct topo_plan *plan, struct guest_mem *mem,
                struct boot_entry *ret_entry, struct errctx *ec)
{
    struct boot boot = { .src = src, .mem = mem };
    int r = open_images(src, &boot, ec);

    if (r == 0)
        r = place_tables(&boot, plan, ec);
    if (r == 0)
        r = place_reset_vector(&boot, ec);
    if (r < 0)
        return r;
    return load_by_kind(&boot, ret_entry, ec);
}
