/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio disk: queues in front, a backend behind, requests (blk_req.c) in between.
 *
 * One pass (blk_run) does, until neither the guest nor the backend has anything new:
 *
 *   1. reap what the backend finished, answer, one interrupt decision per queue
 *   2. pop what the guest offers, doorbells switched off meanwhile
 *   3. hand the batch to the backend: one system call
 *
 * With a file in the page cache step 3 completes requests at once, and the next round's step 1
 * answers them without going to sleep. A guest that keeps up with us could hold the loop
 * forever, so after BLK_ROUNDS the pass ends and a timer continues it after others had a turn.
 *
 * Requests come from a pool that grows to its fixed size once and is reused through a free
 * list; nothing is allocated per request. A guest that offers more than the pool holds waits in
 * its ring. Guest memory is leased for DMA from pop to answer.
 *
 * Loop thread only, except config_read, which reads what create wrote.
 */
#include "devices/virtio/blk.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/blk_backend.h"
#include "devices/virtio/blk_file.h"
#include "devices/virtio/blk_req.h"
#include "vmm/base/macros.h"

enum {
    BLK_QUEUE_SIZE = 256,
    BLK_SEG_MAX = BLK_QUEUE_SIZE - 2, /* header and status */
    BLK_POOL = 256,                   /* requests in flight, all queues together */
    BLK_ROUNDS = 64,
    BLK_STATE_VERSION = 1,
    BLK_PCI_CLASS = 0x018000, /* mass storage, other */
};

/* When the kernel is out of memory for us, look again after this. */
#define BLK_RETRY_NS 1000000u

struct blk {
    struct virtio_dev dev; /* first */
    struct blk_disk disk;
    struct virtio_blk_config config; /* const after create */
    struct blk_backend *backend;
    struct evloop_timer *again;

    struct blk_req *pool; /* BLK_POOL entries, the first n_used ones ever used */
    unsigned n_used, in_flight;
    struct blk_req *free_list;

    uint64_t active; /* queues that may have something to pop */
    uint64_t quiet;  /* queues whose doorbell is switched off */
    uint64_t dirty;  /* queues with answers the driver has not been told of */
};

_Static_assert(VIRTIO_MAX_QUEUES <= 64, "queue sets are 64-bit words");

static struct blk *blk_of(struct virtio_dev *dev)
{
    return container_of(dev, struct blk, dev);
}

/* --- the pool ------------------------------------------------------------------------------------- */

static struct blk_req *blk_take(struct blk *b)
{
    struct blk_req *req = b->free_list;

    if (req != NULL)
        b->free_list = req->next_free;
    else if (b->n_used < BLK_POOL)
        req = &b->pool[b->n_used++];
    return req;
}

static void blk_give_back(struct blk *b, struct blk_req *req)
{
    req->next_free = b->free_list;
    b->free_list = req;
}

/* --- answers -------------------------------------------------------------------------------------- */

static void blk_finish(struct blk *b, struct blk_req *req, int status)
{
    struct virtqueue *vq = &b->dev.vqs[req->queue];
    uint32_t written = blk_req_answer(req, status);

    /* A broken device says nothing more, but its leases go back. */
    if (b->dev.broken)
        virtq_chain_release(b->dev.mem, &req->chain);
    else if (virtqueue_push(vq, &req->chain, written) < 0)
        virtio_dev_break(&b->dev, "the used ring is gone");
    b->dirty |= 1ull << req->queue;
    blk_give_back(b, req);
}

static void blk_submit(struct blk *b, struct blk_req *req)
{
    b->in_flight++;
    b->backend->ops->submit(b->backend, &req->io);
}

/* Answer or continue what the backend has finished. */
static unsigned blk_reap(struct blk *b)
{
    struct blk_io *io;
    unsigned n = 0;

    while (n < BLK_POOL && (io = b->backend->ops->reap(b->backend)) != NULL) {
        struct blk_req *req = container_of(io, struct blk_req, io);
        int status = blk_req_next(&b->disk, req);

        n++;
        b->in_flight--;
        if (status == BLK_REQ_IO) {
            blk_submit(b, req);
            continue;
        }
        b->active |= 1ull << req->queue; /* its driver is likely to have more */
        blk_finish(b, req, status);
    }
    return n;
}

static void blk_notify(struct blk *b)
{
    while (b->dirty != 0 && !b->dev.broken) {
        unsigned q = (unsigned)__builtin_ctzll(b->dirty);

        b->dirty &= b->dirty - 1;
        virtio_dev_notify(&b->dev, &b->dev.vqs[q]);
    }
    b->dirty = 0;
}

