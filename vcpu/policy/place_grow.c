/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One guest from nothing: every host node is judged as the seed of its heaviest virtual node. From
 * the most promising ones the others follow where each adds least, among the seed's neighbours
 * that have room. The cheapest of these plans is kept. Pure.
 */
#include "vcpu/policy/place_private.h"

#include "vmm/base/macros.h"

enum {
    SPARE_CANDIDATES = 4, /* beyond one for each virtual node */
    SEEDS_MAX = 8,        /* how many of the most promising seeds are grown */
    SEEDS_MIN = 3,
    WORK_MAX = 30 * 1000, /* evaluations of pairs; wide guests grow from fewer seeds */
    ROOMY = -1,
};

struct growth {
    uint32_t list[GUEST_MAX_VNODES]; /* virtual nodes in the order in which they are placed */
    uint32_t n;
    uint16_t candidate[PLACE_MAX_NODES];
    uint32_t n_candidates;
    int best[GUEST_MAX_VNODES];
    int64_t cost, link;
    int64_t milli, mib; /* of an average node */
    int64_t squeeze[PLACE_MAX_NODES]; /* an average node where it has no room; ROOMY, PLACE_NEVER */
    uint32_t told;
    bool alone;               /* nothing of the guest is placed before */
    struct place_spans spans; /* before anything is grown */
};

static void list_unplaced(const struct place_search *s, uint32_t guest, struct growth *gr)
{
    const struct place_guest *g = &s->problem->guests[guest];

    gr->n = 0;
    for (uint32_t k = 0; k < g->n; k++) {
        uint32_t i = g->first + s->turn[g->first + k];

        if (s->at[i] == PLACE_ANYWHERE)
            gr->list[gr->n++] = i;
    }
    gr->alone = gr->n == g->n;
}

/* Traffic of vnode @i at @h with what is placed of its guest. */
static int64_t traffic_before(const struct place_search *s, const struct growth *gr, uint32_t i,
                              uint32_t h)
{
    return gr->alone ? 0 : place_traffic_at(s, i, h);
}

static void find_candidates(const struct place_search *s, struct growth *gr, uint32_t seed)
{
    const uint16_t *order = s->host->order + (size_t)seed * s->H;
    const uint32_t lightest = gr->list[gr->n - 1];
    uint32_t roomy = 0, crowded = 0;

    gr->n_candidates = 0;
    for (uint32_t k = 0; k < s->H && roomy < gr->n + SPARE_CANDIDATES; k++) {
        const struct place_load *l = &s->load[order[k]];
        bool room =
            l->milli + s->milli[lightest] <= l->cap && l->mib + s->mib[lightest] <= l->mem_mib;

        if (!room && crowded++ >= SPARE_CANDIDATES)
            continue;
        roomy += room;
        gr->candidate[gr->n_candidates++] = order[k];
    }
}

/* Until a seed has grown, rows of pull[] have its candidates' numbers. */
static void start_pull(struct place_search *s, const struct growth *gr)
{
    for (uint32_t k = 1; k < gr->n; k++) {
        int64_t *pull = s->pull + (size_t)gr->list[k] * s->H;

        for (uint32_t c = 0; c < gr->n_candidates; c++)
            pull[c] = traffic_before(s, gr, gr->list[k], gr->candidate[c]);
    }
}

/* The @n-th of the list was placed at @at: what the later ones have with it. */
static void add_pull(struct place_search *s, const struct growth *gr, uint32_t n, int at)
{
    const uint32_t index = s->guest_of[gr->list[n]];
    const struct place_guest *g = &s->problem->guests[index];
    const uint32_t *dist = s->host->dist + (size_t)at * s->H;

    for (uint32_t k = n + 1; k < gr->n; k++) {
        size_t pair = (size_t)(gr->list[n] - g->first) * g->n + (gr->list[k] - g->first);
        const int64_t traffic = s->traffic[index][pair];
        const uint32_t told = s->told[index][pair];
        int64_t *pull = s->pull + (size_t)gr->list[k] * s->H;

        for (uint32_t c = 0; c < gr->n_candidates; c++)
            pull[c] += place_pair(s, traffic, told, dist[gr->candidate[c]]);
    }
}

