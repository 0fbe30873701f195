/* SPDX-License-Identifier: Apache-2.0 */
/* The plain system call behind a struct blk_io, for the backends that do not use a ring. */
#ifndef DEVICES_VIRTIO_BLK_SYSCALL_H
#define DEVICES_VIRTIO_BLK_SYSCALL_H

#include <stdint.h>

#include "devices/virtio/blk_backend.h"

/** blk_syscall_run() - carry @io out on @fd; blocks. Any thread. Return: bytes or -errno. */
int64_t blk_syscall_run(const struct blk_io *io, int fd);

#endif
