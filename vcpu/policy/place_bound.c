/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Branch and bound: is there anything cheaper than the plan that was found?
 *
 * The tree places one virtual node a level. At every tree node a row for each virtual node that
 * is still open says what it would add on each host node, given those that are placed: its own
 * cost, load at the present state (convex, so it only grows later), and traffic with the placed.
 * The bound is the cost so far, the least of each row, and for each pair of open ones the least
 * that it can cost at all: together on one node, or apart at the host's shortest distance.
 * Stranded capacity may shrink again, by at most what each addition moves it; rows are lowered by
 * that where they are used as a bound.
 *
 * Neighbours in the order that are alike in everything are placed by ascending host node, since
 * exchanging them changes nothing. Pure.
 */
#include "vcpu/policy/place_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"

enum { TREE_NODES_MAX = 24, TREE_BYTES_MAX = 8 * MIB };

struct tree {
    struct place_search *s;
    uint32_t n; /* open virtual nodes, in the order of the tree's levels */
    uint32_t *list;
    bool *like_last; /* n */
    int64_t *shift;  /* n * H: how far stranded capacity may move */
    int64_t *pairs;  /* n + 1: least cost of all pairs from this level on */
    int64_t **rows;  /* per level: (n - level) * H */
    int64_t *child;  /* n * H: cost of each child, per level */
    int *best_at;
    int64_t best;
    uint32_t expanded, budget;
    bool cut; /* the budget ended the search */
    void *memory;
};

static int64_t *row_of(const struct tree *t, uint32_t level, uint32_t k)
{
    return t->rows[level] + (size_t)(k - level) * t->s->H;
}

/* What placing two of a guest costs more than placing each alone, at least. */
static int64_t pair_at_least(const struct place_search *s, uint32_t i, uint32_t k, uint32_t nearest)
{
    const struct place_guest *g = &s->problem->guests[s->guest_of[i]];
    size_t at = (size_t)(i - g->first) * g->n + (k - g->first);
    int64_t traffic, least;
    uint32_t told;

    if (s->guest_of[i] != s->guest_of[k])
        return 0;
    traffic = s->traffic[s->guest_of[i]][at];
    told = s->told[s->guest_of[i]][at];
    least = nearest != 0 ? place_pair(s, traffic, told, nearest) : PLACE_NEVER;
    for (uint32_t h = 0; h < s->H; h++) {
        const struct place_load *l = &s->load[h];
        int64_t both = place_convex(s, l, l->milli + s->milli[i] + s->milli[k]) -
                       place_convex(s, l, l->milli + s->milli[i]) -
                       place_convex(s, l, l->milli + s->milli[k]) + place_convex(s, l, l->milli);

        if (l->mib + s->mib[i] + s->mib[k] > l->mem_mib)
            continue;
        both += place_pair(s, traffic, told, place_distance(s->host, h, h));
        least = MIN(least, both);
    }
    return least < PLACE_NEVER ? least : 0;
}

static bool alike(const struct place_search *s, uint32_t i, uint32_t k)
{
    const struct place_guest *g = &s->problem->guests[s->guest_of[i]];
    const int64_t *traffic = s->traffic[s->guest_of[i]];
    const uint32_t *told = s->told[s->guest_of[i]];

    if (s->guest_of[i] != s->guest_of[k] || s->milli[i] != s->milli[k] || s->mib[i] != s->mib[k] ||
        memcmp(s->unary + (size_t)i * s->H, s->unary + (size_t)k * s->H, s->H * 8) != 0)
        return false;
    for (uint32_t o = 0; o < g->n; o++) {
        size_t a = (size_t)(i - g->first) * g->n + o, b = (size_t)(k - g->first) * g->n + o;

        if (g->first + o != i && g->first + o != k &&
            (traffic[a] != traffic[b] || told[a] != told[b]))
            return false;
    }
    return true;
}

static int64_t own_cost(const struct place_search *s, uint32_t i, uint32_t h)
{
    const struct place_load *l = &s->load[h];

    if (!place_fits(s, i, h))
        return PLACE_NEVER;
    return s->unary[(size_t)i * s->H + h] + place_convex(s, l, l->milli + s->milli[i]) -
           place_convex(s, l, l->milli);
}

