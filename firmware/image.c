/* SPDX-License-Identifier: Apache-2.0 */
#include "firmware/image.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

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

static int check_range(const struct image *img, uint64_t off, uint64_t len, struct errctx *ec)
{
    if (checked_range(off, len, img->size_bytes))
        return 0;
    return errctx_set(ec, ENOEXEC,
                      "%s is truncated: %" PRIu64 " bytes at %" PRIu64
                      " are beyond its end at %" PRIu64,
                      img->name, len, off, img->size_bytes);
}

static int became_shorter(const struct image *img, struct errctx *ec)
{
    return errctx_set(ec, ENOEXEC, "%s became shorter while it was read", img->name);
}

int image_read(const struct image *img, uint64_t off, void *buf, size_t len, struct errctx *ec)
{
    size_t done = 0;
    int r = check_range(img, off, len, ec);

    if (r < 0)
        return r;
    while (done < len) {
        ssize_t n = pread(img->fd, (char *)buf + done, len - done, (off_t)(off + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errctx_set_os(ec, errno, "read %s", img->name);
        if (n == 0)
            return became_shorter(img, ec);
        done += (size_t)n;
    }
    return 0;
}

int image_to_guest(const struct image *img, uint64_t off, uint64_t len, struct guest_mem *mem,
                   struct gpa addr, struct errctx *ec)
{
    size_t done = 0;
    int r = check_range(img, off, len, ec);

    if (r < 0)
        return r;
    r = guest_mem_load(mem, addr, img->fd, off, len, &done);
    if (r == -EFAULT)
        return errctx_set(ec, E2BIG, "%s would be loaded to 0x%" PRIx64 ", where no RAM is",
                          img->name, addr.v);
    if (r < 0)
        return errctx_set_os(ec, -r, "load %s", img->name);
    return done < len ? became_shorter(img, ec) : 0;
}
