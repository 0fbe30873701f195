/* SPDX-License-Identifier: Apache-2.0 */
/* See swap_ring.h. */
#include "memory/store/swap_ring.h"

#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "memory/store/swap_file.h"
#include "vmm/base/macros.h"

enum {
    ENTRIES = 4,
    NAP_NS = 1000 * 1000, /* before the kernel is asked again that has no memory for a request */
};

struct swap_ring {
    struct io_uring ring;
    uint8_t *buffer; /* its own mapping: pages that a late disk writes to are nobody else's then */
    size_t buffer_bytes;
    bool is_reader; /* of a file by bytes; else blocks, both ways */
    bool stuck;     /* a transfer is under way that nobody waits for any more */
};

static int ring_register(struct io_uring *ring, unsigned opcode, const void *arg, unsigned n)
{
    return syscall(SYS_io_uring_register, ring->ring_fd, opcode, arg, n) < 0 ? -errno : 0;
}

/* Reading the registered file, and writing it unless the ring is a reader's; nothing else, ever. */
static int restrict_ring(struct io_uring *ring, bool is_reader)
{
    const uint8_t flags = IOSQE_FIXED_FILE | (is_reader ? IOSQE_ASYNC : 0);
    const struct io_uring_restriction only[] = {
        { .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READ },
        { .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = flags },
        { .opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED, .sqe_flags = flags },
        { .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITE },
    };
    int r = ring_register(ring, IORING_REGISTER_RESTRICTIONS, only, ARRAY_SIZE(only) - is_reader);

    return r < 0 ? r : ring_register(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static int make_ring(int fd, size_t buffer_bytes, bool is_reader, struct swap_ring **ret_ring,
                     struct errctx *ec)
{
    const char *of = is_reader ? "golden" : "swap";
    struct io_uring_params params = { .flags = IORING_SETUP_R_DISABLED };
    struct swap_ring *s = calloc(1, sizeof(*s));
    int r;

    if (s == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the transfers of a %s file", of);
    s->buffer_bytes = buffer_bytes;
    s->is_reader = is_reader;
    /* What is in it for a moment is the guest's, not sealed yet. */
    s->buffer = mmap(NULL, buffer_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (s->buffer == MAP_FAILED) {
        r = errctx_set(ec, ENOMEM, "no memory for the transfers of a %s file", of);
        goto free_s;
    }
    (void)madvise(s->buffer, buffer_bytes, MADV_DONTDUMP);
    (void)madvise(s->buffer, buffer_bytes, MADV_DONTFORK);
    r = io_uring_queue_init_params(ENTRIES, &s->ring, &params);
    if (r < 0) {
        (void)errctx_set_os(ec, -r, "a %s file needs io_uring (see numavisor check)", of);
        goto unmap;
    }
    r = io_uring_register_files(&s->ring, &fd, 1);
    if (r == 0)
        r = restrict_ring(&s->ring, is_reader);
    if (r < 0) {
        (void)errctx_set_os(ec, -r, "restrict an io_uring to the %s file", of);
        goto exit_ring;
    }
    *ret_ring = s;
    return 0;

exit_ring:
    io_uring_queue_exit(&s->ring);
unmap:
    (void)munmap(s->buffer, buffer_bytes);
free_s:
    free(s);
    return r;
}

int swap_ring_new(int fd, struct swap_ring **ret_ring, struct errctx *ec)
{
    return make_ring(fd, (size_t)SWAP_BATCH * SWAP_BLOCK, false, ret_ring, ec);
}

int swap_ring_new_reader(int fd, struct swap_ring **ret_ring, struct errctx *ec)
{
    return make_ring(fd, SWAP_BLOCK, true, ret_ring, ec);
}

void swap_ring_free(struct swap_ring *ring)
{
    if (ring == NULL)
        return;
    io_uring_queue_exit(&ring->ring);
    (void)munmap(ring->buffer, ring->buffer_bytes);
    free(ring);
}

uint8_t *swap_ring_buffer(struct swap_ring *ring)
{
    return ring->buffer;
}

static int64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* One request that was prepared, to its end. Return: its result, or -ETIMEDOUT. */
static int finish(struct swap_ring *s, int64_t deadline_ns)
{
    struct io_uring_cqe *cqe;
    int r;

    for (;;) {
        const int64_t left = deadline_ns - now_ns();
        /* A process that was stopped for long looks before it gives up. */
        const int64_t may = MAX(left, INT64_C(1000000000));
        struct __kernel_timespec wait = { .tv_sec = may / 1000000000, .tv_nsec = may % 1000000000 };

        if (io_uring_sq_ready(&s->ring) > 0 && io_uring_submit(&s->ring) <= 0) {
            if (left <= 0)
                break;
            /* no memory for it now */
            (void)nanosleep(&(struct timespec){ .tv_nsec = NAP_NS }, NULL);
            continue;
        }
        if (io_uring_wait_cqe_timeout(&s->ring, &cqe, &wait) == 0) {
            r = cqe->res;
            io_uring_cqe_seen(&s->ring, cqe);
            return r;
        }
        if (left <= 0)
            break;
    }
    s->stuck = true;
    return -ETIMEDOUT;
}

/* @len bytes; by whole blocks unless the ring is a reader's. */
static int transfer(struct swap_ring *s, bool is_write, uint64_t off, size_t len)
{
    const int64_t deadline_ns = now_ns() + (int64_t)SWAP_DEADLINE_S * 1000000000;
    const int unit = s->is_reader ? 1 : SWAP_BLOCK;
    size_t done = 0;

    while (done < len) {
        struct io_uring_sqe *sqe = s->stuck ? NULL : io_uring_get_sqe(&s->ring);
        const unsigned left = (unsigned)(len - done);
        int r;

        if (sqe == NULL)
            return -ETIMEDOUT;
        if (is_write)
            io_uring_prep_write(sqe, 0, s->buffer + done, left, off + done);
        else
            io_uring_prep_read(sqe, 0, s->buffer + done, left, off + done);
        /* Through the page cache even the beginning may wait for a disk. */
        sqe->flags |= IOSQE_FIXED_FILE | (s->is_reader ? IOSQE_ASYNC : 0);
        r = finish(s, deadline_ns);
        if (r == -EAGAIN || r == -EINTR || r == -ENOMEM) {
            if (now_ns() >= deadline_ns)
                return r;
            (void)nanosleep(&(struct timespec){ .tv_nsec = NAP_NS }, NULL);
            continue;
        }
        if (is_write && r == -EDQUOT) /* may pass, too */
            return -ENOSPC;
        if (r < 0)
            return r;
        /* What is not a whole block is asked for again; none at all: the end of the file or
         * disk. */
        if (r < unit)
            return is_write ? -ENOSPC : -ENODATA;
        done += (size_t)(r - r % unit);
    }
    return 0;
}

int swap_ring_read(struct swap_ring *ring, uint32_t block, size_t n)
{
    return transfer(ring, false, (uint64_t)block * SWAP_BLOCK, n * SWAP_BLOCK);
}

int swap_ring_write(struct swap_ring *ring, uint32_t block, size_t n)
{
    return transfer(ring, true, (uint64_t)block * SWAP_BLOCK, n * SWAP_BLOCK);
}

int swap_ring_read_bytes(struct swap_ring *ring, uint64_t off, size_t len)
{
    return transfer(ring, false, off, len);
}

bool swap_ring_is_free(struct swap_ring *ring)
{
    struct io_uring_cqe *cqe;

    /* A request that was never taken by the kernel is not one that comes later. */
    if (ring->stuck && io_uring_sq_ready(&ring->ring) == 0 &&
        io_uring_peek_cqe(&ring->ring, &cqe) == 0) {
        io_uring_cqe_seen(&ring->ring, cqe);
        ring->stuck = false;
    }
    return !ring->stuck;
}
