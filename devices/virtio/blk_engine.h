/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The moving part of a virtio disk: takes requests off the rings, gives them to the backend,
 * answers them.
 *
 * Requests come from a pool that grows to its fixed size once and is reused through a free
 * list; nothing is allocated per request. A guest that offers more than the pool holds waits in
 * its ring. Guest memory is leased for DMA from pop to answer.
 *
 * Loop thread only, except init and fini, which may also be called while the loop is idle.
 */
#ifndef DEVICES_VIRTIO_BLK_ENGINE_H
#define DEVICES_VIRTIO_BLK_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/virtio/blk_backend.h"
#include "devices/virtio/blk_req.h"
#include "devices/virtio/virtio.h"

enum { BLK_ENGINE_POOL = 256 /* requests in flight, all queues together */ };

struct blk_engine {
    struct virtio_dev *dev; /* borrowed, as is the disk */
    struct blk_disk *disk;
    struct blk_backend *backend;
    struct evloop_timer *again;

    struct blk_req *pool; /* BLK_ENGINE_POOL entries, the first n_used ones ever used */
    unsigned n_used, in_flight;
    struct blk_req *free_list;

    uint64_t active; /* queues that may have something to pop */
    uint64_t quiet;  /* queues whose doorbell is switched off */
    uint64_t dirty;  /* queues with answers the driver has not been told of */
};

/**
 * blk_engine_init() - make the pool and the backend: none but the loop's thread for a file in
 * memory, else io_uring where a ring can be made, else threads.
 * Return: 0, -ENOMEM, or the errno of the thread backend. blk_engine_fini() is allowed after
 * either.
 */
int blk_engine_init(struct blk_engine *e, struct virtio_dev *dev, struct blk_disk *disk,
                    struct errctx *ec);

/** blk_engine_fini() - on a drained engine, or one of zero bytes. */
void blk_engine_fini(struct blk_engine *e);

/** blk_engine_kick() - queue @index may have requests. */
void blk_engine_kick(struct blk_engine *e, unsigned index);

/** blk_engine_drain() - finish and answer what is in flight; pops nothing new. Blocks. */
void blk_engine_drain(struct blk_engine *e);

/** blk_engine_reset() - forget the queues; drained before. */
void blk_engine_reset(struct blk_engine *e);

#endif
