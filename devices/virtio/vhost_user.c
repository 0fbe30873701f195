/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device whose rings another process serves: the front end of vhost-user.
 *
 *   created --start--> running <--quiesce/resume--> stopped --reset--> created
 *   running --back end gone--> broken until the driver resets it    (fs, blk)
 *                          \-> waiting, link down --back--> running (net)
 *
 * Doorbells and interrupts pass through the loop: the guest's are the transport's, and the back end
 * gets eventfds of its own. Those it shares with us, with their flags; so they are never read (the
 * watch is edge-triggered), and written to only when they have room, which leaves a back end that
 * races both no more than to stall its guest's devices.
 *
 * The loop waits for replies when a driver starts or stops the device and while the machine pauses,
 * up to the link's patience for each. In between nothing is due on the link, so whatever comes
 * there ends it. Threading: the loop; config_read on vCPU threads.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/virtio/vhost_user_int.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum { RETRY_NS = 1000000000, PATIENCE_AGAIN_MS = 1000 };

static struct vu_dev *vu_of(struct virtio_dev *vdev)
{
    return container_of(vdev, struct vu_dev, vdev);
}

/* --- the back end comes and goes -------------------------------------------------------------- */

static void set_link(struct vu_dev *dev, uint16_t status)
{
    if (__atomic_exchange_n(&dev->net_status, status, __ATOMIC_RELAXED) != status)
        dev->vdev.transport->config_interrupt(dev->vdev.transport_ctx);
}

static void say(const struct vu_dev *dev, const char *what, const char *why)
{
    char text[ERRCTX_MSG_MAX + 256];

    (void)snprintf(text, sizeof(text), "%s: %s (%.100s)%s%s", dev->vdev.name, what, dev->path,
                   why[0] != '\0' ? ": " : "", why);
    if (dev->say != NULL)
        dev->say(dev->say_ctx, text);
}

static void hang_up(struct vu_dev *dev)
{
    evloop_unwatch(dev->link_watch);
    dev->link_watch = NULL;
    vhost_user_close(&dev->link);
    dev->running = false;
    for (unsigned i = 0; i < dev->vdev.n_queues; i++)
        dev->rings[i].told = false;
}

/* The link is of no use any more. */
static void lose(struct vu_dev *dev, const char *why)
{
    hang_up(dev);
    if (dev->started && dev->kind->returns) {
        say(dev, "the back end is gone, the link is down until it is back", why);
        set_link(dev, 0);
        evloop_timer_arm(dev->retry, evloop_now_ns() + RETRY_NS);
    } else if (dev->started) {
        say(dev, "the back end is gone, the device needs a reset by its driver", why);
        virtio_dev_break(&dev->vdev, "its back end is gone");
    } else {
        say(dev, "the back end is gone, and is looked for when the driver starts", why);
    }
}

static void link_ready(void *ctx, uint32_t events)
{
    struct vu_dev *dev = ctx;

    lose(dev, events & (EPOLLHUP | EPOLLERR) ? "" : "it spoke unasked");
}

static int watch_link(struct vu_dev *dev, struct errctx *ec)
{
    return evloop_watch_fd(dev->vdev.loop, dev->link.fd, EPOLLIN, link_ready, dev, &dev->link_watch,
                           ec);
}

/* Nobody but who waits for a reply reads from the link. */
static void mute_link(struct vu_dev *dev)
{
    if (dev->link_watch != NULL)
        evloop_watch_set(dev->link_watch, 0);
}

static void hear_link(struct vu_dev *dev)
{
    if (dev->link_watch != NULL)
        evloop_watch_set(dev->link_watch, EPOLLIN);
}

static int connect_again(struct vu_dev *dev, struct errctx *ec)
{
    int r = vhost_user_connect(dev->path, &dev->link, ec);

    if (r < 0)
        return r;
    dev->link.patience_ms = PATIENCE_AGAIN_MS;
    r = vu_hello(dev, true, ec);
    if (r == 0)
        r = watch_link(dev, ec);
    if (r < 0)
        hang_up(dev);
    return r;
}

/* Have the back end serve the rings; one that refuses is hung up on. */
static int serve(struct vu_dev *dev, struct errctx *ec)
{
    int r = dev->link.fd < 0 ? connect_again(dev, ec) : 0;

    if (r < 0)
        return r;
    dev->link.patience_ms = VU_PATIENCE_MS;
    mute_link(dev);
    r = vu_rings_start(dev, ec);
    if (r < 0) {
        hang_up(dev);
        return r;
    }
    hear_link(dev);
    dev->running = true;
    return 0;
}

