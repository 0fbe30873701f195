/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a problem to the arrays of a search: checks, weights, traffic, and what each virtual node
 * would cost on each host node by itself. Pure.
 */
#include "vcpu/policy/place_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"

enum {
    USED_MOST_MILLI = 1000 * 1000
}; /* more than a node's worth is as bad, and sums stay small */

struct place_weights place_weights_of(enum guest_objective objective)
{
    /* docs/placement.md states the same in CPUs. */
    struct place_weights w = { .traffic = 4096,
                               .overload = 16384,
                               .stranded = 204800,
                               .contention = 409600,
                               .cut = 819200,
                               .moving = 20,
                               .broken = 409600000 };

    if (objective == GUEST_OBJECTIVE_LOAD || objective == GUEST_OBJECTIVE_CACHE)
        w.traffic = 0;
    if (objective == GUEST_OBJECTIVE_LOAD || objective == GUEST_OBJECTIVE_NUMA)
        w.cut = 0;
    if (objective == GUEST_OBJECTIVE_NUMA)
        w.contention = 0;
    if (objective == GUEST_OBJECTIVE_NUMA || objective == GUEST_OBJECTIVE_CACHE)
        w.stranded = 0;
    return w;
}

static int check(const struct place_problem *p, struct errctx *ec)
{
    uint64_t demand = 0;
    uint32_t next = 0;

    if (p->n_vnodes == 0 || p->n_vnodes > PLACE_MAX_VNODES || p->n_guests == 0)
        return errctx_set(ec, EINVAL, "placement: %zu virtual nodes of %zu guests, not 1 to %d",
                          p->n_vnodes, p->n_guests, PLACE_MAX_VNODES);
    for (size_t g = 0; g < p->n_guests; g++) {
        if (p->guests[g].first != next || p->guests[g].n == 0 || p->guests[g].n > GUEST_MAX_VNODES)
            return errctx_set(ec, EINVAL,
                              "placement: guest %zu is not 1 to %d nodes after the last one's", g,
                              GUEST_MAX_VNODES);
        next += p->guests[g].n;
    }
    if (next != p->n_vnodes)
        return errctx_set(ec, EINVAL, "placement: guests of %u nodes, but %zu nodes", next,
                          p->n_vnodes);
    for (size_t i = 0; i < p->n_vnodes; i++) {
        demand += p->vnodes[i].demand_milli;
        if (p->vnodes[i].current >= (int)p->host->n || p->vnodes[i].current < PLACE_ANYWHERE)
            return errctx_set(ec, ENOENT, "placement: virtual node %zu is on no node of this host",
                              i);
    }
    if (demand > PLACE_MAX_DEMAND_MILLI)
        return errctx_set(ec, EINVAL, "placement: more than %d CPUs are wanted together",
                          PLACE_MAX_DEMAND_MILLI / 1000);
    return 0;
}

static uint64_t all_mib(const struct place_problem *p, const struct place_guest *g)
{
    uint64_t all = 0;

    for (uint32_t k = 0; k < g->n; k++)
        all += p->vnodes[g->first + k].mem_bytes / MIB;
    return all;
}

static uint32_t traffic_of(const struct place_problem *p, const struct place_guest *g,
                           uint32_t from, uint32_t to, uint64_t all)
{
    const struct place_vnode *v = &p->vnodes[g->first];
    uint64_t part, told = g->distances[(size_t)from * g->n + to];

    if (g->traffic != NULL)
        return g->traffic[(size_t)from * g->n + to];
    part = all > 0 ? v[to].mem_bytes / MIB : 1;
    all = all > 0 ? all : g->n;
    return (uint32_t)(v[from].demand_milli * part / all * GUEST_DISTANCE_LOCAL / MAX(told, 1u));
}

uint32_t place_traffic(const struct place_problem *p, const struct place_guest *g, uint32_t from,
                       uint32_t to)
{
    return traffic_of(p, g, from, to, all_mib(p, g));
}

/* Number the distances that the guest was told, from the least. */
static void fill_classes(struct place_search *s, uint32_t index)
{
    const struct place_guest *g = &s->problem->guests[index];
    const uint32_t *told = s->told[index];
    uint8_t number[256] = { 0 };
    bool there[256] = { false };

    for (uint32_t i = 0; i < g->n; i++)
        for (uint32_t k = 0; k < i; k++)
            there[told[i * g->n + k] / PLACE_GUEST_UNIT] = true;
    for (uint32_t d = 0; d < ARRAY_SIZE(there); d++)
        if (there[d])
            number[d] = (uint8_t)s->n_classes[index]++;
    for (uint32_t i = 0; i < g->n * g->n; i++)
        s->class[index][i] = number[told[i] / PLACE_GUEST_UNIT];
}

