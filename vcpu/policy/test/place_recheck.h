/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placement seen from outside: random problems, and what a plan costs and keeps, worked out from
 * docs/placement.md and the host alone, without the planner's tables. Also the exact solver of
 * the tests: it tries every assignment. Virtual nodes on several host nodes are not its matter.
 */
#ifndef VCPU_POLICY_TEST_PLACE_RECHECK_H
#define VCPU_POLICY_TEST_PLACE_RECHECK_H

#include <stdlib.h>
#include <string.h>

#include "vcpu/policy/place.h"
#include "vmm/base/macros.h"

enum { RECHECK_HOST = 8, RECHECK_VNODES = 8, RECHECK_GUESTS = 4 };

/* A small host and a problem on it, in one piece of memory. */
struct recheck_case {
    struct host_topo topo;
    struct host_node nodes[RECHECK_HOST];
    struct host_cpu cpus[RECHECK_HOST * 16];
    struct host_cache cache; /* one will do to say that caches are known */
    uint32_t distances[RECHECK_HOST * RECHECK_HOST];
    struct place_use used[RECHECK_HOST];
    struct place_vnode vnodes[RECHECK_VNODES];
    struct place_guest guests[RECHECK_GUESTS];
    uint32_t told[RECHECK_GUESTS][RECHECK_VNODES * RECHECK_VNODES];
    struct idset only[RECHECK_VNODES];
    struct place_problem problem;
};

struct recheck_dice {
    uint64_t state;
};

static inline uint32_t recheck_roll(struct recheck_dice *d, uint32_t n)
{
    d->state ^= d->state << 13;
    d->state ^= d->state >> 7;
    d->state ^= d->state << 17;
    return (uint32_t)(d->state >> 24) % n;
}

static inline uint32_t recheck_distance(const struct host_topo *t, size_t a, size_t b)
{
    uint32_t local = UINT32_MAX;

    for (size_t i = 0; i < t->n_nodes; i++)
        local = MIN(local, t->distances[i * t->n_nodes + i]);
    return MAX(t->distances[a * t->n_nodes + b], t->distances[b * t->n_nodes + a]) * 1000 / local;
}

static inline uint32_t recheck_told(const struct place_guest *g, uint32_t a, uint32_t b)
{
    return MIN(g->distances[a * g->n + b], g->distances[b * g->n + a]) * 100;
}

/* No real distance above what was told. */
static inline bool recheck_bounds(const struct host_topo *t, const struct place_problem *p,
                                  const int *node)
{
    for (size_t i = 0; i < p->n_guests; i++) {
        const struct place_guest *g = &p->guests[i];

        for (uint32_t a = 0; a < g->n; a++)
            for (uint32_t b = 0; b < a; b++)
                if (recheck_distance(t, (size_t)node[g->first + a], (size_t)node[g->first + b]) >
                    recheck_told(g, a, b))
                    return false;
    }
    return true;
}

/* Of two pairs of a guest, the one told to be nearer is not the farther one. */
static inline bool recheck_order(const struct host_topo *t, const struct place_problem *p,
                                 const int *node)
{
    for (size_t i = 0; i < p->n_guests; i++) {
        const struct place_guest *g = &p->guests[i];
        const int *at = node + g->first;

        for (uint32_t a = 0; a < g->n * g->n; a++) {
            for (uint32_t b = 0; b < g->n * g->n; b++) {
                uint32_t w = a / g->n, x = a % g->n, y = b / g->n, z = b % g->n;

                if (w != x && y != z && recheck_told(g, w, x) < recheck_told(g, y, z) &&
                    recheck_distance(t, (size_t)at[w], (size_t)at[x]) >
                        recheck_distance(t, (size_t)at[y], (size_t)at[z]))
                    return false;
            }
        }
    }
    return true;
}

static inline int64_t recheck_free_mib(const struct host_topo *t, const struct place_problem *p,
                                       size_t h)
{
    uint64_t free_bytes =
        t->nodes[h].mem_free_bytes > 0 ? t->nodes[h].mem_free_bytes : t->nodes[h].mem_bytes;
    int64_t mib = (int64_t)(free_bytes / MIB);

    return p->used != NULL ? MAX(mib - (int64_t)(p->used[h].mem_bytes / MIB), 0) : mib;
}

