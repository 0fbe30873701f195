/* SPDX-License-Identifier: Apache-2.0 */
/* Giving guest memory back while the guest runs, and looking at what is there. See guest_mem.h. */
#include <errno.h>
#include <sys/mman.h>

#include "memory/guest_mem_private.h"
#include "vmm/base/checked.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

/* What a pager keeps of its whole pages. */
static void forget(const struct guest_mem *mem, const struct guest_mem_range *s, uint64_t addr,
                   size_t len)
{
    const uint64_t start = align_up(addr - s->base, BACKING_PAGE);
    const uint64_t end = align_down(addr - s->base + len, BACKING_PAGE);

    if (mem->dma_ops != NULL && end > start)
        mem->dma_ops->forget(mem->dma_ctx, s->vnode, s->host + start, end - start);
}

/* [@addr, @addr+@len), which lies in @b and in as many extents as its largest page has. */
static int give_back_part(struct guest_mem *mem, struct guest_mem_range *s, const struct backing *b,
                          uint64_t addr, size_t len, uint64_t *gone_bytes)
{
    const size_t off = s->off + (addr - s->base);
    int r;
    LOCK_SCOPE(mem->pages_lock);

    if (!mem_holds_close(s->holds, off, len))
        return 0;
    forget(mem, s, addr, len);
    r = backing_give_back(b, (size_t)(s->host + (addr - s->base) - b->host), len, gone_bytes);
    mem_holds_open(s->holds, off, len);
    return r;
}

int guest_mem_give_back(struct guest_mem *mem, struct gpa addr, uint64_t len_bytes,
                        uint64_t *ret_gone_bytes)
{
    uint64_t done = 0, gone = 0;
    int r = 0;

    if (!guest_mem_is_ram(mem, addr.v, len_bytes))
        return -EFAULT;
    while (r == 0 && done < len_bytes) {
        const uint64_t at = addr.v + done;
        const struct backing *b;
        size_t part, unit;
        struct guest_mem_range *s;

        part = guest_mem_first_part(mem, at, len_bytes - done, &s, &b);
        unit = MAX((size_t)BACKING_EXTENT, backing_page_bytes(b));
        part = MIN(part, unit - (s->off + (at - s->base)) % unit);
        r = give_back_part(mem, s, b, at, part, &gone);
        done += part;
    }
    *ret_gone_bytes = gone;
    return r;
}

size_t guest_mem_page(struct guest_mem *mem, struct gpa addr, struct gpa *ret_start)
{
    const struct backing *b;
    struct guest_mem_range *s;
    size_t page, off;

    if (guest_mem_first_part(mem, addr.v, 1, &s, &b) == 0)
        return 0;
    page = backing_page_bytes(b);
    off = (size_t)(s->host + (addr.v - s->base) - b->host) % page;
    ret_start->v = addr.v - off;
    return page;
}

int guest_mem_present(struct guest_mem *mem, struct gpa addr, size_t n_pages, uint8_t *ret_there)
{
    const struct guest_mem_range *s = guest_mem_find(mem, addr.v);

    if (s == NULL || !checked_range(addr.v - s->base, n_pages * BACKING_PAGE, s->len) ||
        guest_mem_usable(s, addr.v, n_pages * BACKING_PAGE) < n_pages * BACKING_PAGE)
        return -EFAULT;
    return mincore(s->host + (addr.v - s->base), n_pages * BACKING_PAGE, ret_there) < 0 ? -errno
                                                                                        : 0;
}

void guest_mem_pages_stay(const struct guest_mem *mem)
{
    (void)pthread_mutex_lock(mem->pages_lock);
}

void guest_mem_pages_may_go(const struct guest_mem *mem)
{
    (void)pthread_mutex_unlock(mem->pages_lock);
}
