/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net (virtio 1.2, 5.1): the device between the queues and a backend.
 *
 * Queues: receive and transmit of each pair, then the control queue, whose index depends on
 * whether multi-queue was negotiated (5.1.2). All pairs live on the device's one loop thread;
 * multi-queue is offered because it spreads the guest's side of the work.
 *
 *   created --start--> started+running <--quiesce/resume--> started --reset--> created
 *
 * Configuration space is constant after creation, except for the link status, which is atomic.
 */
#include "devices/virtio/net_int.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"

enum { NET_STATE_VERSION = 1 };

static struct net_dev *net_of(struct virtio_dev *vdev)
{
    return container_of(vdev, struct net_dev, vdev);
}

struct virtqueue *net_rx_vq(struct net_pair *pair)
{
    return &pair->dev->vdev.vqs[2 * pair->index];
}

struct virtqueue *net_tx_vq(struct net_pair *pair)
{
    return &pair->dev->vdev.vqs[2 * pair->index + 1];
}

static unsigned net_ctrl_index(const struct net_dev *dev)
{
    return virtio_dev_has(&dev->vdev, VIRTIO_NET_F_MQ) ? 2 * dev->max_pairs : 2;
}

static void net_config_read(struct virtio_dev *vdev, uint32_t off, void *data, uint32_t len)
{
    const struct net_dev *dev = net_of(vdev);
    struct virtio_net_config config = {
        .status = __atomic_load_n(&dev->status, __ATOMIC_RELAXED),
        .max_virtqueue_pairs = (uint16_t)dev->max_pairs,
        .mtu = dev->mtu,
    };

    memset(data, 0, len);
    memcpy(config.mac, dev->mac, sizeof(config.mac));
    if (off < vdev->config_len)
        memcpy(data, (const uint8_t *)&config + off, MIN(len, vdev->config_len - off));
}

static void net_config_write(struct virtio_dev *vdev, uint32_t off, const void *data, uint32_t len)
{
    (void)vdev; /* 5.1.4: nothing in it is the driver's to write */
    (void)off;
    (void)data;
    (void)len;
}

void net_link_down(struct net_dev *dev)
{
    if (__atomic_exchange_n(&dev->status, 0, __ATOMIC_RELAXED) == 0)
        return; /* said before */
    dev->vdev.transport->config_interrupt(dev->vdev.transport_ctx);
}

int net_set_pairs(struct net_dev *dev, unsigned n)
{
    int r;

    if (n < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || n > dev->max_pairs)
        return -EINVAL;
    r = dev->be->ops->set_pairs(dev->be, n);
    if (r < 0)
        return r;
    dev->cur_pairs = n;
    if (dev->running)
        dev->be->ops->run(dev->be);
    return 0;
}

static int net_start(struct virtio_dev *vdev)
{
    struct net_dev *dev = net_of(vdev);
    int r = dev->be->ops->start(dev->be, vdev->features);

    if (r == 0)
        r = net_set_pairs(dev, dev->start_pairs);
    if (r < 0)
        return r;
    dev->started = true;
    dev->running = true;
    dev->be->ops->run(dev->be);
    return 0;
}

static void net_kick(struct virtio_dev *vdev, unsigned index)
{
    struct net_dev *dev = net_of(vdev);
    struct net_pair *pair;

    if (!dev->running || vdev->broken || index >= vdev->n_queues || !vdev->vqs[index].enabled)
        return;
    if (index == net_ctrl_index(dev)) {
        if (virtio_dev_has(vdev, VIRTIO_NET_F_CTRL_VQ))
            net_ctrl_run(dev, &vdev->vqs[index]);
        return;
    }
    if (index / 2 >= dev->cur_pairs || dev->be->serves_queues)
        return;
    pair = &dev->pairs[index / 2];
    if (index % 2 == 1) {
        if (!pair->tx.blocked)
            net_tx_run(pair);
        return;
    }
    if (virtqueue_set_notify(net_rx_vq(pair), false) < 0) {
        virtio_dev_break(vdev, "receive ring went away");
        return;
    }
    pair->rx.stalled = false;
    dev->be->ops->rx_ready(dev->be, pair->index);
}

