/* SPDX-License-Identifier: Apache-2.0 */
/* See mem_move.h. */
#include "memory/mem_move.h"

#include <errno.h>
#include <stdlib.h>

#include "memory/move_extent.h"
#include "memory/move_heat.h"
#include "memory/move_splits.h"
#include "vmm/base/evloop.h"
#include "vmm/base/macros.h"

enum {
    NOWHERE = UINT16_MAX, /* no page of the extent was moved */
    ROUNDS = 2,           /* of looking which extents are in use */
    ROUND_NS = 25 * 1000 * 1000,
    AGAIN_NS = 20 * 1000 * 1000, /* before another pass over pages that are in use, times passes */
};

struct extent {
    uint32_t backing;
    uint16_t from;   /* the host node that most of it came from */
    uint8_t kind;    /* an enum move_sample, as it was looked at last */
    bool zapped : 1; /* a sample of it was taken out of our page table */
    bool left : 1;   /* the last pass could not move all of it */
    bool unsure : 1; /* a huge page that moved; in pieces, perhaps */
    uint64_t off;
};

struct mem_move {
    struct mem_move_params params;
    struct move_glass glass;
    struct extent *extents;
    uint32_t *order;
    uint8_t *heat; /* rounds in which the extent was touched */
    size_t n_extents;
    struct move_rate rate;
    struct move_state state;
    struct mem_move_progress progress;
};

static const struct backing *backing_of(const struct mem_move *mv, const struct extent *e)
{
    return guest_mem_backing(mv->params.mem, e->backing);
}

static bool is_ours(const struct mem_move *mv, size_t i)
{
    return guest_mem_backing(mv->params.mem, i)->plan->vnode.v == mv->params.vnode.v;
}

