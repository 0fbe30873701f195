/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which step is worth most? Moves are tried one upon the other, each time the one that gains most,
 * even where that is a loss: a group of nodes that belong together gains only when all of it has
 * moved, and two can change places only over a state that is worse. Of all states on the way the
 * one with the largest worth counts. Once with all host nodes as targets, then once for each of
 * them alone, since a group that goes to one place is what most changes of a host ask for.
 *
 * Work is bounded by BALANCE_STEP moves, each tried for all pairs of a virtual and a host node.
 */
#include "vcpu/policy/balance_private.h"
#include "vmm/base/macros.h"

enum {
    DOUBT = 4,       /* one part in so many of the loads' usual deviation raises thresholds */
    PART_GAIN = 10,  /* of the nodes' demand: the least gain, if that is more */
    MOVING_CPUS = 2, /* busy while memory moves */
    ANY = -1,        /* every host node is a target */
};

bool balance_is_free(const struct balance *b, uint32_t vnode)
{
    return !b->view.snap->vnodes[vnode].fixed && b->view.snap->time_ns >= b->past[vnode].rest_ns;
}

static bool touches(const struct balance_step *s, uint32_t node)
{
    for (uint32_t k = 0; k < s->n; k++)
        if (s->from[k] == node || s->to[k] == node)
            return true;
    return false;
}

/* How far loads may be off on the host nodes of a step, as they usually are. */
static int64_t doubt(const struct balance *b, const struct balance_step *s)
{
    int64_t sum = 0;

    for (uint32_t i = 0; i < b->view.n_vnodes; i++)
        if (touches(s, b->view.snap->vnodes[i].home))
            sum += b->loads[i].deviation;
    for (uint32_t h = 0; h < b->view.n_nodes; h++)
        if (touches(s, h))
            sum += b->loads[b->view.n_vnodes + h].deviation;
    return sum / BALANCE_FIXED * (BALANCE_CPU / 1000) / DOUBT;
}

/* What a step must gain: more than it costs, and so much more that noise is not mistaken for it. */
static int64_t threshold(const struct balance *b, const struct balance_offer *o)
{
    const struct balance_params *p = &b->params;
    const uint64_t mib = o->bytes >> 20, horizon_ms = MAX(p->horizon_ns / 1000000, UINT64_C(1));
    const uint64_t speed = MAX(p->bytes_per_s >> 20, UINT64_C(1)); /* MiB a second */
    uint32_t demand = 0, again = 0;
    int64_t least;

    for (uint32_t k = 0; k < o->step.n; k++) {
        demand += b->view.demand[o->step.vnode[k]];
        again = MAX(again, b->past[o->step.vnode[k]].ping_pong);
    }
    least = (int64_t)MAX(p->min_gain_milli, demand / PART_GAIN) * (BALANCE_CPU / 1000);
    least += doubt(b, &o->step) + (int64_t)(mib * p->gib_gain_milli * (BALANCE_CPU / 1000) >> 10);
    return least * (INT64_C(1) << again) +
           (int64_t)(mib * 1000 / speed * MOVING_CPUS * BALANCE_CPU / horizon_ms);
}

bool balance_weigh(struct balance *b, struct balance_offer *o)
{
    struct balance_view *v = &b->view;
    const struct balance_step *s = &o->step;
    bool room = true, whole[BALANCE_STEP];

    o->gain = 0;
    o->bytes = 0;
    for (uint32_t k = 0; k < s->n; k++) {
        const uint64_t bytes = balance_view_missing(v, s->vnode[k], s->to[k]);

        room = room && (int64_t)bytes <= v->room[s->to[k]];
        o->bytes += bytes;
        o->gain += balance_view_gain(v, s->vnode[k], s->to[k]);
        whole[k] = v->gathered[s->vnode[k]];
        balance_view_put(v, s->vnode[k], s->to[k]);
    }
    for (uint32_t k = s->n; k-- > 0;)
        balance_view_back(v, s->vnode[k], s->from[k], whole[k]);
    o->threshold = threshold(b, o);
    return room && o->gain > o->threshold;
}

/* Worth: the surplus over the threshold, for the memory that moves and a quarter of the machine's.
 * Of steps that gain much the same the one with less memory is better, but little memory alone is
 * not. */
static bool is_better(const struct balance *b, const struct balance_offer *o,
                      const struct balance_offer *best)
{
    const uint64_t quarter = (b->view.total >> 22) + 1; /* MiB */
    const __int128 ours = (__int128)(o->gain - o->threshold) * ((best->bytes >> 20) + quarter);
    const __int128 its = (__int128)(best->gain - best->threshold) * ((o->bytes >> 20) + quarter);

    return best->step.n == 0 || ours > its;
}

static bool is_moved(const struct balance_step *s, uint32_t vnode)
{
    for (uint32_t k = 0; k < s->n; k++)
        if (s->vnode[k] == vnode)
            return true;
    return false;
}

static bool can_go(const struct balance_view *v, uint32_t vnode, uint32_t to)
{
    if (to == v->home[vnode])
        return !v->gathered[vnode] && (int64_t)balance_view_missing(v, vnode, to) <= v->room[to];
    return (v->snap->nodes[to].capacity_milli > 0 || v->demand[vnode] == 0) &&
           (int64_t)balance_view_missing(v, vnode, to) <= v->room[to];
}

/* Put the move that gains most, less what its memory costs, behind the others of @o. */
static bool extend(struct balance *b, struct balance_offer *o, int target)
{
    struct balance_view *v = &b->view;
    struct balance_step *s = &o->step;
    int64_t most = INT64_MIN, gain = 0;
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < v->n_vnodes; i++) {
        if (!balance_is_free(b, i) || is_moved(s, i))
            continue;
        for (uint32_t h = target == ANY ? 0 : (uint32_t)target; h < v->n_nodes; h++) {
            if (can_go(v, i, h)) {
                const uint64_t missing = balance_view_missing(v, i, h);
                const int64_t g = balance_view_gain(v, i, h);
                const int64_t net =
                    g - (int64_t)((missing >> 20) * b->params.gib_gain_milli * 1000 >> 10);

                if (net > most) {
                    most = net;
                    gain = g;
                    bytes = missing;
                    s->vnode[s->n] = i;
                    s->from[s->n] = v->home[i];
                    s->to[s->n] = h;
                }
            }
            if (target != ANY)
                break;
        }
    }
    if (most == INT64_MIN)
        return false;
    s->n++;
    o->gain += gain;
    o->bytes += bytes;
    return true;
}

static void try_chain(struct balance *b, int target, struct balance_offer *best)
{
    struct balance_offer o = { .gain = 0 };
    struct balance_view *v = &b->view;
    bool whole[BALANCE_STEP];

    while (o.step.n < BALANCE_STEP && extend(b, &o, target)) {
        const uint32_t k = o.step.n - 1;

        whole[k] = v->gathered[o.step.vnode[k]];
        balance_view_put(v, o.step.vnode[k], o.step.to[k]);
        o.threshold = threshold(b, &o);
        if (o.gain > o.threshold && is_better(b, &o, best))
            *best = o;
    }
    for (uint32_t k = o.step.n; k-- > 0;)
        balance_view_back(v, o.step.vnode[k], o.step.from[k], whole[k]);
}

void balance_search(struct balance *b, struct balance_offer *ret_offer)
{
    struct balance_offer best = { .gain = 0 };

    try_chain(b, ANY, &best);
    for (uint32_t h = 0; h < b->view.n_nodes; h++)
        try_chain(b, (int)h, &best);
    *ret_offer = best;
}
