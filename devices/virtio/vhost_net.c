/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See vhost_net.h.
 *
 * Addresses. The kernel's thread works in our address space, by our page table: what it touches
 * faults as our own accesses do, so a pager sees it, and no page is pinned or leased. It is told all
 * RAM and all windows, once; a block of a window that is not plugged in is closed in the guest's
 * mapping (memory/guest_mem.h), so an access to one ends with EFAULT. Telling plugged blocks only was
 * rejected: they may be more than the kernel's table holds (64, unless its module was told).
 *
 * Doorbells are the transport's eventfds, which KVM rings and the kernel's thread hears; interrupts
 * come by an eventfd that the loop watches (vring_call.h), since MSI-X masks are kept there. The
 * header of frames is the TAP's to make and take (no VHOST_NET_F_VIRTIO_NET_HDR).
 *
 * The owner is said when a driver starts and not when the device is made: the kernel's thread then
 * gets the CPUs (Linux 6.4 and later) and the cgroup of the device's I/O thread.
 */
#include "devices/virtio/vhost_net.h"

#include <errno.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/virtio/vhost_kernel.h"
#include "devices/virtio/vring_call.h"
#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

enum { RINGS = 2 };

struct vhost_net {
    int fd;
    struct evloop *loop;
    struct virtio_dev *vdev; /* NULL: not attached */
    unsigned first;          /* queue */
    uint64_t features;
    struct vhost_memory *table;
    bool owned, running;
    bool told[RINGS]; /* the kernel has the ring */
    bool was_stopped; /* interrupts may have been left unsaid */
    struct vring_call call[RINGS];
    int err_fd; /* of both rings */
    struct evloop_watch *err_watch;
    void (*failed)(void *ctx);
    void *failed_ctx;
};

static int ask(const struct vhost_net *net, unsigned long request, void *arg, const char *what,
               struct errctx *ec)
{
    const int r = vhost_kernel_ioctl(net->fd, request, arg);

    return r < 0 ? errctx_set_os(ec, -r, "vhost-net: %s", what) : 0;
}

/* --- memory ---------------------------------------------------------------------------------- */

/* Behind the last one where guest and host addresses go on. */
static void add_region(struct vhost_memory *t, uint64_t guest, uint64_t len, const void *host)
{
    struct vhost_memory_region *last = t->nregions > 0 ? &t->regions[t->nregions - 1] : NULL;

    if (last != NULL && last->guest_phys_addr + last->memory_size == guest &&
        last->userspace_addr + last->memory_size == (uintptr_t)host) {
        last->memory_size += len;
        return;
    }
    t->regions[t->nregions++] = (struct vhost_memory_region){
        .guest_phys_addr = guest, .memory_size = len, .userspace_addr = (uintptr_t)host
    };
}

static struct vhost_memory *make_table(const struct guest_mem *mem)
{
    const size_t slots = guest_mem_n_slots(mem), windows = guest_mem_n_windows(mem);
    struct vhost_memory *t =
        calloc(1, sizeof(*t) + (slots + windows) * sizeof(struct vhost_memory_region));

    for (size_t i = 0; t != NULL && i < slots; i++) {
        const struct guest_mem_slot s = guest_mem_slot(mem, i);

        add_region(t, s.base.v, s.len_bytes, s.host);
    }
    for (size_t i = 0; t != NULL && i < windows; i++) {
        const struct guest_mem_window w = guest_mem_window(mem, i);

        add_region(t, w.base.v, w.len_bytes, w.host);
    }
    return t;
}

/* Where ring area [@addr, @addr+@len) is for us; 0: not in one piece. */
static uint64_t host_addr(const struct vhost_net *net, struct gpa addr, uint64_t len)
{
    for (uint32_t i = 0; i < net->table->nregions; i++) {
        const struct vhost_memory_region *r = &net->table->regions[i];

        if (addr.v >= r->guest_phys_addr &&
            checked_range(addr.v - r->guest_phys_addr, len, r->memory_size))
            return r->userspace_addr + (addr.v - r->guest_phys_addr);
    }
    return 0;
}

static void disown(struct vhost_net *net)
{
    if (net->owned)
        (void)vhost_kernel_ioctl(net->fd, VHOST_RESET_OWNER, NULL);
    net->owned = false;
}

