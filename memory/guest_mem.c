/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backings joined into one guest physical address space.
 *
 * Hotplug windows have a backing from the start, and no memory of the host's until a block of one
 * is plugged in (guest_mem_plug.c); until then an access to it fails like any address without
 * memory. What changes here are lease counts and the bits of blocks.
 */
#include "memory/guest_mem.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory/guest_mem_private.h"
#include "memory/mem_fill.h"
#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

static bool is_listed(const struct topo_plan *plan, struct vnode_id vnode)
{
    for (size_t i = 0; i < plan->n_backings; i++)
        if (plan->backings[i].vnode.v == vnode.v)
            return true;
    return false;
}

/* Does any thread get a policy of its own, which memory without one would take over? */
static bool has_bound(const struct topo_plan *plan)
{
    for (size_t i = 0; i < plan->n_nodes; i++)
        if (!idset_empty(&plan->nodes[i].host_nodes))
            return true;
    return false;
}

/* The next backing of node @n into its area. */
static int add_backing(struct guest_mem *mem, const struct topo_plan_backing *plan,
                       struct errctx *ec)
{
    struct mem_area *area = &mem->areas[plan->vnode.v];
    int r;

    if (!checked_range(plan->off, plan->len_bytes, area->len_bytes))
        return errctx_set(ec, EINVAL, "its memory is planned beyond its end");
    r = guest_mem_put(mem, plan, area->start + plan->off, has_bound(mem->plan),
                      &mem->backings[mem->n_backings], ec);
    if (r == 0)
        mem->n_backings++;
    return r;
}

static int add_plain(struct guest_mem *mem, const struct topo_plan_node *n, struct errctx *ec)
{
    struct topo_plan_backing *plain = &mem->plain[mem->n_plain++];

    *plain = (struct topo_plan_backing){
        .vnode = n->vnode,
        .len_bytes = n->ram_bytes,
        .policy = idset_empty(&n->host_nodes) ? GUEST_POLICY_NONE : GUEST_POLICY_BIND,
        .host_nodes = n->host_nodes,
    };
    return add_backing(mem, plain, ec);
}

/* Normal memory for the window, from where the node's other memory comes. */
static int add_window(struct guest_mem *mem, const struct topo_plan_node *n, struct errctx *ec)
{
    struct topo_plan_backing *plain = &mem->plain[mem->n_plain++];

    *plain = (struct topo_plan_backing){
        .policy = idset_empty(&n->host_nodes) ? GUEST_POLICY_NONE : GUEST_POLICY_BIND,
        .host_nodes = n->host_nodes,
    };
    for (size_t i = 0; i < mem->plan->n_backings; i++)
        if (mem->plan->backings[i].vnode.v == n->vnode.v)
            *plain = mem->plan->backings[i]; /* the last, which is of the smallest pages */
    plain->vnode = n->vnode;
    plain->off = n->ram_bytes;
    plain->len_bytes = n->hotplug_bytes;
    plain->reserve = plain->prealloc = false;
    if (guest_page_bytes(plain->pages) > 0)
        plain->pages = GUEST_PAGES_ANY;
    return add_backing(mem, plain, ec);
}

static int add_node(struct guest_mem *mem, const struct topo_plan_node *n, struct errctx *ec)
{
    const uint64_t len_bytes = n->ram_bytes + n->hotplug_bytes;
    const struct topo_plan *plan = mem->plan;
    size_t align = guest_page_unit(GUEST_PAGES_ANY);
    int r;

    for (size_t i = 0; i < plan->n_backings; i++)
        if (plan->backings[i].vnode.v == n->vnode.v)
            align = MAX(align, guest_page_unit(plan->backings[i].pages));
    r = mem_area_init(len_bytes, align, &mem->areas[n->vnode.v], ec);
    if (r == 0 && mem_holds_init(len_bytes, &mem->holds[n->vnode.v]) < 0)
        r = errctx_set(ec, ENOMEM, "no memory to count its leases");
    if (r == 0 && n->ram_bytes > 0 && !is_listed(plan, n->vnode))
        r = add_plain(mem, n, ec);
    for (size_t i = 0; r == 0 && i < plan->n_backings; i++)
        if (plan->backings[i].vnode.v == n->vnode.v)
            r = add_backing(mem, &plan->backings[i], ec);
    return r == 0 && n->hotplug_bytes > 0 ? add_window(mem, n, ec) : r;
}

