/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of one search, shared by the steps of place_solve(): a file each, in the order
 * setup, wide, grow, polish, bound. Private to vcpu/policy.
 *
 * Every cost is an integer, so that two ways to add it up agree exactly and "proved" means what
 * it says. One unit is a 4096-millionth of a CPU: milli-CPUs times distances (PLACE_LOCAL), with
 * twelve bits more for weights. Memory is in MiB.
 */
#ifndef VCPU_POLICY_PLACE_PRIVATE_H
#define VCPU_POLICY_PLACE_PRIVATE_H

#include "vcpu/policy/place.h"

struct place_hnode {
    struct hnode_id id;
    uint32_t cap_milli, n_cpus;
    uint32_t core_milli; /* what all of it does at once: threads of a core share it */
    uint32_t llc_cpus, n_llcs; /* CPUs of the smallest group; 0: no caches known */
    int64_t mem_mib, free_mib;
    bool like_last; /* all but id and free_mib are the last node's */
};

struct place_hcpu {
    struct hcpu_id id;
    uint32_t node, package, llc, core;
    uint32_t index; /* in the host's own array */
};

struct place_host {
    uint32_t n, n_cpus;
    bool measured;    /* distances are measured latencies */
    uint32_t nearest; /* least distance between two nodes; 0: there is one only */
    uint32_t *dist;   /* n * n, the same in both directions */
    uint32_t *far;    /* n: every node's largest distance */
    uint16_t *order;  /* n * n: every node's neighbours, nearest first, itself at the front */
    struct place_hnode *node;
    struct place_hcpu *cpu; /* by node, cache, core, id */
};

#define PLACE_NEVER (INT64_MAX / 4) /* an impossible choice; sums of a few do not overflow */

struct place_weights {
    int64_t traffic, overload, stranded, contention, cut, moving, broken;
};

/* What a host node carries at this point of the search. */
struct place_load {
    int64_t milli, mib;
    int64_t cap, mem_mib;
    int64_t crowd; /* weight of load squared: contention for the caches */
    int64_t ratio; /* milli-CPUs per MiB, 16 bits of fraction: what is balanced */
    int64_t convex, now; /* place_convex() and place_host_cost() as it stands */
};

struct place_search {
    const struct place_problem *problem;
    const struct place_host *host;
    struct place_weights w;
    uint32_t n, H;
    struct place_load *load;   /* H */
    struct place_load *before; /* H: without this problem's virtual nodes */
    int64_t *mib, *milli;      /* n: demands, as 64 bits */
    int64_t ratio_least, ratio_most; /* of all load[] */
    int64_t *unary;            /* n * H: PLACE_NEVER where it may not be */
    int64_t *pull;             /* n * H: traffic with the others of its guest, see place_pull() */
    uint32_t *guest_of;        /* n */
    int64_t **traffic;         /* per guest: n * n, both directions, weighted */
    uint32_t **told;           /* per guest: n * n, the smaller of both directions, PLACE_LOCAL */
    uint8_t **class;           /* per guest: n * n, told distances numbered from the least */
    uint32_t *n_classes;       /* per guest: with two or more there is an order to keep */
    int *at;                   /* n: index, PLACE_ANYWHERE or PLACE_SPREAD */
    uint16_t *turn;            /* n: order in which a guest's nodes are placed */
    struct idset *spread;      /* of the PLACE_SPREAD ones */
    uint32_t *spread_of;       /* n_spread: whose */
    uint32_t n_spread;
    bool strict;      /* turned orders are refused */
    int64_t *scratch; /* H */
    void *memory;     /* holds most of the above */
};

/* --- setup and cost (place_setup.c, place_cost.c) ------------------------------------------- */

int place_search_init(struct place_search *s, const struct place_problem *problem,
                      struct errctx *ec);
void place_search_fini(struct place_search *s);

struct place_weights place_weights_of(enum guest_objective objective);

/** place_cut(), place_moved() - what vnode @i costs at @h for a virtual cache that is cut, and for
 *  moving there. */
int64_t place_cut(const struct place_search *s, uint32_t i, uint32_t h);
int64_t place_moved(const struct place_search *s, uint32_t i, uint32_t h);

