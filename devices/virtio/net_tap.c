/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network backend on a TAP interface of the host.
 *
 * The kernel reads and writes the guest's own 12-byte header (IFF_VNET_HDR), so checksums and
 * segmentation pass through untouched and a frame moves with one readv() or writev() straight
 * from and to guest memory. One descriptor per queue pair; pairs that the driver does not use
 * are detached, so the host does not steer flows to them.
 *
 * With vhost the kernel serves the pairs that are in use, each by an instance of its own, and we watch
 * the TAP for its end only.
 *
 * An existing interface is attached to and left as it is. A missing one is made, brought up, and
 * disappears with the last descriptor, whichever way the process ends.
 *
 * Threading: create and destroy while the loop is idle, the rest on the loop.
 */
#include "devices/virtio/net_int.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_ring.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/virtio/vhost_net.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

/* What a kernel that serves the queues may not know. */
#define TAP_MAY_LACK                                                                               \
    (1ull << VIRTIO_NET_F_MRG_RXBUF | 1ull << VIRTIO_RING_F_INDIRECT_DESC |                        \
     1ull << VIRTIO_RING_F_EVENT_IDX)

enum { TAP_RX_BURST = 64 /* frames before transmission gets its turn */ };

struct tap_queue {
    struct net_tap *tap;
    unsigned index;
    int fd;
    struct evloop_watch *watch; /* NULL while detached */
    uint32_t events;            /* what the watch waits for */
    bool attached;
    struct vhost_net *vhost; /* NULL: we serve the pair */
};

struct net_tap {
    struct net_backend be; /* first */
    struct evloop *loop;
    bool multi_queue; /* as the kernel sees the interface */
    bool gone;        /* the interface was removed under us */
    bool running;
    bool has_said; /* why the kernel does not serve: once, since a guest can have it happen again */
    unsigned cur_pairs;
    struct tap_queue q[NET_MAX_PAIRS];
};

static struct net_tap *tap_of(struct net_backend *be)
{
    return container_of(be, struct net_tap, be);
}

static void tap_wait(struct tap_queue *q, uint32_t events)
{
    if (q->watch != NULL && q->events != events)
        evloop_watch_set(q->watch, events);
    q->events = events;
}

static void tap_gone(struct net_tap *tap)
{
    tap->gone = true;
    for (unsigned i = 0; i < tap->be.max_pairs; i++) {
        evloop_unwatch(tap->q[i].watch);
        tap->q[i].watch = NULL;
    }
    if (tap->running)
        net_link_down(tap->be.dev); /* else the next run() says so */
}

static void tap_receive(struct tap_queue *q)
{
    struct net_tap *tap = q->tap;
    struct net_pair *pair = &tap->be.dev->pairs[q->index];
    int r = 1;

    for (unsigned i = 0; i < TAP_RX_BURST && r == 1; i++)
        r = net_rx_read(pair, q->fd);
    net_rx_end(pair);
    if (r == -EAGAIN)
        tap_wait(q, q->events & ~(uint32_t)EPOLLIN); /* until rx_ready() */
    else if (r == -EPROTO)
        tap_wait(q, 0); /* until the driver resets the device */
    else if (r < 0)
        tap_gone(tap);
}

static void tap_event(void *ctx, uint32_t events)
{
    struct tap_queue *q = ctx;
    struct net_tap *tap = q->tap;

    if (!tap->running || tap->be.dev->vdev.broken) {
        tap_wait(q, 0);
        events &= EPOLLERR | EPOLLHUP;
    }
    if (events & EPOLLOUT) {
        tap_wait(q, q->events & ~(uint32_t)EPOLLOUT);
        net_tx_run(&tap->be.dev->pairs[q->index]);
    }
    if (events & EPOLLIN)
        tap_receive(q);
    else if (events & (EPOLLERR | EPOLLHUP))
        tap_gone(tap);
}

