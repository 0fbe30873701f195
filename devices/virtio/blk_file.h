/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file or block device behind a virtio disk: opened, locked and measured once.
 *
 * A disk that is opened for writing holds a write lock on the whole file (F_OFD_SETLK), one
 * that is opened read-only a read lock, so that two machines never write one image. Sectors are
 * 512 bytes towards the guest whatever the host's storage has, so that an image means the same
 * on every host; the host's block size shows in the topology fields.
 */
#ifndef DEVICES_VIRTIO_BLK_FILE_H
#define DEVICES_VIRTIO_BLK_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/base/errctx.h"

enum {
    BLK_SECTOR = 512,
    BLK_ZERO_PIECE = 64 * 1024, /* bytes of zeroes one vector entry points to */
    BLK_ZERO_IOV = 64,          /* entries that all point to the same zeroes */
};

struct blk_file_opts {
    const char *path;
    bool read_only;
    bool direct; /* past the host's page cache */
};

struct blk_file {
    int fd;
    int buffered_fd; /* a second one through the page cache when direct; else the same number */
    bool read_only, direct, block_device;
    bool can_punch; /* PUNCH_HOLE works here */
    bool in_memory; /* tmpfs or the like: no call on it waits for a device */
    uint64_t sectors;
    uint32_t block_bytes; /* preferred block of the storage: power of two, 512 .. 1 MiB */
    uint32_t dio_mem_align, dio_off_align; /* what direct I/O wants; 1 when not direct */
    void *zeroes;                          /* BLK_ZERO_PIECE bytes, read-only */
    struct iovec zero_iov[BLK_ZERO_IOV];
};

/**
 * blk_file_open() - open, lock and measure.
 * @ret_file: filled on success, release with blk_file_close(); untouched on failure.
 *
 * Return: 0, or with a sentence that names the file
 *   -EINVAL  neither a regular file nor a block device, empty, not a multiple of 512 bytes, or
 *            direct I/O is not possible there;
 *   -EBUSY   locked by another process, or a block device that is mounted;
 *   or the errno of stat, open, mmap.
 */
int blk_file_open(const struct blk_file_opts *opts, struct blk_file *ret_file, struct errctx *ec);
void blk_file_close(struct blk_file *file);

#endif
