/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network backend in user space (libslirp): no privileges, no interface on the host. The guest
 * sees 10.0.2.0/24 with the host at .2, a name server at .3 and its own DHCP address .15. IPv6
 * and TFTP are off.
 *
 * Everything runs on the device's loop. libslirp wants to be told which of its sockets are
 * ready, all in one call, so they live in an epoll set of their own and the loop watches that
 * set: one call per batch, however many sockets there are. After each call into libslirp
 * slirp_sync() brings set and timer up to date, touching only what changed.
 *
 * The interface has an MTU of 65520. Both ends of a connection are local, so small segments
 * would only multiply the work; drivers that do not take VIRTIO_NET_F_MTU keep their 1500, since
 * TCP follows the segment size that they announce.
 *
 * Backpressure: frames that the guest has no buffers for wait in a backlog of fixed size, and
 * while one waits no socket is read. What libslirp sends in spite of a full backlog is dropped;
 * TCP sends it again. libslirp's own memory is bounded by its sockets, and these by the
 * process's limit of open files.
 */
#include "devices/virtio/net_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum {
    SLIRP_MTU = 65520,
    SLIRP_EVENTS = 64,
    SLIRP_BACKLOG = 256 * KIB,
    SLIRP_CONFIG_VERSION = 1, /* nothing of the later ones is needed */
};

/* A socket of libslirp's, by its number. */
struct slirp_fd {
    uint32_t events;  /* in the epoll set; 0: not there */
    uint32_t wanted;  /* by the last slirp_pollfds_fill() */
    uint32_t revents; /* while slirp_pollfds_poll() runs */
};

struct net_slirp {
    struct net_backend be; /* first */
    Slirp *slirp;
    struct evloop *loop;
    int epoll_fd;
    struct evloop_watch *watch;
    struct evloop_timer *timer;
    uint64_t deadline_ns; /* of timer; 0: not armed */
    bool running;
    bool polling;         /* the loop watches epoll_fd for input */
    bool address_news;    /* the guest sent something that may name its address */
    struct slirp_fd *fds; /* n_fds, grows to the highest number seen */
    size_t n_fds;
    uint8_t rx_flags;  /* of every frame's header */
    uint8_t *tx_frame; /* NET_FRAME_MAX: libslirp wants one piece that nobody changes */
    uint8_t *backlog;  /* frames behind their 32-bit lengths, back to back from backlog_at */
    size_t backlog_at, backlog_end;
};

/* One outside pointer for each timer of libslirp. */
struct slirp_timer {
    struct evloop_timer *timer;
};

static struct net_slirp *slirp_of(struct net_backend *be)
{
    return container_of(be, struct net_slirp, be);
}

static struct net_pair *slirp_pair(struct net_slirp *s)
{
    return &s->be.dev->pairs[0];
}

/* --- sockets and time
 * ----------------------------------------------------------------------------- */

static struct slirp_fd *slirp_fd(struct net_slirp *s, int fd)
{
    size_t n = (size_t)fd + 1;

    if (n > s->n_fds) {
        struct slirp_fd *fds = realloc(s->fds, n * sizeof(*fds));

        if (fds == NULL)
            return NULL;
        memset(fds + s->n_fds, 0, (n - s->n_fds) * sizeof(*fds));
        s->fds = fds;
        s->n_fds = n;
    }
    return &s->fds[fd];
}

static void slirp_fd_set(struct net_slirp *s, int fd, uint32_t events)
{
    struct slirp_fd *f = &s->fds[fd];
    struct epoll_event ev = { .events = events, .data.fd = fd };
    int op = events == 0 ? EPOLL_CTL_DEL : f->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

    if (f->events == events)
        return;
    /* A number that was closed and opened again is in the set when we think it is not, or the
     * other way round. */
    if (epoll_ctl(s->epoll_fd, op, fd, &ev) == 0 ||
        (errno == EEXIST && epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, fd, &ev) == 0) ||
        (errno == ENOENT && epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0))
        f->events = events;
    else
        f->events = 0;
}

static void slirp_register_fd(int fd, void *opaque)
{
    (void)fd; /* slirp_pollfds_fill() names it when it is needed */
    (void)opaque;
}

static void slirp_unregister_fd(int fd, void *opaque)
{
    struct net_slirp *s = opaque;

    if ((size_t)fd < s->n_fds) {
        slirp_fd_set(s, fd, 0);
        s->fds[fd].revents = 0;
    }
}

/* The same bits under two names. */
static const struct {
    int slirp;
    uint32_t epoll;
} slirp_events[] = {
    { SLIRP_POLL_IN, EPOLLIN },   { SLIRP_POLL_OUT, EPOLLOUT }, { SLIRP_POLL_PRI, EPOLLPRI },
    { SLIRP_POLL_ERR, EPOLLERR }, { SLIRP_POLL_HUP, EPOLLHUP },
};

static int slirp_add_poll(int fd, int events, void *opaque)
{
    struct slirp_fd *f = slirp_fd(opaque, fd);

    if (f == NULL)
        return -1; /* not watched this time; the next call tries again */
    for (size_t i = 0; i < ARRAY_SIZE(slirp_events); i++) {
        if (events & slirp_events[i].slirp)
            f->wanted |= slirp_events[i].epoll;
    }
    return fd;
}

