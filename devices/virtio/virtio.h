/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device, without its transport (virtio 1.2, chapters 2 and 3).
 *
 * Split of work: devices/virtio/virtqueue.c reads and writes rings and turns descriptor chains
 * into vectors of leases; virtio_pci.c is the transport (capabilities, common configuration,
 * MSI-X, doorbells, status machine); a file per device type implements struct virtio_ops.
 *
 * Threads. Every device has one event loop (an I/O thread). All ops except config_read and
 * config_write run on that loop's thread (or on the machine's thread while the loop is known to
 * be idle: create, destroy), so a device needs no lock for its queue work. config_read/write
 * run on vCPU threads and see only fields that the device protects itself.
 *
 * Status changes that need the loop (DRIVER_OK, reset) are posted to it; the guest sees the new
 * status when they are done, which the specification allows (2.1.2: the driver re-reads).
 *
 * A device that meets a ring it cannot make sense of calls virtio_dev_break(): status gets
 * DEVICE_NEEDS_RESET, the driver gets a configuration interrupt, no queue is served until the
 * driver resets the device.
 */
#ifndef DEVICES_VIRTIO_VIRTIO_H
#define DEVICES_VIRTIO_VIRTIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/snapshot.h"
#include "devices/virtio/virtqueue.h"
#include "memory/guest_mem.h"
#include "vmm/base/errctx.h"
#include "vmm/base/evloop.h"

struct virtio_dev;

enum { VIRTIO_MAX_QUEUES = 64 };

struct virtio_ops {
    const char *type;   /* "disk" */
    uint32_t version;   /* of the saved state */
    uint32_t virtio_id; /* VIRTIO_ID_BLOCK from linux/virtio_ids.h */
    uint32_t pci_class; /* 24 bits */

    /* Device configuration space; out of range reads are zero-filled by the transport. */
    void (*config_read)(struct virtio_dev *dev, uint32_t off, void *data, uint32_t len);
    void (*config_write)(struct virtio_dev *dev, uint32_t off, const void *data, uint32_t len);

    /* The driver said DRIVER_OK; dev->features is what both sides agreed on. A negative errno
     * breaks the device. */
    int (*start)(struct virtio_dev *dev);
    /* The driver rang the doorbell of queue @index (or the device was resumed). */
    void (*kick)(struct virtio_dev *dev, unsigned index);
    /* Finish or cancel everything in flight and return every lease; blocks for as long as the
     * I/O takes. Afterwards no kick comes until resume. Also called before start. */
    void (*quiesce)(struct virtio_dev *dev);
    /* Continue after quiesce; kicks for all running queues follow. Optional. */
    void (*resume)(struct virtio_dev *dev);
    /* Back to the state after create, backend kept; called quiesced and stays so: a reset by the
     * driver is quiesce, reset, resume; then start may come again. */
    void (*reset)(struct virtio_dev *dev);
    /* Quiesced. load finds features and queues restored; if the device was running, start comes
     * before the resume. Both optional: nothing beyond the transport's state. */
    int (*save)(struct virtio_dev *dev, struct snapshot_writer *w, struct errctx *ec);
    int (*load)(struct virtio_dev *dev, struct snapshot_reader *r, uint32_t version,
                struct errctx *ec);
    void (*destroy)(struct virtio_dev *dev);
};

/* What the transport gives to a device; filled by virtio_pci.c, or by a test. */
struct virtio_transport_ops {
    /* The used ring of @vq has news; called after the used index is visible. */
    void (*queue_interrupt)(void *ctx, struct virtqueue *vq);
    void (*config_interrupt)(void *ctx);
    /* Another kick of queue @index soon, after other work of the loop has had its turn: how a
     * device that met a long ring stays fair. Any thread. */
    void (*kick_again)(void *ctx, unsigned index);
    /* Somebody else serves queue @index from now on and hears its doorbell, which nobody reads: no
     * kick of it comes until take_bell(). Return: the eventfd, borrowed. Loop thread; not for a
     * device that is quiesced. */
    int (*lend_bell)(void *ctx, unsigned index);
    void (*take_bell)(void *ctx, unsigned index);
};

/* Embedded first in each device's own struct. The device's create function fills what is marked
 * [device] before virtio_pci_new() gets it; the transport fills the rest. */
struct virtio_dev {
    const struct virtio_ops *ops;          /* [device] */
    char name[32];                         /* [device] "disk0" */
    uint64_t host_features;                /* [device] without VERSION_1, RING_* (core adds them) */
    uint64_t lacking_features;             /* [device] those of RING_* that it cannot do */
    unsigned n_queues;                     /* [device] */
    uint16_t queue_max[VIRTIO_MAX_QUEUES]; /* [device] powers of two, at most 32768 */
    uint32_t config_len;                   /* [device] */
    bool takes_lost;                       /* [device] of its queues (virtqueue.h) */
    struct evloop *loop;                   /* [device] from the environment */
    struct guest_mem *mem;                 /* [device] from the environment */

    uint64_t features;     /* negotiated; valid from FEATURES_OK on; atomic */
    struct virtqueue *vqs; /* n_queues entries */
    const struct virtio_transport_ops *transport;
    void *transport_ctx;
    bool broken;            /* loop thread: set by virtio_dev_break() */
    const char *broken_why; /* loop thread: literal, for debugging; valid if broken */
};

/** virtio_dev_break() - see above. Loop thread. @why is a literal and kept in ->broken_why. */
void virtio_dev_break(struct virtio_dev *dev, const char *why);

static inline bool virtio_dev_has(const struct virtio_dev *dev, unsigned feature_bit)
{
    /* Atomic, because config_read may look while another vCPU negotiates. */
    return __atomic_load_n(&dev->features, __ATOMIC_RELAXED) >> feature_bit & 1;
}

/** virtio_dev_notify() - interrupt the driver about @vq if it wants to know (2.7.7, event index
 *  respected). Loop thread; call once per batch. */
void virtio_dev_notify(struct virtio_dev *dev, struct virtqueue *vq);

#endif
