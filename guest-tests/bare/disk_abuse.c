/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that a disk must refuse, by an error status or DEVICE_NEEDS_RESET; after each a reset
 * and a sane request must work. Rings are abused by virtio_ring_abuse.c.
 */
#include <linux/virtio_blk.h>

#include "guest-tests/bare/lib/bare.h"
#include "guest-tests/bare/lib/virtio.h"

enum { SECONDS = 5 };

static struct vdev dev;
static struct vq q;
static uint8_t buf[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static volatile uint8_t disk_status;

static bool sane_request(void)
{
    memset(buf, 0, 512);
    return vdev_start(&dev, &q, 0) && blk_read(&q, 5, buf, 1) && blk_is_pattern(buf, 5);
}

/* One request of the shape header, data, status. False when the device broke or is silent. */
static bool disk_ask(uint32_t type, uint64_t sector, uint32_t len, bool device_writes)
{
    static struct virtio_blk_outhdr hdr;
    struct vpart part[3] = { { phys(&hdr), sizeof(hdr), false },
                             { phys(buf), len, device_writes },
                             { phys(&disk_status), 1, true } };

    hdr = (struct virtio_blk_outhdr){ .type = type, .sector = sector };
    disk_status = 0xff;
    if (!vdev_start(&dev, &q, 0))
        return false;
    vq_request(&q, part, 3);
    return vq_wait(&q, SECONDS) >= 0;
}

static void disk_request(const char *name, uint32_t type, uint64_t sector, uint32_t len,
                         bool device_writes)
{
    bool answered = disk_ask(type, sector, len, device_writes);

    ok((answered && disk_status != VIRTIO_BLK_S_OK) ||
           (vdev_status(&dev) & VIRTIO_CONFIG_S_NEEDS_RESET),
       "%s: refused", name);
    ok(sane_request(), "%s: a sane request works", name);
}

/* Reads nothing, as there is no room for data; whatever it answers, that buffer stays. */
static void disk_read_nowhere(void)
{
    unsigned i, bad = 0;

    memset(buf, 0x77, 512);
    (void)disk_ask(VIRTIO_BLK_T_IN, 5, 512, false);
    for (i = 0; i < 512; i++)
        bad += buf[i] != 0x77;
    ok(bad == 0, "a read into what only the driver writes: leaves it alone");
    ok(sane_request(), "a read into what only the driver writes: a sane request works");
}

void guest_main(void)
{
    if (!vdev_open(VIRTIO_ID_BLOCK, 0, &dev))
        tap_skip_all("this machine has no disk");
    ok(sane_request(), "a sane request works");
    disk_request("an unknown request", 0x7777, 0, 512, true);
    disk_request("a sector far behind the end", VIRTIO_BLK_T_IN, ~0ull / 512, 512, true);
    disk_request("a sector number that wraps", VIRTIO_BLK_T_IN, ~0ull, 1024, true);
    disk_request("a read of half a sector", VIRTIO_BLK_T_IN, 0, 100, true);
    disk_request("a discard with a short list", VIRTIO_BLK_T_DISCARD, 0, 3, false);
    disk_read_nowhere();
    tap_done();
}
