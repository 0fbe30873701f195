/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory balloon (virtio 1.2, 5.5): inflating and deflating, statistics, free page reporting,
 * poison. No free page hinting (5.5.6.4): a hint says what was free at some moment in the past, so
 * a page could only go if it were watched from before that moment on.
 *
 * The device lives on a loop of its own, whose thread gives memory back (device_type.reclaims): a
 * request takes as long as the host's kernel takes for it, and disks and networks do not wait
 * meanwhile. A request is answered when its pages have gone.
 *
 * Numbers of queues: the specification counts the queue of hints whether it exists or not, Linux
 * counts queues that exist. Both find what they look for: behind queue 1 every queue takes reports,
 * but queue 2 where statistics were agreed on.
 *
 * A guest that gives away what it still uses, gives the same twice, or takes back what it never gave
 * loses its own data and nothing else: pages are in a set or not, requests are bounded, what is no
 * RAM is counted and left alone.
 */
#include "devices/virtio/balloon.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/balloon_int.h"
#include "vmm/base/macros.h"

enum {
    BALLOON_CLASS = 0x00ff00, /* no PCI class fits */
    STATS_SECONDS_MAX = 86400,
};

static struct balloon *balloon_of(struct virtio_dev *vdev)
{
    return container_of(vdev, struct balloon, vdev);
}

/* --- queues ------------------------------------------------------------------------------------ */

/* One request of page numbers. *pages grows by what it cost. Return: 1, 0: none, -EPROTO. */
static int serve_pages(struct balloon *b, struct virtqueue *vq, size_t *pages)
{
    int r = virtqueue_pop(vq, LEASE_WRITE, &b->chain);
    bool too_long;
    size_t n;

    if (r <= 0)
        return r;
    n = virtq_chain_read(&b->chain, 0, b->pfns, sizeof(b->pfns)) / sizeof(b->pfns[0]);
    too_long = b->chain.read_bytes > sizeof(b->pfns);
    virtq_chain_release(b->vdev.mem, &b->chain); /* the list may lie in what it gives away */
    if (too_long)
        return -EPROTO;
    if (vq->index == BALLOON_INFLATE)
        balloon_pages_inflate(b, n);
    else
        balloon_pages_deflate(b, n);
    *pages += n;
    r = virtqueue_push_head(vq, b->chain.head, 0);
    return r < 0 ? r : 1;
}

/* 5.5.6.7.2: what was reported may become zero or the poison value, nothing else; we can only do
 * zero. */
static bool may_take_reported(const struct balloon *b)
{
    return !virtio_dev_has(&b->vdev, VIRTIO_BALLOON_F_PAGE_POISON) ||
           atomic_load(&b->poison_val) == 0;
}

/* One report: its writable buffers are the free memory. As serve_pages(). */
static int serve_report(struct balloon *b, struct virtqueue *vq, size_t *pages)
{
    int r = virtqueue_pop(vq, LEASE_WRITE, &b->chain);
    unsigned n = 0;

    if (r <= 0)
        return r;
    for (unsigned i = b->chain.n_read; i < b->chain.n_read + b->chain.n_write; i++)
        b->ranges[n++] = (struct balloon_range){
            .addr = guest_mem_lease_addr(b->vdev.mem, &b->chain.leases[i]).v,
            .len_bytes = b->chain.leases[i].len,
        };
    virtq_chain_release(b->vdev.mem, &b->chain); /* our own leases would keep it */
    for (unsigned i = 0; i < n && may_take_reported(b); i++) {
        balloon_pages_reported(b, &b->ranges[i]);
        *pages += b->ranges[i].len_bytes / PAGE_MAP_BYTES;
    }
    r = virtqueue_push_head(vq, b->chain.head, 0);
    return r < 0 ? r : 1;
}

static int serve_one(struct balloon *b, struct virtqueue *vq, size_t *pages)
{
    if (vq->index <= BALLOON_DEFLATE)
        return serve_pages(b, vq, pages);
    if (vq->index == BALLOON_STATS_QUEUE && virtio_dev_has(&b->vdev, VIRTIO_BALLOON_F_STATS_VQ))
        return balloon_stats_serve(b, vq);
    if (virtio_dev_has(&b->vdev, VIRTIO_BALLOON_F_REPORTING))
        return serve_report(b, vq, pages);
    return 0; /* a queue that the driver did not agree to have */
}

