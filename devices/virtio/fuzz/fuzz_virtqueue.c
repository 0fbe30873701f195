/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A split ring whose every byte comes from the fuzzer.
 *
 *   byte 0       bit 0 event index; bits 1-3 log2 of the size
 *   byte 1       number of operations
 *   operations   one byte each: pop (read, write or DMA lease), push, unpop, notify, interrupt,
 *                or change a ring byte with the two bytes that follow
 *   the rest     repeated over the rings, the indirect tables among them
 *
 * Whatever it does: a chain is bounded, its segments are as long as it says, and no lease stays.
 */
#include "devices/virtio/test/fake_driver.h"

enum { RING_BYTES = 16 * KIB, MAX_OPS = 64 };

struct target {
    struct fake_mem fm;
    struct virtqueue vq;
    struct virtq_chain chain;
    bool held;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_chain(const struct target *t)
{
    const struct virtq_chain *c = &t->chain;
    size_t r = 0, w = 0;

    FAKE_MUST(c->n_read + c->n_write <= VIRTQ_CHAIN_MAX);
    for (unsigned i = 0; i < c->n_read + c->n_write; i++)
        *(i < c->n_read ? &r : &w) += c->iov[i].iov_len;
    FAKE_MUST(r == c->read_bytes && w == c->write_bytes && r + w <= UINT32_MAX);
    FAKE_MUST(guest_mem_leases(t->fm.mem) == c->n_read + c->n_write);
    FAKE_MUST(c->head < t->vq.size);
}

static void pop(struct target *t, enum lease_mode mode)
{
    uint8_t buf[64];

    if (t->held) {
        virtq_chain_release(t->fm.mem, &t->chain);
        t->held = false;
    }
    if (virtqueue_pop(&t->vq, mode, &t->chain) != 1) {
        FAKE_MUST(guest_mem_leases(t->fm.mem) == 0);
        return;
    }
    t->held = true;
    check_chain(t);
    (void)virtq_chain_read(&t->chain, t->chain.read_bytes / 2, buf, sizeof(buf));
    (void)virtq_chain_write(&t->chain, t->chain.write_bytes / 3, "0123456789", 10);
}

static void operate(struct target *t, uint8_t op, const uint8_t *arg)
{
    uint8_t *rings = fake_ptr(t->fm.mem, FAKE_RING_BASE, RING_BYTES);

    switch (op % 8) {
    case 0:
    case 1:
    case 2:
        pop(t, (enum lease_mode)(op % 8));
        break;
    case 3:
        if (t->held)
            (void)virtqueue_push(&t->vq, &t->chain, arg[0]);
        t->held = false;
        break;
    case 4:
        if (t->held)
            virtqueue_unpop(&t->vq, &t->chain);
        t->held = false;
        break;
    case 5:
        (void)virtqueue_set_notify(&t->vq, arg[0] & 1);
        break;
    case 6:
        (void)virtqueue_needs_interrupt(&t->vq);
        break;
    default:
        rings[(arg[0] * 67u + (op >> 3)) % RING_BYTES] = arg[1];
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct target *t;
    uint8_t *rings;
    size_t n_ops;

    if (size < 4)
        return 0;
    if (t == NULL) {
        t = calloc(1, sizeof(*t));
        FAKE_MUST(t != NULL);
        fake_mem_init(&t->fm);
    }
    n_ops = MIN((size_t)data[1] % MAX_OPS, (size - 2) / 3);
    rings = fake_ptr(t->fm.mem, FAKE_RING_BASE, RING_BYTES);
    memset(rings, 0, RING_BYTES);
    for (size_t i = 0, at = 2 + 3 * n_ops; i < RING_BYTES / 4 && at < size; i++)
        rings[i] = data[at + i % (size - at)];
    t->vq = (struct virtqueue){
        .mem = t->fm.mem,
        .size = (uint16_t)(1u << (data[0] >> 1 & 7)),
        .enabled = true,
        .event_idx = data[0] & 1,
        .desc = { FAKE_RING_BASE },
        .avail = { FAKE_RING_BASE + 2048 },
        .used = { FAKE_RING_BASE + 8192 },
    };
    FAKE_MUST(virtqueue_check(&t->vq) == 0);
    /* So that the first index is within reach whatever the bytes are. */
    memcpy(&t->vq.next_avail, rings + 2048 + 2, 2);
    t->vq.next_avail = (uint16_t)(t->vq.next_avail - 1);
    for (size_t i = 0; i < n_ops; i++)
        operate(t, data[2 + 3 * i], &data[2 + 3 * i + 1]);
    virtq_chain_release(t->fm.mem, &t->chain);
    t->held = false;
    FAKE_MUST(guest_mem_leases(t->fm.mem) == 0);
    return 0;
}