static struct guest_mem_range make_range(const struct guest_mem *mem,
                                         const struct layout_range *range)
{
    return (struct guest_mem_range){
        .vnode = range->vnode,
        .base = range->base.v,
        .len = range->len_bytes,
        .host = mem->areas[range->vnode.v].start + range->backing_off,
        .off = range->backing_off,
        .holds = &mem->holds[range->vnode.v],
    };
}

static size_t count_windows(const struct mem_layout *layout)
{
    size_t n = 0;

    for (size_t i = 0; i < layout->n_ranges; i++)
        n += layout->ranges[i].kind == LAYOUT_HOTPLUG;
    return n;
}

/* Each block may become a slot of KVM's, of which there are some 32,000. */
static uint64_t block_bytes(uint64_t len_bytes, size_t n_windows)
{
    uint64_t bytes = GUEST_MEM_BLOCK_MIN;

    while (len_bytes / bytes > GUEST_MEM_BLOCKS_MAX / n_windows)
        bytes *= 2;
    return bytes;
}

static int add_ranges(struct guest_mem *mem)
{
    const struct mem_layout *layout = mem->layout;

    for (size_t i = 0; i < layout->n_ranges; i++)
        if (layout->ranges[i].kind == LAYOUT_RAM)
            mem->slots[mem->n_slots++] = make_range(mem, &layout->ranges[i]);
    for (size_t i = 0; i < layout->n_ranges; i++) {
        struct guest_mem_range *s = &mem->slots[mem->n_slots + mem->n_windows];

        if (layout->ranges[i].kind != LAYOUT_HOTPLUG)
            continue;
        *s = make_range(mem, &layout->ranges[i]);
        s->block_bytes = block_bytes(s->len, count_windows(layout));
        s->plugged = calloc(s->len / s->block_bytes / 64 + 1, sizeof(*s->plugged));
        if (s->plugged == NULL)
            return -ENOMEM;
        mem->n_windows++;
    }
    return 0;
}

static struct guest_mem_pages *new_pages(void)
{
    struct guest_mem_pages *pages = malloc(sizeof(*pages));

    if (pages != NULL) {
        (void)pthread_mutex_init(&pages->lock, NULL);
        (void)pthread_mutex_init(&pages->turn, NULL);
    }
    return pages;
}

static void free_pages(struct guest_mem_pages *pages)
{
    if (pages == NULL)
        return;
    (void)pthread_mutex_destroy(&pages->turn);
    (void)pthread_mutex_destroy(&pages->lock);
    free(pages);
}

int guest_mem_new(const struct topo_plan *plan, const struct mem_layout *layout,
                  struct guest_mem **ret_mem, struct errctx *ec)
{
    struct guest_mem *mem = calloc(1, sizeof(*mem));
    int r;

