/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Better plans near a given one: a virtual node moves, two change places, a guest or a group of its
 * nodes is taken out and grown anew. Only what lowers the cost is kept, so it ends; rounds are
 * limited besides. Pure.
 */
#include "vcpu/policy/place_private.h"

#include <string.h>

#include "vmm/base/macros.h"

enum { ROUNDS_IN_GUEST = 8, ROUNDS_OF_ALL = 3 };

/* For every vnode of a guest and every host node, what traffic it would have there with the others
 * that are placed: what moves and swaps are judged by, kept up to date by moved(). */
static void fill_pull(struct place_search *s, uint32_t guest)
{
    const struct place_guest *g = &s->problem->guests[guest];

    for (uint32_t i = 0; i < g->n; i++) {
        int64_t *row = s->pull + (size_t)(g->first + i) * s->H;

        memset(row, 0, s->H * sizeof(*row));
        for (uint32_t k = 0; k < g->n; k++)
            if (k != i && s->at[g->first + k] >= 0)
                place_row_add(s, row, s->at[g->first + k], s->traffic[guest][(size_t)i * g->n + k],
                              s->told[guest][(size_t)i * g->n + k]);
    }
}

/* vnode @k went from @from to another node: what the others of its guest have with it. */
static void moved(struct place_search *s, uint32_t k, int from)
{
    const struct place_guest *g = &s->problem->guests[s->guest_of[k]];
    const int64_t *traffic = s->traffic[s->guest_of[k]] + (size_t)(k - g->first) * g->n;
    const uint32_t *told = s->told[s->guest_of[k]] + (size_t)(k - g->first) * g->n;
    const uint32_t *old = s->host->dist + (size_t)from * s->H;
    const uint32_t *new = s->host->dist + (size_t)s->at[k] * s->H;

    for (uint32_t i = 0; i < g->n; i++) {
        int64_t *row = s->pull + (size_t)(g->first + i) * s->H;

        if (g->first + i == k)
            continue;
        for (uint32_t h = 0; h < s->H; h++)
            if (old[h] != new[h])
                row[h] += place_pair(s, traffic[i], told[i], new[h]) -
                          place_pair(s, traffic[i], told[i], old[h]);
    }
}

static bool try_move(struct place_search *s, uint32_t i)
{
    const int64_t *pull = s->pull + (size_t)i * s->H, *unary = s->unary + (size_t)i * s->H;
    const int from = s->at[i];
    const int64_t slack = place_shift_most(s, i);
    int best = from;
    int64_t least;
    struct place_spans spans;
    bool filled = false;

    place_take(s, i);
    least = pull[from] + place_added(s, i, (uint32_t)from);
    for (uint32_t h = 0; h < s->H; h++) {
        int64_t cost;

        /* Load only adds to it, but for capacity that is stranded no more. */
        if (unary[h] + pull[h] - slack >= least || !place_fits(s, i, h))
            continue;
        cost = pull[h] + place_added(s, i, h);
        if (cost >= least || !place_spans_late(s, i, (int)h, &spans, &filled))
            continue;
        least = cost;
        best = (int)h;
    }
    place_put(s, i, best);
    if (best != from)
        moved(s, i, from);
    return best != from;
}

/* May @i be on @h when @k has left it? */
static bool fits_for(const struct place_search *s, uint32_t i, uint32_t k, int h)
{
    const struct place_load *l = &s->load[h];

    return s->unary[(size_t)i * s->H + (uint32_t)h] != PLACE_NEVER &&
           l->mib - s->mib[k] + s->mib[i] <= l->mem_mib &&
           (!s->problem->own_cpus || s->milli[i] == 0 ||
            l->milli - s->milli[k] + s->milli[i] <= l->cap);
}

/* What it costs more that @i is on @h, where @k was, and no longer on @from; traffic between the
 * two left out, since that stays as it is. */
static int64_t cost_for(const struct place_search *s, uint32_t i, uint32_t k, int h, int from)
{
    const struct place_load *l = &s->load[h];
    const int64_t *pull = s->pull + (size_t)i * s->H, *unary = s->unary + (size_t)i * s->H;
    int64_t cost = pull[h] - pull[from] + unary[h] - unary[from];

    if (s->milli[i] != s->milli[k] || s->mib[i] != s->mib[k])
        cost += place_host_cost(s, l, l->milli - s->milli[k] + s->milli[i],
                                l->mib - s->mib[k] + s->mib[i]) -
                l->now;
    if (s->guest_of[i] == s->guest_of[k]) {
        const struct place_guest *g = &s->problem->guests[s->guest_of[i]];
        size_t pair = (size_t)(i - g->first) * g->n + (k - g->first);
        int64_t traffic = s->traffic[s->guest_of[i]][pair];
        uint32_t told = s->told[s->guest_of[i]][pair];

        cost -= place_pair(s, traffic, told, s->host->dist[(size_t)h * s->H + (uint32_t)h]) -
                place_pair(s, traffic, told, s->host->dist[(size_t)h * s->H + (uint32_t)from]);
    }
    return cost;
}

static void change_places(struct place_search *s, uint32_t i, uint32_t k)
{
    const int x = s->at[i], y = s->at[k];

    place_take(s, i);
    place_take(s, k);
    place_put(s, i, y);
    place_put(s, k, x);
}

