/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwloc's XML, version 2.0. Every package, die, cache, core and CPU is a set of CPUs, and of any two
 * of those one is in the other or they share nothing. So each object's parent is the smallest set
 * before it, larger ones first, that has its first CPU. A node hangs on the object with its CPUs, or
 * on a Group; one without CPUs on the machine. Latencies and bandwidths are memory attributes, which
 * name a node by its object's number and who reaches it by a set of CPUs.
 */
#include "vmm/topology/topo_convert.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

/* Outer ones first, where sets are equal. */
enum xml_kind {
    XML_MACHINE, XML_GROUP, XML_PACKAGE, XML_DIE, XML_L4, XML_L3, XML_L2, XML_L1, XML_L1I, XML_CORE,
    XML_PU, XML_KINDS,
};

static const char *const kind_names[XML_KINDS] = {
    "Machine", "Group", "Package", "Die", "L4Cache", "L3Cache", "L2Cache", "L1Cache", "L1iCache",
    "Core", "PU",
};

struct xml_object {
    enum xml_kind kind;
    uint32_t index, first, n_cpus;
    const struct topo_plan_cache *cache; /* of caches */
    struct idset cpus;
    struct xml_object *parent;
};

struct xml_tree {
    const struct topo_plan *plan;
    struct xml_object *objects;
    size_t *node_ids; /* by node: the number that its object has in the file */
    size_t n, gp_index;
    FILE *out;
};

static void print_set(FILE *out, const char *name, const struct idset *s)
{
    uint32_t words = 0;

    IDSET_FOREACH(id, s)
        words = id / 32 + 1;
    (void)fprintf(out, " %s=\"", name);
    for (uint32_t w = MAX(words, 1u); w-- > 0;)
        (void)fprintf(out, "0x%08" PRIx32 "%s", (uint32_t)(s->word[w / 2] >> (w % 2 * 32)),
                      w > 0 ? "," : "");
    (void)fputc('"', out);
}

static void print_sets(struct xml_tree *t, const struct idset *cpus, const struct idset *nodes)
{
    print_set(t->out, "cpuset", cpus);
    print_set(t->out, "complete_cpuset", cpus);
    print_set(t->out, "nodeset", nodes);
    print_set(t->out, "complete_nodeset", nodes);
    (void)fprintf(t->out, " gp_index=\"%zu\"", ++t->gp_index);
}

static void add(struct xml_tree *t, enum xml_kind kind, const struct idset *cpus,
                const struct topo_plan_cache *cache)
{
    t->objects[t->n++] = (struct xml_object){ .kind = kind,
                                              .first = idset_next(cpus, 0),
                                              .n_cpus = idset_count(cpus),
                                              .cache = cache,
                                              .cpus = *cpus };
}

/* One object for each group of CPUs that agree in their id above @shift. */
static void add_groups(struct xml_tree *t, enum xml_kind kind, uint32_t shift,
                       const struct topo_plan_cache *cache)
{
    const struct topo_plan *plan = t->plan;
    struct idset seen = { 0 };

    for (uint32_t i = 0; i < plan->n_vcpus; i++) {
        struct idset set = { 0 };

        if (idset_has(&seen, i))
            continue;
        for (uint32_t k = i; k < plan->n_vcpus; k++)
            if (plan->vcpus[k].apic_id >> shift == plan->vcpus[i].apic_id >> shift)
                idset_add(&set, k);
        idset_or(&seen, &set);
        add(t, kind, &set, cache);
    }
}

static const struct xml_object *find_equal(const struct xml_tree *t, const struct idset *cpus)
{
    for (size_t i = 0; i < t->n; i++)
        if (idset_equal(&t->objects[i].cpus, cpus))
            return &t->objects[i];
    return NULL;
}