static void net_again_cb(void *ctx)
{
    struct net_dev *dev = ctx;
    uint64_t mask = dev->again_mask;

    dev->again_mask = 0;
    while (mask != 0) {
        unsigned index = (unsigned)__builtin_ctzll(mask);

        mask &= mask - 1;
        net_kick(&dev->vdev, index);
    }
}

void net_again(struct net_dev *dev, unsigned index)
{
    dev->again_mask |= UINT64_C(1) << index;
    evloop_later_ask(dev->again);
}

static void net_quiesce(struct virtio_dev *vdev)
{
    struct net_dev *dev = net_of(vdev);

    if (!dev->running)
        return;
    dev->running = false;
    dev->be->ops->stop(dev->be);
    evloop_later_cancel(dev->again);
    dev->again_mask = 0; /* resume kicks every queue */
    for (unsigned i = 0; i < dev->max_pairs; i++)
        dev->pairs[i].tx.blocked = false;
}

static void net_resume(struct virtio_dev *vdev)
{
    struct net_dev *dev = net_of(vdev);

    if (!dev->started)
        return;
    dev->running = true;
    dev->be->ops->run(dev->be);
}

static void net_reset(struct virtio_dev *vdev)
{
    struct net_dev *dev = net_of(vdev);

    net_quiesce(vdev);
    if (dev->be->ops->reset != NULL)
        dev->be->ops->reset(dev->be);
    dev->started = false;
    for (unsigned i = 0; i < dev->max_pairs; i++)
        net_rx_reset(&dev->pairs[i]);
    dev->start_pairs = 1; /* 5.1.5: one pair until the driver asks for more */
    (void)net_set_pairs(dev, 1);
}

static int net_save(struct virtio_dev *vdev, struct snapshot_writer *w, struct errctx *ec)
{
    const struct net_dev *dev = net_of(vdev);

    (void)ec;
    snapshot_put_bytes(w, dev->mac, sizeof(dev->mac));
    snapshot_put_u16(w, (uint16_t)dev->cur_pairs);
    return 0;
}

static int net_load(struct virtio_dev *vdev, struct snapshot_reader *r, uint32_t version,
                    struct errctx *ec)
{
    struct net_dev *dev = net_of(vdev);
    uint8_t mac[ETH_ALEN];
    uint16_t pairs;

    if (version != NET_STATE_VERSION)
        return errctx_set(ec, EINVAL, "%s: saved state of version %u is not known", vdev->name,
                          version);
    snapshot_get_bytes(r, mac, sizeof(mac));
    pairs = snapshot_get_u16(r);
    if (!snapshot_reader_ok(r))
        return errctx_set(ec, EINVAL, "%s: saved state is cut short", vdev->name);
    if (memcmp(mac, dev->mac, sizeof(mac)) != 0)
        return errctx_set(ec, EINVAL, "%s: saved state is of another MAC address", vdev->name);
    if (pairs < 1 || pairs > dev->max_pairs)
        return errctx_set(ec, EINVAL, "%s: saved state has %u queue pairs, this device %u",
                          vdev->name, pairs, dev->max_pairs);
    dev->start_pairs = pairs; /* a start follows if the device was running */
    return 0;
}

static void net_destroy(struct virtio_dev *vdev)
{
    struct net_dev *dev = net_of(vdev);

    evloop_later_free(dev->again);
    if (dev->be != NULL)
        dev->be->ops->destroy(dev->be);
    for (unsigned i = 0; dev->pairs != NULL && i < dev->max_pairs; i++) {
        struct net_pair *pair = &dev->pairs[i];

        for (unsigned k = 0; k < NET_RX_CHAINS; k++)
            virtq_chain_fini(vdev->mem, &pair->rx.pool[k]);
        virtq_chain_fini(vdev->mem, &pair->tx.chain);
        free(pair->rx.bounce);
    }
    virtq_chain_fini(vdev->mem, &dev->ctrl_chain);
    free(dev->pairs);
    free(dev);
}

