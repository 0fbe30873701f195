/* SPDX-License-Identifier: Apache-2.0 */
/* What every search on a host needs and no search changes. Pure. */
#include "vcpu/policy/place_private.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/macros.h"

enum {
    CPU_MILLI = 1000,
    SIBLING_PERCENT = 30, /* what a further thread of a core adds to it */
    DISTANCE_MOST = 100 * PLACE_LOCAL, /* farther is as far */
};

/* Measured values count when there is one for every pair; half of a truth would be none. */
static bool all_measured(const struct host_topo *topo)
{
    for (size_t i = 0; i < topo->n_nodes; i++) {
        for (size_t k = 0; k < topo->n_nodes; k++) {
            const struct host_link *l = host_topo_measured(topo, i, k);

            if (l == NULL || l->latency_ps == 0)
                return false;
        }
    }
    return true;
}

static uint32_t raw_distance(const struct host_topo *topo, const struct place_host *h, uint32_t from,
                             uint32_t to)
{
    return h->measured ? host_topo_measured(topo, from, to)->latency_ps
                       : topo->distances[(size_t)from * h->n + to];
}

static void fill_distances(const struct host_topo *topo, struct place_host *h)
{
    uint32_t local = UINT32_MAX, n = h->n;

    h->measured = all_measured(topo);
    for (uint32_t i = 0; i < n; i++)
        local = MIN(local, MAX(raw_distance(topo, h, i, i), 1u));
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < n; k++) {
            uint64_t there = raw_distance(topo, h, i, k), back = raw_distance(topo, h, k, i);
            uint64_t d = MAX(there, back) * PLACE_LOCAL / local;

            if (h->measured) /* to the steps that a guest can be told, so that noise is no order */
                d = (d + PLACE_GUEST_UNIT / 2) / PLACE_GUEST_UNIT * PLACE_GUEST_UNIT;
            h->dist[(size_t)i * n + k] = (uint32_t)MIN(d, (uint64_t)DISTANCE_MOST);
            h->far[i] = MAX(h->far[i], h->dist[(size_t)i * n + k]);
            if (i != k && (h->nearest == 0 || d < h->nearest))
                h->nearest = h->dist[(size_t)i * n + k];
        }
    }
}

/* Insertion by distance, then by index; the node itself comes first whatever the table says. */
static void fill_order(struct place_host *h, uint32_t from, uint32_t *key)
{
    uint16_t *order = h->order + (size_t)from * h->n;

    for (uint32_t k = 0; k < h->n; k++)
        key[k] = k == from ? 0 : h->dist[(size_t)from * h->n + k];
    for (uint32_t k = 0; k < h->n; k++) {
        uint32_t at = k;

        for (; at > 0 && key[order[at - 1]] > key[k]; at--)
            order[at] = order[at - 1];
        order[at] = (uint16_t)k;
    }
}

static int compare_cpus(const void *a, const void *b)
{
    const struct place_hcpu *x = a, *y = b;
    const uint32_t kx[] = { x->node, x->llc, x->core, x->id.v };
    const uint32_t ky[] = { y->node, y->llc, y->core, y->id.v };

    for (size_t i = 0; i < ARRAY_SIZE(kx); i++)
        if (kx[i] != ky[i])
            return kx[i] < ky[i] ? -1 : 1;
    return 0;
}

static uint32_t cpu_milli(const struct host_topo *topo, const struct place_hcpu *cpu)
{
    uint32_t capacity = topo->cpus[cpu->index].capacity;

    return capacity == 0 ? CPU_MILLI : capacity * CPU_MILLI / HOST_CAPACITY_FULL;
}

/* Of a group of CPUs, in which those of a core are neighbours: each at the clock that it has now;
 * and the same with a share only of all but a core's strongest thread. */
static void add_group(const struct host_topo *topo, const struct place_hcpu *cpu, uint32_t n,
                      struct place_hnode *node)
{
    for (uint32_t first = 0, k; first < n; first = k) {
        uint32_t sum = 0, most = 0;

        for (k = first; k < n && cpu[k].core == cpu[first].core; k++) {
            sum += cpu_milli(topo, &cpu[k]);
            most = MAX(most, cpu_milli(topo, &cpu[k]));
        }
        node->cap_milli += sum;
        node->core_milli += most + (sum - most) * SIBLING_PERCENT / 100;
    }
}

