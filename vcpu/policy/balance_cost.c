/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cost of where a running machine's virtual nodes are, in millionths of a CPU's time; the terms
 * and weights are in docs/placement.md. The gain of one move looks only at the two host nodes and
 * the virtual node's own pairs, so that an epoch stays cheap with many nodes.
 *
 * Bounds of balance_check() keep all sums within 63 bits: 128² pairs times 2^20 milli-CPUs times
 * 2^20 of distance is below 2^55.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vcpu/policy/balance_private.h"
#include "vmm/base/macros.h"

enum {
    RESERVE_PART = 16, /* a host node with less than this part of its memory free is short of it */
    SHORT_SHIFT = 10,  /* shortage: one millionth for each KiB, about a CPU for each GiB */
    CONTENTION = 100,  /* millionths for each milli-CPU of a full node: a tenth */
    TOLD_LOCAL = 10,
    BROKEN_STEP = 10 * BALANCE_CPU, /* a pair farther apart than told, per step of 1 */
};

int balance_view_init(struct balance_view *v, uint32_t n_nodes, uint32_t n_vnodes,
                      struct errctx *ec)
{
    *v = (struct balance_view){ .n_nodes = n_nodes, .n_vnodes = n_vnodes };
    v->demand = calloc(n_vnodes, sizeof(v->demand[0]));
    v->home = calloc(n_vnodes, sizeof(v->home[0]));
    v->gathered = calloc(n_vnodes, sizeof(v->gathered[0]));
    v->bytes = calloc(n_vnodes, sizeof(v->bytes[0]));
    v->wanted = calloc(n_nodes, sizeof(v->wanted[0]));
    v->room = calloc(n_nodes, sizeof(v->room[0]));
    v->stray = calloc((size_t)n_nodes * n_vnodes, sizeof(v->stray[0]));
    if (v->demand == NULL || v->home == NULL || v->gathered == NULL || v->bytes == NULL ||
        v->wanted == NULL || v->room == NULL || v->stray == NULL) {
        balance_view_fini(v);
        return errctx_set(ec, ENOMEM, "no memory to weigh the places of nodes");
    }
    return 0;
}

void balance_view_fini(struct balance_view *v)
{
    free(v->demand);
    free(v->home);
    free(v->gathered);
    free(v->bytes);
    free(v->wanted);
    free(v->room);
    free(v->stray);
    *v = (struct balance_view){ 0 };
}

static uint32_t distance(const struct balance_view *v, uint32_t a, uint32_t b)
{
    return MAX(v->snap->distances[(size_t)a * v->n_nodes + b],
               v->snap->distances[(size_t)b * v->n_nodes + a]);
}

/* Mean distance from each host node to the memory of @i as it is now, by KiB. */
static void set_strays(struct balance_view *v, uint32_t i)
{
    const uint64_t *at = &v->snap->at_bytes[(size_t)i * v->n_nodes];
    const uint64_t kib = v->bytes[i] >> 10;

    for (uint32_t h = 0; h < v->n_nodes; h++) {
        uint64_t sum = 0, seen = 0;

        for (uint32_t k = 0; k < v->n_nodes; k++)
            if (at[k] >> 10 > 0) { /* 2^40 KiB times 2^20 */
                sum += (at[k] >> 10) * distance(v, h, k);
                seen += at[k] >> 10;
            }
        v->stray[(size_t)i * v->n_nodes + h] =
            kib == 0 || seen == 0 ? distance(v, h, v->home[i]) : (uint32_t)(sum / seen);
    }
}

void balance_view_set(struct balance_view *v, const struct balance_snapshot *snap,
                      const uint32_t *demand, const uint32_t *others)
{
    v->snap = snap;
    v->total = 0;
    for (uint32_t h = 0; h < v->n_nodes; h++) {
        v->wanted[h] = others != NULL ? others[h] : snap->nodes[h].others_milli;
        v->room[h] = (int64_t)snap->nodes[h].free_bytes;
    }
    for (uint32_t i = 0; i < v->n_vnodes; i++) {
        v->demand[i] = demand != NULL ? demand[i] : snap->vnodes[i].demand_milli;
        v->home[i] = snap->vnodes[i].home;
        v->wanted[v->home[i]] += v->demand[i];
        v->bytes[i] = 0;
        for (uint32_t h = 0; h < v->n_nodes; h++)
            v->bytes[i] += snap->at_bytes[(size_t)i * v->n_nodes + h];
        v->total += v->bytes[i];
        v->gathered[i] = v->bytes[i] == snap->at_bytes[(size_t)i * v->n_nodes + v->home[i]];
        set_strays(v, i);
    }
}

static uint32_t told(const struct balance_view *v, uint32_t a, uint32_t b)
{
    const uint32_t *t = v->snap->told;

    return t == NULL ? 0 : MIN(t[(size_t)a * v->n_vnodes + b], t[(size_t)b * v->n_vnodes + a]);
}

/* Milli-CPUs of access from @i to the memory of @j, guessed as place_traffic() does. */
static uint64_t traffic(const struct balance_view *v, uint32_t i, uint32_t j)
{
    const uint64_t all = v->total >> 20, part = v->bytes[j] >> 20;
    const uint32_t t = i == j ? 0 : told(v, i, j);

    if (all == 0)
        return 0;
    return v->demand[i] * part / all * TOLD_LOCAL / MAX(t, (uint32_t)TOLD_LOCAL);
}

