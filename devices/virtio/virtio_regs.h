/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Common configuration registers of a virtio device (virtio 1.2, 4.1.4.3) and the status state
 * machine behind them, apart from PCI and from the event loop.
 *
 *   0 -> ACKNOWLEDGE -> DRIVER -> FEATURES_OK -> DRIVER_OK;  any -> NEEDS_RESET;  any -> 0
 *
 * Status bits are only added; a write of 0 asks for a reset, which the loop finishes, and until
 * then the status reads as before and other status writes are ignored. Features can be written
 * until FEATURES_OK, a queue's place until it is enabled, queues be enabled until DRIVER_OK.
 *
 * One mutex covers everything; it is a leaf. Vectors are atomic, so that an interrupt needs no
 * lock of ours.
 */
#ifndef DEVICES_VIRTIO_VIRTIO_REGS_H
#define DEVICES_VIRTIO_VIRTIO_REGS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/snapshot.h"
#include "devices/virtio/virtio.h"

struct virtio_queue_regs {
    uint16_t size, vector;
    bool enabled;
    uint64_t desc, avail, used;
};

struct virtio_regs {
    /* Constant after init. */
    uint64_t offered; /* features of the device and of the transport */
    unsigned n_queues;
    unsigned n_vectors;        /* MSI-X vectors that may be named */
    const uint16_t *queue_max; /* borrowed */
    uint64_t *features;        /* where the negotiated features go; atomic stores */

    pthread_mutex_t lock; /* covers the rest */
    uint32_t device_feature_select, driver_feature_select;
    uint64_t driver_features;
    uint16_t config_vector; /* atomic */
    uint16_t queue_select;
    uint8_t status;
    uint8_t generation; /* atomic */
    bool reset_pending;
    struct virtio_queue_regs q[VIRTIO_MAX_QUEUES]; /* .vector atomic */
};

/* What the caller has to do after a write. */
enum virtio_regs_event {
    VIRTIO_REGS_NOTHING = 0,
    VIRTIO_REGS_START = 1, /* DRIVER_OK was set: start the device on its loop */
    VIRTIO_REGS_RESET = 2, /* reset the device on its loop, then virtio_regs_reset() */
};

/** virtio_regs_init() - @dev's fields marked [device] are filled in. */
void virtio_regs_init(struct virtio_regs *regs, struct virtio_dev *dev, unsigned n_vectors);
void virtio_regs_fini(struct virtio_regs *regs);

/** virtio_regs_read() / virtio_regs_write() - an access at @off into the structure. Reads of any
 *  width; writes of the field's own width (4.1.3.1), or 8 bytes over a pair; others dropped. */
void virtio_regs_read(struct virtio_regs *regs, uint64_t off, void *data, size_t size);
enum virtio_regs_event virtio_regs_write(struct virtio_regs *regs, uint64_t off, const void *data,
                                         size_t size);

/** virtio_regs_reset() - everything as at creation; the driver now reads status 0. */
void virtio_regs_reset(struct virtio_regs *regs);

/** virtio_regs_needs_reset() - set DEVICE_NEEDS_RESET. */
void virtio_regs_needs_reset(struct virtio_regs *regs);

/** virtio_regs_config_changed() - the driver's next look shows another generation. */
void virtio_regs_config_changed(struct virtio_regs *regs);

uint16_t virtio_regs_config_vector(const struct virtio_regs *regs);
uint16_t virtio_regs_queue_vector(const struct virtio_regs *regs, unsigned index);

/** virtio_regs_queue() - a copy of queue @index as the driver set it up. */
struct virtio_queue_regs virtio_regs_queue(struct virtio_regs *regs, unsigned index);

void virtio_regs_save(struct virtio_regs *regs, struct snapshot_writer *w);
/** virtio_regs_load() - -EINVAL (sentence) for a state that this device could not be in. */
int virtio_regs_load(struct virtio_regs *regs, struct snapshot_reader *r, struct errctx *ec);

#endif
