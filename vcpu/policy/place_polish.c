/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Better plans near a given one: a virtual node moves, two change places, a guest or a group of its
 * nodes is taken out and grown anew. Only what lowers the cost is kept, so it ends; rounds are limited besides. Pure.
 */
#include "vcpu/policy/place_private.h"

#include <string.h>

#include "vmm/base/macros.h"

enum { ROUNDS_IN_GUEST = 8, ROUNDS_OF_ALL = 3 };

/* For every host node, what traffic vnode @i would have there; its guest's others are placed. */
static void traffic_row(const struct place_search *s, uint32_t i, int64_t *row)
{
    const struct place_guest *g = &s->problem->guests[s->guest_of[i]];
    const int64_t *traffic = s->traffic[s->guest_of[i]] + (size_t)(i - g->first) * g->n;
    const uint32_t *told = s->told[s->guest_of[i]] + (size_t)(i - g->first) * g->n;

    memset(row, 0, s->H * sizeof(*row));
    for (uint32_t k = 0; k < g->n; k++) {
        const uint32_t *dist;

        if (g->first + k == i || s->at[g->first + k] < 0)
            continue;
        dist = s->host->dist + (size_t)s->at[g->first + k] * s->H;
        for (uint32_t h = 0; h < s->H; h++)
            row[h] += place_pair(s, traffic[k], told[k], dist[h]);
    }
}

static bool try_move(struct place_search *s, uint32_t i)
{
    const int from = s->at[i];
    int best = from;
    int64_t least, *row = s->scratch;
    struct place_spans spans = { 0 };

    place_take(s, i);
    if (s->strict)
        place_spans_init(s, s->guest_of[i], i, &spans);
    traffic_row(s, i, row);
    least = row[from] + place_added(s, i, (uint32_t)from);
    for (uint32_t h = 0; h < s->H; h++) {
        int64_t cost;

        if (!place_fits(s, i, h))
            continue;
        cost = row[h] + place_added(s, i, h);
        if (cost >= least || !place_spans_keep(s, i, (int)h, &spans))
            continue;
        least = cost;
        best = (int)h;
    }
    place_put(s, i, best);
    return best != from;
}

/* @i goes to @h if it may. Return: what it adds, or PLACE_NEVER with nothing done. */
static int64_t put_one(struct place_search *s, uint32_t i, int h)
{
    struct place_spans spans = { 0 };
    int64_t cost;

    if (!place_fits(s, i, (uint32_t)h))
        return PLACE_NEVER;
    if (s->strict)
        place_spans_init(s, s->guest_of[i], i, &spans);
    if (!place_spans_keep(s, i, h, &spans))
        return PLACE_NEVER;
    cost = place_added(s, i, (uint32_t)h) + place_traffic_at(s, i, (uint32_t)h);
    place_put(s, i, h);
    return cost;
}

/* Both are taken out; @i goes to @x, then @k to @y. PLACE_NEVER when they may not. */
static int64_t put_both(struct place_search *s, uint32_t i, int x, uint32_t k, int y)
{
    int64_t cost = put_one(s, i, x), more;

    if (cost == PLACE_NEVER)
        return PLACE_NEVER;
    more = put_one(s, k, y);
    if (more == PLACE_NEVER) {
        place_take(s, i);
        return PLACE_NEVER;
    }
    return cost + more;
}

static bool try_swap(struct place_search *s, uint32_t i, uint32_t k)
{
    const int x = s->at[i], y = s->at[k];
    int64_t was, is;

    if (x == y)
        return false;
    was = place_traffic_at(s, i, (uint32_t)x);
    place_take(s, i);
    was += place_added(s, i, (uint32_t)x);
    was += place_traffic_at(s, k, (uint32_t)y);
    place_take(s, k);
    was += place_added(s, k, (uint32_t)y);
    is = put_both(s, i, y, k, x);
    if (is < was)
        return true;
    if (is != PLACE_NEVER) {
        place_take(s, k);
        place_take(s, i);
    }
    place_put(s, i, x);
    place_put(s, k, y);
    return false;
}

static void polish(struct place_search *s, uint32_t guest)
{
    const struct place_guest *g = &s->problem->guests[guest];
    bool better = true;

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
        for (uint32_t i = 0; i < s->n; i++)
            for (uint32_t k = 0; s->at[i] >= 0 && k < i; k++)
                if (s->at[k] >= 0 && s->guest_of[i] != s->guest_of[k])
                    better = try_swap(s, i, k) || better;
    }
}
