/* SPDX-License-Identifier: Apache-2.0 */
/* The archive is of the kernel's own format "newc" (Documentation/driver-api/early-userspace/
 * buffer-format.rst): a header of hexadecimal fields, name, content, each filled up to 4 bytes. */
#include "vmm/lab/lab_initramfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/read_file.h"
#include "vmm/lab/lab_parts.h"
#include "vmm/lab/lab_wire.h"

enum { MODULE_MAX = 64 << 20 };

struct archive {
    FILE *f;
    unsigned n; /* inode numbers */
};

static void fill_up(struct archive *a, size_t written)
{
    static const char zeroes[4];

    (void)fwrite(zeroes, 1, (4 - written % 4) % 4, a->f);
}

static void entry(struct archive *a, const char *name, unsigned mode, unsigned major,
                  unsigned minor, const void *data, size_t len)
{
    const size_t name_len = strlen(name) + 1;
    const int n = fprintf(a->f, "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x",
                          ++a->n, mode, 0, 0, 1, 0, len, 0, 0, major, minor, name_len, 0);

    (void)fwrite(name, 1, name_len, a->f);
    fill_up(a, (n > 0 ? (size_t)n : 0) + name_len);
    if (len > 0)
        (void)fwrite(data, 1, len, a->f);
    fill_up(a, len);
}

static int add_modules(struct archive *a, const struct lab_modules *modules, struct errctx *ec)
{
    entry(a, "modules", S_IFDIR | 0700, 0, 0, NULL, 0);
    for (size_t i = 0; i < modules->n; i++) {
        CLEANUP_FREE char *data = NULL;
        char name[32];
        size_t len;
        int r = read_file(modules->paths[i], MODULE_MAX, &data, &len, ec);

        if (r < 0)
            return errctx_wrap(ec, r, "%s", modules->paths[i]);
        (void)snprintf(name, sizeof(name), "modules/%03zu.ko", i);
        entry(a, name, S_IFREG | 0600, 0, 0, data, len);
    }
    return 0;
}

int lab_initramfs_make(const struct lab_modules *modules, bool facts_only, int *ret_fd,
                       struct errctx *ec)
{
    CLEANUP_CLOSE int fd = memfd_create("lab-initramfs", MFD_CLOEXEC);
    CLEANUP_FCLOSE FILE *f = NULL;
    struct archive a = { 0 };
    int r, copy;

    if (fd < 0)
        return errctx_set_os(ec, errno, "memfd_create");
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    f = copy >= 0 ? fdopen(copy, "w") : NULL;
    if (f == NULL) {
        r = errctx_set_os(ec, errno, "open the initramfs");
        if (copy >= 0)
            (void)close(copy);
        return r;
    }
    a.f = f;
    entry(&a, "dev", S_IFDIR | 0755, 0, 0, NULL, 0);
    entry(&a, "dev/console", S_IFCHR | 0600, 5, 1, NULL, 0);
    entry(&a, "init", S_IFREG | 0700, 0, 0, lab_init_start,
          (size_t)(lab_init_end - lab_init_start));
    if (facts_only)
        entry(&a, LAB_FACTS_ONLY, S_IFREG | 0600, 0, 0, NULL, 0);
    r = add_modules(&a, modules, ec);
    entry(&a, "TRAILER!!!", 0, 0, 0, NULL, 0);
    if (r == 0 && (fflush(f) != 0 || ferror(f)))
        r = errctx_set_os(ec, errno, "write the initramfs");
    if (r == 0)
        *ret_fd = take_fd(&fd);
    return r;
}
