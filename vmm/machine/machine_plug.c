/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is plugged in and out while the guest runs: KVM's slots for blocks of windows, and
 * what `ctl plug` asks and shows.
 *
 * Each block has a slot number of its own, behind those of the memory that is there from the start;
 * a block that is not plugged in has no slot, so the guest finds nothing there and can take no
 * memory by touching it. Blocks come and go on the loop of the memory devices; a move makes slots
 * anew on the main thread; a lock keeps the two apart.
 */
#include <errno.h>
#include <string.h>

#include "devices/virtio/mem.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/machine/machine_private.h"

/* The window that @addr lies in, and the slot number of its first block. */
static bool find_window(const struct machine *m, struct gpa addr,
                        struct guest_mem_window *ret_window, uint32_t *ret_slot)
{
    uint32_t slot = m->n_mem_slots;

    for (size_t i = 0; i < guest_mem_n_windows(m->mem); i++) {
        const struct guest_mem_window w = guest_mem_window(m->mem, i);

        if (addr.v >= w.base.v && addr.v - w.base.v < w.len_bytes) {
            *ret_window = w;
            *ret_slot = slot;
            return true;
        }
        slot += (uint32_t)(w.len_bytes / w.block_bytes);
    }
    return false;
}

/* Have KVM know the blocks, or not. Those done before a failure are undone. With the lock. */
static int map_blocks_locked(struct machine *m, struct gpa addr, uint64_t len_bytes, bool there)
{
    struct guest_mem_window w;
    uint32_t first;
    int r = 0;

    if (!find_window(m, addr, &w, &first))
        return -EFAULT;
    for (uint64_t done = 0; done < len_bytes; done += w.block_bytes) {
        const uint64_t off = addr.v - w.base.v + done;
        const uint32_t slot = first + (uint32_t)(off / w.block_bytes);

        r = kvm_vm_map(&m->vm, slot, (struct gpa){ w.base.v + off }, there ? w.block_bytes : 0,
                       (uint8_t *)w.host + off, NULL);
        if (r < 0) {
            if (done > 0)
                (void)map_blocks_locked(m, addr, done, !there);
            return r;
        }
    }
    return 0;
}

static int plug(void *ctx, struct gpa addr, uint64_t len_bytes)
{
    struct machine *m = ctx;
    int r;
    LOCK_SCOPE(&m->plug_lock);

    r = guest_mem_plug(m->mem, addr, len_bytes);
    if (r < 0)
        return r;
    r = map_blocks_locked(m, addr, len_bytes, true);
    if (r < 0)
        (void)guest_mem_unplug(m->mem, addr, len_bytes, &(uint64_t){ 0 });
    return r;
}

/* First from the guest, then from the devices. */
static int unplug(void *ctx, struct gpa addr, uint64_t len_bytes, uint64_t *ret_gone)
{
    struct machine *m = ctx;
    int r;
    LOCK_SCOPE(&m->plug_lock);

    r = map_blocks_locked(m, addr, len_bytes, false);
    if (r < 0)
        return r;
    r = guest_mem_unplug(m->mem, addr, len_bytes, ret_gone);
    if (r < 0)
        (void)map_blocks_locked(m, addr, len_bytes, true);
    return r;
}

const struct device_plug_ops machine_plug_ops = { .plug = plug, .unplug = unplug };

/* All plugged blocks of @vnode, or of every node for UINT32_MAX: out of KVM and, for @again, in. */
static int each_plugged(struct machine *m, uint32_t vnode, bool again, struct errctx *ec)
{
    LOCK_SCOPE(&m->plug_lock);

    for (size_t i = 0; i < guest_mem_n_windows(m->mem); i++) {
        const struct guest_mem_window w = guest_mem_window(m->mem, i);

        for (uint64_t off = 0; off < w.len_bytes; off += w.block_bytes) {
            const struct gpa addr = { w.base.v + off };
            int r;

            if ((vnode != UINT32_MAX && w.vnode.v != vnode) ||
                guest_mem_plugged(m->mem, addr, w.block_bytes) == 0)
                continue;
            (void)map_blocks_locked(m, addr, w.block_bytes, false);
            r = again ? map_blocks_locked(m, addr, w.block_bytes, true) : 0;
            if (r < 0)
                return errctx_set_os(ec, -r, "map memory that was plugged into node %u", w.vnode.v);
        }
    }
    return 0;
}

int machine_remap_plugged(struct machine *m, struct vnode_id vnode, struct errctx *ec)
{
    return each_plugged(m, vnode.v, true, ec);
}

void machine_unmap_plugged(struct machine *m)
{
    (void)each_plugged(m, UINT32_MAX, false, NULL);
}

/* --- what the control socket asks for --------------------------------------------------------- */

static struct virtio_dev *device_of(const struct machine *m, uint32_t vnode)
{
    for (size_t i = 0; i < m->n_mem_devices; i++) {
        struct virtio_mem_status st;

        virtio_mem_status(m->mem_devices[i], &st);
        if (st.vnode == vnode)
            return m->mem_devices[i];
    }
    return NULL;
}

/* What Debian's kernels want to hear to have new memory online, and able to leave again. */
static bool is_movable(const struct machine_config *config)
{
    const char *line = config->cmdline != NULL ? config->cmdline
                                               : config_linux_cmdline(config, false);

    return strstr(line, "memhp_default_state=online_movable") != NULL;
}

int machine_plug(struct machine *m, const struct machine_plug_request *req, json_t **ret_json,
                 struct errctx *ec)
{
    struct virtio_dev *dev = device_of(m, req->vnode.v);
    struct virtio_mem_status st = { 0 };
    int r = 0;

    if (req->vnode.v >= m->plan->n_nodes)
        return errctx_set(ec, ENOENT, "there is no virtual node %u", req->vnode.v);
    if (req->has_size && dev == NULL)
        return errctx_set(ec, ENODEV,
                          "virtual node %u has no room for memory to be plugged in (hotplug=)",
                          req->vnode.v);
    if (req->has_size)
        r = virtio_mem_request(dev, req->bytes, ec);
    if (r < 0)
        return r;
    if (dev != NULL)
        virtio_mem_status(dev, &st);
    *ret_json = json_pack(
        "{s:s, s:i, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "name", m->config->name, "vnode",
        (int)req->vnode.v, "driver", st.driver, "window", (json_int_t)st.window_bytes, "block",
        (json_int_t)st.block_bytes, "requested", (json_int_t)st.requested_bytes, "plugged",
        (json_int_t)st.plugged_bytes, "returned", (json_int_t)st.returned_bytes, "resident",
        (json_int_t)guest_mem_resident_bytes(m->mem, req->vnode), "movable",
        is_movable(m->config));
    return *ret_json == NULL ? errctx_set(ec, ENOMEM, "no memory for the answer") : 0;
}
