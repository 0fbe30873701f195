/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What carries out the I/O of a block device: io_uring (blk_uring.c); a small pool of threads
 * where io_uring is forbidden (blk_threads.c); the loop's own thread where the file is memory
 * (blk_inline.c).
 *
 * A backend is dumb on purpose: one struct blk_io goes in, the same one comes out with the
 * result of one system call in it. Short transfers, retries and requests of several steps are
 * the device's business (blk_req.c), so all backends behave alike.
 *
 * Threads: everything here is called on the device's loop thread (or on the machine's thread
 * while the loop is idle). ready() is called there too.
 */
#ifndef DEVICES_VIRTIO_BLK_BACKEND_H
#define DEVICES_VIRTIO_BLK_BACKEND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/base/errctx.h"
#include "vmm/base/evloop.h"

enum blk_op {
    BLK_OP_READ,
    BLK_OP_WRITE,
    BLK_OP_FLUSH, /* data and the metadata that is needed to read it back */
    BLK_OP_PUNCH, /* give [off, off+len) back to the file system; reads as zeroes then */
    BLK_OP_ZERO,  /* make [off, off+len) read as zeroes, keep it allocated */
};

/* One system call. Owned by the device; the backend borrows it, its iov and the memory behind
 * from submit() until reap() returned it. */
struct blk_io {
    enum blk_op op;
    bool buffered;       /* go through the page cache although the disk is opened past it */
    bool dsync;          /* writes: on stable storage before completion */
    struct iovec *iov;   /* reads and writes */
    unsigned n_iov;      /* 1 .. 1024 */
    uint64_t off, len;   /* bytes */
    int64_t res;         /* out: bytes done, or negative errno */
    struct blk_io *next; /* the backend's, while it has the request */
};

/* The descriptors to work on; the backend borrows them. @buffered_fd == @fd when the disk is
 * not opened with O_DIRECT. */
struct blk_backend_cfg {
    int fd, buffered_fd;
    unsigned depth; /* most requests that are with the backend at one time */
    struct evloop *loop;
    void (*ready)(void *ctx); /* completions may be there to be reaped */
    void *ctx;
};

struct blk_backend;

struct blk_backend_ops {
    const char *name; /* "io_uring", "threads", "inline" */
    unsigned batch;   /* requests worth collecting before what is finished is answered */
    /* Take @io; nothing needs to happen before flush(). Never fails: trouble is a result. */
    void (*submit)(struct blk_backend *be, struct blk_io *io);
    /* Set everything that was submitted going. 0, or -EAGAIN: the kernel is short of memory,
     * call again in a moment. */
    int (*flush)(struct blk_backend *be);
    /* The next finished request, or NULL. No system call. */
    struct blk_io *(*reap)(struct blk_backend *be);
    /* flush() and block until something can be reaped; at once when nothing is in flight. */
    void (*wait)(struct blk_backend *be);
    /* Nothing is in flight. */
    void (*free)(struct blk_backend *be);
};

struct blk_backend {
    const struct blk_backend_ops *ops;
};

/**
 * blk_uring_new() - a ring whose only rights, for the rest of its life, are read, write, fsync
 * and fallocate on the descriptors of @cfg.
 *
 * The ring is made disabled, gets its files and its restrictions, and is enabled then. This
 * matters because io_uring passes by seccomp: what the ring forbids is what a VMM that was
 * taken over cannot do with it.
 *
 * Return: 0, -ENOMEM, or the errno of io_uring_setup and io_uring_register (-ENOSYS, -EPERM:
 * the host forbids io_uring; use blk_threads_new()).
 */
int blk_uring_new(const struct blk_backend_cfg *cfg, struct blk_backend **ret_be,
                  struct errctx *ec);

/**
 * blk_threads_new() - a pool of threads that make plain system calls.
 * Return: 0, -ENOMEM, or the errno of pthread_create or eventfd.
 */
int blk_threads_new(const struct blk_backend_cfg *cfg, struct blk_backend **ret_be,
                    struct errctx *ec);

/** blk_inline_new() - plain system calls in submit(); for files in memory. 0 or -ENOMEM. */
int blk_inline_new(const struct blk_backend_cfg *cfg, struct blk_backend **ret_be,
                   struct errctx *ec);

#endif
