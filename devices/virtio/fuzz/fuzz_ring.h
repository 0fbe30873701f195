/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What fuzz targets of virtio devices share: the machine around a device, and rings and data
 * written from the input.
 *
 * A descriptor takes 8 bytes of input: 3 bytes offset, 1 byte where, 2 bytes length, flags, next.
 * The loop is served by nobody, so a device's ops run on the fuzzer's own thread and every input
 * is repeatable.
 */
#ifndef DEVICES_VIRTIO_FUZZ_FUZZ_RING_H
#define DEVICES_VIRTIO_FUZZ_FUZZ_RING_H

#include <stddef.h>
#include <stdint.h>

#include "devices/registry.h"
#include "devices/virtio/test/fake_driver.h"

enum { FUZZ_DESC_BYTES = 8, FUZZ_DATA_MAX = 64 * KIB };

/* Guest memory, a loop, no terminal. */
static inline struct device_env fuzz_env(struct fake_mem *fm, const char *name)
{
    struct device_env env = { .name = name, .console_in_fd = -1, .console_out_fd = -1 };

    fake_mem_init(fm);
    FAKE_MUST(evloop_new(&env.loop, NULL) == 0);
    env.mem = fm->mem;
    return env;
}

/* Addresses that are worth trying: data, the rings themselves, borders, nowhere. */
static inline uint64_t fuzz_place(uint8_t where, uint32_t off)
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

/* A fresh ring @index of @size entries, all its descriptors from @descs; nothing is offered. */
static inline void fuzz_queue(struct fake_dev *fd, struct guest_mem *mem, unsigned index,
                              uint16_t size, const uint8_t *descs, bool event_idx)
{
    struct fake_queue *q = &fd->q[index];

    fake_queue_init(q, mem, FAKE_RING_BASE + (uint64_t)index * FAKE_RING_STRIDE, size);
    fake_queue_attach(q, &fd->dev->vqs[index], index, event_idx);
    for (uint16_t i = 0; i < size; i++, descs += FUZZ_DESC_BYTES) {
        uint32_t off = (uint32_t)(descs[0] | descs[1] << 8 | descs[2] << 16);

        fake_queue_desc(q, i, fuzz_place(descs[3], off), (uint32_t)(descs[4] | descs[5] << 8),
                        descs[6], descs[7]);
    }
}

/* The rest of the input, from the start of the data area. */
static inline void fuzz_data(struct guest_mem *mem, const uint8_t *data, size_t len)
{
    FAKE_MUST(guest_mem_write(mem, (struct gpa){ FAKE_DATA_BASE }, data,
                              MIN(len, (size_t)FUZZ_DATA_MAX)) == 0);
}

#endif
