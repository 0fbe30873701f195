/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The second step: the host CPUs of each vCPU, on the host nodes that the first step chose.
 *
 * Levels node and socket are sets and leave nothing to choose. Level llc gives every virtual
 * last-level cache the least used physical one that holds it. Level dedicated does the same, and
 * then gives every virtual core a physical core: siblings on siblings, single threads on cores
 * that nobody uses as long as there are any. Pure.
 */
#include "vcpu/policy/place_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"

/* CPUs of one virtual node's host nodes: those of a cache and of a core are neighbours. */
struct pool {
    const struct place_hcpu **cpu;
    bool *gone; /* given away, or not to be had */
    uint32_t n;
};

struct step {
    const struct place_host *host;
    const struct place_vcpu *vcpus;
    size_t n_vcpus;
    struct idset nodes; /* of the virtual node at hand */
    struct pool pool;
    uint32_t *used; /* per host cache: vCPUs, of this guest */
    uint32_t vnode;
    struct idset *taken;
    char *notes;
    size_t notes_size;
};

static void note(struct step *st, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void note(struct step *st, const char *fmt, ...)
{
    size_t len = strlen(st->notes);
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(st->notes + len, st->notes_size - len, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n + 1 >= st->notes_size - len)
        st->notes[len] = '\0'; /* a sentence is there whole or not at all */
    else
        memcpy(st->notes + len + n, "\n", 2);
}

static void fill_pool(struct step *st)
{
    st->pool.n = 0;
    for (uint32_t i = 0; i < st->host->n_cpus; i++) {
        const struct place_hcpu *c = &st->host->cpu[i];

        if (!idset_has(&st->nodes, st->host->node[c->node].id.v))
            continue;
        st->pool.gone[st->pool.n] = idset_has(st->taken, c->id.v);
        st->pool.cpu[st->pool.n++] = c;
    }
}

/* Level socket: also the CPUs of other nodes in the packages of the pool. */
static void pin_to_set(const struct step *st, bool whole_packages)
{
    struct idset cpus = { 0 };

    for (uint32_t i = 0; i < st->pool.n; i++)
        idset_add(&cpus, st->pool.cpu[i]->id.v);
    for (uint32_t i = 0; whole_packages && i < st->host->n_cpus; i++)
        for (uint32_t k = 0; k < st->pool.n; k++)
            if (st->pool.cpu[k]->package == st->host->cpu[i].package) {
                idset_add(&cpus, st->host->cpu[i].id.v);
                break;
            }
    for (size_t v = 0; v < st->n_vcpus; v++)
        if (st->vcpus[v].vnode == st->vnode)
            *st->vcpus[v].ret_cpus = cpus;
}

/* The end of the pool's CPUs that share the cache of the one at @first. */
static uint32_t cache_end(const struct pool *p, uint32_t first)
{
    uint32_t i = first;

    while (i < p->n && p->cpu[i]->llc == p->cpu[first]->llc &&
           p->cpu[i]->node == p->cpu[first]->node)
        i++;
    return i;
}

static uint32_t core_end(const struct pool *p, uint32_t first)
{
    uint32_t i = first;

    while (i < p->n && p->cpu[i]->core == p->cpu[first]->core)
        i++;
    return i;
}

static uint32_t free_in(const struct pool *p, uint32_t first, uint32_t end)
{
    uint32_t n = 0;

    for (uint32_t i = first; i < end; i++)
        n += !p->gone[i];
    return n;
}

/* The least used cache that holds @want vCPUs whole; n of the pool when none does. */
static uint32_t pick_cache(const struct step *st, uint32_t want, bool own)
{
    const struct pool *p = &st->pool;
    uint32_t best = p->n, best_used = 0;

    for (uint32_t i = 0, end; i < p->n; i = end) {
        uint32_t used = st->used[p->cpu[i]->llc];

        end = cache_end(p, i);
        if ((own ? free_in(p, i, end) : end - i) < want)
            continue;
        if (best == p->n || used < best_used) {
            best = i;
            best_used = used;
        }
    }
    return best;
}

static void pin_to_cache(struct step *st, uint32_t llc, uint32_t n)
{
    uint32_t first = pick_cache(st, n, false), end = first;
    struct idset cpus = { 0 };

    if (first == st->pool.n) {
        note(st,
             "Node %u: no cache of its host nodes serves %u CPUs, as a virtual one does; "
             "they are pinned to the whole node.",
             st->vnode, n);
        first = 0;
        end = st->pool.n;
    } else {
        end = cache_end(&st->pool, first);
        st->used[st->pool.cpu[first]->llc] += n;
    }
    for (uint32_t i = first; i < end; i++)
        idset_add(&cpus, st->pool.cpu[i]->id.v);
    for (size_t v = 0; v < st->n_vcpus; v++)
        if (st->vcpus[v].vnode == st->vnode && st->vcpus[v].llc == llc)
            *st->vcpus[v].ret_cpus = cpus;
}

/* The core in [first, end) for @want siblings: single threads take the emptiest, more the
 * fullest that suffices. @end when none does. */
static uint32_t pick_core(const struct pool *p, uint32_t want, uint32_t first, uint32_t end)
{
    uint32_t best = end, best_free = 0;

    for (uint32_t i = first, next; i < end; i = next) {
        uint32_t have;

        next = MIN(core_end(p, i), end);
        have = free_in(p, i, next);
        if (have < want)
            continue;
        if (best == end || (want == 1 ? have > best_free : have < best_free)) {
            best = i;
            best_free = have;
        }
    }
    return best;
}

/* Hand out the first free CPU at or after @from. */
static void give(struct step *st, const struct place_vcpu *v, uint32_t from)
{
    struct pool *p = &st->pool;
    uint32_t i = from;

    while (i < p->n && p->gone[i])
        i++;
    if (i == p->n) /* callers have counted; from the front then */
        for (i = 0; p->gone[i];)
            i++;
    p->gone[i] = true;
    st->used[p->cpu[i]->llc]++;
    idset_add(st->taken, p->cpu[i]->id.v);
    *v->ret_cpus = (struct idset){ 0 };
    idset_add(v->ret_cpus, p->cpu[i]->id.v);
}

static uint32_t count_in(const struct step *st, uint32_t llc, bool by_core, uint32_t core)
{
    uint32_t n = 0;

    for (size_t v = 0; v < st->n_vcpus; v++)
        n += st->vcpus[v].vnode == st->vnode && st->vcpus[v].llc == llc &&
             (!by_core || st->vcpus[v].core == core);
    return n;
}

static bool seen_before(const struct step *st, size_t v, bool by_core)
{
    for (size_t k = 0; k < v; k++)
        if (st->vcpus[k].vnode == st->vnode && st->vcpus[k].llc == st->vcpus[v].llc &&
            (!by_core || st->vcpus[k].core == st->vcpus[v].core))
            return true;
    return false;
}

static void give_core(struct step *st, size_t first_vcpu, uint32_t begin, uint32_t end)
{
    const struct place_vcpu *first = &st->vcpus[first_vcpu];
    uint32_t n = count_in(st, first->llc, true, first->core);
    uint32_t at = pick_core(&st->pool, n, begin, end);

    if (at == end) { /* not in its cache: anywhere in the node */
        at = pick_core(&st->pool, n, 0, st->pool.n);
        if (at == st->pool.n) {
            note(st,
                 "Node %u: no core of its host nodes has %u free threads for the siblings of "
                 "a virtual core.",
                 st->vnode, n);
            at = begin;
        }
    }
    for (size_t v = first_vcpu; v < st->n_vcpus; v++)
        if (st->vcpus[v].vnode == st->vnode && st->vcpus[v].llc == first->llc &&
            st->vcpus[v].core == first->core)
            give(st, &st->vcpus[v], at);
}

/* All virtual cores of one virtual cache. */
static void dedicate_cache(struct step *st, size_t first_vcpu)
{
    uint32_t llc = st->vcpus[first_vcpu].llc, n = count_in(st, llc, false, 0);
    uint32_t begin = pick_cache(st, n, true), end = st->pool.n;

    if (begin == st->pool.n) {
        note(st,
             "Node %u: no cache of its host nodes has %u free CPUs, as many as a virtual one "
             "serves.",
             st->vnode, n);
        begin = 0;
    } else {
        end = cache_end(&st->pool, begin);
    }
    for (size_t v = first_vcpu; v < st->n_vcpus; v++)
        if (st->vcpus[v].vnode == st->vnode && st->vcpus[v].llc == llc && !seen_before(st, v, true))
            give_core(st, v, begin, end);
}

static int pin_node(struct step *st, enum guest_pin pin, struct errctx *ec)
{
    uint32_t n = 0;

    for (size_t v = 0; v < st->n_vcpus; v++)
        n += st->vcpus[v].vnode == st->vnode;
    if (n == 0)
        return 0;
    fill_pool(st);
    if (pin == GUEST_PIN_DEDICATED && free_in(&st->pool, 0, st->pool.n) < n)
        return errctx_set(ec, ENOSPC,
                          "node %u: %u CPUs of their own are wanted, its host nodes have %u left",
                          st->vnode, n, free_in(&st->pool, 0, st->pool.n));
    if (pin == GUEST_PIN_NODE || pin == GUEST_PIN_SOCKET || pin == GUEST_PIN_UNSAID) {
        pin_to_set(st, pin == GUEST_PIN_SOCKET);
        return 0;
    }
    for (size_t v = 0; v < st->n_vcpus; v++) {
        if (st->vcpus[v].vnode != st->vnode || seen_before(st, v, false))
            continue;
        if (pin == GUEST_PIN_LLC)
            pin_to_cache(st, st->vcpus[v].llc, count_in(st, st->vcpus[v].llc, false, 0));
        else
            dedicate_cache(st, v);
    }
    return 0;
}

int place_vcpus(const struct place_host *host, const struct place_result *result,
                const struct place_vcpu *vcpus, size_t n_vcpus, enum guest_pin pin,
                struct idset *taken, char *notes, size_t notes_size, struct errctx *ec)
{
    struct step *st = calloc(1, sizeof(*st));
    uint32_t caches = 0;
    int r = 0;

    notes[0] = '\0';
    for (uint32_t i = 0; i < host->n_cpus; i++)
        caches = MAX(caches, host->cpu[i].llc + 1);
    if (st != NULL) {
        st->pool.cpu = calloc(host->n_cpus + 1, sizeof(*st->pool.cpu));
        st->pool.gone = calloc(host->n_cpus + 1, sizeof(*st->pool.gone));
        st->used = calloc(caches + 1, sizeof(*st->used));
    }
    if (st == NULL || st->pool.cpu == NULL || st->pool.gone == NULL || st->used == NULL) {
        r = errctx_set(ec, ENOMEM, "placement: no memory for %u host CPUs", host->n_cpus);
        goto out;
    }
    st->host = host;
    st->vcpus = vcpus;
    st->n_vcpus = n_vcpus;
    st->taken = taken;
    st->notes = notes;
    st->notes_size = notes_size;
    for (st->vnode = 0; r == 0 && st->vnode < result->n_vnodes; st->vnode++) {
        place_result_nodes(result, host, st->vnode, &st->nodes);
        r = pin_node(st, pin, ec);
    }
out:
    if (st != NULL) {
        free(st->pool.cpu);
        free(st->pool.gone);
        free(st->used);
    }
    free(st);
    return r;
}
