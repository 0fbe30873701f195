/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan as JSON. The form is described in show.h.
 *
 * json_pack() with "o" and a NULL returns NULL and releases the other values, and appending
 * NULL fails, so one check at the end of each function covers all allocations in it.
 */
#include "vmm/topology/show.h"

#include <errno.h>
#include <string.h>

#include "vmm/topology/show_json.h"

/* Append @item (taken) to @array; false when either is missing or memory is. */
static bool append(json_t *array, json_t *item)
{
    return json_array_append_new(array, item) == 0;
}

/* @array when @ok, else NULL with the array released. */
static json_t *array_or_null(json_t *array, bool ok)
{
    if (ok)
        return array;
    json_decref(array);
    return NULL;
}

static json_t *notes_json(const struct topo_plan *plan)
{
    json_t *notes = json_array();
    bool ok = notes != NULL;

    for (const char *line = plan->notes; ok && *line != '\0';) {
        size_t len = strcspn(line, "\n");

        ok = append(notes, json_stringn(line, len));
        line += len + (line[len] == '\n');
    }
    return array_or_null(notes, ok);
}

static json_t *mem_caches_json(const struct topo_plan_node *n)
{
    static const char *const assoc[] = { "none", "direct", "complex" };
    static const char *const wr[] = { "none", "back", "through" };
    json_t *caches = json_array();
    bool ok = caches != NULL;

    for (uint32_t k = 0; ok && k < n->n_mem_caches; k++) {
        const struct guest_mem_cache_spec *c = &n->mem_cache[k];

        ok = append(caches, json_pack("{si sI si ss ss}", "level", (int)k + 1, "size",
                                      (json_int_t)c->size_bytes, "line", (int)c->line_bytes,
                                      "associativity", assoc[c->assoc], "write", wr[c->write]));
    }
    return array_or_null(caches, ok);
}

static json_t *backings_json(const struct topo_plan *plan, struct vnode_id vnode)
{
    json_t *backings = json_array();
    bool ok = backings != NULL;

    for (size_t i = 0; ok && i < plan->n_backings; i++) {
        const struct topo_plan_backing *b = &plan->backings[i];

        if (b->vnode.v == vnode.v)
            ok = append(backings,
                        json_pack("{sI sI ss ss so sI sb sb}", "offset", (json_int_t)b->off,
                                  "memory", (json_int_t)b->len_bytes, "pages",
                                  guest_page_name(b->pages), "policy",
                                  guest_policy_words[b->policy], "host",
                                  show_json_set(&b->host_nodes), "chunk",
                                  (json_int_t)b->chunk_bytes, "reserve", b->reserve, "prealloc",
                                  b->prealloc));
    }
    return array_or_null(backings, ok);
}

static json_t *row_json(const struct topo_plan *plan, size_t from)
{
    json_t *row = json_array();
    bool ok = row != NULL;

    for (size_t to = 0; ok && to < plan->n_nodes; to++)
        ok = append(row, json_integer(plan->distances[from * plan->n_nodes + to]));
    return array_or_null(row, ok);
}

static json_t *nodes_json(const struct topo_plan *plan)
{
    json_t *nodes = json_array();
    bool ok = nodes != NULL;

    for (size_t i = 0; ok && i < plan->n_nodes; i++) {
        const struct topo_plan_node *n = &plan->nodes[i];

        ok = append(nodes,
                    json_pack("{si sI sI so sb sb sb so so so so so}", "id", (int)n->vnode.v, "memory",
                              (json_int_t)n->ram_bytes, "hotplug", (json_int_t)n->hotplug_bytes,
                              "cpus", show_json_set(&n->cpus), "has_cpus", !idset_empty(&n->cpus),
                              "has_memory", n->ram_bytes > 0, "generic_initiator",
                              n->generic_initiator, "host", show_json_set(&n->host_nodes),
                              "distances", row_json(plan, i), "initiator",
                              n->has_initiator ? json_integer(n->initiator.v) : json_null(),
                              "mem_caches", mem_caches_json(n), "backings",
                              backings_json(plan, n->vnode)));
    }
    return array_or_null(nodes, ok);
}

