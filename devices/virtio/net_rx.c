/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receiving: one frame into the guest's buffers.
 *
 * With mergeable buffers a frame may take many chains. Before a frame is read from a TAP nobody
 * knows its size, so chains for the expected size are taken from the ring, and a host buffer
 * stands behind them for what does not fit: small frames cost one chain, large ones land in
 * guest memory without a copy once the burst has shown its size. Taking 64 KiB of chains for
 * every frame was rejected: request/response traffic would pay for 40 chains a frame.
 *
 * Between bursts no chain is held, so an idle interface keeps no lease. When the guest is out of
 * buffers its doorbell is switched on and the frame that is already read waits in the host
 * buffer; nothing is lost but what the TAP itself drops.
 *
 * The driver must see all chains of a frame at once, hence virtqueue_push_many().
 */
#include "devices/virtio/net_int.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "vmm/base/macros.h"

enum {
    RX_WANT_MIN = 1536,
    RX_IOV_MAX = 1023, /* with one more for the host buffer, what readv() takes */
};

static bool rx_mergeable(const struct net_pair *pair)
{
    return virtio_dev_has(&pair->dev->vdev, VIRTIO_NET_F_MRG_RXBUF);
}

static void rx_unpop_all(struct net_pair *pair)
{
    struct net_rx *rx = &pair->rx;

    while (rx->n_pool > 0)
        virtqueue_unpop(net_rx_vq(pair), &rx->pool[--rx->n_pool]);
    rx->pool_bytes = 0;
}

static int rx_break(struct net_pair *pair, const char *why)
{
    rx_unpop_all(pair);
    virtio_dev_break(&pair->dev->vdev, why);
    return -EPROTO;
}

/* Take chains until the pool holds @want bytes, the ring is empty or no more can be used. */
static int rx_fill(struct net_pair *pair, size_t want)
{
    unsigned max = rx_mergeable(pair) ? NET_RX_CHAINS : 1;
    struct virtqueue *vq = net_rx_vq(pair);
    struct net_rx *rx = &pair->rx;

    max = MIN(max, vq->size);
    while (rx->pool_bytes < want && rx->n_pool < max) {
        struct virtq_chain *chain = &rx->pool[rx->n_pool];
        int r = virtqueue_pop(vq, LEASE_WRITE, chain);

        if (r == 0)
            return 0;
        if (r == -ENOMEM)
            return 0; /* as if the guest had no buffers: try again at its next doorbell */
        if (r < 0)
            return rx_break(pair, "receive ring makes no sense");
        rx->n_pool++;
        rx->pool_bytes += chain->write_bytes;
        if (chain->n_read != 0 || chain->write_bytes < NET_HDR_LEN)
            return rx_break(pair, "receive buffer is readable or shorter than a header");
    }
    return 0;
}

/* True when the driver could not hold @len bytes even with every chain that we may use. */
static bool rx_never_fits(struct net_pair *pair, size_t len)
{
    unsigned max = rx_mergeable(pair) ? NET_RX_CHAINS : 1;

    return pair->rx.pool_bytes < len && pair->rx.n_pool >= MIN(max, net_rx_vq(pair)->size);
}

/* Copy into the pool as if its chains were one buffer. */
static void rx_pool_write(struct net_rx *rx, size_t off, const uint8_t *buf, size_t len)
{
    for (unsigned i = 0; i < rx->n_pool && len > 0; i++) {
        size_t room = rx->pool[i].write_bytes, n;

        if (off >= room) {
            off -= room;
            continue;
        }
        n = virtq_chain_write(&rx->pool[i], off, buf, len);
        buf += n;
        len -= n;
        off = 0;
    }
}

/* The first @len bytes of the pool, which the kernel just filled, into @buf. */
static void rx_pool_gather(const struct net_rx *rx, uint8_t *buf, size_t len)
{
    for (unsigned i = 0; i < rx->n_pool; i++) {
        for (unsigned k = 0; k < rx->pool[i].n_write && len > 0; k++) {
            size_t n = MIN(rx->pool[i].iov[k].iov_len, len);

            memcpy(buf, rx->pool[i].iov[k].iov_base, n);
            buf += n;
            len -= n;
        }
    }
}

/* The pool's first chains hold a frame of @len bytes: hand them to the driver. */
static int rx_commit(struct net_pair *pair, size_t len)
{
    struct virtq_used used[NET_RX_CHAINS];
    struct virtq_chain spent[NET_RX_CHAINS];
    struct virtqueue *vq = net_rx_vq(pair);
    struct net_rx *rx = &pair->rx;
    size_t left = len;
    uint16_t n = 0;

    while (left > 0 && n < rx->n_pool) {
        size_t part = MIN(left, rx->pool[n].write_bytes);

        used[n] = (struct virtq_used){ .head = rx->pool[n].head, .written = (uint32_t)part };
        rx->pool_bytes -= rx->pool[n].write_bytes;
        left -= part;
        n++;
    }
    (void)virtq_chain_write(&rx->pool[0], offsetof(struct virtio_net_hdr_v1, num_buffers), &n,
                            sizeof(n));
    for (unsigned i = 0; i < n; i++)
        virtq_chain_release(vq->mem, &rx->pool[i]);

    /* The emptied ones go behind the rest, their arrays are used again. */
    if (n < rx->n_pool) {
        memcpy(spent, rx->pool, n * sizeof(spent[0]));
        memmove(rx->pool, rx->pool + n, (rx->n_pool - n) * sizeof(spent[0]));
        memcpy(rx->pool + rx->n_pool - n, spent, n * sizeof(spent[0]));
    }
    rx->n_pool -= n;
    rx->biggest = MAX(rx->biggest, len);
    rx->want_bytes = MAX(rx->want_bytes, len);
    rx->dirty = true;
    if (virtqueue_push_many(vq, used, n) < 0)
        return rx_break(pair, "receive ring went away");
    return 0;
}

