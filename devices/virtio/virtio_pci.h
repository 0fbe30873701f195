/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio device as a PCI function: modern interface only (virtio 1.2, 4.1). */
#ifndef DEVICES_VIRTIO_VIRTIO_PCI_H
#define DEVICES_VIRTIO_VIRTIO_PCI_H

#include <stdint.h>

#include "devices/device.h"
#include "devices/irq.h"
#include "devices/pci/pci.h"
#include "devices/virtio/virtio.h"
#include "vmm/base/errctx.h"

/* BAR 0: where the structures of 4.1.4 are, a page each. BAR 2 holds MSI-X. */
enum {
    VIRTIO_PCI_BAR = 0,
    VIRTIO_PCI_MSIX_BAR = 1, /* the second 64-bit BAR, register BAR 2 */
    VIRTIO_PCI_COMMON_OFF = 0x0000,
    VIRTIO_PCI_ISR_OFF = 0x1000,
    VIRTIO_PCI_DEVICE_OFF = 0x2000,
    VIRTIO_PCI_NOTIFY_OFF = 0x3000,
    VIRTIO_PCI_BAR_BYTES = 0x4000,
    VIRTIO_PCI_NOTIFY_MULT = 4,
};

/**
 * virtio_pci_new() - put @vdev behind a PCI function on bus @bus of @host.
 * @vdev: taken over on success, destroyed with the result; untouched on failure.
 * @irq: borrowed, outlives the device. One MSI-X vector per queue and one for configuration.
 * @ret_dev: the function as a device of the machine: quiesce, resume, reset, save, load and
 * destroy go through it; they run on the device's loop or wait for it, so the machine's thread
 * calls them without holding a lock that a device could need.
 *
 * The device's loop may already run. Before vCPUs do.
 * Return: 0; -EINVAL (more than VIRTIO_MAX_QUEUES queues), -ENOMEM; the errno of eventfd or
 * epoll_ctl; what pci_host_add_func() and line_new() said.
 */
int virtio_pci_new(struct virtio_dev *vdev, struct pci_host *host, uint8_t bus,
                   const struct irq_services *irq, struct device **ret_dev, struct errctx *ec);

#endif
