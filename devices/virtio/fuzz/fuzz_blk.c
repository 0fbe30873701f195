/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk in the hands of a driver that was written by the fuzzer: descriptors, available ring,
 * request headers and segments all come from the input.
 *
 *   byte 0       which features are negotiated
 *   byte 1       how many entries are offered
 *   16 bytes     the available ring
 *   16 x 8       descriptors
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
#include "devices/virtio/fuzz/fuzz_ring.h"

enum {
    QUEUE = 16,
    DISK_BYTES = 1 * MIB,
    AVAIL_OFF = 2,
    DESC_OFF = AVAIL_OFF + QUEUE,
    DATA_OFF = DESC_OFF + QUEUE * FUZZ_DESC_BYTES,
};

struct target {
    struct fake_mem fm;
    struct fake_dev fd;
    struct virtio_dev *dev;
    int file;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct target *target_new(void)
{
    struct target *t = calloc(1, sizeof(*t));
    struct device_env env;
    struct device_args args;
    char text[64];

    FAKE_MUST(t != NULL);
    env = fuzz_env(&t->fm, "disk0");
    t->file = memfd_create("fuzz-disk", MFD_CLOEXEC);
    FAKE_MUST(t->file >= 0 && ftruncate(t->file, DISK_BYTES) == 0);
    (void)snprintf(text, sizeof(text), "/proc/self/fd/%d", t->file);
    FAKE_MUST(device_args_parse(&blk_device_type, text, &args, NULL) == 0);
    FAKE_MUST(blk_device_type.create(&args, &env, &t->dev, NULL) == 0);
    device_args_fini(&args);
    fake_dev_init(&t->fd, t->dev, &t->fm, 0, QUEUE);
    return t;
}

static void load(struct target *t, const uint8_t *data, size_t size)
{
    uint64_t features = t->dev->host_features | 1ull << VIRTIO_F_VERSION_1;

    fuzz_queue(&t->fd, t->fm.mem, 0, QUEUE, data + DESC_OFF, data[0] & 1);
    for (unsigned i = 0; i < QUEUE; i++)
        t->fd.q[0].avail->ring[i] = data[AVAIL_OFF + i];
    t->fd.q[0].avail->idx = data[1];
    if (data[0] & 2)
        features &= ~(1ull << VIRTIO_BLK_F_FLUSH);
    if (data[0] & 4)
        features &= ~(1ull << VIRTIO_BLK_F_DISCARD);
    t->dev->features = features;
    t->dev->broken = false;
    fuzz_data(t->fm.mem, data + DATA_OFF, size - DATA_OFF);
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
