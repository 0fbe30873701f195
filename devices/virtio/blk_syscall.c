/* SPDX-License-Identifier: Apache-2.0 */
/* One request, one system call, no state. */
#include "devices/virtio/blk_syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

static int64_t blk_syscall_fallocate(const struct blk_io *io, int fd, int mode)
{
    return fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)io->off, (off_t)io->len);
}

int64_t blk_syscall_run(const struct blk_io *io, int fd)
{
    int64_t r = -1;

    switch (io->op) {
    case BLK_OP_READ:
        r = preadv2(fd, io->iov, (int)io->n_iov, (off_t)io->off, 0);
        break;
    case BLK_OP_WRITE:
        r = pwritev2(fd, io->iov, (int)io->n_iov, (off_t)io->off, io->dsync ? RWF_DSYNC : 0);
        break;
    case BLK_OP_FLUSH:
        r = fdatasync(fd);
        break;
    case BLK_OP_PUNCH:
        r = blk_syscall_fallocate(io, fd, FALLOC_FL_PUNCH_HOLE);
        break;
    case BLK_OP_ZERO:
        r = blk_syscall_fallocate(io, fd, FALLOC_FL_ZERO_RANGE);
        break;
    }
    return r < 0 ? -errno : r;
}
