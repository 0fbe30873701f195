/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop's side of the PCI transport: starting, serving, resetting, pausing and saving a device.
 *
 *   stopped --START--> running --RESET--> stopped
 *   running --broken-> running, but serves nothing until RESET
 *   quiesced is a flag beside it, set and cleared by the machine
 *
 * Threading: the device's loop, to which the machine's calls are carried by evloop_call().
 */
#include "devices/virtio/virtio_pci_priv.h"

#include <errno.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <sys/epoll.h>

#include "devices/pci/msix.h"
#include "vmm/base/macros.h"

enum { ISR_QUEUE = 1 /* 4.1.4.5 */ };

/* --- interrupts ------------------------------------------------------------------------------ */

static void interrupt(struct virtio_pci *vp, uint8_t isr_bit, uint16_t vector)
{
    /* 4.1.4.5: the ISR is for drivers without MSI-X; some poll it. NO_VECTOR is out of range. */
    if (!msix_notify(vp->func.msix, vector))
        atomic_fetch_or_explicit(&vp->isr, isr_bit, memory_order_release);
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

    virtio_pci_raise(vp->bells[index].fd);
}

static int lend_bell(void *ctx, unsigned index)
{
    struct doorbell *bell = &((struct virtio_pci *)ctx)->bells[index];

    bell->lent = true;
    evloop_watch_set(bell->watch, 0);
    return bell->fd;
}

static void take_bell(void *ctx, unsigned index)
{
    struct doorbell *bell = &((struct virtio_pci *)ctx)->bells[index];

    bell->lent = false;
    evloop_watch_set(bell->watch, EPOLLIN | EPOLLET);
}

const struct virtio_transport_ops virtio_pci_transport_ops = {
    .queue_interrupt = queue_interrupt,
    .config_interrupt = config_interrupt,
    .kick_again = kick_again,
    .lend_bell = lend_bell,
    .take_bell = take_bell,
};

/* --- the loop's side ------------------------------------------------------------------------- */

static void kick(struct virtio_pci *vp, unsigned index)
{
    struct virtio_dev *vdev = vp->vdev;

    if (vp->running && !vp->quiesced && !vdev->broken && vdev->vqs[index].enabled &&
        !vp->bells[index].lent)
        vdev->ops->kick(vdev, index);
}

static void kick_all(struct virtio_pci *vp)
{
    for (unsigned i = 0; i < vp->vdev->n_queues; i++)
        kick(vp, i);
}

void virtio_pci_doorbell_rang(void *ctx, uint32_t events)
{
    struct doorbell *bell = ctx;

    /* The count is not read: the watch is edge-triggered, and every ring is an edge. */
    (void)events;
    kick(bell->vp, bell->index);
}

/* --- polling: the loop looks at the rings for a while before it sleeps ------------------------- */

static bool poll_queues(struct virtio_pci *vp, int (*poll)(struct virtqueue *vq))
{
    bool any = false;

    if (!vp->running || vp->quiesced)
        return false;
    for (unsigned i = 0; i < vp->vdev->n_queues && !vp->vdev->broken; i++) {
        int r = poll(&vp->vdev->vqs[i]);

        if (r != 0)
            kick(vp, i); /* the device finds out what is wrong with the ring */
        any |= r > 0;
    }
    return any;
}

static bool poller_look(void *ctx)
{
    return poll_queues(ctx, virtqueue_poll);
}

static bool poller_end(void *ctx)
{
    return poll_queues(ctx, virtqueue_poll_end);
}

const struct evloop_poller_ops virtio_pci_poller_ops = { .look = poller_look, .end = poller_end };

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
            .takes_lost = vdev->takes_lost,
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
        virtio_pci_drain(vp->bells[i].fd);
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

void virtio_pci_ctl_rang(void *ctx, uint32_t events)
{
    struct virtio_pci *vp = ctx;

    (void)events;
    virtio_pci_drain(vp->ctl_fd);
    if (!vp->quiesced)
        serve_pending(vp); /* else at resume */
}

/* --- life cycle: the machine's thread asks, the loop does ------------------------------------ */

static void do_quiesce(void *ctx)
{
    struct virtio_pci *vp = ctx;

    if (vp->quiesced)
        return;
    serve_pending(vp);
    vp->vdev->ops->quiesce(vp->vdev); /* takes back what was lent */
    for (unsigned i = 0; i < vp->vdev->n_queues; i++)
        evloop_watch_set(vp->bells[i].watch, 0);
    vp->quiesced = true;
}

static void do_resume(void *ctx)
{
    struct virtio_pci *vp = ctx;

    if (!vp->quiesced)
        return;
    vp->quiesced = false;
    for (unsigned i = 0; i < vp->vdev->n_queues; i++)
        evloop_watch_set(vp->bells[i].watch, EPOLLIN | EPOLLET);
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
    virtio_pci_drain(vp->ctl_fd);
    virtio_regs_reset(&vp->regs);
}

void virtio_pci_quiesce(struct device *dev)
{
    struct virtio_pci *vp = container_of(dev, struct virtio_pci, dev);

    evloop_call(vp->vdev->loop, do_quiesce, vp);
}

void virtio_pci_resume(struct device *dev)
{
    struct virtio_pci *vp = container_of(dev, struct virtio_pci, dev);

    evloop_call(vp->vdev->loop, do_resume, vp);
}

void virtio_pci_reset(struct device *dev)
{
    struct virtio_pci *vp = container_of(dev, struct virtio_pci, dev);

    pci_func_reset(&vp->func);
    evloop_call(vp->vdev->loop, do_reset, vp);
}

/* --- saved state ----------------------------------------------------------------------------- */

int virtio_pci_save(struct device *dev, struct snapshot_writer *w, struct errctx *ec)
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
        call->result =
            errctx_set(call->ec, EINVAL, "%s: a saved queue lies outside memory", vdev->name);
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

int virtio_pci_load(struct device *dev, struct snapshot_reader *r, uint32_t version,
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
