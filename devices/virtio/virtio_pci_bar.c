/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vCPUs' side of the PCI transport: registers, doorbells and the configuration window.
 *
 * Threading: vCPU threads. Nothing here waits for the device's loop.
 */
#include "devices/virtio/virtio_pci_priv.h"

#include <linux/virtio_pci.h>
#include <string.h>

#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

static void device_config_read(struct virtio_pci *vp, uint64_t off, void *data, size_t size)
{
    struct virtio_dev *vdev = vp->vdev;

    memset(data, 0, size);
    if (off < vdev->config_len && vdev->ops->config_read != NULL)
        vdev->ops->config_read(vdev, (uint32_t)off, data,
                               (uint32_t)MIN(size, vdev->config_len - off));
}

static void device_config_write(struct virtio_pci *vp, uint64_t off, const void *data, size_t size)
{
    struct virtio_dev *vdev = vp->vdev;

    if (vdev->ops->config_write != NULL && checked_range(off, size, vdev->config_len))
        vdev->ops->config_write(vdev, (uint32_t)off, data, (uint32_t)size);
}

static void vp_bar_read(struct pci_func *f, unsigned bar, uint64_t off, void *data, size_t size)
{
    struct virtio_pci *vp = container_of(f, struct virtio_pci, func);

    (void)bar;
    memset(data, 0, size);
    if (off < VIRTIO_PCI_ISR_OFF)
        virtio_regs_read(&vp->regs, off - VIRTIO_PCI_COMMON_OFF, data, size);
    else if (off == VIRTIO_PCI_ISR_OFF)
        *(uint8_t *)data = atomic_exchange(&vp->isr, 0); /* reading clears (4.1.4.5) */
    else if (off >= VIRTIO_PCI_DEVICE_OFF && off < VIRTIO_PCI_NOTIFY_OFF)
        device_config_read(vp, off - VIRTIO_PCI_DEVICE_OFF, data, size);
}

static void vp_bar_write(struct pci_func *f, unsigned bar, uint64_t off, const void *data,
                         size_t size)
{
    struct virtio_pci *vp = container_of(f, struct virtio_pci, func);

    (void)bar;
    if (off < VIRTIO_PCI_ISR_OFF) {
        enum virtio_regs_event ev =
            virtio_regs_write(&vp->regs, off - VIRTIO_PCI_COMMON_OFF, data, size);

        if (ev != VIRTIO_REGS_NOTHING) {
            atomic_fetch_or(&vp->pending, (unsigned)ev);
            virtio_pci_raise(vp->ctl_fd);
        }
    } else if (off >= VIRTIO_PCI_NOTIFY_OFF) {
        uint64_t index = (off - VIRTIO_PCI_NOTIFY_OFF) / VIRTIO_PCI_NOTIFY_MULT;

        if (index < vp->vdev->n_queues)
            virtio_pci_raise(vp->bells[index].fd);
    } else if (off >= VIRTIO_PCI_DEVICE_OFF) {
        device_config_write(vp, off - VIRTIO_PCI_DEVICE_OFF, data, size);
    }
}

static void vp_bar_mapped(struct pci_func *f, unsigned bar, struct gpa base, bool mapped)
{
    struct virtio_pci *vp = container_of(f, struct virtio_pci, func);
    const struct doorbell_ops *ops = vp->irq->doorbell;

    if (bar != VIRTIO_PCI_BAR || ops == NULL)
        return;
    for (unsigned i = 0; i < vp->vdev->n_queues; i++) {
        struct gpa at = { base.v + VIRTIO_PCI_NOTIFY_OFF + VIRTIO_PCI_NOTIFY_MULT * i };
        struct doorbell *bell = &vp->bells[i];

        if (!mapped) {
            if (bell->size != DOORBELL_NOT_RUNG)
                ops->remove(vp->irq->ctx, at, (uint32_t)bell->size, bell->fd);
            bell->size = DOORBELL_NOT_RUNG;
        } else if (ops->add(vp->irq->ctx, at, 0, bell->fd) == 0) {
            bell->size = 0;
        } else if (ops->add(vp->irq->ctx, at, 2, bell->fd) == 0) {
            bell->size = 2; /* what drivers use */
        }
    }
}

/*
 * The configuration access capability (4.1.4.9): a window into the BARs for firmware that cannot
 * map them. True when [off, off+size) is its data register and its fields name an access that
 * we serve.
 */
static bool cfg_window(struct virtio_pci *vp, unsigned off, size_t size, uint64_t *ret_off)
{
    const uint8_t *cap = &vp->func.config[vp->cfg_cap];
    struct virtio_pci_cap c;

    if (off != vp->cfg_cap + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data))
        return false;
    memcpy(&c, cap, sizeof(c));
    if (c.bar != 2 * VIRTIO_PCI_BAR || c.length != size || (size != 1 && size != 2 && size != 4) ||
        c.offset % size != 0 || !checked_range(c.offset, size, VIRTIO_PCI_BAR_BYTES))
        return false;
    *ret_off = c.offset;
    return true;
}

static bool vp_config_read(struct pci_func *f, unsigned off, void *data, size_t size)
{
    struct virtio_pci *vp = container_of(f, struct virtio_pci, func);
    uint64_t bar_off;

    if (!cfg_window(vp, off, size, &bar_off))
        return false;
    vp_bar_read(f, VIRTIO_PCI_BAR, bar_off, data, size);
    return true;
}

static bool vp_config_write(struct pci_func *f, unsigned off, const void *data, size_t size)
{
    struct virtio_pci *vp = container_of(f, struct virtio_pci, func);
    uint64_t bar_off;

    if (!cfg_window(vp, off, size, &bar_off))
        return false;
    vp_bar_write(f, VIRTIO_PCI_BAR, bar_off, data, size);
    return true;
}

const struct pci_func_ops virtio_pci_func_ops = {
    .bar_read = vp_bar_read,
    .bar_write = vp_bar_write,
    .bar_mapped = vp_bar_mapped,
    .config_read = vp_config_read,
    .config_write = vp_config_write,
};
