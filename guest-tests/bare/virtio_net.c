/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network interface on the user network carries frames both ways: the guest asks who has
 * 10.0.2.2 and gets the answer. Then receive buffers that no driver should offer, each followed
 * by an answer that has nowhere to go: the device may drop it or break, but a reset must help.
 */
#include <linux/virtio_net.h>

#include "guest-tests/bare/lib/bare.h"
#include "guest-tests/bare/lib/virtio.h"

enum {
    RX = 0,
    TX = 1,
    HEADER = 12, /* with VERSION_1 always (virtio 1.2, 5.1.6) */
    FRAME = 60,
    ETH_TYPE = 12,
    ARP = 14, /* offsets in the frame */
    ARP_OP = 20,
    ARP_SENDER = 22,
    ARP_SENDER_IP = 28,
    ARP_TARGET_IP = 38,
    SECONDS = 5,
    PATIENCE = 1,
};
#define OUTSIDE (1ull << 45)

static struct vdev dev;
static struct vq rx, tx;
static uint8_t out_buf[HEADER + FRAME], in_buf[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

static bool start(void)
{
    if (!vdev_reset(&dev) || !vdev_negotiate(&dev, 0) ||
        !vq_setup(&dev, &rx, RX, VIRTIO_MSI_NO_VECTOR) ||
        !vq_setup(&dev, &tx, TX, VIRTIO_MSI_NO_VECTOR))
        return false;
    vdev_driver_ok(&dev);
    return true;
}

/* Who has 10.0.2.2? Tell 10.0.2.15. */
static void ask(void)
{
    static const uint8_t arp[] = { 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 };
    static const uint8_t me[] = { 10, 0, 2, 15 }, gateway[] = { 10, 0, 2, 2 };
    struct vpart part = { phys(out_buf), sizeof(out_buf), false };
    uint8_t *f = out_buf + HEADER;
    unsigned i;

    memset(out_buf, 0, sizeof(out_buf));
    memset(f, 0xff, 6);
    for (i = 0; i < 6; i++)
        f[6 + i] = f[ARP_SENDER + i] = read8(dev.config + i);
    memcpy(f + ETH_TYPE, arp, sizeof(arp));
    memcpy(f + ARP_SENDER_IP, me, sizeof(me));
    memcpy(f + ARP_TARGET_IP, gateway, sizeof(gateway));
    vq_request(&tx, &part, 1);
}

static bool is_answer(const uint8_t *f)
{
    return f[ETH_TYPE] == 8 && f[ETH_TYPE + 1] == 6 && f[ARP_OP + 1] == 2 &&
           f[ARP_SENDER_IP] == 10 && f[ARP_SENDER_IP + 3] == 2;
}

/* Other frames may come first. */
static bool exchange(void)
{
    struct vpart part = { phys(in_buf), sizeof(in_buf), true };
    unsigned tries;

    if (!start())
        return false;
    vq_request(&rx, &part, 1);
    ask();
    if (vq_wait(&tx, SECONDS) < 0)
        return false;
    for (tries = 0; tries < 10; tries++) {
        int64_t n = vq_wait(&rx, SECONDS);

        if (n < 0)
            return false;
        if (n >= HEADER + ARP_TARGET_IP && is_answer(in_buf + HEADER))
            return true;
        vq_request(&rx, &part, 1);
    }
    return false;
}

static void offer(const char *name, uint64_t addr, uint32_t len, bool device_writes)
{
    struct vpart part = { addr, len, device_writes };
    unsigned i, bad = 0;

    if (!ok(start(), "%s: the device starts", name))
        return;
    memset(in_buf, 0x77, sizeof(in_buf));
    vq_request(&rx, &part, 1);
    ask();
    (void)vq_wait(&rx, PATIENCE);
    note("%s: %s", name,
         vdev_status(&dev) & VIRTIO_CONFIG_S_NEEDS_RESET ? "DEVICE_NEEDS_RESET" : "dropped");
    for (i = device_writes ? len : 0; i < sizeof(in_buf); i++)
        bad += addr == phys(in_buf) && in_buf[i] != 0x77;
    ok(bad == 0, "%s: nothing is written beyond it", name);
    ok(exchange(), "%s: after a reset frames come again", name);
}

/* A header in one buffer and the frame in pieces, as a driver may (5.1.6.3.1). */
static void pieces(void)
{
    struct vpart part[] = {
        { phys(in_buf), 5, true },
        { phys(in_buf) + 5, HEADER - 5 + 3, true },
        { phys(in_buf) + HEADER + 3, 1, true },
        { phys(in_buf) + HEADER + 4, 1600, true },
    };

    if (!ok(start(), "pieces: the device starts"))
        return;
    memset(in_buf, 0, sizeof(in_buf));
    vq_request(&rx, part, COUNT_OF(part));
    ask();
    ok(vq_wait(&rx, SECONDS) > HEADER && is_answer(in_buf + HEADER), "a frame comes in pieces");
}

void guest_main(void)
{
    if (!vdev_open(VIRTIO_ID_NET, 0, &dev))
        tap_skip_all("this machine has no network");
    ok(exchange(), "10.0.2.2 answers");
    pieces();
    offer("a buffer smaller than the header", phys(in_buf), 8, true);
    offer("a buffer smaller than the frame", phys(in_buf), HEADER + 10, true);
    offer("a buffer that only the driver writes", phys(in_buf), 1600, false);
    offer("a buffer outside RAM", OUTSIDE, 1600, true);
    offer("an empty buffer", phys(in_buf), 0, true);
    tap_done();
}
