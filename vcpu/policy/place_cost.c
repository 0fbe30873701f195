/* SPDX-License-Identifier: Apache-2.0 */
/* Adding a plan up from nothing, the promises to the guests, and virtual nodes on several host
 * nodes. Pure. */
#include "vcpu/policy/place_private.h"

#include <string.h>

#include "vmm/base/macros.h"

int64_t place_terms_total(const struct place_terms *t)
{
    return t->traffic + t->overload + t->stranded + t->contention + t->moving + t->broken;
}

uint32_t place_mean(const struct place_host *host, uint32_t from, const struct idset *nodes,
                    uint32_t *ret_max)
{
    uint64_t sum = 0, n = 0;

    *ret_max = 0;
    for (uint32_t h = 0; h < host->n; h++) {
        uint32_t d = place_distance(host, from, h);

        if (!idset_has(nodes, host->node[h].id.v))
            continue;
        sum += d;
        n++;
        *ret_max = MAX(*ret_max, d);
    }
    return n > 0 ? (uint32_t)(sum / n) : PLACE_LOCAL;
}

static const struct idset *spread_set(const struct place_search *s, uint32_t i)
{
    uint32_t k = 0;

    while (k + 1 < s->n_spread && s->spread_of[k] != i)
        k++;
    return &s->spread[k];
}

/* Mean and largest distance between two placed virtual nodes; the first one is taken to be @at. */
static uint32_t distance_between(const struct place_search *s, uint32_t i, int at, uint32_t k,
                                 uint32_t *ret_max)
{
    const struct idset *mine;
    uint64_t sum = 0, n = 0;

    if (at >= 0 && s->at[k] >= 0)
        return *ret_max = s->host->dist[(size_t)at * s->H + (uint32_t)s->at[k]];
    if (at >= 0)
        return place_mean(s->host, (uint32_t)at, spread_set(s, k), ret_max);
    mine = spread_set(s, i);
    if (s->at[k] >= 0)
        return place_mean(s->host, (uint32_t)s->at[k], mine, ret_max);
    *ret_max = 0;
    for (uint32_t h = 0; h < s->H; h++) {
        uint32_t max;

        if (!idset_has(mine, s->host->node[h].id.v))
            continue;
        sum += place_mean(s->host, h, spread_set(s, k), &max);
        n++;
        *ret_max = MAX(*ret_max, max);
    }
    return n > 0 ? (uint32_t)(sum / n) : PLACE_LOCAL;
}

/* A share of the load for each of its nodes, by their CPUs and memory; the last takes the rest. */
static void spread_load(struct place_search *s, uint32_t i, const struct idset *nodes)
{
    int64_t cpus = 0, mem = 0, milli = s->milli[i], mib = s->mib[i];
    uint32_t last = 0;

    for (uint32_t h = 0; h < s->H; h++) {
        if (!idset_has(nodes, s->host->node[h].id.v))
            continue;
        cpus += s->load[h].cap;
        mem += s->load[h].mem_mib;
        last = h;
    }
    for (uint32_t h = 0; h < s->H; h++) {
        struct place_load *l = &s->load[h];
        int64_t a, b;

        if (!idset_has(nodes, s->host->node[h].id.v))
            continue;
        a = h == last ? milli : cpus > 0 ? s->milli[i] * l->cap / cpus : 0;
        b = h == last ? mib : mem > 0 ? s->mib[i] * l->mem_mib / mem : 0;
        place_load_add(s, l, a, b);
        milli -= a;
        mib -= b;
    }
}

void place_set_spread(struct place_search *s, uint32_t i, const struct idset *nodes)
{
    uint32_t index = s->guest_of[i];
    const struct place_guest *g = &s->problem->guests[index];

    spread_load(s, i, nodes);
    s->at[i] = PLACE_SPREAD;
    s->spread_of[s->n_spread] = i;
    s->spread[s->n_spread++] = *nodes;
    for (uint32_t h = 0; h < s->H; h++) {
        uint32_t max, mean = place_mean(s->host, h, nodes, &max);

        for (uint32_t k = 0; k < g->n; k++) {
            size_t pair = (size_t)(i - g->first) * g->n + k;
            int64_t *unary = &s->unary[(size_t)(g->first + k) * s->H + h];

            if (g->first + k == i || *unary == PLACE_NEVER)
                continue;
            *unary += s->traffic[index][pair] * mean;
            if (max > s->told[index][pair])
                *unary += s->w.broken * (max - s->told[index][pair]);
        }
    }
}

void place_spans_copy(const struct place_spans *from, struct place_spans *ret_to)
{
    ret_to->n = from->n;
    memcpy(ret_to->least, from->least, from->n * sizeof(from->least[0]));
    memcpy(ret_to->most, from->most, from->n * sizeof(from->most[0]));
}

