/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is plugged in and out while the guest runs: KVM's slots for blocks of windows, and
 * what `ctl plug` asks and shows.
 *
 * Each block has a slot number of its own, behind those of the memory that is there from the start.
 * A block that was never plugged in has no slot, so the guest finds nothing there and can take no
 * memory by touching it. One that is unplugged keeps its slot, stale: guest memory closes it for KVM,
 * too, and to delete a slot has older kernels forget all second-level page tables of the guest (newer
 * ones, where KVM_X86_QUIRK_SLOT_ZAP_ALL is on), so that whatever it uses faults again. Only a guest
 * that touches such a block, which fails its KVM_RUN, has stale slots deleted, all of them at once;
 * it runs into the failure until then.
 *
 * Blocks come and go on the loop of the memory devices; a move makes slots anew on the main thread;
 * a lock keeps the two apart.
 */
#include <errno.h>
#include <string.h>

#include "devices/virtio/mem.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/machine/machine_private.h"

/* The window that @addr lies in, and the number of the block there: all windows are numbered through.
 * Its slot is that many behind those of other memory. */
static bool find_block(const struct machine *m, struct gpa addr,
                       struct guest_mem_window *ret_window, uint32_t *ret_block)
{
    uint32_t block = 0;

    for (size_t i = 0; i < guest_mem_n_windows(m->mem); i++) {
        const struct guest_mem_window w = guest_mem_window(m->mem, i);

        if (addr.v >= w.base.v && addr.v - w.base.v < w.len_bytes) {
            *ret_window = w;
            *ret_block = block + (uint32_t)((addr.v - w.base.v) / w.block_bytes);
            return true;
        }
        block += (uint32_t)(w.len_bytes / w.block_bytes);
    }
    return false;
}

/* Whether block @i of all windows has a stale slot, and setting that. With the lock. */
static bool is_stale(const struct machine *m, uint32_t i)
{
    return (m->stale.blocks[i / 64] >> i % 64 & 1) != 0;
}

static void set_stale(struct machine *m, uint32_t i, bool stale)
{
    if (is_stale(m, i) == stale)
        return;
    m->stale.blocks[i / 64] ^= 1ull << i % 64;
    if (stale)
        atomic_fetch_add(&m->stale.n, 1u);
    else
        atomic_fetch_sub(&m->stale.n, 1u);
}

/* Have KVM know the blocks: whatever has a stale slot is known. Those done before a failure stay as
 * stale ones. With the lock. */
static int map_blocks_locked(struct machine *m, struct gpa addr, uint64_t len_bytes)
{
    struct guest_mem_window w;
    uint32_t first, n;

    if (!find_block(m, addr, &w, &first))
        return -EFAULT;
    n = (uint32_t)(len_bytes / w.block_bytes);
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t off = addr.v - w.base.v + i * w.block_bytes;
        const int r = is_stale(m, first + i)
                          ? 0
                          : kvm_vm_map(&m->vm, m->n_mem_slots + first + i,
                                       (struct gpa){ w.base.v + off }, w.block_bytes,
                                       (uint8_t *)w.host + off, NULL);
        if (r < 0)
            return r;
        set_stale(m, first + i, true);
    }
    for (uint32_t i = 0; i < n; i++)
        set_stale(m, first + i, false);
    return 0;
}

static int mark_stale_locked(struct machine *m, struct gpa addr, uint64_t len_bytes)
{
    struct guest_mem_window w;
    uint32_t first;

    if (!find_block(m, addr, &w, &first))
        return -EFAULT;
    for (uint32_t i = 0; i < len_bytes / w.block_bytes; i++)
        set_stale(m, first + i, true);
    return 0;
}

static void delete_stale_locked(struct machine *m)
{
    for (uint32_t i = 0; i < GUEST_MEM_BLOCKS_MAX && atomic_load(&m->stale.n) > 0; i++) {
        if (!is_stale(m, i))
            continue;
        (void)kvm_vm_map(&m->vm, m->n_mem_slots + i, (struct gpa){ 0 }, 0, NULL, NULL);
        set_stale(m, i, false);
    }
}

