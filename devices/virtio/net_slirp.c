/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network backend in user space (libslirp): no privileges, no interface on the host. The guest
 * sees 10.0.2.0/24 with the host at .2, a name server at .3 and its own DHCP address .15. IPv6
 * and TFTP are off.
 *
 * Everything runs on the device's loop.
 *
 * The interface has an MTU of 65520. Both ends of a connection are local, so small segments
 * would only multiply the work; drivers that do not take VIRTIO_NET_F_MTU keep their 1500, since
 * TCP follows the segment size that they announce.
 *
 * Backpressure: frames that the guest has no buffers for wait in a backlog of fixed size, and
 * while one waits no socket is read. What libslirp sends in spite of a full backlog is dropped;
 * TCP sends it again. libslirp's own memory is bounded by the number of its sockets, so at
 * SLIRP_SOCKETS of them frames that may open another one are lost: connection requests, and
 * whatever is neither TCP nor a question for an address.
 */
#include "devices/virtio/net_slirp_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

static struct net_slirp *slirp_of(struct net_backend *be)
{
    return container_of(be, struct net_slirp, be);
}

static struct net_pair *slirp_pair(struct net_slirp *s)
{
    return &s->be.dev->pairs[0];
}

static int64_t slirp_clock(void *opaque)
{
    (void)opaque;
    return (int64_t)evloop_now_ns();
}

static void slirp_guest_error(const char *msg, void *opaque)
{
    (void)msg; /* the guest's mistake is the guest's; it can make one per packet */
    (void)opaque;
}

static void slirp_notify(void *opaque)
{
    (void)opaque; /* every call into libslirp is followed by net_slirp_sync() */
}

/* --- frames to the guest --- */

static int slirp_deliver(struct net_slirp *s, const void *frame, size_t len)
{
    struct virtio_net_hdr_v1 hdr = { .flags = s->rx_flags };

    return net_rx_frame(slirp_pair(s), &hdr, frame, len);
}

static void slirp_backlog_add(struct net_slirp *s, const void *frame, size_t len)
{
    uint32_t len32 = (uint32_t)len;

    if (len + sizeof(len32) > SLIRP_BACKLOG - s->backlog_end && s->backlog_at > 0) {
        s->backlog_end -= s->backlog_at;
        memmove(s->backlog, s->backlog + s->backlog_at, s->backlog_end);
        s->backlog_at = 0;
    }
    if (len + sizeof(len32) > SLIRP_BACKLOG - s->backlog_end)
        return;
    memcpy(s->backlog + s->backlog_end, &len32, sizeof(len32));
    memcpy(s->backlog + s->backlog_end + sizeof(len32), frame, len);
    s->backlog_end += sizeof(len32) + len;
}

static ssize_t slirp_send_packet(const void *frame, size_t len, void *opaque)
{
    struct net_slirp *s = opaque;

    if (!s->running || len > NET_FRAME_MAX - NET_HDR_LEN)
        return (ssize_t)len;
    if (s->backlog_at != s->backlog_end || slirp_deliver(s, frame, len) == -EAGAIN)
        slirp_backlog_add(s, frame, len);
    return (ssize_t)len;
}

static void slirp_rx_ready(struct net_backend *be, unsigned pair)
{
    struct net_slirp *s = slirp_of(be);

    (void)pair;
    while (s->backlog_at != s->backlog_end) {
        const uint8_t *at = s->backlog + s->backlog_at;
        uint32_t len;

        memcpy(&len, at, sizeof(len));
        if (slirp_deliver(s, at + sizeof(len), len) == -EAGAIN)
            break;
        s->backlog_at += sizeof(len) + len;
    }
    if (s->backlog_at == s->backlog_end)
        s->backlog_at = s->backlog_end = 0;
    net_rx_end(slirp_pair(s));
    if (s->polling != (s->backlog_end == 0))
        net_slirp_sync(s);
}

/* --- frames from the guest --- */

