/* SPDX-License-Identifier: Apache-2.0 */
/* See swap_file.h. */
#include "memory/store/swap_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum {
    LOCK_TRIES = 21, /* who was killed may hold its lock for a moment: io_uring ends late */
    LOCK_NAP_NS = 10 * 1000 * 1000,
};

static const char magic[] = "numavisor swap 1\n";

bool swap_file_is_ours(const uint8_t start[SWAP_START])
{
    const bool is_old = memcmp(start, magic, sizeof(magic)) == 0;
    const size_t end = is_old ? SWAP_BLOCK : SWAP_START;
    size_t i = is_old ? sizeof(magic) : 0;

    while (i < end && start[i] == 0)
        i++;
    return i == end;
}

static void nap(void)
{
    (void)nanosleep(&(struct timespec){ .tv_nsec = LOCK_NAP_NS }, NULL);
}

/* A block device that a machine had is not free at once when it ends: the kernel takes its rings
 * apart later. Of a block device O_EXCL means: not while it is mounted. */
static int open_patiently(const char *path, bool is_device)
{
    const int flags = O_RDWR | O_DIRECT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    int fd = open(path, flags | (is_device ? O_EXCL : 0));

    for (unsigned i = 1; fd < 0 && errno == EBUSY && i < LOCK_TRIES; i++) {
        nap();
        fd = open(path, flags | (is_device ? O_EXCL : 0));
    }
    return fd;
}

static int open_fd(const char *path, struct stat *st, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = -1;

    if (stat(path, st) < 0)
        return errno == ENOENT
                   ? errctx_set(ec, ENOENT,
                                "there is no file %s, make one: truncate -s 8G %s", path, path)
                   : errctx_set_os(ec, errno, "%s", path);
    if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
        return errctx_set(ec, EINVAL, "%s is neither a file nor a block device", path);
    fd = open_patiently(path, S_ISBLK(st->st_mode));
    if (fd < 0 && errno == EINVAL)
        return errctx_set(ec, EINVAL, "the file system of %s has no direct I/O", path);
    if (fd < 0 && errno == EBUSY)
        return errctx_set(ec, EBUSY, "%s is mounted, or another process has it", path);
    if (fd < 0)
        return errctx_set_os(ec, errno, "open %s", path);
    if (fstat(fd, st) < 0)
        return errctx_set_os(ec, errno, "look at %s", path);
    if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
        return errctx_set(ec, EINVAL, "%s was replaced while it was opened", path);
    if (fcntl(fd, F_SETFL, O_DIRECT) < 0) /* O_NONBLOCK was for opening alone */
        return errctx_set_os(ec, errno, "set flags of %s", path);
    return take_fd(&fd);
}

static int lock(int fd, const char *path, struct errctx *ec)
{
    struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    for (unsigned i = 0; i < LOCK_TRIES; i++) {
        if (i > 0)
            nap();
        if (fcntl(fd, F_OFD_SETLK, &all) == 0)
            return 0;
        if (errno != EAGAIN && errno != EACCES)
            return errctx_set_os(ec, errno, "lock %s", path);
    }
    return errctx_set(ec, EBUSY,
                      "another process has %s; each machine needs a swap file of its own", path);
}

static int measure(int fd, const struct stat *st, const char *path, uint32_t *ret_n_blocks,
                   struct errctx *ec)
{
    uint64_t bytes = (uint64_t)st->st_size;

    if (S_ISBLK(st->st_mode) && ioctl(fd, BLKGETSIZE64, &bytes) < 0)
        return errctx_set_os(ec, errno, "size of %s", path);
    if (bytes < SWAP_START)
        return errctx_set(ec, EINVAL, "%s has %llu bytes, at least 1 MiB is needed", path,
                          (unsigned long long)bytes);
    *ret_n_blocks = (uint32_t)MIN(bytes / SWAP_BLOCK, (uint64_t)UINT32_MAX);
    return 0;
}

/* Nobody's disk is written over because of a wrong name. */
static int claim(int fd, const char *path, uint8_t *start, struct errctx *ec)
{
    ssize_t n = pread(fd, start, SWAP_START, 0);

    if (n != SWAP_START)
        return errctx_set_os(ec, n < 0 ? errno : EIO, "read the start of %s", path);
    if (!swap_file_is_ours(start))
        return errctx_set(ec, EINVAL,
                          "%s holds something that is not a swap file of numavisor's; if that can "
                          "go, clear its first MiB: dd if=/dev/zero of=%s bs=4k count=256 "
                          "conv=notrunc",
                          path, path);
    memset(start, 0, SWAP_BLOCK);
    memcpy(start, magic, sizeof(magic));
    n = pwrite(fd, start, SWAP_BLOCK, 0);
    if (n != SWAP_BLOCK)
        return errctx_set_os(ec, n < 0 ? errno : EIO, "write the start of %s", path);
    return 0;
}

int swap_file_open(const char *path, struct swap_file *ret_file, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = -1;
    uint32_t n_blocks = 0;
    struct stat st;
    uint8_t *start;
    int r;

    fd = open_fd(path, &st, ec);
    if (fd < 0)
        return fd;
    r = lock(fd, path, ec);
    if (r == 0)
        r = measure(fd, &st, path, &n_blocks, ec);
    if (r < 0)
        return r;
    /* Direct I/O wants whole pages. */
    start = mmap(NULL, SWAP_START, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        return errctx_set(ec, ENOMEM, "no memory to look at %s", path);
    r = claim(fd, path, start, ec);
    (void)munmap(start, SWAP_START);
    if (r < 0)
        return r;
    *ret_file = (struct swap_file){ .fd = take_fd(&fd), .n_blocks = n_blocks };
    return 0;
}

void swap_file_close(struct swap_file *file)
{
    struct flock unlock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

    if (file->fd < 0)
        return;
    /* Not left to close(): a ring that had the file lets go of it later. Which is right where a
     * write may come late, over blocks that would be the next machine's. */
    if (!file->late)
        (void)fcntl(file->fd, F_OFD_SETLK, &unlock);
    (void)close(file->fd);
    file->fd = -1;
}
