/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of a search in order, and its answer. Pure. See docs/placement.md. */
#include "vcpu/policy/place.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vcpu/policy/place_private.h"
#include "vmm/base/macros.h"

/* Times the budget, before a promise is given up or a guest refused; and before a host node gets more
 * than it has CPUs. */
enum { DOUBT = 64, DOUBT_OVERLOAD = 16 };

/* Guests by what they want together, the largest first; stable. */
static void order_guests(const struct place_search *s, uint32_t *order, int64_t *want)
{
    for (uint32_t g = 0; g < s->problem->n_guests; g++) {
        const struct place_guest *guest = &s->problem->guests[g];
        uint32_t at = g;

        want[g] = 0;
        for (uint32_t k = 0; k < guest->n; k++)
            want[g] += s->milli[guest->first + k] + s->mib[guest->first + k];
        for (; at > 0 && want[order[at - 1]] < want[g]; at--)
            order[at] = order[at - 1];
        order[at] = g;
    }
}

/* Grow and polish every guest; the first that finds no place, or n_guests. */
static uint32_t place_all(struct place_search *s, const uint32_t *order)
{
    for (uint32_t k = 0; k < s->problem->n_guests; k++) {
        if (!place_grow(s, order[k]))
            return order[k];
        place_polish(s, order[k]);
    }
    place_polish_all(s);
    return (uint32_t)s->problem->n_guests;
}

static void take_everything(struct place_search *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (s->at[i] >= 0)
            place_take(s, i);
}

static int no_room(const struct place_search *s, uint32_t guest, struct errctx *ec)
{
    const struct place_guest *g = &s->problem->guests[guest];
    uint32_t worst = g->first;

    for (uint32_t i = g->first; i < g->first + g->n; i++)
        if (s->at[i] == PLACE_ANYWHERE && s->mib[i] > s->mib[worst])
            worst = i;
    if (s->problem->own_cpus)
        return errctx_set(ec, ENOSPC,
                          "node %u: no host node that it may be on has %lld MiB and %u CPUs of its "
                          "own left",
                          worst - g->first, (long long)s->mib[worst],
                          s->problem->vnodes[worst].n_vcpus);
    return errctx_set(ec, ENOSPC, "node %u: no host node that it may be on has %lld MiB left",
                      worst - g->first, (long long)s->mib[worst]);
}

/* One search, strict or not. Return: 1 with a plan in at[], 0 without one, -ENOMEM. */
static int run(struct place_search *s, const uint32_t *order, struct place_result *r,
               uint32_t *ret_failed, int64_t *ret_gap)
{
    const size_t guests = s->problem->n_guests;
    uint64_t budget = s->problem->budget;
    struct place_terms terms = { 0 };
    bool found, kept = false;

    if (budget == 0)
        budget = MAX(PLACE_BUDGET_DEFAULT * guests * guests / s->n, PLACE_BUDGET_LEAST);
    *ret_failed = place_all(s, order);
    found = *ret_failed == guests;
    if (found)
        place_measure(s, &terms, &kept);
    else
        take_everything(s);
    if (!found || terms.broken > 0)
        budget *= DOUBT;
    else if (terms.overload > 0)
        budget *= DOUBT_OVERLOAD;
    return place_bound(s, found, (uint32_t)MIN(budget, UINT32_MAX), &r->expanded, ret_gap,
                       &r->proved);
}

static bool any_order(const struct place_search *s)
{
    for (size_t g = 0; g < s->problem->n_guests; g++)
        if (s->n_classes[g] > 1)
            return true;
    return false;
}

