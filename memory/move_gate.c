/* SPDX-License-Identifier: Apache-2.0 */
/* See move_gate.h. */
#include "memory/move_gate.h"

#include <errno.h>
#include <sys/mman.h>

#include "memory/pager/uffd.h"

int move_gate_init(int uffd, bool fixed, struct move_gate *ret_gate, struct errctx *ec)
{
    struct move_gate g = { .uffd = fixed ? -1 : uffd };
    int r = fixed ? 0 : mem_area_init(BACKING_EXTENT, BACKING_EXTENT, &g.aside, ec);

    if (r == 0)
        *ret_gate = g;
    return r;
}

void move_gate_fini(struct move_gate *g)
{
    if (g->aside.start != NULL)
        mem_area_fini(&g->aside);
}

void move_gate_wake(struct move_gate *g, void *at, size_t len_bytes)
{
    (void)uffd_unregister(g->uffd, at, len_bytes, NULL);
    /* Where the mapping was replaced there was nothing to unregister, and nobody is awake. */
    uffd_wake(g->uffd, at, len_bytes);
}

static int carry(void *from, void *to, size_t len_bytes)
{
    return mremap(from, len_bytes, len_bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
                  to) == MAP_FAILED
               ? -errno
               : 0;
}

/* Whose the addresses are after a failure only the kernel knows: they are not to be used again. */
static void lose_aside(struct move_gate *g)
{
    g->uffd = -1;
    g->aside.start = NULL;
}

/* What is there is mapped elsewhere next, and not twice. */
void move_gate_drop(struct move_gate *g)
{
    (void)mmap(g->aside.start, BACKING_EXTENT, PROT_NONE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
}

uint8_t *move_gate_take(struct move_gate *g, void *at, size_t len_bytes)
{
    int r;

    if (g->uffd < 0)
        return NULL;
    r = uffd_register(g->uffd, at, len_bytes, NULL);
    if (r == -EBUSY)
        return NULL;
    if (r == 0 && carry(at, g->aside.start, len_bytes) == 0)
        return g->aside.start;
    move_gate_wake(g, at, len_bytes); /* also where a part of it was registered */
    if (r == 0)
        lose_aside(g);
    return NULL;
}

int move_gate_shake(struct move_gate *g, void *at, size_t len_bytes)
{
    int r;

    if (g->aside.start == NULL)
        return -ENOTSUP;
    if (carry(at, g->aside.start, len_bytes) < 0) {
        lose_aside(g);
        return -ENOTSUP;
    }
    r = carry(g->aside.start, at, len_bytes);
    if (r < 0)
        move_gate_drop(g);
    return r;
}

int move_gate_give_back(struct move_gate *g, void *at, size_t len_bytes)
{
    const int r = carry(g->aside.start, at, len_bytes); /* in place of what was registered */

    if (r == 0)
        move_gate_wake(g, at, len_bytes);
    else
        move_gate_drop(g);
    return r;
}
