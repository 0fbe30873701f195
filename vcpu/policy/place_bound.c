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

struct child {
    int64_t cost;
    uint32_t at;
};

/* What a row is to get: traffic between two, and what they were told. */
struct pair {
    const uint32_t *dist; /* from where the placed one is */
    int64_t traffic;
    uint32_t told;
    bool near; /* no host node is farther than told */
};

struct tree {
    struct place_search *s;
    uint32_t n; /* open virtual nodes, in the order of the tree's levels */
    uint32_t *list;
    bool *like_last; /* n */
    int64_t *shift;  /* n * H: how far stranded capacity may move */
    int64_t *pairs;  /* n + 1: least cost of all pairs from this level on */
    int64_t *pair;   /* n * n: least cost of a pair, where a tree is grown */
    int64_t **rows;  /* per level: (n - level) * H; lower by shift */
    int64_t **least; /* per level: (n - level), the least of each row, as a bound */
    struct child *child;      /* per level: H */
    struct place_room *rooms; /* H */
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

/* What vnode @i adds at @h, but for stranded capacity. */
static int64_t own_cost(const struct place_search *s, uint32_t i, uint32_t h)
{
    const struct place_load *l = &s->load[h];

    if (!place_fits(s, i, h))
        return PLACE_NEVER;
    return s->unary[(size_t)i * s->H + h] + place_convex(s, l, l->milli + s->milli[i]) - l->convex;
}

static void fill_root(struct tree *t)
{
    const struct place_search *s = t->s;

    for (uint32_t k = 0; k < t->n; k++) {
        uint32_t i = t->list[k];
        int64_t *row = row_of(t, 0, k), *shift = t->shift + (size_t)k * s->H;
        int64_t least = PLACE_NEVER - 1;

        t->like_last[k] = k > 0 && alike(s, i, t->list[k - 1]);
        if (t->like_last[k]) {
            memcpy(row, row - s->H, s->H * sizeof(*row));
            memcpy(shift, shift - s->H, s->H * sizeof(*shift));
            t->least[0][k] = t->least[0][k - 1];
            continue;
        }
        for (uint32_t h = 0; h < s->H; h++) {
            bool again = h > 0 && s->load[h].ratio == s->load[h - 1].ratio;

            shift[h] = again ? shift[h - 1] : place_shift(s, i, s->load[h].ratio);
            row[h] = own_cost(s, i, h) - shift[h];
            least = MIN(least, row[h]);
        }
        t->least[0][k] = least;
    }
}

static void fill_pairs(struct tree *t)
{
    const uint32_t n_rooms = place_rooms(t->s, t->list, t->n, t->rooms);

    t->pairs[t->n] = 0;
    for (uint32_t k = t->n; k-- > 0;) {
        t->pairs[k] = t->pairs[k + 1];
        for (uint32_t o = k + 1; o < t->n; o++) {
            int64_t least = place_rooms_pair(t->s, t->rooms, n_rooms, t->list[k], t->list[o]);

            t->pairs[k] += least;
            if (t->pair != NULL)
                t->pair[(size_t)k * t->n + o] = least;
        }
    }
}

/* Least that the open ones from level @from on add by their rows of @level; PLACE_NEVER: stuck. */
static int64_t rows_at_least(const struct tree *t, uint32_t level, uint32_t from)
{
    int64_t sum = 0;

    for (uint32_t k = from; k < t->n; k++) {
        if (t->least[level][k - level] >= PLACE_NEVER / 2)
            return PLACE_NEVER;
        sum += t->least[level][k - level];
    }
    return sum;
}

/* What a pair whose other end is at @at adds to host nodes [@h, @end) of a row. Return: the least
 * of them and @least. */
static int64_t add_pair(const struct place_search *s, const int64_t *from, int64_t *to,
                        const struct pair *p, uint32_t h, uint32_t end, int64_t least)
{
    if (p->near)
        for (; h < end; h++) {
            to[h] = from[h] + p->traffic * p->dist[h];
            least = MIN(least, to[h]);
        }
    else
        for (; h < end; h++) {
            to[h] = from[h] + place_pair(s, p->traffic, p->told, p->dist[h]);
            least = MIN(least, to[h]);
        }
    return least;
}

/* The row of the @k-th one with the virtual node of @level placed at @at. Return: its least. */
static int64_t next_row(struct tree *t, uint32_t level, uint32_t k, uint32_t at)
{
    const struct place_search *s = t->s;
    const uint32_t i = t->list[level], o = t->list[k], index = s->guest_of[i];
    const struct place_load *l = &s->load[at];
    const int64_t *from = row_of(t, level, k);
    int64_t *to = row_of(t, level + 1, k), was = l->milli - s->milli[i], least = PLACE_NEVER - 1;
    struct pair p = { .dist = s->host->dist + (size_t)at * s->H, .near = true };

    if (s->guest_of[o] == index) {
        const struct place_guest *g = &s->problem->guests[index];
        size_t pair = (size_t)(i - g->first) * g->n + (o - g->first);

        p.traffic = s->traffic[index][pair];
        p.told = s->told[index][pair];
        p.near = s->host->far[at] <= p.told;
    }
    least = add_pair(s, from, to, &p, 0, at, least);
    least = add_pair(s, from, to, &p, at + 1, s->H, least);
    (void)add_pair(s, from, to, &p, at, at + 1, least);
    if (!place_fits(s, o, at))
        to[at] = PLACE_NEVER;
    else
        to[at] += place_convex(s, l, l->milli + s->milli[o]) - l->convex -
                  place_convex(s, l, was + s->milli[o]) + place_convex(s, l, was);
    return MIN(least, to[at]);
}

/* Rows of the next level, with the virtual node of @level placed at @at, for @cost so far. False as
 * soon as nothing below can be cheaper than the best: a row whose turn has not come adds what it
 * did and its pair with the placed one, at least. */
static bool next_rows(struct tree *t, uint32_t level, uint32_t at, int64_t cost)
{
    const int64_t *pair = t->pair + (size_t)level * t->n;
    int64_t bound = cost + t->pairs[level];

    for (uint32_t k = level + 1; k < t->n; k++)
        bound += t->least[level][k - level];
    for (uint32_t k = level + 1; k < t->n && bound < t->best; k++) {
        int64_t least = next_row(t, level, k, at);

        if (least >= PLACE_NEVER / 2)
            return false;
        t->least[level + 1][k - level - 1] = least;
        bound += least - t->least[level][k - level] - pair[k];
    }
    return bound < t->best;
}

/* Those that may lead to something cheaper than the best, when all others add @rest at least. */
static uint32_t fill_children(struct tree *t, uint32_t level, int64_t rest)
{
    const struct place_search *s = t->s;
    const uint32_t i = t->list[level];
    const int64_t *row = row_of(t, level, level), *shift = t->shift + (size_t)level * s->H;
    struct child *child = t->child + (size_t)level * s->H;
    uint32_t first = t->like_last[level] ? (uint32_t)s->at[t->list[level - 1]] : 0, n = 0;

    for (uint32_t h = first; h < s->H; h++) {
        const struct place_load *l = &s->load[h];
        int64_t cost;

        if (row[h] >= PLACE_NEVER / 2 || rest + row[h] >= t->best)
            continue;
        cost = row[h] + shift[h] + place_strand(s, l, l->milli + s->milli[i], l->mib + s->mib[i]) -
               (l->now - l->convex);
        if (rest + cost < t->best)
            child[n++] = (struct child){ cost, h };
    }
    return n;
}

/* The cheapest child, the first one of equals, out of those left; they keep their order. */
static struct child take_child(struct child *child, uint32_t n)
{
    struct child least;
    uint32_t at = 0;

