/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory device (virtio 1.2, 5.15), one for a virtual node's window.
 *
 * Which blocks are plugged in is guest memory's to know (guest_mem_plugged()); the device has only
 * the size that the host asks for, and the driver works towards that. Memory that is not plugged in
 * is not there: the guest finds what it finds at any address without memory, and the host has none
 * for it (VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE; a driver that does not know that is refused).
 *
 * A reset of the device leaves blocks as they are (5.15.5.1: the driver may go while its memory is in
 * use); one of the machine takes them all out, by guest_mem_discard().
 *
 * The device lives on the loop of those that give memory back. A request is one or more system calls,
 * after which it is answered; what makes no sense gets an error, what is in use is busy.
 */
#include "devices/virtio/mem.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mem.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

enum {
    MEM_QUEUE_SIZE = 16,
    MEM_CLASS = 0x00ff00, /* no PCI class fits */
};

struct virtio_mem {
    struct virtio_dev vdev;
    struct guest_mem_window window;
    const struct device_plug_ops *plug; /* borrowed, with ctx */
    void *plug_ctx;
    struct virtq_chain chain;
    bool quiesced, tell; /* loop thread; tell: a new request waits for the resume */
    /* Read by any thread; written by the loop, but for what is asked for. What is plugged in is what
     * was after the last request: while one is served, its blocks are neither there nor gone. */
    _Atomic bool running, asked; /* asked: the loop will tell the driver */
    _Atomic uint64_t requested_bytes, plugged_bytes, returned_bytes;
};

static struct virtio_mem *mem_of(struct virtio_dev *vdev)
{
    return container_of(vdev, struct virtio_mem, vdev);
}

static uint64_t count_plugged(const struct virtio_mem *vm)
{
    return guest_mem_plugged(vm->vdev.mem, vm->window.base, vm->window.len_bytes);
}

/* --- requests ----------------------------------------------------------------------------------- */

/* The blocks that a request names, if they are blocks of the window. */
static bool blocks_of(const struct virtio_mem *vm, const struct virtio_mem_req *req,
                      uint64_t *ret_len)
{
    const struct guest_mem_window *w = &vm->window;
    const uint64_t addr = req->u.plug.addr; /* all three kinds begin alike */
    uint64_t len;

    if (req->u.plug.nb_blocks == 0 || addr < w->base.v || (addr - w->base.v) % w->block_bytes != 0 ||
        !checked_mul(req->u.plug.nb_blocks, w->block_bytes, &len) ||
        !checked_range(addr - w->base.v, len, w->len_bytes))
        return false;
    *ret_len = len;
    return true;
}

static uint16_t serve_plug(struct virtio_mem *vm, const struct virtio_mem_req *req)
{
    const struct gpa addr = { req->u.plug.addr };
    uint64_t len;

    if (!blocks_of(vm, req, &len) || guest_mem_plugged(vm->vdev.mem, addr, len) != 0)
        return VIRTIO_MEM_RESP_ERROR;
    if (count_plugged(vm) + len > atomic_load(&vm->requested_bytes))
        return VIRTIO_MEM_RESP_NACK;
    return vm->plug->plug(vm->plug_ctx, addr, len) < 0 ? VIRTIO_MEM_RESP_BUSY : VIRTIO_MEM_RESP_ACK;
}

static int take_out(struct virtio_mem *vm, struct gpa addr, uint64_t len)
{
    uint64_t gone = 0;
    int r = vm->plug->unplug(vm->plug_ctx, addr, len, &gone);

    atomic_fetch_add(&vm->returned_bytes, gone);
    return r;
}

static uint16_t serve_unplug(struct virtio_mem *vm, const struct virtio_mem_req *req)
{
    const struct gpa addr = { req->u.unplug.addr };
    uint64_t len;

    if (!blocks_of(vm, req, &len) || guest_mem_plugged(vm->vdev.mem, addr, len) != len)
        return VIRTIO_MEM_RESP_ERROR;
    return take_out(vm, addr, len) < 0 ? VIRTIO_MEM_RESP_BUSY : VIRTIO_MEM_RESP_ACK;
}

