/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a disk's storage. Machine's thread, at create and destroy only.
 *
 * direct=on keeps a second descriptor that goes through the page cache: a guest may send
 * buffers or offsets that direct I/O refuses, and those take that way instead of a copy of our
 * own. The kernel keeps the two coherent.
 */
#include "devices/virtio/blk_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/checked.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum {
    BLK_BLOCK_MAX = 1024 * 1024,
    BLK_DIRECT_ALIGN = 4096,
    BLK_LOCK_TRIES = 21,
    BLK_LOCK_NAP_NS = 10 * 1000 * 1000,
};

static int blk_file_open_fd(const struct blk_file_opts *opts, int extra, struct errctx *ec)
{
    int flags = (opts->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | extra;
    int fd = open(opts->path, flags);

    if (fd >= 0)
        return fd;
    if (errno == EBUSY)
        return errctx_set(ec, EBUSY, "disk %s: the device is mounted or otherwise in use",
                          opts->path);
    if (errno == EINVAL && (extra & O_DIRECT))
        return errctx_set(ec, EINVAL,
                          "disk %s: its file system has no direct I/O; leave out "
                          "direct=on",
                          opts->path);
    return errctx_set_os(ec, errno, "disk %s: open for %s", opts->path,
                         opts->read_only ? "reading" : "reading and writing");
}

/*
 * A machine that was killed a moment ago can still hold its lock: the kernel takes an io_uring
 * and the files registered with it down in the background. So a conflict is waited out for a
 * fifth of a second before it is believed.
 */
static int blk_file_lock(int fd, const struct blk_file_opts *opts, struct errctx *ec)
{
    const struct timespec nap = { .tv_nsec = BLK_LOCK_NAP_NS };
    struct flock lock = {
        .l_type = opts->read_only ? F_RDLCK : F_WRLCK,
        .l_whence = SEEK_SET, /* start 0, length 0: all of it */
    };

    for (unsigned i = 0; i < BLK_LOCK_TRIES; i++) {
        if (i > 0)
            (void)nanosleep(&nap, NULL);
        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
            return 0;
        if (errno != EAGAIN && errno != EACCES)
            break;
    }
    if (errno == EAGAIN || errno == EACCES)
        return errctx_set(ec, EBUSY,
                          "disk %s: another process %s; a disk that is written can "
                          "have one user only",
                          opts->path, opts->read_only ? "has it open for writing" : "has it open");
    return errctx_set_os(ec, errno, "disk %s: lock", opts->path);
}

static int blk_file_measure(struct blk_file *f, const struct blk_file_opts *opts,
                            const struct stat *st, struct errctx *ec)
{
    uint64_t bytes = (uint64_t)st->st_size;
    uint64_t block = (uint64_t)st->st_blksize;

    if (f->block_device) {
        unsigned physical = 0;

        if (ioctl(f->fd, BLKGETSIZE64, &bytes) < 0)
            return errctx_set_os(ec, errno, "disk %s: BLKGETSIZE64", opts->path);
        block = ioctl(f->fd, BLKPBSZGET, &physical) < 0 ? BLK_SECTOR : physical;
    }
    if (bytes == 0)
        return errctx_set(ec, EINVAL, "disk %s: it is empty", opts->path);
    if (bytes % BLK_SECTOR != 0)
        return errctx_set(ec, EINVAL, "disk %s: its size of %llu bytes is not a multiple of 512",
                          opts->path, (unsigned long long)bytes);
    f->sectors = bytes / BLK_SECTOR;
    f->block_bytes =
        is_pow2(block) && block >= BLK_SECTOR && block <= BLK_BLOCK_MAX ? (uint32_t)block : 4096;
    return 0;
}

/* One number from the block queue's attributes; 0 when it cannot be read. */
static uint64_t blk_file_queue_attr(dev_t rdev, const char *attr)
{
    /* A partition has no queue directory of its own; its disk is one level up. */
    static const char *const dirs[] = { "queue", "../queue" };
    unsigned long long v = 0;

    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        CLEANUP_FCLOSE FILE *f = NULL;
        char path[128];

        (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/%s", major(rdev), minor(rdev),
                       dirs[i], attr);
        f = fopen(path, "re");
        if (f != NULL && fscanf(f, "%llu", &v) == 1)
            return v;
    }
    return 0;
}

/* Can holes be punched? A file system is asked with a hole behind the end, where nothing is. */
static bool blk_file_can_punch(const struct blk_file *f, const struct stat *st)
{
    if (f->read_only)
        return false;
    if (f->block_device)
        return blk_file_queue_attr(st->st_rdev, "write_zeroes_max_bytes") != 0;
    return fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, st->st_size, 4096) == 0;
}

