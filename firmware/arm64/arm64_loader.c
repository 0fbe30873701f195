/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order of a load: the image, since it says how much memory it takes; then places for tree and
 * initrd; the tree last, because it says where the initrd is.
 */
#include "firmware/arm64/arm64_loader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "firmware/arm64/arm64_fdt.h"
#include "firmware/arm64/arm64_image.h"
#include "firmware/arm64/arm64_platform.h"
#include "vmm/base/checked.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/units.h"

#define BLOCK 0x200000ull /* what the kernel maps at once */

enum {
    PIECE = 64 * 1024,
    CMDLINE_MAX = 2047, /* COMMAND_LINE_SIZE of arm64, without the zero */
};

struct load {
    const struct boot_source *src;
    struct guest_mem *mem;
    struct image kernel, initrd; /* initrd.size_bytes 0: none */
    struct arm64_image img;
    uint64_t start, limit;       /* of the image; of RAM that all lies in */
    uint64_t tree, initrd_start; /* places */
};

static int open_images(const struct boot_source *src, struct load *l, struct errctx *ec)
{
    int r = image_open(src->kernel_fd, src->kernel_name, &l->kernel, ec);

    if (r == 0 && src->initrd_fd >= 0)
        r = image_open(src->initrd_fd, src->initrd_name, &l->initrd, ec);
    return r;
}

/* The image's first bytes are left in @header. */
static int read_header(struct arm64_stream *s, uint8_t header[static ARM64_IMAGE_HEADER],
                       struct arm64_image *ret_image, struct errctx *ec)
{
    int r;

    memset(header, 0, ARM64_IMAGE_HEADER);
    r = arm64_stream_read(s, header, ARM64_IMAGE_HEADER, ec);
    if (r < 0)
        return r;
    return arm64_image_parse(header, s->file->name, ret_image, ec);
}

int arm64_loader_check(const struct boot_source *src, struct errctx *ec)
{
    CLEANUP_FREE struct arm64_stream *s = malloc(sizeof(*s));
    struct load l = { .src = src };
    uint8_t header[ARM64_IMAGE_HEADER];
    int r = s == NULL ? errctx_set(ec, ENOMEM, "no memory to read a kernel")
                      : open_images(src, &l, ec);

    if (r < 0)
        return r;
    r = arm64_stream_begin(s, &l.kernel, ec);
    if (r < 0)
        return r;
    r = read_header(s, header, &l.img, ec);
    arm64_stream_end(s);
    return r;
}

/* Where everything lies; nothing may reach beyond RAM. */
static int place(struct load *l, struct errctx *ec)
{
    char need[32], have[32];
    uint64_t end = 0;

    l->start = ARM64_RAM_BASE + l->img.text_off;
    l->limit = guest_mem_layout(l->mem)->low_end;
    if (checked_add(l->start, l->img.memory_bytes, &end) && checked_align_up(end, BLOCK, &l->tree))
        l->initrd_start = l->tree + BLOCK;
    if (l->initrd_start == 0 || !checked_add(l->initrd_start, l->initrd.size_bytes, &end) ||
        end > l->limit)
        return errctx_set(ec, E2BIG,
                          "%s%s%s and the device tree do not fit the %s of memory below 4 GiB: the "
                          "kernel alone takes %s",
                          l->kernel.name, l->initrd.size_bytes > 0 ? ", " : "",
                          l->initrd.size_bytes > 0 ? l->initrd.name : "",
                          units_format_human(l->limit - ARM64_RAM_BASE, have, sizeof(have)),
                          units_format_human(l->img.memory_bytes, need, sizeof(need)));
    return 0;
}

static int too_long(const struct load *l, struct errctx *ec)
{
    return errctx_set(ec, ENOEXEC, "%s is longer than the %" PRIu64 " bytes of memory that it asks "
                                   "for",
                      l->kernel.name, l->img.memory_bytes);
}

