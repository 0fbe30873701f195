/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory device (virtio 1.2, 5.15): memory of one virtual node that the guest plugs in and out, block
 * by block, as the host asks.
 *
 * The functions below wait for nobody, a guest's requests among them; any thread.
 */
#ifndef DEVICES_VIRTIO_MEM_H
#define DEVICES_VIRTIO_MEM_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/registry.h"

struct virtio_mem_status {
    bool driver; /* one runs the device */
    uint32_t vnode;
    uint64_t block_bytes, window_bytes;
    uint64_t requested_bytes; /* what is to be plugged in */
    uint64_t plugged_bytes;   /* what is */
    uint64_t returned_bytes;  /* that the host got back by unplugging, since the start */
};

/** virtio_mem_request() - ask the driver to have @bytes plugged in, rounded down to blocks. Return: 0;
 *  -ERANGE with a sentence: the window is smaller; -ENOMEM. */
int virtio_mem_request(struct virtio_dev *dev, uint64_t bytes, struct errctx *ec);

/** virtio_mem_status() - how it stands. */
void virtio_mem_status(struct virtio_dev *dev, struct virtio_mem_status *ret_status);

/* Made by the machine for each node with a window; no option of its own. */
extern const struct device_type virtio_mem_device_type;

#endif
