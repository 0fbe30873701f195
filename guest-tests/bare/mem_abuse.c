/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A memory device that nobody asked to plug anything in, in bad hands: its window is no memory,
 * whatever is asked of it.
 */
#include <linux/virtio_mem.h>

#include "guest-tests/bare/lib/bare.h"
#include "guest-tests/bare/lib/virtio.h"

enum { SECONDS = 5, NO_ANSWER = 99 };

static struct vdev dev;
static struct vq q;
static struct virtio_mem_req req;
static struct virtio_mem_resp resp;
static uint64_t base, size, block;

static uint64_t config64(unsigned off)
{
    return read64(dev.config + off);
}

static bool start(uint64_t features)
{
    if (!vdev_reset(&dev) || !vdev_negotiate(&dev, features) ||
        !vq_setup(&dev, &q, 0, VIRTIO_MSI_NO_VECTOR))
        return false;
    vdev_driver_ok(&dev);
    return true;
}

static unsigned ask(uint16_t type, uint64_t addr, uint16_t blocks)
{
    struct vpart part[2] = { { phys(&req), sizeof(req), false },
                             { phys(&resp), sizeof(resp), true } };

    memset(&req, 0, sizeof(req));
    req.type = type;
    req.u.plug.addr = addr;
    req.u.plug.nb_blocks = blocks;
    resp.type = NO_ANSWER;
    vq_request(&q, part, 2);
    return vq_wait(&q, SECONDS) < 0 ? NO_ANSWER : ((volatile struct virtio_mem_resp *)&resp)->type;
}

/* First and last bytes of the window read all ones and swallow writes. */
static bool is_no_memory(void)
{
    const uint64_t at[] = { base, base + block, base + size - 8 };
    unsigned i;

    for (i = 0; i < COUNT_OF(at); i++) {
        map_range(at[i] & ~(uint64_t)(PAGE_BYTES - 1), PAGE_BYTES);
        write64(at[i], 0x1234567812345678ull);
        if (read64(at[i]) != ~0ull)
            return false;
    }
    return true;
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

    if (!vdev_open(VIRTIO_ID_MEM, 0, &dev))
        tap_skip_all("this machine has no memory device");
    base = config64(16);
    size = config64(24);
    block = config64(0);
    ok(start(1ull << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE), "the device starts");
    ok(base % (2ull << 30) == 0 && size % block == 0 && size > 0, "its window is aligned");
    ok(is_no_memory(), "the window is no memory");
    ok(ask(VIRTIO_MEM_REQ_PLUG, base, 1) == VIRTIO_MEM_RESP_NACK, "more than asked for: denied");
    for (i = 0; i < COUNT_OF(bad); i++)
        ok(ask(bad[i].type, base + bad[i].off, bad[i].blocks) == VIRTIO_MEM_RESP_ERROR,
           "%s: an error", bad[i].name);
    ok(ask(VIRTIO_MEM_REQ_STATE, base, 1) == VIRTIO_MEM_RESP_ACK &&
           resp.u.state.state == VIRTIO_MEM_STATE_UNPLUGGED, "its state: unplugged");
    ok(ask(VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0) == VIRTIO_MEM_RESP_ACK, "unplugging nothing: done");
    part.addr = base;
    vq_request(&q, &part, 1);
    ok(vdev_broken(&dev, SECONDS), "an answer into the window: DEVICE_NEEDS_RESET");
    ok(!start(0) || vdev_broken(&dev, SECONDS), "a driver that would touch the window is refused");
    ok(start(1ull << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE) &&
           ask(VIRTIO_MEM_REQ_STATE, base, 1) == VIRTIO_MEM_RESP_ACK, "a reset helps");
    ok(is_no_memory(), "and the window is still no memory");
    tap_done();
}