static uint16_t serve_unplug_all(struct virtio_mem *vm)
{
    const struct guest_mem_window *w = &vm->window;

    for (uint64_t off = 0; off < w->len_bytes; off += w->block_bytes) {
        const struct gpa addr = { w->base.v + off };

        if (guest_mem_plugged(vm->vdev.mem, addr, w->block_bytes) > 0 &&
            take_out(vm, addr, w->block_bytes) < 0)
            return VIRTIO_MEM_RESP_BUSY;
    }
    return VIRTIO_MEM_RESP_ACK;
}

static uint16_t serve_state(struct virtio_mem *vm, const struct virtio_mem_req *req,
                            uint16_t *ret_state)
{
    uint64_t len, plugged;

    if (!blocks_of(vm, req, &len))
        return VIRTIO_MEM_RESP_ERROR;
    plugged = guest_mem_plugged(vm->vdev.mem, (struct gpa){ req->u.state.addr }, len);
    *ret_state = plugged == len ? VIRTIO_MEM_STATE_PLUGGED
                 : plugged == 0 ? VIRTIO_MEM_STATE_UNPLUGGED
                                : VIRTIO_MEM_STATE_MIXED;
    return VIRTIO_MEM_RESP_ACK;
}

static struct virtio_mem_resp answer(struct virtio_mem *vm, const struct virtio_mem_req *req)
{
    struct virtio_mem_resp resp = { .type = VIRTIO_MEM_RESP_ERROR };

    switch (req->type) {
    case VIRTIO_MEM_REQ_PLUG:
        resp.type = serve_plug(vm, req);
        break;
    case VIRTIO_MEM_REQ_UNPLUG:
        resp.type = serve_unplug(vm, req);
        break;
    case VIRTIO_MEM_REQ_UNPLUG_ALL:
        resp.type = serve_unplug_all(vm);
        break;
    case VIRTIO_MEM_REQ_STATE:
        resp.type = serve_state(vm, req, &resp.u.state.state);
        break;
    default:
        break;
    }
    atomic_store(&vm->plugged_bytes, count_plugged(vm));
    return resp;
}

/* The chain's leases are out meanwhile; only a driver whose ring lies in what it unplugs is told
 * that it is busy for that. */
static int serve_one(struct virtio_mem *vm, struct virtqueue *vq)
{
    struct virtio_mem_req req = { 0 };
    struct virtio_mem_resp resp;
    int r = virtqueue_pop(vq, LEASE_WRITE, &vm->chain);

    if (r <= 0)
        return r;
    if (virtq_chain_read(&vm->chain, 0, &req, sizeof(req)) < sizeof(req) ||
        vm->chain.write_bytes < sizeof(resp)) {
        virtq_chain_release(vm->vdev.mem, &vm->chain);
        return -EPROTO;
    }
    resp = answer(vm, &req);
    (void)virtq_chain_write(&vm->chain, 0, &resp, sizeof(resp));
    r = virtqueue_push(vq, &vm->chain, sizeof(resp));
    return r < 0 ? r : 1;
}

/* One request, then others have their turn: it may take long. */
static void mem_kick(struct virtio_dev *vdev, unsigned index)
{
    struct virtqueue *vq = &vdev->vqs[index];
    int r = virtqueue_set_notify(vq, false);

    if (r >= 0)
        r = serve_one(mem_of(vdev), vq);
    if (r >= 0)
        r = virtqueue_set_notify(vq, true);
    if (r < 0) {
        virtio_dev_break(vdev, "the ring makes no sense");
        atomic_store(&mem_of(vdev)->running, false);
    } else if (r > 0) {
        vdev->transport->kick_again(vdev->transport_ctx, index);
    }
    virtio_dev_notify(vdev, vq);
}

/* --- life --------------------------------------------------------------------------------------- */

static void mem_config_read(struct virtio_dev *vdev, uint32_t off, void *data, uint32_t len)
{
    const struct virtio_mem *vm = mem_of(vdev);
    const struct virtio_mem_config config = {
        .block_size = vm->window.block_bytes,
        .node_id = (uint16_t)vm->window.vnode.v, /* the proximity domain, as the SRAT has it */
        .addr = vm->window.base.v,
        .region_size = vm->window.len_bytes,
        .usable_region_size = vm->window.len_bytes,
        .plugged_size = atomic_load(&vm->plugged_bytes),
        .requested_size = atomic_load(&vm->requested_bytes),
    };

    if (off <= sizeof(config) && len <= sizeof(config) - off)
        memcpy(data, (const uint8_t *)&config + off, len);
}

