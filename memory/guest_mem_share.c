/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory as another process maps it: ranges cut where a file ends. See guest_mem.h.
 *
 * Where the plan wants one file, the nodes' RAM lies in it one behind the other, as in the guest's
 * addresses; each part has its policy. Windows and pages of pools have files of their own.
 */
#include "memory/guest_mem_private.h"
#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

int guest_mem_make_file(struct guest_mem *mem, struct errctx *ec)
{
    uint64_t len = 0;

    if (!mem->plan->one_file)
        return 0;
    for (size_t i = 0; i < mem->plan->n_nodes; i++) /* and room for each backing to begin anew */
        len += align_up(mem->plan->nodes[i].ram_bytes, BACKING_EXTENT) + BACKING_EXTENT;
    len += (uint64_t)mem->plan->n_backings * BACKING_EXTENT;
    return backing_file_new(len, &mem->file, ec);
}

int guest_mem_put(struct guest_mem *mem, const struct topo_plan_backing *plan, uint8_t *at,
                  bool keep, struct backing *ret_backing, struct errctx *ec)
{
    const uint64_t at_off = align_up(mem->file_used, BACKING_EXTENT);
    int r;

    if (mem->file < 0 || guest_page_bytes(plan->pages) > 0 ||
        plan->off >= mem->plan->nodes[plan->vnode.v].ram_bytes)
        return backing_init(plan, at, keep, ret_backing, ec);
    r = backing_init_in(plan, at, keep, mem->file, at_off, ret_backing, ec);
    if (r == 0)
        mem->file_used = at_off + plan->len_bytes;
    return r;
}

static const struct backing *backing_of(const struct guest_mem *mem, struct vnode_id vnode,
                                        uint64_t off)
{
    for (size_t i = 0; i < mem->n_backings; i++) {
        const struct backing *b = &mem->backings[i];

        if (b->plan->vnode.v == vnode.v && off >= b->plan->off && off - b->plan->off < b->len_bytes)
            return b;
    }
    return NULL;
}

/* Does @next go on where @last ends, for the guest and in the file that both are of? */
static bool goes_on(const struct guest_mem_piece *last, const struct guest_mem_piece *next)
{
    return last->base.v + last->len_bytes == next->base.v &&
           last->off + last->len_bytes == next->off;
}

size_t guest_mem_pieces(const struct guest_mem *mem, struct guest_mem_piece *ret_pieces, size_t max)
{
    struct guest_mem_piece last = { .memfd = -1 };
    bool shared = false; /* the last one is of the file that nodes share */
    size_t n = 0;

    for (size_t i = 0; i < mem->n_slots + mem->n_windows; i++) {
        const struct guest_mem_range *s = &mem->slots[i];

        for (uint64_t done = 0; done < s->len;) {
            const struct backing *b = backing_of(mem, s->vnode, s->off + done);
            const uint64_t off = b != NULL ? s->off + done - b->plan->off : 0;
            const uint64_t len = b != NULL ? MIN(s->len - done, b->len_bytes - off) : 0;
            struct guest_mem_piece next = { .base = { s->base + done }, .len_bytes = len };

            if (b == NULL) /* a plan without memory for it, which guest_mem_new() refuses */
                break;
            next.memfd = b->memfd;
            next.off = (uint64_t)backing_file_at(b, off);
            if (shared && b->shares_file && goes_on(&last, &next)) {
                last.len_bytes += len;
            } else {
                last = next;
                n++;
            }
            shared = b->shares_file;
            if (n <= max)
                ret_pieces[n - 1] = last;
            done += len;
        }
    }
    return n;
}
