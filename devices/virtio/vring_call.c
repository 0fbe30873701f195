/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/vring_call.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void called(void *ctx, uint32_t events)
{
    struct vring_call *call = ctx;
    struct virtio_dev *vdev = call->vdev;

    (void)events;
    if (call->on)
        vdev->transport->queue_interrupt(vdev->transport_ctx, &vdev->vqs[call->index]);
}

int vring_call_make(struct vring_call *call, struct virtio_dev *vdev, unsigned index,
                    struct errctx *ec)
{
    *call = (struct vring_call){ .vdev = vdev, .index = index };
    call->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (call->fd < 0)
        return errctx_set_os(ec, errno, "eventfd");
    return evloop_watch_fd(vdev->loop, call->fd, EPOLLIN | EPOLLET, called, call, &call->watch, ec);
}

void vring_call_drop(struct vring_call *call)
{
    evloop_unwatch(call->watch);
    call->watch = NULL;
    if (call->fd >= 0)
        (void)close(call->fd);
    call->fd = -1;
    call->on = false;
}