static void balloon_kick(struct virtio_dev *vdev, unsigned index)
{
    struct balloon *b = balloon_of(vdev);
    struct virtqueue *vq = &vdev->vqs[index];
    const uint16_t used = vq->next_used;
    size_t pages = 0;
    int r = virtqueue_set_notify(vq, false);

    for (unsigned n = 0; r >= 0 && n < BALLOON_KICK_REQUESTS && pages < BALLOON_KICK_PAGES; n++) {
        r = serve_one(b, vq, &pages);
        if (r == 0)
            break;
    }
    if (r >= 0)
        r = virtqueue_set_notify(vq, true);
    if (r < 0)
        virtio_dev_break(vdev, "the ring makes no sense");
    else if (r > 0)
        vdev->transport->kick_again(vdev->transport_ctx, index);
    if (vq->next_used != used) /* statistics that came are kept */
        virtio_dev_notify(vdev, vq);
}

/* --- configuration ------------------------------------------------------------------------------ */

static void balloon_config_read(struct virtio_dev *vdev, uint32_t off, void *data, uint32_t len)
{
    const struct balloon *b = balloon_of(vdev);
    const struct virtio_balloon_config config = {
        .num_pages = atomic_load(&b->num_pages),
        .actual = atomic_load(&b->actual),
        .poison_val = atomic_load(&b->poison_val),
    };

    if (off <= sizeof(config) && len <= sizeof(config) - off)
        memcpy(data, (const uint8_t *)&config + off, len);
}

static void balloon_config_write(struct virtio_dev *vdev, uint32_t off, const void *data,
                                 uint32_t len)
{
    struct balloon *b = balloon_of(vdev);
    uint32_t value;

    if (len != sizeof(value))
        return; /* 4.1.3.1: the driver writes fields whole */
    memcpy(&value, data, sizeof(value));
    if (off == offsetof(struct virtio_balloon_config, actual))
        atomic_store(&b->actual, value);
    else if (off == offsetof(struct virtio_balloon_config, poison_val))
        atomic_store(&b->poison_val, value);
}

/* --- life --------------------------------------------------------------------------------------- */

static int balloon_start(struct virtio_dev *vdev)
{
    struct balloon *b = balloon_of(vdev);

    b->running = true;
    if (!b->quiesced)
        balloon_stats_arm(b);
    return 0;
}

static void balloon_quiesce(struct virtio_dev *vdev)
{
    struct balloon *b = balloon_of(vdev);

    b->quiesced = true; /* no request outlives a kick */
    evloop_timer_arm(b->stats_timer, 0);
}

static void balloon_resume(struct virtio_dev *vdev)
{
    struct balloon *b = balloon_of(vdev);

    b->quiesced = false;
    if (!b->running)
        return;
    balloon_stats_arm(b);
    if (b->tell_target)
        vdev->transport->config_interrupt(vdev->transport_ctx);
    b->tell_target = false;
}

/* The target stays: it is the host's wish, and the next driver hears of it. */
static void balloon_reset(struct virtio_dev *vdev)
{
    struct balloon *b = balloon_of(vdev);

    b->running = b->tell_target = false;
    atomic_store(&b->actual, 0);
    atomic_store(&b->poison_val, 0);
    balloon_pages_forget(b);
    balloon_stats_forget(b);
}

static int balloon_save(struct virtio_dev *vdev, struct snapshot_writer *w, struct errctx *ec)
{
    const struct balloon *b = balloon_of(vdev);

    snapshot_put_u32(w, atomic_load(&b->num_pages));
    snapshot_put_u32(w, atomic_load(&b->actual));
    snapshot_put_u32(w, atomic_load(&b->poison_val));
    snapshot_put_u8(w, b->tell_target);
    balloon_stats_save(b, w);
    balloon_pages_save(b, w);
    return w->failed ? errctx_set(ec, ENOMEM, "%s: no memory to save it", vdev->name) : 0;
}

static int balloon_load(struct virtio_dev *vdev, struct snapshot_reader *r, uint32_t version,
                        struct errctx *ec)
{
    struct balloon *b = balloon_of(vdev);
    int ret;