static void fill_guest(struct place_search *s, uint32_t index)
{
    const struct place_guest *g = &s->problem->guests[index];
    const uint64_t all = all_mib(s->problem, g);
    int64_t *traffic = s->traffic[index];
    uint32_t *told = s->told[index];

    for (uint32_t i = 0; i < g->n; i++) {
        s->guest_of[g->first + i] = index;
        for (uint32_t k = 0; k < i; k++) {
            uint32_t d =
                MIN(g->distances[(size_t)i * g->n + k], g->distances[(size_t)k * g->n + i]);
            int64_t t = (int64_t)traffic_of(s->problem, g, i, k, all) +
                        (int64_t)traffic_of(s->problem, g, k, i, all);

            told[i * g->n + k] = told[k * g->n + i] = MIN(d, 255u) * PLACE_GUEST_UNIT;
            traffic[i * g->n + k] = traffic[k * g->n + i] = t * s->w.traffic;
        }
    }
    if (g->n > 2)
        fill_classes(s, index);
}

/* vCPUs of a virtual node whose virtual cache would be in two physical ones. */
static uint32_t cut_vcpus(const struct place_vnode *v, const struct place_hnode *h)
{
    uint32_t groups, whole;

    if (v->llc_vcpus == 0 || h->llc_cpus == 0)
        return 0;
    groups = (v->n_vcpus + v->llc_vcpus - 1) / v->llc_vcpus;
    whole = h->n_llcs * (h->llc_cpus / v->llc_vcpus);
    return groups <= whole ? 0 : MIN((groups - whole) * v->llc_vcpus, v->n_vcpus);
}

int64_t place_cut(const struct place_search *s, uint32_t i, uint32_t h)
{
    const struct place_vnode *v = &s->problem->vnodes[i];

    if (s->w.cut == 0 || v->n_vcpus == 0)
        return 0;
    return s->w.cut * cut_vcpus(v, &s->host->node[h]) * (v->demand_milli / v->n_vcpus);
}

int64_t place_moved(const struct place_search *s, uint32_t i, uint32_t h)
{
    int current = s->problem->vnodes[i].current;

    if (current < 0 || current == (int)h)
        return 0;
    return s->w.moving * s->mib[i] * place_distance(s->host, (uint32_t)current, h);
}

static void fill_unary(struct place_search *s, uint32_t i)
{
    const struct place_vnode *v = &s->problem->vnodes[i];
    int64_t *row = s->unary + (size_t)i * s->H, cut = 0;

    for (uint32_t h = 0; h < s->H; h++) {
        const struct place_hnode *node = &s->host->node[h];

        if (h == 0 || !node->like_last)
            cut = place_cut(s, i, h); /* it divides; neighbours are mostly alike */
        row[h] = v->current >= 0 ? cut + place_moved(s, i, h) : cut;
        if ((v->only != NULL && !idset_has(v->only, node->id.v)) ||
            (v->n_vcpus > 0 && node->n_cpus == 0))
            row[h] = PLACE_NEVER;
    }
}

/* The heaviest talkers first; stable. */
static void fill_turn(struct place_search *s, const struct place_guest *g, int64_t *weight)
{
    const int64_t *traffic = s->traffic[s->guest_of[g->first]];
    uint16_t *turn = s->turn + g->first;

    for (uint32_t i = 0; i < g->n; i++) {
        uint32_t at = i;

        weight[i] = s->milli[g->first + i] * PLACE_LOCAL;
        for (uint32_t k = 0; k < g->n; k++)
            weight[i] += traffic[(size_t)i * g->n + k];
        for (; at > 0 && weight[turn[at - 1]] < weight[i]; at--)
            turn[at] = turn[at - 1];
        turn[at] = (uint16_t)i;
    }
}

static void fill_rates(const struct place_search *s, const struct place_hnode *node,
                       struct place_load *l)
{
    l->ratio = l->mem_mib > 0 ? (l->cap << 16) / l->mem_mib : 0;
    l->crowd = s->w.contention > 0 && node->core_milli > 0
                   ? MAX(s->w.contention / node->core_milli, 1)
                   : 0;
}

static void fill_load(struct place_search *s)
{
    for (uint32_t h = 0; h < s->H; h++) {
        const struct place_hnode *node = &s->host->node[h];
        const struct place_use *use = s->problem->used != NULL ? &s->problem->used[h] : NULL;
        struct place_load *l = &s->load[h];

        /* Who has a CPU alone has all of it, such as it is. */
        *l = (struct place_load){
            .cap = s->problem->own_cpus ? node->n_cpus * 1000 : node->cap_milli,
            .mem_mib = node->mem_mib,
            .mib = node->mem_mib - node->free_mib,
        };
        if (node->like_last) {
            l->ratio = l[-1].ratio;
            l->crowd = l[-1].crowd;
        } else {
            fill_rates(s, node, l);
            s->ratio_least = h > 0 ? MIN(s->ratio_least, l->ratio) : l->ratio;
            s->ratio_most = MAX(s->ratio_most, l->ratio);
        }
        if (use != NULL) {
            l->milli = MIN(use->cpu_milli, (uint32_t)USED_MOST_MILLI);
            l->mib += (int64_t)MIN(use->mem_bytes / MIB, (uint64_t)(l->mem_mib - l->mib));
        }
        place_load_add(s, l, 0, 0);
        s->before[h] = *l;
    }
}

