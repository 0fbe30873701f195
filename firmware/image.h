/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel or initrd file: bounded reads, and copies straight into guest memory.
 *
 * The file's bytes are untrusted and the file may change while it is read; a short read is a
 * "truncated" sentence, never a wait. Nothing is buffered whole: guest memory is the buffer.
 */
#ifndef FIRMWARE_IMAGE_H
#define FIRMWARE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "memory/guest_mem.h"
#include "vmm/base/errctx.h"

struct image {
    int fd; /* borrowed */
    const char *name;
    uint64_t size_bytes;
};

/** image_open() - @fd must be a regular file that is not empty. Return: 0, -ENOEXEC, or the
 *  errno of fstat. */
int image_open(int fd, const char *name, struct image *ret_image, struct errctx *ec);

/** image_read() - exactly @len bytes at @off. Return: 0, -ENOEXEC (the file ends before), or
 *  the errno of pread. */
int image_read(const struct image *img, uint64_t off, void *buf, size_t len, struct errctx *ec);

/**
 * image_to_guest() - copy @len bytes at @off to guest address @addr.
 * Return: as image_read(), -E2BIG when the bytes would not all be in guest RAM, or -ENOMEM.
 */
int image_to_guest(const struct image *img, uint64_t off, uint64_t len, struct guest_mem *mem,
                   struct gpa addr, struct errctx *ec);

#endif