static int tap_send(struct net_backend *be, unsigned pair, const struct virtq_chain *chain)
{
    struct net_tap *tap = tap_of(be);
    struct tap_queue *q = &tap->q[pair];

    if (tap->gone || writev(q->fd, chain->iov, (int)chain->n_read) >= 0)
        return 0;
    if (errno == EAGAIN && q->watch != NULL) {
        tap_wait(q, q->events | EPOLLOUT);
        return -EAGAIN;
    }
    if (errno == EBADFD)
        tap_gone(tap); /* without receive buffers nothing else would tell */
    return 0; /* refused by the host (interface down, header makes no sense): lost, as on a wire */
}

static void tap_rx_ready(struct net_backend *be, unsigned pair)
{
    struct tap_queue *q = &tap_of(be)->q[pair];

    if (!(q->events & EPOLLIN)) {
        tap_wait(q, q->events | EPOLLIN);
        tap_receive(q);
    }
}

static int tap_start(struct net_backend *be, uint64_t features)
{
    static const struct {
        unsigned feature, offload;
    } map[] = {
        { VIRTIO_NET_F_GUEST_CSUM, TUN_F_CSUM },
        { VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4 },
        { VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6 },
        { VIRTIO_NET_F_GUEST_ECN, TUN_F_TSO_ECN },
    };
    struct net_tap *tap = tap_of(be);
    unsigned long offload = 0;

    for (size_t i = 0; i < ARRAY_SIZE(map); i++) {
        if (features >> map[i].feature & 1)
            offload |= map[i].offload;
    }
    if (!tap->gone && ioctl(tap->q[0].fd, TUNSETOFFLOAD, offload) < 0)
        return -errno;
    return 0;
}

static int tap_queue_attach(struct tap_queue *q, bool attach)
{
    struct ifreq ifr = { .ifr_flags = attach ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };
    struct net_tap *tap = q->tap;

    if (!attach) {
        evloop_unwatch(q->watch); /* a detached queue reports errors without end */
        q->watch = NULL;
    }
    if (q->attached != attach && tap->multi_queue && ioctl(q->fd, TUNSETQUEUE, &ifr) < 0)
        return -errno;
    q->attached = attach;
    if (attach && q->watch == NULL) {
        q->events = 0;
        return evloop_watch_fd(tap->loop, q->fd, 0, tap_event, q, &q->watch, NULL);
    }
    return 0;
}

static int tap_set_pairs(struct net_backend *be, unsigned n)
{
    struct net_tap *tap = tap_of(be);
    int r;

    for (unsigned i = n; i < tap->be.max_pairs && tap->be.serves_queues; i++)
        vhost_net_stop(tap->q[i].vhost);
    for (unsigned i = 0; i < tap->be.max_pairs && !tap->gone; i++) {
        r = tap_queue_attach(&tap->q[i], i < n);
        if (r < 0)
            return r;
    }
    tap->cur_pairs = n;
    return 0;
}

/* --- served by the kernel --- */

static void tap_stop(struct net_backend *be);

/* A pair does not run, or not any more: the device needs a reset by its driver. */
static void tap_break(struct net_tap *tap, const char *why)
{
    struct net_dev *dev = tap->be.dev;
    char text[ERRCTX_MSG_MAX + 64];

    tap_stop(&tap->be);
    (void)snprintf(text, sizeof(text), "%s: %s: it needs a reset by its driver", dev->vdev.name, why);
    if (dev->say != NULL && !tap->has_said)
        dev->say(dev->say_ctx, text);
    tap->has_said = true;
    virtio_dev_break(&dev->vdev, "vhost-net does not serve it");
}

static void tap_vhost_failed(void *ctx)
{
    struct net_tap *tap = ctx;

    tap_break(tap, "vhost-net met a ring that makes no sense, or memory that is not there");
}

static void tap_run_vhost(struct net_tap *tap)
{
    struct errctx why = { 0 };
    int r = 0;

    for (unsigned i = 0; i < tap->cur_pairs && r == 0 && !tap->be.dev->vdev.broken; i++)
        r = tap->gone ? -EBADFD : vhost_net_start(tap->q[i].vhost, tap->q[i].fd, &why);
    if (r == -EBADFD && !tap->gone)
        tap_gone(tap);
    else if (r < 0 && !tap->gone)
        tap_break(tap, why.msg);
}