/* Have @len bytes in the pool. 0; -EAGAIN with the doorbell on; -E2BIG; -EPROTO. */
static int rx_room(struct net_pair *pair, size_t len)
{
    struct net_rx *rx = &pair->rx;
    int r;

    for (int attempt = 0; attempt < 2; attempt++) {
        r = rx_fill(pair, len);
        if (r < 0)
            return r;
        if (rx->pool_bytes >= len)
            return 0;
        if (rx_never_fits(pair, len))
            return -E2BIG;
        r = virtqueue_set_notify(net_rx_vq(pair), true);
        if (r < 0)
            return rx_break(pair, "receive ring went away");
        if (r == 0)
            break;
    }
    rx->stalled = true;
    return -EAGAIN;
}

int net_rx_frame(struct net_pair *pair, const struct virtio_net_hdr_v1 *hdr, const void *frame,
                 size_t len)
{
    int r;

    if (pair->dev->vdev.broken)
        return -EPROTO;
    if (pair->rx.stalled)
        return -EAGAIN;
    r = rx_room(pair, NET_HDR_LEN + len);
    if (r == -EAGAIN)
        rx_unpop_all(pair); /* the doorbell is for chains behind these too */
    if (r < 0)
        return r == -E2BIG ? 0 : r;
    rx_pool_write(&pair->rx, 0, (const uint8_t *)hdr, NET_HDR_LEN);
    rx_pool_write(&pair->rx, NET_HDR_LEN, frame, len);
    return rx_commit(pair, NET_HDR_LEN + len);
}

/* A frame that was read before the guest had room for it. */
static int rx_flush_pending(struct net_pair *pair)
{
    struct net_rx *rx = &pair->rx;
    struct virtio_net_hdr_v1 hdr;
    int r;

    if (rx->pending_bytes == 0)
        return 0;
    memcpy(&hdr, rx->bounce, NET_HDR_LEN);
    r = net_rx_frame(pair, &hdr, rx->bounce + NET_HDR_LEN, rx->pending_bytes - NET_HDR_LEN);
    if (r == 0)
        rx->pending_bytes = 0;
    return r;
}

/* The pool's segments, then the host buffer at the place where it continues them. */
static unsigned rx_iov(struct net_rx *rx, struct iovec *iov, size_t *ret_direct)
{
    size_t direct = 0;
    unsigned n = 0;

    for (unsigned i = 0; i < rx->n_pool; i++) {
        if (n + rx->pool[i].n_write > RX_IOV_MAX || direct >= NET_FRAME_MAX)
            break;
        memcpy(iov + n, rx->pool[i].iov, rx->pool[i].n_write * sizeof(*iov));
        n += rx->pool[i].n_write;
        direct += rx->pool[i].write_bytes;
    }
    if (direct < NET_FRAME_MAX) {
        iov[n].iov_base = rx->bounce + direct;
        iov[n++].iov_len = NET_FRAME_MAX - direct;
    }
    *ret_direct = direct;
    return n;
}

/* A frame of @len bytes was read, of which @direct are in the pool and the rest in bounce. */
static int rx_overflow(struct net_pair *pair, size_t direct, size_t len)
{
    struct net_rx *rx = &pair->rx;
    int r = rx_room(pair, len);

    if (r == 0) {
        rx_pool_write(rx, direct, rx->bounce + direct, len - direct);
        return rx_commit(pair, len);
    }
    if (r == -E2BIG)
        return 0; /* lost; the chains stay in the pool for the next one */
    if (r == -EAGAIN) {
        rx_pool_gather(rx, rx->bounce, direct);
        rx->pending_bytes = len;
        rx_unpop_all(pair);
    }
    return r;
}

int net_rx_read(struct net_pair *pair, int fd)
{
    struct iovec iov[RX_IOV_MAX + 1];
    struct net_rx *rx = &pair->rx;
    size_t direct;
    ssize_t len;
    int r;

    if (pair->dev->vdev.broken)
        return -EPROTO;
    if (rx->stalled)
        return -EAGAIN;
    r = rx_flush_pending(pair);
    if (r < 0)
        return r;
    r = rx_room(pair, NET_HDR_LEN); /* one chain at least, else leave the frame where it is */
    if (r < 0)
        return r;
    r = rx_fill(pair, rx->want_bytes);
    if (r < 0)
        return r;
    len = readv(fd, iov, (int)rx_iov(rx, iov, &direct));
    if (len < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if ((size_t)len <= NET_HDR_LEN)
        return len == 0 ? 0 : 1;
    r = (size_t)len <= direct ? rx_commit(pair, (size_t)len)
                              : rx_overflow(pair, direct, (size_t)len);
    return r < 0 ? r : 1;
}

void net_rx_end(struct net_pair *pair)
{
    struct net_rx *rx = &pair->rx;

    rx_unpop_all(pair);
    rx->want_bytes = MAX(rx->biggest, (size_t)RX_WANT_MIN);
    rx->biggest = 0;
    if (rx->dirty && !pair->dev->vdev.broken)
        virtio_dev_notify(&pair->dev->vdev, net_rx_vq(pair));
    rx->dirty = false;
}

void net_rx_reset(struct net_pair *pair)
{
    struct net_rx *rx = &pair->rx;

    rx_unpop_all(pair);
    rx->want_bytes = RX_WANT_MIN;
    rx->biggest = 0;
    rx->pending_bytes = 0;
    rx->stalled = false;
    rx->dirty = false;
}