static bool try_swap(struct place_search *s, uint32_t i, uint32_t k)
{
    const int x = s->at[i], y = s->at[k];

    if (x == y || cost_for(s, i, k, y, x) + cost_for(s, k, i, x, y) >= 0 || !fits_for(s, i, k, y) ||
        !fits_for(s, k, i, x))
        return false;
    change_places(s, i, k);
    if (!place_order_kept(s, s->guest_of[i]) || !place_order_kept(s, s->guest_of[k])) {
        change_places(s, i, k);
        return false;
    }
    moved(s, i, x);
    moved(s, k, y);
    return true;
}

static void polish(struct place_search *s, uint32_t guest)
{
    const struct place_guest *g = &s->problem->guests[guest];
    bool better = g->n > 1; /* one by itself was put where it costs least */

    if (better)
        fill_pull(s, guest);
    for (int round = 0; better && round < ROUNDS_IN_GUEST; round++) {
        better = false;
        for (uint32_t i = g->first; i < g->first + g->n; i++)
            if (s->at[i] >= 0)
                better = try_move(s, i) || better;
        for (uint32_t i = g->first; i < g->first + g->n; i++)
            for (uint32_t k = g->first; k < i; k++)
                if (s->at[i] >= 0 && s->at[k] >= 0)
                    better = try_swap(s, i, k) || better;
    }
}

/* What @n virtual nodes of one guest cost, their traffic and what they add to the host when put there
 * in order; they are taken out, and @at receives where they were. */
static int64_t take_nodes(struct place_search *s, const uint32_t *node, uint32_t n, int *at)
{
    int64_t cost = 0;

    for (uint32_t k = 0; k < n; k++) {
        int h = at[k] = s->at[node[k]];

        if (h < 0)
            continue;
        cost += place_traffic_at(s, node[k], (uint32_t)h);
        place_take(s, node[k]);
        cost += place_added(s, node[k], (uint32_t)h);
    }
    return cost;
}

static void put_nodes(struct place_search *s, const uint32_t *node, uint32_t n, const int *at)
{
    for (uint32_t k = 0; k < n; k++)
        if (at[k] >= 0)
            place_put(s, node[k], at[k]);
}

/* Place @n virtual nodes of a guest anew; what is better is kept, as it is or @polished. */
static bool regrow(struct place_search *s, uint32_t guest, const uint32_t *node, uint32_t n,
                   bool polished)
{
    int was[GUEST_MAX_VNODES], now[GUEST_MAX_VNODES];
    int64_t before = take_nodes(s, node, n, was);

    if (place_grow(s, guest)) {
        if (polished)
            polish(s, guest);
        if (take_nodes(s, node, n, now) < before) {
            put_nodes(s, node, n, now);
            return true;
        }
    }
    put_nodes(s, node, n, was);
    return false;
}

/* Do nodes of the guest crowd each other: two on a host node that has too little for them? */
static bool is_crowded(const struct place_search *s, const struct place_guest *g)
{
    for (uint32_t i = g->first; i < g->first + g->n; i++) {
        const struct place_load *l = s->at[i] >= 0 ? &s->load[s->at[i]] : NULL;

        if (l == NULL || l->milli <= l->cap)
            continue;
        for (uint32_t k = g->first; k < i; k++)
            if (s->at[k] == s->at[i])
                return true;
    }
    return false;
}

/*
 * Where the order of distances counts, the first node of a group that was told to be far from
 * another ties down the rest of it: all may end up on a host node that has too little for them. Each
 * group that stands together is placed anew, whole.
 */
static bool regroup(struct place_search *s, uint32_t guest)
{
    const struct place_guest *g = &s->problem->guests[guest];
    bool better = false;

    for (uint32_t i = 0; i < g->n; i++) {
        const uint8_t *class = s->class[guest] + (size_t)i * g->n;
        uint32_t node[GUEST_MAX_VNODES], n = 0;
        bool first = true;

        for (uint32_t k = 0; k < g->n; k++) {
            if (k != i && class[k] != 0)
                continue;
            first = first && k >= i;
            node[n++] = g->first + k;
        }
        if (first && n < g->n)
            better = regrow(s, guest, node, n, false) || better;
    }
    return better;
}

void place_polish(struct place_search *s, uint32_t guest)
{
    const struct place_guest *g = &s->problem->guests[guest];

    polish(s, guest);
    if (s->strict && s->n_classes[guest] > 1 && is_crowded(s, g) && regroup(s, guest))
        polish(s, guest);
}

/* Place a whole guest anew. */
static bool regrow_guest(struct place_search *s, uint32_t guest)
{
    const struct place_guest *g = &s->problem->guests[guest];
    uint32_t node[GUEST_MAX_VNODES];

    for (uint32_t k = 0; k < g->n; k++)
        node[k] = g->first + k;
    return regrow(s, guest, node, g->n, true);
}

void place_polish_all(struct place_search *s)
{
    bool better = s->problem->n_guests > 1;

    for (int round = 0; better && round < ROUNDS_OF_ALL; round++) {
        better = false;
        for (uint32_t g = 0; g < s->problem->n_guests; g++)
            better = regrow_guest(s, g) || better;
        for (uint32_t g = 0; g < s->problem->n_guests; g++)
            fill_pull(s, g);
        for (uint32_t i = 0; i < s->n; i++)
            for (uint32_t k = 0; s->at[i] >= 0 && k < i; k++)
                if (s->at[k] >= 0 && s->guest_of[i] != s->guest_of[k])
                    better = try_swap(s, i, k) || better;
    }
}