    if (mem == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the guest's address space");
    mem->plan = plan;
    mem->layout = layout;
    mem->file = -1;
    mem->areas = calloc(plan->n_nodes, sizeof(mem->areas[0]));
    mem->plain = calloc(2 * plan->n_nodes, sizeof(mem->plain[0]));
    mem->backings = calloc(2 * plan->n_nodes + plan->n_backings, sizeof(mem->backings[0]));
    mem->slots = calloc(layout->n_ranges, sizeof(mem->slots[0]));
    mem->holds = calloc(plan->n_nodes, sizeof(mem->holds[0]));
    mem->pages = new_pages();
    if (mem->areas == NULL || mem->plain == NULL || mem->backings == NULL || mem->slots == NULL ||
        mem->holds == NULL || mem->pages == NULL) {
        r = errctx_set(ec, ENOMEM, "no memory for the guest's address space");
        goto err_free;
    }
    r = guest_mem_make_file(mem, ec);
    if (r < 0)
        goto err_free;
    for (size_t i = 0; i < plan->n_nodes; i++) {
        const struct topo_plan_node *n = &plan->nodes[i];

        if (n->ram_bytes == 0 && n->hotplug_bytes == 0)
            continue;
        r = add_node(mem, n, ec);
        if (r < 0) {
            r = errctx_wrap(ec, r, "virtual node %u", n->vnode.v);
            goto err_free;
        }
    }
    if (add_ranges(mem) < 0) {
        r = errctx_set(ec, ENOMEM, "no memory for the guest's address space");
        goto err_free;
    }
    r = guest_mem_forget_plugged(mem, ec);
    if (r < 0)
        goto err_free;
    mem->load.may_be_dear = mem_load_host_reports("");
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
    for (size_t i = 0; i < mem->n_backings; i++)
        backing_fini(&mem->backings[i]);
    if (mem->file >= 0)
        (void)close(mem->file);
    for (size_t i = 0; i < mem->n_windows; i++)
        free(mem->slots[mem->n_slots + i].plugged);
    for (size_t i = 0; mem->areas != NULL && i < mem->plan->n_nodes; i++)
        mem_area_fini(&mem->areas[i]);
    for (size_t i = 0; mem->holds != NULL && i < mem->plan->n_nodes; i++)
        mem_holds_fini(&mem->holds[i]);
    free_pages(mem->pages);
    free(mem->holds);
    free(mem->areas);
    free(mem->plain);
    free(mem->backings);
    free(mem->slots);
    free(mem);
}

struct guest_mem_range *guest_mem_find(struct guest_mem *mem, uint64_t addr)
{
    size_t lo = 0, hi = mem->n_slots + mem->n_windows;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        struct guest_mem_range *s = &mem->slots[mid];

        if (addr < s->base)
            hi = mid;
        else if (addr - s->base >= s->len)
            lo = mid + 1;
        else
            return s;
    }
    return NULL;
}

uint64_t guest_mem_usable(const struct guest_mem_range *s, uint64_t addr, uint64_t len)
{
    const uint64_t off = addr - s->base, max = MIN(len, s->len - off);
    uint64_t end = off;

    if (s->plugged == NULL)
        return max;
    while (end < off + max) {
        const uint64_t block = end / s->block_bytes;

        if ((atomic_load_explicit(&s->plugged[block / 64], memory_order_acquire) >> block % 64 &
             1) == 0)
            break;
        end = (block + 1) * s->block_bytes;
    }
    return MIN(max, end - off);
}

/* Without who takes pages away. */
static void unhold_only(struct guest_mem_range *s, uint64_t addr, size_t len)
{
    mem_holds_drop(s->holds, s->off + (addr - s->base), len);
    atomic_fetch_sub_explicit(&s->leases, 1, memory_order_release);
}

static void unhold(const struct guest_mem *mem, struct guest_mem_range *s, uint64_t addr,
                   size_t len)
{
    if (mem->dma_ops != NULL)
        mem->dma_ops->end(mem->dma_ctx, s->vnode, s->host + (addr - s->base), len);
    unhold_only(s, addr, len);
}

/* [@addr, @addr+@len) of @s is in use, unless it was unplugged meanwhile (-EFAULT) or is lost
 * (-EHWPOISON). */
static int hold(const struct guest_mem *mem, struct guest_mem_range *s, uint64_t addr, size_t len)
{
    int r = 0;

    atomic_fetch_add_explicit(&s->leases, 1, memory_order_acquire);
    mem_holds_take(s->holds, s->off + (addr - s->base), len);
    if (s->plugged != NULL && guest_mem_usable(s, addr, len) < len)
        r = -EFAULT;
    else if (mem->dma_ops != NULL)
        r = mem->dma_ops->begin(mem->dma_ctx, s->vnode, s->host + (addr - s->base), len);
    if (r < 0)
        unhold_only(s, addr, len);
    return r < 0 && r != -EHWPOISON ? -EFAULT : r;
}

