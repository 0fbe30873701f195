/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings that no driver should make. A device that cannot make sense of its ring must say
 * DEVICE_NEEDS_RESET (virtio 1.2, 2.1.1); where a device may also answer or ignore, both count.
 * After every case a reset and a sane request must work: the device forgets, the VMM lives.
 */
#include "guest-tests/bare/lib/bare.h"
#include "guest-tests/bare/lib/virtio.h"

enum { SECONDS = 5, PATIENCE = 1, BIG = 1u << 30 };
#define OUTSIDE (1ull << 45)

enum target_kind { GIVES_BYTES, READS_SECTORS, TAKES_BYTES };

/* A queue to abuse, and what a sane request on it looks like. */
struct target {
    const char *name;
    uint16_t type, queue;
    enum target_kind kind;
    uint32_t len; /* of what it takes; zeroes are harmless to all of them */
};

static const struct target *target;
static struct vdev dev;
static struct vq q;
static uint8_t buf[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

/* --- cases: the queue runs, the case spoils it and kicks ------------------------------------- */

static void loop_to_itself(void)
{
    vq_place(&q, 0, phys(buf), 16, VRING_DESC_F_NEXT, 0);
    vq_offer(&q, 0);
}

static void loop_of_two(void)
{
    vq_place(&q, 0, phys(buf), 16, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
    vq_place(&q, 1, phys(buf), 16, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0);
    vq_offer(&q, 0);
}

static void next_out_of_range(void)
{
    vq_place(&q, 0, phys(buf), 16, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0x7fff);
    vq_offer(&q, 0);
}

static void head_out_of_range(void)
{
    vq_offer(&q, q.size);
}

static void index_far_ahead(void)
{
    vq_place(&q, 0, phys(buf), 16, VRING_DESC_F_WRITE, 0);
    *(volatile uint16_t *)&q.avail->idx = 0x8000;
}

static void outside_ram(void)
{
    vq_place(&q, 0, OUTSIDE, 512, VRING_DESC_F_WRITE, 0);
    vq_offer(&q, 0);
}

static void wrapping_address(void)
{
    vq_place(&q, 0, ~0ull - 15, 512, VRING_DESC_F_WRITE, 0);
    vq_offer(&q, 0);
}

static void in_device_space(void)
{
    vq_place(&q, 0, DEVICE_SPACE, 512, VRING_DESC_F_WRITE, 0);
    vq_offer(&q, 0);
}

static void own_registers(void)
{
    vq_place(&q, 0, dev.common, 64, VRING_DESC_F_WRITE, 0);
    vq_offer(&q, 0);
}

static void longer_than_ram(void)
{
    vq_place(&q, 0, phys(buf), 0xfffffff0, VRING_DESC_F_WRITE, 0);
    vq_offer(&q, 0);
}

static void indirect_unasked(void)
{
    struct vring_desc *table = (struct vring_desc *)(void *)buf;

    table[0] = (struct vring_desc){ phys(buf) + 512, 16, VRING_DESC_F_WRITE, 0 };
    vq_place(&q, 0, phys(table), sizeof(*table), VRING_DESC_F_INDIRECT, 0);
    vq_offer(&q, 0);
}

static void readable_behind_writable(void)
{
    vq_place(&q, 0, phys(buf), 16, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
    vq_place(&q, 1, phys(buf) + 64, 16, 0, 0);
    vq_offer(&q, 0);
}

static void empty_descriptor(void)
{
    vq_place(&q, 0, phys(buf), 0, VRING_DESC_F_WRITE, 0);
    vq_offer(&q, 0);
}

/* As long as a chain can be, all of it the same gigabyte. */
static void huge_chain(void)
{
    uint16_t i;

    for (i = 0; i < q.size; i++)
        vq_place(&q, i, RAM_START + 2 * MIB, BIG,
                 (uint16_t)(VRING_DESC_F_WRITE | (i + 1 < q.size ? VRING_DESC_F_NEXT : 0)),
                 (uint16_t)(i + 1));
    vq_offer(&q, 0);
}

static void nothing_to_read(void)
{
    vq_place(&q, 0, phys(buf), 1, 0, 0);
    vq_offer(&q, 0);
}

static void all_heads_at_once(void)
{
    unsigned i;

    vq_place(&q, 0, phys(buf), 16, VRING_DESC_F_WRITE, 0);
    for (i = 0; i < q.size; i++)
        vq_offer(&q, 0);
}

static void wrong_queue(void)
{
    write16(q.doorbell, 0xffff);
    write16(q.doorbell, 0x100);
    write32(q.doorbell, 0xdeadbeef);
    write8(q.doorbell, 7);
    (void)read64(q.doorbell);
}

static void write_to_ring_itself(void)
{
    vq_place(&q, 0, phys(q.desc), PAGE_BYTES, VRING_DESC_F_WRITE, 0);
    vq_offer(&q, 0);
}

struct spoil {
    const char *name;
    void (*fn)(void);
    bool must_break;
};

static const struct spoil spoils[] = {
    { "a descriptor that follows itself", loop_to_itself, true },
    { "two descriptors in a circle", loop_of_two, true },
    { "a next index out of range", next_out_of_range, true },
    { "a head out of range", head_out_of_range, true },
    { "an available index far ahead", index_far_ahead, true },
    { "a buffer outside RAM", outside_ram, true },
    { "a buffer that wraps", wrapping_address, true },
    { "a buffer over " DEVICE_SPACE_NAME, in_device_space, true },
    { "a buffer over its own registers", own_registers, true },
    { "a buffer longer than RAM", longer_than_ram, true },
    { "an indirect table that was not agreed on", indirect_unasked, false },
    { "a readable buffer behind a writable one", readable_behind_writable, true },
    { "an empty buffer", empty_descriptor, false },
    { "a chain of gigabytes", huge_chain, false },
    { "a request with nothing to write to", nothing_to_read, false },
    { "every entry at once, all the same", all_heads_at_once, false },
    { "doorbells for queues that are not there", wrong_queue, false },
    { "a buffer over its own descriptors", write_to_ring_itself, false },
};

/* --- what must hold afterwards ---------------------------------------------------------------- */

static bool sane_request(void)
{
    struct vpart part = { phys(buf), 64, true };

    if (!vdev_start(&dev, &q, target->queue))
        return false;
    memset(buf, 0, 512);
    if (target->kind == READS_SECTORS)
        return blk_read(&q, 5, buf, 1) && blk_is_pattern(buf, 5);
    if (target->kind == TAKES_BYTES) {
        part.len = target->len;
        part.device_writes = false;
    }
    vq_request(&q, &part, 1);
    return target->kind == TAKES_BYTES ? vq_wait(&q, SECONDS) >= 0 : vq_wait(&q, SECONDS) > 0;
}

static void spoil_one(const struct spoil *s)
{
    bool broke;

    if (!vdev_start(&dev, &q, target->queue)) {
        ok(false, "%s: the device starts", s->name);
        return;
    }
    s->fn();
    vq_kick(&q);
    if (s->must_break) {
        broke = vdev_broken(&dev, SECONDS);
        ok(broke, "%s: DEVICE_NEEDS_RESET", s->name);
    } else {
        (void)vq_wait(&q, PATIENCE);
        note("%s: %s", s->name,
             vdev_status(&dev) & VIRTIO_CONFIG_S_NEEDS_RESET ? "DEVICE_NEEDS_RESET"
             : q.used->idx != 0                              ? "answered"
                                                             : "ignored");
    }
    ok(sane_request(), "%s: after a reset a sane request works", s->name);
}

/* --- setting up wrong ------------------------------------------------------------------------- */

static void set_queue(uint16_t size, uint64_t desc, uint64_t avail, uint64_t used)
{
    uint64_t c = dev.common;

    write16(c + VIRTIO_PCI_COMMON_Q_SELECT, target->queue);
    write16(c + VIRTIO_PCI_COMMON_Q_SIZE, size);
    write32(c + VIRTIO_PCI_COMMON_Q_DESCLO, (uint32_t)desc);
    write32(c + VIRTIO_PCI_COMMON_Q_DESCHI, (uint32_t)(desc >> 32));
    write32(c + VIRTIO_PCI_COMMON_Q_AVAILLO, (uint32_t)avail);
    write32(c + VIRTIO_PCI_COMMON_Q_AVAILHI, (uint32_t)(avail >> 32));
    write32(c + VIRTIO_PCI_COMMON_Q_USEDLO, (uint32_t)used);
    write32(c + VIRTIO_PCI_COMMON_Q_USEDHI, (uint32_t)(used >> 32));
    write16(c + VIRTIO_PCI_COMMON_Q_ENABLE, 1);
    vdev_driver_ok(&dev);
    vq_kick(&q);
}

static void wrong_queue_setup(void)
{
    const uint64_t good = phys(buf);
    const struct {
        const char *name;
        uint16_t size;
        uint64_t desc, avail, used;
    } t[] = {
        { "size 0", 0, good, good, good },
        { "a size that is no power of two", 3, good, good, good },
        { "a size above the maximum", 0x8000, good, good, good },
        { "rings outside RAM", 8, OUTSIDE, OUTSIDE, OUTSIDE },
        { "rings over " DEVICE_SPACE_NAME, 8, DEVICE_SPACE, DEVICE_SPACE, DEVICE_SPACE },
        { "rings that wrap", 8, ~0ull - 15, ~0ull - 15, ~0ull - 15 },
        { "rings that are not aligned", 8, good + 1, good + 1, good + 1 },
        { "rings on top of each other", 8, good, good, good },
    };
    unsigned i;

    for (i = 0; i < COUNT_OF(t); i++) {
        memset(buf, 0xff, sizeof(buf));
        if (vdev_reset(&dev) && vdev_negotiate(&dev, 0))
            set_queue(t[i].size, t[i].desc, t[i].avail, t[i].used);
        ok(sane_request(), "a queue with %s: after a reset a sane request works", t[i].name);
    }
}

static void wrong_status(void)
{
    uint64_t s = dev.common + VIRTIO_PCI_COMMON_STATUS;

    ok(vdev_reset(&dev) && !vdev_negotiate(&dev, 1ull << 63), "an unknown feature is refused");
    vdev_driver_ok(&dev);
    vq_kick(&q);
    ok(sane_request(), "DRIVER_OK all the same: after a reset a sane request works");
    vdev_reset(&dev);
    write8(s, 0xff);
    write8(s, VIRTIO_CONFIG_S_DRIVER_OK);
    write16(dev.common + VIRTIO_PCI_COMMON_Q_SELECT, 0xffff);
    ok(read16(dev.common + VIRTIO_PCI_COMMON_Q_SIZE) == 0, "queue 65535 has no size");
    write16(dev.common + VIRTIO_PCI_COMMON_Q_ENABLE, 1);
    write16(dev.common + VIRTIO_PCI_COMMON_Q_MSIX, 0x1234);
    write16(dev.common + VIRTIO_PCI_COMMON_MSIX, 0x1234);
    ok(read16(dev.common + VIRTIO_PCI_COMMON_MSIX) == VIRTIO_MSI_NO_VECTOR,
       "a vector that is not there is refused");
    ok(sane_request(), "any status at once: after a reset a sane request works");
}

static void reset_in_the_middle(void)
{
    unsigned i, bad = 0;

    for (i = 0; i < 20; i++) {
        struct vpart part = { phys(buf), 512, true };

        if (!vdev_start(&dev, &q, target->queue))
            bad++;
        vq_request(&q, &part, 1);
        bad += !vdev_reset(&dev);
    }
    ok(bad == 0, "twenty resets right behind a doorbell");
    ok(sane_request(), "and a sane request works");
}

static void abuse(const struct target *t)
{
    unsigned i;

    memset(&dev, 0, sizeof(dev));
    target = t;
    if (!vdev_open(t->type, 0, &dev)) {
        skip(t->name, "this machine has none");
        return;
    }
    note("%s", t->name);
    if (!ok(sane_request(), "%s: a sane request works", t->name))
        return;
    for (i = 0; i < COUNT_OF(spoils); i++)
        spoil_one(&spoils[i]);
    wrong_queue_setup();
    wrong_status();
    reset_in_the_middle();
}

void guest_main(void)
{
    static const struct target targets[] = {
        { "rng", VIRTIO_ID_RNG, 0, GIVES_BYTES, 0 },
        { "disk", VIRTIO_ID_BLOCK, 0, READS_SECTORS, 0 },
        { "net, transmit queue", VIRTIO_ID_NET, 1, TAKES_BYTES, 12 + 60 },
        { "vsock, transmit queue", VIRTIO_ID_VSOCK, 1, TAKES_BYTES, 44 },
        { "balloon, deflate queue", VIRTIO_ID_BALLOON, 1, TAKES_BYTES, 64 },
        { "console, transmit queue", VIRTIO_ID_CONSOLE, 1, TAKES_BYTES, 8 },
    };
    unsigned i;

    for (i = 0; i < COUNT_OF(targets); i++)
        abuse(&targets[i]);
    tap_done();
}