static void fill_cpus(const struct host_topo *topo, struct place_host *h)
{
    for (size_t i = 0; i < topo->n_cpus; i++) {
        const struct host_cpu *c = &topo->cpus[i];

        /* Where no cache is known, every CPU would be one: a node is one then. */
        h->cpu[i] = (struct place_hcpu){ c->id, c->node, c->package,
                                         topo->n_caches > 0 ? c->llc : c->node, c->core,
                                         (uint32_t)i };
    }
    h->n_cpus = (uint32_t)topo->n_cpus;
    qsort(h->cpu, h->n_cpus, sizeof(h->cpu[0]), compare_cpus);
    for (uint32_t i = 0; i < h->n_cpus;) {
        struct place_hnode *node = &h->node[h->cpu[i].node];
        uint32_t first = i;

        while (i < h->n_cpus && h->cpu[i].node == h->cpu[first].node &&
               h->cpu[i].llc == h->cpu[first].llc)
            i++;
        node->n_llcs++;
        node->n_cpus += i - first;
        add_group(topo, &h->cpu[first], i - first, node);
        node->llc_cpus = node->llc_cpus == 0 ? i - first : MIN(node->llc_cpus, i - first);
    }
}

static bool alike(const struct place_hnode *a, const struct place_hnode *b)
{
    return a->cap_milli == b->cap_milli && a->n_cpus == b->n_cpus &&
           a->core_milli == b->core_milli && a->llc_cpus == b->llc_cpus && a->n_llcs == b->n_llcs &&
           a->mem_mib == b->mem_mib;
}

int place_host_new(const struct host_topo *topo, struct place_host **ret_host, struct errctx *ec)
{
    size_t n = topo->n_nodes;
    struct place_host *h = NULL;
    uint32_t *key = NULL;

    if (n == 0 || n > PLACE_MAX_NODES)
        return errctx_set(ec, E2BIG, "placement: a host of %zu nodes, not 1 to %d", n,
                          PLACE_MAX_NODES);
    h = calloc(1, sizeof(*h));
    key = calloc(n, sizeof(*key));
    if (h == NULL || key == NULL)
        goto err_free;
    h->n = (uint32_t)n;
    h->dist = calloc(n * n, sizeof(*h->dist));
    h->far = calloc(n, sizeof(*h->far));
    h->order = calloc(n * n, sizeof(*h->order));
    h->node = calloc(n, sizeof(*h->node));
    h->cpu = calloc(topo->n_cpus + 1, sizeof(*h->cpu));
    if (h->dist == NULL || h->far == NULL || h->order == NULL || h->node == NULL || h->cpu == NULL)
        goto err_free;
    for (size_t i = 0; i < n; i++) {
        const struct host_node *t = &topo->nodes[i];
        uint64_t free_bytes = t->mem_free_bytes > 0 ? t->mem_free_bytes : t->mem_bytes;

        h->node[i].id = t->id;
        h->node[i].mem_mib = (int64_t)(t->mem_bytes / MIB);
        h->node[i].free_mib = (int64_t)(MIN(free_bytes, t->mem_bytes) / MIB);
    }
    fill_distances(topo, h);
    for (uint32_t i = 0; i < n; i++)
        fill_order(h, i, key);
    fill_cpus(topo, h);
    for (size_t i = 1; i < n; i++)
        h->node[i].like_last = alike(&h->node[i], &h->node[i - 1]);
    free(key);
    *ret_host = h;
    return 0;

err_free:
    free(key);
    place_host_free(h);
    return errctx_set(ec, ENOMEM, "placement: no memory for a host of %zu nodes", n);
}

void place_host_free(struct place_host *host)
{
    if (host == NULL)
        return;
    free(host->dist);
    free(host->far);
    free(host->order);
    free(host->node);
    free(host->cpu);
    free(host);
}

bool place_host_measured(const struct place_host *host)
{
    return host->measured;
}

uint32_t place_distance(const struct place_host *host, uint32_t from, uint32_t to)
{
    return host->dist[(size_t)from * host->n + to];
}