static void tap_run(struct net_backend *be)
{
    struct net_tap *tap = tap_of(be);

    tap->running = true;
    if (tap->gone)
        net_link_down(be->dev);
    if (be->serves_queues) {
        tap_run_vhost(tap);
        return;
    }
    for (unsigned i = 0; i < tap->cur_pairs; i++)
        tap_wait(&tap->q[i], EPOLLIN | (tap->q[i].events & EPOLLOUT));
}

static void tap_stop(struct net_backend *be)
{
    struct net_tap *tap = tap_of(be);

    tap->running = false;
    for (unsigned i = 0; i < tap->be.max_pairs; i++) {
        tap_wait(&tap->q[i], 0);
        if (be->serves_queues)
            vhost_net_stop(tap->q[i].vhost);
    }
}

static void tap_reset(struct net_backend *be)
{
    struct net_tap *tap = tap_of(be);

    for (unsigned i = 0; i < tap->be.max_pairs && be->serves_queues; i++)
        vhost_net_reset(tap->q[i].vhost);
}

static int tap_attach_vhost(struct net_backend *be, struct errctx *ec)
{
    struct net_tap *tap = tap_of(be);
    int r = 0;

    for (unsigned i = 0; i < tap->be.max_pairs && be->serves_queues && r == 0; i++)
        r = vhost_net_attach(tap->q[i].vhost, &be->dev->vdev, 2 * i, ec);
    return r;
}

static void tap_destroy(struct net_backend *be)
{
    struct net_tap *tap = tap_of(be);

    for (unsigned i = 0; i < NET_MAX_PAIRS; i++) {
        evloop_unwatch(tap->q[i].watch);
        vhost_net_free(tap->q[i].vhost);
        if (tap->q[i].fd >= 0)
            (void)close(tap->q[i].fd);
    }
    free(tap);
}

static const struct net_backend_ops tap_ops = {
    .attach = tap_attach_vhost,
    .start = tap_start,
    .set_pairs = tap_set_pairs,
    .run = tap_run,
    .stop = tap_stop,
    .reset = tap_reset,
    .rx_ready = tap_rx_ready,
    .send = tap_send,
    .destroy = tap_destroy,
};

/* --- opening --- */

static int tap_attach_error(int code, const char *name, bool existed, unsigned queues,
                            struct errctx *ec)
{
    switch (code) {
    case EPERM:
        if (existed)
            return errctx_set(ec, code,
                              "TAP %s belongs to another user; its owner is set by: "
                              "ip tuntap add dev %s mode tap user NAME",
                              name, name);
        return errctx_set(ec, code,
                          "there is no TAP %s and making one needs CAP_NET_ADMIN; as "
                          "root: ip tuntap add dev %s mode tap%s user NAME",
                          name, name, queues > 1 ? " multi_queue" : "");
    case EBUSY:
        return errctx_set(ec, code, "TAP %s is in use by another program", name);
    case EINVAL:
        if (existed && queues > 1)
            return errctx_set(ec, code,
                              "interface %s is no TAP made with multi_queue, which "
                              "queues=%u needs",
                              name, queues);
        return errctx_set(ec, code, "interface %s is no TAP", name);
    default:
        return errctx_set_os(ec, code, "attach to TAP %s", name);
    }
}

/* One more descriptor of the interface. */
static int tap_attach(struct net_tap *tap, unsigned i, const char *name, bool existed,
                      unsigned queues, struct errctx *ec)
{
    struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
    CLEANUP_CLOSE int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    int hdr_len = NET_HDR_LEN, r;

    if (fd < 0)
        return errctx_set_os(ec, errno, "open /dev/net/tun%s",
                             errno == ENOENT ? " (kernel module tun)" : "");
    if (queues > 1 || tap->multi_queue)
        ifr.ifr_flags |= IFF_MULTI_QUEUE;
    (void)strncpy(ifr.ifr_name, name, sizeof(ifr.ifr_name) - 1);
    r = ioctl(fd, TUNSETIFF, &ifr);
    if (r < 0 && errno == EINVAL && existed && queues == 1) {
        ifr.ifr_flags |= IFF_MULTI_QUEUE; /* made for more queues than we were asked for */
        r = ioctl(fd, TUNSETIFF, &ifr);
    }
    if (r < 0)
        return tap_attach_error(errno, name, existed, queues, ec);
    if (ioctl(fd, TUNSETVNETHDRSZ, &hdr_len) < 0)
        return errctx_set_os(ec, errno, "TAP %s: set the header's size", name);
    tap->multi_queue = ifr.ifr_flags & IFF_MULTI_QUEUE;
    tap->q[i].fd = take_fd(&fd);
    tap->q[i].attached = true;
    return 0;
}