static int mem_start(struct virtio_dev *vdev)
{
    struct virtio_mem *vm = mem_of(vdev);

    if (!virtio_dev_has(vdev, VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE))
        return -EPROTO; /* 5.15.6.2: it would read what is not there */
    atomic_store(&vm->running, true);
    atomic_store(&vm->plugged_bytes, count_plugged(vm));
    return 0;
}

static void mem_quiesce(struct virtio_dev *vdev)
{
    mem_of(vdev)->quiesced = true; /* no request outlives a kick */
}

static void mem_resume(struct virtio_dev *vdev)
{
    struct virtio_mem *vm = mem_of(vdev);

    vm->quiesced = false;
    atomic_store(&vm->plugged_bytes, count_plugged(vm)); /* after a reset of the machine */
    if (atomic_load(&vm->running) && vm->tell)
        vdev->transport->config_interrupt(vdev->transport_ctx);
    vm->tell = false;
}

static void mem_reset(struct virtio_dev *vdev)
{
    atomic_store(&mem_of(vdev)->running, false);
    mem_of(vdev)->tell = false;
}

/* The size that is wanted, and the blocks that are there; what is in them is saved with memory. */
static int mem_save(struct virtio_dev *vdev, struct snapshot_writer *w, struct errctx *ec)
{
    const struct virtio_mem *vm = mem_of(vdev);
    const struct guest_mem_window *win = &vm->window;

    snapshot_put_u64(w, win->base.v);
    snapshot_put_u64(w, win->len_bytes);
    snapshot_put_u64(w, win->block_bytes);
    snapshot_put_u64(w, atomic_load(&vm->requested_bytes));
    for (uint64_t off = 0; off < win->len_bytes; off += win->block_bytes)
        snapshot_put_u8(w, guest_mem_plugged(vdev->mem, (struct gpa){ win->base.v + off },
                                             win->block_bytes) > 0);
    return w->failed ? errctx_set(ec, ENOMEM, "%s: no memory to save it", vdev->name) : 0;
}

static int load_blocks(struct virtio_mem *vm, struct snapshot_reader *r, struct errctx *ec)
{
    const struct guest_mem_window *win = &vm->window;

    for (uint64_t off = 0; off < win->len_bytes && snapshot_reader_ok(r); off += win->block_bytes) {
        const struct gpa addr = { win->base.v + off };
        const bool want = snapshot_get_u8(r) & 1;
        const bool is = guest_mem_plugged(vm->vdev.mem, addr, win->block_bytes) > 0;
        int ret = 0;

        if (want && !is)
            ret = vm->plug->plug(vm->plug_ctx, addr, win->block_bytes);
        else if (is && !want)
            ret = take_out(vm, addr, win->block_bytes);
        if (ret < 0)
            return errctx_set_os(ec, -ret, "%s: plug saved memory", vm->vdev.name);
    }
    return snapshot_reader_ok(r) ? 0 : errctx_set(ec, EINVAL, "%s: its saved state is too short",
                                                  vm->vdev.name);
}

static int mem_load(struct virtio_dev *vdev, struct snapshot_reader *r, uint32_t version,
                    struct errctx *ec)
{
    struct virtio_mem *vm = mem_of(vdev);
    const uint64_t base = snapshot_get_u64(r), len = snapshot_get_u64(r);
    const uint64_t block = snapshot_get_u64(r), requested = snapshot_get_u64(r);

    (void)version;
    if (!snapshot_reader_ok(r))
        return errctx_set(ec, EINVAL, "%s: its saved state is too short", vdev->name);
    if (base != vm->window.base.v || len != vm->window.len_bytes ||
        block != vm->window.block_bytes || requested > len)
        return errctx_set(ec, EINVAL, "%s: saved with another window (hotplug=)", vdev->name);
    atomic_store(&vm->requested_bytes, requested);
    return load_blocks(vm, r, ec);
}

