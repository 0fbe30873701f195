/* SPDX-License-Identifier: Apache-2.0 */
/*
 * userfaultfd(2): the only file with its calls. A descriptor serves ranges of shared memory files,
 * both for pages that are not in the file (missing) and for those that are and were taken out of
 * the page table (minor).
 *
 * After the last copy of the descriptor is closed missing pages read as zeroes: never close it
 * while a page is away and somebody may touch it.
 */
#ifndef MEMORY_PAGER_UFFD_H
#define MEMORY_PAGER_UFFD_H

#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "vmm/base/errctx.h"

#ifndef UFFDIO_POISON /* Linux 6.6; not in that header */
#define UFFD_FEATURE_POISON         (1u << 14)
#define UFFDIO_POISON_MODE_DONTWAKE ((uint64_t)1 << 0)
struct uffdio_poison {
    struct uffdio_range range;
    uint64_t mode;
    int64_t updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#endif

#ifndef UFFDIO_RWPROTECT /* Linux 7.3; not in that header */
#define UFFD_FEATURE_RWP          (1u << 17)
#define UFFD_FEATURE_RWP_ASYNC    (1u << 18)
#define UFFDIO_REGISTER_MODE_RWP  ((uint64_t)1 << 3)
#define UFFDIO_RWPROTECT_MODE_RWP ((uint64_t)1 << 0)
#define _UFFDIO_RWPROTECT         0x09
struct uffdio_rwprotect {
    struct uffdio_range range;
    uint64_t mode;
};
#define UFFDIO_RWPROTECT _IOWR(UFFDIO, _UFFDIO_RWPROTECT, struct uffdio_rwprotect)
#endif

/**
 * uffd_open() - a new descriptor, by /dev/userfaultfd or, with CAP_SYS_PTRACE or the sysctl
 * vm.unprivileged_userfaultfd, by the system call. KVM's own accesses need what only these give:
 * faults of kernel mode. Reading does not block.
 * Return: 0; -EACCES or -EPERM: not allowed; -ENOSYS: no such call; -ENOTSUP: no minor faults of
 * memory files (Linux before 5.14); another errno.
 */
int uffd_open(int *ret_fd, struct errctx *ec);

/* What a kernel has beside. */
struct uffd_can {
    bool poison;  /* uffd_poison(): Linux 6.6 */
    bool protect; /* uffd_register_rwp(), uffd_protect(): Linux 7.3 with CONFIG_USERFAULTFD_RWP */
};

/** uffd_open_all() - as uffd_open(), with all that the kernel can. */
int uffd_open_all(int *ret_fd, struct uffd_can *ret_can, struct errctx *ec);

/** uffd_register() / uffd_unregister() - faults in whole pages of [@addr, @addr+@len).
 *  Unregistering wakes who waits for a page that is missing. Return: 0 or the errno of the call. */
int uffd_register(int fd, void *addr, size_t len, struct errctx *ec);
int uffd_unregister(int fd, void *addr, size_t len, struct errctx *ec);

/** uffd_register_rwp() - as uffd_register(), and for uffd_protect(). Such memory has no huge pages
 *  made in it (MADV_COLLAPSE: EINVAL), and this fails where nobody has access (EINVAL). */
int uffd_register_rwp(int fd, void *addr, size_t len, struct errctx *ec);

/** uffd_register_minor() - for pages that are in the file and not in the page table; the kernel
 *  serves the others. */
int uffd_register_minor(int fd, void *addr, size_t len, struct errctx *ec);

enum { UFFD_BATCH = 16 };

struct uffd_fault {
    uint64_t addr; /* of the page */
    bool is_write; /* by who waits; false: nobody knows what comes next */
};

/** uffd_read() - up to UFFD_BATCH faults. Return: how many; 0 when there are none now. */
size_t uffd_read(int fd, struct uffd_fault ret_faults[static UFFD_BATCH]);

/* All return 0 or a negative errno, and wake who waits for the page on success. -EAGAIN never: they
 * try again themselves. */

/** uffd_copy() - a missing page becomes a copy of @page. -EEXIST: it is not missing. */
int uffd_copy(int fd, uint8_t *addr, const void *page);

/** uffd_zero() - missing pages become zeroes. -EEXIST: the first is not missing; where a later one
 *  is not the rest stays as it is. */
int uffd_zero(int fd, uint8_t *addr, size_t len);

/** uffd_zero_quietly() - as uffd_zero(), and wakes nobody. */
int uffd_zero_quietly(int fd, uint8_t *addr, size_t len);

/** uffd_continue() - map pages of the file. -EEXIST: the first is mapped; -EFAULT: the file has
 *  none; where that is so of a later one the rest stays as it is. */
int uffd_continue(int fd, uint8_t *addr, size_t len);

/** uffd_poison() - a page that is not mapped: whoever touches it gets SIGBUS (BUS_MCEERR_AR), the
 *  kernel EFAULT, until it is unmapped by MADV_DONTNEED. Wakes nobody. -EEXIST: it is mapped, or is
 *  like that already. */
int uffd_poison(int fd, uint8_t *addr);

/** uffd_protect() - whoever touches a page that is mapped now has the kernel note it, and goes on;
 *  page_table_accessed() tells. Nobody is told here. A huge page of a memory file is taken out of
 *  the page table instead. */
int uffd_protect(int fd, uint8_t *addr, size_t len);

/** uffd_wake() - who waits in the range tries again. */
void uffd_wake(int fd, uint8_t *addr, size_t len);

#endif