static void fill_root(struct tree *t)
{
    const struct place_search *s = t->s;

    for (uint32_t k = 0; k < t->n; k++) {
        uint32_t i = t->list[k];
        int64_t *row = row_of(t, 0, k), *shift = t->shift + (size_t)k * s->H;

        t->like_last[k] = k > 0 && alike(s, i, t->list[k - 1]);
        for (uint32_t h = 0; h < s->H; h++) {
            int64_t mem = (s->mib[i] * s->load[h].ratio) >> 16, milli = s->milli[i];

            row[h] = own_cost(s, i, h);
            shift[h] = s->w.stranded * ((mem > milli ? mem - milli : milli - mem) + 1);
        }
    }
    t->pairs[t->n] = 0;
    for (uint32_t k = t->n; k-- > 0;) {
        t->pairs[k] = t->pairs[k + 1];
        for (uint32_t o = k + 1; o < t->n; o++)
            t->pairs[k] += pair_at_least(s, t->list[k], t->list[o], s->host->nearest);
    }
}

/* Least that the open ones from level @from on add by their rows of @level; PLACE_NEVER: stuck. */
static int64_t rows_at_least(const struct tree *t, uint32_t level, uint32_t from)
{
    int64_t sum = 0;

    for (uint32_t k = from; k < t->n; k++) {
        const int64_t *row = row_of(t, level, k), *shift = t->shift + (size_t)k * t->s->H;
        int64_t least = PLACE_NEVER - 1;

        for (uint32_t h = 0; h < t->s->H; h++)
            least = MIN(least, row[h] - shift[h]);
        if (least >= PLACE_NEVER / 2)
            return PLACE_NEVER;
        sum += least;
    }
    return sum;
}

/* Rows of the next level, with the virtual node of @level placed at @at, and @before its load. */
static void next_rows(struct tree *t, uint32_t level, uint32_t at)
{
    const struct place_search *s = t->s;
    const uint32_t i = t->list[level], index = s->guest_of[i];
    const struct place_guest *g = &s->problem->guests[index];
    const uint32_t *dist = s->host->dist + (size_t)at * s->H;
    const struct place_load *l = &s->load[at];

    for (uint32_t k = level + 1; k < t->n; k++) {
        const uint32_t o = t->list[k];
        const int64_t *from = row_of(t, level, k);
        int64_t *to = row_of(t, level + 1, k), was = l->milli - s->milli[i];

        memcpy(to, from, s->H * sizeof(*to));
        if (s->guest_of[o] == index) {
            size_t pair = (size_t)(i - g->first) * g->n + (o - g->first);
            int64_t traffic = s->traffic[index][pair];
            uint32_t told = s->told[index][pair];

            for (uint32_t h = 0; h < s->H; h++)
                to[h] += place_pair(s, traffic, told, dist[h]);
        }
        if (!place_fits(s, o, at)) {
            to[at] = PLACE_NEVER;
            continue;
        }
        to[at] += place_convex(s, l, l->milli + s->milli[o]) - place_convex(s, l, l->milli) -
                  place_convex(s, l, was + s->milli[o]) + place_convex(s, l, was);
    }
}

static void fill_children(struct tree *t, uint32_t level)
{
    const struct place_search *s = t->s;
    const uint32_t i = t->list[level];
    const int64_t *row = row_of(t, level, level);
    int64_t *child = t->child + (size_t)level * s->H;
    uint32_t first = t->like_last[level] ? (uint32_t)s->at[t->list[level - 1]] : 0;

    for (uint32_t h = 0; h < s->H; h++) {
        const struct place_load *l = &s->load[h];

        child[h] = PLACE_NEVER;
        if (h >= first && row[h] < PLACE_NEVER / 2)
            child[h] = row[h] + place_strand(s, l, l->milli + s->milli[i], l->mib + s->mib[i]) -
                       place_strand(s, l, l->milli, l->mib);
    }
}

