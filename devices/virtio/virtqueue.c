/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues, device side (virtio 1.2, 2.7).
 *
 * A call leases the ring areas that it needs and returns them before it ends, so that nothing
 * points into guest memory between calls. Leases cost two atomic operations, which is little
 * against the exit or the system call that a request costs anyway; a lasting mapping of the
 * rings was rejected because a paused or paged guest must find no lease out.
 *
 * Hostile rings. Each field is copied once and only the copy is checked and used. Whatever the
 * guest does, one pop does a bounded amount of work (virtq_chain.c).
 *
 * Ring fields are little-endian and so are all hosts we build for; the assertion below says so.
 * Threading: the device's loop thread only; the other side of each barrier is the guest.
 */
#include "devices/virtio/virtqueue.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>

#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

_Static_assert(__BYTE_ORDER == __LITTLE_ENDIAN, "ring fields are read without conversion");

enum { QUEUE_SIZE_MAX = 32768 /* 2.7: the largest split queue */ };

/* Sizes of the three areas (2.7), event fields included whether negotiated or not: the room for
 * them is always there. */
static size_t desc_bytes(const struct virtqueue *vq)
{
    return sizeof(struct vring_desc) * vq->size;
}

static size_t avail_bytes(const struct virtqueue *vq)
{
    return sizeof(struct vring_avail) + sizeof(__virtio16) * ((size_t)vq->size + 1);
}

static size_t used_bytes(const struct virtqueue *vq)
{
    return sizeof(struct vring_used) + sizeof(vring_used_elem_t) * vq->size + sizeof(__virtio16);
}

/* Leases of ring areas; a failure means that the area is not RAM (any more). */
static int lease_avail(const struct virtqueue *vq, struct mem_lease *lease)
{
    return guest_mem_lease_begin(vq->mem, vq->avail, avail_bytes(vq), LEASE_READ, lease) < 0
               ? -EPROTO
               : 0;
}

static int lease_used(const struct virtqueue *vq, struct mem_lease *lease)
{
    return guest_mem_lease_begin(vq->mem, vq->used, used_bytes(vq), LEASE_WRITE, lease) < 0
               ? -EPROTO
               : 0;
}

static bool area_ok(const struct virtqueue *vq, struct gpa addr, size_t len, size_t align)
{
    struct mem_lease lease;

    if (addr.v % align != 0)
        return false;
    if (guest_mem_lease_begin(vq->mem, addr, len, LEASE_WRITE, &lease) < 0)
        return false;
    guest_mem_lease_end(vq->mem, &lease);
    return true;
}

int virtqueue_check(const struct virtqueue *vq)
{
    if (!is_pow2(vq->size) || vq->size > QUEUE_SIZE_MAX)
        return -EPROTO;
    if (!area_ok(vq, vq->desc, desc_bytes(vq), VRING_DESC_ALIGN_SIZE) ||
        !area_ok(vq, vq->avail, avail_bytes(vq), VRING_AVAIL_ALIGN_SIZE) ||
        !area_ok(vq, vq->used, used_bytes(vq), VRING_USED_ALIGN_SIZE))
        return -EPROTO;
    return 0;
}

/* --- rings that somebody else serves --------------------------------------------------------- */

int virtqueue_indices(const struct virtqueue *vq, uint16_t *ret_asked, uint16_t *ret_answered)
{
    struct mem_lease avail, used;

    if (lease_avail(vq, &avail) < 0)
        return -EPROTO;
    if (lease_used(vq, &used) < 0) {
        guest_mem_lease_end(vq->mem, &avail);
        return -EPROTO;
    }
    *ret_asked =
        __atomic_load_n(&((const struct vring_avail *)avail.ptr)->idx, __ATOMIC_ACQUIRE);
    *ret_answered = __atomic_load_n(&((const struct vring_used *)used.ptr)->idx, __ATOMIC_ACQUIRE);
    guest_mem_lease_end(vq->mem, &used);
    guest_mem_lease_end(vq->mem, &avail);
    return 0;
}

int virtqueue_take_over(struct virtqueue *vq, uint16_t next_avail)
{
    uint16_t asked;

    vq->next_avail = next_avail;
    return virtqueue_indices(vq, &asked, &vq->next_used);
}

/* --- the available ring ---------------------------------------------------------------------- */

/* Chains that wait, given the avail area; -EPROTO when the index ran ahead of the ring. */
static int avail_pending(const struct virtqueue *vq, const struct mem_lease *lease)
{
    const struct vring_avail *avail = lease->ptr;
    /* Acquire: the ring entry and the descriptors are read after the index that covers them;
     * pairs with the driver's barrier before it publishes the index (2.7.13.3.1). */
    uint16_t idx = __atomic_load_n(&avail->idx, __ATOMIC_ACQUIRE);
    uint16_t pending = (uint16_t)(idx - vq->next_avail);

    return pending > vq->size ? -EPROTO : pending;
}

int virtqueue_pop(struct virtqueue *vq, enum lease_mode mode, struct virtq_chain *chain)
{
    const struct vring_avail *avail;
    struct mem_lease lease;
    uint16_t head = 0;
    int r;

    chain->n_read = chain->n_write = 0;
    chain->read_bytes = chain->write_bytes = 0;
    chain->is_lost = false;
    if (!vq->enabled)
        return 0;
    if (lease_avail(vq, &lease) < 0)
        return -EPROTO;
    avail = lease.ptr;
    r = avail_pending(vq, &lease);
    if (r > 0)
        head = __atomic_load_n(&avail->ring[vq->next_avail & (vq->size - 1)], __ATOMIC_RELAXED);
    guest_mem_lease_end(vq->mem, &lease);
    if (r <= 0)
        return r;

    r = virtq_chain_collect(vq->mem, vq->desc, vq->size, head, mode, chain);
    if (r == 0 && chain->is_lost && !vq->takes_lost)
        r = -EPROTO;
    if (r < 0) {
        virtq_chain_release(vq->mem, chain);
        return r;
    }
    chain->head = head;
    vq->next_avail++;
    return 1;
}