/* Read the MTU, and bring an interface up that we made. */
static int tap_interface(struct net_tap *tap, const char *name, bool existed, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq ifr = { 0 };

    if (fd < 0)
        return errctx_set_os(ec, errno, "TAP %s: socket", name);
    (void)strncpy(ifr.ifr_name, name, sizeof(ifr.ifr_name) - 1);
    if (ioctl(fd, SIOCGIFMTU, &ifr) < 0)
        return errctx_set_os(ec, errno, "TAP %s: read the MTU", name);
    tap->be.mtu = (uint16_t)MIN(ifr.ifr_mtu, 65535);
    if (existed)
        return 0;
    if (ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
        return errctx_set_os(ec, errno, "TAP %s: read the flags", name);
    ifr.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
        return errctx_set_os(ec, errno, "TAP %s: bring the interface up", name);
    return 0;
}

int net_tap_name_check(const char *name, struct errctx *ec)
{
    size_t len = strlen(name);

    if (len == 0 || len >= IFNAMSIZ)
        return errctx_set(ec, EINVAL, "tap: \"%s\" is not 1 to %d characters long", name,
                          IFNAMSIZ - 1);
    if (strpbrk(name, "/% \t\n:") != NULL || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return errctx_set(ec, EINVAL, "tap: \"%s\" is no name of an interface", name);
    return 0;
}

/* After the queues were attached. */
static int tap_open_vhost(struct net_tap *tap, const struct device_env *env, struct errctx *ec)
{
    int r = 0;

    for (unsigned i = 0; i < tap->be.max_pairs && r == 0; i++)
        r = vhost_net_new(env->mem, env->loop, tap_vhost_failed, tap, &tap->q[i].vhost, ec);
    if (r < 0)
        return r;
    tap->be.serves_queues = true;
    tap->be.lacking = ~vhost_net_features(tap->q[0].vhost) & TAP_MAY_LACK;
    return 0;
}

int net_tap_new(const char *name, unsigned queues, bool vhost, const struct device_env *env,
                struct net_backend **ret_be, struct errctx *ec)
{
    struct net_tap *tap;
    bool existed;
    int r = net_tap_name_check(name, ec);

    if (r < 0)
        return r;
    existed = if_nametoindex(name) != 0;
    tap = calloc(1, sizeof(*tap));
    if (tap == NULL)
        return errctx_set(ec, ENOMEM, "TAP %s: no memory", name);
    tap->loop = env->loop;
    tap->be.ops = &tap_ops;
    tap->be.max_pairs = queues;
    tap->be.features = 1u << VIRTIO_NET_F_CSUM | 1u << VIRTIO_NET_F_GUEST_CSUM |
                       1u << VIRTIO_NET_F_HOST_TSO4 | 1u << VIRTIO_NET_F_HOST_TSO6 |
                       1u << VIRTIO_NET_F_HOST_ECN | 1u << VIRTIO_NET_F_GUEST_TSO4 |
                       1u << VIRTIO_NET_F_GUEST_TSO6 | 1u << VIRTIO_NET_F_GUEST_ECN;
    for (unsigned i = 0; i < NET_MAX_PAIRS; i++)
        tap->q[i] = (struct tap_queue){ .tap = tap, .index = i, .fd = -1 };
    for (unsigned i = 0; i < queues && r == 0; i++)
        r = tap_attach(tap, i, name, existed, queues, ec);
    if (r == 0)
        r = tap_interface(tap, name, existed, ec);
    if (r == 0 && vhost)
        r = tap_open_vhost(tap, env, ec);
    if (r < 0) {
        tap_destroy(&tap->be);
        return r;
    }
    *ret_be = &tap->be;
    return 0;
}
