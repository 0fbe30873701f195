/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PCI transport (virtio 1.2, 4.1), modern devices only.
 *
 * vCPU threads reach the registers (virtio_regs.c) and ring doorbells; the device itself lives on
 * its loop. What has to cross over are starts and resets: a bit in ->pending and a write to
 * ->ctl_fd. A message queue would do the same, but could grow or run out of memory in a guest's
 * hands; one word and one eventfd cannot.
 *
 * Doorbells are one eventfd per queue, which KVM signals for us where it can; where not, the
 * guest's write exits and we write to the same eventfd. A kick that arrives while the device is
 * quiesced stays in the eventfd.
 *
 *   stopped --START--> running --RESET--> stopped      loop thread
 *   running --broken-> running, but serves nothing until RESET
 *   quiesced is a flag beside it, set and cleared by the machine
 */
#include "devices/virtio/virtio_pci.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/pci/msix.h"
#include "devices/virtio/virtio_regs.h"
#include "vmm/base/checked.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum {
    VENDOR_VIRTIO = 0x1af4,
    DEVICE_MODERN = 0x1040,      /* 4.1.2: plus the virtio id */
    SUBSYSTEM_MODERN = 0x1100,   /* 0x40 or higher */
    ISR_QUEUE = 1,
    NOT_RUNG = -1,               /* doorbell_size: no ioeventfd */
};

struct doorbell {
    struct virtio_pci *vp;
    unsigned index;
    int fd;                      /* eventfd */
    int size;                    /* of the ioeventfd, or NOT_RUNG; under the bus's mutex */
    struct evloop_watch *watch;
};

struct virtio_pci {
    struct device dev;
    struct pci_func func;
    struct virtio_regs regs;
    struct virtio_dev *vdev; /* owned */
    const struct irq_services *irq;
    uint8_t cfg_cap;         /* offset of the configuration access capability */
    struct doorbell *bells;  /* n_queues */
    int ctl_fd;
    struct evloop_watch *ctl_watch;
    _Atomic unsigned pending; /* enum virtio_regs_event bits */
    _Atomic uint8_t isr;

    /* Loop thread. */
    bool running;         /* between START and RESET */
    bool quiesced;
    bool start_on_resume; /* loaded in the running state */
};

static void drain_fd(int fd)
{
    uint64_t count;

    (void)!read(fd, &count, sizeof(count));
}

static void raise_fd(int fd)
{
    uint64_t one = 1;

    (void)!write(fd, &one, sizeof(one)); /* refused only when it is raised high already */
}

/* --- interrupts ------------------------------------------------------------------------------------ */

static void interrupt(struct virtio_pci *vp, uint8_t isr_bit, uint16_t vector)
{
    /* 4.1.4.5: the ISR is for drivers without MSI-X; some poll it. */
    if (!msix_enabled(vp->func.msix))
        atomic_fetch_or_explicit(&vp->isr, isr_bit, memory_order_release);
    else
        msix_notify(vp->func.msix, vector); /* NO_VECTOR is out of range */
}

static void queue_interrupt(void *ctx, struct virtqueue *vq)
{
    struct virtio_pci *vp = ctx;

    interrupt(vp, ISR_QUEUE, virtio_regs_queue_vector(&vp->regs, vq->index));
}

static void config_interrupt(void *ctx)
{
    struct virtio_pci *vp = ctx;

    if (vp->vdev->broken)
        virtio_regs_needs_reset(&vp->regs);
    virtio_regs_config_changed(&vp->regs);
    interrupt(vp, VIRTIO_PCI_ISR_CONFIG, virtio_regs_config_vector(&vp->regs));
}

static void kick_again(void *ctx, unsigned index)
{
    struct virtio_pci *vp = ctx;

    raise_fd(vp->bells[index].fd);
}

static const struct virtio_transport_ops transport_ops = {
    .queue_interrupt = queue_interrupt,
    .config_interrupt = config_interrupt,
    .kick_again = kick_again,
};