static void mem_destroy(struct virtio_dev *vdev)
{
    struct virtio_mem *vm = mem_of(vdev);

    virtq_chain_fini(vdev->mem, &vm->chain);
    free(vm);
}

static const struct virtio_ops mem_ops = {
    .type = "mem",
    .version = 1,
    .virtio_id = VIRTIO_ID_MEM,
    .pci_class = MEM_CLASS,
    .config_read = mem_config_read,
    .start = mem_start,
    .kick = mem_kick,
    .quiesce = mem_quiesce,
    .resume = mem_resume,
    .reset = mem_reset,
    .save = mem_save,
    .load = mem_load,
    .destroy = mem_destroy,
};

/* --- the machine's side -------------------------------------------------------------------------- */

static void tell_driver(void *ctx)
{
    struct virtio_mem *vm = ctx;

    atomic_store(&vm->asked, false);
    if (atomic_load(&vm->running) && !vm->quiesced)
        vm->vdev.transport->config_interrupt(vm->vdev.transport_ctx);
    else
        vm->tell = atomic_load(&vm->running);
}

int virtio_mem_request(struct virtio_dev *dev, uint64_t bytes, struct errctx *ec)
{
    struct virtio_mem *vm = mem_of(dev);

    if (bytes > vm->window.len_bytes)
        return errctx_set(ec, ERANGE, "virtual node %u has room for %llu MiB to be plugged in",
                          vm->window.vnode.v,
                          (unsigned long long)(vm->window.len_bytes / MIB));
    atomic_store(&vm->requested_bytes, align_down(bytes, vm->window.block_bytes));
    if (atomic_exchange(&vm->asked, true))
        return 0; /* the loop has not come to it yet */
    if (evloop_post(dev->loop, tell_driver, vm) == 0)
        return 0;
    atomic_store(&vm->asked, false);
    return errctx_set(ec, ENOMEM, "no memory to ask the guest");
}

void virtio_mem_status(struct virtio_dev *dev, struct virtio_mem_status *ret_status)
{
    struct virtio_mem *vm = mem_of(dev);

    *ret_status = (struct virtio_mem_status){
        .driver = atomic_load(&vm->running),
        .vnode = vm->window.vnode.v,
        .block_bytes = vm->window.block_bytes,
        .window_bytes = vm->window.len_bytes,
        .requested_bytes = atomic_load(&vm->requested_bytes),
        .plugged_bytes = atomic_load(&vm->plugged_bytes),
        .returned_bytes = atomic_load(&vm->returned_bytes),
    };
}

/* --- the row -------------------------------------------------------------------------------------- */

static int mem_create(const struct device_args *args, const struct device_env *env,
                      struct virtio_dev **ret_dev, struct errctx *ec)
{
    struct virtio_mem *vm = calloc(1, sizeof(*vm));

    (void)args;
    if (vm == NULL)
        return errctx_set(ec, ENOMEM, "%s: no memory for the device", env->name);
    for (size_t i = 0; i < guest_mem_n_windows(env->mem); i++)
        if (guest_mem_window(env->mem, i).vnode.v == env->vnode)
            vm->window = guest_mem_window(env->mem, i);
    if (vm->window.len_bytes == 0 || env->plug == NULL) {
        free(vm);
        return errctx_set(ec, EINVAL, "%s: virtual node %u has no window", env->name, env->vnode);
    }
    vm->vdev = (struct virtio_dev){
        .ops = &mem_ops,
        .host_features =
            1ull << VIRTIO_MEM_F_ACPI_PXM | 1ull << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE,
        .n_queues = 1,
        .queue_max = { MEM_QUEUE_SIZE },
        .config_len = sizeof(struct virtio_mem_config),
        .loop = env->loop,
        .mem = env->mem,
    };
    vm->plug = env->plug;
    vm->plug_ctx = env->plug_ctx;
    (void)strncpy(vm->vdev.name, env->name, sizeof(vm->vdev.name) - 1);
    *ret_dev = &vm->vdev;
    return 0;
}

static const struct device_key mem_keys[] = { { .name = NULL } };

const struct device_type virtio_mem_device_type = {
    .name = "mem",
    .reclaims = true,
    .help = "memory that is plugged in and out",
    .keys = mem_keys,
    .create = mem_create,
};
