/* SPDX-License-Identifier: Apache-2.0 */
/* A plan as a table for people. */
#include "vmm/topology/show.h"

#include <inttypes.h>
#include <string.h>

#include "vmm/base/units.h"
#include "vmm/topology/show_text.h"

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

static void print_summary(const struct topo_plan *plan, const struct host_topo *host, FILE *out)
{
    const struct topo_apic_layout *a = &plan->apic;
    uint64_t ram = 0, hotplug = 0;
    char b[32], c[32];

    for (size_t i = 0; i < plan->n_nodes; i++) {
        ram += plan->nodes[i].ram_bytes;
        hotplug += plan->nodes[i].hotplug_bytes;
    }
    (void)fprintf(out, "Guest of %zu node%s, %zu CPU%s and %s", plan->n_nodes,
                  plural(plan->n_nodes), plan->n_vcpus, plural(plan->n_vcpus),
                  show_size(ram, b, sizeof(b)));
    if (hotplug > 0)
        (void)fprintf(out, " (and room to plug %s)", show_size(hotplug, c, sizeof(c)));
    (void)fprintf(out, ", planned for %s\n", host->source);
    (void)fprintf(out, "sockets %u, dies per socket %u, cores per die %u, threads per core %u\n",
                  a->n_sockets, a->dies_per_socket, a->cores_per_complex * a->complexes_per_die,
                  a->threads_per_core);
}

static void print_mem_caches(const struct topo_plan_node *n, FILE *out)
{
    static const char *const assoc[] = { "no associativity given", "direct-mapped", "associative" };
    static const char *const wr[] = { "no write policy given", "write-back", "write-through" };
    char b[32];

    for (uint32_t k = 0; k < n->n_mem_caches; k++) {
        const struct guest_mem_cache_spec *c = &n->mem_cache[k];

        (void)fprintf(out, "  %4s  memory-side cache %u: %s, %s, %s", "", k + 1,
                      show_size(c->size_bytes, b, sizeof(b)), assoc[c->assoc], wr[c->write]);
        if (c->line_bytes > 0)
            (void)fprintf(out, ", lines of %u bytes", c->line_bytes);
        (void)fputc('\n', out);
    }
}

static void print_nodes(const struct topo_plan *plan, FILE *out, bool colour)
{
    char mem[32], plug[32], cpus[SHOW_LIST_BYTES], hosts[SHOW_LIST_BYTES], init[48];

    show_heading(out, colour, "Nodes");
    (void)fprintf(out, "  %4s  %10s  %10s  %-8s  %-10s  %s\n", "node", "memory", "hotplug", "host",
                  "initiator", "CPUs");
    for (size_t i = 0; i < plan->n_nodes; i++) {
        const struct topo_plan_node *n = &plan->nodes[i];

        if (n->has_initiator)
            (void)snprintf(init, sizeof(init), "%u", n->initiator.v);
        (void)fprintf(out, "  %4u  %10s  %10s  %-8s  %-10s  %s\n", n->vnode.v,
                      show_size(n->ram_bytes, mem, sizeof(mem)),
                      show_size(n->hotplug_bytes, plug, sizeof(plug)),
                      show_set(&n->host_nodes, "any", hosts, sizeof(hosts)),
                      n->has_initiator ? init : "-", show_set(&n->cpus, "-", cpus, sizeof(cpus)));
        if (n->generic_initiator)
            (void)fprintf(out, "        with a generic initiator\n");
        print_mem_caches(n, out);
    }
}

static void print_memory(const struct topo_plan *plan, FILE *out, bool colour)
{
    char off[32], len[32], hosts[SHOW_LIST_BYTES], chunk[48];

    if (plan->n_backings == 0)
        return;
    show_heading(out, colour, "Memory");
    (void)fprintf(out, "  %4s  %10s  %10s  %-5s  %-19s  %-8s  %-14s  %s\n", "node", "from", "size",
                  "pages", "policy", "host", "in pieces of", "at the start");
    for (size_t i = 0; i < plan->n_backings; i++) {
        const struct topo_plan_backing *b = &plan->backings[i];

        (void)fprintf(out, "  %4u  %10s  %10s  %-5s  %-19s  %-8s  %-14s  %s\n", b->vnode.v,
                      b->off > 0 ? show_size(b->off, off, sizeof(off)) : "0",
                      show_size(b->len_bytes, len, sizeof(len)), guest_page_name(b->pages),
                      b->policy == GUEST_POLICY_NONE ? "-" : guest_policy_words[b->policy],
                      show_set(&b->host_nodes, "any", hosts, sizeof(hosts)),
                      b->chunk_bytes > 0 ? show_size(b->chunk_bytes, chunk, sizeof(chunk)) : "-",
                      b->prealloc ? "taken" : b->reserve ? "reserved" : "-");
    }
}