static void *carve(char **at, size_t bytes)
{
    void *here = *at;

    *at += (bytes + 7) & ~(size_t)7;
    return here;
}

/* One allocation; sizes are bounded by PLACE_MAX_*. The large tables are filled, not cleared. */
static int alloc(struct place_search *s, struct errctx *ec)
{
    const struct place_problem *p = s->problem;
    size_t n = s->n, H = s->H, squares = 0, sum;
    char *at;

    for (size_t g = 0; g < p->n_guests; g++)
        squares += (size_t)p->guests[g].n * p->guests[g].n;
    sum =
        H * (2 * sizeof(*s->load) + 8) + n * (H * 16 + 40) + squares * 13 + p->n_guests * 56 + 256;
    s->memory = at = malloc(sum);
    s->spread = calloc(n, sizeof(*s->spread));
    if (s->memory == NULL || s->spread == NULL) {
        place_search_fini(s);
        return errctx_set(ec, ENOMEM, "placement: no memory for %zu virtual nodes", n);
    }
    s->mib = carve(&at, n * 8);
    s->milli = carve(&at, n * 8);
    s->guest_of = carve(&at, n * 4);
    s->at = carve(&at, n * 4);
    s->spread_of = carve(&at, n * 4);
    s->turn = carve(&at, n * 2);
    s->traffic = carve(&at, p->n_guests * 8);
    s->told = carve(&at, p->n_guests * 8);
    s->class = carve(&at, p->n_guests * 8);
    s->n_classes = carve(&at, p->n_guests * 4);
    memset(s->memory, 0, (size_t)(at - (char *)s->memory));
    s->load = carve(&at, H * sizeof(*s->load));
    s->before = carve(&at, H * sizeof(*s->before));
    s->scratch = carve(&at, MAX(H, n) * 8);
    for (size_t g = 0; g < p->n_guests; g++) {
        size_t square = (size_t)p->guests[g].n * p->guests[g].n;

        s->traffic[g] = memset(carve(&at, square * 8), 0, square * 8);
        s->told[g] = memset(carve(&at, square * 4), 0, square * 4);
        s->class[g] = memset(carve(&at, square), 0, square);
        fill_guest(s, (uint32_t)g);
    }
    s->unary = carve(&at, n * H * 8);
    s->pull = carve(&at, n * H * 8);
    return 0;
}

static int spread_as_told(struct place_search *s, uint32_t i, struct errctx *ec)
{
    const struct idset *nodes = s->problem->vnodes[i].spread;

    if (nodes == NULL)
        return 0;
    if (idset_empty(nodes))
        return errctx_set(ec, EINVAL, "placement: virtual node %u is spread over nothing", i);
    IDSET_FOREACH(id, nodes) {
        uint32_t h = 0;

        while (h < s->H && s->host->node[h].id.v != id)
            h++;
        if (h == s->H)
            return errctx_set(ec, ENOENT, "placement: this host has no node %u", id);
    }
    place_set_spread(s, i, nodes);
    return 0;
}

int place_search_init(struct place_search *s, const struct place_problem *problem,
                      struct errctx *ec)
{
    int r = check(problem, ec);

    if (r < 0)
        return r;
    *s = (struct place_search){ .problem = problem,
                                .host = problem->host,
                                .n = (uint32_t)problem->n_vnodes,
                                .H = problem->host->n,
                                .w = place_weights_of(problem->objective),
                                .strict = true };
    r = alloc(s, ec);
    if (r < 0)
        return r;
    fill_load(s);
    for (uint32_t i = 0; i < s->n; i++) {
        s->at[i] = PLACE_ANYWHERE;
        s->milli[i] = problem->vnodes[i].demand_milli;
        s->mib[i] = (int64_t)((problem->vnodes[i].mem_bytes + MIB - 1) / MIB);
        fill_unary(s, i);
    }
    for (size_t g = 0; g < problem->n_guests; g++)
        fill_turn(s, &problem->guests[g], s->scratch);
    for (uint32_t i = 0; r == 0 && i < s->n; i++)
        r = spread_as_told(s, i, ec);
    if (r < 0)
        place_search_fini(s);
    return r;
}

void place_search_fini(struct place_search *s)
{
    free(s->spread);
    free(s->memory);
    *s = (struct place_search){ 0 };
}