/* Memory, CPUs of their own, and the nodes that the user allowed. */
static inline bool recheck_limits(const struct host_topo *t, const struct place_problem *p,
                                  const int *node)
{
    for (size_t h = 0; h < t->n_nodes; h++) {
        int64_t mib = recheck_free_mib(t, p, h);
        int64_t milli = (int64_t)idset_count(&t->nodes[h].cpus) * 1000;
        bool any = false;

        milli -= p->used != NULL ? p->used[h].cpu_milli : 0;
        for (size_t i = 0; i < p->n_vnodes; i++) {
            const struct place_vnode *v = &p->vnodes[i];

            if (node[i] != (int)h)
                continue;
            mib -= (int64_t)((v->mem_bytes + MIB - 1) / MIB);
            milli -= v->demand_milli;
            any = any || v->demand_milli > 0;
            if ((v->only != NULL && !idset_has(v->only, t->nodes[h].id.v)) ||
                (v->n_vcpus > 0 && idset_empty(&t->nodes[h].cpus)))
                return false;
        }
        if (mib < 0 || (p->own_cpus && any && milli < 0))
            return false;
    }
    return true;
}

static inline int64_t recheck_stranded(int64_t cap, int64_t total_mib, int64_t milli, int64_t mib)
{
    int64_t ratio = total_mib > 0 ? (cap << 16) / total_mib : 0;

    return total_mib > 0 ? llabs((cap - milli) - (((total_mib - mib) * ratio) >> 16)) : 0;
}

/* CPUs at their clock; with @cores a core's strongest one, and 30 % of each further thread. */
static inline int64_t recheck_capacity(const struct host_topo *t, size_t h, bool cores)
{
    int64_t cap = 0;

    for (size_t c = 0; c < t->n_cpus; c++) {
        int64_t sum = 0, most = 0;
        bool first = t->cpus[c].node == h;

        for (size_t k = 0; k < c; k++)
            first = first && !(t->cpus[k].node == h && t->cpus[k].core == t->cpus[c].core);
        for (size_t k = 0; first && k < t->n_cpus; k++) {
            uint32_t capacity = t->cpus[k].capacity > 0 ? t->cpus[k].capacity : 1024;

            if (t->cpus[k].node != h || t->cpus[k].core != t->cpus[c].core)
                continue;
            sum += capacity * 1000 / 1024;
            most = MAX(most, (int64_t)(capacity * 1000 / 1024));
        }
        cap += cores ? most + (sum - most) * 30 / 100 : sum;
    }
    return cap;
}

static inline int64_t recheck_node_terms(const struct host_topo *t, const struct place_problem *p,
                                         size_t h, const int *node)
{
    int64_t cap = p->own_cpus ? (int64_t)idset_count(&t->nodes[h].cpus) * 1000
                              : recheck_capacity(t, h, false);
    int64_t cores = recheck_capacity(t, h, true), cost = 0;
    int64_t total = (int64_t)(t->nodes[h].mem_bytes / MIB);
    int64_t milli[2], mib[2];
    bool numa = p->objective == GUEST_OBJECTIVE_NUMA;
    bool cache = p->objective == GUEST_OBJECTIVE_CACHE;

    milli[0] = p->used != NULL ? p->used[h].cpu_milli : 0;
    mib[0] = total - recheck_free_mib(t, p, h);
    milli[1] = milli[0];
    mib[1] = mib[0];
    for (size_t i = 0; i < p->n_vnodes; i++) {
        milli[1] += node[i] == (int)h ? p->vnodes[i].demand_milli : 0;
        mib[1] += node[i] == (int)h ? (int64_t)((p->vnodes[i].mem_bytes + MIB - 1) / MIB) : 0;
    }
    for (int k = 0; k < 2; k++) {
        int64_t over = MAX(milli[k] - cap, 0), sign = k == 0 ? -1 : 1;

        cost += sign * over * over * 16384;
        if (!numa && cores > 0)
            cost += sign * milli[k] * milli[k] * MAX(409600 / cores, 1);
        if (!numa && !cache)
            cost += sign * 204800 * recheck_stranded(cap, total, milli[k], mib[k]);
    }
    return cost;
}

