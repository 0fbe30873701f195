/* SPDX-License-Identifier: Apache-2.0 */
/* Windows for memory that is plugged in later, block by block. See guest_mem.h. */
#include <errno.h>
#include <sys/mman.h>

#include "memory/guest_mem_private.h"
#include "vmm/base/checked.h"

/* The window that holds whole blocks [@addr, @addr+@len), or NULL. */
static struct guest_mem_range *find_blocks(struct guest_mem *mem, uint64_t addr, uint64_t len)
{
    struct guest_mem_range *s = guest_mem_find(mem, addr);

    if (s == NULL || s->plugged == NULL || len == 0 || (addr - s->base) % s->block_bytes != 0 ||
        len % s->block_bytes != 0 || !checked_range(addr - s->base, len, s->len))
        return NULL;
    return s;
}

static void set_blocks(struct guest_mem_range *s, uint64_t addr, uint64_t len, bool plugged)
{
    const uint64_t first = (addr - s->base) / s->block_bytes;

    for (uint64_t i = first; i < first + len / s->block_bytes; i++) {
        if (plugged)
            atomic_fetch_or_explicit(&s->plugged[i / 64], 1ull << i % 64, memory_order_release);
        else
            atomic_fetch_and_explicit(&s->plugged[i / 64], ~(1ull << i % 64), memory_order_release);
    }
}

int guest_mem_plug(struct guest_mem *mem, struct gpa addr, uint64_t len_bytes)
{
    struct guest_mem_range *s = find_blocks(mem, addr.v, len_bytes);
    PAGES_SCOPE(mem);

    if (s == NULL)
        return -EFAULT;
    if (mprotect((uint8_t *)s->host + (addr.v - s->base), len_bytes, PROT_READ | PROT_WRITE) < 0)
        return -errno;
    if (mem->dma_ops != NULL)
        mem->dma_ops->open(mem->dma_ctx, s->vnode, s->host + (addr.v - s->base), len_bytes);
    set_blocks(s, addr.v, len_bytes, true);
    return 0;
}

/* What is kept of closed blocks goes, and what there is of them. @ret_gone: what was there. */
static int empty_blocks(const struct guest_mem *mem, const struct guest_mem_range *s,
                        const struct backing *b, uint8_t *host, uint64_t len, uint64_t *ret_gone)
{
    int r = 0;

    if (mem->dma_ops != NULL)
        r = mem->dma_ops->close(mem->dma_ctx, s->vnode, host, len);
    if (r < 0)
        return r;
    r = backing_give_back(b, (size_t)(host - b->host), len, ret_gone);
    if (r < 0 && mem->dma_ops != NULL)
        mem->dma_ops->open(mem->dma_ctx, s->vnode, host, len);
    return r;
}

int guest_mem_unplug(struct guest_mem *mem, struct gpa addr, uint64_t len_bytes,
                     uint64_t *ret_gone_bytes)
{
    struct guest_mem_range *s = find_blocks(mem, addr.v, len_bytes);
    const struct backing *b;
    struct guest_mem_range *same;
    uint64_t gone = 0;
    size_t off;
    uint8_t *host;
    int r;
    PAGES_SCOPE(mem);

    if (s == NULL || guest_mem_first_part(mem, addr.v, len_bytes, &same, &b) < len_bytes)
        return -EFAULT;
    off = s->off + (addr.v - s->base);
    host = s->host + (addr.v - s->base);
    if (!mem_holds_close(s->holds, off, len_bytes))
        return -EBUSY;
    if (mprotect(host, len_bytes, PROT_NONE) < 0) {
        r = -errno;
        mem_holds_open(s->holds, off, len_bytes);
        return r;
    }
    set_blocks(s, addr.v, len_bytes, false);
    r = empty_blocks(mem, s, b, host, len_bytes, &gone);
    if (r < 0 && mprotect(host, len_bytes, PROT_READ | PROT_WRITE) == 0)
        set_blocks(s, addr.v, len_bytes, true);
    else if (r == 0)
        *ret_gone_bytes = gone;
    mem_holds_open(s->holds, off, len_bytes);
    return r;
}

uint64_t guest_mem_plugged(struct guest_mem *mem, struct gpa addr, uint64_t len_bytes)
{
    const struct guest_mem_range *s = find_blocks(mem, addr.v, len_bytes);
    uint64_t bytes = 0;

    for (uint64_t done = 0; s != NULL && done < len_bytes; done += s->block_bytes)
        bytes += guest_mem_usable(s, addr.v + done, s->block_bytes);
    return bytes;
}

int guest_mem_forget_plugged(struct guest_mem *mem, struct errctx *ec)
{
    for (size_t i = mem->n_slots; i < mem->n_slots + mem->n_windows; i++) {
        struct guest_mem_range *s = &mem->slots[i];

        if (mprotect(s->host, s->len, PROT_NONE) < 0)
            return errctx_set_os(ec, errno, "close the window of virtual node %u", s->vnode.v);
        set_blocks(s, s->base, s->len, false);
    }
    return 0;
}

size_t guest_mem_n_windows(const struct guest_mem *mem)
{
    return mem->n_windows;
}

struct guest_mem_window guest_mem_window(const struct guest_mem *mem, size_t i)
{
    const struct guest_mem_range *s = &mem->slots[mem->n_slots + i];

    return (struct guest_mem_window){
        .vnode = s->vnode,
        .base = { s->base },
        .len_bytes = s->len,
        .block_bytes = s->block_bytes,
        .host = s->host,
    };
}
