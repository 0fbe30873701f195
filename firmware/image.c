/* SPDX-License-Identifier: Apache-2.0 */
#include "firmware/image.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

enum { LEASE_CHUNK = 2 * MIB };

int image_open(int fd, const char *name, struct image *ret_image, struct errctx *ec)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return errctx_set_os(ec, errno, "%s", name);
    if (!S_ISREG(st.st_mode))
        return errctx_set(ec, ENOEXEC, "%s is not a regular file", name);
    if (st.st_size <= 0)
        return errctx_set(ec, ENOEXEC, "%s is empty", name);
    *ret_image = (struct image){ .fd = fd, .name = name, .size_bytes = (uint64_t)st.st_size };
    return 0;
}

int image_read(const struct image *img, uint64_t off, void *buf, size_t len, struct errctx *ec)
{
    size_t done = 0;

    if (!checked_range(off, len, img->size_bytes))
        return errctx_set(
            ec, ENOEXEC, "%s is truncated: %zu bytes at %" PRIu64 " are beyond its end at %" PRIu64,
            img->name, len, off, img->size_bytes);
    while (done < len) {
        ssize_t n = pread(img->fd, (char *)buf + done, len - done, (off_t)(off + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errctx_set_os(ec, errno, "read %s", img->name);
        if (n == 0)
            return errctx_set(ec, ENOEXEC, "%s became shorter while it was read", img->name);
        done += (size_t)n;
    }
    return 0;
}

int image_to_guest(const struct image *img, uint64_t off, uint64_t len, struct guest_mem *mem,
                   struct gpa addr, struct errctx *ec)
{
    const struct mem_layout *layout = guest_mem_layout(mem);

    while (len != 0) {
        const struct layout_range *range = mem_layout_find(layout, addr);
        struct mem_lease lease;
        size_t n;
        int r;

        if (range == NULL)
            return errctx_set(ec, E2BIG, "%s would be loaded to 0x%" PRIx64 ", where no RAM is",
                              img->name, addr.v);
        /* To the next border, so that each huge page is taken once and read into at once. */
        n = (size_t)MIN(MIN(len, LEASE_CHUNK - addr.v % LEASE_CHUNK),
                        range->base.v + range->len_bytes - addr.v);
        if (guest_mem_lease_begin(mem, addr, n, LEASE_WRITE, &lease) < 0)
            return errctx_set(ec, E2BIG, "%s would be loaded to 0x%" PRIx64 ", where no RAM is",
                              img->name, addr.v);
        guest_mem_populate(mem, addr, n);
        r = image_read(img, off, lease.ptr, n, ec);
        guest_mem_lease_end(mem, &lease);
        if (r < 0)
            return r;
        off += n;
        addr.v += n;
        len -= n;
    }
    return 0;
}
