/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rebalancing: one snapshot an epoch in, at most one step (a few moves that belong together) out.
 * See balance.h; balance_search.c finds steps.
 *
 * Each epoch loads are smoothed, steps that may be taken are weighed, and the one that pays most is
 * the candidate. It stays the candidate while it pays, even if another one pays more now: noise
 * that turns the order of two good steps round must not keep both from being taken. After
 * params.confirm epochs it is the decision.
 */
#include "vcpu/policy/balance.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vcpu/policy/balance_private.h"
#include "vmm/base/macros.h"

enum {
    SMOOTH = 4, /* a new load counts for one part in so many */
    PING_PONG_MAX = 6,
    PING_PONG_TIMES = 8, /* residency times until a return counts no more */
    SETTLE = 3,          /* epochs after an arrival until the gain is measured */
    SLACK = 4,           /* moving may take so many times as long as it should */
};

struct balance_params balance_defaults(void)
{
    return (struct balance_params){ .horizon_ns = UINT64_C(300) * 1000000000,
                                    .residency_ns = UINT64_C(60) * 1000000000,
                                    .bytes_per_s = UINT64_C(1) << 30,
                                    .min_gain_milli = 250,
                                    .gib_gain_milli = 20,
                                    .confirm = 3,
                                    .most_stall = BALANCE_STALL_ALL / 10 };
}

int balance_new(const struct balance_params *params, uint32_t n_nodes, uint32_t n_vnodes,
                struct balance **ret_balance, struct errctx *ec)
{
    struct balance *b;
    int r;

    if (n_nodes == 0 || n_nodes > BALANCE_MAX_NODES || n_vnodes == 0 ||
        n_vnodes > BALANCE_MAX_VNODES)
        return errctx_set(ec, EINVAL, "%u virtual nodes on %u host nodes cannot be balanced",
                          n_vnodes, n_nodes);
    b = calloc(1, sizeof(*b));
    if (b == NULL)
        return errctx_set(ec, ENOMEM, "no memory to balance nodes");
    b->params = *params;
    r = balance_view_init(&b->view, n_nodes, n_vnodes, ec);
    if (r < 0)
        goto err_free;
    b->past = calloc(n_vnodes, sizeof(b->past[0]));
    b->loads = calloc((size_t)n_vnodes + n_nodes, sizeof(b->loads[0]));
    b->smooth = calloc((size_t)n_vnodes + n_nodes, sizeof(b->smooth[0]));
    if (b->past == NULL || b->loads == NULL || b->smooth == NULL) {
        r = errctx_set(ec, ENOMEM, "no memory to balance nodes");
        goto err_fini;
    }
    *ret_balance = b;
    return 0;

err_fini:
    free(b->past);
    free(b->loads);
    free(b->smooth);
    balance_view_fini(&b->view);
err_free:
    free(b);
    return r;
}

void balance_free(struct balance *b)
{
    if (b == NULL)
        return;
    free(b->past);
    free(b->loads);
    free(b->smooth);
    balance_view_fini(&b->view);
    free(b);
}

/* --- snapshots -------------------------------------------------------------------------------- */

static int check_nodes(const struct balance_snapshot *s, struct errctx *ec)
{
    const size_t pairs = (size_t)s->n_nodes * s->n_nodes;

    for (uint32_t h = 0; h < s->n_nodes; h++) {
        const struct balance_node *n = &s->nodes[h];

        if (n->capacity_milli > BALANCE_MAX_NODE_MILLI || n->others_milli > BALANCE_MAX_NODE_MILLI)
            return errctx_set(ec, EINVAL, "host node %u has more CPU time than can be", h);
        if (n->mem_bytes > BALANCE_MAX_BYTES || n->free_bytes > n->mem_bytes)
            return errctx_set(ec, EINVAL, "host node %u has more memory free than can be", h);
    }
    for (size_t i = 0; i < pairs; i++)
        if (s->distances[i] < BALANCE_LOCAL || s->distances[i] > BALANCE_MAX_DISTANCE)
            return errctx_set(ec, EINVAL, "distance %u is not between %d and %d", s->distances[i],
                              BALANCE_LOCAL, BALANCE_MAX_DISTANCE);
    return 0;
}