void virtqueue_unpop(struct virtqueue *vq, struct virtq_chain *chain)
{
    virtq_chain_release(vq->mem, chain);
    vq->next_avail--;
}

/* --- the used ring --------------------------------------------------------------------------- */

int virtqueue_push_many(struct virtqueue *vq, const struct virtq_used *used_list, unsigned n)
{
    struct mem_lease lease;
    struct vring_used *used;

    if (lease_used(vq, &lease) < 0)
        return -EPROTO;
    used = lease.ptr;
    for (unsigned i = 0; i < n; i++) {
        vring_used_elem_t *elem = &used->ring[vq->next_used & (vq->size - 1)];

        __atomic_store_n(&elem->id, used_list[i].head, __ATOMIC_RELAXED);
        __atomic_store_n(&elem->len, used_list[i].written, __ATOMIC_RELAXED);
        vq->next_used++;
    }
    /* Release: whoever sees the index sees the entries and the data before it (2.7.14). */
    __atomic_store_n(&used->idx, vq->next_used, __ATOMIC_RELEASE);
    guest_mem_lease_end(vq->mem, &lease);
    return 0;
}

int virtqueue_push_head(struct virtqueue *vq, uint16_t head, uint32_t written)
{
    struct virtq_used used = { .head = head, .written = written };

    return virtqueue_push_many(vq, &used, 1);
}

int virtqueue_push(struct virtqueue *vq, struct virtq_chain *chain, uint32_t written)
{
    virtq_chain_release(vq->mem, chain);
    return virtqueue_push_head(vq, chain->head, written);
}

/* --- notifications --------------------------------------------------------------------------- */

/* Write the wish for doorbells. An event index that lies behind is a wish for none (2.7.7.1), until
 * the driver has gone round all 65536 values. */
static int write_wish(struct virtqueue *vq, bool want)
{
    struct mem_lease lease;
    struct vring_used *used;

    if (lease_used(vq, &lease) < 0)
        return -EPROTO;
    used = lease.ptr;
    if (vq->event_idx) {
        __virtio16 *avail_event = (__virtio16 *)(void *)&used->ring[vq->size];

        __atomic_store_n(avail_event, (uint16_t)(vq->next_avail - !want), __ATOMIC_RELAXED);
    } else {
        __atomic_store_n(&used->flags, want ? 0 : VRING_USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
    }
    guest_mem_lease_end(vq->mem, &lease);
    return 0;
}

int virtqueue_set_notify(struct virtqueue *vq, bool want)
{
    struct mem_lease lease;
    int r;

    vq->wanted = want;
    vq->hushed = false;
    if (!vq->enabled || (vq->event_idx && !want))
        return 0; /* the old event index suppresses doorbells by itself */
    r = write_wish(vq, want);
    if (r < 0 || !want)
        return r;

    /* The wish must be visible before the index is read again, else the driver adds a chain
     * without a doorbell and we go to sleep: a store before a load, so a full barrier. */
    atomic_thread_fence(memory_order_seq_cst);
    if (lease_avail(vq, &lease) < 0)
        return -EPROTO;
    r = avail_pending(vq, &lease);
    guest_mem_lease_end(vq->mem, &lease);
    if (r >= 0)
        vq->known_avail = (uint16_t)(vq->next_avail + r);
    return r > 0 ? 1 : r;
}

int virtqueue_poll(struct virtqueue *vq)
{
    struct mem_lease lease;
    uint16_t idx;
    int r;

    if (!vq->enabled || !vq->wanted)
        return 0;
    if (!vq->hushed) {
        r = write_wish(vq, false);
        if (r < 0)
            return r;
        vq->hushed = true;
    }
    if (lease_avail(vq, &lease) < 0)
        return -EPROTO;
    r = avail_pending(vq, &lease);
    guest_mem_lease_end(vq->mem, &lease);
    if (r < 0)
        return r;
    idx = (uint16_t)(vq->next_avail + r);
    r = idx != vq->known_avail;
    vq->known_avail = idx;
    return r;
}

int virtqueue_poll_end(struct virtqueue *vq)
{
    uint16_t known = vq->known_avail;
    int r;

    if (!vq->hushed)
        return 0;
    r = virtqueue_set_notify(vq, true);
    return r < 0 ? r : vq->known_avail != known;
}

int virtqueue_needs_interrupt(struct virtqueue *vq)
{
    uint16_t old = vq->signalled, now = vq->next_used, flags, used_event;
    bool was_valid = vq->signalled_valid;
    const struct vring_avail *avail;
    struct mem_lease lease;

    if (was_valid && old == now)
        return 0; /* nothing used since the last decision */

    /* The used index must be visible before the driver's wish is read (2.7.7.2): a store before
     * a load, so a full barrier; pairs with the driver's after it changes its wish. */
    atomic_thread_fence(memory_order_seq_cst);
    if (lease_avail(vq, &lease) < 0)
        return -EPROTO;
    avail = lease.ptr;
    flags = __atomic_load_n(&avail->flags, __ATOMIC_RELAXED);
    used_event = __atomic_load_n(&avail->ring[vq->size], __ATOMIC_RELAXED);
    guest_mem_lease_end(vq->mem, &lease);

    vq->signalled = now;
    vq->signalled_valid = true;
    if (!vq->event_idx)
        return !(flags & VRING_AVAIL_F_NO_INTERRUPT);
    return !was_valid || vring_need_event(used_event, now, old);
}
