/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux bzImage by the 64-bit boot protocol (Documentation/arch/x86/boot.rst and zero-page.rst
 * of the kernel): the real-mode part is only read for its header, the rest is loaded at its
 * preferred address and entered 0x200 bytes in, with rsi at the zero page.
 */
#include <asm/bootparam.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "firmware/x86/boot.h"
#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

enum {
    HEADER_AT = 0x1f1,
    HEADER_MIN_END = 0x268, /* through handover_offset, in every header since 2.11 */
    HEADER_MAX_END = 0x290,
    BOOT_FLAG_AT = 0x1fe,
    MAGIC_AT = 0x202,
    BOOT_FLAG = 0xaa55,
    MAGIC = 0x53726448, /* "HdrS" */
    VERSION_2_12 = 0x020c,
    SECTOR = 512,
    DEFAULT_SETUP_SECTS = 4,
    ENTRY_64 = 0x200,
    LOADER_UNDEFINED = 0xff,
    VID_MODE_NORMAL = 0xffff,
};

int bzimage_probe(const struct image *img, struct errctx *ec)
{
    uint8_t head[MAGIC_AT + 4];
    uint16_t flag;
    uint32_t magic;
    int r;

    if (img->size_bytes < sizeof(head))
        return 0;
    r = image_read(img, 0, head, sizeof(head), ec);
    if (r < 0)
        return r;
    memcpy(&flag, head + BOOT_FLAG_AT, sizeof(flag));
    memcpy(&magic, head + MAGIC_AT, sizeof(magic));
    return le16toh(flag) == BOOT_FLAG && le32toh(magic) == MAGIC;
}

/* Read the header into @hdr, all of it that the file has. */
static int read_header(const struct image *img, struct setup_header *hdr, struct errctx *ec)
{
    uint8_t bytes[HEADER_MAX_END] = { 0 };
    size_t end;
    int r = image_read(img, 0, bytes, HEADER_MIN_END, ec);

    if (r < 0)
        return r;
    end = MAGIC_AT + (size_t)bytes[MAGIC_AT - 1]; /* the jump over the header says its length */
    if (end < HEADER_MIN_END)
        return errctx_set(ec, ENOEXEC, "%s: the setup header ends at 0x%zx, before its 64-bit part",
                          img->name, end);
    end = MIN(end, (size_t)HEADER_MAX_END);
    r = image_read(img, 0, bytes, end, ec);
    if (r < 0)
        return r;
    memset(bytes + end, 0, sizeof(bytes) - end);
    memcpy(hdr, bytes + HEADER_AT, sizeof(*hdr));
    return 0;
}

static int check_header(const struct image *img, const struct setup_header *hdr, struct errctx *ec)
{
    if (hdr->version < VERSION_2_12)
        return errctx_set(ec, ENOEXEC, "%s: boot protocol %u.%02u is older than 2.12", img->name,
                          hdr->version >> 8, hdr->version & 0xff);
    if (!(hdr->loadflags & LOADED_HIGH))
        return errctx_set(ec, ENOEXEC, "%s is a zImage, to be loaded below 640 KiB", img->name);
    if (!(hdr->xloadflags & XLF_KERNEL_64))
        return errctx_set(ec, ENOEXEC, "%s has no 64-bit entry point", img->name);
    if (!is_pow2(hdr->kernel_alignment))
        return errctx_set(ec, ENOEXEC, "%s: kernel_alignment 0x%x is no power of two", img->name,
                          hdr->kernel_alignment);
    if (hdr->initrd_addr_max == 0)
        return errctx_set(ec, ENOEXEC, "%s: initrd_addr_max is 0", img->name);
    return 0;
}