static int compare(const void *a, const void *b)
{
    const struct xml_object *x = a, *y = b;

    if (x->n_cpus != y->n_cpus)
        return x->n_cpus > y->n_cpus ? -1 : 1;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

static enum xml_kind cache_kind(const struct topo_plan_cache *c)
{
    if (c->level == 1)
        return c->type == CACHE_INSTRUCTION ? XML_L1I : XML_L1;
    return c->level == 2 ? XML_L2 : c->level == 3 ? XML_L3 : XML_L4;
}

static void link_tree(struct xml_tree *t)
{
    uint32_t count[XML_KINDS] = { 0 };

    qsort(t->objects, t->n, sizeof(*t->objects), compare);
    for (size_t i = 0; i < t->n; i++) {
        struct xml_object *o = &t->objects[i];

        o->index = o->kind == XML_PU ? o->first : count[o->kind]++;
        for (size_t k = i; k-- > 0 && o->parent == NULL;)
            if (idset_has(&t->objects[k].cpus, o->first))
                o->parent = &t->objects[k];
    }
}

static int make_tree(struct xml_tree *t)
{
    const struct topo_plan *plan = t->plan;
    const struct topo_apic_layout *a = &plan->apic;
    struct idset all = { 0 };

    t->objects = calloc(2 + plan->n_nodes + plan->n_vcpus * (4 + plan->n_caches),
                        sizeof(*t->objects));
    if (t->objects == NULL)
        return -ENOMEM;
    idset_add_range(&all, 0, (uint32_t)plan->n_vcpus);
    add(t, XML_MACHINE, &all, NULL);
    add_groups(t, XML_PACKAGE, a->socket_shift, NULL);
    if (a->dies_per_socket > 1)
        add_groups(t, XML_DIE, a->die_shift, NULL);
    for (size_t i = 0; i < plan->n_nodes; i++)
        if (!idset_empty(&plan->nodes[i].cpus) && find_equal(t, &plan->nodes[i].cpus) == NULL)
            add(t, XML_GROUP, &plan->nodes[i].cpus, NULL);
    for (size_t i = 0; i < plan->n_caches; i++)
        add_groups(t, cache_kind(&plan->caches[i]), plan->caches[i].apic_shift, &plan->caches[i]);
    add_groups(t, XML_CORE, a->core_shift, NULL);
    add_groups(t, XML_PU, 0, NULL);
    link_tree(t);
    return 0;
}

static void print_node(struct xml_tree *t, const struct topo_plan_node *n)
{
    struct idset self = { 0 };

    idset_add(&self, n->vnode.v);
    (void)fprintf(t->out, "<object type=\"NUMANode\" os_index=\"%u\"", n->vnode.v);
    print_sets(t, &n->cpus, &self);
    t->node_ids[n->vnode.v] = t->gp_index;
    (void)fprintf(t->out, " local_memory=\"%" PRIu64 "\"/>\n", n->ram_bytes);
}

/* The nodes whose CPUs @o has some of; all, those without CPUs too, for the machine. */
static void nodes_of(const struct xml_tree *t, const struct xml_object *o, struct idset *ret)
{
    for (uint32_t i = 0; i < t->plan->n_nodes; i++)
        if (o->kind == XML_MACHINE || idset_intersects(&t->plan->nodes[i].cpus, &o->cpus))
            idset_add(ret, i);
}

/* Is @o the outermost object with exactly these CPUs? */
static bool carries(const struct xml_object *o, const struct idset *cpus)
{
    if (idset_empty(cpus))
        return o->kind == XML_MACHINE;
    return idset_equal(&o->cpus, cpus) &&
           (o->parent == NULL || !idset_equal(&o->parent->cpus, cpus));
}

static void print_object(struct xml_tree *t, const struct xml_object *o);

static void print_children(struct xml_tree *t, const struct xml_object *o)
{
    struct idset left = o->cpus;

    for (size_t i = 0; i < t->plan->n_nodes; i++)
        if (carries(o, &t->plan->nodes[i].cpus))
            print_node(t, &t->plan->nodes[i]);
    IDSET_FOREACH(cpu, &left)
        for (size_t i = 0; i < t->n; i++)
            if (t->objects[i].parent == o && t->objects[i].first == cpu)
                print_object(t, &t->objects[i]);
}

static void print_object(struct xml_tree *t, const struct xml_object *o)
{
    static const char *const types[] = { [CACHE_DATA] = "1", [CACHE_INSTRUCTION] = "2",
                                         [CACHE_UNIFIED] = "0" };
    struct idset nodes = { 0 };

    nodes_of(t, o, &nodes);
    (void)fprintf(t->out, "<object type=\"%s\"", kind_names[o->kind]);
    if (o->cache == NULL && o->kind != XML_GROUP)
        (void)fprintf(t->out, " os_index=\"%u\"", o->index);
    print_sets(t, &o->cpus, &nodes);
    if (o->kind == XML_MACHINE) {
        print_set(t->out, "allowed_cpuset", &o->cpus);
        print_set(t->out, "allowed_nodeset", &nodes);
    }
    if (o->kind == XML_GROUP)
        (void)fprintf(t->out, " kind=\"0\" subkind=\"0\"");
    if (o->cache != NULL)
        (void)fprintf(t->out,
                      " cache_size=\"%" PRIu64 "\" depth=\"%u\" cache_linesize=\"%u\" "
                      "cache_associativity=\"%u\" cache_type=\"%s\"",
                      o->cache->size_bytes, o->cache->level, o->cache->line_bytes, o->cache->ways,
                      types[o->cache->type]);
    if (o->kind == XML_PU) {
        (void)fprintf(t->out, "/>\n");
        return;
    }
    (void)fprintf(t->out, ">\n");
    print_children(t, o);
    (void)fprintf(t->out, "</object>\n");
}

/* Ten to a line, whose length its element tells. */
static void print_numbers(FILE *out, const char *element, size_t n, const uint32_t *values)
{
    for (size_t i = 0; i < n; i += 10) {
        char line[128];
        int len = 0;

        for (size_t k = i; k < MIN(i + 10, n); k++)
            len += snprintf(line + len, sizeof(line) - (size_t)len, "%" PRIu32 " ",
                            values != NULL ? values[k] : (uint32_t)k);
        (void)fprintf(out, "<%s length=\"%d\">%s</%s>\n", element, len, line, element);
    }
}

/* One of hwloc's own attributes; @flags: which values are the better ones, and that there is an
 * initiator (hwloc/memattrs.h). */
static void print_attribute(const struct xml_tree *t, const char *name, unsigned flags,
                            uint64_t (*value)(const struct topo_plan_link *link))
{
    const size_t n = t->plan->n_nodes;

    (void)fprintf(t->out, "<memattr name=\"%s\" flags=\"%u\">\n", name, flags);
    for (size_t i = 0; i < n * n; i++) {
        const struct topo_plan_node *from = &t->plan->nodes[i / n];
        const uint64_t v = value(&t->plan->links[i]);

        if (v == 0 || idset_empty(&from->cpus))
            continue;
        (void)fprintf(t->out, "<memattr_value target_obj_type=\"NUMANode\" "
                      "target_obj_gp_index=\"%zu\" value=\"%" PRIu64 "\"", t->node_ids[i % n], v);
        print_set(t->out, "initiator_cpuset", &from->cpus);
        (void)fprintf(t->out, "/>\n");
    }
    (void)fprintf(t->out, "</memattr>\n");
}

static uint64_t mib_per_s(const struct topo_plan_link *link)
{
    return link->bandwidth_bytes_per_s / MIB;
}

static uint64_t latency_ns(const struct topo_plan_link *link)
{
    return link->latency_ns;
}

int topo_convert_xml(const struct topo_plan *plan, FILE *out, struct errctx *ec)
{
    struct xml_tree t = { .plan = plan, .out = out };
    CLEANUP_FREE size_t *node_ids = calloc(plan->n_nodes, sizeof(*node_ids));
    int r = node_ids == NULL ? -ENOMEM : make_tree(&t);

    if (r < 0)
        return errctx_set(ec, -r, "no memory for the XML form");
    t.node_ids = node_ids;
    (void)fprintf(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                       "<!DOCTYPE topology SYSTEM \"hwloc2.dtd\">\n<topology version=\"2.0\">\n");
    print_object(&t, &t.objects[0]);
    if (plan->n_nodes > 1) {
        (void)fprintf(out, "<distances2 type=\"NUMANode\" nbobjs=\"%zu\" kind=\"5\" "
                      "name=\"NUMALatency\" indexing=\"os\">\n", plan->n_nodes);
        print_numbers(out, "indexes", plan->n_nodes, NULL);
        print_numbers(out, "u64values", plan->n_nodes * plan->n_nodes, plan->distances);
        (void)fprintf(out, "</distances2>\n");
    }
    if (plan->bandwidth_unit_mib > 0)
        print_attribute(&t, "Bandwidth", 5, mib_per_s);
    if (plan->latency_unit_ns > 0)
        print_attribute(&t, "Latency", 6, latency_ns);
    (void)fprintf(out, "</topology>\n");
    free(t.objects);
    return 0;
}
