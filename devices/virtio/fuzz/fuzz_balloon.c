/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A balloon whose driver was written by the fuzzer: descriptors, heads, page numbers, statistics and
 * what is reported free all come from the input.
 *
 *   byte 0       features
 *   byte 1       entries offered per queue; bit 7: a poison value
 *   16 bytes     the available ring, the same for each queue
 *   16 x 8       descriptors, the same for each queue
 *   the rest     goes to the start of the data area
 *
 * Afterwards no lease is out, no more was answered than was offered, the guest gave away no more
 * than it has, what it says it gave and the host's own count agree, and a reset forgets all.
 */
#include <linux/virtio_balloon.h>

#include "devices/virtio/balloon_int.h"
#include "devices/virtio/fuzz/fuzz_ring.h"

enum {
    QUEUE = 16,
    AVAIL_OFF = 2,
    DESC_OFF = AVAIL_OFF + QUEUE,
    DATA_OFF = DESC_OFF + QUEUE * FUZZ_DESC_BYTES,
    NODES = 2,
};

struct target {
    struct fake_mem fm;
    struct fake_dev fd;
    struct virtio_dev *dev;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct target *target_new(void)
{
    struct target *t = calloc(1, sizeof(*t));
    struct device_args args = { .type = &balloon_device_type };
    struct device_env env;

    FAKE_MUST(t != NULL);
    env = fuzz_env(&t->fm, "balloon0");
    FAKE_MUST(balloon_device_type.create(&args, &env, &t->dev, NULL) == 0);
    fake_dev_init(&t->fd, t->dev, &t->fm, 0, QUEUE);
    return t;
}

static uint64_t resident(const struct target *t, uint32_t vnode)
{
    return guest_mem_resident_bytes(t->fm.mem, (struct vnode_id){ vnode });
}

static void check_account(struct target *t)
{
    struct balloon_node nodes[NODES];

    FAKE_MUST(balloon_account(t->dev, nodes, NODES) == 0);
    for (uint32_t i = 0; i < NODES; i++) {
        const struct balloon_node *n = &nodes[i];
        const uint64_t all = t->fm.nodes[i].ram_bytes;

        FAKE_MUST(n->ballooned_bytes + n->reported_bytes + n->kept_bytes <= all);
        FAKE_MUST(n->ballooned_bytes + n->reported_bytes + resident(t, i) <= all);
        FAKE_MUST(n->kept_bytes <= resident(t, i));
    }
}

static void check_forgotten(struct target *t)
{
    struct balloon_node nodes[NODES];

    fake_dev_quiesce(&t->fd);
    FAKE_MUST(guest_mem_leases(t->fm.mem) == 0);
    t->dev->ops->reset(t->dev);
    t->dev->ops->resume(t->dev);
    t->dev->broken = false;
    FAKE_MUST(balloon_account(t->dev, nodes, NODES) == 0);
    for (uint32_t i = 0; i < NODES; i++)
        FAKE_MUST(nodes[i].ballooned_bytes + nodes[i].reported_bytes + nodes[i].kept_bytes == 0);
}

static void serve_queue(struct target *t, unsigned index, const uint8_t *data)
{
    const unsigned offered = (data[1] & 0x7f) % (QUEUE + 4u);
    struct fake_queue *q = &t->fd.q[index];
    unsigned used = 0;
    uint32_t head, len;

    fuzz_queue(&t->fd, t->fm.mem, index, QUEUE, data + DESC_OFF, data[0] >> 7 & 1);
    for (unsigned i = 0; i < offered; i++)
        fake_queue_offer(q, data[AVAIL_OFF + i % QUEUE] & 31);
    for (unsigned i = 0; i < 4 && !t->dev->broken; i++)
        t->dev->ops->kick(t->dev, index);
    balloon_ask_stats(t->dev);
    FAKE_MUST(guest_mem_leases(t->fm.mem) == 0);
    while (used <= QUEUE && fake_queue_used(q, &head, &len))
        used++;
    FAKE_MUST(used <= QUEUE + 4u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct target *t;
    uint32_t poison;

    if (size < DATA_OFF)
        return 0;
    if (t == NULL)
        t = target_new();
    t->dev->features = (data[0] & 0x3f) | 1ull << VIRTIO_F_VERSION_1;
    poison = data[1] >> 7;
    t->dev->ops->config_write(t->dev, 12, &poison, sizeof(poison));
    fuzz_data(t->fm.mem, data + DATA_OFF, size - DATA_OFF);
    FAKE_MUST(fake_dev_start(&t->fd) == 0);
    for (unsigned i = 0; i < BALLOON_QUEUES; i++)
        serve_queue(t, i, data);
    check_account(t);
    check_forgotten(t);
    return 0;
}
