/* SPDX-License-Identifier: Apache-2.0 */
/* A driver's side of the memory device (virtio 1.2, 5.15): one request at a time, waiting. */
#ifndef LIB_MEMDEV_H
#define LIB_MEMDEV_H

#include <linux/virtio_mem.h>

#include "guest-tests/bare/lib/virtio.h"

enum { MEMDEV_SECONDS = 5, MEMDEV_NO_ANSWER = 99 };

struct memdev {
    struct vdev dev;
    struct vq q;
    uint64_t base, size, block; /* of its window, and of a block in it; bytes */
    uint16_t state;             /* what the last VIRTIO_MEM_REQ_STATE was told */
};

/** memdev_open() - the first memory device; reads its window. False where there is none. */
bool memdev_open(struct memdev *ret_m);

/** memdev_start() - reset, negotiate @features, one queue, DRIVER_OK. False if the device refuses. */
bool memdev_start(struct memdev *m, uint64_t features);

/** memdev_requested() - bytes that the host wants to have plugged in. */
uint64_t memdev_requested(const struct memdev *m);

/** memdev_ask() - send a request. Return: VIRTIO_MEM_RESP_*, or MEMDEV_NO_ANSWER. */
unsigned memdev_ask(struct memdev *m, uint16_t type, uint64_t addr, uint16_t blocks);

/** memdev_is_no_memory() - the 8 bytes at @addr read all ones and swallow what is written. Maps
 *  them. */
bool memdev_is_no_memory(uint64_t addr);

#endif