static int tell_memory(const struct vhost_net *net, struct errctx *ec)
{
    const int r = vhost_kernel_ioctl(net->fd, VHOST_SET_MEM_TABLE, net->table);

    if (r == -E2BIG)
        return errctx_set(ec, E2BIG,
                          "vhost-net: the guest's memory has %u parts, more than the kernel takes "
                          "(parameter max_mem_regions of the module vhost)", net->table->nregions);
    return r < 0 ? errctx_set_os(ec, -r, "vhost-net: tell it the guest's memory") : 0;
}

static int own(struct vhost_net *net, struct errctx *ec)
{
    int r = net->owned ? 0 : ask(net, VHOST_SET_OWNER, NULL, "become its owner", ec);

    if (r < 0 || net->owned)
        return r;
    net->owned = true;
    r = tell_memory(net, ec);
    if (r < 0)
        disown(net);
    return r;
}

/* --- rings ----------------------------------------------------------------------------------- */

static struct virtqueue *queue(const struct vhost_net *net, unsigned i)
{
    return &net->vdev->vqs[net->first + i];
}

static int tell_number(const struct vhost_net *net, unsigned long request, unsigned i, unsigned num,
                       struct errctx *ec)
{
    struct vhost_vring_state state = { .index = i, .num = num };

    return ask(net, request, &state, "set a ring up", ec);
}

static int tell_fd(const struct vhost_net *net, unsigned long request, unsigned i, int fd,
                   struct errctx *ec)
{
    struct vhost_vring_file file = { .index = i, .fd = fd };

    return ask(net, request, &file, "give a ring its descriptors", ec);
}

static int tell_addresses(const struct vhost_net *net, unsigned i, struct errctx *ec)
{
    const struct virtqueue *vq = queue(net, i);
    struct vhost_vring_addr addr = {
        .index = i,
        .desc_user_addr = host_addr(net, vq->desc, sizeof(struct vring_desc) * vq->size),
        .avail_user_addr = host_addr(net, vq->avail,
                                     sizeof(struct vring_avail) + 2ull * (vq->size + 1u)),
        .used_user_addr = host_addr(
            net, vq->used, sizeof(struct vring_used) + sizeof(vring_used_elem_t) * vq->size + 2u),
    };

    if (addr.desc_user_addr == 0 || addr.avail_user_addr == 0 || addr.used_user_addr == 0)
        return errctx_set(ec, EFAULT, "vhost-net: a ring lies across two parts of memory");
    return ask(net, VHOST_SET_VRING_ADDR, &addr, "set a ring's addresses", ec);
}

static int start_ring(struct vhost_net *net, unsigned i, struct errctx *ec)
{
    const struct virtio_dev *vdev = net->vdev;
    const struct virtqueue *vq = queue(net, i);
    int r = tell_number(net, VHOST_SET_VRING_NUM, i, vq->size, ec);

    if (r == 0)
        r = tell_number(net, VHOST_SET_VRING_BASE, i, vq->next_avail, ec);
    if (r == 0)
        r = tell_addresses(net, i, ec);
    if (r == 0)
        r = tell_fd(net, VHOST_SET_VRING_ERR, i, net->err_fd, ec);
    if (r == 0)
        r = tell_fd(net, VHOST_SET_VRING_CALL, i, net->call[i].fd, ec);
    if (r < 0)
        return r;
    net->told[i] = net->call[i].on = true;
    return tell_fd(net, VHOST_SET_VRING_KICK, i,
                   vdev->transport->lend_bell(vdev->transport_ctx, net->first + i), ec);
}

static int set_backend(const struct vhost_net *net, unsigned i, int fd, struct errctx *ec)
{
    struct vhost_vring_file file = { .index = i, .fd = fd };

    return ask(net, VHOST_NET_SET_BACKEND, &file, "join it with the TAP", ec);
}

/* What was told while nobody carried it on is lost: say it once more. */
static void stir(struct vhost_net *net)
{
    const struct virtio_dev *vdev = net->vdev;

    for (unsigned i = 0; net->was_stopped && i < RINGS; i++)
        if (net->told[i])
            vdev->transport->queue_interrupt(vdev->transport_ctx, queue(net, i));
    net->was_stopped = false;
}

int vhost_net_start(struct vhost_net *net, int tap_fd, struct errctx *ec)
{
    uint64_t features = net->vdev->features & net->features;
    int r;

    if (net->running)
        return 0;
    r = own(net, ec);
    if (r == 0)
        r = ask(net, VHOST_SET_FEATURES, &features, "agree on features", ec);
    for (unsigned i = 0; r == 0 && i < RINGS; i++)
        if (queue(net, i)->enabled)
            r = start_ring(net, i, ec);
    for (unsigned i = 0; r == 0 && i < RINGS; i++)
        if (net->told[i])
            r = set_backend(net, i, tap_fd, ec);
    net->running = true;
    if (r < 0)
        vhost_net_stop(net);
    else
        stir(net);
    return r;
}