/** place_set_spread() - put vnode @i on several nodes for good, before anything else. */
void place_set_spread(struct place_search *s, uint32_t i, const struct idset *nodes);

/** place_mean() - mean distance of a host node to those of a set; *ret_max: the largest. */
uint32_t place_mean(const struct place_host *host, uint32_t from, const struct idset *nodes,
                    uint32_t *ret_max);

/* The real distances of each class of told ones. In order: no class reaches into the next. */
struct place_spans {
    uint32_t n;
    uint32_t least[256], most[256];
};

/** place_spans_init() - of all placed pairs of a guest, those of vnode @without left out. */
void place_spans_init(const struct place_search *s, uint32_t guest, uint32_t without,
                      struct place_spans *sp);

/** place_spans_copy() - what there is of them; they have room for more than most guests need. */
void place_spans_copy(const struct place_spans *from, struct place_spans *ret_to);

/** place_spans_add() - the pairs of vnode @i, were it at @node, with the other placed ones. */
void place_spans_add(const struct place_search *s, uint32_t i, int node, struct place_spans *sp);

/** place_spans_keep() - would the order be kept after place_spans_add()? */
bool place_spans_keep(const struct place_search *s, uint32_t i, int node,
                      const struct place_spans *sp);

/** place_spans_late() - the same for vnode @i, which is not placed, where the order is to be kept;
 *  the first call works @sp out (*filled). Few nodes that are judged come as far as this. */
bool place_spans_late(const struct place_search *s, uint32_t i, int node, struct place_spans *sp,
                      bool *filled);

/** place_order_kept() - is the order of a guest kept as it is, where it is to be? */
bool place_order_kept(const struct place_search *s, uint32_t guest);

/** place_measure() - the terms of the plan as it stands, from nothing. */
void place_measure(const struct place_search *s, struct place_terms *ret_terms, bool *ret_kept);

static inline int64_t place_convex(const struct place_search *s, const struct place_load *l,
                                   int64_t milli)
{
    int64_t over = milli > l->cap ? milli - l->cap : 0;

    return s->w.overload * over * over + l->crowd * milli * milli;
}

static inline int64_t place_strand(const struct place_search *s, const struct place_load *l,
                                   int64_t milli, int64_t mib)
{
    int64_t cpus = l->cap - milli; /* less than none: memory that is left for nobody */
    int64_t mem = mib < l->mem_mib ? ((l->mem_mib - mib) * l->ratio) >> 16 : 0;

    if (l->mem_mib == 0)
        return 0;
    return s->w.stranded * (cpus > mem ? cpus - mem : mem - cpus);
}

/* What a host node costs by its load alone. */
static inline int64_t place_host_cost(const struct place_search *s, const struct place_load *l,
                                      int64_t milli, int64_t mib)
{
    return place_convex(s, l, milli) + place_strand(s, l, milli, mib);
}

/* How far vnode @i may move the stranded capacity of a node where that ratio holds. */
static inline int64_t place_shift(const struct place_search *s, uint32_t i, int64_t ratio)
{
    int64_t mem = (s->mib[i] * ratio) >> 16, milli = s->milli[i];

    return s->w.stranded * ((mem > milli ? mem - milli : milli - mem) + 1); /* 1: it is rounded */
}

/* The same for whichever node. */
static inline int64_t place_shift_most(const struct place_search *s, uint32_t i)
{
    int64_t a = place_shift(s, i, s->ratio_least), b = place_shift(s, i, s->ratio_most);

    return a > b ? a : b;
}

static inline bool place_fits(const struct place_search *s, uint32_t i, uint32_t h)
{
    const struct place_load *l = &s->load[h];

    return s->unary[(size_t)i * s->H + h] != PLACE_NEVER && l->mib + s->mib[i] <= l->mem_mib &&
           (!s->problem->own_cpus || s->milli[i] == 0 || l->milli + s->milli[i] <= l->cap);
}

/* What vnode @i adds at @h, apart from its traffic. */
static inline int64_t place_added(const struct place_search *s, uint32_t i, uint32_t h)
{
    const struct place_load *l = &s->load[h];

    return s->unary[(size_t)i * s->H + h] +
           place_host_cost(s, l, l->milli + s->milli[i], l->mib + s->mib[i]) - l->now;
}

