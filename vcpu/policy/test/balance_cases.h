/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Machines to rebalance, for tests and the benchmark: random ones that were placed well and then
 * met a change, and the least cost over all assignments. Memory limits and homes are kept here,
 * without the policy's own tables.
 */
#ifndef VCPU_POLICY_TEST_BALANCE_CASES_H
#define VCPU_POLICY_TEST_BALANCE_CASES_H

#include <stdlib.h>
#include <string.h>

#include "vcpu/policy/balance.h"

enum { CASE_NODES = 4, CASE_VNODES = 8, CASE_EPOCH_S = 10 };

enum case_change { CASE_HEAT, CASE_NEIGHBOUR, CASE_LOAD, CASE_MEMORY, CASE_OFFLINE, CASE_CHANGES };

struct balance_case {
    struct balance_node nodes[CASE_NODES];
    uint32_t distances[CASE_NODES * CASE_NODES];
    struct balance_vnode vnodes[CASE_VNODES];
    uint64_t at[CASE_VNODES * CASE_NODES];
    uint32_t told[CASE_VNODES * CASE_VNODES];
    struct balance_snapshot snap;
    uint64_t dice;
};

static inline uint32_t case_roll(struct balance_case *c, uint32_t n)
{
    c->dice ^= c->dice << 13;
    c->dice ^= c->dice >> 7;
    c->dice ^= c->dice << 17;
    return (uint32_t)(c->dice >> 24) % n;
}

static inline void case_aim(struct balance_case *c, uint32_t n_nodes, uint32_t n_vnodes)
{
    c->snap = (struct balance_snapshot){ .time_ns = 1,
                                         .n_nodes = n_nodes,
                                         .n_vnodes = n_vnodes,
                                         .nodes = c->nodes,
                                         .distances = c->distances,
                                         .vnodes = c->vnodes,
                                         .at_bytes = c->at,
                                         .told = c->told };
    for (uint32_t i = 0; i < n_vnodes * n_vnodes; i++)
        c->told[i] = i % (n_vnodes + 1) == 0 ? 10 : 21;
}

static inline uint64_t case_bytes(const struct balance_case *c, uint32_t i)
{
    uint64_t sum = 0;

    for (uint32_t h = 0; h < c->snap.n_nodes; h++)
        sum += c->at[i * c->snap.n_nodes + h];
    return sum;
}

/* Virtual node @i goes to @to, whole. */
static inline void case_move(struct balance_case *c, uint32_t i, uint32_t to)
{
    const uint64_t bytes = case_bytes(c, i);

    for (uint32_t h = 0; h < c->snap.n_nodes; h++) {
        c->nodes[h].free_bytes += c->at[i * c->snap.n_nodes + h];
        c->at[i * c->snap.n_nodes + h] = 0;
    }
    c->nodes[to].free_bytes -= bytes;
    c->at[i * c->snap.n_nodes + to] = bytes;
    c->vnodes[i].home = to;
}

/* Do what was decided. Return: bytes moved. */
static inline uint64_t case_obey(struct balance_case *c, const struct balance_decision *d)
{
    for (uint32_t k = 0; k < d->step.n; k++)
        case_move(c, d->step.vnode[k], d->step.to[k]);
    return d->bytes;
}

static inline int64_t case_cost(const struct balance_case *c, const uint32_t *homes)
{
    int64_t cost = 0;

    if (balance_cost(&c->snap, homes, &cost, NULL) < 0)
        abort();
    return cost;
}

static inline bool case_fits(const struct balance_case *c, const uint32_t *homes)
{
    int64_t room[CASE_NODES];

    for (uint32_t h = 0; h < c->snap.n_nodes; h++)
        room[h] = (int64_t)c->nodes[h].free_bytes;
    for (uint32_t i = 0; i < c->snap.n_vnodes; i++)
        for (uint32_t h = 0; h < c->snap.n_nodes; h++) {
            const int64_t here = (int64_t)c->at[i * c->snap.n_nodes + h];

            room[h] += homes[i] == c->vnodes[i].home ? 0 : here;
            room[homes[i]] -= homes[i] == c->vnodes[i].home ? 0 : here;
        }
    for (uint32_t h = 0; h < c->snap.n_nodes; h++)
        if (room[h] < 0)
            return false;
    return true;
}

/* The cheapest of all assignments, memory moved at no cost; @ret_homes receives it. */
static inline int64_t case_best(const struct balance_case *c, uint32_t *ret_homes)
{
    uint32_t homes[CASE_VNODES] = { 0 }, i;
    int64_t best = INT64_MAX;

    do {
        if (case_fits(c, homes)) {
            const int64_t cost = case_cost(c, homes);

            if (cost < best) {
                best = cost;
                memcpy(ret_homes, homes, sizeof(homes));
            }
        }
        for (i = 0; i < c->snap.n_vnodes && ++homes[i] == c->snap.n_nodes; i++)
            homes[i] = 0;
    } while (i < c->snap.n_vnodes);
    return best;
}