/* --- requests ------------------------------------------------------------------------------------- */

/* Take one request off @vq. 1, 0 when there is none, -ENOMEM, -EPROTO; -EAGAIN: pool empty. */
static int blk_pop(struct blk *b, struct virtqueue *vq)
{
    struct blk_req *req = blk_take(b);
    int r;

    if (req == NULL)
        return -EAGAIN;
    r = virtqueue_pop(vq, LEASE_DMA, &req->chain);
    if (r <= 0) {
        blk_give_back(b, req);
        return r;
    }
    req->queue = vq->index;
    r = blk_req_begin(&b->disk, req);
    if (r == BLK_REQ_BAD) {
        virtq_chain_release(b->dev.mem, &req->chain);
        blk_give_back(b, req);
        return -EPROTO;
    }
    if (r == BLK_REQ_IO)
        blk_submit(b, req);
    else
        blk_finish(b, req, r);
    return 1;
}

/* Pop queue @q until it is empty or a pool's worth was taken. Returns how many were. */
static unsigned blk_pop_queue(struct blk *b, unsigned q)
{
    struct virtqueue *vq = &b->dev.vqs[q];
    uint64_t bit = 1ull << q;
    unsigned n = 0;
    int r = 1;

    if (!(b->quiet & bit)) {
        r = virtqueue_set_notify(vq, false);
        b->quiet |= bit;
        if (r == 0)
            r = 1;
    }
    while (r == 1 && n < BLK_POOL) {
        r = blk_pop(b, vq);
        if (r == 1)
            n++;
    }
    if (r == 0) {
        r = virtqueue_set_notify(vq, true); /* 1: more came in between, the queue stays active */
        if (r == 0)
            b->active &= ~bit;
        if (r >= 0)
            b->quiet &= ~bit;
    }
    if (r == -ENOMEM)
        evloop_timer_arm(b->again, evloop_now_ns() + BLK_RETRY_NS);
    if (r == -EPROTO)
        virtio_dev_break(&b->dev, "a request makes no sense");
    return n;
}

static unsigned blk_pop_all(struct blk *b)
{
    uint64_t todo = b->active;
    unsigned n = 0;

    while (todo != 0 && !b->dev.broken) {
        n += blk_pop_queue(b, (unsigned)__builtin_ctzll(todo));
        todo &= todo - 1;
    }
    return n;
}

static void blk_run(struct blk *b)
{
    unsigned n = 1;

    b->disk.features = b->dev.features;
    for (unsigned round = 0; round < BLK_ROUNDS && n > 0; round++) {
        n = blk_reap(b);
        blk_notify(b);
        if (!b->dev.broken)
            n += blk_pop_all(b);
        if (b->backend->ops->flush(b->backend) < 0) {
            evloop_timer_arm(b->again, evloop_now_ns() + BLK_RETRY_NS);
            return;
        }
    }
    blk_notify(b);
    if (n > 0)
        evloop_timer_arm(b->again, 1); /* long past: as soon as the others had their turn */
}

static void blk_kick(struct virtio_dev *dev, unsigned index)
{
    struct blk *b = blk_of(dev);

    b->active |= 1ull << index;
    blk_run(b);
}

/* The backend has finished something, or the timer says to go on. */
static void blk_ready(void *ctx)
{
    struct blk *b = ctx;

    if (b->in_flight > 0 || b->active != 0)
        blk_run(b);
}

/* --- life cycle ------------------------------------------------------------------------------------- */

static int blk_start(struct virtio_dev *dev)
{
    (void)dev; /* features are looked at when requests come */
    return 0;
}

/* Requests of several steps go on until they are answered; nothing new is popped. */
static void blk_quiesce(struct virtio_dev *dev)
{
    struct blk *b = blk_of(dev);

    evloop_timer_arm(b->again, 0);
    while (b->in_flight > 0) {
        b->backend->ops->wait(b->backend);
        (void)blk_reap(b);
    }
    blk_notify(b);
    b->active = 0; /* resume kicks every queue */
}

static void blk_reset(struct virtio_dev *dev)
{
    struct blk *b = blk_of(dev);

    b->active = b->quiet = b->dirty = 0;
}

/* Nothing is in flight, so the only state is what the two sides must agree on. */
static int blk_save(struct virtio_dev *dev, struct snapshot_writer *w, struct errctx *ec)
{
    struct blk *b = blk_of(dev);

    snapshot_put_u64(w, b->disk.file.sectors);
    snapshot_put_u64(w, dev->host_features);
    return w->failed ? errctx_set(ec, ENOMEM, "%s: no memory for its state", dev->name) : 0;
}