    (void)version;
    atomic_store(&b->num_pages, snapshot_get_u32(r));
    atomic_store(&b->actual, snapshot_get_u32(r));
    atomic_store(&b->poison_val, snapshot_get_u32(r));
    b->tell_target = snapshot_get_u8(r) & 1;
    ret = balloon_stats_load(b, r, ec);
    return ret < 0 ? ret : balloon_pages_load(b, r, ec);
}

static void free_balloon(struct balloon *b)
{
    evloop_timer_free(b->stats_timer);
    page_set_fini(&b->in_balloon);
    page_set_fini(&b->reported);
    free(b->inflated_bytes);
    page_map_fini(&b->map);
    free(b);
}

static void balloon_destroy(struct virtio_dev *vdev)
{
    struct balloon *b = balloon_of(vdev);

    virtq_chain_fini(vdev->mem, &b->chain);
    free_balloon(b);
}

static const struct virtio_ops balloon_ops = {
    .type = "balloon",
    .version = 1,
    .virtio_id = VIRTIO_ID_BALLOON,
    .pci_class = BALLOON_CLASS,
    .config_read = balloon_config_read,
    .config_write = balloon_config_write,
    .start = balloon_start,
    .kick = balloon_kick,
    .quiesce = balloon_quiesce,
    .resume = balloon_resume,
    .reset = balloon_reset,
    .save = balloon_save,
    .load = balloon_load,
    .destroy = balloon_destroy,
};

/* --- the machine's side -------------------------------------------------------------------------- */

struct call {
    struct balloon *b;
    uint32_t pages;
    struct balloon_status *status;
    struct balloon_node *nodes;
    uint32_t n_nodes;
    int result;
};

static uint64_t ram_pages(const struct balloon *b)
{
    uint64_t n = 0;

    for (size_t i = 0; i < b->map.n_ranges; i++) {
        const struct page_map_range *range = &b->map.ranges[i];

        n += range->window ? guest_mem_plugged(b->vdev.mem, (struct gpa){ range->base },
                                               range->n_pages * PAGE_MAP_BYTES) /
                                 PAGE_MAP_BYTES
                           : range->n_pages;
    }
    return n;
}

static int check_target(const struct balloon *b, const char *what, uint64_t bytes,
                        struct errctx *ec)
{
    if (bytes / PAGE_MAP_BYTES > ram_pages(b) || bytes / PAGE_MAP_BYTES > UINT32_MAX)
        return errctx_set(ec, ERANGE, "%s: the guest has %llu MiB of memory", what,
                          (unsigned long long)(ram_pages(b) * PAGE_MAP_BYTES / MIB));
    return 0;
}

static void do_set_target(void *ctx)
{
    const struct call *call = ctx;
    struct balloon *b = call->b;

    atomic_store(&b->num_pages, call->pages);
    if (b->running && !b->quiesced)
        b->vdev.transport->config_interrupt(b->vdev.transport_ctx);
    else
        b->tell_target = b->running;
}

int balloon_set_target(struct virtio_dev *dev, uint64_t bytes, struct errctx *ec)
{
    struct call call = { .b = balloon_of(dev), .pages = (uint32_t)(bytes / PAGE_MAP_BYTES) };
    int r = check_target(call.b, "target", bytes, ec);

    if (r == 0)
        evloop_call(dev->loop, do_set_target, &call);
    return r;
}

static void do_ask_stats(void *ctx)
{
    balloon_stats_return(((struct call *)ctx)->b);
}

void balloon_ask_stats(struct virtio_dev *dev)
{
    struct call call = { .b = balloon_of(dev) };

    evloop_call(dev->loop, do_ask_stats, &call);
}

static void do_status(void *ctx)
{
    const struct call *call = ctx;
    const struct balloon *b = call->b;

    *call->status = (struct balloon_status){
        .driver = b->running && !b->vdev.broken,
        .target_bytes = (uint64_t)atomic_load(&b->num_pages) * PAGE_MAP_BYTES,
        .told_bytes = (uint64_t)atomic_load(&b->actual) * PAGE_MAP_BYTES,
        .rejected = b->rejected,
        .gone_bytes = b->gone_bytes,
        .stats_count = b->stats_count,
        .stats_age_ns = b->stats_count > 0 ? evloop_now_ns() - b->stats_at_ns : 0,
        .stats_there = b->stats_there,
    };
    memcpy(call->status->stats, b->stats, sizeof(b->stats));
}