static void descend(struct tree *t, uint32_t level, int64_t cost)
{
    struct place_search *s = t->s;
    int64_t *child = t->child + (size_t)level * s->H, rest;
    struct place_spans spans = { 0 };

    if (level == t->n) {
        for (uint32_t k = 0; k < t->n; k++)
            t->best_at[k] = s->at[t->list[k]];
        t->best = cost;
        return;
    }
    rest = rows_at_least(t, level, level + 1);
    if (rest == PLACE_NEVER)
        return;
    rest += t->pairs[level];
    fill_children(t, level);
    if (s->strict)
        place_spans_init(s, s->guest_of[t->list[level]], t->list[level], &spans);
    for (;;) {
        uint32_t at = 0;
        int64_t least;

        for (uint32_t h = 1; h < s->H; h++)
            at = child[h] < child[at] ? h : at;
        least = child[at];
        if (least == PLACE_NEVER || cost + least + rest >= t->best || t->cut)
            return;
        child[at] = PLACE_NEVER;
        if (!place_spans_keep(s, t->list[level], (int)at, &spans))
            continue;
        if (t->expanded == t->budget) {
            t->cut = true;
            return;
        }
        t->expanded++;
        place_put(s, t->list[level], (int)at);
        next_rows(t, level, at);
        if (cost + least + rows_at_least(t, level + 1, level + 1) + t->pairs[level + 1] < t->best)
            descend(t, level + 1, cost + least);
        place_take(s, t->list[level]);
    }
}

static int tree_alloc(struct tree *t, bool grow)
{
    const struct place_search *s = t->s;
    size_t n = s->n, H = s->H, levels = grow ? n : 1, rows = grow ? n * (n + 1) / 2 : n;
    char *at = malloc((rows + levels + n) * H * 8 + n * 16 + (n + 1) * 16 + 64);

    t->memory = at;
    if (at == NULL)
        return -ENOMEM;
    t->rows = (int64_t **)(void *)at;
    at += (n + 1) * sizeof(*t->rows);
    t->pairs = (int64_t *)(void *)at;
    at += (n + 1) * sizeof(*t->pairs);
    t->shift = (int64_t *)(void *)at;
    at += n * H * sizeof(*t->shift);
    t->child = (int64_t *)(void *)at;
    at += levels * H * sizeof(*t->child);
    for (size_t level = 0; level < levels; level++) {
        t->rows[level] = (int64_t *)(void *)at;
        at += (n - level) * H * sizeof(int64_t);
    }
    t->rows[levels] = NULL;
    t->list = (uint32_t *)(void *)at;
    at += n * sizeof(*t->list);
    t->best_at = (int *)(void *)at;
    at += n * sizeof(*t->best_at);
    t->like_last = (bool *)at;
    return 0;
}

/* What the plan that stands costs, the spread ones' share left out; takes everything out. */
static int64_t take_all(struct tree *t)
{
    struct place_search *s = t->s;
    int64_t cost = 0;

    for (uint32_t k = 0; k < t->n; k++) {
        uint32_t i = t->list[k];

        t->best_at[k] = s->at[i];
        cost += place_traffic_at(s, i, (uint32_t)s->at[i]);
        place_take(s, i);
        cost += place_added(s, i, (uint32_t)t->best_at[k]);
    }
    return cost;
}

int place_bound(struct place_search *s, bool have_plan, uint32_t budget, uint32_t *ret_expanded,
                int64_t *ret_gap, bool *ret_proved)
{
    struct tree t = { .s = s, .best = PLACE_NEVER, .budget = budget };
    const size_t bytes = (size_t)s->n * (s->n + 1) / 2 * s->H * 8;
    const bool grow = s->n <= TREE_NODES_MAX && bytes <= TREE_BYTES_MAX && budget > 0;
    int64_t root;

    if (tree_alloc(&t, grow) < 0)
        return -ENOMEM;
    for (uint32_t g = 0; g < s->problem->n_guests; g++) {
        const struct place_guest *guest = &s->problem->guests[g];

        for (uint32_t k = 0; k < guest->n; k++)
            if (s->at[guest->first + s->turn[guest->first + k]] != PLACE_SPREAD)
                t.list[t.n++] = guest->first + s->turn[guest->first + k];
    }
    if (have_plan)
        t.best = take_all(&t);
    fill_root(&t);
    root = rows_at_least(&t, 0, 0);
    root = root == PLACE_NEVER ? root : root + t.pairs[0];
    if (grow && root < t.best)
        descend(&t, 0, 0);
    t.cut = t.cut || !grow;
    for (uint32_t k = 0; t.best != PLACE_NEVER && k < t.n; k++)
        place_put(s, t.list[k], t.best_at[k]);
    *ret_expanded += t.expanded;
    *ret_proved = !t.cut || root >= t.best;
    *ret_gap = *ret_proved ? 0 : t.best - root;
    free(t.memory);
    return t.best != PLACE_NEVER;
}