static json_t *vcpus_json(const struct topo_plan *plan)
{
    const struct topo_apic_layout *a = &plan->apic;
    json_t *vcpus = json_array();
    bool ok = vcpus != NULL;

    for (size_t i = 0; ok && i < plan->n_vcpus; i++) {
        const struct topo_plan_vcpu *v = &plan->vcpus[i];
        uint32_t in_socket = v->apic_id & ((1u << a->socket_shift) - 1);

        ok = append(vcpus, json_pack("{si si si si si si si si s{si si si} so}", "id", (int)v->id.v,
                                     "node", (int)v->vnode.v, "socket", (int)v->socket, "die",
                                     (int)v->die, "complex", (int)v->complex, "core", (int)v->core,
                                     "thread", (int)v->thread, "apic_id", (int)v->apic_id, "linux",
                                     "physical_package_id", (int)(v->apic_id >> a->socket_shift),
                                     "die_id", (int)(in_socket >> a->die_shift), "core_id",
                                     (int)(in_socket >> a->core_shift), "host_cpus",
                                     show_json_set(&v->host_cpus)));
        if (ok && v->later)
            (void)json_object_set_new(json_array_get(vcpus, i), "hotplug", json_true());
    }
    return array_or_null(vcpus, ok);
}

/* The sets of vCPUs that agree above @shift, by their lowest vCPU. */
static json_t *groups_json(const struct topo_plan *plan, uint32_t shift)
{
    json_t *groups = json_array();
    struct idset done = { 0 };
    bool ok = groups != NULL;

    for (uint32_t i = 0; ok && i < plan->n_vcpus; i++) {
        struct topo_plan_cache same = { .apic_shift = shift };
        struct idset cpus;

        if (idset_has(&done, i))
            continue;
        topo_plan_cache_cpus(plan, &same, (struct vcpu_id){ i }, &cpus);
        idset_or(&done, &cpus);
        ok = append(groups, show_json_set(&cpus));
    }
    return array_or_null(groups, ok);
}

static json_t *caches_json(const struct topo_plan *plan)
{
    json_t *caches = json_array();
    bool ok = caches != NULL;

    for (size_t i = 0; ok && i < plan->n_caches; i++) {
        const struct topo_plan_cache *c = &plan->caches[i];

        ok = append(caches,
                    json_pack("{si ss sI si si sI si so}", "level", (int)c->level, "type",
                              show_json_cache_type(c->type), "size", (json_int_t)c->size_bytes,
                              "line", (int)c->line_bytes, "ways", (int)c->ways, "sets",
                              (json_int_t)c->sets, "apic_shift", (int)c->apic_shift, "groups",
                              groups_json(plan, c->apic_shift)));
    }
    return array_or_null(caches, ok);
}

static json_t *links_json(const struct topo_plan *plan)
{
    json_t *links = json_array();
    size_t n = plan->links != NULL ? plan->n_nodes * plan->n_nodes : 0;
    bool ok = links != NULL;

    for (size_t i = 0; ok && i < n; i++) {
        const struct topo_plan_link *l = &plan->links[i];

        if (l->latency_ns == 0 && l->bandwidth_bytes_per_s == 0)
            continue;
        ok = append(links,
                    json_pack("{si si sI sI}", "from", (int)(i / plan->n_nodes), "to",
                              (int)(i % plan->n_nodes), "latency_ns", (json_int_t)l->latency_ns,
                              "bandwidth", (json_int_t)l->bandwidth_bytes_per_s));
    }
    return array_or_null(links, ok);
}

static json_t *sized_json(const struct guest_auto *w)
{
    return json_pack("{si si si ss sI si sb}", "nodes", (int)w->nodes, "by_cpus", (int)w->by_cpus,
                     "by_memory", (int)w->by_memory, "cpus_are",
                     w->by_threads ? "hardware threads" : "cores", "host_memory",
                     (json_int_t)w->host_memory_bytes, "host_cpus", (int)w->host_cpus, "too_large",
                     w->too_large);
}

int topo_plan_to_json(const struct topo_plan *plan, json_t **ret_json)
{
    const struct topo_apic_layout *a = &plan->apic;
    json_t *j;

    j = json_pack("{so so so s{si si si si si} s{so so so so} so so so}", "notes", notes_json(plan),
                  "nodes", nodes_json(plan), "vcpus", vcpus_json(plan), "apic", "core_shift",
                  (int)a->core_shift, "complex_shift", (int)a->complex_shift, "die_shift",
                  (int)a->die_shift, "socket_shift", (int)a->socket_shift, "max_id",
                  (int)plan->max_apic_id, "groups", "core", groups_json(plan, a->core_shift),
                  "complex", groups_json(plan, a->complex_shift), "die",
                  groups_json(plan, a->die_shift), "socket", groups_json(plan, a->socket_shift),
                  "caches", caches_json(plan), "distances",
                  show_json_matrix(plan->distances, plan->n_nodes), "links", links_json(plan));
    if (j == NULL)
        return -ENOMEM;
    if (plan->sized.nodes > 0 && json_object_set_new(j, "vnuma_auto", sized_json(&plan->sized)) < 0) {
        json_decref(j);
        return -ENOMEM;
    }
    *ret_json = j;
    return 0;
}