int balance_check(const struct balance_snapshot *s, struct errctx *ec)
{
    int r;

    if (s->n_nodes == 0 || s->n_nodes > BALANCE_MAX_NODES || s->n_vnodes == 0 ||
        s->n_vnodes > BALANCE_MAX_VNODES)
        return errctx_set(ec, EINVAL, "%u virtual nodes on %u host nodes cannot be balanced",
                          s->n_vnodes, s->n_nodes);
    if (s->stall > BALANCE_STALL_ALL)
        return errctx_set(ec, EINVAL, "tasks waited for longer than all the time");
    r = check_nodes(s, ec);
    for (uint32_t i = 0; r == 0 && i < s->n_vnodes; i++) {
        uint64_t bytes = 0;

        if (s->vnodes[i].home >= s->n_nodes)
            return errctx_set(ec, EINVAL, "virtual node %u is on a host node that is none", i);
        if (s->vnodes[i].demand_milli > BALANCE_MAX_MILLI)
            return errctx_set(ec, EINVAL, "virtual node %u wants more CPU time than can be", i);
        for (uint32_t h = 0; h < s->n_nodes; h++) {
            if (s->at_bytes[(size_t)i * s->n_nodes + h] > s->nodes[h].mem_bytes)
                return errctx_set(ec, EINVAL,
                                  "virtual node %u has more memory on host node %u than that has",
                                  i, h);
            bytes += s->at_bytes[(size_t)i * s->n_nodes + h];
        }
        if (bytes > BALANCE_MAX_BYTES)
            return errctx_set(ec, EINVAL, "virtual node %u has more memory than can be", i);
    }
    for (size_t i = 0; s->told != NULL && i < (size_t)s->n_vnodes * s->n_vnodes; i++)
        if (s->told[i] > BALANCE_MAX_DISTANCE / (BALANCE_LOCAL / 10))
            return errctx_set(ec, EINVAL, "a distance of %u cannot have been told", s->told[i]);
    return r;
}

/* A node that is not where it was has moved, whoever did it. */
static void see_home(struct balance *b, struct balance_past *p, const struct balance_snapshot *s,
                     uint32_t home)
{
    const uint64_t window = b->params.residency_ns * PING_PONG_TIMES;

    if (p->home != home) {
        if (p->moved && p->left == home && s->time_ns - p->moved_ns < window)
            p->ping_pong = MIN(p->ping_pong + 1, (uint32_t)PING_PONG_MAX);
        p->left = p->home;
        p->home = home;
        p->moved = true;
        p->moved_ns = s->time_ns;
        p->rest_ns = MAX(p->rest_ns, s->time_ns + b->params.residency_ns);
    } else if (p->ping_pong > 0 && s->time_ns - p->moved_ns >= window) {
        p->ping_pong--;
        p->moved_ns = s->time_ns;
    }
}

/* At first a load may be far from its mean: as far as half of it, until more is known. */
static uint32_t smooth(struct balance_load *l, uint32_t milli, bool first)
{
    const int64_t now = (int64_t)milli * BALANCE_FIXED, off = now - l->mean;

    if (first) {
        *l = (struct balance_load){ .mean = now, .deviation = now / 2 };
    } else {
        l->mean += off / SMOOTH;
        l->deviation += ((off < 0 ? -off : off) - l->deviation) / SMOOTH;
    }
    return (uint32_t)(l->mean / BALANCE_FIXED);
}

static void remember(struct balance *b, const struct balance_snapshot *s)
{
    const uint32_t v = s->n_vnodes;

    for (uint32_t i = 0; i < v; i++) {
        if (!b->any)
            b->past[i] = (struct balance_past){ .home = s->vnodes[i].home };
        see_home(b, &b->past[i], s, s->vnodes[i].home);
        b->smooth[i] = smooth(&b->loads[i], s->vnodes[i].demand_milli, !b->any);
    }
    for (uint32_t h = 0; h < s->n_nodes; h++)
        b->smooth[v + h] = smooth(&b->loads[v + h], s->nodes[h].others_milli, !b->any);
    b->any = true;
    b->last_ns = s->time_ns;
}

/* --- decisions -------------------------------------------------------------------------------- */

/* The candidate of this epoch, the last one's if it still pays. .step.n is 0 when there is none. */
static struct balance_offer choose(struct balance *b)
{
    struct balance_offer best = { .step = b->candidate };
    bool same = best.step.n > 0;

    for (uint32_t k = 0; same && k < best.step.n; k++)
        same = balance_is_free(b, best.step.vnode[k]) &&
               b->view.home[best.step.vnode[k]] == best.step.from[k];
    if (same && balance_weigh(b, &best)) {
        b->streak++;
        return best;
    }
    balance_search(b, &best);
    b->candidate = best.step;
    b->streak = best.step.n > 0;
    return best;
}

