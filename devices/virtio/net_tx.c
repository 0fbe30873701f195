/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transmitting: chains go to the backend as they lie in guest memory.
 *
 * Doorbells are off while the ring is served. Finished chains are handed back in batches, with
 * one interrupt at the end. A guest that queues faster than we send gets NET_BUDGET chains, then
 * the other work of the loop has its turn. A full backend keeps the frame in the ring: the
 * chain is put back as if it had never been taken, so a pause or reset needs no special care.
 */
#include "devices/virtio/net_int.h"

#include <errno.h>

/* What is ready to go back to the driver. */
struct tx_done {
    struct virtq_used used[NET_TX_BATCH];
    unsigned n;
    bool any;
};

static int tx_flush(struct virtqueue *vq, struct tx_done *done)
{
    int r = 0;

    if (done->n > 0) {
        r = virtqueue_push_many(vq, done->used, done->n);
        done->any = true;
    }
    done->n = 0;
    return r;
}

/* One chain. 1 sent, 0 ring empty, -EAGAIN backend full, -EPROTO. */
static int tx_one(struct net_pair *pair, struct virtqueue *vq, struct tx_done *done)
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
    done->used[done->n++] = (struct virtq_used){ .head = chain->head };
    virtq_chain_release(vq->mem, chain);
    return done->n == NET_TX_BATCH && tx_flush(vq, done) < 0 ? -EPROTO : 1;
}

/* Returns 0 when the ring is empty, 1 when the budget ran out, -errno. */
static int tx_drain(struct net_pair *pair, struct virtqueue *vq, struct tx_done *done)
{
    unsigned budget = NET_BUDGET;
    int r;

    for (;;) {
        r = virtqueue_set_notify(vq, false);
        while (r == 0 && budget > 0) {
            r = tx_one(pair, vq, done);
            if (r <= 0)
                break;
            budget--;
            r = 0;
        }
        if (r < 0)
            return r;
        if (budget == 0)
            return 1;
        r = virtqueue_set_notify(vq, true);
        if (r <= 0)
            return r;
    }
}

void net_tx_run(struct net_pair *pair)
{
    struct net_dev *dev = pair->dev;
    struct virtqueue *vq = net_tx_vq(pair);
    struct tx_done done = { .n = 0 };
    int r;

    if (!dev->running || dev->vdev.broken || !vq->enabled || pair->index >= dev->cur_pairs)
        return;
    pair->tx.blocked = false;
    r = tx_drain(pair, vq, &done);
    if (dev->be->ops->send_end != NULL)
        dev->be->ops->send_end(dev->be, pair->index);
    if (tx_flush(vq, &done) < 0)
        r = -EPROTO;
    if (done.any)
        virtio_dev_notify(&dev->vdev, vq);
    if (r == 1 || r == -ENOMEM)
        net_again(dev, vq->index);
    else if (r == -EAGAIN)
        pair->tx.blocked = true;
    else if (r < 0)
        virtio_dev_break(&dev->vdev, "transmit ring or chain makes no sense");
}
