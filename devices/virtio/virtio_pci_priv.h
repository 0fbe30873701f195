/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the three files of the PCI transport share: virtio_pci.c makes and destroys functions,
 * virtio_pci_bar.c answers vCPUs, virtio_pci_run.c runs the device on its loop. For them only.
 */
#ifndef DEVICES_VIRTIO_VIRTIO_PCI_PRIV_H
#define DEVICES_VIRTIO_VIRTIO_PCI_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "devices/pci/pci.h"
#include "devices/virtio/virtio_pci.h"
#include "devices/virtio/virtio_regs.h"

enum { DOORBELL_NOT_RUNG = -1 /* doorbell size: no ioeventfd */ };

struct doorbell {
    struct virtio_pci *vp;
    unsigned index;
    int fd;   /* eventfd */
    int size; /* of the ioeventfd, or DOORBELL_NOT_RUNG; under the bus's mutex */
    struct evloop_watch *watch;
    bool lent; /* loop thread: somebody else serves the queue */
};

struct virtio_pci {
    struct device dev;
    struct pci_func func;
    struct virtio_regs regs;
    struct virtio_dev *vdev; /* owned */
    const struct irq_services *irq;
    uint8_t cfg_cap;        /* offset of the configuration access capability */
    struct doorbell *bells; /* n_queues */
    int ctl_fd;
    struct evloop_watch *ctl_watch;
    struct evloop_poller *poller;
    _Atomic unsigned pending; /* enum virtio_regs_event bits */
    _Atomic uint8_t isr;

    /* Loop thread. */
    bool running; /* between START and RESET */
    bool quiesced;
    bool start_on_resume; /* loaded in the running state */
};

static inline void virtio_pci_drain(int eventfd)
{
    uint64_t count;

    (void)!read(eventfd, &count, sizeof(count));
}

static inline void virtio_pci_raise(int eventfd)
{
    uint64_t one = 1;

    (void)!write(eventfd, &one, sizeof(one)); /* refused only when it is raised high already */
}

/* virtio_pci_bar.c: the function as vCPUs see it. */
extern const struct pci_func_ops virtio_pci_func_ops;

/* virtio_pci_run.c: what the device calls, what its loop watches, what the machine calls. */
extern const struct virtio_transport_ops virtio_pci_transport_ops;
extern const struct evloop_poller_ops virtio_pci_poller_ops; /* ctx: struct virtio_pci */
void virtio_pci_ctl_rang(void *ctx, uint32_t events);      /* ctx: struct virtio_pci */
void virtio_pci_doorbell_rang(void *ctx, uint32_t events); /* ctx: struct doorbell */
void virtio_pci_quiesce(struct device *dev);
void virtio_pci_resume(struct device *dev);
void virtio_pci_reset(struct device *dev);
int virtio_pci_save(struct device *dev, struct snapshot_writer *w, struct errctx *ec);
int virtio_pci_load(struct device *dev, struct snapshot_reader *r, uint32_t version,
                    struct errctx *ec);

#endif
