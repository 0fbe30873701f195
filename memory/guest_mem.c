/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backings joined into one guest physical address space.
 *
 * Hotplug windows have addresses in the layout but no memory behind them yet, so only RAM ranges
 * become slots; an access to a window fails like any address without memory. Lease counts are
 * kept per slot and are the only mutable state.
 */
#include "memory/guest_mem.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "memory/backing.h"
#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

struct slot {
    uint64_t base, len;
    uint8_t *host;
    _Atomic uint64_t leases;
};

struct guest_mem {
    const struct topo_plan *plan;
    const struct mem_layout *layout;
    struct backing *backings; /* one per virtual node; zeroed where the node has no memory */
    size_t n_backings;
    struct slot *slots; /* RAM ranges by ascending base */
    size_t n_slots;
};

int guest_mem_new(const struct topo_plan *plan, const struct mem_layout *layout,
                  struct guest_mem **ret_mem, struct errctx *ec)
{
    struct guest_mem *mem = calloc(1, sizeof(*mem));
    int r;

    if (mem == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the guest's address space");
    mem->plan = plan;
    mem->layout = layout;
    mem->n_backings = plan->n_nodes;
    mem->backings = calloc(plan->n_nodes, sizeof(mem->backings[0]));
    mem->slots = calloc(layout->n_ranges, sizeof(mem->slots[0]));
    if (mem->backings == NULL || mem->slots == NULL) {
        r = errctx_set(ec, ENOMEM, "no memory for the guest's address space");
        goto err_free;
    }
    for (size_t i = 0; i < plan->n_nodes; i++) {
        const struct topo_plan_node *n = &plan->nodes[i];

        if (n->ram_bytes == 0)
            continue;
        r = backing_init(n->vnode, &n->host_nodes, n->ram_bytes, &mem->backings[i], ec);
        if (r < 0) {
            r = errctx_wrap(ec, r, "virtual node %u", n->vnode.v);
            goto err_free;
        }
    }
    for (size_t i = 0; i < layout->n_ranges; i++) {
        const struct layout_range *range = &layout->ranges[i];

        if (range->kind != LAYOUT_RAM)
            continue;
        mem->slots[mem->n_slots++] = (struct slot){
            .base = range->base.v,
            .len = range->len_bytes,
            .host = mem->backings[range->vnode.v].host + range->backing_off,
        };
    }
    *ret_mem = mem;
    return 0;

err_free:
    guest_mem_free(mem);
    return r;
}

void guest_mem_free(struct guest_mem *mem)
{
    if (mem == NULL)
        return;
    for (size_t i = 0; mem->backings != NULL && i < mem->n_backings; i++)
        backing_fini(&mem->backings[i]);
    free(mem->backings);
    free(mem->slots);
    free(mem);
}

static struct slot *find(struct guest_mem *mem, uint64_t addr)
{
    size_t lo = 0, hi = mem->n_slots;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        struct slot *s = &mem->slots[mid];

        if (addr < s->base)
            hi = mid;
        else if (addr - s->base >= s->len)
            lo = mid + 1;
        else
            return s;
    }
    return NULL;
}

int guest_mem_lease_begin(struct guest_mem *mem, struct gpa addr, size_t len,
                          enum lease_mode mode, struct mem_lease *ret_lease)
{
    struct slot *s = find(mem, addr.v);

    ret_lease->ptr = NULL;
    if (s == NULL || !checked_range(addr.v - s->base, len, s->len))
        return -EFAULT;
    atomic_fetch_add_explicit(&s->leases, 1, memory_order_acquire);
    *ret_lease = (struct mem_lease){
        .ptr = s->host + (addr.v - s->base), .len = len, .mode = mode,
        .range = (uint32_t)(s - mem->slots),
    };
    return 0;
}

void guest_mem_lease_end(struct guest_mem *mem, struct mem_lease *lease)
{
    if (lease->ptr == NULL)
        return;
    atomic_fetch_sub_explicit(&mem->slots[lease->range].leases, 1, memory_order_release);
    lease->ptr = NULL;
}

