/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A swap file that is memory, in place of swap_ring.c: who includes this has the linker wrap
 * swap_ring_new, _free, _buffer, _read and _write. One at a time.
 */
#ifndef MEMORY_STORE_TEST_FAKE_DISK_H
#define MEMORY_STORE_TEST_FAKE_DISK_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "memory/store/swap.h"
#include "vmm/base/cleanup.h"

struct swap_ring {
    uint8_t buffer[SWAP_BATCH][SWAP_BLOCK];
};

static struct fake_disk {
    pthread_mutex_t lock; /* a real one does not tear blocks apart either */
    uint8_t *bytes;
    uint32_t n_blocks;
    _Atomic int read_error, write_error; /* what every transfer ends with; 0: it works */
    _Atomic uint32_t has_room_for;       /* blocks; behind them the disk is full */
    _Atomic uint64_t reads, writes;
    _Atomic uint32_t read_ms; /* that a read takes */
    _Atomic bool holds_reads, holds_writes; /* until this is false again */
    _Atomic bool is_held;                   /* one is */
} disk = { .lock = PTHREAD_MUTEX_INITIALIZER };

int __wrap_swap_ring_new(int fd, struct swap_ring **ret_ring, struct errctx *ec);
void __wrap_swap_ring_free(struct swap_ring *ring);
uint8_t *__wrap_swap_ring_buffer(struct swap_ring *ring);
int __wrap_swap_ring_read(struct swap_ring *ring, uint32_t block, size_t n);
int __wrap_swap_ring_write(struct swap_ring *ring, uint32_t block, size_t n);

int __wrap_swap_ring_new(int fd, struct swap_ring **ret_ring, struct errctx *ec)
{
    struct swap_ring *ring = calloc(1, sizeof(*ring));

    (void)fd;
    if (ring == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a disk that is none");
    *ret_ring = ring;
    return 0;
}

void __wrap_swap_ring_free(struct swap_ring *ring)
{
    free(ring);
}

uint8_t *__wrap_swap_ring_buffer(struct swap_ring *ring)
{
    return ring->buffer[0];
}

static inline void fake_disk_hold(const _Atomic bool *holds)
{
    while (atomic_load(holds)) {
        atomic_store(&disk.is_held, true);
        (void)sched_yield();
    }
}

int __wrap_swap_ring_read(struct swap_ring *ring, uint32_t block, size_t n)
{
    const struct timespec nap = { .tv_nsec = (long)atomic_load(&disk.read_ms) * 1000 * 1000 };

    if (nap.tv_nsec > 0)
        (void)nanosleep(&nap, NULL);
    fake_disk_hold(&disk.holds_reads);
    LOCK_SCOPE(&disk.lock);

    atomic_fetch_add(&disk.reads, 1);
    if (atomic_load(&disk.read_error) != 0)
        return -atomic_load(&disk.read_error);
    if (block + n > disk.n_blocks)
        return -ENODATA;
    memcpy(ring->buffer, disk.bytes + (size_t)block * SWAP_BLOCK, n * SWAP_BLOCK);
    return 0;
}

int __wrap_swap_ring_write(struct swap_ring *ring, uint32_t block, size_t n)
{
    fake_disk_hold(&disk.holds_writes);
    LOCK_SCOPE(&disk.lock);

    atomic_fetch_add(&disk.writes, 1);
    if (atomic_load(&disk.write_error) != 0)
        return -atomic_load(&disk.write_error);
    if (block == 0 || n == 0 || block + n > disk.n_blocks)
        abort(); /* the header, or beyond the end */
    if (block + n > atomic_load(&disk.has_room_for))
        return -ENOSPC;
    memcpy(disk.bytes + (size_t)block * SWAP_BLOCK, ring->buffer, n * SWAP_BLOCK);
    return 0;
}

static inline struct swap_file fake_disk_init(uint32_t n_blocks)
{
    disk.bytes = calloc(n_blocks, SWAP_BLOCK);
    if (disk.bytes == NULL)
        abort();
    disk.n_blocks = n_blocks;
    atomic_store(&disk.read_error, 0);
    atomic_store(&disk.write_error, 0);
    atomic_store(&disk.has_room_for, n_blocks);
    atomic_store(&disk.reads, 0);
    atomic_store(&disk.writes, 0);
    atomic_store(&disk.read_ms, 0);
    atomic_store(&disk.holds_reads, false);
    atomic_store(&disk.holds_writes, false);
    atomic_store(&disk.is_held, false);
    return (struct swap_file){ .fd = -1, .n_blocks = n_blocks };
}

static inline void fake_disk_fini(void)
{
    free(disk.bytes);
    disk.bytes = NULL;
}

/* One bit in every block that is not all zeroes. */
static inline void fake_disk_damage(void)
{
    LOCK_SCOPE(&disk.lock);

    for (size_t i = 0; i < disk.n_blocks; i++)
        for (size_t k = 0; k < SWAP_BLOCK; k++)
            if (disk.bytes[i * SWAP_BLOCK + k] != 0) {
                disk.bytes[i * SWAP_BLOCK + k] ^= 0x04;
                break;
            }
}

#endif
