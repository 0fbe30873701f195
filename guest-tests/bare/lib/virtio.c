/* SPDX-License-Identifier: Apache-2.0 */
/* The driver that lib/virtio.h describes. */
#include "guest-tests/bare/lib/virtio.h"

#include <linux/virtio_blk.h>

#include "guest-tests/bare/lib/bare.h"

enum { SECTOR = 512, ANSWER_SECONDS = 10 };

static uint64_t cap_address(const struct pci_dev *p, unsigned cap)
{
    uint64_t base = pci_bar_base(p, read8(p->cfg + cap + VIRTIO_PCI_CAP_BAR));

    base += read32(p->cfg + cap + VIRTIO_PCI_CAP_OFFSET);
    map_range(base, read32(p->cfg + cap + VIRTIO_PCI_CAP_LENGTH));
    return base;
}

bool vdev_open(uint16_t type, unsigned nth, struct vdev *d)
{
    const struct pci_dev *p = &d->pci;
    unsigned cap;

    if (!pci_find(VIRTIO_VENDOR, (uint16_t)(0x1040 + type), nth, &d->pci))
        return false;
    pci_decode(p, true);
    for (cap = 0; (cap = pci_cap(p, PCI_CAP_ID_VNDR, cap)) != 0;) {
        switch (read8(p->cfg + cap + VIRTIO_PCI_CAP_CFG_TYPE)) {
        case VIRTIO_PCI_CAP_COMMON_CFG:
            d->common = cap_address(p, cap);
            break;
        case VIRTIO_PCI_CAP_NOTIFY_CFG:
            d->notify = cap_address(p, cap);
            d->notify_multiplier = read32(p->cfg + cap + VIRTIO_PCI_NOTIFY_CAP_MULT);
            break;
        case VIRTIO_PCI_CAP_ISR_CFG:
            d->isr = cap_address(p, cap);
            break;
        case VIRTIO_PCI_CAP_DEVICE_CFG:
            d->config = cap_address(p, cap);
            break;
        }
    }
    return d->common != 0 && d->notify != 0;
}

uint8_t vdev_status(const struct vdev *d)
{
    return read8(d->common + VIRTIO_PCI_COMMON_STATUS);
}

bool vdev_reset(struct vdev *d)
{
    struct deadline late = deadline_in(ANSWER_SECONDS);

    write8(d->common + VIRTIO_PCI_COMMON_STATUS, 0);
    while (vdev_status(d) != 0)
        if (deadline_over(&late))
            return false;
    return true;
}

bool vdev_broken(const struct vdev *d, unsigned seconds)
{
    struct deadline late = deadline_in(seconds);

    while ((vdev_status(d) & VIRTIO_CONFIG_S_NEEDS_RESET) == 0)
        if (deadline_over(&late))
            return false;
    return true;
}

uint64_t vdev_offered(const struct vdev *d)
{
    uint64_t v;

    write32(d->common + VIRTIO_PCI_COMMON_DFSELECT, 0);
    v = read32(d->common + VIRTIO_PCI_COMMON_DF);
    write32(d->common + VIRTIO_PCI_COMMON_DFSELECT, 1);
    return v | (uint64_t)read32(d->common + VIRTIO_PCI_COMMON_DF) << 32;
}