static int blk_load(struct virtio_dev *dev, struct snapshot_reader *r, uint32_t version,
                    struct errctx *ec)
{
    struct blk *b = blk_of(dev);
    uint64_t sectors = snapshot_get_u64(r);
    uint64_t features = snapshot_get_u64(r);

    (void)version; /* 1 is the only one so far */
    if (!snapshot_reader_ok(r))
        return errctx_set(ec, EINVAL, "%s: its saved state is too short", dev->name);
    if (sectors != b->disk.file.sectors)
        return errctx_set(ec, EINVAL, "%s: saved with %llu sectors, the file now has %llu",
                          dev->name, (unsigned long long)sectors,
                          (unsigned long long)b->disk.file.sectors);
    if (features != dev->host_features)
        return errctx_set(ec, EINVAL, "%s: saved with other options (ro, sync, queues) or on a "
                          "file system that can do other things", dev->name);
    return 0;
}

static void blk_unplug(void *ctx)
{
    struct blk *b = ctx;

    if (b->backend != NULL)
        b->backend->ops->free(b->backend);
    evloop_timer_free(b->again);
}

static void blk_destroy(struct virtio_dev *dev)
{
    struct blk *b = blk_of(dev);

    evloop_call(dev->loop, blk_unplug, b); /* watches belong to the loop's thread */
    for (unsigned i = 0; b->pool != NULL && i < b->n_used; i++)
        virtq_chain_fini(dev->mem, &b->pool[i].chain);
    free(b->pool);
    blk_file_close(&b->disk.file);
    free(b);
}

static void blk_config_read(struct virtio_dev *dev, uint32_t off, void *data, uint32_t len)
{
    const struct blk *b = blk_of(dev);

    memset(data, 0, len);
    if (off < sizeof(b->config))
        memcpy(data, (const uint8_t *)&b->config + off, MIN(len, sizeof(b->config) - off));
}

static void blk_config_write(struct virtio_dev *dev, uint32_t off, const void *data, uint32_t len)
{
    (void)dev; /* the only writable field belongs to a feature that is not offered */
    (void)off;
    (void)data;
    (void)len;
}

static const struct virtio_ops blk_ops = {
    .type = "disk",
    .version = BLK_STATE_VERSION,
    .virtio_id = VIRTIO_ID_BLOCK,
    .pci_class = BLK_PCI_CLASS,
    .config_read = blk_config_read,
    .config_write = blk_config_write,
    .start = blk_start,
    .kick = blk_kick,
    .quiesce = blk_quiesce,
    .reset = blk_reset,
    .save = blk_save,
    .load = blk_load,
    .destroy = blk_destroy,
};

/* --- making one --------------------------------------------------------------------------------------- */

static void blk_describe(struct blk *b, bool sync)
{
    const struct blk_file *f = &b->disk.file;
    uint64_t offer = 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
                     1ull << VIRTIO_BLK_F_TOPOLOGY;
    uint32_t blocks = f->block_bytes / BLK_SECTOR;

    if (!sync)
        offer |= 1ull << VIRTIO_BLK_F_FLUSH; /* not offered: writes are stable when answered */
    if (b->dev.n_queues > 1)
        offer |= 1ull << VIRTIO_BLK_F_MQ;
    if (f->read_only)
        offer |= 1ull << VIRTIO_BLK_F_RO;
    else
        offer |= 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
    if (f->can_punch)
        offer |= 1ull << VIRTIO_BLK_F_DISCARD;
    b->dev.host_features = offer;
    b->config = (struct virtio_blk_config){
        .capacity = f->sectors,
        .seg_max = BLK_SEG_MAX,
        .blk_size = BLK_SECTOR,
        .physical_block_exp = (uint8_t)__builtin_ctz(blocks),
        .min_io_size = (uint16_t)blocks,
        .opt_io_size = 0, /* none better than another */
        .num_queues = (uint16_t)b->dev.n_queues,
        .max_discard_sectors = BLK_DISCARD_SECTORS,
        .max_discard_seg = BLK_DISCARD_SEGS,
        .discard_sector_alignment = blocks,
        .max_write_zeroes_sectors = BLK_ZERO_SECTORS,
        .max_write_zeroes_seg = BLK_ZERO_SEGS,
        .write_zeroes_may_unmap = f->can_punch,
    };
    b->dev.config_len = sizeof(b->config);
}

struct blk_plug {
    struct blk *b;
    bool io_uring_ok;
    int r;
    struct errctx *ec;
};