/* vCPUs whose virtual cache no physical one holds whole. */
static inline uint32_t recheck_cut(const struct host_topo *t, const struct place_vnode *v, size_t h)
{
    uint32_t size[RECHECK_HOST * 16] = { 0 }, groups, whole = 0, caches = 0, least = UINT32_MAX;

    for (size_t c = 0; c < t->n_cpus; c++)
        if (t->cpus[c].node == h)
            size[t->cpus[c].llc]++;
    for (size_t c = 0; c < ARRAY_SIZE(size); c++) {
        caches += size[c] > 0;
        least = size[c] > 0 ? MIN(least, size[c]) : least;
    }
    if (v->n_vcpus == 0 || v->llc_vcpus == 0 || caches == 0)
        return 0;
    groups = (v->n_vcpus + v->llc_vcpus - 1) / v->llc_vcpus;
    whole = caches * (least / v->llc_vcpus);
    return groups > whole ? MIN((groups - whole) * v->llc_vcpus, v->n_vcpus) : 0;
}

static inline int64_t recheck_cost(const struct host_topo *t, const struct place_problem *p,
                                   const int *node)
{
    bool all = p->objective <= GUEST_OBJECTIVE_ALL;
    int64_t cost = 0;

    for (size_t h = 0; h < t->n_nodes; h++)
        cost += recheck_node_terms(t, p, h, node);
    for (size_t i = 0; i < p->n_vnodes; i++) {
        const struct place_vnode *v = &p->vnodes[i];

        if ((all || p->objective == GUEST_OBJECTIVE_CACHE) && v->n_vcpus > 0)
            cost += 819200ll * recheck_cut(t, v, (size_t)node[i]) * (v->demand_milli / v->n_vcpus);
        if (v->current >= 0 && v->current != node[i])
            cost += 20ll * (int64_t)((v->mem_bytes + MIB - 1) / MIB) *
                    recheck_distance(t, (size_t)v->current, (size_t)node[i]);
    }
    for (size_t i = 0; i < p->n_guests; i++) {
        const struct place_guest *g = &p->guests[i];

        for (uint32_t a = 0; a < g->n; a++) {
            for (uint32_t b = 0; b < a; b++) {
                int64_t d =
                    recheck_distance(t, (size_t)node[g->first + a], (size_t)node[g->first + b]);
                int64_t told = recheck_told(g, a, b);

                if (all || p->objective == GUEST_OBJECTIVE_NUMA)
                    cost +=
                        4096 * d * ((int64_t)place_traffic(p, g, a, b) + place_traffic(p, g, b, a));
                cost += d > told ? 409600000 * (d - told) : 0;
            }
        }
    }
    return cost;
}

struct recheck_best {
    int64_t cost, any_cost; /* INT64_MAX: there is none; any_cost: orders may be turned */
};

/* Every assignment of every virtual node. */
static inline void recheck_exact(const struct host_topo *t, const struct place_problem *p,
                                 struct recheck_best *best)
{
    int node[RECHECK_VNODES] = { 0 };
    size_t k = 0;

    best->cost = best->any_cost = INT64_MAX;
    while (k < p->n_vnodes) {
        if (recheck_limits(t, p, node)) {
            int64_t cost = recheck_cost(t, p, node);

            if (cost < best->cost && recheck_order(t, p, node))
                best->cost = cost;
            best->any_cost = MIN(best->any_cost, cost);
        }
        for (k = 0; k < p->n_vnodes && ++node[k] == (int)t->n_nodes; k++)
            node[k] = 0;
    }
}

/* --- random problems ------------------------------------------------------------------------ */

