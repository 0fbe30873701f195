/* SPDX-License-Identifier: Apache-2.0 */
/* What every virtio device does the same way. Loop thread of the device. */
#include "devices/virtio/virtio.h"

void virtio_dev_break(struct virtio_dev *dev, const char *why)
{
    if (dev->broken)
        return;
    dev->broken = true;
    dev->broken_why = why;
    /* The transport looks at ->broken and sets DEVICE_NEEDS_RESET (2.1.1) before it tells. */
    dev->transport->config_interrupt(dev->transport_ctx);
}

void virtio_dev_notify(struct virtio_dev *dev, struct virtqueue *vq)
{
    int r;

    if (dev->broken)
        return;
    r = virtqueue_needs_interrupt(vq);
    if (r < 0)
        virtio_dev_break(dev, "the available ring is outside memory");
    else if (r > 0)
        dev->transport->queue_interrupt(dev->transport_ctx, vq);
}
