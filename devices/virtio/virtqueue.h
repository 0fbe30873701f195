/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues as the device side sees them (virtio 1.2, 2.7), with EVENT_IDX and indirect
 * descriptors.
 *
 * Everything in a ring is the guest's word and changes while we read: each field is read once,
 * chains are bounded by the queue size (a loop is found, not followed), addresses are leased or
 * refused. A failure that the specification calls a driver bug returns -EPROTO; the device then
 * breaks itself. Loop thread of the device only.
 */
#ifndef DEVICES_VIRTIO_VIRTQUEUE_H
#define DEVICES_VIRTIO_VIRTQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/virtio/virtq_chain.h"
#include "memory/guest_mem.h"

struct virtqueue {
    struct guest_mem *mem; /* borrowed */
    unsigned index;
    uint16_t size; /* set by the driver; power of two */
    bool enabled;
    bool event_idx; /* VIRTIO_RING_F_EVENT_IDX was negotiated */
    bool takes_lost; /* the device answers chains of which pieces are lost; else they break it */
    struct gpa desc, avail, used;

    uint16_t next_avail; /* free-running, next entry of the available ring to take */
    uint16_t next_used;  /* free-running, next entry of the used ring to fill */
    uint16_t signalled;  /* used index at the last interrupt decision */
    bool signalled_valid;

    bool wanted;          /* the device wants doorbells ... */
    bool hushed;          /* ... and virtqueue_poll() looks instead for now */
    uint16_t known_avail; /* the driver's index when doorbells were last asked for or polled */
};

/** virtqueue_check() - are the addresses that the driver gave usable? Called before a queue is
 *  enabled (alignment 2.7, all three areas inside RAM). Return: 0 or -EPROTO. */
int virtqueue_check(const struct virtqueue *vq);

/** virtqueue_indices() - what both sides have put into the ring, whoever serves it: how far the driver
 *  asked, how far it was answered. Return: 0, or -EPROTO, results untouched. */
int virtqueue_indices(const struct virtqueue *vq, uint16_t *ret_asked, uint16_t *ret_answered);

/** virtqueue_take_over() - somebody else served the ring up to @next_avail and does no more: go on
 *  there. Return: 0, or -EPROTO: the ring cannot be read, which who goes on finds out as well. */
int virtqueue_take_over(struct virtqueue *vq, uint16_t next_avail);

/**
 * virtqueue_pop() - take the next available chain.
 * @mode: LEASE_WRITE for work done by our own CPU, LEASE_DMA when the memory is handed to the
 *        kernel beyond this call.
 * Return: 1 with @chain filled (virtq_chain_release() later), 0 when the ring is empty,
 * -EPROTO when the ring or chain makes no sense, -ENOMEM.
 */
int virtqueue_pop(struct virtqueue *vq, enum lease_mode mode, struct virtq_chain *chain);

/** virtqueue_unpop() - put the chain taken last back, as if it had never been popped. */
void virtqueue_unpop(struct virtqueue *vq, struct virtq_chain *chain);

/** virtqueue_push() - hand @chain back with @written bytes written, and release its leases.
 *  Return: 0 or -EPROTO (the used ring went away). */
int virtqueue_push(struct virtqueue *vq, struct virtq_chain *chain, uint32_t written);

/** virtqueue_push_head() - as push, for a chain whose leases were released before. */
int virtqueue_push_head(struct virtqueue *vq, uint16_t head, uint32_t written);

/* A chain that goes back, its leases released before. */
struct virtq_used {
    uint16_t head;
    uint32_t written;
};

/** virtqueue_push_many() - hand back @n chains, at most the queue's size, in this order. The
 *  driver sees all of them at once or none: one frame in several merged buffers (5.1.6.4) must
 *  never be seen in part. Return: 0 or -EPROTO (the used ring went away). */
int virtqueue_push_many(struct virtqueue *vq, const struct virtq_used *used, unsigned n);

/** virtqueue_set_notify() - ask for doorbells or not; after enabling, poll once more: returns
 *  1 when chains arrived in between, 0 when not, -EPROTO. */
int virtqueue_set_notify(struct virtqueue *vq, bool want);

/** virtqueue_poll() - look at the ring instead of being rung at: where the device wants doorbells,
 *  switch them off until virtqueue_poll_end(). Return: 1 when a doorbell was or would have been
 *  rung since the last look, 0 when not, -EPROTO. */
int virtqueue_poll(struct virtqueue *vq);
/** virtqueue_poll_end() - have doorbells again. As virtqueue_set_notify(). */
int virtqueue_poll_end(struct virtqueue *vq);

/** virtqueue_needs_interrupt() - 2.7.7.2; updates ->signalled. 1, 0 or -EPROTO. */
int virtqueue_needs_interrupt(struct virtqueue *vq);

#endif
