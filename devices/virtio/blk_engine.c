/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass (blk_engine_run) does, until neither the guest nor the backend has anything new:
 *
 *   1. reap what the backend finished, answer, one interrupt decision per queue
 *   2. pop what the guest offers, doorbells switched off until a round finds nothing
 *   3. hand the batch to the backend: one system call
 *
 * With a file in the page cache step 3 completes requests at once, and the next round's step 1
 * answers them without going to sleep. What the guest offers while step 3 copies, it need not ring
 * for, because the next round looks. A guest that keeps up with us could hold the loop
 * forever, so after BLK_ENGINE_ROUNDS the pass ends and a timer continues it after others had a
 * turn.
 */
#include "devices/virtio/blk_engine.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/macros.h"

enum { BLK_ENGINE_ROUNDS = 64 };

/* When the kernel is out of memory for us, look again after this. */
#define BLK_ENGINE_RETRY_NS 1000000u

_Static_assert(VIRTIO_MAX_QUEUES <= 64, "queue sets are 64-bit words");

/* --- the pool --------------------------------------------------------------------------------- */

static struct blk_req *blk_engine_take(struct blk_engine *e)
{
    struct blk_req *req = e->free_list;

    if (req != NULL)
        e->free_list = req->next_free;
    else if (e->n_used < BLK_ENGINE_POOL)
        req = &e->pool[e->n_used++];
    return req;
}

static void blk_engine_give_back(struct blk_engine *e, struct blk_req *req)
{
    req->next_free = e->free_list;
    e->free_list = req;
}

/* --- answers ---------------------------------------------------------------------------------- */

static void blk_engine_finish(struct blk_engine *e, struct blk_req *req, int status)
{
    struct virtqueue *vq = &e->dev->vqs[req->queue];
    uint32_t written = blk_req_answer(req, status);

    /* A broken device says nothing more, but its leases go back. */
    if (e->dev->broken)
        virtq_chain_release(e->dev->mem, &req->chain);
    else if (virtqueue_push(vq, &req->chain, written) < 0)
        virtio_dev_break(e->dev, "the used ring is gone");
    e->dirty |= 1ull << req->queue;
    blk_engine_give_back(e, req);
}

static void blk_engine_submit(struct blk_engine *e, struct blk_req *req)
{
    e->in_flight++;
    e->backend->ops->submit(e->backend, &req->io);
}

/* Answer or continue what the backend has finished. */
static unsigned blk_engine_reap(struct blk_engine *e)
{
    struct blk_io *io;
    unsigned n = 0;

    while (n < BLK_ENGINE_POOL && (io = e->backend->ops->reap(e->backend)) != NULL) {
        struct blk_req *req = container_of(io, struct blk_req, io);
        int status = blk_req_next(e->disk, req);

        n++;
        e->in_flight--;
        if (status == BLK_REQ_IO) {
            blk_engine_submit(e, req);
            continue;
        }
        e->active |= 1ull << req->queue; /* its driver is likely to have more */
        blk_engine_finish(e, req, status);
    }
    return n;
}

static void blk_engine_notify(struct blk_engine *e)
{
    while (e->dirty != 0 && !e->dev->broken) {
        unsigned q = (unsigned)__builtin_ctzll(e->dirty);

        e->dirty &= e->dirty - 1;
        virtio_dev_notify(e->dev, &e->dev->vqs[q]);
    }
    e->dirty = 0;
}

/* --- requests --------------------------------------------------------------------------------- */

/* Take one request off @vq. 1, 0 when there is none, -ENOMEM, -EPROTO; -EAGAIN: pool empty. */
static int blk_engine_pop(struct blk_engine *e, struct virtqueue *vq)
{
    struct blk_req *req = blk_engine_take(e);
    int r;

    if (req == NULL)
        return -EAGAIN;
    r = virtqueue_pop(vq, LEASE_DMA, &req->chain);
    if (r <= 0) {
        blk_engine_give_back(e, req);
        return r;
    }
    req->queue = vq->index;
    r = blk_req_begin(e->disk, req);
    if (r == BLK_REQ_BAD) {
        virtq_chain_release(e->dev->mem, &req->chain);
        blk_engine_give_back(e, req);
        return -EPROTO;
    }
    if (r == BLK_REQ_IO)
        blk_engine_submit(e, req);
    else
        blk_engine_finish(e, req, r);
    return 1;
}

/* Pop queue @q until it is empty or a batch was taken. Returns 0 when nothing was there
 * and the driver will ring for what comes next. */