/* One line per die: the vCPUs that agree above the die's shift. */
static void print_dies(const struct topo_plan *plan, FILE *out, bool colour)
{
    const struct topo_apic_layout *a = &plan->apic;
    char cpus[SHOW_LIST_BYTES], hosts[SHOW_LIST_BYTES];

    show_heading(out, colour, "CPUs");
    (void)fprintf(out, "  %6s  %4s  %4s  %5s  %-13s  %-16s  %s\n", "socket", "die", "node", "cores",
                  "APIC ids", "host CPUs", "CPUs");
    for (size_t first = 0; first < plan->n_vcpus; first++) {
        const struct topo_plan_vcpu *v = &plan->vcpus[first];
        uint32_t cores = 0, last_id = v->apic_id;
        struct idset in_die = { 0 };
        char ids[32];

        /* The first of a die is its lowest id only; each die is printed at that one. */
        if ((v->apic_id & ((1u << a->die_shift) - 1)) != 0)
            continue;
        for (size_t i = 0; i < plan->n_vcpus; i++) {
            const struct topo_plan_vcpu *o = &plan->vcpus[i];

            if (o->apic_id >> a->die_shift != v->apic_id >> a->die_shift)
                continue;
            idset_add(&in_die, o->id.v);
            cores += o->thread == 0;
            last_id = o->apic_id > last_id ? o->apic_id : last_id;
        }
        (void)snprintf(ids, sizeof(ids), "%u-%u", v->apic_id, last_id);
        (void)fprintf(out, "  %6u  %4u  %4u  %5u  %-13s  %-16s  %s\n", v->socket, v->die,
                      v->vnode.v, cores, ids, show_set(&v->host_cpus, "any", hosts, sizeof(hosts)),
                      idset_format(&in_die, cpus, sizeof(cpus)));
    }
}

/* How many instances a cache has, and whom the first serves. */
static void print_cache(const struct topo_plan *plan, const struct topo_plan_cache *c, FILE *out)
{
    uint32_t instances = 0;
    uint32_t mask = (1u << c->apic_shift) - 1;
    char size[32], line[32], list[SHOW_LIST_BYTES];
    struct idset cpus;

    for (size_t i = 0; i < plan->n_vcpus; i++)
        instances += (plan->vcpus[i].apic_id & mask) == 0;
    topo_plan_cache_cpus(plan, c, (struct vcpu_id){ 0 }, &cpus);
    (void)snprintf(line, sizeof(line), "%u B", c->line_bytes);
    (void)fprintf(out, "  %-5s  %9s  %5s  %5u  %8u  %9u  %s\n", show_cache_name(c->level, c->type),
                  show_size(c->size_bytes, size, sizeof(size)), line, c->ways, c->sets, instances,
                  idset_format(&cpus, list, sizeof(list)));
}

static void print_caches(const struct topo_plan *plan, FILE *out, bool colour)
{
    show_heading(out, colour, "CPU caches");
    if (plan->n_caches == 0) {
        (void)fputs("  none is described\n", out);
        return;
    }
    (void)fprintf(out, "  %-5s  %9s  %5s  %5s  %8s  %9s  %s\n", "cache", "size", "line", "ways",
                  "sets", "instances", "the one of CPU 0 serves CPUs");
    for (size_t i = 0; i < plan->n_caches; i++)
        print_cache(plan, &plan->caches[i], out);
}

static void print_links(const struct topo_plan *plan, FILE *out, bool colour)
{
    char rate[32];

    if (plan->links == NULL)
        return;
    show_heading(out, colour, "Links, from the CPUs or the generic initiator of a node to the memory of a node");
    (void)fprintf(out, "  %4s  %4s  %10s  %s\n", "from", "to", "latency", "bandwidth");
    for (size_t i = 0; i < plan->n_nodes * plan->n_nodes; i++) {
        const struct topo_plan_link *l = &plan->links[i];
        char ns[32] = "-";

        if (l->latency_ns == 0 && l->bandwidth_bytes_per_s == 0)
            continue;
        if (l->latency_ns > 0)
            (void)snprintf(ns, sizeof(ns), "%" PRIu64 " ns", l->latency_ns);
        (void)fprintf(out, "  %4zu  %4zu  %10s  %s%s\n", i / plan->n_nodes, i % plan->n_nodes, ns,
                      show_size(l->bandwidth_bytes_per_s, rate, sizeof(rate)),
                      l->bandwidth_bytes_per_s > 0 ? "/s" : "");
    }
}

static void print_notes(const struct topo_plan *plan, FILE *out, bool colour)
{
    if (plan->notes[0] == '\0')
        return;
    show_heading(out, colour, "Notes");
    for (const char *line = plan->notes; *line != '\0';) {
        size_t len = strcspn(line, "\n");

        (void)fprintf(out, "  %.*s\n", (int)len, line);
        line += len + (line[len] == '\n');
    }
}

void topo_plan_print_table(const struct topo_plan *plan, const struct host_topo *host, FILE *out,
                           bool colour)
{
    print_summary(plan, host, out);
    print_nodes(plan, out, colour);
    print_memory(plan, out, colour);
    print_dies(plan, out, colour);
    print_caches(plan, out, colour);
    show_heading(out, colour, "Distances, from row to column");
    show_distances(out, plan->distances, plan->n_nodes, NULL);
    print_links(plan, out, colour);
    print_notes(plan, out, colour);
}
