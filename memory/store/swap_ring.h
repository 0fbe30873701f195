/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of a swap file, read and written by one thread at a time through an io_uring of its own,
 * and bytes of a golden file, read: the only file with its calls. Each transfer has a deadline,
 * because a guest may wait for it and whoever pauses the machine waits for that; a disk that does
 * not answer in time is not asked again.
 *
 * A ring can do nothing but read, and write, its one file. Buffer and ring are made at the start;
 * nothing is allocated later.
 */
#ifndef MEMORY_STORE_SWAP_RING_H
#define MEMORY_STORE_SWAP_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

struct swap_ring;

enum {
    SWAP_BATCH = 32,         /* blocks in a ring's buffer */
    SWAP_DEADLINE_S = 10,    /* of a transfer */
};

/** swap_ring_new() - a ring for the file @fd, which is borrowed and open for direct I/O. Before
 *  the sandbox. Return: 0, -ENOMEM, or the errno of io_uring's calls. */
int swap_ring_new(int fd, struct swap_ring **ret_ring, struct errctx *ec);

/** swap_ring_new_reader() - one that reads @fd by bytes, through the page cache, up to SWAP_BLOCK
 *  of them; by swap_ring_read_bytes() alone. Return: as swap_ring_new(). */
int swap_ring_new_reader(int fd, struct swap_ring **ret_ring, struct errctx *ec);

/** swap_ring_free() - NULL is allowed. What a disk still writes into the buffer harms nobody. */
void swap_ring_free(struct swap_ring *ring);

/** swap_ring_buffer() - SWAP_BATCH blocks; a reader's: one. */
uint8_t *swap_ring_buffer(struct swap_ring *ring);

/**
 * swap_ring_read() / swap_ring_write() - @n blocks of the file from number @block on into the
 * buffer, or the buffer's first @n into the file. Parts are asked for again.
 * Return: 0; -ENODATA: the file ends before; -ENOSPC: no room on its disk; -ETIMEDOUT: no answer in
 * time, now or before; another errno of the disk's.
 */
int swap_ring_read(struct swap_ring *ring, uint32_t block, size_t n);
int swap_ring_write(struct swap_ring *ring, uint32_t block, size_t n);

/** swap_ring_read_bytes() - @len bytes from @off on into a reader's buffer. Return: as
 *  swap_ring_read(). */
int swap_ring_read_bytes(struct swap_ring *ring, uint64_t off, size_t len);

/** swap_ring_is_free() - is nothing under way any more that was late? */
bool swap_ring_is_free(struct swap_ring *ring);

#endif
