/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/topology/host_measured.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/topology/host_pairs.h"

/* The samples of one class or distance. */
struct group {
    uint64_t key;
    uint32_t latency_ps; /* medians */
    uint64_t bytes_per_s;
};

/* A sample by what it is grouped by. */
struct keyed {
    uint64_t key;
    const struct host_sample *sample;
};

static int compare_keyed(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->sample->latency_ps < y->sample->latency_ps    ? -1
           : x->sample->latency_ps > y->sample->latency_ps;
}

static int compare_rates(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;

    return x->sample->bytes_per_s < y->sample->bytes_per_s   ? -1
           : x->sample->bytes_per_s > y->sample->bytes_per_s;
}

static int compare_groups(const void *a, const void *b)
{
    const struct group *x = a, *y = b;

    return x->key < y->key ? -1 : x->key > y->key;
}

/* Medians of every run of equal keys; reorders @list. The lower one of two middle values. */
static size_t make_groups(struct keyed *list, size_t n, struct group *groups)
{
    size_t n_groups = 0;

    qsort(list, n, sizeof(*list), compare_keyed);
    for (size_t i = 0, run; i < n; i += run) {
        struct group *g = &groups[n_groups++];

        for (run = 1; i + run < n && list[i + run].key == list[i].key; run++)
            ;
        g->key = list[i].key;
        g->latency_ps = list[i + (run - 1) / 2].sample->latency_ps;
        qsort(&list[i], run, sizeof(*list), compare_rates);
        g->bytes_per_s = list[i + (run - 1) / 2].sample->bytes_per_s;
    }
    return n_groups;
}

static const struct group *find(const struct group *groups, size_t n, uint64_t key)
{
    const struct group wanted = { .key = key };

    return bsearch(&wanted, groups, n, sizeof(*groups), compare_groups);
}

/* Indices of a sample's nodes; false when @host lacks one. */
static bool indices(const struct host_topo *host, const struct host_sample *s, size_t *from,
                    size_t *to)
{
    int f = host_topo_node_index(host, s->from), t = host_topo_node_index(host, s->to);

    if (f < 0 || t < 0)
        return false;
    *from = (size_t)f;
    *to = (size_t)t;
    return true;
}

static void fill(const struct host_topo *host, const uint32_t *packages,
                 const struct group *classes, size_t n_classes, const struct group *distances,
                 size_t n_distances, struct host_link *links)
{
    for (size_t from = 0; from < host->n_nodes; from++)
        for (size_t to = 0; to < host->n_nodes; to++) {
            struct host_link *l = &links[from * host->n_nodes + to];
            const uint64_t key = host_pairs_class(host, packages, from, to);
            const struct group *g = find(classes, n_classes, key);

            l->by = HOST_MEASURED_CLASS;
            if (g == NULL) {
                g = find(distances, n_distances, key >> 32);
                l->by = HOST_MEASURED_DISTANCE;
            }
            /* A node without CPUs has nobody whose distance it could be. */
            if (g == NULL || idset_empty(&host->nodes[from].cpus)) {
                *l = (struct host_link){ .by = HOST_MEASURED_NOT };
                continue;
            }
            l->latency_ps = g->latency_ps;
            l->bytes_per_s = g->bytes_per_s;
        }
    for (size_t i = 0; i < host->n_samples; i++) {
        const struct host_sample *s = &host->samples[i];
        size_t from, to;

        if (indices(host, s, &from, &to))
            links[from * host->n_nodes + to] =
                (struct host_link){ HOST_MEASURED_PAIR, s->latency_ps, s->bytes_per_s };
    }
}

static int fill_all(struct host_topo *host, struct errctx *ec)
{
    const size_t n = host->n_samples;
    CLEANUP_FREE uint32_t *packages = calloc(host->n_nodes, sizeof(*packages));
    CLEANUP_FREE struct keyed *list = calloc(n, sizeof(*list));
    CLEANUP_FREE struct group *classes = calloc(n, sizeof(*classes));
    CLEANUP_FREE struct group *distances = calloc(n, sizeof(*distances));
    struct host_link *links = calloc(host->n_nodes * host->n_nodes, sizeof(*links));
    size_t n_classes, n_distances, from = 0, to = 0;

    if (packages == NULL || list == NULL || classes == NULL || distances == NULL || links == NULL) {
        free(links);
        return errctx_set(ec, ENOMEM, "no memory for the measured values of %zu nodes",
                          host->n_nodes);
    }
    host_pairs_packages(host, packages);
    for (size_t i = 0; i < n; i++) {
        (void)indices(host, &host->samples[i], &from, &to); /* all are known: see keep() */
        list[i] = (struct keyed){ host_pairs_class(host, packages, from, to), &host->samples[i] };
    }
    n_classes = make_groups(list, n, classes);
    for (size_t i = 0; i < n; i++)
        list[i].key >>= 32;
    n_distances = make_groups(list, n, distances);
    fill(host, packages, classes, n_classes, distances, n_distances, links);
    host->measured = links;
    return 0;
}

/* The samples of nodes that are there. */
static size_t keep(const struct host_topo *host, const struct host_sample *samples, size_t n,
                   struct host_sample *kept)
{
    size_t n_kept = 0, from, to;

    for (size_t i = 0; i < n; i++)
        if (samples[i].latency_ps > 0 && indices(host, &samples[i], &from, &to))
            kept[n_kept++] = samples[i];
    return n_kept;
}

int host_measured_apply(struct host_topo *host, const struct host_sample *samples, size_t n,
                        int64_t measured_at, struct errctx *ec)
{
    struct host_topo next = *host;
    int r;

    next.samples = calloc(n, sizeof(*next.samples));
    if (next.samples == NULL)
        return errctx_set(ec, ENOMEM, "no memory for %zu measured pairs", n);
    next.n_samples = keep(host, samples, n, next.samples);
    r = next.n_samples == 0 ? errctx_set(ec, ENOENT, "nothing was measured between the nodes of %s",
                                         host->source)
                            : fill_all(&next, ec);
    if (r < 0) {
        free(next.samples);
        return r;
    }
    free(host->samples);
    free(host->measured);
    next.has_measured = true;
    next.measured_at = measured_at;
    *host = next;
    return 0;
}