/* The candidate at which @i adds least; the earlier one of equals. -1: none. Without candidates
 * any host node is one. */
static int cheapest(const struct place_search *s, uint32_t i, const uint16_t *candidate, uint32_t n,
                    const struct place_spans *spans, int64_t *ret_cost)
{
    const int64_t *pull = s->pull + (size_t)i * s->H;
    int64_t best = PLACE_NEVER;
    int found = PLACE_ANYWHERE;

    for (uint32_t k = 0; k < n; k++) {
        uint32_t h = candidate != NULL ? candidate[k] : k;
        int64_t cost;

        if (!place_fits(s, i, h))
            continue;
        cost = place_added(s, i, h);
        if (cost < best)
            cost += candidate != NULL ? pull[k] : place_traffic_at(s, i, h);
        if (cost >= best || !place_spans_keep(s, i, (int)h, spans))
            continue;
        best = cost;
        found = (int)h;
    }
    *ret_cost = best;
    return found;
}

static void undo(struct place_search *s, const struct growth *gr, uint32_t n)
{
    while (n-- > 0)
        place_take(s, gr->list[n]);
}

static void grow_from(struct place_search *s, struct growth *gr, uint32_t seed)
{
    struct place_spans spans;
    int64_t cost;
    uint32_t n = 1;

    place_spans_copy(&gr->spans, &spans);
    cost = place_added(s, gr->list[0], seed) + traffic_before(s, gr, gr->list[0], seed);
    find_candidates(s, gr, seed);
    start_pull(s, gr);
    add_pull(s, gr, 0, (int)seed);
    place_spans_add(s, gr->list[0], (int)seed, &spans);
    place_put(s, gr->list[0], (int)seed);
    for (; n < gr->n && cost < gr->cost; n++) {
        int64_t more;
        int h = cheapest(s, gr->list[n], gr->candidate, gr->n_candidates, &spans, &more);

        if (h < 0)
            h = cheapest(s, gr->list[n], NULL, s->H, &spans, &more);
        if (h < 0)
            break;
        add_pull(s, gr, n, h);
        place_spans_add(s, gr->list[n], h, &spans);
        place_put(s, gr->list[n], h);
        cost += more;
    }
    if (n == gr->n && cost < gr->cost) {
        gr->cost = cost;
        for (uint32_t k = 0; k < n; k++)
            gr->best[k] = s->at[gr->list[k]];
    }
    undo(s, gr, n);
}

/* The sum of the @n least of @m costs; what is missing costs as much as the largest does. */
static int64_t least_of(int64_t *cost, uint32_t m, uint32_t n)
{
    int64_t sum = 0, last = 0;

    for (uint32_t k = 0; k < n; k++) {
        for (uint32_t i = k + 1; i < m; i++) {
            int64_t c = cost[i];

            if (k < m && c < cost[k]) {
                cost[i] = cost[k];
                cost[k] = c;
            }
        }
        last = k < m ? cost[k] : 2 * last;
        sum += last;
    }
    return sum;
}

/* What an average node costs on each host node for want of CPUs. */
static void fill_squeeze(const struct place_search *s, struct growth *gr)
{
    for (uint32_t h = 0; h < s->H; h++) {
        const struct place_load *l = &s->load[h];

        if (l->mib + gr->mib > l->mem_mib)
            gr->squeeze[h] = PLACE_NEVER;
        else if (l->milli + gr->milli <= l->cap)
            gr->squeeze[h] = ROOMY;
        else
            gr->squeeze[h] =
                place_convex(s, l, l->milli + gr->milli) - place_convex(s, l, l->milli);
    }
}

/*
 * What a seed promises: average nodes of the guest as its neighbours, each talking to the seed
 * alone, none farther than the guest was told. Where there is no room for all, the least crowded
 * of the neighbours take the rest. PLACE_NEVER: it cannot be one.
 */
