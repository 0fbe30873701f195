/* SPDX-License-Identifier: Apache-2.0 */
/* See move_small.h. */
#include "memory/move_small.h"

#include <errno.h>
#include <sys/mman.h>

#include "memory/move_gate.h"
#include "memory/numa_policy.h"
#include "vmm/base/macros.h"

enum { SAMPLE = 16 };

/* Keep in ->page what is not on @to, and say where most of it is. */
static size_t keep_strangers(struct move_glass *g, size_t n, struct hnode_id to,
                             struct hnode_id *ret_from)
{
    size_t kept = 0, best = 0;

    for (size_t i = 0; i < n; i++) {
        if (numa_policy_is_gone(g->node[i]) || g->node[i] == (int)to.v)
            continue;
        g->page[kept] = g->page[i];
        g->node[kept++] = g->node[i];
    }
    for (size_t i = 0; i < kept;) { /* runs, since neighbours mostly are neighbours there, too */
        size_t end = i + 1;

        while (end < kept && g->node[end] == g->node[i])
            end++;
        if (g->node[i] >= 0 && end - i > best) {
            best = end - i;
            *ret_from = (struct hnode_id){ (uint32_t)g->node[i] };
        }
        i = end;
    }
    return kept;
}

int move_judge(struct move_glass *g, size_t n, size_t page_bytes, struct hnode_id to,
               struct move_tally *t, struct errctx *ec)
{
    int r = numa_policy_locate(g->page, n, g->node, ec);

    for (size_t i = 0; r == 0 && i < n; i++) {
        t->moved_bytes += g->node[i] == (int)to.v ? page_bytes : 0;
        t->left_bytes +=
            g->node[i] != (int)to.v && !numa_policy_is_gone(g->node[i]) ? page_bytes : 0;
    }
    return r;
}

/* Are all of many pages where these are? Elsewhere than on @to: where some are there, each has to
 * be asked. */
static bool is_uniform(struct move_glass *g, size_t n, struct hnode_id to,
                       struct hnode_id *ret_from)
{
    void *some[SAMPLE];

    if (n < 2 * SAMPLE)
        return false;
    for (size_t i = 0; i < SAMPLE; i++)
        some[i] = g->page[i * (n - 1) / (SAMPLE - 1)];
    if (numa_policy_locate(some, SAMPLE, g->node, NULL) < 0 || g->node[0] < 0 ||
        g->node[0] == (int)to.v)
        return false;
    for (size_t i = 1; i < SAMPLE; i++)
        if (g->node[i] != g->node[0])
            return false;
    *ret_from = (struct hnode_id){ (uint32_t)g->node[0] };
    return true;
}

/* Keep in ->page those of @n mapped pages that are not on @to. Return: how many, or -errno. */
static int list_strangers(struct move_glass *g, size_t n, struct hnode_id to,
                          struct hnode_id *ret_from, struct errctx *ec)
{
    int r;

    if (is_uniform(g, n, to, ret_from))
        return (int)n;
    r = numa_policy_locate(g->page, n, g->node, ec);
    return r < 0 ? r : (int)keep_strangers(g, n, to, ret_from);
}

/* The same pages, on their way one by one. Return: as move_extents(). */
static int move_strangers(struct move_glass *g, size_t n, size_t page_bytes, struct hnode_id to,
                          struct move_tally *t, struct errctx *ec)
{
    const int moved = numa_policy_move(g->page, n, to, g->node, ec);
    bool all = moved == 0;
    int r = 0;

    for (size_t i = 0; all && i < n; i++)
        all = g->node[i] == (int)to.v;
    if (!all)
        r = move_judge(g, n, page_bytes, to, t, moved < 0 ? NULL : ec);
    if (all || r < 0) /* nobody knows: the way back asks each */
        t->moved_bytes = n * page_bytes;
    return moved < 0 ? moved : r;
}

int move_listed(struct move_glass *g, size_t n, size_t page_bytes, struct hnode_id to,
                struct move_tally *t, struct errctx *ec)
{
    const int strangers = list_strangers(g, n, to, &t->from, ec);

    return strangers <= 0 ? strangers : move_strangers(g, (size_t)strangers, page_bytes, to, t, ec);
}

/* What was taken is given back, whatever it costs; mapped anew where it @cannot be carried. */
static int give_back(struct move_glass *g, const struct move_task *task, size_t len, bool cannot,
                     struct errctx *ec)
{
    uint8_t *const at = task->b->host + task->off;
    int r;

