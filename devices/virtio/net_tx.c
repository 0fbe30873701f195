/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transmitting: chains go to the backend as they lie in guest memory.
 *
 * Each chain is handed back as soon as it is sent: a guest sends no more than a few frames ahead
 * of what it got back (Linux: TCP small queues), so waiting for the end of a burst would stop it.
 *
 * Doorbells are off while the ring is served, and stay off until a look at it found nothing: the
 * rest of the loop has its turn (the frames that answer ours, above all), then we look once more.
 * A guest that sends steadily need not ring. One that queues faster than we send gets NET_BUDGET
 * chains a turn. A full backend keeps the frame in the ring: the chain is put back as if it had
 * never been taken, so a pause or reset needs no special care.
 */
#include "devices/virtio/net_int.h"

#include <errno.h>

/* One chain. 1 sent, 0 ring empty, -EAGAIN backend full, -EPROTO. */
static int tx_one(struct net_pair *pair, struct virtqueue *vq)
{
    struct net_backend *be = pair->dev->be;
    struct virtq_chain *chain = &pair->tx.chain;
    int r = virtqueue_pop(vq, LEASE_READ, chain);

    if (r <= 0)
        return r;
    if (chain->n_write != 0 || chain->read_bytes < NET_HDR_LEN) {
        virtq_chain_release(vq->mem, chain);
        return -EPROTO;
    }
    /* Nothing that is no Ethernet frame, or longer than one can be, reaches the backend. */
    if (chain->read_bytes >= NET_HDR_LEN + ETH_HLEN && chain->read_bytes <= NET_FRAME_MAX &&
        be->ops->send(be, pair->index, chain) == -EAGAIN) {
        virtqueue_unpop(vq, chain);
        return -EAGAIN;
    }
    r = virtqueue_push(vq, chain, 0);
    if (r < 0)
        return r;
    /* A driver that names the entry it waits for is told of it at once. Others would be told of
     * each frame, so they are told of the burst. */
    if (vq->event_idx)
        virtio_dev_notify(&pair->dev->vdev, vq);
    return 1;
}

/* Returns 0 when the ring is empty and doorbells are on, 1 when there may be more, -errno. */
static int tx_drain(struct net_pair *pair, struct virtqueue *vq)
{
    int r = virtqueue_set_notify(vq, false);
    unsigned sent = 0;

    while (r == 0 && sent < NET_BUDGET) {
        r = tx_one(pair, vq);
        if (r <= 0)
            break;
        sent++;
        r = 0;
    }
    if (r < 0)
        return r;
    return sent > 0 ? 1 : virtqueue_set_notify(vq, true);
}

void net_tx_run(struct net_pair *pair)
{
    struct net_dev *dev = pair->dev;
    struct virtqueue *vq = net_tx_vq(pair);
    int r;

    if (!dev->running || dev->vdev.broken || !vq->enabled || pair->index >= dev->cur_pairs)
        return;
    pair->tx.blocked = false;
    r = tx_drain(pair, vq);
    if (dev->be->ops->send_end != NULL)
        dev->be->ops->send_end(dev->be, pair->index);
    virtio_dev_notify(&dev->vdev, vq);
    if (r == 1 || r == -ENOMEM)
        net_again(dev, vq->index);
    else if (r == -EAGAIN)
        pair->tx.blocked = true;
    else if (r < 0)
        virtio_dev_break(&dev->vdev, "transmit ring or chain makes no sense");
}