static int64_t promise(const struct place_search *s, const struct growth *gr, uint32_t seed)
{
    const uint16_t *order = s->host->order + (size_t)seed * s->H;
    const uint32_t *dist = s->host->dist + (size_t)seed * s->H;
    uint32_t left = gr->n - 1, crowded = 0;
    int64_t cost, squeeze[GUEST_MAX_VNODES];

    if (!place_fits(s, gr->list[0], seed) ||
        (!gr->alone && !place_spans_keep(s, gr->list[0], (int)seed, &gr->spans)))
        return PLACE_NEVER;
    cost = place_added(s, gr->list[0], seed) + traffic_before(s, gr, gr->list[0], seed);
    for (uint32_t k = 1; k < s->H && left > 0 && dist[order[k]] <= gr->told; k++) {
        const uint32_t h = order[k];

        if (gr->squeeze[h] == ROOMY) {
            cost += gr->link * dist[h];
            left--;
        } else if (gr->squeeze[h] != PLACE_NEVER && crowded < ARRAY_SIZE(squeeze)) {
            squeeze[crowded++] = gr->link * dist[h] + gr->squeeze[h];
        }
    }
    if (left > 0 && crowded < ARRAY_SIZE(squeeze)) { /* the seed itself takes one, too */
        const struct place_load *l = &s->load[seed];
        int64_t milli = l->milli + s->milli[gr->list[0]];

        squeeze[crowded++] = gr->link * dist[seed] + place_convex(s, l, milli + gr->milli) -
                             place_convex(s, l, milli);
    }
    return cost + least_of(squeeze, crowded, left);
}

/* The guest's average node, and the farthest that any of its nodes may be from the first. */
static void fill_average(const struct place_search *s, struct growth *gr)
{
    const struct place_guest *g = &s->problem->guests[s->guest_of[gr->list[0]]];
    const uint32_t *told = s->told[s->guest_of[gr->list[0]]];

    gr->milli = gr->mib = 0;
    gr->told = 0;
    for (uint32_t k = 1; k < gr->n; k++) {
        uint32_t d = told[(size_t)(gr->list[0] - g->first) * g->n + (gr->list[k] - g->first)];

        gr->milli += s->milli[gr->list[k]];
        gr->mib += s->mib[gr->list[k]];
        gr->told = MAX(gr->told, d);
    }
    gr->milli /= gr->n - 1;
    gr->mib /= gr->n - 1;
}

/* Half of all traffic a node has, on average: pairs that do not touch the seed cost as much. */
static int64_t mean_link(const struct place_search *s, const struct growth *gr)
{
    const struct place_guest *g = &s->problem->guests[s->guest_of[gr->list[0]]];
    const int64_t *traffic = s->traffic[s->guest_of[gr->list[0]]];
    int64_t sum = 0;

    for (uint32_t i = 0; i < g->n * g->n; i++)
        sum += traffic[i];
    return sum / 2 / (g->n - 1);
}

bool place_grow(struct place_search *s, uint32_t guest)
{
    struct growth gr;
    uint64_t work;
    uint32_t seeds;

    list_unplaced(s, guest, &gr);
    gr.cost = PLACE_NEVER;
    if (gr.n == 0)
        return true;
    gr.spans.n = 0;
    if (s->strict)
        place_spans_init(s, guest, UINT32_MAX, &gr.spans);
    if (gr.n == 1) {
        gr.best[0] = cheapest(s, gr.list[0], NULL, s->H, &gr.spans, &gr.cost);
    } else {
        int64_t *cost = s->scratch;

        gr.link = mean_link(s, &gr);
        fill_average(s, &gr);
        fill_squeeze(s, &gr);
        for (uint32_t seed = 0; seed < s->H; seed++)
            cost[seed] = promise(s, &gr, seed);
        work = (uint64_t)gr.n * gr.n * (gr.n + SPARE_CANDIDATES);
        seeds = (uint32_t)MIN(MAX(WORK_MAX / work, (uint64_t)SEEDS_MIN), (uint64_t)SEEDS_MAX);
        for (uint32_t tried = 0; tried < seeds || gr.cost == PLACE_NEVER; tried++) {
            uint32_t seed = 0;

            for (uint32_t h = 1; h < s->H; h++)
                seed = cost[h] < cost[seed] ? h : seed;
            if (cost[seed] == PLACE_NEVER)
                break;
            cost[seed] = PLACE_NEVER;
            grow_from(s, &gr, seed);
        }
    }
    if (gr.cost == PLACE_NEVER)
        return false;
    for (uint32_t k = 0; k < gr.n; k++)
        place_put(s, gr.list[k], gr.best[k]);
    return true;
}