static unsigned blk_engine_pop_queue(struct blk_engine *e, unsigned q)
{
    struct virtqueue *vq = &e->dev->vqs[q];
    uint64_t bit = 1ull << q;
    unsigned n = 0;
    int r = 1;

    if (!(e->quiet & bit)) {
        r = virtqueue_set_notify(vq, false);
        e->quiet |= bit;
        if (r == 0)
            r = 1;
    }
    while (r == 1 && n < e->backend->ops->batch) {
        r = blk_engine_pop(e, vq);
        if (r == 1)
            n++;
    }
    if (r == 0 && n == 0) {
        r = virtqueue_set_notify(vq, true);
        if (r >= 0)
            e->quiet &= ~bit;
        if (r == 0)
            e->active &= ~bit;
        if (r == 1)
            n++; /* more came in between, and nobody will ring for it */
    }
    if (r == -ENOMEM)
        evloop_timer_arm(e->again, evloop_now_ns() + BLK_ENGINE_RETRY_NS);
    if (r == -EPROTO)
        virtio_dev_break(e->dev, "a request makes no sense");
    return n;
}

static unsigned blk_engine_pop_all(struct blk_engine *e)
{
    uint64_t todo = e->active;
    unsigned n = 0;

    while (todo != 0 && !e->dev->broken) {
        n += blk_engine_pop_queue(e, (unsigned)__builtin_ctzll(todo));
        todo &= todo - 1;
    }
    return n;
}

static void blk_engine_run(struct blk_engine *e)
{
    unsigned n = 1;

    e->disk->features = e->dev->features;
    for (unsigned round = 0; round < BLK_ENGINE_ROUNDS && n > 0; round++) {
        n = blk_engine_reap(e);
        blk_engine_notify(e);
        if (!e->dev->broken)
            n += blk_engine_pop_all(e);
        if (e->backend->ops->flush(e->backend) < 0) {
            evloop_timer_arm(e->again, evloop_now_ns() + BLK_ENGINE_RETRY_NS);
            n = 0;
        }
    }
    blk_engine_notify(e);
    if (n > 0)
        evloop_timer_arm(e->again, 1); /* long past: as soon as the others had their turn */
}

void blk_engine_kick(struct blk_engine *e, unsigned index)
{
    e->active |= 1ull << index;
    blk_engine_run(e);
}

/* The backend has finished something, or the timer says to go on. */
static void blk_engine_continue(void *ctx)
{
    struct blk_engine *e = ctx;

    if (e->in_flight > 0 || e->active != 0)
        blk_engine_run(e);
}

/* --- life cycle ------------------------------------------------------------------------------- */

void blk_engine_drain(struct blk_engine *e)
{
    evloop_timer_arm(e->again, 0);
    while (e->in_flight > 0) {
        e->backend->ops->wait(e->backend);
        (void)blk_engine_reap(e);
    }
    blk_engine_notify(e);
    e->active = 0; /* resume kicks every queue */
}

void blk_engine_reset(struct blk_engine *e)
{
    e->active = e->quiet = e->dirty = 0;
}

struct blk_engine_plug {
    struct blk_engine *e;
    int r;
    struct errctx *ec;
};

/* Timer and backend, on the loop's thread because they watch descriptors. */
static void blk_engine_plug_in(void *ctx)
{
    struct blk_engine_plug *p = ctx;
    struct blk_engine *e = p->e;
    struct blk_backend_cfg cfg = {
        .fd = e->disk->file.fd,
        .buffered_fd = e->disk->file.buffered_fd,
        .depth = BLK_ENGINE_POOL,
        .loop = e->dev->loop,
        .ready = blk_engine_continue,
        .ctx = e,
    };

    p->r = evloop_timer_new(e->dev->loop, blk_engine_continue, e, &e->again, p->ec);
    if (p->r < 0)
        return;
    if (e->disk->file.in_memory) {
        p->r = blk_inline_new(&cfg, &e->backend, p->ec);
        return;
    }
    /* Whatever keeps the ring from being made, threads do the same work. */
    if (blk_uring_new(&cfg, &e->backend, NULL) == 0)
        return;
    p->r = blk_threads_new(&cfg, &e->backend, p->ec);
}

static void blk_engine_unplug(void *ctx)
{
    struct blk_engine *e = ctx;

    if (e->backend != NULL)
        e->backend->ops->free(e->backend);
    evloop_timer_free(e->again);
}

int blk_engine_init(struct blk_engine *e, struct virtio_dev *dev, struct blk_disk *disk,
                    struct errctx *ec)
{
    struct blk_engine_plug plug = { .e = e, .ec = ec };

    *e = (struct blk_engine){ .dev = dev, .disk = disk };
    e->pool = calloc(BLK_ENGINE_POOL, sizeof(e->pool[0]));
    if (e->pool == NULL)
        return errctx_set(ec, ENOMEM, "no memory for requests");
    evloop_call(dev->loop, blk_engine_plug_in, &plug);
    return plug.r;
}

void blk_engine_fini(struct blk_engine *e)
{
    if (e->pool == NULL)
        return;
    evloop_call(e->dev->loop, blk_engine_unplug, e);
    for (unsigned i = 0; i < e->n_used; i++)
        virtq_chain_fini(e->dev->mem, &e->pool[i].chain);
    free(e->pool);
    e->pool = NULL;
}
