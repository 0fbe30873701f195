/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How somebody else who serves a ring has the driver interrupted: an eventfd that the device's loop
 * watches. It is never read, so that who shares it, and its flags with it, cannot have us block.
 * Threading: the device's loop, or whoever has it idle.
 */
#ifndef DEVICES_VIRTIO_VRING_CALL_H
#define DEVICES_VIRTIO_VRING_CALL_H

#include <stdbool.h>

#include "devices/virtio/virtio.h"

struct vring_call {
    struct virtio_dev *vdev;
    unsigned index; /* of the queue */
    int fd;         /* -1: not made */
    bool on;        /* what is told is passed on; the owner's to set */
    struct evloop_watch *watch;
};

/** vring_call_make() - for queue @index of @vdev, not passed on yet; @call may have been dropped
 *  before, and stays where it is. Return: 0, or the errno of eventfd or of watching it, in which case
 *  vring_call_drop() is still due. */
int vring_call_make(struct vring_call *call, struct virtio_dev *vdev, unsigned index,
                    struct errctx *ec);

/** vring_call_drop() - the opposite; one that was not made has ->fd -1. */
void vring_call_drop(struct vring_call *call);

#endif