/* --- the loop's side --------------------------------------------------------------------------------- */

static void kick(struct virtio_pci *vp, unsigned index)
{
    struct virtio_dev *vdev = vp->vdev;

    if (vp->running && !vp->quiesced && !vdev->broken && vdev->vqs[index].enabled)
        vdev->ops->kick(vdev, index);
}

static void kick_all(struct virtio_pci *vp)
{
    for (unsigned i = 0; i < vp->vdev->n_queues; i++)
        kick(vp, i);
}

static void doorbell_rang(void *ctx, uint32_t events)
{
    struct doorbell *bell = ctx;

    (void)events;
    drain_fd(bell->fd);
    kick(bell->vp, bell->index);
}

/* Take over the queues as the driver set them up. False when one makes no sense. */
static bool adopt_queues(struct virtio_pci *vp)
{
    struct virtio_dev *vdev = vp->vdev;

    for (unsigned i = 0; i < vdev->n_queues; i++) {
        struct virtio_queue_regs q = virtio_regs_queue(&vp->regs, i);
        struct virtqueue *vq = &vdev->vqs[i];

        *vq = (struct virtqueue){
            .mem = vdev->mem,
            .index = i,
            .size = q.size,
            .event_idx = virtio_dev_has(vdev, VIRTIO_RING_F_EVENT_IDX),
            .desc = { q.desc },
            .avail = { q.avail },
            .used = { q.used },
        };
        if (!q.enabled)
            continue;
        if (virtqueue_check(vq) < 0)
            return false;
        vq->enabled = true;
    }
    return true;
}

static void start(struct virtio_pci *vp)
{
    struct virtio_dev *vdev = vp->vdev;

    vp->running = true;
    if (!adopt_queues(vp))
        virtio_dev_break(vdev, "a queue lies outside memory or is not aligned");
    else if (vdev->ops->start(vdev) < 0)
        virtio_dev_break(vdev, "the device could not start");
    kick_all(vp); /* the driver may have rung while we were not running yet */
}

/* Called with the device quiesced. The registers are the caller's. */
static void stop(struct virtio_pci *vp)
{
    struct virtio_dev *vdev = vp->vdev;

    vdev->ops->reset(vdev);
    vp->running = vp->start_on_resume = false;
    for (unsigned i = 0; i < vdev->n_queues; i++) {
        vdev->vqs[i] = (struct virtqueue){ .mem = vdev->mem, .index = i };
        drain_fd(vp->bells[i].fd);
    }
    vdev->broken = false;
    vdev->broken_why = NULL;
    atomic_store_explicit(&vp->isr, 0, memory_order_release);
}

static void serve_pending(struct virtio_pci *vp)
{
    unsigned pending = atomic_exchange(&vp->pending, 0);

    /* A reset comes after any start that it was found with: no start is accepted until the
     * reset is done. */
    if (pending & VIRTIO_REGS_RESET) {
        vp->vdev->ops->quiesce(vp->vdev);
        stop(vp);
        if (vp->vdev->ops->resume != NULL)
            vp->vdev->ops->resume(vp->vdev);
        virtio_regs_reset(&vp->regs); /* last: the driver goes on when it reads 0 */
    } else if (pending & VIRTIO_REGS_START) {
        start(vp);
    }
}

static void ctl_rang(void *ctx, uint32_t events)
{
    struct virtio_pci *vp = ctx;

    (void)events;
    drain_fd(vp->ctl_fd);
    if (!vp->quiesced)
        serve_pending(vp); /* else at resume */
}

