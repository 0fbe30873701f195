/* SPDX-License-Identifier: Apache-2.0 */
#include "firmware/x86/boot.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

enum { INITRD_ALIGN = 4096 };

int boot_claim(struct boot *boot, uint64_t start, uint64_t len, struct errctx *ec)
{
    uint64_t end;

    if (!checked_add(start, len, &end) || end > boot->low_limit)
        return errctx_set(ec, E2BIG,
                          "%s needs %" PRIu64 " bytes at 0x%" PRIx64
                          ", but usable RAM below 4 GiB ends at 0x%" PRIx64,
                          boot->kernel.name, len, start, boot->low_limit);
    if (end <= BOOT_DATA_START)
        return 0;
    if (start < BOOT_IMAGE_BASE)
        return errctx_set(ec, ENOEXEC,
                          "%s wants %" PRIu64 " bytes at 0x%" PRIx64
                          ", over memory that the firmware keeps (0x%llx-0x%llx)",
                          boot->kernel.name, len, start, BOOT_DATA_START, BOOT_IMAGE_BASE - 1);
    if (boot->kernel_end == 0 || start < boot->kernel_start)
        boot->kernel_start = start;
    boot->kernel_end = MAX(boot->kernel_end, end);
    return 0;
}

/* Highest aligned start for @len bytes in [@lo, @hi). Return: false when there is none. */
static bool highest_start(uint64_t lo, uint64_t hi, uint64_t len, uint64_t *ret_start)
{
    uint64_t start;

    if (hi < lo || hi - lo < len)
        return false;
    start = align_down(hi - len, INITRD_ALIGN);
    if (start < lo)
        return false;
    *ret_start = start;
    return true;
}

int boot_place_initrd(struct boot *boot, uint64_t addr_max, bool above_4g, uint64_t *ret_start,
                      struct errctx *ec)
{
    uint64_t size = boot->initrd.size_bytes, start, low_end = boot->low_limit;
    uint64_t high_end = guest_mem_layout(boot->mem)->high_end;
    uint64_t floor = MAX(boot->kernel_end, BOOT_IMAGE_BASE);
    uint64_t below = boot->kernel_end ? boot->kernel_start : BOOT_IMAGE_BASE;
    int r;

    if (size == 0) {
        *ret_start = 0;
        return 0;
    }
    if (addr_max < low_end)
        low_end = addr_max + 1;
    if (!highest_start(floor, low_end, size, &start) &&
        !highest_start(BOOT_IMAGE_BASE, MIN(below, low_end), size, &start) &&
        !(above_4g && highest_start(X86_HIGH_BASE, high_end, size, &start)))
        return errctx_set(ec, E2BIG,
                          "%s (%" PRIu64 " bytes) does not fit: the kernel ends at 0x%" PRIx64
                          ", memory for an initrd ends at 0x%" PRIx64,
                          boot->initrd.name, size, floor, low_end);
    r = image_to_guest(&boot->initrd, 0, size, boot->mem, (struct gpa){ start }, ec);
    if (r < 0)
        return r;
    *ret_start = start;
    return 0;
}

int boot_write(struct boot *boot, uint64_t addr, const void *bytes, size_t len, struct errctx *ec)
{
    if (guest_mem_write(boot->mem, (struct gpa){ addr }, bytes, len) < 0)
        return errctx_set(ec, E2BIG, "no RAM at 0x%" PRIx64 " for %zu bytes of boot data", addr,
                          len);
    return 0;
}

const char *boot_linux_cmdline(const struct boot *boot)
{
    return boot->src->cmdline != NULL ? boot->src->cmdline : boot->src->linux_cmdline;
}

int boot_write_cmdline(struct boot *boot, const char *prefix, const char *text, size_t max,
                       struct errctx *ec)
{
    const char *parts[] = { prefix, *prefix && *text ? " " : "", text, "" };
    uint64_t addr = BOOT_CMDLINE;
    size_t total = 0;

    max = MIN(max, (size_t)BOOT_CMDLINE_BYTES - 1);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        total += strlen(parts[i]);
    if (total > max)
        return errctx_set(ec, E2BIG, "the command line has %zu bytes, but %s takes at most %zu",
                          total, boot->kernel.name, max);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        size_t len = strlen(parts[i]) + (i == ARRAY_SIZE(parts) - 1); /* the zero at the end */
        int r = len ? boot_write(boot, addr, parts[i], len, ec) : 0;

        if (r < 0)
            return r;
        addr += len;
    }
    return 0;
}
