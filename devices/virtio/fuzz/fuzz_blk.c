/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk in the hands of a driver that was written by the fuzzer: descriptors, available ring,
 * request headers and segments all come from the input.
 *
 *   byte 0       which features are negotiated
 *   byte 1       how many entries are offered
 *   16 bytes     the available ring
 *   16 x 8       descriptors: 3 bytes address, 1 byte where, 2 bytes length, flags, next
 *   the rest     goes to the start of the data area: headers, segments, indirect tables
 *
 * The disk is a memfd, so writes, holes and zeroes are real. After every input no lease may be
 * out, no more may have been answered than was offered, and the disk has its size.
 */
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/virtio/blk.h"
#include "devices/virtio/test/fake_driver.h"

enum {
    QUEUE = 16,
    DISK_BYTES = 1 * MIB,
    AVAIL_OFF = 2,
    DESC_OFF = AVAIL_OFF + QUEUE,
    DATA_OFF = DESC_OFF + QUEUE * 8,
};

struct target {
    struct fake_mem fm;
    struct fake_dev fd;
    struct evloop *loop;
    struct virtio_dev *dev;
    int file;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct target *target_new(void)
{
    struct target *t = calloc(1, sizeof(*t));
    struct device_env env = { .name = "disk0" };
    struct device_args args;
    char text[64];

    FAKE_MUST(t != NULL);
    fake_mem_init(&t->fm);
    FAKE_MUST(evloop_new(&t->loop, NULL) == 0);
    t->file = memfd_create("fuzz-disk", MFD_CLOEXEC);
    FAKE_MUST(t->file >= 0 && ftruncate(t->file, DISK_BYTES) == 0);
    (void)snprintf(text, sizeof(text), "/proc/self/fd/%d", t->file);
    FAKE_MUST(device_args_parse(&blk_device_type, text, &args, NULL) == 0);
    env.mem = t->fm.mem;
    env.loop = t->loop;
    FAKE_MUST(blk_device_type.create(&args, &env, &t->dev, NULL) == 0);
    device_args_fini(&args);
    fake_dev_init(&t->fd, t->dev, &t->fm, 0, QUEUE);
    return t;
}

/* Addresses that are worth trying: data, the rings themselves, borders, nowhere. */
static uint64_t place(uint8_t where, uint32_t off)
{
    switch (where & 7) {
    case 0:
    case 1:
    case 2:
        return FAKE_DATA_BASE + (off & 0xffff);
    case 3:
        return FAKE_RING_BASE + (off & 0x3fff);
    case 4:
        return FAKE_NODE0_LEN - 0x800 + (off & 0xfff);
    case 5:
        return FAKE_TOP - 0x800 + (off & 0xfff);
    case 6:
        return (uint64_t)off << 40 | off;
    default:
        return off;
    }
}

static void load(struct target *t, const uint8_t *data, size_t size)
{
    struct fake_queue *q = &t->fd.q[0];
    struct virtqueue *vq = &t->dev->vqs[0];
    uint64_t features = t->dev->host_features | 1ull << VIRTIO_F_VERSION_1;

    fake_queue_init(q, t->fm.mem, FAKE_RING_BASE, QUEUE);
    fake_queue_attach(q, vq, 0, data[0] & 1);
    if (data[0] & 2)
        features &= ~(1ull << VIRTIO_BLK_F_FLUSH);
    if (data[0] & 4)
        features &= ~(1ull << VIRTIO_BLK_F_DISCARD);
    t->dev->features = features;
    t->dev->broken = false;
    for (unsigned i = 0; i < QUEUE; i++) {
        const uint8_t *d = data + DESC_OFF + i * 8;
        uint32_t off = (uint32_t)(d[0] | d[1] << 8 | d[2] << 16);

        q->avail->ring[i] = data[AVAIL_OFF + i];
        fake_queue_desc(q, (uint16_t)i, place(d[3], off), (uint32_t)(d[4] | d[5] << 8), d[6], d[7]);
    }
    q->avail->idx = data[1];
    FAKE_MUST(guest_mem_write(t->fm.mem, (struct gpa){ FAKE_DATA_BASE }, data + DATA_OFF,
                              MIN(size - DATA_OFF, (size_t)(64 * KIB))) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct target *t; /* one disk for all inputs; its state is reset for each */
    struct stat st;

    if (size < DATA_OFF)
        return 0;
    if (t == NULL)
        t = target_new();
    load(t, data, size);
    FAKE_MUST(t->dev->ops->start(t->dev) == 0);
    t->dev->ops->kick(t->dev, 0);
    t->dev->ops->quiesce(t->dev);
    FAKE_MUST(guest_mem_leases(t->fm.mem) == 0);
    FAKE_MUST(t->dev->vqs[0].next_used <= t->dev->vqs[0].next_avail);
    FAKE_MUST(t->dev->broken || t->dev->vqs[0].next_used == t->dev->vqs[0].next_avail);
    FAKE_MUST(fstat(t->file, &st) == 0 && st.st_size == DISK_BYTES);
    t->dev->ops->reset(t->dev);
    return 0;
}
