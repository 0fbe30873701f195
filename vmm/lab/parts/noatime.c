/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loaded into virtiofsd (LD_PRELOAD) where it runs without privileges: opens without O_NOATIME.
 *
 * overlayfs opens the files of its lower layer with O_NOATIME, virtio-fs hands that on, and the
 * host's kernel grants it to owners only, so that nobody could open anybody else's files, which is
 * most of a system. Every mount there is read-only, where no time of access is written anyway.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

int openat64(int dir, const char *path, int flags, ...);
int __openat64_2(int dir, const char *path, int flags);

int openat64(int dir, const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list ap;

    va_start(ap, flags);
    if (flags & (O_CREAT | __O_TMPFILE))
        mode = va_arg(ap, mode_t);
    va_end(ap);
    return (int)syscall(SYS_openat, dir, path, flags & ~O_NOATIME, mode);
}

/* What the C library's checks make of a call without a mode. */
int __openat64_2(int dir, const char *path, int flags)
{
    return (int)syscall(SYS_openat, dir, path, flags & ~O_NOATIME, 0);
}