/* Finish the checksum that the driver left to us (5.1.6.2.2). False: the header makes no sense. */
static bool slirp_checksum(uint8_t *frame, size_t len, const struct virtio_net_hdr_v1 *hdr)
{
    size_t start = hdr->csum_start, at = start + hdr->csum_offset;
    uint64_t sum = 0;
    uint16_t word;

    if (start > len || len - start < sizeof(word) || at > len - sizeof(word))
        return false;
    for (size_t i = start; i + 4 <= len; i += 4) {
        uint32_t dword;

        memcpy(&dword, frame + i, sizeof(dword));
        sum += dword;
    }
    for (size_t i = start + ((len - start) & ~(size_t)3); i < len; i += 2) {
        word = 0;
        memcpy(&word, frame + i, MIN(sizeof(word), len - i));
        sum += word;
    }
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    word = (uint16_t)~sum;
    if (word == 0)
        word = 0xffff; /* the same number; 0 would say "no checksum" in UDP */
    memcpy(frame + at, &word, sizeof(word));
    return true;
}

/* May this frame make libslirp open a socket? */
static bool slirp_opens(const uint8_t *frame, size_t len)
{
    enum { PROTO = ETH_HLEN + 9, DHCP_SERVER = 67, SYN = 0x02, ACK = 0x10 };
    size_t ihl, at;

    if (len < ETH_HLEN + 20 || frame[12] != 8 || frame[13] != 0)
        return false; /* not IPv4 */
    ihl = (size_t)(frame[ETH_HLEN] & 15) * 4;
    at = ETH_HLEN + ihl;
    if (len < at + 14)
        return frame[PROTO] != IPPROTO_TCP;
    if (frame[PROTO] == IPPROTO_TCP)
        return (frame[at + 13] & (SYN | ACK)) == SYN;
    return frame[PROTO] != IPPROTO_UDP || (frame[at + 2] << 8 | frame[at + 3]) != DHCP_SERVER;
}

static int slirp_send(struct net_backend *be, unsigned pair, const struct virtq_chain *chain)
{
    struct net_slirp *s = slirp_of(be);
    struct virtio_net_hdr_v1 hdr;
    size_t len;

    (void)pair;
    /* A copy, because libslirp looks at some fields twice and the guest could change them. */
    (void)virtq_chain_read(chain, 0, &hdr, NET_HDR_LEN);
    len = virtq_chain_read(chain, NET_HDR_LEN, s->tx_frame, NET_FRAME_MAX - NET_HDR_LEN);
    if (hdr.gso_type != VIRTIO_NET_HDR_GSO_NONE)
        return 0; /* was not offered */
    if ((hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) && !slirp_checksum(s->tx_frame, len, &hdr))
        return 0;
    if (s->n_open >= SLIRP_SOCKETS && slirp_opens(s->tx_frame, len))
        return 0;
    if (s->tx_frame[12] != 8 || s->tx_frame[13] != 0 || (s->tx_frame[0] & 1))
        s->address_news = true;
    s->lib.input(s->slirp, s->tx_frame, (int)len);
    return 0;
}

static void slirp_send_end(struct net_backend *be, unsigned pair)
{
    struct net_slirp *s = slirp_of(be);

    (void)pair;
    /* Packets that wait for the guest's address are only looked at in slirp_pollfds_poll(), and
     * they wait for a second at most. */
    if (s->address_news)
        net_slirp_expire(s);
    s->address_news = false;
    net_rx_end(slirp_pair(s));
    net_slirp_sync(s);
}

/* --- life --- */

static int slirp_start(struct net_backend *be, uint64_t features)
{
    struct net_slirp *s = slirp_of(be);

    /* libslirp has computed every checksum itself. */
    s->rx_flags = features >> VIRTIO_NET_F_GUEST_CSUM & 1 ? VIRTIO_NET_HDR_F_DATA_VALID : 0;
    s->backlog_at = s->backlog_end = 0;
    return 0;
}

static int slirp_set_pairs(struct net_backend *be, unsigned n)
{
    (void)be;
    return n == 1 ? 0 : -EINVAL;
}

static void slirp_run(struct net_backend *be)
{
    struct net_slirp *s = slirp_of(be);

    s->running = true;
    net_slirp_sync(s);
}

static void slirp_stop(struct net_backend *be)
{
    struct net_slirp *s = slirp_of(be);

    s->running = false;
    s->polling = false;
    evloop_watch_set(s->watch, 0);
    evloop_timer_arm(s->timer, 0);
    s->deadline_ns = 0;
}

static void slirp_destroy(struct net_backend *be)
{
    struct net_slirp *s = slirp_of(be);

    s->running = false;
    if (s->slirp != NULL)
        s->lib.cleanup(s->slirp);
    slirp_lib_close(&s->lib);
    evloop_timer_free(s->timer);
    evloop_unwatch(s->watch);
    if (s->epoll_fd >= 0)
        (void)close(s->epoll_fd);
    free(s->fds);
    free(s->tx_frame);
    free(s->backlog);
    free(s);
}

