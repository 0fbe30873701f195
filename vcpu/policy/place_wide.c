/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtual nodes that no host node can hold: as few neighbours as it takes, those that are nearest
 * to each other's middle. Decided before everything else, since the widest has the least choice.
 * Pure.
 */
#include "vcpu/policy/place_private.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/macros.h"

/* May a share of vnode @i be on @h? */
static bool usable(const struct place_search *s, uint32_t i, uint32_t h)
{
    const struct place_load *l = &s->load[h];

    return s->unary[(size_t)i * s->H + h] != PLACE_NEVER && (s->mib[i] == 0 || l->mib < l->mem_mib);
}

static bool is_wide(const struct place_search *s, uint32_t i)
{
    uint32_t cpus = 0;
    int64_t mem = 0;

    for (uint32_t h = 0; h < s->H; h++) {
        if (!usable(s, i, h))
            continue;
        cpus = MAX(cpus, s->host->node[h].n_cpus);
        mem = MAX(mem, s->load[h].mem_mib);
        if (s->problem->vnodes[i].n_vcpus <= cpus && s->mib[i] <= mem)
            return false;
    }
    return cpus > 0 && (s->problem->vnodes[i].n_vcpus > cpus || s->mib[i] > mem);
}

/* Neighbours of @seed until they suffice; more vCPUs than all have CPUs is a matter of overload. */
static uint32_t collect(const struct place_search *s, uint32_t i, uint32_t seed,
                        struct idset *ret_set, uint64_t *ret_reach, bool *ret_enough)
{
    const uint16_t *order = s->host->order + (size_t)seed * s->H;
    uint32_t cpus = 0, n = 0;
    int64_t mem = 0;

    *ret_set = (struct idset){ 0 };
    *ret_reach = 0;
    for (uint32_t k = 0; k < s->H && (cpus < s->problem->vnodes[i].n_vcpus || mem < s->mib[i]);
         k++) {
        const struct place_load *l = &s->load[order[k]];

        if (!usable(s, i, order[k]))
            continue;
        idset_add(ret_set, s->host->node[order[k]].id.v);
        cpus += s->host->node[order[k]].n_cpus;
        mem += l->mem_mib - l->mib;
        *ret_reach += place_distance(s->host, seed, order[k]) +
                      (uint64_t)(l->milli * PLACE_LOCAL) / (uint64_t)MAX(l->cap, 1);
        n++;
    }
    *ret_enough = mem >= s->mib[i];
    return n;
}

static int spread_one(struct place_search *s, uint32_t i, struct idset *best, struct idset *set,
                      struct errctx *ec)
{
    uint64_t reach, best_reach = UINT64_MAX;
    uint32_t best_n = UINT32_MAX;
    bool enough;

    for (uint32_t seed = 0; seed < s->H; seed++) {
        uint32_t n = usable(s, i, seed) ? collect(s, i, seed, set, &reach, &enough) : 0;

        if (n == 0 || !enough || n > best_n || (n == best_n && reach >= best_reach))
            continue;
        best_n = n;
        best_reach = reach;
        *best = *set;
    }
    if (best_n == UINT32_MAX)
        return errctx_set(ec, ENOSPC, "node %u: its %lld MiB are not free on this host", i,
                          (long long)s->mib[i]);
    if (best_n > 1) /* on a host of one node it is overload, not width */
        place_set_spread(s, i, best);
    return 0;
}

int place_wide(struct place_search *s, struct errctx *ec)
{
    struct idset *sets = NULL;
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < s->n; i++) {
        if (s->at[i] != PLACE_ANYWHERE || !is_wide(s, i))
            continue;
        if (sets == NULL)
            sets = calloc(2, sizeof(*sets));
        r = sets != NULL ? spread_one(s, i, &sets[0], &sets[1], ec)
                         : errctx_set(ec, ENOMEM, "placement: no memory for a set of nodes");
    }
    free(sets);
    return r;
}
