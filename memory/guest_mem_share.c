/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory as another process maps it: ranges cut where a backing ends. See guest_mem.h. */
#include "memory/guest_mem_private.h"
#include "vmm/base/macros.h"

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

size_t guest_mem_pieces(const struct guest_mem *mem, struct guest_mem_piece *ret_pieces, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < mem->n_slots + mem->n_windows; i++) {
        const struct guest_mem_range *s = &mem->slots[i];

        for (uint64_t done = 0; done < s->len;) {
            const struct backing *b = backing_of(mem, s->vnode, s->off + done);
            const uint64_t off = b != NULL ? s->off + done - b->plan->off : 0;
            const uint64_t len = b != NULL ? MIN(s->len - done, b->len_bytes - off) : 0;

            if (b == NULL) /* a plan without memory for it, which guest_mem_new() refuses */
                break;
            if (n < max)
                ret_pieces[n] = (struct guest_mem_piece){
                    .base = { s->base + done }, .len_bytes = len, .memfd = b->memfd, .off = off
                };
            n++;
            done += len;
        }
    }
    return n;
}