static int list_extents(struct mem_move *mv, struct errctx *ec)
{
    const struct guest_mem *mem = mv->params.mem;
    size_t n = 0, k = 0;

    for (size_t i = 0; i < guest_mem_n_backings(mem); i++) {
        const struct backing *b = guest_mem_backing(mem, i);

        if (is_ours(mv, i))
            n += (b->len_bytes + move_extent_bytes(b) - 1) / move_extent_bytes(b);
    }
    if (n == 0)
        return errctx_set(ec, ENOENT, "virtual node %u has no memory", mv->params.vnode.v);
    mv->extents = calloc(n, sizeof(*mv->extents));
    mv->order = calloc(n, sizeof(*mv->order));
    mv->heat = calloc(n, sizeof(*mv->heat));
    if (mv->extents == NULL || mv->order == NULL || mv->heat == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a list of %zu extents", n);
    for (uint32_t i = 0; i < guest_mem_n_backings(mem); i++) {
        const struct backing *b = guest_mem_backing(mem, i);

        if (!is_ours(mv, i))
            continue;
        for (uint64_t off = 0; off < b->len_bytes; off += move_extent_bytes(b)) {
            mv->order[k] = (uint32_t)k;
            mv->extents[k++] = (struct extent){ .backing = i, .from = NOWHERE, .off = off };
        }
        mv->progress.total_bytes += b->len_bytes;
    }
    mv->n_extents = n;
    return 0;
}

int mem_move_new(const struct mem_move_params *params, struct mem_move **ret_move,
                 struct errctx *ec)
{
    struct mem_move *mv = calloc(1, sizeof(*mv));
    int r;

    if (mv == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a move");
    mv->params = *params;
    mv->rate.bytes_per_s = params->bytes_per_s;
    mv->state.stay = params->stay;
    r = list_extents(mv, ec);
    if (r == 0)
        r = move_glass_init(params->pagemap, params->gate, params->paged, &mv->glass, ec);
    if (r < 0) {
        mem_move_free(mv);
        return r;
    }
    *ret_move = mv;
    return 0;
}

void mem_move_free(struct mem_move *mv)
{
    if (mv == NULL)
        return;
    move_glass_fini(&mv->glass);
    free(mv->extents);
    free(mv->order);
    free(mv->heat);
    free(mv);
}

struct backing_home mem_move_home(const struct backing_home *home, struct hnode_id to,
                                  enum move_phase phase)
{
    const bool strict = home->policy == GUEST_POLICY_BIND ||
                        home->policy == GUEST_POLICY_INTERLEAVE ||
                        home->policy == GUEST_POLICY_WEIGHTED;
    struct backing_home next = { 0 };

    if (phase == MOVE_RETURNED || (phase == MOVE_HALF_WAY && !strict))
        return *home;
    if (phase == MOVE_HALF_WAY)
        next.host_nodes = home->host_nodes;
    idset_add(&next.host_nodes, to.v);
    next.policy = strict && move_is_over(phase) ? GUEST_POLICY_BIND : GUEST_POLICY_PREFERRED;
    return next;
}

static int aim(struct mem_move *mv, struct errctx *ec)
{
    const enum move_phase phase = mv->state.phase;
    int r = 0;

    for (size_t i = 0; r == 0 && i < guest_mem_n_backings(mv->params.mem); i++) {
        const struct backing *b = guest_mem_backing(mv->params.mem, i);
        const struct backing_home next = mem_move_home(&b->home, mv->params.to, phase);

        if (!is_ours(mv, i))
            continue;
        if (phase == MOVE_BACK || phase == MOVE_RETURNED)
            r = backing_aim_home(b, ec);
        else
            r = backing_aim(b, &next, ec);
    }
    return r;
}

/* Has the present pass nothing to do with it? Forward once more for what was left, back for what
 * had come. */
static bool is_done(const struct mem_move *mv, const struct extent *e)
{
    if (mv->state.phase == MOVE_BACK)
        return e->from == NOWHERE || (mv->state.pass > 0 && !e->left);
    return mv->state.pass > 0 && !e->left;
}

static struct hnode_id way_of(const struct mem_move *mv, const struct extent *e)
{
    return mv->state.phase == MOVE_BACK ? (struct hnode_id){ e->from } : mv->params.to;
}

/* The extents from the @first in order on that go together: huge pages to one node, as long as
 * nobody wants it slow. */
static size_t gather(const struct mem_move *mv, size_t first)
{
    const struct extent *e = &mv->extents[mv->order[first]];
    const struct hnode_id to = way_of(mv, e);
    size_t n = 1;

    if (e->kind != MOVE_SAMPLE_HUGE || is_done(mv, e) || mv->rate.bytes_per_s > 0)
        return 1;
    for (; n < MOVE_BATCH && first + n < mv->n_extents; n++) {
        e = &mv->extents[mv->order[first + n]];
        if (e->kind != MOVE_SAMPLE_HUGE || is_done(mv, e) || way_of(mv, e).v != to.v)
            break;
    }
    return n;
}

static void count(struct mem_move *mv, struct extent *e, const struct move_task *task)
{
    const struct move_tally *t = &task->tally;
    struct mem_move_progress *p = &mv->progress;
    const bool back = mv->state.phase == MOVE_BACK;

    if (!back && t->moved_bytes > 0 && e->from == NOWHERE)
        e->from = (uint16_t)t->from.v;
    if (e->kind == MOVE_SAMPLE_HUGE && task->kind == MOVE_SAMPLE_SMALL)
        p->split_bytes += MOVE_EXTENT_BYTES;
    e->kind = (uint8_t)task->kind;
    e->zapped = false;
    e->left = t->left_bytes > 0;
    e->unsure = e->kind == MOVE_SAMPLE_HUGE && t->moved_bytes > 0;
    p->moved_bytes = back ? p->moved_bytes - MIN(p->moved_bytes, t->moved_bytes)
                          : p->moved_bytes + t->moved_bytes;
}

/* @n extents, from the @first in order on, on their way in the present direction. */
static int carry(struct mem_move *mv, size_t first, size_t n, uint64_t *left_bytes,
                 struct errctx *ec)
{
    const uint64_t began_ns = evloop_now_ns();
    struct move_task task[MOVE_BATCH];
    uint64_t moved_bytes = 0;
    int r = 0;

    for (size_t i = 0; i < n; i++) {
        const struct extent *e = &mv->extents[mv->order[first + i]];
        const struct backing *b = backing_of(mv, e);

        task[i] = (struct move_task){ .b = b, .off = e->off, .kind = (enum move_sample)e->kind };
        mv->progress.seen_bytes += MIN(move_extent_bytes(b), b->len_bytes - e->off);
    }
    if (is_done(mv, &mv->extents[mv->order[first]]))
        return 0;
    guest_mem_pages_stay(mv->params.mem); /* what is there is mapped: what has gone would return */
    r = move_extents(&mv->glass, task, n, way_of(mv, &mv->extents[mv->order[first]]), ec);
    guest_mem_pages_may_go(mv->params.mem);
    for (size_t i = 0; i < n; i++) {
        /* After an error what moved has to go back; nothing is known of the rest. */
        if (r == 0 || r == -ENOMEM || task[i].tally.moved_bytes > 0)
            count(mv, &mv->extents[mv->order[first + i]], &task[i]);
        *left_bytes += task[i].tally.left_bytes;
        moved_bytes += task[i].tally.moved_bytes;
    }
    move_rate_spend(&mv->rate, began_ns, moved_bytes);
    return r;
}

/* Put together again what the kernel split since @splits were counted (@told: it does count). */
static void mend(struct mem_move *mv, bool told, uint64_t splits)
{
    uint64_t now = splits;

    told = told && move_splits_read(mv->params.vmstat, &now) == 0;
    for (size_t i = 0; (!told || now != splits) && i < mv->n_extents; i++) {
        struct extent *e = &mv->extents[i];
        bool whole;

        if (!e->unsure)
            continue;
        e->unsure = false;
        guest_mem_pages_stay(mv->params.mem);
        whole = move_extent_mend(&mv->glass, backing_of(mv, e), e->off);
        guest_mem_pages_may_go(mv->params.mem);
        if (whole)
            continue;
        e->kind = MOVE_SAMPLE_SMALL;
        mv->progress.split_bytes += MOVE_EXTENT_BYTES;
    }
    move_glass_wipe(&mv->glass);
}

static void tell(struct mem_move *mv)
{
    mv->progress.phase = mv->state.phase;
    mv->progress.pass = mv->state.pass;
    mv->progress.was_full = mv->state.was_full;
    mv->progress.cancelled = mv->state.cancelled;
}

/* What was said between two steps, as an event. Return: 0 to go on, 1 for *ret_event, -ECANCELED.
 */
static int listen_to(struct mem_move *mv, const struct mem_move_ops *ops, void *ctx,
                     uint64_t ready_ns, enum move_event *ret_event, struct errctx *ec)
{
    switch (ops->between(ctx, &mv->progress, ready_ns)) {
    case MEM_MOVE_GO:
        break;
    case MEM_MOVE_QUIT:
        return errctx_set(ec, ECANCELED, "the machine ends");
    case MEM_MOVE_CANCEL:
        *ret_event = MOVE_CANCEL;
        return mv->state.phase != MOVE_BACK; /* else it does go back */
    case MEM_MOVE_CANCEL_STAY:
        *ret_event = MOVE_CANCEL_STAY;
        return 1;
    }
    return 0;
}

/* One round of samples. Return: how many there are. */
static size_t zap(struct mem_move *mv, unsigned round)
{
    size_t samples = 0;

    for (size_t i = 0; i < mv->n_extents; i++) {
        struct extent *e = &mv->extents[i];

        /* A huge page that nobody touched is out still. */
        if (!e->zapped || e->kind != MOVE_SAMPLE_HUGE)
            e->zapped |= move_heat_zap(backing_of(mv, e), e->off, (enum move_sample)e->kind, round);
        samples += e->zapped;
    }
    return samples;
}

static void look_back(struct mem_move *mv, unsigned round)
{
    for (size_t i = 0; i < mv->n_extents; i++) {
        struct extent *e = &mv->extents[i];

        if (!e->zapped || !move_heat_is_warm(&mv->glass, backing_of(mv, e), e->off,
                                             (enum move_sample)e->kind, round))
            continue;
        mv->heat[i]++;
        e->zapped = e->kind != MOVE_SAMPLE_HUGE;
    }
}

/* Find out what is in use: samples of all extents, round by round. Return: as listen_to(). */
static int take_samples(struct mem_move *mv, const struct mem_move_ops *ops, void *ctx,
                        enum move_event *ret_event, struct errctx *ec)
{
    if (mv->params.pagemap < 0)
        return 0;
    for (size_t i = 0; i < mv->n_extents; i++) {
        struct extent *e = &mv->extents[i];

        e->kind = (uint8_t)move_glass_look(&mv->glass, backing_of(mv, e), e->off);
    }
    move_glass_wipe(&mv->glass);
    for (unsigned round = 0; round < ROUNDS; round++) {
        int r;

        if (zap(mv, round) == 0) /* pages of a pool only, or nothing is there */
            return 0;
        r = listen_to(mv, ops, ctx, evloop_now_ns() + ROUND_NS, ret_event, ec);
        if (r != 0)
            return r;
        look_back(mv, round);
    }
    return 0;
}

/* Samples that were taken out, put back from the @first extent in order on: what moves maps itself.
 */
static void put_back(struct mem_move *mv, size_t first)
{
    for (size_t i = first; i < mv->n_extents; i++) {
        struct extent *e = &mv->extents[mv->order[i]];

        guest_mem_pages_stay(mv->params.mem);
        if (e->zapped)
            move_glass_restore(&mv->glass, backing_of(mv, e), e->off);
        guest_mem_pages_may_go(mv->params.mem);
        e->zapped = false;
    }
    move_glass_wipe(&mv->glass);
}

/* Put first what is in use. Return: as listen_to(). */
static int find_hot(struct mem_move *mv, const struct mem_move_ops *ops, void *ctx,
                    enum move_event *ret_event, struct errctx *ec)
{
    const int r = take_samples(mv, ops, ctx, ret_event, ec);

    if (r < 0)
        return r;
    for (size_t i = 0; i < mv->n_extents; i++)
        if (mv->heat[i] > 0)
            mv->progress.hot_bytes += move_extent_bytes(backing_of(mv, &mv->extents[i]));
    move_order(mv->heat, mv->n_extents, mv->order);
    if (r > 0)
        put_back(mv, 0);
    return r;
}

/* Go over all extents. Return: 0 with *ret_event, -ECANCELED, or the errno of a call. */
static int visit(struct mem_move *mv, const struct mem_move_ops *ops, void *ctx, uint64_t wait_ns,
                 enum move_event *ret_event, struct errctx *ec)
{
    uint64_t left_bytes = 0;

    for (size_t i = 0, n; i < mv->n_extents; i += n) {
        const uint64_t ready_ns = MAX(mv->rate.ready_ns, i == 0 ? wait_ns : 0);
        int r = listen_to(mv, ops, ctx, ready_ns, ret_event, ec);

        if (r > 0)
            put_back(mv, i);
        if (r != 0)
            return r < 0 ? r : 0;
        n = gather(mv, i);
        r = carry(mv, i, n, &left_bytes, ec);
        if (r < 0)
            put_back(mv, i);
        if (r == -ENOMEM) {
            *ret_event = MOVE_FULL;
            return 0;
        }
        if (r < 0)
            return r;
    }
    mv->progress.left_bytes = left_bytes;
    *ret_event = MOVE_PASS_DONE;
    return 0;
}

/* Once over everything. Return: as visit(). */
static int pass(struct mem_move *mv, const struct mem_move_ops *ops, void *ctx,
                enum move_event *ret_event, struct errctx *ec)
{
    const bool again = mv->state.pass > 0;
    uint64_t splits = 0, wait_ns = 0;
    bool told;
    int r;

    mv->progress.seen_bytes = 0;
    if (mv->state.phase == MOVE_FORWARD && !again) {
        r = find_hot(mv, ops, ctx, ret_event, ec);
        if (r != 0)
            return r < 0 ? r : 0;
    }
    if (again)
        wait_ns = evloop_now_ns() + (uint64_t)AGAIN_NS * mv->state.pass;
    told = move_splits_read(mv->params.vmstat, &splits) == 0;
    r = visit(mv, ops, ctx, wait_ns, ret_event, ec);
    if (r != -ECANCELED)
        mend(mv, told, splits);
    return r;
}

int mem_move_run(struct mem_move *mv, const struct mem_move_ops *ops, void *ctx, struct errctx *ec)
{
    int r = aim(mv, ec), failed = 0;

    if (r < 0) { /* nothing was moved yet */
        mv->state.phase = MOVE_RETURNED;
        (void)aim(mv, NULL);
        tell(mv);
        return r;
    }
    tell(mv);
    while (!move_is_over(mv->state.phase)) {
        const enum move_phase before = mv->state.phase;
        struct errctx why = { 0 };
        enum move_event event = MOVE_PASS_DONE;

        r = pass(mv, ops, ctx, &event, &why);
        if (r == -ECANCELED)
            return errctx_set(ec, ECANCELED, "%s", why.msg);
        if (r < 0) { /* as if it had been cancelled; on the way back: where it is */
            failed = errctx_set(ec, -r, "%s", why.msg);
            event = before == MOVE_BACK ? MOVE_CANCEL_STAY : MOVE_CANCEL;
        }
        (void)move_next(&mv->state, event, mv->progress.left_bytes);
        if (mv->state.phase != before)
            r = aim(mv, failed < 0 ? NULL : ec);
        if (mv->state.phase != before && r < 0 && failed == 0)
            failed = r;
        tell(mv);
    }
    return failed;
}

const struct mem_move_progress *mem_move_progress(const struct mem_move *mv)
{
    return &mv->progress;
}

void mem_move_record(const struct mem_move *mv, struct guest_mem *mem)
{
    const enum move_phase phase = mv->state.phase;

    for (size_t i = 0; i < guest_mem_n_backings(mem); i++) {
        const struct backing *b = guest_mem_backing(mem, i);
        const struct backing_home next = mem_move_home(&b->home, mv->params.to, phase);

        if (is_ours(mv, i) && (phase == MOVE_ARRIVED || phase == MOVE_HALF_WAY))
            guest_mem_set_home(mem, i, &next);
    }
}
