/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small virtio driver over PCI (virtio 1.2, 4.1), split rings. It does what it is told and
 * keeps no rules: guests that abuse rings write into them directly.
 */
#ifndef GUEST_TESTS_BARE_LIB_VIRTIO_H
#define GUEST_TESTS_BARE_LIB_VIRTIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#include "guest-tests/bare/lib/pci.h"

enum { VQ_MAX = 64 /* entries of a ring that we make */, VIRTIO_VENDOR = 0x1af4 };

struct vdev {
    struct pci_dev pci;
    uint64_t common, notify, isr, config; /* addresses */
    uint32_t notify_multiplier;
};

struct vq {
    struct vdev *dev;
    uint16_t index, size;
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    uint64_t doorbell;
    uint16_t seen; /* used index up to which we looked */
};

/* A piece of memory in a request. */
struct vpart {
    uint64_t addr;
    uint32_t len;
    bool device_writes;
};

/** vdev_open() - the @nth device of a virtio type: maps and decodes its BARs. */
bool vdev_open(uint16_t type, unsigned nth, struct vdev *ret_dev);

/** vdev_reset() - status 0, and wait until it reads 0. False after some seconds. */
bool vdev_reset(struct vdev *d);
uint8_t vdev_status(const struct vdev *d);
/** vdev_broken() - wait up to @seconds for DEVICE_NEEDS_RESET. */
bool vdev_broken(const struct vdev *d, unsigned seconds);
uint64_t vdev_offered(const struct vdev *d);
/** vdev_negotiate() - ACKNOWLEDGE to FEATURES_OK with VERSION_1 and @features. True when the
 *  device agrees. */
bool vdev_negotiate(struct vdev *d, uint64_t features);
void vdev_driver_ok(struct vdev *d);

/** vq_setup() - select queue @index, zero the rings in @q (allocated at the first use), tell the
 *  device, MSI-X table entry @msix (VIRTIO_MSI_NO_VECTOR: none), enable. */
bool vq_setup(struct vdev *d, struct vq *q, uint16_t index, uint16_t msix);

/** vq_place() - a descriptor as it is. vq_offer() - @head into the available ring; no doorbell. */
void vq_place(struct vq *q, uint16_t i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next);
void vq_offer(struct vq *q, uint16_t head);
void vq_kick(const struct vq *q);
/** vq_request() - one chain of @n parts from descriptor 0 on, offered and kicked. */
void vq_request(struct vq *q, const struct vpart *part, unsigned n);
/** vq_wait() - a new used entry within @seconds; its length. -1 when none came or the device
 *  broke. */
int64_t vq_wait(struct vq *q, unsigned seconds);

/** vdev_start() - reset, negotiate without features, queue @index without interrupts,
 *  DRIVER_OK. */
bool vdev_start(struct vdev *d, struct vq *q, uint16_t index);

/** blk_read() / blk_write() - sectors of 512 bytes by one request, waiting. */
bool blk_read(struct vq *q, uint64_t sector, void *buf, uint32_t sectors);
bool blk_write(struct vq *q, uint64_t sector, const void *buf, uint32_t sectors);
/** blk_pattern() - what the host put into word @i (8 bytes) of a sector. */
static inline uint64_t blk_pattern(uint64_t sector, unsigned i)
{
    return (sector << 16 | i) * 0x9e3779b97f4a7c15ull;
}
bool blk_is_pattern(const void *buf, uint64_t sector);

#endif