    for (uint32_t k = 1; k < n; k++)
        at = child[k].cost < child[at].cost ? k : at;
    least = child[at];
    memmove(child + at, child + at + 1, (n - at - 1) * sizeof(*child));
    return least;
}

static void descend(struct tree *t, uint32_t level, int64_t cost)
{
    struct place_search *s = t->s;
    struct child *child = t->child + (size_t)level * s->H;
    struct place_spans spans;
    bool filled = false;
    int64_t rest;

    if (level == t->n) {
        for (uint32_t k = 0; k < t->n; k++)
            t->best_at[k] = s->at[t->list[k]];
        t->best = cost;
        return;
    }
    rest = rows_at_least(t, level, level + 1);
    if (rest == PLACE_NEVER)
        return;
    rest += cost + t->pairs[level];
    for (uint32_t n = fill_children(t, level, rest); n > 0 && !t->cut; n--) {
        struct child c = take_child(child, n);

        if (rest + c.cost >= t->best)
            return;
        if (!place_spans_late(s, t->list[level], (int)c.at, &spans, &filled))
            continue;
        if (t->expanded == t->budget) {
            t->cut = true;
            return;
        }
        t->expanded++;
        place_put(s, t->list[level], (int)c.at);
        if (next_rows(t, level, c.at, cost + c.cost))
            descend(t, level + 1, cost + c.cost);
        place_take(s, t->list[level]);
    }
}

static int tree_alloc(struct tree *t, bool grow)
{
    const struct place_search *s = t->s;
    size_t n = s->n, H = s->H, levels = grow ? n : 1, rows = grow ? n * (n + 1) / 2 : n;
    char *at = malloc((rows + n) * H * 8 + levels * H * sizeof(*t->child) + (grow ? n * n * 8 : 0) +
                      H * sizeof(*t->rooms) + rows * 8 + n * 40 + 64);

    t->memory = at;
    if (at == NULL)
        return -ENOMEM;
    t->rows = (int64_t **)(void *)at;
    at += levels * sizeof(*t->rows);
    t->least = (int64_t **)(void *)at;
    at += levels * sizeof(*t->least);
    t->pairs = (int64_t *)(void *)at;
    at += (n + 1) * sizeof(*t->pairs);
    if (grow) {
        t->pair = (int64_t *)(void *)at;
        at += n * n * sizeof(*t->pair);
    }
    t->shift = (int64_t *)(void *)at;
    at += n * H * sizeof(*t->shift);
    t->child = (struct child *)(void *)at;
    at += levels * H * sizeof(*t->child);
    t->rooms = (struct place_room *)(void *)at;
    at += H * sizeof(*t->rooms);
    for (size_t level = 0; level < levels; level++) {
        t->rows[level] = (int64_t *)(void *)at;
        at += (n - level) * H * sizeof(int64_t);
        t->least[level] = (int64_t *)(void *)at;
        at += (n - level) * sizeof(int64_t);
    }
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
    fill_pairs(&t);
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
