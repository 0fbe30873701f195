/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Console and entropy device with descriptors, rings and indirect tables from the fuzzer.
 *
 *   byte 0       bit 0 device, bit 1 event index, bit 2 pause in between
 *   byte 1       entries offered per queue
 *   QUEUE bytes  heads
 *   QUEUE x 6    descriptors: 2 bytes address in pages of 64, 2 bytes length, flags, next
 *   the rest     start of the data area: indirect tables, output
 *
 * Afterwards no lease is out and no more was answered than offered.
 */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/virtio/console.h"
#include "devices/virtio/fuzz/fuzz_ring.h"
#include "devices/virtio/rng.h"

enum { QUEUE = 16, HEADS_OFF = 2, DESC_OFF = HEADS_OFF + QUEUE, DATA_OFF = DESC_OFF + QUEUE * 6 };

struct target {
    struct fake_mem fm;
    struct device_env env;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct target *target_new(void)
{
    struct target *t = calloc(1, sizeof(*t));

    FAKE_MUST(t != NULL);
    t->env = fuzz_env(&t->fm, "fuzzed");
    t->env.console_in_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    t->env.console_out_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    return t;
}

static void fill_queue(struct fake_queue *q, const uint8_t *data)
{
    for (unsigned i = 0; i < QUEUE; i++) {
        const uint8_t *d = data + DESC_OFF + 6 * i;
        uint64_t addr = FAKE_DATA_BASE + ((uint64_t)d[0] << 6);

        if (d[1] & 1)
            addr = FAKE_NODE0_LEN - (d[0] << 4); /* across two nodes, or a hole */
        if (d[1] & 2)
            addr += FAKE_NODE0_LEN;
        fake_queue_desc(q, (uint16_t)i, addr, (uint32_t)(d[2] | d[3] << 8) << (d[1] >> 4),
                        d[4] & 7, d[5] & 31);
    }
    for (unsigned i = 0; i < data[1] % (QUEUE + 4u); i++)
        fake_queue_offer(q, data[HEADS_OFF + i % QUEUE] & 31);
}

static void kick_bounded(struct fake_dev *fd, unsigned index)
{
    for (unsigned i = 0; i < 4 && !fd->dev->broken; i++)
        fd->dev->ops->kick(fd->dev, index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct target *t;
    const struct device_type *type;
    struct device_args args = { 0 };
    struct virtio_dev *vdev;
    struct fake_dev *fd;
    uint32_t head, len;

    if (size < DATA_OFF)
        return 0;
    if (t == NULL)
        t = target_new();
    type = data[0] & 1 ? &console_device_type : &rng_device_type;
    args.type = type;
    fd = calloc(1, sizeof(*fd));
    FAKE_MUST(fd != NULL);
    FAKE_MUST(type->create(&args, &t->env, &vdev, NULL) == 0);
    memcpy(fake_ptr(t->fm.mem, FAKE_DATA_BASE, 4096), data + DATA_OFF,
           MIN(size - DATA_OFF, (size_t)4096));
    fake_dev_init(fd, vdev, &t->fm, (uint64_t)(data[0] >> 1 & 1) << VIRTIO_RING_F_EVENT_IDX,
                  QUEUE);
    FAKE_MUST(fake_dev_start(fd) == 0);
    for (unsigned i = 0; i < vdev->n_queues; i++)
        fill_queue(&fd->q[i], data);
    for (unsigned i = 0; i < vdev->n_queues; i++) {
        kick_bounded(fd, i);
        if (data[0] & 4) {
            fake_dev_quiesce(fd);
            FAKE_MUST(guest_mem_leases(t->fm.mem) == 0);
            fake_dev_resume(fd);
        }
    }
    FAKE_MUST(guest_mem_leases(t->fm.mem) == 0);
    for (unsigned i = 0; i < vdev->n_queues; i++) {
        unsigned used = 0;

        while (used <= QUEUE && fake_queue_used(&fd->q[i], &head, &len))
            used++;
        FAKE_MUST(used <= data[1] % (QUEUE + 4u));
    }
    fake_dev_fini(fd);
    free(fd);
    return 0;
}
