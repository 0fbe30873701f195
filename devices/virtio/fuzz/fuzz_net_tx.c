/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network device in the hands of a driver that was written by the fuzzer: transmit, control
 * and receive queues, their descriptors, and the bytes of headers, frames and commands.
 *
 *   byte 0       features: 1 event index, 2 mergeable buffers, 4 multi-queue, 8 no control queue
 *   byte 1       bit per kick: transmit, control, receive, a frame from outside, again
 *   3 x 1        entries offered in the receive, transmit and control queue
 *   3 x 8 x 8    descriptors
 *   the rest     goes to the start of the data area
 *
 * The backend checks what it is handed and is full now and then. Afterwards no lease may be out
 * and nothing may have been answered that was not offered.
 */
#include "devices/virtio/fuzz/fuzz_ring.h"
#include "devices/virtio/net_int.h"

enum {
    QUEUE = 8,
    DESC_OFF = 5,
    DATA_OFF = DESC_OFF + 3 * QUEUE * FUZZ_DESC_BYTES,
    PAIRS = 2,
    CTRL = 2 * PAIRS,
};

struct target {
    struct fake_mem fm;
    struct fake_dev fd;
    struct net_dev *dev;
    struct net_backend be;
    unsigned sent;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int be_start(struct net_backend *be, uint64_t features)
{
    (void)be;
    (void)features;
    return 0;
}

static int be_set_pairs(struct net_backend *be, unsigned n)
{
    FAKE_MUST(n >= 1 && n <= be->max_pairs);
    return 0;
}

static void be_nothing(struct net_backend *be)
{
    (void)be;
}

static void be_rx_ready(struct net_backend *be, unsigned pair)
{
    FAKE_MUST(pair < be->max_pairs);
}

static int be_send(struct net_backend *be, unsigned pair, const struct virtq_chain *chain)
{
    static uint8_t frame[NET_FRAME_MAX];
    struct target *t = container_of(be, struct target, be);

    FAKE_MUST(pair < be->max_pairs);
    FAKE_MUST(chain->read_bytes >= NET_HDR_LEN + ETH_HLEN && chain->read_bytes <= NET_FRAME_MAX);
    FAKE_MUST(virtq_chain_read(chain, 0, frame, sizeof(frame)) == chain->read_bytes);
    return ++t->sent % 5 == 0 ? -EAGAIN : 0;
}

static const struct net_backend_ops be_ops = {
    .start = be_start,
    .set_pairs = be_set_pairs,
    .run = be_nothing,
    .stop = be_nothing,
    .rx_ready = be_rx_ready,
    .send = be_send,
    .destroy = be_nothing,
};

static struct target *target_new(void)
{
    static const uint8_t mac[ETH_ALEN] = { 2 };
    struct target *t = calloc(1, sizeof(*t));
    struct device_env env;
    struct virtio_dev *dev;

    FAKE_MUST(t != NULL);
    env = fuzz_env(&t->fm, "net0");
    t->be = (struct net_backend){ .ops = &be_ops, .max_pairs = PAIRS };
    FAKE_MUST(net_dev_new(&env, &t->be, mac, &dev, NULL) == 0);
    t->dev = container_of(dev, struct net_dev, vdev);
    fake_dev_init(&t->fd, dev, &t->fm, 0, QUEUE);
    return t;
}

static void load_queue(struct target *t, unsigned index, const uint8_t *descs, uint8_t n,
                       bool event_idx)
{
    fuzz_queue(&t->fd, t->fm.mem, index, QUEUE, descs, event_idx);
    for (uint16_t i = 0; i < QUEUE; i++)
        t->fd.q[index].avail->ring[i] = i;
    t->fd.q[index].avail->idx = n;
}

static void load(struct target *t, const uint8_t *data, size_t size)
{
    static const unsigned queues[3] = { 0, 1, CTRL };
    uint64_t features = 1ull << VIRTIO_F_VERSION_1;

    if (data[0] & 2)
        features |= 1u << VIRTIO_NET_F_MRG_RXBUF;
    if (data[0] & 4)
        features |= 1u << VIRTIO_NET_F_MQ;
    if (!(data[0] & 8))
        features |= 1u << VIRTIO_NET_F_CTRL_VQ | 1u << VIRTIO_NET_F_CTRL_RX;
    t->dev->vdev.features = features;
    t->dev->vdev.broken = false;
    for (unsigned i = 0; i < 3; i++)
        load_queue(t, queues[i] == CTRL && !(data[0] & 4) ? 2 : queues[i],
                   data + DESC_OFF + i * QUEUE * FUZZ_DESC_BYTES, data[2 + i], data[0] & 1);
    fuzz_data(t->fm.mem, data + DATA_OFF, size - DATA_OFF);
}

static void frame_arrives(struct target *t, size_t len)
{
    static const uint8_t frame[9000];
    static const struct virtio_net_hdr_v1 hdr;
    struct net_pair *pair = &t->dev->pairs[0];

    (void)net_rx_frame(pair, &hdr, frame, len);
    net_rx_end(pair);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct target *t; /* one device for all inputs; it is reset after each */
    struct virtio_dev *dev;
    unsigned ctrl;

    if (size < DATA_OFF)
        return 0;
    if (t == NULL)
        t = target_new();
    dev = &t->dev->vdev;
    load(t, data, size);
    ctrl = data[0] & 4 ? CTRL : 2;
    t->sent = 0;
    FAKE_MUST(dev->ops->start(dev) == 0);
    for (unsigned round = 0; round < 2; round++) {
        if (data[1] & 1)
            dev->ops->kick(dev, 1);
        if (data[1] & 2)
            dev->ops->kick(dev, ctrl);
        if (data[1] & 4)
            dev->ops->kick(dev, 0);
        if (data[1] & 8)
            frame_arrives(t, data[1] & 16 ? 9000 : 60);
        FAKE_MUST(guest_mem_leases(t->fm.mem) == 0);
    }
    dev->ops->quiesce(dev);
    for (unsigned i = 0; i < dev->n_queues; i++)
        FAKE_MUST((uint16_t)(dev->vqs[i].next_avail - dev->vqs[i].next_used) <= QUEUE);
    dev->ops->reset(dev);
    return 0;
}
