/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/topology/host_pairs.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/idset.h"
#include "vmm/base/macros.h"

enum { MAX_CHECKS = 16 };

/* A pair that could be measured, and its place in a shuffled row of its class. */
struct entry {
    uint64_t class;
    uint64_t mix;
    struct host_pair pair;
};

/* A run of entries of one class, and its turn among the classes of its distance. */
struct class {
    size_t first, n;
    uint32_t distance, turn;
    uint64_t mix;
};

/* A number that looks random and depends on both (the finaliser of splitmix64). */
static uint64_t mix(uint64_t seed, uint64_t v)
{
    uint64_t x = seed + (v + 1) * 0x9e3779b97f4a7c15ull;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

void host_pairs_packages(const struct host_topo *host, uint32_t *ret)
{
    for (size_t i = 0; i < host->n_nodes; i++) {
        size_t near = host->n_nodes;

        for (size_t k = 0; k < host->n_nodes; k++)
            if (!idset_empty(&host->nodes[k].cpus) &&
                (near == host->n_nodes || k == i ||
                 (near != i && host_topo_distance(host, k, i) < host_topo_distance(host, near, i))))
                near = k;
        ret[i] = 0;
        for (size_t c = 0; near < host->n_nodes && c < host->n_cpus; c++)
            if (host->cpus[c].node == near) {
                ret[i] = host->cpus[c].package;
                break;
            }
    }
}

uint64_t host_pairs_class(const struct host_topo *host, const uint32_t *packages, size_t from,
                          size_t to)
{
    return (uint64_t)host_topo_distance(host, from, to) << 32 |
           (uint64_t)(packages[from] & 0xffff) << 16 | (packages[to] & 0xffff);
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    if (x->class != y->class)
        return x->class < y->class ? -1 : 1;
    return x->mix < y->mix ? -1 : x->mix > y->mix;
}

static int by_distance(const void *a, const void *b)
{
    const struct class *x = a, *y = b;

    if (x->distance != y->distance)
        return x->distance < y->distance ? -1 : 1;
    return x->mix < y->mix ? -1 : x->mix > y->mix;
}

static int by_turn(const void *a, const void *b)
{
    const struct class *x = a, *y = b;

    return x->turn != y->turn ? (x->turn < y->turn ? -1 : 1) : by_distance(a, b);
}

static int by_memory(const void *a, const void *b)
{
    const struct host_pair *x = a, *y = b;

    if (x->to != y->to)
        return x->to < y->to ? -1 : 1;
    return x->from < y->from ? -1 : x->from > y->from;
}

static size_t list_entries(const struct host_topo *host, const uint32_t *packages, uint64_t seed,
                           struct entry *entries)
{
    size_t n = 0;

    for (uint32_t from = 0; from < host->n_nodes; from++)
        for (uint32_t to = 0; to < host->n_nodes; to++) {
            if (idset_empty(&host->nodes[from].cpus) || host->nodes[to].mem_bytes == 0)
                continue;
            entries[n++] = (struct entry){
                .class = host_pairs_class(host, packages, from, to),
                .mix = mix(seed, (uint64_t)from << 32 | to),
                .pair = { .from = from, .to = to },
            };
        }
    qsort(entries, n, sizeof(*entries), compare_entries);
    return n;
}

/* Classes in the order of their turns: first one of each distance, then a second one, ... */
static size_t list_classes(const struct entry *entries, size_t n, uint64_t seed,
                           struct class *classes)
{
    size_t n_classes = 0;

    for (size_t i = 0; i < n; i++) {
        if (i > 0 && entries[i].class == entries[i - 1].class) {
            classes[n_classes - 1].n++;
            continue;
        }
        classes[n_classes++] = (struct class){ .first = i,
                                               .n = 1,
                                               .distance = (uint32_t)(entries[i].class >> 32),
                                               .mix = mix(seed, entries[i].class) };
    }
    qsort(classes, n_classes, sizeof(*classes), by_distance);
    for (size_t i = 1; i < n_classes; i++)
        if (classes[i].distance == classes[i - 1].distance)
            classes[i].turn = classes[i - 1].turn + 1;
    qsort(classes, n_classes, sizeof(*classes), by_turn);
    return n_classes;
}

/* The class's pair: one whose memory is prepared anyway, when there is one. */
static const struct entry *representative(const struct entry *run, size_t n,
                                          const struct idset *prepared)
{
    for (size_t i = 0; i < n; i++)
        if (idset_has(prepared, run[i].pair.to))
            return &run[i];
    return &run[0];
}

static size_t choose_checks(const struct entry *entries, size_t n, uint64_t seed,
                            struct host_pair *pairs, size_t n_pairs, size_t max)
{
    const size_t first = n_pairs;

    for (uint64_t draw = 0; draw < 8 * MAX_CHECKS && n_pairs < max && n_pairs - first < MAX_CHECKS;
         draw++) {
        struct host_pair p = entries[mix(~seed, draw) % n].pair;
        size_t i = 0;

        while (i < n_pairs && (pairs[i].from != p.from || pairs[i].to != p.to))
            i++;
        if (i < n_pairs)
            continue;
        p.check = true;
        pairs[n_pairs++] = p;
    }
    return n_pairs;
}

int host_pairs_choose(const struct host_topo *host, uint64_t seed, size_t max_pairs,
                      struct host_pair **ret_pairs, size_t *ret_n, struct errctx *ec)
{
    const size_t n_max = host->n_nodes * host->n_nodes;
    CLEANUP_FREE uint32_t *packages = calloc(host->n_nodes, sizeof(*packages));
    CLEANUP_FREE struct entry *entries = calloc(n_max, sizeof(*entries));
    CLEANUP_FREE struct class *classes = calloc(n_max, sizeof(*classes));
    struct host_pair *pairs = calloc(MAX(MIN(max_pairs, n_max), (size_t)1), sizeof(*pairs));
    struct idset prepared = { 0 };
    size_t n, n_classes, n_pairs = 0, n_first = 0, room;

    if (packages == NULL || entries == NULL || classes == NULL || pairs == NULL) {
        free(pairs);
        return errctx_set(ec, ENOMEM, "no memory to choose among %zu pairs of nodes", n_max);
    }
    host_pairs_packages(host, packages);
    n = list_entries(host, packages, seed, entries);
    if (n == 0) {
        free(pairs);
        return errctx_set(ec, ENODEV, "no node with CPUs, or none with memory, is there to measure");
    }
    n_classes = list_classes(entries, n, seed, classes);
    max_pairs = MIN(max_pairs, n_max);
    room = max_pairs > 2 * MAX_CHECKS ? max_pairs - MAX_CHECKS : max_pairs;
    for (size_t i = 0; i < n_classes && n_pairs < room; i++) {
        const struct class *c = &classes[i];

        pairs[n_pairs] = representative(&entries[c->first], c->n, &prepared)->pair;
        idset_add(&prepared, pairs[n_pairs++].to);
        n_first += c->turn == 0;
    }
    room = n_pairs;
    n_pairs = choose_checks(entries, n, seed, pairs, n_pairs, max_pairs);
    qsort(pairs, MIN(n_first, room), sizeof(*pairs), by_memory);
    qsort(pairs + n_first, room - n_first, sizeof(*pairs), by_memory);
    qsort(pairs + room, n_pairs - room, sizeof(*pairs), by_memory);
    *ret_pairs = pairs;
    *ret_n = n_pairs;
    return 0;
}