static int slirp_get_revents(int idx, void *opaque)
{
    const struct net_slirp *s = opaque;
    int events = 0;

    if (idx < 0 || (size_t)idx >= s->n_fds)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(slirp_events); i++) {
        if (s->fds[idx].revents & slirp_events[i].epoll)
            events |= slirp_events[i].slirp;
    }
    return events;
}

/* After every call into libslirp: what it waits for now, and until when. */
static void slirp_sync(struct net_slirp *s)
{
    bool polling = s->running && s->backlog_at == s->backlog_end;
    uint32_t timeout_ms = UINT32_MAX;
    uint64_t deadline;

    for (size_t i = 0; i < s->n_fds; i++)
        s->fds[i].wanted = 0;
    slirp_pollfds_fill(s->slirp, &timeout_ms, slirp_add_poll, s);
    for (size_t i = 0; i < s->n_fds; i++)
        slirp_fd_set(s, (int)i, s->fds[i].wanted);

    if (polling != s->polling)
        evloop_watch_set(s->watch, polling ? EPOLLIN : 0);
    s->polling = polling;

    if (timeout_ms == UINT32_MAX || !s->running)
        return;
    /* A timer that fires early costs one more look; arming it for each packet costs more. */
    deadline = evloop_now_ns() + (uint64_t)timeout_ms * 1000000u;
    if (s->deadline_ns == 0 || deadline < s->deadline_ns) {
        s->deadline_ns = deadline;
        evloop_timer_arm(s->timer, deadline);
    }
}

static void slirp_serve(struct net_slirp *s)
{
    slirp_pollfds_poll(s->slirp, 0, slirp_get_revents, s);
    net_rx_end(slirp_pair(s));
    slirp_sync(s);
}

static void slirp_ready(void *ctx, uint32_t events)
{
    struct epoll_event evs[SLIRP_EVENTS];
    struct net_slirp *s = ctx;
    int n;

    (void)events;
    if (!s->polling)
        return;
    n = epoll_wait(s->epoll_fd, evs, SLIRP_EVENTS, 0);
    for (int i = 0; i < n; i++)
        s->fds[evs[i].data.fd].revents = evs[i].events;
    slirp_serve(s);
    for (int i = 0; i < n; i++)
        s->fds[evs[i].data.fd].revents = 0;
}

static void slirp_timeout(void *ctx)
{
    struct net_slirp *s = ctx;

    s->deadline_ns = 0;
    if (s->running)
        slirp_serve(s);
}

static int64_t slirp_clock(void *opaque)
{
    (void)opaque;
    return (int64_t)evloop_now_ns();
}

static void *slirp_timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
    struct net_slirp *s = opaque;
    struct slirp_timer *t = calloc(1, sizeof(*t));

    if (t != NULL && evloop_timer_new(s->loop, cb, cb_opaque, &t->timer, NULL) < 0) {
        free(t);
        return NULL;
    }
    return t;
}

static void slirp_timer_free(void *timer, void *opaque)
{
    struct slirp_timer *t = timer;

    (void)opaque;
    if (t != NULL)
        evloop_timer_free(t->timer);
    free(t);
}

static void slirp_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    struct slirp_timer *t = timer;

    (void)opaque;
    if (t != NULL)
        evloop_timer_arm(t->timer, (uint64_t)MAX(expire_ms, 1) * 1000000u);
}

static void slirp_guest_error(const char *msg, void *opaque)
{
    (void)msg; /* the guest's mistake is the guest's; it can make one per packet */
    (void)opaque;
}

static void slirp_notify(void *opaque)
{
    (void)opaque; /* every call into libslirp is followed by slirp_sync() */
}

/* --- frames to the guest
 * ---------------------------------------------------------------------------- */

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
        slirp_sync(s);
}

/* --- frames from the guest
 * ---------------------------------------------------------------------------- */

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
    if (s->tx_frame[12] != 8 || s->tx_frame[13] != 0 || (s->tx_frame[0] & 1))
        s->address_news = true;
    slirp_input(s->slirp, s->tx_frame, (int)len);
    return 0;
}

static void slirp_send_end(struct net_backend *be, unsigned pair)
{
    struct net_slirp *s = slirp_of(be);

    (void)pair;
    /* Packets that wait for the guest's address are only looked at in slirp_pollfds_poll(), and
     * they wait for a second at most. */
    if (s->address_news)
        slirp_pollfds_poll(s->slirp, 0, slirp_get_revents, s);
    s->address_news = false;
    net_rx_end(slirp_pair(s));
    slirp_sync(s);
}

/* --- life
 * ------------------------------------------------------------------------------------------------
 */

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
    slirp_sync(s);
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
        slirp_cleanup(s->slirp);
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
    .timer_new = slirp_timer_new,
    .timer_free = slirp_timer_free,
    .timer_mod = slirp_timer_mod,
    .register_poll_fd = slirp_register_fd,
    .unregister_poll_fd = slirp_unregister_fd,
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
    if (slirp_add_hostfwd(s->slirp, fwd->udp, host, fwd->host_port, guest, fwd->guest_port) == 0)
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
    int r;

    s->slirp = slirp_new(&cfg, &slirp_callbacks, s);
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
    r = evloop_timer_new(loop, slirp_timeout, s, &s->timer, ec);
    if (r < 0)
        goto err_destroy;
    r = evloop_watch_fd(loop, s->epoll_fd, 0, slirp_ready, s, &s->watch, ec);
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