    if (!cannot && move_gate_give_back(&g->gate, at, len) == 0)
        return 0;
    move_gate_drop(&g->gate); /* what is mapped twice does not move */
    r = backing_remap(task->b, task->off, len, ec);
    move_gate_wake(&g->gate, at, len);
    return r;
}

/* Everything that is aside in one call, while no TLB can know of it: the kernel flushes none for a
 * page that is mapped without access, where each page would cost an interrupt at every CPU that
 * runs one of our threads. Return: 1: nothing stayed; 0: something may have; or -EIO, and it
 * has no access still. */
static int drag(uint8_t *aside, size_t len, struct hnode_id to, struct errctx *ec)
{
    bool all;

    if (mprotect(aside, len, PROT_NONE) < 0)
        return 0;
    all = numa_policy_drag(aside, len, to, NULL) == 0;
    if (mprotect(aside, len, PROT_READ | PROT_WRITE) == 0)
        return all;
    (void)errctx_set_os(ec, errno, "give access to pages again: mprotect");
    return -EIO; /* never ENOMEM, which says that the target is full and nothing else is wrong */
}

/* A sample of what was dragged: the kernel passes over a page that is mapped twice, and says
 * nothing. */
static bool seem_there(struct move_glass *g, size_t n, struct hnode_id to)
{
    const size_t k = MIN(n, (size_t)SAMPLE);
    void *some[SAMPLE];

    for (size_t i = 0; i < k; i++)
        some[i] = g->page[k > 1 ? i * (n - 1) / (k - 1) : 0];
    if (numa_policy_locate(some, k, g->node, NULL) < 0)
        return false;
    for (size_t i = 0; i < k; i++)
        if (g->node[i] != (int)to.v)
            return false;
    return true;
}

static int move_aside(struct move_glass *g, struct move_task *task, uint8_t *aside, size_t len,
                      size_t n, struct hnode_id to, struct errctx *ec)
{
    struct move_tally *const t = &task->tally;
    uint8_t *const at = task->b->host + task->off;
    int r;

    for (size_t i = 0; i < n; i++)
        g->page[i] = aside + ((uint8_t *)g->page[i] - at);
    r = move_glass_complete(g, aside, n, ec);
    if (r == 0)
        r = list_strangers(g, n, to, &t->from, ec);
    if (r <= 0)
        return r;
    n = (size_t)r;
    r = drag(aside, len, to, ec);
    if (r > 0 && !seem_there(g, n, to))
        r = 0;
    if (r != 0) /* after -EIO, too */
        t->moved_bytes = n * BACKING_PAGE;
    return r == 0 ? move_strangers(g, n, BACKING_PAGE, to, t, ec) : MIN(r, 0);
}

/* Have KVM forget them all at once; they are mapped here afterwards. */
static int take_in_place(struct move_glass *g, const struct move_task *task, size_t n, size_t len,
                         struct errctx *ec)
{
    uint8_t *const at = task->b->host + task->off;
    int r = move_gate_shake(&g->gate, at, len);

    if (r == 0)
        return move_glass_complete(g, at, n, ec);
    if (r != -ENOTSUP)
        r = backing_remap(task->b, task->off, len, ec);
    else
        r = madvise(at, len, MADV_DONTNEED) == 0
                ? 0
                : errctx_set_os(ec, errno, "take pages from the guest: madvise");
    return r < 0 ? r : move_glass_map(g, n, ec);
}

int move_small(struct move_glass *g, struct move_task *task, struct hnode_id to, struct errctx *ec)
{
    uint8_t *const at = task->b->host + task->off;
    const size_t len = move_glass_pages(task->b, task->off) * BACKING_PAGE;
    int r = move_glass_list(g, task->b, task->off, ec);
    const size_t n = r > 0 ? (size_t)r : 0;
    uint8_t *aside;

    if (r <= 0)
        return r;
    aside = move_gate_take(&g->gate, at, len);
    if (aside != NULL) {
        int back;

        r = move_aside(g, task, aside, len, n, to, ec);
        back = give_back(g, task, len, r < 0 && r != -ENOMEM, ec);
        return back < 0 ? back : r;
    }
    r = take_in_place(g, task, n, len, ec);
    return r < 0 ? r : move_listed(g, n, BACKING_PAGE, to, &task->tally, ec);
}
