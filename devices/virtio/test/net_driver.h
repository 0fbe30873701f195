/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network driver for tests: one pair of queues on top of fake_driver.h, frames in and out as
 * plain bytes. The loop runs in a thread of its own; the device is taken down after it ended.
 */
#ifndef DEVICES_VIRTIO_TEST_NET_DRIVER_H
#define DEVICES_VIRTIO_TEST_NET_DRIVER_H

#include <semaphore.h>

#include "devices/virtio/net_int.h"
#include "devices/virtio/test/fake_driver.h"

enum {
    ND_TX_BASE = FAKE_DATA_BASE, /* 16 slots of 80 KiB for frames to send */
    ND_TX_SLOT = 80 * KIB,
    ND_TX_SLOTS = 16,
    ND_RX_BASE = FAKE_DATA_BASE + 2 * MIB, /* receive buffers, one slot for each descriptor */
    ND_WAIT_MS = 5000,
};

struct net_driver {
    struct fake_mem fm;
    struct fake_loop fl;
    struct fake_dev fd;
    struct device_env env;
    uint32_t rx_len; /* bytes of each receive buffer */
    unsigned tx_slot;
    uint8_t frame[NET_FRAME_MAX]; /* what nd_receive() got, without header */
    size_t frame_len;
    unsigned frame_buffers; /* it lay in */
    struct virtio_net_hdr_v1 hdr;
};

/* Memory and loop; then the test makes a device with nd->env and calls nd_attach(). */
static inline void nd_init(struct net_driver *nd)
{
    memset(nd, 0, sizeof(*nd));
    fake_mem_init(&nd->fm);
    FAKE_MUST(evloop_new(&nd->fl.loop, NULL) == 0);
    nd->env = (struct device_env){ .mem = nd->fm.mem, .loop = nd->fl.loop, .name = "net0" };
}

static inline void nd_attach(struct net_driver *nd, struct virtio_dev *dev, uint64_t features,
                             uint16_t size)
{
    fake_dev_init(&nd->fd, dev, &nd->fm, features, size);
    fake_loop_serve(&nd->fl);
}

static inline void nd_join(struct net_driver *nd)
{
    evloop_stop(nd->fl.loop);
    (void)pthread_join(nd->fl.thread, NULL);
}

static inline void nd_fini(struct net_driver *nd)
{
    nd_join(nd);
    fake_dev_fini(&nd->fd);
    FAKE_MUST(guest_mem_leases(nd->fm.mem) == 0);
    evloop_free(nd->fl.loop);
    fake_mem_fini(&nd->fm);
}

/* Offer @n receive buffers of @len bytes in queue @q; each descriptor has its own memory. */
static inline void nd_offer(struct net_driver *nd, unsigned q, unsigned n, uint32_t len)
{
    struct fake_queue *rx = &nd->fd.q[q];

    FAKE_MUST((uint64_t)rx->size * len <= FAKE_TOP - ND_RX_BASE);
    nd->rx_len = len;
    for (unsigned i = 0; i < n; i++) {
        struct fake_buf buf = { ND_RX_BASE + (uint64_t)rx->next_desc * len, len };

        fake_queue_add(rx, &buf, 0, 1);
    }
    fake_dev_kick(&nd->fd, q);
}

/* Send one frame behind @hdr (NULL: all zero) and wait until it was taken. */
static inline bool nd_send_hdr(struct net_driver *nd, unsigned q,
                               const struct virtio_net_hdr_v1 *hdr, const void *frame, size_t len)
{
    static const struct virtio_net_hdr_v1 plain;
    uint64_t at = ND_TX_BASE + (uint64_t)(nd->tx_slot++ % ND_TX_SLOTS) * ND_TX_SLOT;
    struct fake_buf bufs[2] = { { at, NET_HDR_LEN }, { at + NET_HDR_LEN, (uint32_t)len } };
    uint32_t head, used;

    (void)guest_mem_write(nd->fm.mem, (struct gpa){ at }, hdr != NULL ? hdr : &plain, NET_HDR_LEN);
    (void)guest_mem_write(nd->fm.mem, (struct gpa){ at + NET_HDR_LEN }, frame, len);
    fake_queue_add(&nd->fd.q[q], bufs, 2, 0);
    fake_dev_kick(&nd->fd, q);
    return fake_dev_wait_used(&nd->fd, q, &head, &used, ND_WAIT_MS);
}

static inline bool nd_send(struct net_driver *nd, const void *frame, size_t len)
{
    return nd_send_hdr(nd, 1, NULL, frame, len);
}

/* Take one frame out of queue @q and offer its buffers again. False after @timeout_ms. */
static inline bool nd_receive_on(struct net_driver *nd, unsigned q, unsigned timeout_ms)
{
    uint32_t head, len;
    uint64_t at;

    if (!fake_dev_wait_used(&nd->fd, q, &head, &len, timeout_ms))
        return false;
    FAKE_MUST(len >= NET_HDR_LEN);
    at = ND_RX_BASE + (uint64_t)head * nd->rx_len;
    FAKE_MUST(guest_mem_read(nd->fm.mem, (struct gpa){ at }, &nd->hdr, NET_HDR_LEN) == 0);
    nd->frame_len = len - NET_HDR_LEN;
    FAKE_MUST(guest_mem_read(nd->fm.mem, (struct gpa){ at + NET_HDR_LEN }, nd->frame,
                             nd->frame_len) == 0);
    nd->frame_buffers = nd->hdr.num_buffers;
    for (unsigned i = 1; i < nd->frame_buffers; i++) {
        /* All buffers of a frame appear at once, so there is nothing to wait for. */
        FAKE_MUST(fake_queue_used(&nd->fd.q[q], &head, &len));
        at = ND_RX_BASE + (uint64_t)head * nd->rx_len;
        FAKE_MUST(nd->frame_len + len <= sizeof(nd->frame));
        FAKE_MUST(guest_mem_read(nd->fm.mem, (struct gpa){ at }, nd->frame + nd->frame_len, len) ==
                  0);
        nd->frame_len += len;
    }
    nd_offer(nd, q, nd->frame_buffers, nd->rx_len);
    return true;
}

static inline bool nd_receive(struct net_driver *nd)
{
    return nd_receive_on(nd, 0, ND_WAIT_MS);
}

#endif