int guest_mem_lease_begin(struct guest_mem *mem, struct gpa addr, size_t len, enum lease_mode mode,
                          struct mem_lease *ret_lease)
{
    struct guest_mem_range *s = guest_mem_find(mem, addr.v);
    int r;

    ret_lease->ptr = NULL;
    if (s == NULL || !checked_range(addr.v - s->base, len, s->len) ||
        guest_mem_usable(s, addr.v, len) < len)
        return -EFAULT;
    r = hold(mem, s, addr.v, len);
    if (r < 0)
        return r;
    *ret_lease = (struct mem_lease){
        .ptr = s->host + (addr.v - s->base),
        .len = len,
        .mode = mode,
        .range = (uint32_t)(s - mem->slots),
    };
    return 0;
}

void guest_mem_lease_end(struct guest_mem *mem, struct mem_lease *lease)
{
    if (lease->ptr == NULL)
        return;
    unhold(mem, &mem->slots[lease->range], guest_mem_lease_addr(mem, lease).v, lease->len);
    lease->ptr = NULL;
}

struct gpa guest_mem_lease_addr(const struct guest_mem *mem, const struct mem_lease *lease)
{
    const struct guest_mem_range *s = &mem->slots[lease->range];

    return (struct gpa){ s->base + (uint64_t)((uint8_t *)lease->ptr - s->host) };
}