static inline int64_t place_pair(const struct place_search *s, int64_t traffic, uint32_t told,
                                 uint32_t distance)
{
    return traffic * distance + (distance > told ? s->w.broken * (distance - told) : 0);
}

/* Traffic of vnode @i at @h with those of its guest that are placed on one node. */
static inline int64_t place_traffic_at(const struct place_search *s, uint32_t i, uint32_t h)
{
    const struct place_guest *g = &s->problem->guests[s->guest_of[i]];
    const int64_t *traffic = s->traffic[s->guest_of[i]] + (size_t)(i - g->first) * g->n;
    const uint32_t *told = s->told[s->guest_of[i]] + (size_t)(i - g->first) * g->n;
    const uint32_t *dist = s->host->dist + (size_t)h * s->H;
    int64_t cost = 0;

    for (uint32_t k = 0; k < g->n; k++)
        if (s->at[g->first + k] >= 0 && g->first + k != i)
            cost += place_pair(s, traffic[k], told[k], dist[s->at[g->first + k]]);
    return cost;
}

static inline void place_load_add(const struct place_search *s, struct place_load *l, int64_t milli,
                                  int64_t mib)
{
    l->milli += milli;
    l->mib += mib;
    l->convex = place_convex(s, l, l->milli);
    l->now = l->convex + place_strand(s, l, l->milli, l->mib);
}

static inline void place_put(struct place_search *s, uint32_t i, int h)
{
    s->at[i] = h;
    place_load_add(s, &s->load[h], s->milli[i], s->mib[i]);
}

static inline void place_take(struct place_search *s, uint32_t i)
{
    place_load_add(s, &s->load[s->at[i]], -s->milli[i], -s->mib[i]);
    s->at[i] = PLACE_ANYWHERE;
}

/* Add to a row of costs, one for each host node, a pair whose other end is at @at. */
static inline void place_row_add(const struct place_search *s, int64_t *row, int at,
                                 int64_t traffic, uint32_t told)
{
    const uint32_t *dist = s->host->dist + (size_t)at * s->H;

    if (s->host->far[at] <= told)
        for (uint32_t h = 0; h < s->H; h++)
            row[h] += traffic * dist[h];
    else
        for (uint32_t h = 0; h < s->H; h++)
            row[h] += place_pair(s, traffic, told, dist[h]);
}

/* --- what pairs cost at least (place_pairs.c) ----------------------------------------------- */

/* A host node for two: what no node that is left out has more of, and what none has less of. */
struct place_room {
    int64_t milli, mib; /* free; no more than any two want */
    int64_t crowd;
    uint32_t local; /* distance */
};

/** place_rooms() - the host nodes that count for pairs of @list; @rooms has place for all.
 *  Return: how many. */
uint32_t place_rooms(const struct place_search *s, const uint32_t *list, uint32_t n,
                     struct place_room *rooms);

/** place_rooms_pair() - what placing two costs more than placing each alone, at least. */
int64_t place_rooms_pair(const struct place_search *s, const struct place_room *rooms,
                         uint32_t n_rooms, uint32_t i, uint32_t k);

/* --- steps ---------------------------------------------------------------------------------- */

/** place_wide() - spread the vnodes that no host node can hold. -ENOSPC, -ENOMEM. */
int place_wide(struct place_search *s, struct errctx *ec);

/** place_grow() - place one guest, none of whose planned nodes is placed. False: no way found. */
bool place_grow(struct place_search *s, uint32_t guest);

/** place_polish() - moves and swaps within one guest, until none helps. */
void place_polish(struct place_search *s, uint32_t guest);

/** place_polish_all() - place guests anew in turn, and swap nodes between guests. */
void place_polish_all(struct place_search *s);

/**
 * place_bound() - branch and bound over everything that is not spread, starting from the plan
 * that stands (or from none); leaves the best plan in at[].
 * @ret_gap:    how much less a plan may cost at the very least that was shown; 0 when proved.
 * @ret_proved: the plan that is left is an optimum (or there is none).
 * Return: 1 with a plan, 0 without one, -ENOMEM.
 */
int place_bound(struct place_search *s, bool have_plan, uint32_t budget, uint32_t *ret_expanded,
                int64_t *ret_gap, bool *ret_proved);

#endif
