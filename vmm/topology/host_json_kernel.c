/* SPDX-License-Identifier: Apache-2.0 */
/* The members of a host's JSON that come from the kernel's files. A member that is not there was
 * not there to be read. */
#include "vmm/topology/host_show.h"

#include <errno.h>

#include "vmm/base/macros.h"
#include "vmm/topology/show_json.h"

/* Takes @value over, also when it fails; NULL counts as no memory. */
static int set(json_t *j, const char *key, json_t *value)
{
    return json_object_set_new(j, key, value) < 0 ? -ENOMEM : 0;
}

static int set_number(json_t *j, const char *key, uint64_t v)
{
    return set(j, key, json_integer((json_int_t)MIN(v, (uint64_t)INT64_MAX)));
}

static int add_mem_caches(json_t *j, const struct host_node *n)
{
    json_t *caches = json_array();

    for (uint32_t k = 0; k < n->n_mem_caches; k++) {
        const struct host_mem_cache *c = &n->mem_cache[k];

        if (json_array_append_new(
                caches, json_pack("{si sI si ss ss}", "level", (int)c->level, "size",
                                  (json_int_t)c->size_bytes, "line", (int)c->line_bytes,
                                  "associativity", c->direct_mapped ? "direct" : "indexed", "write",
                                  c->write_through ? "through" : "back")) < 0) {
            json_decref(caches);
            return -ENOMEM;
        }
    }
    return set(j, "memory_side_caches", caches);
}

int host_json_node(json_t *j, const struct host_node *node)
{
    const struct host_hmat *h = &node->hmat;
    json_t *o;

    if (node->n_mem_caches > 0 && add_mem_caches(j, node) < 0)
        return -ENOMEM;
    if (!node->has_hmat)
        return 0;
    o = json_object();
    if ((h->read_latency_ns > 0 && set_number(o, "read_latency_ns", h->read_latency_ns) < 0) ||
        (h->write_latency_ns > 0 && set_number(o, "write_latency_ns", h->write_latency_ns) < 0) ||
        (h->read_bytes_per_s > 0 && set_number(o, "read_bandwidth", h->read_bytes_per_s) < 0) ||
        (h->write_bytes_per_s > 0 && set_number(o, "write_bandwidth", h->write_bytes_per_s) < 0) ||
        set(o, "initiators", show_json_set(&h->initiators)) < 0) {
        json_decref(o);
        return -ENOMEM;
    }
    return set(j, "hmat", o);
}

int host_json_cpu(json_t *j, const struct host_cpu *cpu)
{
    int r = 0;

    if (cpu->capacity > 0) {
        r = set_number(j, "capacity", cpu->capacity);
        if (r == 0)
            r = set_number(j, "capacity_full", cpu->capacity_full);
    }
    if (r == 0 && cpu->has_throttled)
        r = set_number(j, "throttled", cpu->throttled);
    return r;
}

static int add_cpu_states(json_t *j, const struct host_topo *host)
{
    if (!idset_empty(&host->cpus_online) &&
        (set(j, "cpus_online", show_json_set(&host->cpus_online)) < 0 ||
         set(j, "cpus_offline", show_json_set(&host->cpus_offline)) < 0))
        return -ENOMEM;
    if (!idset_empty(&host->nodes_online) &&
        set(j, "nodes_online", show_json_set(&host->nodes_online)) < 0)
        return -ENOMEM;
    return host->has_smt ? set(j, "smt_active", json_boolean(host->smt_active)) : 0;
}

static int add_llcs(json_t *j, const struct host_topo *host)
{
    json_t *groups = json_array();
    uint32_t n = 0;

    for (size_t i = 0; i < host->n_cpus; i++)
        n = MAX(n, host->cpus[i].llc + 1);
    for (uint32_t g = 0; g < n; g++) {
        struct idset cpus = { 0 };

        for (size_t i = 0; i < host->n_cpus; i++)
            if (host->cpus[i].llc == g)
                idset_add(&cpus, host->cpus[i].id.v);
        if (!idset_empty(&cpus) && json_array_append_new(groups, show_json_set(&cpus)) < 0) {
            json_decref(groups);
            return -ENOMEM;
        }
    }
    return set(j, "llc_groups", groups);
}

/* One limit with the group that sets it. */
static int add_limit(json_t *limits, const char *key, json_t *value, const char *cgroup)
{
    return set(limits, key, json_pack("{so ss}", "value", value, "cgroup", cgroup));
}

static int add_limits(json_t *j, const struct host_limits *l)
{
    json_t *o;
    int r = 0;

    if (l->cgroup[0] == '\0')
        return 0;
    o = json_pack("{ss}", "cgroup", l->cgroup);
    if (l->has_cpus)
        r = add_limit(o, "cpus", show_json_set(&l->cpus), l->cpus_cgroup);
    if (r == 0 && l->has_mems)
        r = add_limit(o, "nodes", show_json_set(&l->mems), l->mems_cgroup);
    if (r == 0 && l->has_cpu)
        r = add_limit(o, "cpu_milli", json_integer((json_int_t)l->cpu_milli), l->cpu_cgroup);
    if (r == 0 && l->has_memory)
        r = add_limit(o, "memory", json_integer((json_int_t)l->memory_max_bytes),
                      l->memory_cgroup);
    if (r == 0 && l->has_memory)
        r = add_limit(o, "memory_left", json_integer((json_int_t)l->memory_left_bytes),
                      l->memory_left_cgroup);
    if (r == 0 && l->pool[HOST_POOL_2M].has)
        r = add_limit(o, "pages_2m_left",
                      json_integer((json_int_t)l->pool[HOST_POOL_2M].left_bytes),
                      l->pool[HOST_POOL_2M].cgroup);
    if (r == 0 && l->pool[HOST_POOL_1G].has)
        r = add_limit(o, "pages_1g_left",
                      json_integer((json_int_t)l->pool[HOST_POOL_1G].left_bytes),
                      l->pool[HOST_POOL_1G].cgroup);
    if (r == 0)
        return set(j, "limits", o);
    json_decref(o);
    return r;
}

static json_t *stall_json(const struct host_stall *s)
{
    return json_pack("{sf sf sf}", "avg10", s->avg10 / 100.0, "avg60", s->avg60 / 100.0, "avg300",
                     s->avg300 / 100.0);
}

static int add_pressure(json_t *j, const struct host_topo *host)
{
    const struct {
        const char *key;
        const struct host_pressure *p;
    } rows[] = {
        { "cpu", &host->cpu_pressure },
        { "memory", &host->mem_pressure },
        { "cgroup_cpu", &host->cgroup_cpu_pressure },
        { "cgroup_memory", &host->cgroup_mem_pressure },
    };
    json_t *o = json_object();

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].p->has &&
            set(o, rows[i].key,
                json_pack("{so so}", "some", stall_json(&rows[i].p->some), "full",
                          stall_json(&rows[i].p->full))) < 0) {
            json_decref(o);
            return -ENOMEM;
        }
    if (json_object_size(o) > 0)
        return set(j, "pressure", o);
    json_decref(o);
    return 0;
}

int host_json_kernel(json_t *j, const struct host_topo *host)
{
    int r = add_cpu_states(j, host);

    if (r == 0)
        r = add_llcs(j, host);
    if (r == 0)
        r = add_limits(j, &host->limits);
    return r < 0 ? r : add_pressure(j, host);
}