static const struct virtio_ops net_ops = {
    .type = "net",
    .version = NET_STATE_VERSION,
    .virtio_id = VIRTIO_ID_NET,
    .pci_class = 0x020000, /* Ethernet controller */
    .config_read = net_config_read,
    .config_write = net_config_write,
    .start = net_start,
    .kick = net_kick,
    .quiesce = net_quiesce,
    .resume = net_resume,
    .reset = net_reset,
    .save = net_save,
    .load = net_load,
    .destroy = net_destroy,
};

static uint64_t net_features(const struct net_backend *be)
{
    uint64_t f = be->features | 1u << VIRTIO_NET_F_MAC | 1u << VIRTIO_NET_F_STATUS |
                 1u << VIRTIO_NET_F_MRG_RXBUF | 1u << VIRTIO_NET_F_CTRL_VQ |
                 1u << VIRTIO_NET_F_CTRL_RX;

    if (be->max_pairs > 1)
        f |= 1u << VIRTIO_NET_F_MQ;
    if (be->mtu != 0)
        f |= 1u << VIRTIO_NET_F_MTU;
    return f & ~be->lacking;
}

static int net_pairs_new(struct net_dev *dev)
{
    dev->pairs = calloc(dev->max_pairs, sizeof(*dev->pairs));
    if (dev->pairs == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < dev->max_pairs; i++) {
        struct net_pair *pair = &dev->pairs[i];

        pair->dev = dev;
        pair->index = i;
        pair->rx.bounce = calloc(1, NET_FRAME_MAX);
        if (pair->rx.bounce == NULL)
            return -ENOMEM;
    }
    return 0;
}

int net_dev_new(const struct device_env *env, struct net_backend *be, const uint8_t mac[ETH_ALEN],
                struct virtio_dev **ret_dev, struct errctx *ec)
{
    struct net_dev *dev = calloc(1, sizeof(*dev));
    int r;

    if (dev == NULL) {
        be->ops->destroy(be);
        return errctx_set(ec, ENOMEM, "%s: no memory for the device", env->name);
    }
    dev->be = be;
    be->dev = dev;
    dev->max_pairs = be->max_pairs;
    dev->cur_pairs = dev->start_pairs = 1;
    dev->mtu = be->mtu;
    dev->status = VIRTIO_NET_S_LINK_UP;
    memcpy(dev->mac, mac, sizeof(dev->mac));
    dev->say = env->say;
    dev->say_ctx = env->say_ctx;
    dev->vdev.ops = &net_ops;
    (void)snprintf(dev->vdev.name, sizeof(dev->vdev.name), "%s", env->name);
    dev->vdev.host_features = net_features(be);
    dev->vdev.lacking_features = be->lacking;
    dev->vdev.n_queues = 2 * dev->max_pairs + 1;
    for (unsigned i = 0; i < dev->vdev.n_queues; i++)
        dev->vdev.queue_max[i] = i == 2 * dev->max_pairs ? 64 : NET_QUEUE_MAX;
    dev->vdev.config_len = offsetof(struct virtio_net_config, mtu) + sizeof(dev->mtu);
    dev->vdev.loop = env->loop;
    dev->vdev.mem = env->mem;
    r = net_pairs_new(dev);
    if (r < 0) {
        errctx_set(ec, ENOMEM, "%s: no memory for %u queue pairs", env->name, dev->max_pairs);
        goto err_destroy;
    }
    r = evloop_later_new(env->loop, net_again_cb, dev, &dev->again, ec);
    if (r == 0 && be->ops->attach != NULL)
        r = be->ops->attach(be, ec);
    if (r < 0)
        goto err_destroy;
    *ret_dev = &dev->vdev;
    return 0;

err_destroy:
    net_destroy(&dev->vdev);
    return r;
}