void balloon_status(struct virtio_dev *dev, struct balloon_status *ret_status)
{
    struct call call = { .b = balloon_of(dev), .status = ret_status };

    evloop_call(dev->loop, do_status, &call);
}

static void do_account(void *ctx)
{
    struct call *call = ctx;

    call->result = balloon_pages_account(call->b, call->nodes, call->n_nodes);
}

int balloon_account(struct virtio_dev *dev, struct balloon_node *nodes, uint32_t n_nodes)
{
    struct call call = { .b = balloon_of(dev), .nodes = nodes, .n_nodes = n_nodes };

    evloop_call(dev->loop, do_account, &call);
    return call.result;
}

/* --- the row -------------------------------------------------------------------------------------- */

static int init_pages(struct balloon *b, const struct device_args *args, struct errctx *ec)
{
    const uint64_t bytes = device_args_number(args, "size", 0);
    int r = page_map_init(guest_mem_layout(b->vdev.mem), &b->map);

    if (r == 0)
        r = page_set_init(&b->map, &b->in_balloon);
    if (r == 0)
        r = page_set_init(&b->map, &b->reported);
    if (r == 0) {
        b->inflated_bytes = calloc(b->map.n_ranges, sizeof(b->inflated_bytes[0]));
        r = b->inflated_bytes == NULL ? -ENOMEM : 0;
    }
    if (r < 0)
        return errctx_set(ec, ENOMEM, "--balloon: no memory for its account");
    r = check_target(b, "--balloon: size", bytes, ec);
    if (r == 0)
        atomic_store(&b->num_pages, (uint32_t)(bytes / PAGE_MAP_BYTES));
    return r;
}

static int balloon_create(const struct device_args *args, const struct device_env *env,
                          struct virtio_dev **ret_dev, struct errctx *ec)
{
    const uint64_t always = 1ull << VIRTIO_BALLOON_F_MUST_TELL_HOST |
                            1ull << VIRTIO_BALLOON_F_STATS_VQ | 1ull << VIRTIO_BALLOON_F_PAGE_POISON;
    struct balloon *b = calloc(1, sizeof(*b));
    int r;

    if (b == NULL)
        return errctx_set(ec, ENOMEM, "--balloon: no memory for the device");
    b->vdev = (struct virtio_dev){
        .ops = &balloon_ops,
        .host_features =
            always | device_args_number(args, "deflate-on-oom", 1) << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
            device_args_number(args, "reporting", 1) << VIRTIO_BALLOON_F_REPORTING,
        .n_queues = BALLOON_QUEUES,
        .config_len = sizeof(struct virtio_balloon_config),
        .loop = env->loop,
        .mem = env->mem,
    };
    for (unsigned i = 0; i < BALLOON_QUEUES; i++)
        b->vdev.queue_max[i] = BALLOON_QUEUE_SIZE;
    (void)strncpy(b->vdev.name, env->name, sizeof(b->vdev.name) - 1);
    b->stats_ns = device_args_number(args, "stats", 0) * 1000000000u;
    r = init_pages(b, args, ec);
    if (r == 0)
        r = evloop_timer_new(env->loop, balloon_stats_due, b, &b->stats_timer, ec);
    if (r < 0) {
        free_balloon(b);
        return r;
    }
    *ret_dev = &b->vdev;
    return 0;
}

static const struct device_key balloon_keys[] = {
    { .name = "size", .kind = DEVICE_KEY_SIZE, .help = "give so much away from the start" },
    { .name = "deflate-on-oom",
      .kind = DEVICE_KEY_FLAG,
      .help = "the guest may take it back before it kills (on)" },
    { .name = "reporting", .kind = DEVICE_KEY_FLAG, .help = "take back what the guest has free (on)" },
    { .name = "stats",
      .kind = DEVICE_KEY_UINT,
      .max = STATS_SECONDS_MAX,
      .help = "ask for statistics every so many seconds" },
    { .name = NULL },
};

const struct device_type balloon_device_type = {
    .name = "balloon",
    .first_key = "size",
    .single = true,
    .reclaims = true,
    .help = "memory that the guest gives back to the host",
    .keys = balloon_keys,
    .create = balloon_create,
};
