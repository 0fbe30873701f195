/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues, device side (virtio 1.2, 2.7).
 *
 * A call leases the ring areas that it needs and returns them before it ends, so that nothing
 * points into guest memory between calls. Leases cost two atomic operations, which is little
 * against the exit or the system call that a request costs anyway; a lasting mapping of the
 * rings was rejected because a paused or paged guest must find no lease out.
 *
 * Hostile rings. Each field is copied once and only the copy is checked and used. A direct
 * chain visits at most ->size descriptors, an indirect table at most VIRTQ_CHAIN_MAX; drivers
 * (Linux among them) do build indirect chains that are longer than the queue, so the queue size
 * is not the limit there. Whatever the guest does, one pop does a bounded amount of work.
 *
 * Ring fields are little-endian and so are all hosts we build for; the assertion below says so.
 * Threading: the device's loop thread only; the other side of each barrier is the guest.
 */
#include "devices/virtio/virtqueue.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

_Static_assert(__BYTE_ORDER == __LITTLE_ENDIAN, "ring fields are read without conversion");

enum {
    QUEUE_SIZE_MAX = 32768, /* 2.7: the largest split queue */
    CHAIN_FIRST_CAP = 16,
};

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

/* --- chains ---------------------------------------------------------------------------------- */

static int chain_grow(struct virtq_chain *chain)
{
    unsigned cap = chain->cap == 0 ? CHAIN_FIRST_CAP : chain->cap * 2;
    struct mem_lease *leases;
    struct iovec *iov;

    iov = realloc(chain->iov, cap * sizeof(*iov));
    if (iov == NULL)
        return -ENOMEM;
    chain->iov = iov;
    leases = realloc(chain->leases, cap * sizeof(*leases));
    if (leases == NULL)
        return -ENOMEM;
    chain->leases = leases;
    chain->cap = cap;
    return 0;
}

/* Append one piece that lies inside one RAM range. -EFAULT when it does not. */
static int chain_add_piece(struct virtqueue *vq, struct virtq_chain *chain, struct gpa addr,
                           size_t len, bool writable, enum lease_mode mode)
{
    unsigned n = chain->n_read + chain->n_write;
    struct mem_lease *lease;
    int r;

    if (n == VIRTQ_CHAIN_MAX)
        return -EPROTO;
    if (n == chain->cap) {
        r = chain_grow(chain);
        if (r < 0)
            return r;
    }
    /* A readable buffer that our own CPU reads needs no write access. */
    if (mode != LEASE_DMA && !writable)
        mode = LEASE_READ;
    lease = &chain->leases[n];
    r = guest_mem_lease_begin(vq->mem, addr, len, mode, lease);
    if (r < 0)
        return r;
    chain->iov[n] = (struct iovec){ .iov_base = lease->ptr, .iov_len = len };
    if (writable) {
        chain->n_write++;
        chain->write_bytes += len;
    } else {
        chain->n_read++;
        chain->read_bytes += len;
    }
    return 0;
}

/*
 * Append one descriptor's buffer. A guest's buffer may run from one RAM range into the next
 * where two nodes meet; it then becomes several segments.
 */
static int chain_add(struct virtqueue *vq, struct virtq_chain *chain, const struct vring_desc *desc,
                     enum lease_mode mode)
{
    bool writable = desc->flags & VRING_DESC_F_WRITE;
    uint64_t addr = desc->addr, left = desc->len;

    if (!writable && chain->n_write != 0)
        return -EPROTO; /* 2.7.4.2: all readable ones come first */
    if (chain->read_bytes + chain->write_bytes + left > UINT32_MAX)
        return -EPROTO; /* 2.7.5: a chain has fewer than 2^32 bytes */
    while (left != 0) {
        const struct layout_range *range;
        uint64_t len = left;
        int r = chain_add_piece(vq, chain, (struct gpa){ addr }, len, writable, mode);

        if (r == -EFAULT) {
            range = mem_layout_find(guest_mem_layout(vq->mem), (struct gpa){ addr });
            if (range == NULL)
                return -EPROTO;
            len = range->base.v + range->len_bytes - addr;
            if (len >= left)
                return -EPROTO; /* it fits the range and was refused all the same: not RAM */
            r = chain_add_piece(vq, chain, (struct gpa){ addr }, len, writable, mode);
        }
        if (r < 0)
            return r == -ENOMEM ? r : -EPROTO;
        addr += len;
        left -= len;
    }
    return 0;
}

/* A descriptor table: the queue's own, or an indirect one. */
struct desc_table {
    struct gpa addr;
    const uint8_t *host; /* leased; NULL when it crosses ranges and is copied piecewise */
    uint32_t n;
};

/* Copy descriptor @i once. What is checked afterwards is what is used afterwards. */
static int desc_read(struct virtqueue *vq, const struct desc_table *table, uint32_t i,
                     struct vring_desc *ret_desc)
{
    uint64_t off = (uint64_t)i * sizeof(*ret_desc);