bool vdev_negotiate(struct vdev *d, uint64_t features)
{
    uint64_t s = d->common + VIRTIO_PCI_COMMON_STATUS;

    features |= 1ull << VIRTIO_F_VERSION_1;
    write8(s, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    write8(s, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    write32(d->common + VIRTIO_PCI_COMMON_GFSELECT, 0);
    write32(d->common + VIRTIO_PCI_COMMON_GF, (uint32_t)features);
    write32(d->common + VIRTIO_PCI_COMMON_GFSELECT, 1);
    write32(d->common + VIRTIO_PCI_COMMON_GF, (uint32_t)(features >> 32));
    write8(s, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
    return (vdev_status(d) & VIRTIO_CONFIG_S_FEATURES_OK) != 0;
}

void vdev_driver_ok(struct vdev *d)
{
    write8(d->common + VIRTIO_PCI_COMMON_STATUS, vdev_status(d) | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void write_address(uint64_t reg, const volatile void *p)
{
    write32(reg, (uint32_t)phys(p));
    write32(reg + 4, (uint32_t)(phys(p) >> 32));
}

bool vq_setup(struct vdev *d, struct vq *q, uint16_t index, uint16_t msix)
{
    uint16_t max;

    if (q->desc == NULL) {
        q->desc = page_alloc(1);
        q->avail = page_alloc(1);
        q->used = page_alloc(1);
    }
    memset(q->desc, 0, PAGE_BYTES);
    memset(q->avail, 0, PAGE_BYTES);
    memset(q->used, 0, PAGE_BYTES);
    write16(d->common + VIRTIO_PCI_COMMON_Q_SELECT, index);
    max = read16(d->common + VIRTIO_PCI_COMMON_Q_SIZE);
    q->dev = d;
    q->index = index;
    q->size = max < VQ_MAX ? max : VQ_MAX;
    q->seen = 0;
    write16(d->common + VIRTIO_PCI_COMMON_Q_SIZE, q->size);
    write16(d->common + VIRTIO_PCI_COMMON_Q_MSIX, msix);
    write_address(d->common + VIRTIO_PCI_COMMON_Q_DESCLO, q->desc);
    write_address(d->common + VIRTIO_PCI_COMMON_Q_AVAILLO, q->avail);
    write_address(d->common + VIRTIO_PCI_COMMON_Q_USEDLO, q->used);
    q->doorbell =
        d->notify + (uint64_t)read16(d->common + VIRTIO_PCI_COMMON_Q_NOFF) * d->notify_multiplier;
    write16(d->common + VIRTIO_PCI_COMMON_Q_ENABLE, 1);
    return max != 0 && read16(d->common + VIRTIO_PCI_COMMON_Q_MSIX) == msix;
}

void vq_place(struct vq *q, uint16_t i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
    q->desc[i] = (struct vring_desc){ .addr = addr, .len = len, .flags = flags, .next = next };
}

void vq_offer(struct vq *q, uint16_t head)
{
    q->avail->ring[q->avail->idx % q->size] = head;
    barrier();
    *(volatile uint16_t *)&q->avail->idx = (uint16_t)(q->avail->idx + 1);
    barrier();
}

void vq_kick(const struct vq *q)
{
    write16(q->doorbell, q->index);
}

void vq_request(struct vq *q, const struct vpart *part, unsigned n)
{
    unsigned i;

    for (i = 0; i < n; i++)
        vq_place(q, (uint16_t)i, part[i].addr, part[i].len,
                 (uint16_t)((part[i].device_writes ? VRING_DESC_F_WRITE : 0) |
                            (i + 1 < n ? VRING_DESC_F_NEXT : 0)),
                 (uint16_t)(i + 1));
    vq_offer(q, 0);
    vq_kick(q);
}

int64_t vq_wait(struct vq *q, unsigned seconds)
{
    struct deadline late = deadline_in(seconds);

    while (*(volatile uint16_t *)&q->used->idx == q->seen) {
        if (deadline_over(&late))
            return -1;
        if (late.polls % 64 == 0 && (vdev_status(q->dev) & VIRTIO_CONFIG_S_NEEDS_RESET))
            return -1;
        cpu_pause();
    }
    barrier();
    return q->used->ring[q->seen++ % q->size].len;
}

bool vdev_start(struct vdev *d, struct vq *q, uint16_t index)
{
    if (!vdev_reset(d) || !vdev_negotiate(d, 0) || !vq_setup(d, q, index, VIRTIO_MSI_NO_VECTOR))
        return false;
    vdev_driver_ok(d);
    return true;
}

/* Header, data, status byte; true when the device says OK. */
static bool blk_request(struct vq *q, uint32_t type, uint64_t sector, uint64_t data, uint32_t len)
{
    static struct virtio_blk_outhdr hdr;
    static volatile uint8_t status;
    struct vpart part[3] = {
        { phys(&hdr), sizeof(hdr), false },
        { data, len, type == VIRTIO_BLK_T_IN },
        { phys(&status), 1, true },
    };

    hdr = (struct virtio_blk_outhdr){ .type = type, .sector = sector };
    status = 0xff;
    vq_request(q, part, 3);
    return vq_wait(q, ANSWER_SECONDS) >= 0 && status == VIRTIO_BLK_S_OK;
}

bool blk_read(struct vq *q, uint64_t sector, void *buf, uint32_t sectors)
{
    return blk_request(q, VIRTIO_BLK_T_IN, sector, phys(buf), sectors * SECTOR);
}

bool blk_write(struct vq *q, uint64_t sector, const void *buf, uint32_t sectors)
{
    return blk_request(q, VIRTIO_BLK_T_OUT, sector, phys(buf), sectors * SECTOR);
}

bool blk_is_pattern(const void *buf, uint64_t sector)
{
    const uint64_t *w = buf;
    unsigned i;

    for (i = 0; i < SECTOR / sizeof(*w); i++)
        if (w[i] != blk_pattern(sector, i))
            return false;
    return true;
}