static struct balance_decision *last(struct balance *b)
{
    return b->n_log == 0 ? NULL : &b->log[(b->n_log - 1) % BALANCE_LOG];
}

/* Stray memory came home: there is no way back to weigh. */
static bool gathers(const struct balance_step *s)
{
    for (uint32_t k = 0; k < s->n; k++)
        if (s->from[k] == s->to[k])
            return true;
    return false;
}

/* What going back would cost by the load of now: where memory was before does not matter to it. */
static int64_t cost_of_return(struct balance *b, const struct balance_step *s)
{
    bool whole[BALANCE_STEP];
    int64_t gain = 0;

    for (uint32_t k = 0; k < s->n; k++) {
        whole[k] = b->view.gathered[s->vnode[k]];
        gain -= balance_view_gain(&b->view, s->vnode[k], s->from[k]);
        balance_view_put(&b->view, s->vnode[k], s->from[k]);
    }
    for (uint32_t k = s->n; k-- > 0;)
        balance_view_back(&b->view, s->vnode[k], s->to[k], whole[k]);
    return gain;
}

static uint64_t time_for(const struct balance *b, uint64_t bytes)
{
    const uint64_t ms = (bytes >> 20) * 1000 / MAX(b->params.bytes_per_s >> 20, UINT64_C(1));

    return b->params.residency_ns + ms * SLACK * 1000000;
}

/* What became of the last decision? */
static void follow_up(struct balance *b)
{
    struct balance_decision *d = last(b);
    bool there = true;

    if (d == NULL || d->outcome != BALANCE_WAITING)
        return;
    for (uint32_t k = 0; k < d->step.n; k++)
        there = there && b->view.home[d->step.vnode[k]] == d->step.to[k] &&
                b->view.gathered[d->step.vnode[k]];
    b->settle = there ? b->settle + 1 : 0;
    if (b->settle >= SETTLE) {
        d->outcome = BALANCE_DONE;
        d->achieved = gathers(&d->step) ? b->before - balance_view_cost(&b->view)
                                        : cost_of_return(b, &d->step);
    } else if (!there && b->view.snap->time_ns - d->time_ns >= time_for(b, d->bytes)) {
        d->outcome = BALANCE_NOT_DONE;
    }
}

static void decide(struct balance *b, const struct balance_offer *o,
                   struct balance_decision *ret_decision)
{
    const uint64_t now = b->view.snap->time_ns;
    struct balance_decision d = { .time_ns = now,
                                  .step = o->step,
                                  .bytes = o->bytes,
                                  .predicted = o->gain,
                                  .threshold = o->threshold };

    for (uint32_t k = 0; k < o->step.n; k++) {
        struct balance_past *p = &b->past[o->step.vnode[k]];

        d.ping_pong = MAX(d.ping_pong, p->ping_pong);
        p->rest_ns = now + b->params.residency_ns;
    }
    b->log[b->n_log++ % BALANCE_LOG] = d;
    b->candidate.n = 0;
    b->streak = 0;
    b->settle = 0;
    b->before = balance_view_cost(&b->view);
    *ret_decision = d;
}

int balance_epoch(struct balance *b, const struct balance_snapshot *snap,
                  struct balance_decision *ret_decision, struct errctx *ec)
{
    struct balance_offer o;
    int r = balance_check(snap, ec);

    if (r < 0)
        return r;
    if (snap->n_nodes != b->view.n_nodes || snap->n_vnodes != b->view.n_vnodes)
        return errctx_set(ec, EINVAL, "the numbers of nodes have changed");
    if (b->any && snap->time_ns <= b->last_ns)
        return errctx_set(ec, EINVAL, "time went back");
    remember(b, snap);
    balance_view_set(&b->view, snap, b->smooth, b->smooth + snap->n_vnodes);
    follow_up(b);
    if (last(b) != NULL && last(b)->outcome == BALANCE_WAITING)
        return 0; /* one thing at a time: its effect is part of what the next one looks at */
    if (snap->stall > b->params.most_stall) {
        b->candidate.n = 0;
        b->streak = 0;
        return 0;
    }
    o = choose(b);
    if (o.step.n == 0 || b->streak < b->params.confirm)
        return 0;
    decide(b, &o, ret_decision);
    return 1;
}

const struct balance_decision *balance_log(const struct balance *b, size_t i)
{
    const size_t first = b->n_log > BALANCE_LOG ? b->n_log - BALANCE_LOG : 0;

    return i < b->n_log - first ? &b->log[(first + i) % BALANCE_LOG] : NULL;
}