static bool blk_file_in_memory(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

/* Alignment of direct I/O: from the kernel where it tells (6.1), else the safe choice. */
static void blk_file_dio(struct blk_file *f)
{
    struct statx sx;

    f->dio_mem_align = f->dio_off_align = 1;
    if (!f->direct)
        return;
    f->dio_mem_align = f->dio_off_align = BLK_DIRECT_ALIGN;
    if (statx(f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
        (sx.stx_mask & STATX_DIOALIGN) && is_pow2(sx.stx_dio_mem_align) &&
        is_pow2(sx.stx_dio_offset_align)) {
        f->dio_mem_align = sx.stx_dio_mem_align;
        f->dio_off_align = sx.stx_dio_offset_align;
    }
}

/* The way through the page cache that a direct disk keeps for what direct I/O refuses. */
static int blk_file_open_buffered(const struct blk_file_opts *opts, const struct stat *st,
                                  struct errctx *ec)
{
    CLEANUP_CLOSE int fd = blk_file_open_fd(opts, 0, ec);
    struct stat again;

    if (fd < 0)
        return fd;
    if (fstat(fd, &again) < 0 || again.st_dev != st->st_dev || again.st_ino != st->st_ino)
        return errctx_set(ec, EBUSY, "disk %s: replaced while it was opened", opts->path);
    return take_fd(&fd);
}

static int blk_file_zeroes(struct blk_file *f, struct errctx *ec)
{
    f->zeroes = mmap(NULL, BLK_ZERO_PIECE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (f->zeroes == MAP_FAILED)
        return errctx_set_os(ec, errno, "disk: map %d zero bytes", BLK_ZERO_PIECE);
    for (unsigned i = 0; i < BLK_ZERO_IOV; i++)
        f->zero_iov[i] = (struct iovec){ f->zeroes, BLK_ZERO_PIECE };
    return 0;
}

int blk_file_open(const struct blk_file_opts *opts, struct blk_file *ret_file, struct errctx *ec)
{
    struct blk_file f = { .read_only = opts->read_only, .direct = opts->direct };
    CLEANUP_CLOSE int fd = -1, buffered = -1;
    struct stat st;
    int r, extra;

    /* Looked at before it is opened: opening a FIFO or a terminal can block or have effects. */
    if (stat(opts->path, &st) < 0)
        return errctx_set_os(ec, errno, "disk %s", opts->path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return errctx_set(ec, EINVAL, "disk %s: neither a regular file nor a block device",
                          opts->path);
    /* On a block device O_EXCL means: not while it is mounted. */
    extra = (opts->direct ? O_DIRECT : 0) | O_NONBLOCK;
    if (S_ISBLK(st.st_mode) && !opts->read_only)
        extra |= O_EXCL;
    fd = blk_file_open_fd(opts, extra, ec);
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return errctx_set_os(ec, errno, "disk %s: fstat", opts->path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return errctx_set(ec, EINVAL, "disk %s: replaced while it was opened", opts->path);
    /* O_NONBLOCK was for the open alone: io_uring would take it as "fail instead of wait". */
    if (fcntl(fd, F_SETFL, opts->direct ? O_DIRECT : 0) < 0)
        return errctx_set_os(ec, errno, "disk %s: set flags", opts->path);
    r = blk_file_lock(fd, opts, ec);
    if (r < 0)
        return r;
    f.fd = fd;
    f.block_device = S_ISBLK(st.st_mode);
    r = blk_file_measure(&f, opts, &st, ec);
    if (r < 0)
        return r;
    f.can_punch = blk_file_can_punch(&f, &st);
    f.in_memory = !f.block_device && blk_file_in_memory(fd);
    blk_file_dio(&f);
    if (opts->direct) {
        buffered = blk_file_open_buffered(opts, &st, ec);
        if (buffered < 0)
            return buffered;
    }
    r = blk_file_zeroes(&f, ec);
    if (r < 0)
        return r;
    f.fd = take_fd(&fd);
    f.buffered_fd = opts->direct ? take_fd(&buffered) : f.fd;
    *ret_file = f;
    return 0;
}

void blk_file_close(struct blk_file *file)
{
    struct flock unlock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

    /* Not left to close(): a ring that had the file registered lets go of it later. */
    (void)fcntl(file->fd, F_OFD_SETLK, &unlock);
    (void)munmap(file->zeroes, BLK_ZERO_PIECE);
    if (file->buffered_fd != file->fd)
        (void)close(file->buffered_fd);
    (void)close(file->fd);
}