/* A host of 2 to CASE_NODES nodes and 5 to CASE_VNODES virtual ones, somewhere. */
static inline void case_make(struct balance_case *c, uint64_t seed)
{
    uint32_t n, v;

    *c = (struct balance_case){ .dice = seed * 0x9e3779b97f4a7c15ull + 1 };
    for (int i = 0; i < 8; i++)
        (void)case_roll(c, 2);
    n = 2 + case_roll(c, CASE_NODES - 1);
    v = 5 + case_roll(c, CASE_VNODES - 4);
    case_aim(c, n, v);
    for (uint32_t h = 0; h < n; h++) {
        const uint64_t mem = (uint64_t)(48 + case_roll(c, 32)) << 30;

        c->nodes[h] = (struct balance_node){ .capacity_milli = 1000 * (8 + case_roll(c, 17)),
                                             .others_milli = 1000 * case_roll(c, 6),
                                             .mem_bytes = mem,
                                             .free_bytes = mem };
        for (uint32_t k = 0; k <= h; k++)
            c->distances[h * n + k] = c->distances[k * n + h] = h == k           ? 1000
                                                                : h / 2 == k / 2 ? 1600
                                                                                 : 2100;
    }
    for (uint32_t i = 0; i < v; i++) {
        c->vnodes[i] = (struct balance_vnode){ .demand_milli = 500 + case_roll(c, 6000),
                                               .home = case_roll(c, n) };
        c->at[i * n + c->vnodes[i].home] = (uint64_t)(1 + case_roll(c, 8)) << 30;
        c->nodes[c->vnodes[i].home].free_bytes -= c->at[i * n + c->vnodes[i].home];
    }
}

/* What happens to a host: all CPUs of a node go, heat, neighbours come, a load rises, memory runs
 * short. */
static inline void case_change(struct balance_case *c, enum case_change what)
{
    struct balance_node *n = &c->nodes[case_roll(c, c->snap.n_nodes)];
    struct balance_vnode *v = &c->vnodes[case_roll(c, c->snap.n_vnodes)];

    switch (what) {
    case CASE_OFFLINE:
        n->capacity_milli = 0;
        break;
    case CASE_HEAT:
        n->capacity_milli -= n->capacity_milli * (1 + case_roll(c, 2)) / 4;
        break;
    case CASE_NEIGHBOUR:
        n->others_milli += 1000 * (2 + case_roll(c, 7));
        break;
    case CASE_LOAD:
        v->demand_milli += 1000 * (2 + case_roll(c, 7));
        break;
    default:
        n->free_bytes /= 16;
        break;
    }
}

/* @base with its loads off by up to 20 %, one epoch later. */
static inline void case_noise(struct balance_case *c, const struct balance_case *base)
{
    c->snap.time_ns += (uint64_t)CASE_EPOCH_S * 1000000000;
    for (uint32_t i = 0; i < c->snap.n_vnodes; i++)
        c->vnodes[i].demand_milli = base->vnodes[i].demand_milli * (800 + case_roll(c, 401)) / 1000;
    for (uint32_t h = 0; h < c->snap.n_nodes; h++)
        c->nodes[h].others_milli = base->nodes[h].others_milli * (800 + case_roll(c, 401)) / 1000;
}

/* Epochs until nothing more is decided. @c is pointed at itself. Return: bytes moved. */
static inline uint64_t case_settle(struct balance_case *c, unsigned *ret_moves)
{
    const struct balance_params p = balance_defaults();
    struct balance_decision d;
    struct balance *b;
    uint64_t bytes = 0;

    *ret_moves = 0;
    if (balance_new(&p, c->snap.n_nodes, c->snap.n_vnodes, &b, NULL) < 0)
        abort();
    for (unsigned quiet = 0; quiet < 20; quiet++) {
        c->snap.time_ns += (uint64_t)CASE_EPOCH_S * 1000000000;
        if (balance_epoch(b, &c->snap, &d, NULL) == 1) {
            bytes += case_obey(c, &d);
            *ret_moves += d.step.n;
            quiet = 0;
        }
    }
    balance_free(b);
    return bytes;
}

struct balance_score {
    double possible, kept; /* CPUs */
    double memory, moved;  /* bytes */
    double best_moved;     /* on the way to the best assignment */
    unsigned n, idle;      /* cases, and those in which nothing could be gained */
};

/* One case: placed as well as can be, then a change; what the policy makes of it. */
static inline void case_score(uint64_t seed, enum case_change what, struct balance_score *s)
{
    uint32_t homes[CASE_VNODES] = { 0 };
    struct balance_case c;
    int64_t before, best;
    unsigned moves;

    case_make(&c, seed);
    if (case_best(&c, homes) < INT64_MAX)
        for (uint32_t i = 0; i < c.snap.n_vnodes; i++)
            case_move(&c, i, homes[i]);
    case_change(&c, what);
    before = case_cost(&c, NULL);
    best = case_best(&c, homes);
    if (before - best < BALANCE_CPU / 4) {
        s->idle++;
        return;
    }
    s->n++;
    s->possible += (double)(before - best) / BALANCE_CPU;
    for (uint32_t i = 0; i < c.snap.n_vnodes; i++)
        s->memory += (double)case_bytes(&c, i);
    for (uint32_t i = 0; i < c.snap.n_vnodes; i++)
        s->best_moved += homes[i] != c.vnodes[i].home ? (double)case_bytes(&c, i) : 0;
    s->moved += (double)case_settle(&c, &moves);
    s->kept += (double)(before - case_cost(&c, NULL)) / BALANCE_CPU;
}

#endif
