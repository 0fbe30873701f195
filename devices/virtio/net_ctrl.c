/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control queue (virtio 1.2, 5.1.6.5): receive mode and number of queue pairs.
 *
 * Receive modes and address tables are accepted and change nothing: filtering is a help to the
 * driver, and the backend hands us only what the host means for this interface. The commands are
 * still checked, so that a driver learns about a malformed one.
 */
#include "devices/virtio/net_int.h"

#include <errno.h>

#include "vmm/base/checked.h"

/* Two tables (unicast, multicast): a count and that many addresses each. */
static bool mac_tables_ok(const struct virtq_chain *chain, size_t off)
{
    for (int table = 0; table < 2; table++) {
        uint32_t entries;

        if (virtq_chain_read(chain, off, &entries, sizeof(entries)) != sizeof(entries))
            return false;
        off += sizeof(entries);
        if (!checked_range(off, (uint64_t)entries * ETH_ALEN, chain->read_bytes))
            return false;
        off += (size_t)entries * ETH_ALEN;
    }
    return true;
}

static bool ctrl_command(struct net_dev *dev, const struct virtq_chain *chain)
{
    struct virtio_net_ctrl_hdr hdr;
    struct virtio_net_ctrl_mq mq;
    size_t off = sizeof(hdr);
    uint8_t on;

    if (virtq_chain_read(chain, 0, &hdr, sizeof(hdr)) != sizeof(hdr))
        return false;
    switch (hdr.class) {
    case VIRTIO_NET_CTRL_RX:
        return virtio_dev_has(&dev->vdev, VIRTIO_NET_F_CTRL_RX) &&
               hdr.cmd <= VIRTIO_NET_CTRL_RX_ALLMULTI &&
               virtq_chain_read(chain, off, &on, sizeof(on)) == sizeof(on);
    case VIRTIO_NET_CTRL_MAC:
        return virtio_dev_has(&dev->vdev, VIRTIO_NET_F_CTRL_RX) &&
               hdr.cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET && mac_tables_ok(chain, off);
    case VIRTIO_NET_CTRL_MQ:
        return virtio_dev_has(&dev->vdev, VIRTIO_NET_F_MQ) &&
               hdr.cmd == VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET &&
               virtq_chain_read(chain, off, &mq, sizeof(mq)) == sizeof(mq) &&
               net_set_pairs(dev, mq.virtqueue_pairs) == 0;
    default:
        return false;
    }
}

void net_ctrl_run(struct net_dev *dev, struct virtqueue *vq)
{
    struct virtq_chain *chain = &dev->ctrl_chain;
    unsigned budget = NET_BUDGET;
    int r;

    while (budget-- > 0) {
        virtio_net_ctrl_ack ack;

        r = virtqueue_pop(vq, LEASE_WRITE, chain);
        if (r == 0)
            r = virtqueue_set_notify(vq, true);
        else if (r == 1 && chain->write_bytes < sizeof(ack))
            r = -EPROTO;
        else if (r == 1) {
            ack = ctrl_command(dev, chain) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
            (void)virtq_chain_write(chain, 0, &ack, sizeof(ack));
            r = virtqueue_push(vq, chain, sizeof(ack)) < 0 ? -EPROTO : 1;
        }
        if (r <= 0)
            break;
    }
    virtq_chain_release(dev->vdev.mem, chain);
    if (r == -EPROTO) {
        virtio_dev_break(&dev->vdev, "control ring or command makes no sense");
        return;
    }
    virtio_dev_notify(&dev->vdev, vq);
    if (r != 0)
        net_again(dev, vq->index);
}