static int plug(void *ctx, struct gpa addr, uint64_t len_bytes)
{
    struct machine *m = ctx;
    int r;
    LOCK_SCOPE(&m->plug_lock);

    r = guest_mem_plug(m->mem, addr, len_bytes);
    if (r < 0)
        return r;
    r = map_blocks_locked(m, addr, len_bytes);
    if (r < 0)
        (void)guest_mem_unplug(m->mem, addr, len_bytes, &(uint64_t){ 0 });
    return r;
}

static int unplug(void *ctx, struct gpa addr, uint64_t len_bytes, uint64_t *ret_gone)
{
    struct machine *m = ctx;
    int r;
    LOCK_SCOPE(&m->plug_lock);

    r = guest_mem_unplug(m->mem, addr, len_bytes, ret_gone);
    return r == 0 ? mark_stale_locked(m, addr, len_bytes) : r;
}

/* On the loop of the memory devices. */
static void delete_stale(void *ctx)
{
    struct machine *m = ctx;
    LOCK_SCOPE(&m->plug_lock);

    atomic_store(&m->stale.asked, false);
    delete_stale_locked(m);
}

bool machine_touched_unplugged(struct machine *m)
{
    if (atomic_load(&m->stale.n) == 0)
        return false;
    /* The loop for memory devices is the last one; there is one, since blocks were plugged in. */
    if (!atomic_exchange(&m->stale.asked, true) &&
        evloop_post(m->io[m->n_io - 1].loop, delete_stale, m) < 0)
        atomic_store(&m->stale.asked, false); /* no memory: at the next touch */
    return true;
}

const struct device_plug_ops machine_plug_ops = { .plug = plug, .unplug = unplug };

/* Call @f for all plugged blocks of @vnode, or of every node for UINT32_MAX, until one fails. */
static int each_plugged(struct machine *m, uint32_t vnode,
                        int (*f)(struct machine *m, struct gpa addr, uint64_t len_bytes))
{
    for (size_t i = 0; i < guest_mem_n_windows(m->mem); i++) {
        const struct guest_mem_window w = guest_mem_window(m->mem, i);

        for (uint64_t off = 0; off < w.len_bytes; off += w.block_bytes) {
            const struct gpa addr = { w.base.v + off };
            int r;

            if ((vnode != UINT32_MAX && w.vnode.v != vnode) ||
                guest_mem_plugged(m->mem, addr, w.block_bytes) == 0)
                continue;
            r = f(m, addr, w.block_bytes);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

int machine_remap_plugged(struct machine *m, struct vnode_id vnode, struct errctx *ec)
{
    int r;
    LOCK_SCOPE(&m->plug_lock);

    (void)each_plugged(m, vnode.v, mark_stale_locked);
    delete_stale_locked(m);
    r = each_plugged(m, vnode.v, map_blocks_locked);
    return r < 0 ? errctx_set_os(ec, -r, "map memory that was plugged into node %u", vnode.v) : 0;
}

void machine_unmap_plugged(struct machine *m)
{
    LOCK_SCOPE(&m->plug_lock);

    (void)each_plugged(m, UINT32_MAX, mark_stale_locked);
    delete_stale_locked(m);
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
        "{s:s, s:i, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "name", m->config->name, "vnode",
        (int)req->vnode.v, "driver", st.driver, "window", (json_int_t)st.window_bytes, "block",
        (json_int_t)st.block_bytes, "requested", (json_int_t)st.requested_bytes, "plugged",
        (json_int_t)st.plugged_bytes, "returned", (json_int_t)st.returned_bytes, "resident",
        (json_int_t)guest_mem_resident_bytes(m->mem, req->vnode), "dropped",
        (json_int_t)machine_pager_dropped_bytes(m, req->vnode), "movable", is_movable(m->config));
    return *ret_json == NULL ? errctx_set(ec, ENOMEM, "no memory for the answer") : 0;
}
