/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A memory device that nobody asked to plug anything in, in bad hands: its window is no memory,
 * whatever is asked of it.
 */
#include "guest-tests/bare/lib/bare.h"
#include "guest-tests/bare/lib/memdev.h"

static struct memdev m;

/* First and last bytes of the window read all ones and swallow writes. */
static bool is_no_memory(void)
{
    return memdev_is_no_memory(m.base) && memdev_is_no_memory(m.base + m.block) &&
           memdev_is_no_memory(m.base + m.size - 8);
}

void guest_main(void)
{
    static const struct {
        const char *name;
        uint16_t type, blocks;
        uint64_t off;
    } bad[] = {
        { "no blocks", VIRTIO_MEM_REQ_PLUG, 0, 0 },
        { "half a block on", VIRTIO_MEM_REQ_PLUG, 1, 4096 },
        { "before the window", VIRTIO_MEM_REQ_PLUG, 1, 0 - (1ull << 32) },
        { "far behind it", VIRTIO_MEM_REQ_PLUG, 1, 1ull << 45 },
        { "more than there are", VIRTIO_MEM_REQ_PLUG, 0xffff, 0 },
        { "unplugging what is not there", VIRTIO_MEM_REQ_UNPLUG, 1, 0 },
        { "an unknown request", 0x7777, 1, 0 },
    };
    struct vpart part = { 0, 8, true };
    unsigned i;

    if (!memdev_open(&m))
        tap_skip_all("this machine has no memory device");
    ok(memdev_start(&m, 1ull << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE), "the device starts");
    ok(m.base % (2ull << 30) == 0 && m.size % m.block == 0 && m.size > 0, "its window is aligned");
    ok(is_no_memory(), "the window is no memory");
    ok(memdev_ask(&m, VIRTIO_MEM_REQ_PLUG, m.base, 1) == VIRTIO_MEM_RESP_NACK, "more than asked for: denied");
    for (i = 0; i < COUNT_OF(bad); i++)
        ok(memdev_ask(&m, bad[i].type, m.base + bad[i].off, bad[i].blocks) == VIRTIO_MEM_RESP_ERROR,
           "%s: an error", bad[i].name);
    ok(memdev_ask(&m, VIRTIO_MEM_REQ_STATE, m.base, 1) == VIRTIO_MEM_RESP_ACK &&
           m.state == VIRTIO_MEM_STATE_UNPLUGGED, "its state: unplugged");
    ok(memdev_ask(&m, VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0) == VIRTIO_MEM_RESP_ACK, "unplugging nothing: done");
    part.addr = m.base;
    vq_request(&m.q, &part, 1);
    ok(vdev_broken(&m.dev, MEMDEV_SECONDS), "an answer into the window: DEVICE_NEEDS_RESET");
    ok(!memdev_start(&m, 0) || vdev_broken(&m.dev, MEMDEV_SECONDS), "a driver that would touch the window is refused");
    ok(memdev_start(&m, 1ull << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE) &&
           memdev_ask(&m, VIRTIO_MEM_REQ_STATE, m.base, 1) == VIRTIO_MEM_RESP_ACK, "a reset helps");
    ok(is_no_memory(), "and the window is still no memory");
    tap_done();
}