/* Timer and backend, on the loop's thread because they watch descriptors. */
static void blk_plug_in(void *ctx)
{
    struct blk_plug *p = ctx;
    struct blk *b = p->b;
    struct blk_backend_cfg cfg = {
        .fd = b->disk.file.fd,
        .buffered_fd = b->disk.file.buffered_fd,
        .depth = BLK_POOL,
        .loop = b->dev.loop,
        .ready = blk_ready,
        .ctx = b,
    };

    p->r = evloop_timer_new(b->dev.loop, blk_ready, b, &b->again, p->ec);
    if (p->r < 0)
        return;
    /* Whatever keeps the ring from being made, threads do the same work. */
    if (p->io_uring_ok && blk_uring_new(&cfg, &b->backend, NULL) == 0)
        return;
    p->r = blk_threads_new(&cfg, &b->backend, p->ec);
}

static int blk_check(const struct device_args *args, struct errctx *ec)
{
    const struct device_arg *serial = device_args_get(args, "serial");

    if (serial != NULL && strlen(serial->text) > VIRTIO_BLK_ID_BYTES)
        return errctx_set(ec, EINVAL, "disk serial=%s: longer than %d bytes", serial->text,
                          VIRTIO_BLK_ID_BYTES);
    if (device_args_number(args, "queues", 1) == 0)
        return errctx_set(ec, EINVAL, "disk queues=0: a disk needs at least one queue");
    if (device_args_number(args, "ro", 0) && device_args_number(args, "sync", 0))
        return errctx_set(ec, EINVAL, "disk: sync=on has no effect together with ro");
    return 0;
}

static int blk_create(const struct device_args *args, const struct device_env *env,
                      struct virtio_dev **ret_dev, struct errctx *ec)
{
    const struct device_arg *serial = device_args_get(args, "serial");
    struct blk_file_opts opts = {
        .path = device_args_get(args, "file")->text,
        .read_only = device_args_number(args, "ro", 0),
        .direct = device_args_number(args, "direct", 0),
    };
    const char *id = serial != NULL ? serial->text : env->name;
    struct blk *b = calloc(1, sizeof(*b));
    struct blk_plug plug = { .b = b, .io_uring_ok = env->io_uring_ok, .ec = ec };
    int r;

    if (b == NULL)
        return errctx_set(ec, ENOMEM, "%s: no memory for the device", env->name);
    r = blk_file_open(&opts, &b->disk.file, ec);
    if (r < 0) {
        free(b);
        return r;
    }
    b->dev.ops = &blk_ops;
    b->dev.loop = env->loop;
    b->dev.mem = env->mem;
    (void)strncpy(b->dev.name, env->name, sizeof(b->dev.name) - 1);
    memcpy(b->disk.id, id, MIN(strlen(id), sizeof(b->disk.id)));
    b->dev.n_queues = (unsigned)device_args_number(args, "queues", 1);
    for (unsigned i = 0; i < b->dev.n_queues; i++)
        b->dev.queue_max[i] = BLK_QUEUE_SIZE;
    blk_describe(b, device_args_number(args, "sync", 0));
    b->pool = calloc(BLK_POOL, sizeof(b->pool[0]));
    r = b->pool != NULL ? 0 : errctx_set(ec, ENOMEM, "%s: no memory for requests", env->name);
    if (r == 0) {
        evloop_call(env->loop, blk_plug_in, &plug);
        r = plug.r;
    }
    if (r < 0) {
        blk_destroy(&b->dev);
        return errctx_wrap(ec, r, "disk %s", opts.path);
    }
    *ret_dev = &b->dev;
    return 0;
}

static const struct device_key blk_keys[] = {
    { .name = "file", .kind = DEVICE_KEY_PATH, .required = true,
      .help = "raw image or block device; its size, a multiple of 512, is the capacity" },
    { .name = "ro", .kind = DEVICE_KEY_FLAG,
      .help = "read-only; several machines may share such a file" },
    { .name = "queues", .kind = DEVICE_KEY_UINT, .max = VIRTIO_MAX_QUEUES,
      .help = "request queues, at least 1 (default 1)" },
    { .name = "serial", .kind = DEVICE_KEY_STRING,
      .help = "serial number the guest reads, at most 20 bytes (default the device's name)" },
    { .name = "direct", .kind = DEVICE_KEY_FLAG,
      .help = "go past the host's page cache (O_DIRECT)" },
    { .name = "sync", .kind = DEVICE_KEY_FLAG,
      .help = "every write is on stable storage before the guest hears that it is done" },
    { .name = NULL },
};

const struct device_type blk_device_type = {
    .name = "disk",
    .first_key = "file",
    .help = "a disk (virtio-blk) on a raw file or block device",
    .keys = blk_keys,
    .check = blk_check,
    .create = blk_create,
};