/* Walk [addr, addr+len) slot by slot; @buf NULL fills with @byte. */
static int copy(struct guest_mem *mem, uint64_t addr, void *buf, size_t len, bool to_guest,
                uint8_t byte)
{
    uint8_t *p = buf;

    while (len > 0) {
        struct slot *s = find(mem, addr);
        size_t part;

        if (s == NULL)
            return -EFAULT;
        part = MIN(len, s->len - (addr - s->base));
        atomic_fetch_add_explicit(&s->leases, 1, memory_order_acquire);
        if (p == NULL)
            memset(s->host + (addr - s->base), byte, part);
        else if (to_guest)
            memcpy(s->host + (addr - s->base), p, part);
        else
            memcpy(p, s->host + (addr - s->base), part);
        atomic_fetch_sub_explicit(&s->leases, 1, memory_order_release);
        p = p == NULL ? NULL : p + part;
        addr += part;
        len -= part;
    }
    return 0;
}

int guest_mem_read(struct guest_mem *mem, struct gpa addr, void *buf, size_t len)
{
    return copy(mem, addr.v, buf, len, false, 0);
}

int guest_mem_write(struct guest_mem *mem, struct gpa addr, const void *buf, size_t len)
{
    return copy(mem, addr.v, (void *)(uintptr_t)buf, len, true, 0);
}

int guest_mem_fill(struct guest_mem *mem, struct gpa addr, uint8_t byte, size_t len)
{
    return copy(mem, addr.v, NULL, len, true, byte);
}

void guest_mem_populate(struct guest_mem *mem, struct gpa addr, size_t len)
{
    const uintptr_t page = 4096;
    struct backing_span slot;
    struct mem_lease lease;
    uintptr_t start, end;

    if (guest_mem_lease_begin(mem, addr, len, LEASE_WRITE, &lease) < 0)
        return;
    start = (uintptr_t)lease.ptr / page * page;
    end = (uintptr_t)lease.ptr + len;
    slot.start = mem->slots[lease.range].host;
    slot.end = slot.start + mem->slots[lease.range].len;
    /* What fails here, whoever writes meets as a fault. */
    (void)backing_take((uint8_t *)start, (end - start + page - 1) / page * page, &slot);
    guest_mem_lease_end(mem, &lease);
}

uint64_t guest_mem_leases(const struct guest_mem *mem)
{
    uint64_t n = 0;

    for (size_t i = 0; i < mem->n_slots; i++)
        n += atomic_load_explicit(&mem->slots[i].leases, memory_order_acquire);
    return n;
}

int guest_mem_discard(struct guest_mem *mem, struct errctx *ec)
{
    uint64_t leases = guest_mem_leases(mem);

    if (leases != 0)
        return errctx_set(ec, EBUSY, "guest memory is in use (%llu leases)",
                          (unsigned long long)leases);
    for (size_t i = 0; i < mem->n_backings; i++) {
        int r;

        if (mem->backings[i].host == NULL)
            continue;
        r = backing_discard(&mem->backings[i], ec);
        if (r < 0)
            return errctx_wrap(ec, r, "virtual node %zu", i);
    }
    return 0;
}

int guest_mem_prealloc(struct guest_mem *mem, struct errctx *ec)
{
    for (size_t i = 0; i < mem->n_backings; i++) {
        int r;

        if (mem->backings[i].host == NULL)
            continue;
        r = backing_prealloc(&mem->backings[i], ec);
        if (r < 0)
            return errctx_wrap(ec, r, "virtual node %zu", i);
    }
    return 0;
}

const struct mem_layout *guest_mem_layout(const struct guest_mem *mem)
{
    return mem->layout;
}

uint64_t guest_mem_resident_bytes(const struct guest_mem *mem, struct vnode_id vnode)
{
    struct stat st;

    if (vnode.v >= mem->n_backings || mem->backings[vnode.v].host == NULL ||
        fstat(mem->backings[vnode.v].memfd, &st) < 0)
        return 0;
    return (uint64_t)st.st_blocks * 512;
}

size_t guest_mem_n_slots(const struct guest_mem *mem)
{
    return mem->n_slots;
}

struct guest_mem_slot guest_mem_slot(const struct guest_mem *mem, size_t i)
{
    const struct slot *s = &mem->slots[i];

    return (struct guest_mem_slot){ .base = { s->base }, .len_bytes = s->len, .host = s->host };
}