static void stop_ring(struct vhost_net *net, unsigned i)
{
    const struct virtio_dev *vdev = net->vdev;
    struct vhost_vring_state state = { .index = i };

    /* None of these fails for a ring that is ours. */
    if (vhost_kernel_ioctl(net->fd, VHOST_GET_VRING_BASE, &state) == 0)
        (void)virtqueue_take_over(queue(net, i), (uint16_t)state.num);
    (void)tell_fd(net, VHOST_SET_VRING_KICK, i, VHOST_FILE_UNBIND, NULL);
    (void)tell_fd(net, VHOST_SET_VRING_CALL, i, VHOST_FILE_UNBIND, NULL);
    vdev->transport->take_bell(vdev->transport_ctx, net->first + i);
    net->told[i] = net->call[i].on = false;
}

void vhost_net_stop(struct vhost_net *net)
{
    if (!net->running)
        return;
    for (unsigned i = 0; i < RINGS; i++)
        if (net->told[i])
            (void)set_backend(net, i, VHOST_FILE_UNBIND, NULL);
    for (unsigned i = 0; i < RINGS; i++)
        if (net->told[i])
            stop_ring(net, i);
    net->running = false;
    net->was_stopped = true;
}

void vhost_net_reset(struct vhost_net *net)
{
    vhost_net_stop(net);
    disown(net);
    net->was_stopped = false;
}

/* --- making one ------------------------------------------------------------------------------ */

static void ring_failed(void *ctx, uint32_t events)
{
    const struct vhost_net *net = ctx;

    (void)events;
    if (net->running)
        net->failed(net->failed_ctx);
}

int vhost_net_attach(struct vhost_net *net, struct virtio_dev *vdev, unsigned first,
                     struct errctx *ec)
{
    int r = 0;

    net->vdev = vdev;
    net->first = first;
    for (unsigned i = 0; r == 0 && i < RINGS; i++)
        r = vring_call_make(&net->call[i], vdev, first + i, ec);
    if (r < 0)
        return r;
    net->err_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (net->err_fd < 0)
        return errctx_set_os(ec, errno, "eventfd");
    return evloop_watch_fd(net->loop, net->err_fd, EPOLLIN | EPOLLET, ring_failed, net,
                           &net->err_watch, ec);
}

uint64_t vhost_net_features(const struct vhost_net *net)
{
    return net->features;
}

static int look(struct vhost_net *net, struct errctx *ec)
{
    int r = ask(net, VHOST_GET_FEATURES, &net->features, "ask for its features", ec);

    if (r < 0)
        return r;
    if (!(net->features >> VIRTIO_F_VERSION_1 & 1))
        return errctx_set(ec, ENOTSUP, "vhost-net does not know virtio 1");
    r = own(net, ec); /* while somebody hears why not */
    disown(net);
    return r;
}

int vhost_net_new(struct guest_mem *mem, struct evloop *loop, void (*failed)(void *ctx), void *ctx,
                  struct vhost_net **ret_net, struct errctx *ec)
{
    struct vhost_net *net = calloc(1, sizeof(*net));
    int r;

    if (net == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the device");
    *net = (struct vhost_net){
        .fd = -1, .loop = loop, .err_fd = -1, .failed = failed, .failed_ctx = ctx
    };
    for (unsigned i = 0; i < RINGS; i++)
        net->call[i].fd = -1;
    net->table = make_table(mem);
    r = net->table == NULL ? errctx_set(ec, ENOMEM, "no memory for the device")
                           : vhost_kernel_open(&net->fd, ec);
    if (r == 0)
        r = look(net, ec);
    if (r < 0) {
        vhost_net_free(net);
        return r;
    }
    *ret_net = net;
    return 0;
}

void vhost_net_free(struct vhost_net *net)
{
    if (net == NULL)
        return;
    evloop_unwatch(net->err_watch);
    for (unsigned i = 0; i < RINGS; i++)
        vring_call_drop(&net->call[i]);
    if (net->err_fd >= 0)
        (void)close(net->err_fd);
    if (net->fd >= 0)
        (void)close(net->fd); /* the kernel waits for its thread */
    free(net->table);
    free(net);
}
