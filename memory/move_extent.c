/* SPDX-License-Identifier: Apache-2.0 */
/* See move_extent.h. */
#include "memory/move_extent.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "memory/move_gate.h"
#include "memory/numa_policy.h"
#include "vmm/base/macros.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1; Debian 12's C library does not name it */
#endif

enum { SAMPLE = 16 };

static bool from_pool(const struct backing *b)
{
    return guest_page_bytes(b->plan->pages) > 0;
}

size_t move_extent_bytes(const struct backing *b)
{
    return MAX(backing_page_bytes(b), (size_t)MOVE_EXTENT_BYTES);
}

static bool is_gone(int node)
{
    return node == -ENOENT || node == -EFAULT;
}

/* Keep in ->page what is not on @to, and say where most of it is. */
static size_t keep_strangers(struct move_glass *g, size_t n, struct hnode_id to,
                             struct hnode_id *ret_from)
{
    size_t kept = 0, best = 0;

    for (size_t i = 0; i < n; i++) {
        if (is_gone(g->node[i]) || g->node[i] == (int)to.v)
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

/* What became of the @n pages in ->page, each of @page_bytes. */
static int judge(struct move_glass *g, size_t n, size_t page_bytes, struct hnode_id to,
                 struct move_tally *t, struct errctx *ec)
{
    int r = numa_policy_locate(g->page, n, g->node, ec);

    for (size_t i = 0; r == 0 && i < n; i++) {
        t->moved_bytes += g->node[i] == (int)to.v ? page_bytes : 0;
        t->left_bytes += g->node[i] != (int)to.v && !is_gone(g->node[i]) ? page_bytes : 0;
    }
    return r;
}

/* --- small pages, and one page of a pool ------------------------------------------------------ */

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

/* Move the @n mapped pages in ->page. Return: as move_extents(). */
static int move_listed(struct move_glass *g, size_t n, size_t page_bytes, struct hnode_id to,
                       struct move_tally *t, struct errctx *ec)
{
    int moved, r;
    bool all;

    if (!is_uniform(g, n, to, &t->from)) {
        r = numa_policy_locate(g->page, n, g->node, ec);
        if (r < 0)
            return r;
        n = keep_strangers(g, n, to, &t->from);
    }
    if (n == 0)
        return 0;
    moved = numa_policy_move(g->page, n, to, g->node, ec);
    if (moved < 0 && moved != -ENOMEM)
        return moved;
    all = moved == 0;
    for (size_t i = 0; all && i < n; i++)
        all = g->node[i] == (int)to.v;
    if (all)
        t->moved_bytes = n * page_bytes;
    r = all ? 0 : judge(g, n, page_bytes, to, t, ec);
    return r < 0 ? r : moved;
}

/* What was taken is given back, whatever it costs. */
static int give_back(struct move_glass *g, const struct move_task *task, size_t len,
                     struct errctx *ec)
{
    uint8_t *const at = task->b->host + task->off;
    int r = move_gate_give_back(&g->gate, at, len);

    if (r == 0)
        return 0;
    r = backing_remap(task->b, task->off, len, ec);
    move_gate_wake(&g->gate, at, len);
    return r;
}

/* Small pages that the guest uses: carried off, the @n that ->page lists among them. */
static int move_aside(struct move_glass *g, struct move_task *task, uint8_t *aside, size_t n,
                      struct hnode_id to, struct errctx *ec)
{
    uint8_t *const at = task->b->host + task->off;
    int r, back;

    for (size_t i = 0; i < n; i++)
        g->page[i] = aside + ((uint8_t *)g->page[i] - at);
    r = move_glass_complete(g, aside, n, ec);
    if (r == 0)
        r = move_listed(g, n, BACKING_PAGE, to, &task->tally, ec);
    back = give_back(g, task, move_glass_pages(task->b, task->off) * BACKING_PAGE, ec);
    return back < 0 ? back : r;
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

static int move_small(struct move_glass *g, struct move_task *task, struct hnode_id to,
                      struct errctx *ec)
{
    uint8_t *const at = task->b->host + task->off;
    const size_t len = move_glass_pages(task->b, task->off) * BACKING_PAGE;
    int r = move_glass_list(g, task->b, task->off, at, ec); /* cheap while they are mapped */
    const size_t n = r > 0 ? (size_t)r : 0;
    uint8_t *aside;

    if (r <= 0)
        return r;
    aside = task->idle ? NULL : move_gate_take(&g->gate, at, len);
    if (aside != NULL)
        return move_aside(g, task, aside, n, to, ec);
    r = take_in_place(g, task, n, len, ec);
    return r < 0 ? r : move_listed(g, n, BACKING_PAGE, to, &task->tally, ec);
}

/* --- huge pages of normal memory -------------------------------------------------------------- */

bool move_extent_mend(struct move_glass *g, const struct backing *b, uint64_t off)
{
    if (move_glass_is_huge(g, b, off))
        return true;
    move_glass_wipe(g);
    return madvise(b->host + off, MOVE_EXTENT_BYTES, MADV_COLLAPSE) == 0 &&
           move_glass_is_huge(g, b, off);
}

/* A huge page of which nobody said that it arrived: it may be on its old node, or in pieces, some
 * here and some there. */
static int judge_huge(struct move_glass *g, struct move_task *task, struct hnode_id to,
                      struct errctx *ec)
{
    const bool whole = move_extent_mend(g, task->b, task->off);
    uint8_t *const at = task->b->host + task->off;
    int r = 1;

    move_glass_wipe(g);
    g->page[0] = at;
    if (!whole) {
        task->kind = MOVE_SAMPLE_SMALL;
        r = move_glass_list(g, task->b, task->off, at, ec);
    }
    if (r > 0) {
        const size_t n = (size_t)r;

        r = move_glass_map(g, n, ec);
        if (r == 0)
            r = judge(g, n, whole ? MOVE_EXTENT_BYTES : BACKING_PAGE, to, &task->tally, ec);
    }
    return r;
}

static void *last_of(const struct move_task *task)
{
    return task->b->host + task->off + MOVE_EXTENT_BYTES - BACKING_PAGE;
}

/* Map the first small page of each extent, and list the last one of those that are one page and
 * not on @to. Return: how many, or -errno. */
static int list_huge(struct move_glass *g, struct move_task *tasks, size_t n, struct hnode_id to,
                     size_t *ret_index, struct errctx *ec)
{
    size_t kept = 0;
    int r;

    for (size_t i = 0; i < n; i++) {
        uint8_t *const at = tasks[i].b->host + tasks[i].off;

        g->page[i] = last_of(&tasks[i]);
        /* A hole would be filled. Nothing is wrong where it fails: then it is no huge page. */
        if (mincore(at, BACKING_PAGE, g->there) == 0 && (g->there[0] & 1) != 0)
            (void)madvise(at, BACKING_PAGE, MADV_POPULATE_READ);
    }
    r = numa_policy_locate(g->page, n, g->node, ec);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        if (g->node[i] < 0)
            tasks[i].kind = MOVE_SAMPLE_NONE; /* to be looked at anew */
        else if (g->node[i] != (int)to.v) {
            tasks[i].tally.from = (struct hnode_id){ (uint32_t)g->node[i] };
            g->page[kept] = g->page[i];
            ret_index[kept++] = i;
        }
    }
    return (int)kept;
}

static int move_huge(struct move_glass *g, struct move_task *tasks, size_t n, struct hnode_id to,
                     struct errctx *ec)
{
    size_t index[MOVE_BATCH];
    int node[MOVE_BATCH], moved, r = list_huge(g, tasks, n, to, index, ec);
    const size_t kept = r > 0 ? (size_t)r : 0;

    if (r <= 0)
        return r;
    moved = numa_policy_move(g->page, kept, to, g->node, ec);
    if (moved < 0 && moved != -ENOMEM)
        return moved;
    r = numa_policy_locate(g->page, kept, node, ec);
    for (size_t i = 0; r == 0 && i < kept; i++) {
        if (node[i] == (int)to.v)
            tasks[index[i]].tally.moved_bytes = MOVE_EXTENT_BYTES;
        else
            r = judge_huge(g, &tasks[index[i]], to, ec);
    }
    return r < 0 ? r : moved;
}

/* --- both ------------------------------------------------------------------------------------- */

static int move_one(struct move_glass *g, struct move_task *task, struct hnode_id to,
                    struct errctx *ec)
{
    int r;

    if (from_pool(task->b)) {
        g->page[0] = task->b->host + task->off;
        return move_listed(g, 1, backing_page_bytes(task->b), to, &task->tally, ec);
    }
    task->kind = move_glass_look(g, task->b, task->off);
    move_glass_wipe(g);
    switch (task->kind) {
    case MOVE_SAMPLE_NONE:
        if (!task->b->plan->reserve)
            return 0;
        task->kind = MOVE_SAMPLE_SMALL; /* set aside there, though no page yet */
        return move_small(g, task, to, ec);
    case MOVE_SAMPLE_SMALL:
        return move_small(g, task, to, ec);
    case MOVE_SAMPLE_HUGE:
        break;
    }
    r = move_huge(g, task, 1, to, ec);
    if (r == 0 && task->kind == MOVE_SAMPLE_NONE) { /* one page that is mapped in pieces */
        task->kind = MOVE_SAMPLE_SMALL;
        r = move_small(g, task, to, ec);
    }
    return r;
}

int move_extents(struct move_glass *g, struct move_task *tasks, size_t n, struct hnode_id to,
                 struct errctx *ec)
{
    int r = 0, full = 0;

    for (size_t i = 0; i < n; i++)
        tasks[i].tally = (struct move_tally){ 0 };
    if (tasks[0].kind == MOVE_SAMPLE_HUGE)
        r = move_huge(g, tasks, n, to, ec);
    else if (tasks[0].kind == MOVE_SAMPLE_SMALL)
        r = move_small(g, tasks, to, ec);
    full = r == -ENOMEM ? r : 0;
    for (size_t i = 0; i < n && (r == 0 || r == -ENOMEM); i++)
        if (tasks[i].kind == MOVE_SAMPLE_NONE) {
            r = move_one(g, &tasks[i], to, ec);
            full = r == -ENOMEM ? r : full;
        }
    return r < 0 ? r : full;
}
