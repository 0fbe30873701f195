/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory/numa_policy.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1; Debian 12's C library does not name it */
#endif

enum {
    HUGE_BYTES = 2 * MIB,
    /* Clearing a huge page costs about what the faults for 1 MiB of normal pages cost. */
    HUGE_WORTH_BYTES = HUGE_BYTES / 2,
};

/* Map @len_bytes of @fd at a 2 MiB boundary, so that huge pages can be mapped whole. */
static void *map_aligned(int fd, size_t len_bytes)
{
    const size_t align = HUGE_BYTES;
    uint8_t *area, *start;
    size_t head;

    area = mmap(NULL, len_bytes + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                0);
    if (area == MAP_FAILED)
        return MAP_FAILED;
    head = (align - (uintptr_t)area % align) % align;
    start = area + head;
    if (head > 0)
        (void)munmap(area, head);
    (void)munmap(start + len_bytes, align - head);
    if (mmap(start, len_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd,
             0) == MAP_FAILED) {
        int saved = errno;

        (void)munmap(start, len_bytes);
        errno = saved;
        return MAP_FAILED;
    }
    return start;
}

int backing_init(struct vnode_id vnode, const struct idset *host_nodes, size_t len_bytes,
                 struct backing *ret_backing, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = -1;
    char name[32];
    void *host;
    int r;

    (void)snprintf(name, sizeof(name), "guest-ram-%u", vnode.v);
    fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0)
        return errctx_set_os(ec, errno, "memfd_create");
    if (ftruncate(fd, (off_t)len_bytes) < 0)
        return errctx_set_os(ec, errno, "size of %zu bytes", len_bytes);
    host = map_aligned(fd, len_bytes);
    if (host == MAP_FAILED)
        return errctx_set_os(ec, errno, "map %zu bytes", len_bytes);
    if (madvise(host, len_bytes, MADV_DONTFORK) < 0 ||
        madvise(host, len_bytes, MADV_DONTDUMP) < 0) {
        r = errctx_set_os(ec, errno, "madvise");
        goto err_unmap;
    }
    if (!idset_empty(host_nodes)) {
        r = numa_policy_bind(host, len_bytes, host_nodes, ec);
        if (r < 0)
            goto err_unmap;
    }
    *ret_backing = (struct backing){
        .vnode = vnode, .memfd = take_fd(&fd), .host = host, .len_bytes = len_bytes
    };
    return 0;

err_unmap:
    (void)munmap(host, len_bytes);
    return r;
}

void backing_fini(struct backing *b)
{
    if (b->host == NULL)
        return;
    (void)munmap(b->host, b->len_bytes);
    (void)close(b->memfd);
    *b = (struct backing){ 0 };
}

/* The extent of 2 MiB at @extent, of which @page is a page, as one huge page. With
 * shmem_enabled=never, the default, a memfd gets huge pages by MADV_COLLAPSE only, which wants one
 * page to be there and fills the rest. */
static bool take_huge(uint8_t *extent, uint8_t *page)
{
    return madvise(page, 1, MADV_POPULATE_WRITE) == 0 &&
           madvise(extent, HUGE_BYTES, MADV_COLLAPSE) == 0;
}

int backing_take(uint8_t *start, size_t len_bytes, const struct backing_span *around)
{
    uint8_t *const end = start + len_bytes;

    while (start < end) {
        uint8_t *const extent = start - (uintptr_t)start % HUGE_BYTES;
        const size_t to_border = HUGE_BYTES - (size_t)(start - extent);
        const size_t len = MIN((size_t)(end - start), to_border);
        const bool lies_around = extent >= around->start &&
                                 HUGE_BYTES <= (size_t)(around->end - extent);

        if ((len < HUGE_WORTH_BYTES || !lies_around || !take_huge(extent, start)) &&
            madvise(start, len, MADV_POPULATE_WRITE) < 0)
            return -errno;
        start += len;
    }
    return 0;
}

int backing_prealloc(struct backing *b, struct errctx *ec)
{
    const struct backing_span all = { b->host, b->host + b->len_bytes };
    int r = backing_take(b->host, b->len_bytes, &all);

    return r < 0 ? errctx_set_os(ec, -r, "take %zu bytes from the host", b->len_bytes) : 0;
}

int backing_discard(struct backing *b, struct errctx *ec)
{
    if (fallocate(b->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)b->len_bytes) < 0)
        return errctx_set_os(ec, errno, "give %zu bytes back", b->len_bytes);
    return 0;
}
