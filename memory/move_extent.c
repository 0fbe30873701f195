/* SPDX-License-Identifier: Apache-2.0 */
/* See move_extent.h. */
#include "memory/move_extent.h"

#include <errno.h>
#include <sys/mman.h>

#include "memory/move_small.h"
#include "memory/numa_policy.h"
#include "memory/page_table.h"
#include "vmm/base/macros.h"

static bool from_pool(const struct backing *b)
{
    return guest_page_bytes(b->plan->pages) > 0;
}

size_t move_extent_bytes(const struct backing *b)
{
    return MAX(backing_page_bytes(b), (size_t)MOVE_EXTENT_BYTES);
}

/* --- huge pages of normal memory -------------------------------------------------------------- */

bool move_extent_mend(struct move_glass *g, const struct backing *b, uint64_t off)
{
    if (move_glass_is_huge(g, b, off))
        return true;
    move_glass_wipe(g);
    return page_table_collapse(b->host + off, MOVE_EXTENT_BYTES) == 0 &&
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
        r = move_glass_list(g, task->b, task->off, ec);
    }
    if (r > 0) {
        const size_t n = (size_t)r;

        r = move_glass_map(g, n, ec);
        if (r == 0)
            r = move_judge(g, n, whole ? MOVE_EXTENT_BYTES : BACKING_PAGE, to, &task->tally, ec);
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
    bool failed;

    if (r <= 0)
        return r;
    moved = numa_policy_move(g->page, kept, to, g->node, ec);
    failed = moved < 0 && moved != -ENOMEM;
    r = numa_policy_locate(g->page, kept, node, failed ? NULL : ec);
    for (size_t i = 0; i < kept; i++) {
        struct move_task *task = &tasks[index[i]];

        if (r == 0 && !failed && node[i] != (int)to.v)
            r = judge_huge(g, task, to, ec);
        if (r < 0 || node[i] == (int)to.v || (failed && node[i] < 0)) /* it may be */
            task->tally.moved_bytes = MOVE_EXTENT_BYTES;
    }
    return r < 0 && !failed ? r : moved;
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