    if (i >= table->n)
        return -EPROTO;
    if (table->host == NULL) {
        struct gpa addr;

        if (!checked_add(table->addr.v, off, &addr.v) ||
            guest_mem_read(vq->mem, addr, ret_desc, sizeof(*ret_desc)) < 0)
            return -EPROTO;
    } else {
        memcpy(ret_desc, table->host + off, sizeof(*ret_desc));
    }
    /* Keeps the compiler from fetching a field a second time from guest memory instead of from
     * the copy. No instruction. */
    atomic_signal_fence(memory_order_acq_rel);
    return 0;
}

/* Visit the descriptors of @table from @i on. *ret_indirect is the indirect descriptor that the
 * chain ended with; its length is 0 when there was none. */
static int table_walk(struct virtqueue *vq, const struct desc_table *table, uint32_t i,
                      struct virtq_chain *chain, enum lease_mode mode,
                      struct vring_desc *ret_indirect)
{
    /* A chain that visits more descriptors than there are has a loop. */
    for (uint32_t visited = 0; visited < table->n; visited++) {
        struct vring_desc desc;
        int r = desc_read(vq, table, i, &desc);

        if (r < 0)
            return r;
        if (desc.flags & VRING_DESC_F_INDIRECT) {
            /* 2.7.5.3.1: neither inside an indirect table nor together with NEXT. */
            if (ret_indirect == NULL || (desc.flags & VRING_DESC_F_NEXT) || desc.len == 0)
                return -EPROTO;
            *ret_indirect = desc;
            return 0;
        }
        r = chain_add(vq, chain, &desc, mode);
        if (r < 0)
            return r;
        if (!(desc.flags & VRING_DESC_F_NEXT))
            return 0;
        i = desc.next;
    }
    return -EPROTO;
}

static int indirect_walk(struct virtqueue *vq, const struct vring_desc *desc,
                         struct virtq_chain *chain, enum lease_mode mode)
{
    struct desc_table table = { .addr = { desc->addr }, .n = desc->len / sizeof(*desc) };
    struct mem_lease lease;
    int r;

    if (desc->len % sizeof(*desc) != 0 || table.n > VIRTQ_CHAIN_MAX)
        return -EPROTO;
    if (guest_mem_lease_begin(vq->mem, table.addr, desc->len, LEASE_READ, &lease) == 0)
        table.host = lease.ptr;
    r = table_walk(vq, &table, 0, chain, mode, NULL);
    guest_mem_lease_end(vq->mem, &lease);
    return r;
}

static int chain_collect(struct virtqueue *vq, uint16_t head, enum lease_mode mode,
                         struct virtq_chain *chain)
{
    struct desc_table table = { .addr = vq->desc, .n = vq->size };
    struct vring_desc indirect = { .len = 0 };
    struct mem_lease lease;
    int r;

    if (guest_mem_lease_begin(vq->mem, vq->desc, desc_bytes(vq), LEASE_READ, &lease) < 0)
        return -EPROTO;
    table.host = lease.ptr;
    r = table_walk(vq, &table, head, chain, mode, &indirect);
    guest_mem_lease_end(vq->mem, &lease);
    if (r == 0 && indirect.len != 0)
        r = indirect_walk(vq, &indirect, chain, mode);
    return r;
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

    r = chain_collect(vq, head, mode, chain);
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

/* --- chain contents -------------------------------------------------------------------------- */

/* Copy between @buf and segments [@first, @first+@n) of @chain from @off on. */
static size_t chain_copy(const struct virtq_chain *chain, unsigned first, unsigned n, size_t off,
                         void *to_buf, const void *from_buf, size_t len)
{
    size_t done = 0;

    for (unsigned i = first; i < first + n && done < len; i++) {
        size_t seg = chain->iov[i].iov_len, part;
        uint8_t *host = chain->iov[i].iov_base;

        if (off >= seg) {
            off -= seg;
            continue;
        }
        part = MIN(seg - off, len - done);
        if (to_buf != NULL)
            memcpy((uint8_t *)to_buf + done, host + off, part);
        else
            memcpy(host + off, (const uint8_t *)from_buf + done, part);
        done += part;
        off = 0;
    }
    /* As in desc_read(): callers check the copy, so the copy must be all that is used. */
    atomic_signal_fence(memory_order_acq_rel);
    return done;
}

size_t virtq_chain_read(const struct virtq_chain *chain, size_t off, void *buf, size_t len)
{
    return chain_copy(chain, 0, chain->n_read, off, buf, NULL, len);
}

size_t virtq_chain_write(const struct virtq_chain *chain, size_t off, const void *buf, size_t len)
{
    return chain_copy(chain, chain->n_read, chain->n_write, off, NULL, buf, len);
}

void virtq_chain_release(struct guest_mem *mem, struct virtq_chain *chain)
{
    for (unsigned i = 0; i < chain->n_read + chain->n_write; i++)
        guest_mem_lease_end(mem, &chain->leases[i]);
    chain->n_read = chain->n_write = 0;
    chain->read_bytes = chain->write_bytes = 0;
}

void virtq_chain_fini(struct guest_mem *mem, struct virtq_chain *chain)
{
    virtq_chain_release(mem, chain);
    free(chain->iov);
    free(chain->leases);
    *chain = (struct virtq_chain){ 0 };
}