static const SlirpCb slirp_callbacks = {
    .send_packet = slirp_send_packet,
    .guest_error = slirp_guest_error,
    .clock_get_ns = slirp_clock,
    .timer_new = net_slirp_timer_new,
    .timer_free = net_slirp_timer_free,
    .timer_mod = net_slirp_timer_mod,
    .register_poll_fd = net_slirp_register_fd,
    .unregister_poll_fd = net_slirp_unregister_fd,
    .notify = slirp_notify,
};

static const struct net_backend_ops slirp_ops = {
    .start = slirp_start,
    .set_pairs = slirp_set_pairs,
    .run = slirp_run,
    .stop = slirp_stop,
    .rx_ready = slirp_rx_ready,
    .send = slirp_send,
    .send_end = slirp_send_end,
    .destroy = slirp_destroy,
};

static int slirp_forward(struct net_slirp *s, const struct net_forward *fwd, struct errctx *ec)
{
    struct in_addr host = { fwd->host_addr }, guest = { fwd->guest_addr };
    char text[INET_ADDRSTRLEN];

    errno = 0;
    if (s->lib.add_hostfwd(s->slirp, fwd->udp, host, fwd->host_port, guest, fwd->guest_port) == 0)
        return 0;
    (void)inet_ntop(AF_INET, &host, text, sizeof(text));
    return errctx_set_os(ec, errno != 0 ? errno : EINVAL, "hostfwd: listen on %s:%s:%u",
                         fwd->udp ? "udp" : "tcp", text, fwd->host_port);
}

static int slirp_open(struct net_slirp *s, const struct net_slirp_config *config, struct errctx *ec)
{
    SlirpConfig cfg = {
        .version = SLIRP_CONFIG_VERSION,
        .restricted = config->restricted,
        .in_enabled = true,
        .vnetwork = { inet_addr("10.0.2.0") },
        .vnetmask = { inet_addr("255.255.255.0") },
        .vhost = { inet_addr("10.0.2.2") },
        .vdhcp_start = { inet_addr("10.0.2.15") },
        .vnameserver = { inet_addr("10.0.2.3") },
        .if_mtu = SLIRP_MTU,
        .if_mru = SLIRP_MTU,
    };
    int r = slirp_lib_open(&s->lib, ec);

    if (r < 0)
        return r;
    s->slirp = s->lib.create(&cfg, &slirp_callbacks, s);
    if (s->slirp == NULL)
        return errctx_set(ec, ENOMEM, "libslirp refused to start");
    for (size_t i = 0; i < config->n_forwards; i++) {
        r = slirp_forward(s, &config->forwards[i], ec);
        if (r < 0)
            return r;
    }
    return 0;
}

int net_slirp_new(const struct net_slirp_config *config, struct evloop *loop,
                  struct net_backend **ret_be, struct errctx *ec)
{
    struct net_slirp *s = calloc(1, sizeof(*s));
    int r;

    if (s == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the user network");
    s->loop = loop;
    s->be.ops = &slirp_ops;
    s->be.features = 1u << VIRTIO_NET_F_CSUM | 1u << VIRTIO_NET_F_GUEST_CSUM;
    s->be.mtu = SLIRP_MTU;
    s->be.max_pairs = 1;
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    s->tx_frame = malloc(NET_FRAME_MAX);
    s->backlog = malloc(SLIRP_BACKLOG);
    if (s->epoll_fd < 0) {
        r = errctx_set_os(ec, errno, "epoll_create1");
        goto err_destroy;
    }
    if (s->tx_frame == NULL || s->backlog == NULL) {
        r = errctx_set(ec, ENOMEM, "no memory for the user network");
        goto err_destroy;
    }
    r = evloop_timer_new(loop, net_slirp_timeout, s, &s->timer, ec);
    if (r < 0)
        goto err_destroy;
    r = evloop_watch_fd(loop, s->epoll_fd, 0, net_slirp_ready, s, &s->watch, ec);
    if (r < 0)
        goto err_destroy;
    r = slirp_open(s, config, ec);
    if (r < 0)
        goto err_destroy;
    *ret_be = &s->be;
    return 0;

err_destroy:
    slirp_destroy(&s->be);
    return r;
}
