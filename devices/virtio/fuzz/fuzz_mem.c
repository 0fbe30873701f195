/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A memory device whose driver was written by the fuzzer.
 *
 *   byte 0       how much is asked for, in blocks; bit 7: plugging fails now and then
 *   byte 1       entries offered
 *   16 bytes     the available ring
 *   16 x 8       descriptors
 *   the rest     goes to the start of the data area: requests
 *
 * Afterwards no lease is out, no more is plugged in than was asked for or was before, what the device
 * says and guest memory's own account agree, and only blocks that are plugged in are memory.
 */
#include <linux/virtio_mem.h>

#include "devices/virtio/fuzz/fuzz_ring.h"
#include "devices/virtio/mem.h"

#define BLOCK  GUEST_MEM_BLOCK_MIN
#define WINDOW (4ull << 30)
enum {
    BLOCKS = 8,
    QUEUE = 16,
    AVAIL_OFF = 2,
    DESC_OFF = AVAIL_OFF + QUEUE,
    DATA_OFF = DESC_OFF + QUEUE * FUZZ_DESC_BYTES,
};

struct target {
    struct fake_mem fm;
    struct fake_dev fd;
    struct virtio_dev *dev;
    struct layout_range ranges[4];
    bool fails;
    unsigned calls;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int fuzz_plug(void *ctx, struct gpa addr, uint64_t len_bytes)
{
    struct target *t = ctx;

    return t->fails && t->calls++ % 3 == 2 ? -ENOMEM : guest_mem_plug(t->fm.mem, addr, len_bytes);
}

static int fuzz_unplug(void *ctx, struct gpa addr, uint64_t len_bytes, uint64_t *ret_gone)
{
    struct target *t = ctx;

    if (t->fails && t->calls++ % 3 == 2)
        return -ENOMEM;
    return guest_mem_unplug(t->fm.mem, addr, len_bytes, ret_gone);
}

static const struct device_plug_ops plug_ops = { .plug = fuzz_plug, .unplug = fuzz_unplug };

static struct target *target_new(void)
{
    struct target *t = calloc(1, sizeof(*t));
    struct device_args args = { .type = &virtio_mem_device_type };
    struct device_env env;

    FAKE_MUST(t != NULL);
    env = fuzz_env(&t->fm, "mem0");
    fake_mem_fini(&t->fm); /* made anew with a window */
    memcpy(t->ranges, t->fm.ranges, sizeof(t->fm.ranges));
    t->ranges[3] = (struct layout_range){ { WINDOW }, BLOCKS * BLOCK, { 1 }, LAYOUT_HOTPLUG,
                                          8 * MIB };
    t->fm.layout.ranges = t->ranges;
    t->fm.layout.n_ranges = 4;
    t->fm.nodes[1].hotplug_bytes = BLOCKS * BLOCK;
    FAKE_MUST(guest_mem_new(&t->fm.plan, &t->fm.layout, &t->fm.mem, NULL) == 0);
    env.mem = t->fm.mem;
    env.vnode = 1;
    env.plug = &plug_ops;
    env.plug_ctx = t;
    FAKE_MUST(virtio_mem_device_type.create(&args, &env, &t->dev, NULL) == 0);
    fake_dev_init(&t->fd, t->dev, &t->fm, 1ull << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE, QUEUE);
    return t;
}

static uint64_t check_plugged(struct target *t)
{
    struct virtio_mem_status st;
    uint64_t sum = 0;

    virtio_mem_status(t->dev, &st);
    for (unsigned i = 0; i < BLOCKS; i++) {
        const struct gpa addr = { WINDOW + i * BLOCK };
        const uint64_t plugged = guest_mem_plugged(t->fm.mem, addr, BLOCK);
        uint8_t byte;

        FAKE_MUST(plugged == 0 || plugged == BLOCK);
        FAKE_MUST((guest_mem_read(t->fm.mem, addr, &byte, 1) == 0) == (plugged > 0));
        sum += plugged;
    }
    FAKE_MUST(st.plugged_bytes == sum);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct target *t;
    unsigned offered;
    uint64_t before;

    if (size < DATA_OFF)
        return 0;
    if (t == NULL)
        t = target_new();
    offered = data[1] % (QUEUE + 4u);
    t->fails = data[0] >> 7;
    FAKE_MUST(virtio_mem_request(t->dev, (data[0] & 7) * BLOCK, NULL) == 0);
    before = check_plugged(t);
    fuzz_data(t->fm.mem, data + DATA_OFF, size - DATA_OFF);
    fuzz_queue(&t->fd, t->fm.mem, 0, QUEUE, data + DESC_OFF, false);
    FAKE_MUST(fake_dev_start(&t->fd) == 0);
    for (unsigned i = 0; i < offered; i++)
        fake_queue_offer(&t->fd.q[0], data[AVAIL_OFF + i % QUEUE] & 31);
    for (unsigned i = 0; i < QUEUE && !t->dev->broken; i++)
        t->dev->ops->kick(t->dev, 0);
    FAKE_MUST(guest_mem_leases(t->fm.mem) == 0);
    FAKE_MUST(check_plugged(t) <= MAX(before, (data[0] & 7) * BLOCK));
    fake_dev_quiesce(&t->fd);
    t->dev->ops->reset(t->dev);
    t->dev->ops->resume(t->dev);
    t->dev->broken = false;
    return 0;
}