/* Where the part after the real-mode sectors is, and that the file holds it. */
static int find_payload(const struct image *img, const struct setup_header *hdr, uint64_t *ret_off,
                        uint64_t *ret_len, struct errctx *ec)
{
    uint32_t sects = hdr->setup_sects ? hdr->setup_sects : DEFAULT_SETUP_SECTS;
    uint64_t off = (uint64_t)(sects + 1) * SECTOR, len = (uint64_t)hdr->syssize * 16;

    if (len <= ENTRY_64)
        return errctx_set(ec, ENOEXEC, "%s: the kernel proper has %" PRIu64 " bytes, no entry fits",
                          img->name, len);
    if (!checked_range(off, len, img->size_bytes))
        return errctx_set(ec, ENOEXEC,
                          "%s is truncated: its header promises %" PRIu64
                          " bytes, the file has %" PRIu64,
                          img->name, off + len, img->size_bytes);
    if (hdr->init_size < len)
        return errctx_set(ec, ENOEXEC,
                          "%s: init_size 0x%x is less than the kernel's 0x%" PRIx64 " bytes",
                          img->name, hdr->init_size, len);
    *ret_off = off;
    *ret_len = len;
    return 0;
}

/* The preferred address, or the lowest aligned one when RAM ends before it. */
static int choose_address(struct boot *boot, const struct setup_header *hdr, uint64_t *ret_addr,
                          struct errctx *ec)
{
    uint64_t addr = hdr->pref_address, end;
    int r;

    if (hdr->relocatable_kernel && (!checked_add(addr, hdr->init_size, &end) ||
                                    end > boot->low_limit || addr < BOOT_IMAGE_BASE))
        addr = align_up(BOOT_IMAGE_BASE, hdr->kernel_alignment);
    r = boot_claim(boot, addr, hdr->init_size, ec);
    if (r == 0)
        *ret_addr = addr;
    return r;
}

static void fill_params(const struct boot *boot, const struct setup_header *hdr, uint64_t addr,
                        uint64_t initrd, struct boot_params *bp)
{
    uint64_t size = boot->initrd.size_bytes;

    bp->hdr = *hdr;
    bp->hdr.type_of_loader = LOADER_UNDEFINED;
    bp->hdr.vid_mode = VID_MODE_NORMAL;
    bp->hdr.code32_start = (uint32_t)addr;
    bp->hdr.cmd_line_ptr = (uint32_t)BOOT_CMDLINE;
    bp->hdr.ramdisk_image = (uint32_t)initrd;
    bp->hdr.ramdisk_size = (uint32_t)size;
    bp->hdr.setup_data = 0;
    bp->ext_ramdisk_image = (uint32_t)(initrd >> 32);
    bp->ext_ramdisk_size = (uint32_t)(size >> 32);
    bp->acpi_rsdp_addr = boot->rsdp.v;
    bp->e820_entries = (uint8_t)boot->e820.n;
    for (size_t i = 0; i < boot->e820.n; i++)
        bp->e820_table[i] = (struct boot_e820_entry){
            .addr = boot->e820.entry[i].base,
            .size = boot->e820.entry[i].len_bytes,
            .type = boot->e820.entry[i].type,
        };
}

int bzimage_load(struct boot *boot, struct boot_entry *ret_entry, struct errctx *ec)
{
    struct boot_entry entry = { .mode = BOOT_LONG64, .rsi = BOOT_PARAMS };
    struct boot_params bp = { 0 };
    struct setup_header hdr;
    uint64_t off = 0, len = 0, addr = 0, initrd;
    bool above_4g;
    int r;

    r = read_header(&boot->kernel, &hdr, ec);
    if (r == 0)
        r = check_header(&boot->kernel, &hdr, ec);
    if (r == 0)
        r = find_payload(&boot->kernel, &hdr, &off, &len, ec);
    if (r == 0)
        r = choose_address(boot, &hdr, &addr, ec);
    if (r == 0)
        r = boot_write_cmdline(boot, "", boot_linux_cmdline(boot), hdr.cmdline_size, ec);
    if (r == 0)
        r = image_to_guest(&boot->kernel, off, len, boot->mem, (struct gpa){ addr }, ec);
    if (r < 0)
        return r;
    above_4g = (hdr.xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G) != 0;
    r = boot_place_initrd(boot, hdr.initrd_addr_max, above_4g, &initrd, ec);
    if (r < 0)
        return r;
    fill_params(boot, &hdr, addr, initrd, &bp);
    r = boot_write(boot, BOOT_PARAMS, &bp, sizeof(bp), ec);
    if (r == 0)
        r = boot_pages_write(boot, &entry, ec);
    if (r < 0)
        return r;
    entry.rip = addr + ENTRY_64;
    *ret_entry = entry;
    return 0;
}