/* All of the image but its header, which is read already. */
static int copy_rest(struct load *l, struct arm64_stream *s, struct errctx *ec)
{
    CLEANUP_FREE uint8_t *piece = malloc(PIECE);
    uint64_t done = ARM64_IMAGE_HEADER;

    if (piece == NULL)
        return errctx_set(ec, ENOMEM, "no memory to load %s", l->kernel.name);
    for (;;) {
        const int n = arm64_stream_read(s, piece, PIECE, ec);

        if (n <= 0)
            return n;
        if (!checked_range(done, (uint64_t)n, l->img.memory_bytes))
            return too_long(l, ec);
        if (guest_mem_write(l->mem, (struct gpa){ l->start + done }, piece, (size_t)n) < 0)
            return errctx_set(ec, E2BIG, "%s would be loaded where no RAM is", l->kernel.name);
        done += (uint64_t)n;
    }
}

static int load_kernel(struct load *l, struct arm64_stream *s, struct errctx *ec)
{
    uint8_t header[ARM64_IMAGE_HEADER];
    int r = read_header(s, header, &l->img, ec);

    if (r == 0)
        r = place(l, ec);
    if (r < 0)
        return r;
    if (!s->packed) { /* straight into guest memory, as it is taken for large files */
        if (l->kernel.size_bytes > l->img.memory_bytes)
            return too_long(l, ec);
        return image_to_guest(&l->kernel, 0, l->kernel.size_bytes, l->mem, (struct gpa){ l->start },
                              ec);
    }
    if (l->img.memory_bytes < sizeof(header))
        return too_long(l, ec);
    if (guest_mem_write(l->mem, (struct gpa){ l->start }, header, sizeof(header)) < 0)
        return errctx_set(ec, E2BIG, "%s would be loaded where no RAM is", l->kernel.name);
    return copy_rest(l, s, ec);
}

static int load_tree(struct load *l, const struct topo_plan *plan, struct errctx *ec)
{
    const char *said = l->src->cmdline != NULL ? l->src->cmdline : l->src->linux_cmdline;
    const struct fdt_input in = {
        .plan = plan,
        .layout = guest_mem_layout(l->mem),
        .cmdline = said,
        .initrd_start = l->initrd.size_bytes > 0 ? l->initrd_start : 0,
        .initrd_end = l->initrd.size_bytes > 0 ? l->initrd_start + l->initrd.size_bytes : 0,
    };
    CLEANUP_FREE void *blob = NULL;
    size_t len;
    int r;

    if (strlen(said) > CMDLINE_MAX)
        return errctx_set(ec, E2BIG, "the command line has %zu characters, and kernels of arm64 "
                                     "take %d",
                          strlen(said), CMDLINE_MAX);
    r = fdt_build(&fdt_arch_arm64, &in, &blob, &len, ec);
    if (r < 0)
        return r;
    return guest_mem_write(l->mem, (struct gpa){ l->tree }, blob, len) < 0
               ? errctx_set(ec, E2BIG, "the device tree would be loaded where no RAM is")
               : 0;
}

int arm64_loader_load(const struct boot_source *src, const struct topo_plan *plan,
                      struct guest_mem *mem, struct arm64_entry *ret_entry, struct errctx *ec)
{
    CLEANUP_FREE struct arm64_stream *s = malloc(sizeof(*s));
    struct load l = { .src = src, .mem = mem };
    int r = s == NULL ? errctx_set(ec, ENOMEM, "no memory to read a kernel")
                      : open_images(src, &l, ec);

    if (r < 0)
        return r;
    r = arm64_stream_begin(s, &l.kernel, ec);
    if (r < 0)
        return r;
    r = load_kernel(&l, s, ec);
    arm64_stream_end(s);
    if (r == 0 && l.initrd.size_bytes > 0)
        r = image_to_guest(&l.initrd, 0, l.initrd.size_bytes, mem, (struct gpa){ l.initrd_start },
                           ec);
    if (r == 0)
        r = load_tree(&l, plan, ec);
    if (r == 0)
        *ret_entry = (struct arm64_entry){ .pc = l.start, .tree = l.tree };
    return r;
}
