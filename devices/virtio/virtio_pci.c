/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PCI transport (virtio 1.2, 4.1), modern devices only: making and destroying a function.
 *
 * vCPU threads reach the registers (virtio_regs.c) and ring doorbells (virtio_pci_bar.c); the
 * device itself lives on its loop (virtio_pci_run.c). What has to cross over are starts and
 * resets: a bit in ->pending and a write to ->ctl_fd. A message queue would do the same, but could
 * grow or run out of memory in a guest's hands; one word and one eventfd cannot.
 *
 * Doorbells are one eventfd per queue, which KVM signals for us where it can; where not, the
 * guest's write exits and we write to the same eventfd. A kick that arrives while the device is
 * quiesced stays in the eventfd.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "devices/pci/msix.h"
#include "devices/virtio/virtio_pci_priv.h"
#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

enum {
    VENDOR_VIRTIO = 0x1af4,
    DEVICE_MODERN = 0x1040,    /* 4.1.2: plus the virtio id */
    SUBSYSTEM_MODERN = 0x1100, /* 0x40 or higher */
};

static void do_unwatch(void *ctx)
{
    struct virtio_pci *vp = ctx;

    for (unsigned i = 0; i < vp->vdev->n_queues; i++) {
        evloop_unwatch(vp->bells[i].watch);
        vp->bells[i].watch = NULL;
    }
    evloop_unwatch(vp->ctl_watch);
    vp->ctl_watch = NULL;
    evloop_poller_free(vp->poller);
    vp->poller = NULL;
}

static void do_destroy_vdev(void *ctx)
{
    struct virtio_dev *vdev = ctx;

    vdev->ops->destroy(vdev);
}

/* Everything but the virtio device. A half-built one is fine. */
static void vp_free(struct virtio_pci *vp)
{
    pci_host_remove_func(&vp->func);
    if (vp->bells != NULL) {
        evloop_call(vp->vdev->loop, do_unwatch, vp);
        for (unsigned i = 0; i < vp->vdev->n_queues; i++)
            if (vp->bells[i].fd >= 0)
                (void)close(vp->bells[i].fd);
    }
    if (vp->ctl_fd >= 0)
        (void)close(vp->ctl_fd);
    pci_func_fini(&vp->func);
    virtio_regs_fini(&vp->regs);
    free(vp->bells);
    free(vp);
}

static void vp_destroy(struct device *dev)
{
    struct virtio_pci *vp = container_of(dev, struct virtio_pci, dev);
    struct virtio_dev *vdev = vp->vdev;
    struct virtqueue *vqs = vdev->vqs;
    struct evloop *loop = vdev->loop;

    vp_free(vp);
    evloop_call(loop, do_destroy_vdev, vdev);
    free(vqs);
}

static const struct device_ops virtio_pci_ops = {
    .type = "virtio-pci",
    .version = 1,
    .quiesce = virtio_pci_quiesce,
    .resume = virtio_pci_resume,
    .reset = virtio_pci_reset,
    .save = virtio_pci_save,
    .load = virtio_pci_load,
    .destroy = vp_destroy,
};

static int add_cap(struct virtio_pci *vp, uint8_t type, uint32_t off, uint32_t len, uint32_t extra,
                   bool has_extra, struct errctx *ec)
{
    struct virtio_pci_notify_cap cap = {
        .cap = {
            .cap_len = (uint8_t)(has_extra ? sizeof(cap) : sizeof(cap.cap)),
            .cfg_type = type,
            .bar = 2 * VIRTIO_PCI_BAR,
            .offset = off,
            .length = len,
        },
        .notify_off_multiplier = extra,
    };
    uint8_t wmask[sizeof(cap)] = { 0 };
    bool window = type == VIRTIO_PCI_CAP_PCI_CFG;

    if (window) {
        wmask[offsetof(struct virtio_pci_cap, bar)] = 0xff;
        memset(wmask + offsetof(struct virtio_pci_cap, offset), 0xff, 8); /* and length */
    }
    return pci_func_add_cap(&vp->func, PCI_CAP_ID_VNDR, &cap.cap.cap_len,
                            cap.cap.cap_len - offsetof(struct virtio_pci_cap, cap_len),
                            wmask + offsetof(struct virtio_pci_cap, cap_len), ec);
}

static int add_caps(struct virtio_pci *vp, struct errctx *ec)
{
    uint32_t n = vp->vdev->n_queues;
    int r;

    if ((r = add_cap(vp, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_COMMON_OFF,
                     sizeof(struct virtio_pci_common_cfg), 0, false, ec)) < 0 ||
        (r = add_cap(vp, VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_PCI_ISR_OFF, 1, 0, false, ec)) < 0 ||
        (r = add_cap(vp, VIRTIO_PCI_CAP_NOTIFY_CFG, VIRTIO_PCI_NOTIFY_OFF,
                     MAX(n, 1) * VIRTIO_PCI_NOTIFY_MULT, VIRTIO_PCI_NOTIFY_MULT, true, ec)) < 0)
        return r;
    if (vp->vdev->config_len != 0 &&
        (r = add_cap(vp, VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_DEVICE_OFF,
                     (uint32_t)align_up(vp->vdev->config_len, 4), 0, false, ec)) < 0)
        return r;
    r = add_cap(vp, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 0, true, ec);
    if (r < 0)
        return r;
    vp->cfg_cap = (uint8_t)r;
    return pci_func_add_msix(&vp->func, VIRTIO_PCI_MSIX_BAR, n + 1, vp->irq, ec);
}