static void retry(void *ctx)
{
    struct vu_dev *dev = ctx;

    if (!dev->started || dev->running)
        return;
    if (vu_rings_rewind(dev) < 0) {
        virtio_dev_break(&dev->vdev, "a ring went away");
    } else if (serve(dev, NULL) == 0) {
        say(dev, "the back end is back", "");
        set_link(dev, VIRTIO_NET_S_LINK_UP);
    } else {
        evloop_timer_arm(dev->retry, evloop_now_ns() + RETRY_NS);
    }
}

/* --- the guest -------------------------------------------------------------------------------- */

static void vu_config_read(struct virtio_dev *vdev, uint32_t off, void *data, uint32_t len)
{
    struct vu_dev *dev = vu_of(vdev);
    uint8_t bytes[VU_CONFIG_MAX];

    memset(data, 0, len);
    memcpy(bytes, dev->config.bytes, sizeof(bytes));
    if (vdev->ops == &vu_net_ops) {
        const uint16_t status = __atomic_load_n(&dev->net_status, __ATOMIC_RELAXED);

        memcpy(bytes + offsetof(struct virtio_net_config, status), &status, sizeof(status));
    }
    if (off < vdev->config_len)
        memcpy(data, bytes + off, MIN(len, vdev->config_len - off));
}

static void vu_config_write(struct virtio_dev *vdev, uint32_t off, const void *data, uint32_t len)
{
    (void)vdev; /* nothing of what is offered is the driver's to write */
    (void)off;
    (void)data;
    (void)len;
}

static void called(void *ctx, uint32_t events)
{
    struct vu_ring *ring = ctx;
    struct vu_dev *dev = ring->dev;

    (void)events;
    if (dev->running)
        dev->vdev.transport->queue_interrupt(dev->vdev.transport_ctx,
                                             &dev->vdev.vqs[ring - dev->rings]);
}

static int vu_start(struct virtio_dev *vdev)
{
    struct vu_dev *dev = vu_of(vdev);
    struct errctx why = { 0 };
    int r = serve(dev, &why);

    if (r < 0) {
        say(dev, "the device does not start", why.msg);
        return r;
    }
    dev->started = true;
    return 0;
}

static void vu_kick(struct virtio_dev *vdev, unsigned index)
{
    struct vu_dev *dev = vu_of(vdev);
    struct pollfd p = { .fd = dev->rings[index].kick_fd, .events = POLLOUT };
    const uint64_t one = 1;

    if (dev->running && poll(&p, 1, 0) == 1 && (p.revents & POLLOUT))
        (void)!write(p.fd, &one, sizeof(one));
}

static void vu_quiesce(struct virtio_dev *vdev)
{
    struct vu_dev *dev = vu_of(vdev);
    struct errctx why = { 0 };

    evloop_timer_arm(dev->retry, 0);
    if (!dev->running)
        return;
    mute_link(dev);
    if (vu_rings_stop(dev, &why) < 0)
        lose(dev, why.msg);
    evloop_timer_arm(dev->retry, 0); /* at resume */
    hear_link(dev);
    dev->running = false;
}

static void vu_resume(struct virtio_dev *vdev)
{
    struct vu_dev *dev = vu_of(vdev);
    struct errctx why = { 0 };

    if (!dev->started || dev->running || vdev->broken)
        return;
    if (dev->link.fd < 0) { /* lost before or meanwhile */
        evloop_timer_arm(dev->retry, evloop_now_ns());
        return;
    }
    if (serve(dev, &why) < 0)
        lose(dev, why.msg);
    /* An interrupt may have been on its way when the device stopped. */
    for (unsigned i = 0; dev->running && i < vdev->n_queues; i++)
        if (vdev->vqs[i].enabled)
            vdev->transport->queue_interrupt(vdev->transport_ctx, &vdev->vqs[i]);
}

static void vu_reset(struct virtio_dev *vdev)
{
    struct vu_dev *dev = vu_of(vdev);

    dev->started = false; /* the rings were stopped by quiesce */
    dev->net_status = VIRTIO_NET_S_LINK_UP;
}

static int vu_save(struct virtio_dev *vdev, struct snapshot_writer *w, struct errctx *ec)
{
    (void)w;
    return errctx_set(ec, ENOTSUP, "%s: the state of a vhost-user device is in its back end, which "
                      "does not give it away", vdev->name);
}

