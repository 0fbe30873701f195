/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A balloon in bad hands: pages given away while in use, twice, with the list that names them, with
 * the ring that carries it; addresses without memory; floods. Only the guest's own data may suffer.
 * Rings are abused by virtio_ring_abuse.c.
 */
#include <linux/virtio_balloon.h>

#include "guest-tests/bare/lib/bare.h"
#include "guest-tests/bare/lib/virtio.h"

enum { SECONDS = 5, INFLATE = 0, DEFLATE = 1, REPORTS = 3, PAGES = 8 };

static struct vdev dev;
static struct vq q;
static uint8_t pages[PAGES][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint32_t list[PAGE_BYTES / 4] __attribute__((aligned(PAGE_BYTES)));

static void fill(void)
{
    memset(pages, 0x5a, sizeof(pages));
}

static bool is_all(const uint8_t *page, uint8_t want)
{
    unsigned i;

    for (i = 0; i < PAGE_BYTES; i++)
        if (((volatile const uint8_t *)page)[i] != want)
            return false;
    return true;
}

static bool start(uint16_t queue)
{
    const uint64_t features = 1ull << VIRTIO_BALLOON_F_MUST_TELL_HOST |
                              1ull << VIRTIO_BALLOON_F_STATS_VQ |
                              1ull << VIRTIO_BALLOON_F_REPORTING;

    if (!vdev_reset(&dev) || !vdev_negotiate(&dev, features) ||
        !vq_setup(&dev, &q, queue, VIRTIO_MSI_NO_VECTOR))
        return false;
    vdev_driver_ok(&dev);
    return true;
}

/* The first @n numbers of list[], answered. */
static bool tell(unsigned n)
{
    struct vpart part = { phys(list), n * 4, false };

    vq_request(&q, &part, 1);
    return vq_wait(&q, SECONDS) >= 0;
}

static uint32_t pfn(const void *p)
{
    return (uint32_t)(phys(p) >> VIRTIO_BALLOON_PFN_SHIFT);
}

static void pages_in_use(void)
{
    fill();
    list[0] = list[1] = list[3] = pfn(pages[2]);
    list[2] = pfn(pages[4]);
    ok(start(INFLATE) && tell(4), "pages in use: taken");
    ok(is_all(pages[2], 0) && is_all(pages[4], 0), "pages in use: they read as zero");
    ok(is_all(pages[1], 0x5a) && is_all(pages[3], 0x5a) && is_all(pages[5], 0x5a),
       "pages in use: their neighbours do not");
    memset(pages[2], 0x77, PAGE_BYTES);
    ok(is_all(pages[2], 0x77), "pages in use: used again without a word");
    ok(start(DEFLATE) && tell(4) && tell(4), "pages in use: taken back twice");
    ok(is_all(pages[2], 0x77), "pages in use: what was written stays");
}

static void nowhere(void)
{
    static const uint32_t bad[] = { 0xffffffff, 0x80000000, 0xfee00, 0xe0000, 0x000fffff };
    unsigned i;

    for (i = 0; i < COUNT_OF(list); i++)
        list[i] = bad[i % COUNT_OF(bad)];
    ok(start(INFLATE) && tell(COUNT_OF(list)), "addresses without memory: answered");
    ok(start(DEFLATE) && tell(COUNT_OF(list)), "addresses without memory: and back");
}

static void the_list_itself(void)
{
    fill();
    list[0] = pfn(list);
    list[1] = pfn(pages[0]);
    ok(start(INFLATE) && tell(2), "the page of the list: answered");
    ok(is_all((const uint8_t *)list, 0) && is_all(pages[0], 0), "the page of the list: gone");
}

/* The device answers into nothing, or finds that its ring makes no sense; it never hangs. */
static void the_ring_itself(void)
{
    struct vpart part;
    bool answered;

    ok(start(REPORTS), "its own ring: the device starts");
    part = (struct vpart){ phys(q.avail) & ~(uint64_t)(PAGE_BYTES - 1), PAGE_BYTES, true };
    vq_request(&q, &part, 1);
    answered = vq_wait(&q, SECONDS) >= 0;
    note("its own ring: %s", answered ? "answered" : "no answer");
    fill();
    list[0] = pfn(pages[0]);
    ok(start(INFLATE) && tell(1) && is_all(pages[0], 0), "its own ring: a reset helps");
}

static void reports(void)
{
    struct vpart part = { phys(pages[1]) + 100, 3 * PAGE_BYTES, true };

    fill();
    if (!ok(start(REPORTS), "reports: the device starts"))
        return;
    vq_request(&q, &part, 1);
    ok(vq_wait(&q, SECONDS) >= 0, "reports: answered");
    ok(is_all(pages[1], 0x5a) && is_all(pages[4], 0x5a), "reports: parts of pages stay");
    ok(is_all(pages[2], 0) && is_all(pages[3], 0), "reports: whole ones go");
}

static void flood(void)
{
    unsigned i, k, bad = 0;

    for (i = 0; i < COUNT_OF(list); i++)
        list[i] = pfn(pages[i % PAGES]);
    ok(start(INFLATE), "flood: the device starts");
    for (i = 0; i < 20; i++) {
        vq_place(&q, 0, phys(list), sizeof(list), 0, 0);
        for (k = 0; k < q.size; k++)
            vq_offer(&q, 0);
        vq_kick(&q);
        for (k = 0; k < q.size; k++)
            bad += vq_wait(&q, SECONDS) < 0;
    }
    ok(bad == 0, "flood: every request is answered");
}

void guest_main(void)
{
    if (!vdev_open(VIRTIO_ID_BALLOON, 0, &dev))
        tap_skip_all("this machine has no balloon");
    pages_in_use();
    nowhere();
    the_list_itself();
    reports();
    the_ring_itself();
    flood();
    tap_done();
}
