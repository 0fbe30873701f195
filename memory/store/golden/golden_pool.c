/* SPDX-License-Identifier: Apache-2.0 */
/* See golden_pool.h. */
#include "memory/store/golden/golden_pool.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "memory/store/swap_ring.h"

struct golden_pool {
    int fd;
    size_t n;
    struct golden_lane {
        struct swap_ring *ring;
        atomic_flag taken;
    } lanes[];
};

int golden_pool_new(int fd, size_t n, struct golden_pool **ret_pool, struct errctx *ec)
{
    struct golden_pool *p = calloc(1, sizeof(*p) + n * sizeof(p->lanes[0]));
    int r = 0;

    if (p == NULL)
        return errctx_set(ec, ENOMEM, "no memory for reading a golden file");
    p->fd = fd;
    for (; r == 0 && p->n < n; p->n += r == 0) {
        atomic_flag_clear(&p->lanes[p->n].taken);
        r = swap_ring_new_reader(fd, &p->lanes[p->n].ring, ec);
    }
    if (r < 0) {
        golden_pool_free(p);
        return r;
    }
    *ret_pool = p;
    return 0;
}

void golden_pool_free(struct golden_pool *pool)
{
    if (pool == NULL)
        return;
    for (size_t i = 0; i < pool->n; i++)
        swap_ring_free(pool->lanes[i].ring);
    free(pool);
}

/* A ring that nothing is under way in; NULL: there is none. */
static struct golden_lane *take(struct golden_pool *p)
{
    for (size_t i = 0; i < p->n; i++) {
        struct golden_lane *lane = &p->lanes[i];

        if (atomic_flag_test_and_set_explicit(&lane->taken, memory_order_acquire))
            continue;
        if (swap_ring_is_free(lane->ring))
            return lane;
        atomic_flag_clear_explicit(&lane->taken, memory_order_release);
    }
    return NULL;
}

int golden_pool_read(struct golden_pool *pool, void *bytes, size_t len, uint64_t off)
{
    struct iovec iov = { .iov_base = bytes, .iov_len = len };
    const ssize_t n = preadv2(pool->fd, &iov, 1, (off_t)off, RWF_NOWAIT);
    struct golden_lane *lane;
    int r;

    if (n >= 0 && (size_t)n == len)
        return 0;
    lane = take(pool);
    if (lane == NULL)
        return -ETIME;
    r = swap_ring_read_bytes(lane->ring, off, len);
    if (r == 0)
        memcpy(bytes, swap_ring_buffer(lane->ring), len);
    atomic_flag_clear_explicit(&lane->taken, memory_order_release);
    return r == -ETIMEDOUT ? -ETIME : r;
}