static inline void recheck_make_host(struct recheck_case *c, struct recheck_dice *d, uint32_t n)
{
    uint32_t cpus = 2 + 2 * recheck_roll(d, 3), llc = 0;
    bool some_without = recheck_roll(d, 5) == 0;

    c->topo = (struct host_topo){ .nodes = c->nodes,
                                  .n_nodes = n,
                                  .cpus = c->cpus,
                                  .caches = &c->cache,
                                  .n_caches = 1,
                                  .distances = c->distances,
                                  .has_distances = true };
    for (uint32_t h = 0; h < n; h++) {
        struct host_node *node = &c->nodes[h];

        node->id.v = 2 * h + 1; /* numbers have gaps */
        node->mem_bytes = 8ull << 30;
        node->mem_free_bytes = recheck_roll(d, 3) == 0 ? 0 : (1ull + recheck_roll(d, 8)) << 30;
        c->used[h] = (struct place_use){ recheck_roll(d, 3) == 0 ? recheck_roll(d, 6000) : 0,
                                         recheck_roll(d, 4) == 0 ? 2ull << 30 : 0 };
        for (uint32_t k = 0; k < cpus && !(some_without && h == n - 1 && n > 1); k++) {
            struct host_cpu *cpu = &c->cpus[c->topo.n_cpus];

            *cpu = (struct host_cpu){ .id = { (uint32_t)c->topo.n_cpus },
                                      .node = h,
                                      .package = h,
                                      .core = (uint32_t)c->topo.n_cpus / 2,
                                      .llc = llc + k / 2,
                                      .capacity = recheck_roll(d, 2) * (512 + recheck_roll(d, 513)),
                                      .thread = k % 2 };
            idset_add(&node->cpus, cpu->id.v);
            c->topo.n_cpus++;
        }
        llc += cpus / 2;
        for (uint32_t k = 0; k < h; k++) {
            uint32_t far = 11 + recheck_roll(d, 3) * recheck_roll(d, 12);

            c->distances[h * n + k] = far;
            c->distances[k * n + h] = far + (recheck_roll(d, 4) == 0);
        }
        c->distances[h * n + h] = 10;
    }
}

static inline void recheck_make(struct recheck_case *c, struct recheck_dice *d, uint32_t n_host,
                                uint32_t n_vnodes)
{
    uint32_t n_guests = n_vnodes > 2 ? 1 + recheck_roll(d, 2) : 1, first = 0;

    memset(c, 0, sizeof(*c));
    recheck_make_host(c, d, n_host);
    for (uint32_t i = 0; i < n_vnodes; i++) {
        uint32_t vcpus = recheck_roll(d, 8) == 0 ? 0 : 1 + recheck_roll(d, 2);

        c->vnodes[i] =
            (struct place_vnode){ .n_vcpus = vcpus,
                                  .demand_milli = vcpus * (500 + 250 * recheck_roll(d, 3)),
                                  .mem_bytes = (uint64_t)recheck_roll(d, 4) << 30,
                                  .llc_vcpus = recheck_roll(d, 4),
                                  .current = recheck_roll(d, 4) == 0 ? (int)recheck_roll(d, n_host)
                                                                     : PLACE_ANYWHERE };
        if (recheck_roll(d, 6) == 0) {
            idset_add(&c->only[i], 1 + 2 * recheck_roll(d, n_host));
            idset_add(&c->only[i], 1);
            c->vnodes[i].only = &c->only[i];
        }
    }
    for (uint32_t g = 0; g < n_guests; g++) {
        uint32_t n = g + 1 == n_guests ? n_vnodes - first : 1 + recheck_roll(d, n_vnodes - 1);
        uint32_t style = recheck_roll(d, 3);

        for (uint32_t a = 0; a < n; a++)
            for (uint32_t b = 0; b < n; b++)
                c->told[g][a * n + b] = a == b       ? 10
                                        : style == 0 ? 20
                                        : style == 1 ? 11 + recheck_roll(d, 25)
                                                     : (a / 2 == b / 2 ? 15u : 30u);
        c->guests[g] = (struct place_guest){ .first = first, .n = n, .distances = c->told[g] };
        first += n;
    }
    c->problem = (struct place_problem){ .used = c->used,
                                         .vnodes = c->vnodes,
                                         .n_vnodes = n_vnodes,
                                         .guests = c->guests,
                                         .n_guests = n_guests,
                                         .objective = (enum guest_objective)recheck_roll(d, 5),
                                         .own_cpus = recheck_roll(d, 5) == 0 };
}

#endif