static int fill_result(struct place_search *s, int64_t gap, struct place_result *r,
                       struct errctx *ec)
{
    r->node = malloc(s->n * sizeof(*r->node));
    if (r->node == NULL)
        return errctx_set(ec, ENOMEM, "placement: no memory for the answer");
    memcpy(r->node, s->at, s->n * sizeof(*r->node));
    r->n_vnodes = s->n;
    place_measure(s, &r->terms, &r->kept);
    r->bound = place_terms_total(&r->terms) - gap;
    r->n_spread = s->n_spread;
    r->spread = s->n_spread > 0 ? calloc(s->n_spread, sizeof(*r->spread)) : NULL;
    if (s->n_spread > 0 && r->spread == NULL) {
        place_result_fini(r);
        return errctx_set(ec, ENOMEM, "placement: no memory for the answer");
    }
    for (uint32_t i = 0, k = 0; i < s->n; i++)
        for (uint32_t o = 0; s->at[i] == PLACE_SPREAD && o < s->n_spread; o++)
            if (s->spread_of[o] == i)
                r->spread[k++] = s->spread[o];
    return 0;
}

int place_solve(const struct place_problem *problem, struct place_result *ret_result,
                struct errctx *ec)
{
    struct place_result result = { 0 };
    struct place_search s;
    uint32_t failed = 0, *order;
    int64_t gap = 0;
    int r = place_search_init(&s, problem, ec);

    if (r < 0)
        return r;
    order = malloc(problem->n_guests * (sizeof(*order) + sizeof(int64_t)) + sizeof(int64_t));
    if (order == NULL) {
        r = errctx_set(ec, ENOMEM, "placement: no memory for %zu guests", problem->n_guests);
        goto out;
    }
    r = place_wide(&s, ec);
    if (r < 0)
        goto out;
    order_guests(&s, order + 0, (int64_t *)(void *)(order + (problem->n_guests + 1) / 2 * 2));
    r = run(&s, order, &result, &failed, &gap);
    if (r == 0 && any_order(&s)) { /* no plan keeps every order: one that keeps what it can */
        s.strict = false;
        r = run(&s, order, &result, &failed, &gap);
    }
    if (r > 0)
        r = fill_result(&s, gap, &result, ec);
    else
        r = r == 0 ? no_room(&s, MIN(failed, (uint32_t)problem->n_guests - 1), ec)
                   : errctx_set(ec, ENOMEM, "placement: no memory for the search tree");
    if (r == 0)
        *ret_result = result;
out:
    free(order);
    place_search_fini(&s);
    return r;
}

void place_result_fini(struct place_result *result)
{
    free(result->node);
    free(result->spread);
    *result = (struct place_result){ 0 };
}

/* The set of the n-th virtual node that is spread. */
static const struct idset *spread_of(const struct place_result *result, uint32_t vnode)
{
    uint32_t k = 0;

    for (uint32_t i = 0; i < vnode; i++)
        k += result->node[i] == PLACE_SPREAD;
    return &result->spread[k];
}

void place_result_nodes(const struct place_result *result, const struct place_host *host,
                        uint32_t vnode, struct idset *ret_nodes)
{
    *ret_nodes = (struct idset){ 0 };
    if (result->node[vnode] == PLACE_SPREAD)
        idset_or(ret_nodes, spread_of(result, vnode));
    else
        idset_add(ret_nodes, host->node[result->node[vnode]].id.v);
}

int place_evaluate(const struct place_problem *problem, struct place_result *result,
                   struct errctx *ec)
{
    struct place_search s;
    int r = place_search_init(&s, problem, ec);

    if (r < 0)
        return r;
    for (uint32_t i = 0; r == 0 && i < s.n; i++) {
        if (s.at[i] == PLACE_SPREAD)
            continue;
        if (result->node[i] == PLACE_SPREAD)
            place_set_spread(&s, i, spread_of(result, i));
        else if (result->node[i] >= 0 && result->node[i] < (int)s.H)
            place_put(&s, i, result->node[i]);
        else
            r = errctx_set(ec, ENOENT, "placement: virtual node %u is on no node of this host", i);
    }
    if (r == 0)
        place_measure(&s, &result->terms, &result->kept);
    place_search_fini(&s);
    return r;
}