void place_spans_add(const struct place_search *s, uint32_t i, int node, struct place_spans *sp)
{
    const struct place_guest *g = &s->problem->guests[s->guest_of[i]];
    const uint8_t *class = s->class[s->guest_of[i]] + (size_t)(i - g->first) * g->n;

    if (sp->n < 2)
        return;
    for (uint32_t k = 0; k < g->n; k++) {
        uint32_t max;

        if (g->first + k == i || s->at[g->first + k] == PLACE_ANYWHERE)
            continue;
        (void)distance_between(s, i, node, g->first + k, &max);
        sp->least[class[k]] = MIN(sp->least[class[k]], max);
        sp->most[class[k]] = MAX(sp->most[class[k]], max);
    }
}

void place_spans_init(const struct place_search *s, uint32_t guest, uint32_t without,
                      struct place_spans *sp)
{
    const struct place_guest *g = &s->problem->guests[guest];

    sp->n = s->n_classes[guest];
    if (sp->n < 2)
        return;
    memset(sp->least, 0xff, sp->n * sizeof(sp->least[0]));
    memset(sp->most, 0, sp->n * sizeof(sp->most[0]));
    for (uint32_t a = 0; a < g->n; a++) {
        for (uint32_t b = 0; b < a && s->at[g->first + a] != PLACE_ANYWHERE; b++) {
            uint32_t class = s->class[guest][(size_t)a * g->n + b], max;

            if (g->first + a == without || g->first + b == without ||
                s->at[g->first + b] == PLACE_ANYWHERE)
                continue;
            (void)distance_between(s, g->first + a, s->at[g->first + a], g->first + b, &max);
            sp->least[class] = MIN(sp->least[class], max);
            sp->most[class] = MAX(sp->most[class], max);
        }
    }
}

static bool spans_kept(const struct place_spans *sp)
{
    uint32_t seen = 0;

    for (uint32_t class = 0; class < sp->n; class ++) {
        if (sp->least[class] < seen)
            return false;
        seen = MAX(seen, sp->most[class]);
    }
    return true;
}

bool place_spans_keep(const struct place_search *s, uint32_t i, int node,
                      const struct place_spans *sp)
{
    struct place_spans with;

    if (sp->n < 2)
        return true;
    place_spans_copy(sp, &with);
    place_spans_add(s, i, node, &with);
    return spans_kept(&with);
}

bool place_spans_late(const struct place_search *s, uint32_t i, int node, struct place_spans *sp,
                      bool *filled)
{
    if (!s->strict || s->n_classes[s->guest_of[i]] < 2)
        return true;
    if (!*filled)
        place_spans_init(s, s->guest_of[i], i, sp);
    *filled = true;
    return place_spans_keep(s, i, node, sp);
}

bool place_order_kept(const struct place_search *s, uint32_t guest)
{
    struct place_spans spans;

    if (!s->strict || s->n_classes[guest] < 2)
        return true;
    place_spans_init(s, guest, UINT32_MAX, &spans);
    return spans_kept(&spans);
}

static void measure_guest(const struct place_search *s, uint32_t index, struct place_terms *t,
                          bool *kept)
{
    const struct place_guest *g = &s->problem->guests[index];
    struct place_spans spans;

    for (uint32_t a = 0; a < g->n; a++) {
        for (uint32_t b = 0; b < a; b++) {
            uint32_t told = s->told[index][(size_t)a * g->n + b], max;
            int64_t mean =
                distance_between(s, g->first + a, s->at[g->first + a], g->first + b, &max);

            t->traffic += s->traffic[index][(size_t)a * g->n + b] * mean;
            if (max > told) {
                t->broken += s->w.broken * (max - told);
                *kept = false;
            }
        }
    }
    place_spans_init(s, index, UINT32_MAX, &spans);
    *kept = *kept && spans_kept(&spans);
}

void place_measure(const struct place_search *s, struct place_terms *ret_terms, bool *ret_kept)
{
    struct place_terms t = { 0 };

    *ret_kept = true;
    for (uint32_t g = 0; g < s->problem->n_guests; g++)
        measure_guest(s, g, &t, ret_kept);
    for (uint32_t h = 0; h < s->H; h++) {
        const struct place_load *l = &s->load[h], *was = &s->before[h];
        int64_t over = l->milli > l->cap ? l->milli - l->cap : 0;
        int64_t over_was = was->milli > l->cap ? was->milli - l->cap : 0;

        if (l->milli == was->milli && l->mib == was->mib)
            continue;
        t.overload += s->w.overload * (over * over - over_was * over_was);
        t.contention += l->crowd * (l->milli * l->milli - was->milli * was->milli);
        t.stranded +=
            place_strand(s, l, l->milli, l->mib) - place_strand(s, l, was->milli, was->mib);
    }
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->at[i] < 0)
            continue;
        t.contention += place_cut(s, i, (uint32_t)s->at[i]);
        t.moving += place_moved(s, i, (uint32_t)s->at[i]);
    }
    *ret_terms = t;
}
