/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block I/O through io_uring.
 *
 * One ring per device. The submission queue is as deep as the device's request pool, so there
 * is always a free entry, and the completion queue is twice that (the kernel's default), so it
 * cannot overflow. A batch of requests costs one io_uring_enter; what the page cache can answer
 * at once is complete when that call returns and is reaped without another one. What takes
 * longer wakes the loop because the ring's own descriptor becomes readable: no eventfd, hence
 * nothing to read and reset. No registered buffers: guest memory may be paged.
 *
 * Loop thread only.
 */
#include "devices/virtio/blk_backend.h"

#include <errno.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/base/macros.h"

/* Indices into the ring's table of registered files. */
enum { BLK_URING_FILE, BLK_URING_BUFFERED, BLK_URING_FILES };

struct blk_uring {
    struct blk_backend be;
    struct io_uring ring;
    struct evloop_watch *watch;
    unsigned in_flight; /* submitted to us and not reaped yet */
    void (*ready)(void *ctx);
    void *ctx;
};

static struct blk_uring *blk_uring_of(struct blk_backend *be)
{
    return container_of(be, struct blk_uring, be);
}

static void blk_uring_prep_rw(struct io_uring_sqe *sqe, const struct blk_io *io, int file)
{
    bool one = io->n_iov == 1; /* spares the kernel the copy of the vector */

    if (io->op == BLK_OP_READ && one)
        io_uring_prep_read(sqe, file, io->iov->iov_base, (unsigned)io->iov->iov_len, io->off);
    else if (io->op == BLK_OP_READ)
        io_uring_prep_readv(sqe, file, io->iov, io->n_iov, io->off);
    else if (one)
        io_uring_prep_write(sqe, file, io->iov->iov_base, (unsigned)io->iov->iov_len, io->off);
    else
        io_uring_prep_writev(sqe, file, io->iov, io->n_iov, io->off);
    if (io->op == BLK_OP_WRITE && io->dsync)
        sqe->rw_flags = RWF_DSYNC;
}

static void blk_uring_submit(struct blk_backend *be, struct blk_io *io)
{
    struct blk_uring *u = blk_uring_of(be);
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    int file = io->buffered ? BLK_URING_BUFFERED : BLK_URING_FILE;

    switch (io->op) {
    case BLK_OP_READ:
    case BLK_OP_WRITE:
        blk_uring_prep_rw(sqe, io, file);
        break;
    case BLK_OP_FLUSH:
        io_uring_prep_fsync(sqe, file, IORING_FSYNC_DATASYNC);
        break;
    case BLK_OP_PUNCH:
        io_uring_prep_fallocate(sqe, file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                (off_t)io->off, (off_t)io->len);
        break;
    case BLK_OP_ZERO:
        io_uring_prep_fallocate(sqe, file, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                (off_t)io->off, (off_t)io->len);
        break;
    }
    sqe->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data(sqe, io);
    u->in_flight++;
}

static int blk_uring_flush(struct blk_backend *be)
{
    struct blk_uring *u = blk_uring_of(be);

    /* Each call takes at least one entry or fails, so this ends. */
    while (io_uring_sq_ready(&u->ring) > 0) {
        int r = io_uring_submit(&u->ring);

        if (r <= 0 && r != -EINTR)
            return -EAGAIN;
    }
    return 0;
}

static struct blk_io *blk_uring_reap(struct blk_backend *be)
{
    struct blk_uring *u = blk_uring_of(be);
    struct io_uring_cqe *cqe;
    struct blk_io *io;

    if (io_uring_peek_batch_cqe(&u->ring, &cqe, 1) == 0)
        return NULL;
    io = io_uring_cqe_get_data(cqe);
    io->res = cqe->res;
    io_uring_cq_advance(&u->ring, 1);
    u->in_flight--;
    return io;
}

static void blk_uring_wait(struct blk_backend *be)
{
    struct blk_uring *u = blk_uring_of(be);

    if (u->in_flight > 0)
        (void)io_uring_submit_and_wait(&u->ring, 1); /* the caller looks and comes again */
}

static void blk_uring_event(void *ctx, uint32_t events)
{
    struct blk_uring *u = ctx;

    (void)events;
    u->ready(u->ctx);
}

static void blk_uring_free(struct blk_backend *be)
{
    struct blk_uring *u = blk_uring_of(be);

    evloop_unwatch(u->watch);
    io_uring_queue_exit(&u->ring);
    free(u);
}

static const struct blk_backend_ops blk_uring_ops = {
    .name = "io_uring",
    .batch = 256,
    .submit = blk_uring_submit,
    .flush = blk_uring_flush,
    .reap = blk_uring_reap,
    .wait = blk_uring_wait,
    .free = blk_uring_free,
};

/* liburing 2.3, which Debian 12 has, declares functions for restricting and enabling a ring, but
 * its shared library does not export them. */
static int blk_uring_register(struct io_uring *ring, unsigned opcode, const void *arg, unsigned n)
{
    return syscall(SYS_io_uring_register, ring->ring_fd, opcode, arg, n) < 0 ? -errno : 0;
}

/* Nothing but these operations on registered files, and no registering of anything, ever. */
static int blk_uring_restrict(struct io_uring *ring)
{
    struct io_uring_restriction res[] = {
        { .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READ },
        { .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READV },
        { .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITE },
        { .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITEV },
        { .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_FSYNC },
        { .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_FALLOCATE },
        { .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_FIXED_FILE },
        { .opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED, .sqe_flags = IOSQE_FIXED_FILE },
    };

    return blk_uring_register(ring, IORING_REGISTER_RESTRICTIONS, res, ARRAY_SIZE(res));
}

static int blk_uring_setup(struct io_uring *ring, unsigned depth)
{
    /* SUBMIT_ALL (5.18): one bad entry does not stop the batch. COOP_TASKRUN (5.19): a
     * completion does not interrupt the thread in user mode; it looks by itself. */
    struct io_uring_params p = {
        .flags = IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN,
    };
    struct io_uring_params plain = { .flags = IORING_SETUP_R_DISABLED };
    int r = io_uring_queue_init_params(depth, ring, &p);

    return r == -EINVAL ? io_uring_queue_init_params(depth, ring, &plain) : r;
}

int blk_uring_new(const struct blk_backend_cfg *cfg, struct blk_backend **ret_be, struct errctx *ec)
{
    int files[BLK_URING_FILES] = {
        [BLK_URING_FILE] = cfg->fd,
        [BLK_URING_BUFFERED] = cfg->buffered_fd,
    };
    struct blk_uring *u = calloc(1, sizeof(*u));
    int r;

    if (u == NULL)
        return errctx_set(ec, ENOMEM, "no memory for an io_uring backend");
    u->be.ops = &blk_uring_ops;
    u->ready = cfg->ready;
    u->ctx = cfg->ctx;
    r = blk_uring_setup(&u->ring, cfg->depth);
    if (r < 0) {
        (void)errctx_set_os(ec, -r, "io_uring_setup with %u entries", cfg->depth);
        goto free_u;
    }
    r = io_uring_register_files(&u->ring, files, BLK_URING_FILES);
    if (r < 0) {
        (void)errctx_set_os(ec, -r, "io_uring: register files");
        goto exit_ring;
    }
    r = blk_uring_restrict(&u->ring);
    if (r < 0) {
        (void)errctx_set_os(ec, -r, "io_uring: register restrictions");
        goto exit_ring;
    }
    r = blk_uring_register(&u->ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    if (r < 0) {
        (void)errctx_set_os(ec, -r, "io_uring: enable the ring");
        goto exit_ring;
    }
    r = evloop_watch_fd(cfg->loop, u->ring.ring_fd, EPOLLIN, blk_uring_event, u, &u->watch, ec);
    if (r < 0)
        goto exit_ring;
    *ret_be = &u->be;
    return 0;

exit_ring:
    io_uring_queue_exit(&u->ring);
free_u:
    free(u);
    return r;
}