struct watch_call {
    struct virtio_pci *vp;
    struct errctx *ec;
    int result;
};

static void do_watch(void *ctx)
{
    struct watch_call *call = ctx;
    struct virtio_pci *vp = call->vp;
    struct evloop *loop = vp->vdev->loop;

    call->result = evloop_watch_fd(loop, vp->ctl_fd, EPOLLIN, virtio_pci_ctl_rang, vp,
                                   &vp->ctl_watch, call->ec);
    for (unsigned i = 0; i < vp->vdev->n_queues && call->result == 0; i++)
        call->result =
            evloop_watch_fd(loop, vp->bells[i].fd, EPOLLIN | EPOLLET, virtio_pci_doorbell_rang,
                            &vp->bells[i], &vp->bells[i].watch, call->ec);
    if (call->result == 0)
        call->result =
            evloop_poller_new(loop, &virtio_pci_poller_ops, vp, &vp->poller, call->ec);
}

/* Queues, eventfds and their watches. */
static int make_bells(struct virtio_pci *vp, struct errctx *ec)
{
    struct watch_call call = { .vp = vp, .ec = ec };
    unsigned n = vp->vdev->n_queues;

    vp->bells = calloc(MAX(n, 1), sizeof(vp->bells[0]));
    if (vp->bells == NULL)
        return errctx_set(ec, ENOMEM, "no memory for %u queues", n);
    for (unsigned i = 0; i < n; i++)
        vp->bells[i] = (struct doorbell){
            .vp = vp,
            .index = i,
            .fd = -1,
            .size = DOORBELL_NOT_RUNG,
        };
    vp->ctl_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (vp->ctl_fd < 0)
        return errctx_set_os(ec, errno, "eventfd");
    for (unsigned i = 0; i < n; i++) {
        vp->bells[i].fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (vp->bells[i].fd < 0)
            return errctx_set_os(ec, errno, "eventfd");
    }
    evloop_call(vp->vdev->loop, do_watch, &call);
    return call.result;
}

static void init_func(struct virtio_pci *vp)
{
    const struct virtio_ops *ops = vp->vdev->ops;
    struct pci_func_desc desc = {
        .vendor = VENDOR_VIRTIO,
        .device = (uint16_t)(DEVICE_MODERN + ops->virtio_id),
        .subsys_vendor = VENDOR_VIRTIO,
        .subsys_device = SUBSYSTEM_MODERN,
        .revision = 1, /* 4.1.2.1: modern only */
        .class_code = ops->pci_class,
        .bar[VIRTIO_PCI_BAR] = { .size_bytes = VIRTIO_PCI_BAR_BYTES },
        .bar[VIRTIO_PCI_MSIX_BAR] = { .size_bytes = MSIX_BAR_BYTES },
    };

    pci_func_init(&vp->func, &desc, &virtio_pci_func_ops, vp->vdev->name);
}

int virtio_pci_new(struct virtio_dev *vdev, struct pci_host *host, uint8_t bus,
                   const struct irq_services *irq, struct device **ret_dev, struct errctx *ec)
{
    struct virtio_pci *vp;
    int r;

    if (vdev->n_queues > VIRTIO_MAX_QUEUES)
        return errctx_set(ec, EINVAL, "%s: %u queues, but a device has at most %d", vdev->name,
                          vdev->n_queues, VIRTIO_MAX_QUEUES);
    vp = calloc(1, sizeof(*vp));
    if (vp == NULL)
        return errctx_set(ec, ENOMEM, "%s: no memory for a PCI function", vdev->name);
    vp->dev.ops = &virtio_pci_ops;
    vp->dev.loop = vdev->loop;
    memcpy(vp->dev.name, vdev->name, sizeof(vp->dev.name));
    vp->vdev = vdev;
    vp->irq = irq;
    vp->ctl_fd = -1;
    virtio_regs_init(&vp->regs, vdev, vdev->n_queues + 1);
    init_func(vp);
    r = add_caps(vp, ec);
    if (r < 0)
        goto err_free;
    r = make_bells(vp, ec);
    if (r < 0) {
        r = errctx_wrap(ec, r, "%s", vdev->name);
        goto err_free;
    }
    vdev->vqs = calloc(MAX(vdev->n_queues, 1), sizeof(vdev->vqs[0]));
    if (vdev->vqs == NULL) {
        r = errctx_set(ec, ENOMEM, "%s: no memory for its queues", vdev->name);
        goto err_free;
    }
    vdev->transport = &virtio_pci_transport_ops;
    vdev->transport_ctx = vp;
    r = pci_host_add_func(host, bus, &vp->func, ec);
    if (r < 0)
        goto err_vqs;
    *ret_dev = &vp->dev;
    return 0;

err_vqs:
    free(vdev->vqs);
    vdev->vqs = NULL;
err_free:
    vp_free(vp);
    return r;
}
