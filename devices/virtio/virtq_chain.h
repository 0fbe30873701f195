/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptor chains: what a driver made available as one request (virtio 1.2, 2.7.4), as vectors
 * of leased guest memory. Part of the virtqueue; devices get chains from virtqueue_pop(). Loop
 * thread of the device only.
 */
#ifndef DEVICES_VIRTIO_VIRTQ_CHAIN_H
#define DEVICES_VIRTIO_VIRTQ_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "memory/guest_mem.h"

enum { VIRTQ_CHAIN_MAX = 1024 /* segments of one chain after splitting at RAM ranges */ };

/*
 * One request: the readable part first, then the writable part, each as a vector of host
 * memory held by leases. Owned by the device; reused from request to request. iov and leases
 * are heap arrays that grow up to VIRTQ_CHAIN_MAX.
 */
struct virtq_chain {
    uint16_t head;
    struct iovec *iov; /* n_read readable entries, then n_write writable ones */
    struct mem_lease *leases;
    unsigned n_read, n_write, cap;
    size_t read_bytes, write_bytes;
    bool is_lost; /* what was in some of these pieces is lost: their iov_base is NULL */
};

/**
 * virtq_chain_collect() - follow the descriptors from @head on, the indirect table too.
 * @desc, @size: the queue's descriptor table and how many it has.
 * @chain: empty (virtq_chain_release()); on failure it holds leases that the caller returns.
 * Return: 0, also with ->is_lost; -EPROTO when a loop, a bound or an address makes no sense;
 * -ENOMEM.
 */
int virtq_chain_collect(struct guest_mem *mem, struct gpa desc, uint16_t size, uint16_t head,
                        enum lease_mode mode, struct virtq_chain *chain);

/** virtq_chain_read() / virtq_chain_write() - copy from the readable part / to the writable part
 *  at an offset. Return: bytes copied, less than @len at the end. */
size_t virtq_chain_read(const struct virtq_chain *chain, size_t off, void *buf, size_t len);
size_t virtq_chain_write(const struct virtq_chain *chain, size_t off, const void *buf, size_t len);

/** virtq_chain_release() - return the leases; arrays are kept for reuse. */
void virtq_chain_release(struct guest_mem *mem, struct virtq_chain *chain);

/** virtq_chain_fini() - release leases and arrays. */
void virtq_chain_fini(struct guest_mem *mem, struct virtq_chain *chain);

#endif