/* Accesses of @i to the memory of @j, beyond what they would cost at the local distance. */
static int64_t far(const struct balance_view *v, uint32_t i, uint32_t j)
{
    const uint32_t d = v->gathered[j] ? distance(v, v->home[i], v->home[j])
                                      : v->stray[(size_t)j * v->n_nodes + v->home[i]];

    return (int64_t)(traffic(v, i, j) * (MAX(d, (uint32_t)BALANCE_LOCAL) - BALANCE_LOCAL));
}

static int64_t broken(const struct balance_view *v, uint32_t i, uint32_t j)
{
    const uint32_t d = distance(v, v->home[i], v->home[j]);
    const uint32_t bound = told(v, i, j) * (BALANCE_LOCAL / TOLD_LOCAL);

    return bound == 0 || d <= bound
               ? 0
               : (int64_t)(d - bound) * BROKEN_STEP / (BALANCE_LOCAL / TOLD_LOCAL);
}

/* Of one host node: overload, contention, shortage of memory. */
static int64_t node_cost(const struct balance_view *v, uint32_t h)
{
    const struct balance_node *n = &v->snap->nodes[h];
    const uint64_t cap = n->capacity_milli, full = MIN(v->wanted[h], cap);
    const int64_t missing = (int64_t)(n->mem_bytes / RESERVE_PART) - v->room[h];

    return (int64_t)((v->wanted[h] - full) * (BALANCE_CPU / 1000)) +
           (cap > 0 ? (int64_t)(full * full / cap * CONTENTION) : 0) +
           (missing > 0 ? missing >> SHORT_SHIFT : 0);
}

/* Of @i's pairs, both ways, and of @i with itself. */
static int64_t pairs_cost(const struct balance_view *v, uint32_t i)
{
    int64_t sum = far(v, i, i);

    for (uint32_t j = 0; j < v->n_vnodes; j++)
        if (j != i)
            sum += far(v, i, j) + far(v, j, i) + broken(v, i, j);
    return sum;
}

int64_t balance_view_cost(const struct balance_view *v)
{
    int64_t sum = 0;

    for (uint32_t h = 0; h < v->n_nodes; h++)
        sum += node_cost(v, h);
    for (uint32_t i = 0; i < v->n_vnodes; i++) {
        sum += far(v, i, i);
        for (uint32_t j = 0; j < i; j++)
            sum += far(v, i, j) + far(v, j, i) + broken(v, i, j);
    }
    return sum;
}

/* Its memory leaves where it is, or comes back: by @sign. */
static void lift(struct balance_view *v, uint32_t vnode, bool gathered, int64_t sign)
{
    const uint64_t *at = &v->snap->at_bytes[(size_t)vnode * v->n_nodes];

    if (gathered)
        v->room[v->home[vnode]] += sign * (int64_t)v->bytes[vnode];
    else
        for (uint32_t h = 0; h < v->n_nodes; h++)
            v->room[h] += sign * (int64_t)at[h];
}

void balance_view_put(struct balance_view *v, uint32_t vnode, uint32_t to)
{
    lift(v, vnode, v->gathered[vnode], 1);
    v->wanted[v->home[vnode]] -= v->demand[vnode];
    v->home[vnode] = to;
    v->gathered[vnode] = true;
    v->wanted[to] += v->demand[vnode];
    lift(v, vnode, true, -1);
}

void balance_view_back(struct balance_view *v, uint32_t vnode, uint32_t from, bool gathered)
{
    balance_view_put(v, vnode, from);
    if (!gathered) {
        lift(v, vnode, true, 1);
        v->gathered[vnode] = false;
        lift(v, vnode, false, -1);
    }
}

/* Host nodes that a put of @vnode changes: its old and new one, and where its memory strays. */
static int64_t changed_cost(const struct balance_view *v, uint32_t vnode, bool gathered,
                            uint32_t from, uint32_t to)
{
    int64_t sum = node_cost(v, from) + (to != from ? node_cost(v, to) : 0);

    for (uint32_t h = 0; !gathered && h < v->n_nodes; h++)
        if (h != from && h != to && v->snap->at_bytes[(size_t)vnode * v->n_nodes + h] > 0)
            sum += node_cost(v, h);
    return sum + pairs_cost(v, vnode);
}

int64_t balance_view_gain(struct balance_view *v, uint32_t vnode, uint32_t to)
{
    const uint32_t from = v->home[vnode];
    const bool gathered = v->gathered[vnode];
    int64_t gain = changed_cost(v, vnode, gathered, from, to);

    balance_view_put(v, vnode, to);
    gain -= changed_cost(v, vnode, gathered, from, to);
    balance_view_back(v, vnode, from, gathered);
    return gain;
}

uint64_t balance_view_missing(const struct balance_view *v, uint32_t vnode, uint32_t to)
{
    if (v->gathered[vnode])
        return to == v->home[vnode] ? 0 : v->bytes[vnode];
    return v->bytes[vnode] - v->snap->at_bytes[(size_t)vnode * v->n_nodes + to];
}

int balance_cost(const struct balance_snapshot *snap, const uint32_t *homes, int64_t *ret_cost,
                 struct errctx *ec)
{
    struct balance_view v;
    int r = balance_view_init(&v, snap->n_nodes, snap->n_vnodes, ec);

    if (r < 0)
        return r;
    balance_view_set(&v, snap, NULL, NULL);
    for (uint32_t i = 0; homes != NULL && i < v.n_vnodes; i++)
        if (homes[i] != v.home[i])
            balance_view_put(&v, i, homes[i]);
    *ret_cost = balance_view_cost(&v);
    balance_view_fini(&v);
    return 0;
}
