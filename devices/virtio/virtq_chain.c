/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptor chains (virtio 1.2, 2.7.4 and 2.7.5), from ring to leased vectors.
 *
 * Hostile chains. Each descriptor is copied once and only the copy is checked and used. A direct
 * chain visits at most as many descriptors as the queue has, an indirect table at most
 * VIRTQ_CHAIN_MAX; drivers (Linux among them) do build indirect chains that are longer than the
 * queue, so the queue size is not the limit there.
 *
 * Threading: the device's loop thread only; the guest writes to all of it meanwhile.
 */
#include "devices/virtio/virtq_chain.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

enum { CHAIN_FIRST_CAP = 16 };

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
static int chain_add_piece(struct guest_mem *mem, struct virtq_chain *chain, struct gpa addr,
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
    r = guest_mem_lease_begin(mem, addr, len, mode, lease);
    if (r == -EHWPOISON)
        chain->is_lost = true;
    else if (r < 0)
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
static int chain_add(struct guest_mem *mem, struct virtq_chain *chain,
                     const struct vring_desc *desc, enum lease_mode mode)
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
        int r = chain_add_piece(mem, chain, (struct gpa){ addr }, len, writable, mode);

        if (r == -EFAULT) {
            range = mem_layout_find(guest_mem_layout(mem), (struct gpa){ addr });
            if (range == NULL)
                return -EPROTO;
            len = range->base.v + range->len_bytes - addr;
            if (len >= left)
                return -EPROTO; /* it fits the range and was refused all the same: not RAM */
            r = chain_add_piece(mem, chain, (struct gpa){ addr }, len, writable, mode);
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
static int desc_read(struct guest_mem *mem, const struct desc_table *table, uint32_t i,
                     struct vring_desc *ret_desc)
{
    uint64_t off = (uint64_t)i * sizeof(*ret_desc);

    if (i >= table->n)
        return -EPROTO;
    if (table->host == NULL) {
        struct gpa addr;

        if (!checked_add(table->addr.v, off, &addr.v) ||
            guest_mem_read(mem, addr, ret_desc, sizeof(*ret_desc)) < 0)
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
static int table_walk(struct guest_mem *mem, const struct desc_table *table, uint32_t i,
                      struct virtq_chain *chain, enum lease_mode mode,
                      struct vring_desc *ret_indirect)
{
    /* A chain that visits more descriptors than there are has a loop. */
    for (uint32_t visited = 0; visited < table->n; visited++) {
        struct vring_desc desc;
        int r = desc_read(mem, table, i, &desc);

        if (r < 0)
            return r;
        if (desc.flags & VRING_DESC_F_INDIRECT) {
            /* 2.7.5.3.1: neither inside an indirect table nor together with NEXT. */
            if (ret_indirect == NULL || (desc.flags & VRING_DESC_F_NEXT) || desc.len == 0)
                return -EPROTO;
            *ret_indirect = desc;
            return 0;
        }
        r = chain_add(mem, chain, &desc, mode);
        if (r < 0)
            return r;
        if (!(desc.flags & VRING_DESC_F_NEXT))
            return 0;
        i = desc.next;
    }
    return -EPROTO;
}

static int indirect_walk(struct guest_mem *mem, const struct vring_desc *desc,
                         struct virtq_chain *chain, enum lease_mode mode)
{
    struct desc_table table = { .addr = { desc->addr }, .n = desc->len / sizeof(*desc) };
    struct mem_lease lease;
    int r;

    if (desc->len % sizeof(*desc) != 0 || table.n > VIRTQ_CHAIN_MAX)
        return -EPROTO;
    if (guest_mem_lease_begin(mem, table.addr, desc->len, LEASE_READ, &lease) == 0)
        table.host = lease.ptr;
    r = table_walk(mem, &table, 0, chain, mode, NULL);
    guest_mem_lease_end(mem, &lease);
    return r;
}

int virtq_chain_collect(struct guest_mem *mem, struct gpa desc, uint16_t size, uint16_t head,
                        enum lease_mode mode, struct virtq_chain *chain)
{
    struct desc_table table = { .addr = desc, .n = size };
    struct vring_desc indirect = { .len = 0 };
    struct mem_lease lease;
    int r;

    if (guest_mem_lease_begin(mem, desc, (size_t)size * sizeof(indirect), LEASE_READ, &lease) < 0)
        return -EPROTO;
    table.host = lease.ptr;
    r = table_walk(mem, &table, head, chain, mode, &indirect);
    guest_mem_lease_end(mem, &lease);
    if (r == 0 && indirect.len != 0)
        r = indirect_walk(mem, &indirect, chain, mode);
    return r;
}

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
