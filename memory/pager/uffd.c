/* SPDX-License-Identifier: Apache-2.0 */
/* See uffd.h. */
#include "memory/pager/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00) /* Linux 6.1; not in that header */
#endif

enum { PAGE_BYTES = 4096 };

static int open_any(void)
{
    CLEANUP_CLOSE int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    int fd = -1;

    if (dev >= 0)
        fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    return fd;
}

static int say_features(int fd, uint64_t features)
{
    struct uffdio_api api = { .api = UFFD_API, .features = features };

    return ioctl(fd, UFFDIO_API, &api);
}

int uffd_open_all(int *ret_fd, struct uffd_can *ret_can, struct errctx *ec)
{
    const uint64_t wanted = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM;
    const uint64_t protect = UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC;
    CLEANUP_CLOSE int fd = open_any();

    if (fd < 0)
        return errctx_set_os(ec, errno, "userfaultfd");
    /* A kernel refuses all of them when it lacks one; then it can be asked again. */
    ret_can->protect = say_features(fd, wanted | UFFD_FEATURE_POISON | protect) == 0;
    ret_can->poison = ret_can->protect || say_features(fd, wanted | UFFD_FEATURE_POISON) == 0;
    if (!ret_can->poison && say_features(fd, wanted) < 0)
        return errno == EINVAL
                   ? errctx_set(ec, ENOTSUP,
                                "the kernel reports no minor faults of memory files: use Linux "
                                "5.14 or later")
                   : errctx_set_os(ec, errno, "userfaultfd: UFFDIO_API");
    *ret_fd = take_fd(&fd);
    return 0;
}

int uffd_open(int *ret_fd, struct errctx *ec)
{
    struct uffd_can can;

    return uffd_open_all(ret_fd, &can, ec);
}

static int do_register(int fd, void *addr, size_t len, uint64_t mode, uint64_t wanted,
                       struct errctx *ec)
{
    struct uffdio_register reg = {
        .range = { .start = (uintptr_t)addr, .len = len },
        .mode = mode,
    };

    if (ioctl(fd, UFFDIO_REGISTER, &reg) < 0)
        return errctx_set_os(ec, errno, "userfaultfd: register %zu bytes", len);
    if ((reg.ioctls & wanted) != wanted)
        return errctx_set(ec, ENOTSUP, "userfaultfd cannot bring pages of a memory file back");
    return 0;
}

enum { MODES = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR };

#define BRINGS_BACK \
    (1ull << _UFFDIO_COPY | 1ull << _UFFDIO_ZEROPAGE | 1ull << _UFFDIO_CONTINUE | \
     1ull << _UFFDIO_WAKE)

int uffd_register(int fd, void *addr, size_t len, struct errctx *ec)
{
    return do_register(fd, addr, len, MODES, BRINGS_BACK, ec);
}

int uffd_register_rwp(int fd, void *addr, size_t len, struct errctx *ec)
{
    return do_register(fd, addr, len, MODES | UFFDIO_REGISTER_MODE_RWP,
                       BRINGS_BACK | 1ull << _UFFDIO_RWPROTECT, ec);
}

int uffd_register_minor(int fd, void *addr, size_t len, struct errctx *ec)
{
    return do_register(fd, addr, len, UFFDIO_REGISTER_MODE_MINOR,
                       1ull << _UFFDIO_CONTINUE | 1ull << _UFFDIO_WAKE, ec);
}

int uffd_unregister(int fd, void *addr, size_t len, struct errctx *ec)
{
    struct uffdio_range range = { .start = (uintptr_t)addr, .len = len };

    if (ioctl(fd, UFFDIO_UNREGISTER, &range) < 0)
        return errctx_set_os(ec, errno, "userfaultfd: unregister %zu bytes", len);
    return 0;
}

size_t uffd_read(int fd, struct uffd_fault ret_faults[static UFFD_BATCH])
{
    struct uffd_msg msg[UFFD_BATCH];
    const ssize_t n = read(fd, msg, sizeof(msg));
    size_t found = 0;

    for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(msg[0]); i++)
        if (msg[i].event == UFFD_EVENT_PAGEFAULT)
            ret_faults[found++] = (struct uffd_fault){
                .addr = msg[i].arg.pagefault.address & ~(uint64_t)(PAGE_BYTES - 1),
                .is_write = (msg[i].arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0,
            };
    return found;
}

/* EAGAIN: our mappings were being changed. */
static int repeat(int fd, unsigned long request, void *arg)
{
    while (ioctl(fd, request, arg) < 0)
        if (errno != EAGAIN)
            return -errno;
    return 0;
}

int uffd_copy(int fd, uint8_t *addr, const void *page)
{
    struct uffdio_copy copy = {
        .dst = (uintptr_t)addr, .src = (uintptr_t)page, .len = PAGE_BYTES
    };

    return repeat(fd, UFFDIO_COPY, &copy);
}

static int zero_range(int fd, uint8_t *addr, size_t len, uint64_t mode)
{
    struct uffdio_zeropage zero = {
        .range = { .start = (uintptr_t)addr, .len = len }, .mode = mode
    };

    while (ioctl(fd, UFFDIO_ZEROPAGE, &zero) < 0) {
        if (zero.zeropage > 0) /* a part of it */
            return 0;
        if (errno != EAGAIN)
            return -errno;
    }
    return 0;
}

int uffd_zero(int fd, uint8_t *addr, size_t len)
{
    return zero_range(fd, addr, len, 0);
}

int uffd_zero_quietly(int fd, uint8_t *addr, size_t len)
{
    return zero_range(fd, addr, len, UFFDIO_ZEROPAGE_MODE_DONTWAKE);
}

int uffd_continue(int fd, uint8_t *addr, size_t len)
{
    struct uffdio_continue cont = { .range = { .start = (uintptr_t)addr, .len = len } };

    while (ioctl(fd, UFFDIO_CONTINUE, &cont) < 0) {
        if (cont.mapped > 0) /* a part of it */
            return 0;
        if (errno != EAGAIN)
            return -errno;
    }
    return 0;
}

int uffd_poison(int fd, uint8_t *addr)
{
    struct uffdio_poison poison = {
        .range = { .start = (uintptr_t)addr, .len = PAGE_BYTES },
        .mode = UFFDIO_POISON_MODE_DONTWAKE,
    };

    return repeat(fd, UFFDIO_POISON, &poison);
}

int uffd_protect(int fd, uint8_t *addr, size_t len)
{
    struct uffdio_rwprotect protect = {
        .range = { .start = (uintptr_t)addr, .len = len },
        .mode = UFFDIO_RWPROTECT_MODE_RWP,
    };

    return repeat(fd, UFFDIO_RWPROTECT, &protect);
}

void uffd_wake(int fd, uint8_t *addr, size_t len)
{
    struct uffdio_range range = { .start = (uintptr_t)addr, .len = len };

    (void)ioctl(fd, UFFDIO_WAKE, &range);
}
