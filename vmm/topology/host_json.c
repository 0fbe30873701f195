/* SPDX-License-Identifier: Apache-2.0 */
/* A host as JSON. The form is described in show.h; see plan_json.c for how errors are caught. */
#include "vmm/topology/show.h"

#include <errno.h>

#include "vmm/topology/host_show.h"
#include "vmm/topology/show_json.h"

static json_t *pools_json(const struct host_node *n)
{
    json_t *pools = json_array();

    for (uint32_t k = 0; k < n->n_pools; k++)
        if (json_array_append_new(pools, json_pack("{sI sI sI}", "page_size",
                                                   (json_int_t)n->pool[k].page_bytes, "total",
                                                   (json_int_t)n->pool[k].total_pages, "free",
                                                   (json_int_t)n->pool[k].free_pages)) < 0)
            goto err;
    return pools;

err:
    json_decref(pools);
    return NULL;
}

/* Append @j, taken over, unless what was to be @added to it did not fit. */
static int append(json_t *array, json_t *j, int added)
{
    if (added == 0)
        return json_array_append_new(array, j);
    json_decref(j);
    return -1;
}

static json_t *nodes_json(const struct host_topo *host)
{
    json_t *nodes = json_array();

    for (size_t i = 0; i < host->n_nodes; i++) {
        const struct host_node *n = &host->nodes[i];
        json_t *j = json_pack("{si sI so so so}", "id", (int)n->id.v, "memory",
                              (json_int_t)n->mem_bytes, "memory_free",
                              n->mem_free_bytes > 0 ? json_integer((json_int_t)n->mem_free_bytes)
                                                    : json_null(),
                              "cpus", show_json_set(&n->cpus), "page_pools", pools_json(n));

        if (append(nodes, j, host_json_node(j, n)) < 0)
            goto err;
    }
    return nodes;

err:
    json_decref(nodes);
    return NULL;
}

static json_t *cpus_json(const struct host_topo *host)
{
    json_t *cpus = json_array();

    for (size_t i = 0; i < host->n_cpus; i++) {
        const struct host_cpu *c = &host->cpus[i];
        json_t *j = json_pack("{si si si si si si si}", "id", (int)c->id.v, "node",
                              (int)host->nodes[c->node].id.v, "package", (int)c->package, "die",
                              (int)c->die, "core", (int)c->core, "llc", (int)c->llc, "thread",
                              (int)c->thread);

        if (append(cpus, j, host_json_cpu(j, c)) < 0)
            goto err;
    }
    return cpus;

err:
    json_decref(cpus);
    return NULL;
}

static json_t *caches_json(const struct host_topo *host)
{
    json_t *caches = json_array();

    for (size_t i = 0; i < host->n_caches; i++) {
        const struct host_cache *c = &host->caches[i];

        if (json_array_append_new(caches, json_pack("{si ss sI si si so}", "level", (int)c->level,
                                                    "type", show_json_cache_type(c->type), "size",
                                                    (json_int_t)c->size_bytes, "line",
                                                    (int)c->line_bytes, "ways", (int)c->ways,
                                                    "cpus", show_json_set(&c->cpus))) < 0)
            goto err;
    }
    return caches;

err:
    json_decref(caches);
    return NULL;
}

int host_topo_to_json(const struct host_topo *host, json_t **ret_json)
{
    json_t *source = json_string(host->source); /* NULL also for a file name that is not UTF-8 */
    json_t *j = json_pack(
        "{so so so so so sb}", "source", source != NULL ? source : json_string("a file"), "nodes",
        nodes_json(host), "cpus", cpus_json(host), "caches", caches_json(host), "distances",
        show_json_matrix(host->distances, host->n_nodes), "distances_known", host->has_distances);

    if (j == NULL)
        return -ENOMEM;
    if (host_json_kernel(j, host) < 0 || host_json_measured(j, host) < 0) {
        json_decref(j);
        return -ENOMEM;
    }
    *ret_json = j;
    return 0;
}