/* --- accesses from vCPU threads ----------------------------------------------------------------------- */

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
        enum virtio_regs_event ev = virtio_regs_write(&vp->regs, off - VIRTIO_PCI_COMMON_OFF,
                                                      data, size);

        if (ev != VIRTIO_REGS_NOTHING) {
            atomic_fetch_or(&vp->pending, (unsigned)ev);
            raise_fd(vp->ctl_fd);
        }
    } else if (off >= VIRTIO_PCI_NOTIFY_OFF) {
        uint64_t index = (off - VIRTIO_PCI_NOTIFY_OFF) / VIRTIO_PCI_NOTIFY_MULT;

        if (index < vp->vdev->n_queues)
            raise_fd(vp->bells[index].fd);
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
            if (bell->size != NOT_RUNG)
                ops->remove(vp->irq->ctx, at, (uint32_t)bell->size, bell->fd);
            bell->size = NOT_RUNG;
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

static const struct pci_func_ops func_ops = {
    .bar_read = vp_bar_read,
    .bar_write = vp_bar_write,
    .bar_mapped = vp_bar_mapped,
    .config_read = vp_config_read,
    .config_write = vp_config_write,
};

/* --- life cycle: the machine's thread asks, the loop does ------------------------------------------------- */

static void do_quiesce(void *ctx)
{
    struct virtio_pci *vp = ctx;

    if (vp->quiesced)
        return;
    serve_pending(vp);
    for (unsigned i = 0; i < vp->vdev->n_queues; i++)
        evloop_watch_set(vp->bells[i].watch, 0);
    vp->vdev->ops->quiesce(vp->vdev);
    vp->quiesced = true;
}

static void do_resume(void *ctx)
{
    struct virtio_pci *vp = ctx;

    if (!vp->quiesced)
        return;
    vp->quiesced = false;
    for (unsigned i = 0; i < vp->vdev->n_queues; i++)
        evloop_watch_set(vp->bells[i].watch, EPOLLIN);
    if (vp->start_on_resume && vp->vdev->ops->start(vp->vdev) < 0)
        virtio_dev_break(vp->vdev, "the device could not start");
    vp->start_on_resume = false;
    if (vp->vdev->ops->resume != NULL)
        vp->vdev->ops->resume(vp->vdev);
    serve_pending(vp);
    kick_all(vp);
}

static void do_reset(void *ctx)
{
    struct virtio_pci *vp = ctx;

    stop(vp);
    atomic_store(&vp->pending, 0);
    drain_fd(vp->ctl_fd);
    virtio_regs_reset(&vp->regs);
}

static void vp_quiesce(struct device *dev)
{
    struct virtio_pci *vp = container_of(dev, struct virtio_pci, dev);

    evloop_call(vp->vdev->loop, do_quiesce, vp);
}

static void vp_resume(struct device *dev)
{
    struct virtio_pci *vp = container_of(dev, struct virtio_pci, dev);

    evloop_call(vp->vdev->loop, do_resume, vp);
}

static void vp_reset(struct device *dev)
{
    struct virtio_pci *vp = container_of(dev, struct virtio_pci, dev);

    pci_func_reset(&vp->func);
    evloop_call(vp->vdev->loop, do_reset, vp);
}

/* --- saved state ---------------------------------------------------------------------------------------------- */

static int vp_save(struct device *dev, struct snapshot_writer *w, struct errctx *ec)
{
    struct virtio_pci *vp = container_of(dev, struct virtio_pci, dev);
    struct virtio_dev *vdev = vp->vdev;
    int r = pci_func_save(&vp->func, w, ec);

    if (r < 0)
        return r;
    virtio_regs_save(&vp->regs, w);
    snapshot_put_u8(w, vp->running);
    snapshot_put_u8(w, vdev->broken);
    snapshot_put_u8(w, atomic_load(&vp->isr));
    for (unsigned i = 0; i < vdev->n_queues; i++) {
        snapshot_put_u16(w, vdev->vqs[i].next_avail);
        snapshot_put_u16(w, vdev->vqs[i].next_used);
        snapshot_put_u16(w, vdev->vqs[i].signalled);
        snapshot_put_u8(w, vdev->vqs[i].signalled_valid);
    }
    snapshot_put_u32(w, vdev->ops->version);
    return vdev->ops->save != NULL ? vdev->ops->save(vdev, w, ec) : 0;
}

struct load_call {
    struct virtio_pci *vp;
    struct snapshot_reader *r;
    struct errctx *ec;
    int result;
};

static int load_device(struct virtio_pci *vp, struct snapshot_reader *r, struct errctx *ec)
{
    struct virtio_dev *vdev = vp->vdev;
    uint32_t version = snapshot_get_u32(r);

    if (version > vdev->ops->version)
        return errctx_set(ec, EINVAL, "%s: saved by a newer version (%u, this one knows %u)",
                          vdev->name, version, vdev->ops->version);
    return vdev->ops->load != NULL ? vdev->ops->load(vdev, r, version, ec) : 0;
}

static void do_load(void *ctx)
{
    struct load_call *call = ctx;
    struct virtio_pci *vp = call->vp;
    struct snapshot_reader *r = call->r;
    struct virtio_dev *vdev = vp->vdev;

    call->result = virtio_regs_load(&vp->regs, r, call->ec);
    if (call->result < 0)
        return;
    vp->running = snapshot_get_u8(r) & 1;
    vdev->broken = snapshot_get_u8(r) & 1;
    vdev->broken_why = vdev->broken ? "it was broken when it was saved" : NULL;
    atomic_store(&vp->isr, snapshot_get_u8(r));
    if (vp->running && !vdev->broken && !adopt_queues(vp)) {
        call->result = errctx_set(call->ec, EINVAL, "%s: a saved queue lies outside memory",
                                  vdev->name);
        return;
    }
    for (unsigned i = 0; i < vdev->n_queues; i++) {
        vdev->vqs[i].next_avail = snapshot_get_u16(r);
        vdev->vqs[i].next_used = snapshot_get_u16(r);
        vdev->vqs[i].signalled = snapshot_get_u16(r);
        vdev->vqs[i].signalled_valid = snapshot_get_u8(r) & 1;
    }
    vp->start_on_resume = vp->running && !vdev->broken;
    call->result = load_device(vp, r, call->ec);
}

static int vp_load(struct device *dev, struct snapshot_reader *r, uint32_t version,
                   struct errctx *ec)
{
    struct virtio_pci *vp = container_of(dev, struct virtio_pci, dev);
    struct load_call call = { .vp = vp, .r = r, .ec = ec };
    int ret = pci_func_load(&vp->func, r, ec);

    (void)version;
    if (ret < 0)
        return ret;
    evloop_call(vp->vdev->loop, do_load, &call);
    return call.result;
}

/* --- making and destroying ----------------------------------------------------------------------------------- */

static void do_unwatch(void *ctx)
{
    struct virtio_pci *vp = ctx;

    for (unsigned i = 0; i < vp->vdev->n_queues; i++) {
        evloop_unwatch(vp->bells[i].watch);
        vp->bells[i].watch = NULL;
    }
    evloop_unwatch(vp->ctl_watch);
    vp->ctl_watch = NULL;
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
    .quiesce = vp_quiesce,
    .resume = vp_resume,
    .reset = vp_reset,
    .save = vp_save,
    .load = vp_load,
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

    call->result = evloop_watch_fd(loop, vp->ctl_fd, EPOLLIN, ctl_rang, vp, &vp->ctl_watch,
                                   call->ec);
    for (unsigned i = 0; i < vp->vdev->n_queues && call->result == 0; i++)
        call->result = evloop_watch_fd(loop, vp->bells[i].fd, EPOLLIN, doorbell_rang,
                                       &vp->bells[i], &vp->bells[i].watch, call->ec);
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
        vp->bells[i] = (struct doorbell){ .vp = vp, .index = i, .fd = -1, .size = NOT_RUNG };
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

    pci_func_init(&vp->func, &desc, &func_ops, vp->vdev->name);
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
    vdev->transport = &transport_ops;
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
