/* SPDX-License-Identifier: Apache-2.0 */
/* Giving guest memory back while the guest runs, and looking at what is there. See guest_mem.h. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "memory/guest_mem_private.h"
#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

/* Whole pages of @b leave, and what a pager keeps of them. What it is bringing back just now and
 * cannot stays. */
static int punch_paged(const struct guest_mem *mem, const struct guest_mem_range *s,
                       const struct backing *b, size_t off, size_t end, bool for_long,
                       uint64_t *gone_bytes)
{
    int r = 0;

    for (size_t n; r == 0 && off < end; off += n + BACKING_PAGE) {
        uint8_t *const at = b->host + off;

        n = mem->dma_ops->forget(mem->dma_ctx, s->vnode, at, end - off, for_long);
        r = backing_give_back(b, off, n, gone_bytes);
        mem->dma_ops->forgotten(mem->dma_ctx, s->vnode, at, n);
    }
    return r;
}

static int punch(const struct guest_mem *mem, const struct guest_mem_range *s,
                 const struct backing *b, uint64_t addr, size_t len, bool for_long,
                 uint64_t *gone_bytes)
{
    const size_t off = (size_t)(s->host + (addr - s->base) - b->host);

    if (mem->dma_ops == NULL)
        return backing_give_back(b, off, len, gone_bytes);
    return punch_paged(mem, s, b, align_up(off, BACKING_PAGE), align_down(off + len, BACKING_PAGE),
                       for_long, gone_bytes);
}

/* [@addr, @addr+@len), which lies in @b and in as many extents as its largest page has. */
static int give_back_part(struct guest_mem *mem, struct guest_mem_range *s, const struct backing *b,
                          uint64_t addr, size_t len, bool for_long, uint64_t *gone_bytes)
{
    const size_t off = s->off + (addr - s->base);
    int r;
    PAGES_SCOPE(mem);

    if (!mem_holds_close(s->holds, off, len))
        return 0;
    r = punch(mem, s, b, addr, len, for_long, gone_bytes);
    mem_holds_open(s->holds, off, len);
    return r;
}

int guest_mem_give_back(struct guest_mem *mem, struct gpa addr, uint64_t len_bytes, bool for_long,
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
        r = give_back_part(mem, s, b, at, part, for_long, &gone);
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

static void add_away(const struct guest_mem *mem, const struct guest_mem_range *s, const void *at,
                     size_t n_pages, uint8_t *there)
{
    if (mem->dma_ops != NULL)
        mem->dma_ops->add_away(mem->dma_ctx, s->vnode, at, n_pages, there);
}

/* What is kept elsewhere is looked for after the pages, so that what leaves meanwhile is found, and
 * before, for what comes back. */
int guest_mem_present(struct guest_mem *mem, struct gpa addr, size_t n_pages, uint8_t *ret_there)
{
    const struct guest_mem_range *s = guest_mem_find(mem, addr.v);
    const size_t len = n_pages * BACKING_PAGE;
    uint8_t away[BACKING_EXTENT / BACKING_PAGE];
    uint8_t *at;

    if (s == NULL || !checked_range(addr.v - s->base, len, s->len) ||
        guest_mem_usable(s, addr.v, len) < len)
        return -EFAULT;
    at = s->host + (addr.v - s->base);
    for (size_t done = 0; done < n_pages; done += sizeof(away)) {
        const size_t n = MIN(n_pages - done, sizeof(away));

        memset(away, 0, n);
        add_away(mem, s, at + done * BACKING_PAGE, n, away);
        if (mincore(at + done * BACKING_PAGE, n * BACKING_PAGE, ret_there + done) < 0)
            return -errno;
        add_away(mem, s, at + done * BACKING_PAGE, n, away);
        for (size_t i = 0; i < n; i++)
            ret_there[done + i] |= away[i];
    }
    return 0;
}

void guest_mem_pages_stay(const struct guest_mem *mem)
{
    (void)pthread_mutex_lock(&mem->pages->turn);
    (void)pthread_mutex_lock(&mem->pages->lock);
    (void)pthread_mutex_unlock(&mem->pages->turn);
}

void guest_mem_pages_may_go(const struct guest_mem *mem)
{
    (void)pthread_mutex_unlock(&mem->pages->lock);
}