/* Walk [addr, addr+len) slot by slot; @buf NULL fills with @byte. */
static int copy(struct guest_mem *mem, uint64_t addr, void *buf, size_t len, bool to_guest,
                uint8_t byte)
{
    uint8_t *p = buf;

    while (len > 0) {
        struct guest_mem_range *s = guest_mem_find(mem, addr);
        size_t part;
        int r;

        if (s == NULL)
            return -EFAULT;
        part = guest_mem_usable(s, addr, len);
        r = part > 0 ? hold(mem, s, addr, part) : -EFAULT;
        if (r < 0)
            return r;
        if (p == NULL)
            memset(s->host + (addr - s->base), byte, part);
        else if (to_guest)
            memcpy(s->host + (addr - s->base), p, part);
        else
            memcpy(p, s->host + (addr - s->base), part);
        unhold(mem, s, addr, part);
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

static const struct backing *backing_at(const struct guest_mem *mem, const uint8_t *host)
{
    for (size_t i = 0; i < mem->n_backings; i++) {
        const struct backing *b = &mem->backings[i];

        if (host >= b->host && host < b->host + b->len_bytes)
            return b;
    }
    return NULL;
}

size_t guest_mem_first_part(struct guest_mem *mem, uint64_t addr, size_t len,
                            struct guest_mem_range **ret_range, const struct backing **ret_backing)
{
    struct guest_mem_range *s = guest_mem_find(mem, addr);
    const struct backing *b = s != NULL ? backing_at(mem, s->host + (addr - s->base)) : NULL;

    if (b == NULL)
        return 0;
    *ret_range = s;
    *ret_backing = b;
    len = guest_mem_usable(s, addr, len);
    return MIN(len, (size_t)(b->host + b->len_bytes - (s->host + (addr - s->base))));
}

bool guest_mem_is_ram(struct guest_mem *mem, uint64_t addr, size_t len)
{
    const struct backing *b;
    struct guest_mem_range *s;

    while (len > 0) {
        const size_t part = guest_mem_first_part(mem, addr, len, &s, &b);

        if (part == 0)
            return false;
        addr += part;
        len -= part;
    }
    return true;
}

int guest_mem_load(struct guest_mem *mem, struct gpa addr, int fd, uint64_t off, size_t len,
                   size_t *ret_len)
{
    const struct backing *b;
    struct guest_mem_range *s;
    size_t done = 0;

    if (!guest_mem_is_ram(mem, addr.v, len))
        return -EFAULT;
    while (done < len) {
        const uint64_t at = addr.v + done;
        const size_t part = guest_mem_first_part(mem, at, len - done, &s, &b);
        size_t n = 0;
        int r;

        r = hold(mem, s, at, part);
        if (r < 0)
            return r;
        r = mem_load(&mem->load, b, (size_t)(s->host + (at - s->base) - b->host), fd, off + done,
                     part, &n);
        unhold(mem, s, at, part);
        if (r < 0)
            return r;
        done += n;
        if (n < part)
            break;
    }
    *ret_len = done;
    return 0;
}

void guest_mem_set_dma_ops(struct guest_mem *mem, const struct guest_mem_dma_ops *ops, void *ctx)
{
    mem->dma_ops = ops;
    mem->dma_ctx = ctx;
}

uint64_t guest_mem_leases(const struct guest_mem *mem)
{
    uint64_t n = 0;

    for (size_t i = 0; i < mem->n_slots + mem->n_windows; i++)
        n += atomic_load_explicit(&mem->slots[i].leases, memory_order_acquire);
    return n;
}

int guest_mem_discard(struct guest_mem *mem, struct errctx *ec)
{
    uint64_t leases = guest_mem_leases(mem);
    int r;

    if (leases != 0)
        return errctx_set(ec, EBUSY, "guest memory is in use (%llu leases)",
                          (unsigned long long)leases);
    for (size_t i = 0; i < mem->n_backings; i++) {
        r = backing_discard(&mem->backings[i], ec);
        if (r < 0)
            return errctx_wrap(ec, r, "virtual node %u", mem->backings[i].plan->vnode.v);
    }
    r = guest_mem_forget_plugged(mem, ec);
    if (r < 0)
        return r;
    mem_load_forget(&mem->load); /* what was given back just now is at hand */
    return 0;
}

int guest_mem_commit(struct guest_mem *mem, const struct guest_mem_commit *how, struct errctx *ec)
{
    for (size_t i = 0; i < mem->n_backings; i++) {
        const struct backing *b = &mem->backings[i];
        int r = b->plan->reserve ? backing_reserve(b, ec) : 0;

        if (r < 0)
            return errctx_wrap(ec, r, "virtual node %u", b->plan->vnode.v);
    }
    return mem_fill(mem, how, ec);
}

size_t guest_mem_n_backings(const struct guest_mem *mem)
{
    return mem->n_backings;
}

const struct backing *guest_mem_backing(const struct guest_mem *mem, size_t i)
{
    return &mem->backings[i];
}

void guest_mem_set_home(struct guest_mem *mem, size_t i, const struct backing_home *home)
{
    mem->backings[i].home = *home;
    mem->backings[i].moved = true;
}

void guest_mem_home(const struct guest_mem *mem, struct vnode_id vnode, struct idset *ret_nodes)
{
    struct idset nodes = { 0 };

    for (size_t i = 0; i < mem->n_backings; i++)
        if (mem->backings[i].plan->vnode.v == vnode.v)
            idset_or(&nodes, &mem->backings[i].home.host_nodes);
    *ret_nodes = nodes;
}

const struct topo_plan *guest_mem_plan(const struct guest_mem *mem)
{
    return mem->plan;
}

const struct mem_layout *guest_mem_layout(const struct guest_mem *mem)
{
    return mem->layout;
}

uint64_t guest_mem_resident_bytes(const struct guest_mem *mem, struct vnode_id vnode)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < mem->n_backings; i++)
        if (mem->backings[i].plan->vnode.v == vnode.v)
            bytes += backing_held_bytes(&mem->backings[i]);
    return bytes;
}

size_t guest_mem_n_slots(const struct guest_mem *mem)
{
    return mem->n_slots;
}

struct guest_mem_slot guest_mem_slot(const struct guest_mem *mem, size_t i)
{
    const struct guest_mem_range *s = &mem->slots[i];

    return (struct guest_mem_slot){
        .vnode = s->vnode, .base = { s->base }, .len_bytes = s->len, .host = s->host
    };
}
