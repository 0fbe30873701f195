/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a file that a guest may wait for, with a deadline: what the page cache has at once, the
 * rest through rings of swap_ring.h, one for each thread that may read at a time. A ring whose read
 * is late is used again when that has ended. All is made at the start.
 */
#ifndef MEMORY_STORE_GOLDEN_POOL_H
#define MEMORY_STORE_GOLDEN_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

struct golden_pool;

/** golden_pool_new() - for @n threads that read @fd, which is borrowed. Before the sandbox. Return:
 *  0, -ENOMEM, or as swap_ring_new(). */
int golden_pool_new(int fd, size_t n, struct golden_pool **ret_pool, struct errctx *ec);

/** golden_pool_free() - NULL is allowed. */
void golden_pool_free(struct golden_pool *pool);

/**
 * golden_pool_read() - @len bytes from @off on, up to 4 KiB. Any thread.
 * Return: 0; -ENODATA: the file ends before; -ETIME: not within SWAP_DEADLINE_S, or as many reads
 * are late as may be under way; another errno of the disk's.
 */
int golden_pool_read(struct golden_pool *pool, void *bytes, size_t len, uint64_t off);

#endif
