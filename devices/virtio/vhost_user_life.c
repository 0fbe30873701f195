/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the back end of a vhost-user device comes and goes. States are in vhost_user.c.
 *
 * Each back end gets descriptors to ring by that none before it had: one that lives on without its
 * link would hear its successor's doorbells. Threading: the loop.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/virtio/vhost_user_int.h"
#include "vmm/base/macros.h"

enum { PATIENCE_AGAIN_MS = 1000, SAY_FREELY = 16, LINK_EVENTS = EPOLLIN | EPOLLRDHUP };
#define RETRY_NS     1000000000ull
#define RETRY_MAX_NS 60000000000ull
#define SAY_NS       10000000000ull

void vu_say(struct vu_dev *dev, const char *what, const char *why)
{
    const uint64_t now = evloop_now_ns();
    char text[ERRCTX_MSG_MAX + 256];

    if (dev->n_said >= SAY_FREELY && now - dev->said_ns < SAY_NS)
        return;
    dev->n_said += dev->n_said < SAY_FREELY;
    dev->said_ns = now;
    (void)snprintf(text, sizeof(text), "%s: %s (%.100s)%s%s", dev->vdev.name, what, dev->path,
                   why[0] != '\0' ? ": " : "", why);
    if (dev->say != NULL)
        dev->say(dev->say_ctx, text);
}

/* --- what both sides ring by ------------------------------------------------------------------ */

int vu_ring_make(struct vu_dev *dev, struct vu_ring *ring, struct errctx *ec)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ring->kick_fd) < 0)
        return errctx_set_os(ec, errno, "socketpair");
    /* Nothing comes this way: descriptors left there would be closed by us, at their owner's speed. */
    if (shutdown(ring->kick_fd[0], SHUT_RD) < 0)
        return errctx_set_os(ec, errno, "shutdown");
    return vring_call_make(&ring->call, &dev->vdev, (unsigned)(ring - dev->rings), ec);
}

void vu_ring_drop(struct vu_ring *ring)
{
    vring_call_drop(&ring->call);
    for (int i = 0; i < 2; i++) {
        if (ring->kick_fd[i] >= 0)
            (void)close(ring->kick_fd[i]);
        ring->kick_fd[i] = -1;
    }
}

static int renew_rings(struct vu_dev *dev, struct errctx *ec)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < dev->vdev.n_queues; i++) {
        vu_ring_drop(&dev->rings[i]);
        r = vu_ring_make(dev, &dev->rings[i], ec);
    }
    return r;
}

void vu_stir(struct vu_dev *dev)
{
    struct virtio_dev *vdev = &dev->vdev;

    for (unsigned i = 0; dev->running && i < vdev->n_queues; i++)
        if (vdev->vqs[i].enabled) {
            vdev->ops->kick(vdev, i);
            vdev->transport->queue_interrupt(vdev->transport_ctx, &vdev->vqs[i]);
        }
}

/* --- going ------------------------------------------------------------------------------------ */

static void set_link(struct vu_dev *dev, uint16_t status)
{
    if (dev->kind->ops != &vu_net_ops)
        return;
    if (__atomic_exchange_n(&dev->net_status, status, __ATOMIC_RELAXED) != status)
        dev->vdev.transport->config_interrupt(dev->vdev.transport_ctx);
}

static void set_running(struct vu_dev *dev, bool running)
{
    dev->running = running;
    for (unsigned i = 0; i < dev->vdev.n_queues; i++)
        dev->rings[i].call.on = running;
}

static void hang_up(struct vu_dev *dev)
{
    evloop_unwatch(dev->link_watch);
    dev->link_watch = NULL;
    vhost_user_close(&dev->link);
    set_running(dev, false);
    for (unsigned i = 0; i < dev->vdev.n_queues; i++)
        dev->rings[i].told = false;
}

/* One that comes and goes is tried less and less often. */
void vu_wait(struct vu_dev *dev)
{
    dev->retry_ns = dev->retry_ns == 0 ? RETRY_NS : MIN(2 * dev->retry_ns, RETRY_MAX_NS);
    set_link(dev, 0);
    if (!dev->quiet)
        evloop_timer_arm(dev->retry, evloop_now_ns() + dev->retry_ns);
}