static void vu_destroy(struct virtio_dev *vdev)
{
    struct vu_dev *dev = vu_of(vdev);

    evloop_timer_free(dev->retry);
    evloop_unwatch(dev->link_watch);
    vhost_user_close(&dev->link);
    for (unsigned i = 0; i < VU_QUEUES_MAX; i++) {
        struct vu_ring *ring = &dev->rings[i];

        evloop_unwatch(ring->call_watch);
        if (ring->kick_fd >= 0)
            (void)close(ring->kick_fd);
        if (ring->call_fd >= 0)
            (void)close(ring->call_fd);
    }
    free(dev->pieces);
    free(dev->path);
    free(dev);
}

#define VU_OPS(id, class)                                                                          \
    {                                                                                              \
        .type = "vhost-user", .version = VU_STATE_VERSION, .virtio_id = (id),                      \
        .pci_class = (class), .config_read = vu_config_read, .config_write = vu_config_write,      \
        .start = vu_start, .kick = vu_kick, .quiesce = vu_quiesce, .resume = vu_resume,            \
        .reset = vu_reset, .save = vu_save, .destroy = vu_destroy,                                 \
    }

const struct virtio_ops vu_fs_ops = VU_OPS(VIRTIO_ID_FS, 0x018000);    /* mass storage, other */
const struct virtio_ops vu_blk_ops = VU_OPS(VIRTIO_ID_BLOCK, 0x018000);
const struct virtio_ops vu_net_ops = VU_OPS(VIRTIO_ID_NET, 0x020000); /* Ethernet */

/* --- making one ------------------------------------------------------------------------------- */

static int make_ring(struct vu_dev *dev, struct vu_ring *ring, struct errctx *ec)
{
    ring->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ring->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ring->kick_fd < 0 || ring->call_fd < 0)
        return errctx_set_os(ec, errno, "eventfd");
    return evloop_watch_fd(dev->vdev.loop, ring->call_fd, EPOLLIN | EPOLLET, called, ring,
                           &ring->call_watch, ec);
}

static int list_pieces(struct vu_dev *dev, struct errctx *ec)
{
    dev->n_pieces = guest_mem_pieces(dev->vdev.mem, NULL, 0);
    dev->pieces = calloc(dev->n_pieces, sizeof(*dev->pieces));
    if (dev->pieces == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the device");
    (void)guest_mem_pieces(dev->vdev.mem, dev->pieces, dev->n_pieces);
    return 0;
}

static void init(struct vu_dev *dev, const struct device_env *env, unsigned queues)
{
    dev->link.fd = -1;
    for (unsigned i = 0; i < VU_QUEUES_MAX; i++)
        dev->rings[i] = (struct vu_ring){ .dev = dev, .kick_fd = -1, .call_fd = -1 };
    dev->say = env->say;
    dev->say_ctx = env->say_ctx;
    dev->net_status = VIRTIO_NET_S_LINK_UP;
    dev->vdev.ops = dev->kind->ops;
    (void)snprintf(dev->vdev.name, sizeof(dev->vdev.name), "%s", env->name);
    dev->vdev.n_queues = queues + dev->kind->extra_queues;
    for (unsigned i = 0; i < dev->vdev.n_queues; i++)
        dev->vdev.queue_max[i] = VU_QUEUE_SIZE;
    dev->vdev.config_len = dev->kind->config_len;
    dev->vdev.loop = env->loop;
    dev->vdev.mem = env->mem;
}

int vu_dev_new(struct vu_dev *dev, const struct device_env *env, unsigned queues,
               struct virtio_dev **ret_dev, struct errctx *ec)
{
    int r;

    init(dev, env, queues);
    r = list_pieces(dev, ec);
    for (unsigned i = 0; r == 0 && i < dev->vdev.n_queues; i++)
        r = make_ring(dev, &dev->rings[i], ec);
    if (r == 0)
        r = evloop_timer_new(dev->vdev.loop, retry, dev, &dev->retry, ec);
    if (r == 0)
        r = vhost_user_connect(dev->path, &dev->link, ec);
    if (r == 0)
        r = vu_hello(dev, false, ec);
    if (r == 0)
        r = watch_link(dev, ec);
    if (r < 0) {
        vu_destroy(&dev->vdev);
        return r;
    }
    dev->vdev.host_features = (dev->back_features & dev->kind->features) | dev->kind->own_features;
    dev->vdev.lacking_features = ~dev->back_features & (1ull << VIRTIO_RING_F_INDIRECT_DESC |
                                                        1ull << VIRTIO_RING_F_EVENT_IDX);
    *ret_dev = &dev->vdev;
    return 0;
}