void vu_lose(struct vu_dev *dev, const char *why)
{
    hang_up(dev);
    if (evloop_now_ns() - dev->served_ns > RETRY_MAX_NS)
        dev->retry_ns = 0; /* it was good for a while */
    if (dev->started && dev->kind->returns) {
        vu_say(dev, "the back end is gone, the link is down until it is back", why);
        vu_wait(dev);
    } else if (dev->started && dev->kind->returns_idle && vu_rings_idle(dev)) {
        vu_say(dev, "the back end is gone, requests wait until it is back", why);
        vu_wait(dev);
    } else if (dev->started) {
        vu_say(dev, "the back end is gone, the device needs a reset by its driver", why);
        virtio_dev_break(&dev->vdev, "its back end is gone");
    } else {
        vu_say(dev, "the back end is gone, and is looked for when the driver starts", why);
    }
}

static void link_ready(void *ctx, uint32_t events)
{
    struct vu_dev *dev = ctx;

    vu_lose(dev, events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP) ? "" : "it spoke unasked");
}

/* --- coming ----------------------------------------------------------------------------------- */

int vu_link_watch(struct vu_dev *dev, struct errctx *ec)
{
    return evloop_watch_fd(dev->vdev.loop, dev->link.fd, LINK_EVENTS, link_ready, dev,
                           &dev->link_watch, ec);
}

static int connect_again(struct vu_dev *dev, struct errctx *ec)
{
    int r = vhost_user_connect(dev->path, &dev->link, ec);

    if (r < 0)
        return r;
    vhost_user_allow(&dev->link, PATIENCE_AGAIN_MS);
    r = vu_hello(dev, true, ec);
    if (r == 0)
        r = renew_rings(dev, ec);
    if (r == 0)
        r = vu_link_watch(dev, ec);
    if (r < 0)
        hang_up(dev);
    return r;
}

int vu_serve(struct vu_dev *dev, struct errctx *ec)
{
    int r = vu_rings_check(dev, ec);

    if (r == 0 && dev->link.fd < 0)
        r = connect_again(dev, ec);
    if (r < 0)
        return r;
    evloop_watch_set(dev->link_watch, 0); /* nobody but who waits for a reply reads from it */
    vhost_user_allow(&dev->link, dev->patience_ms);
    r = vu_rings_start(dev, ec);
    if (r < 0) {
        hang_up(dev);
        return r;
    }
    evloop_watch_set(dev->link_watch, LINK_EVENTS);
    set_running(dev, true);
    dev->served_ns = evloop_now_ns();
    return 0;
}

void vu_stop(struct vu_dev *dev)
{
    struct errctx why = { 0 };

    evloop_watch_set(dev->link_watch, 0);
    vhost_user_allow(&dev->link, dev->patience_ms);
    if (vu_rings_stop(dev, &why) < 0)
        vu_lose(dev, why.msg);
    else
        evloop_watch_set(dev->link_watch, LINK_EVENTS);
    set_running(dev, false);
}

/* One that is there and of no use is told of; one that is not there is not. */
static void wait_on(struct vu_dev *dev, int why, const char *what)
{
    if (why != -ECONNREFUSED && why != -ENOENT)
        vu_say(dev, "the back end that came is of no use", what);
    vu_wait(dev);
}

void vu_retry(void *ctx)
{
    struct vu_dev *dev = ctx;
    struct errctx why = { 0 };
    int r;

    if (!dev->started || dev->running || dev->quiet)
        return;
    if (vu_rings_rewind(dev) < 0) {
        virtio_dev_break(&dev->vdev, "a ring went away");
        return;
    }
    r = vu_serve(dev, &why);
    if (r < 0) {
        wait_on(dev, r, why.msg);
        return;
    }
    vu_say(dev, "the back end is back", "");
    set_link(dev, VIRTIO_NET_S_LINK_UP);
    vu_stir(dev);
}
