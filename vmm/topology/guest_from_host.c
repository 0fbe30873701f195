/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See guest_from_host.h. Machines are less regular than a guest can be, and firmware makes
 * mistakes: what does not go is left out in steps until a plan can be made, with a note for each,
 * and what a plan refuses even then is the caller's error.
 */
#include "vmm/topology/guest_from_host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/topology/guest_from_host_parts.h"
#include "vmm/topology/guest_shape.h"
#include "vmm/topology/topo_plan.h"

/* ACPI tells of processors with low APIC ids by numbers of 8 bits: above, only a numbering of our
 * own is sure to be possible (plan_apic.c). */
enum { KEEP_NUMBERS_MAX = 255 };

static uint64_t whole_pages(uint64_t bytes)
{
    return bytes == 0 ? 0 : MAX(bytes / GUEST_PAGE_BYTES, UINT64_C(1)) * GUEST_PAGE_BYTES;
}

static void copy_mem_caches(const struct host_node *from, struct guest_node_spec *to,
                            struct topo_notes *notes)
{
    for (uint32_t i = 0; i < from->n_mem_caches; i++) {
        const struct host_mem_cache *c = &from->mem_cache[i];

        if (to->n_mem_caches == GUEST_MAX_MEM_CACHES || c->size_bytes == 0 ||
            c->size_bytes > to->memory_bytes) {
            topo_note(notes, "Node %u: a memory-side cache of level %u is left out.", from->id.v,
                      c->level);
            continue;
        }
        to->mem_cache[to->n_mem_caches++] = (struct guest_mem_cache_spec){
            .size_bytes = c->size_bytes,
            .line_bytes = c->line_bytes <= UINT16_MAX && (c->line_bytes & (c->line_bytes - 1)) == 0
                              ? c->line_bytes
                              : 0,
            .assoc = c->direct_mapped ? MEM_CACHE_ASSOC_DIRECT : MEM_CACHE_ASSOC_COMPLEX,
            .write = c->write_through ? MEM_CACHE_WRITE_THROUGH : MEM_CACHE_WRITE_BACK,
        };
    }
}

/* Nodes without CPUs yet. */
static int add_nodes(struct from_host *f, struct errctx *ec)
{
    const struct host_topo *host = f->host;
    int r;

    for (size_t i = 0; i < host->n_nodes; i++) {
        const struct host_node *from = &host->nodes[i];
        CLEANUP_FREE struct guest_node_spec *node = calloc(1, sizeof(*node));

        if (node == NULL)
            return errctx_set(ec, ENOMEM, "no memory for a node");
        f->node_of[i] = -1;
        if (idset_empty(&from->cpus) && from->mem_bytes == 0) {
            topo_note(f->notes, "Node %u has neither CPUs nor memory and is left out.",
                      from->id.v);
            continue;
        }
        node->memory_bytes = MIN(whole_pages(from->mem_bytes), GUEST_MAX_MEMORY_BYTES);
        if (node->memory_bytes != from->mem_bytes)
            topo_note(f->notes, "Memory is in whole pages of 2 MiB.");
        copy_mem_caches(from, node, f->notes);
        f->node_of[i] = (int)f->spec->n_nodes;
        if (from->id.v != f->spec->n_nodes)
            topo_note(f->notes, "Node %u is node %zu in the guest, whose nodes have no gaps.",
                      from->id.v, f->spec->n_nodes);
        r = guest_spec_add_node(f->spec, node, ec);
        if (r < 0)
            return r;
    }
    return 0;
}

static int compare_cpus(const void *a, const void *b)
{
    const struct from_host_cpu *x = a, *y = b;
    const uint32_t p[] = { x->socket_rank, x->node,      x->cpu->package, x->cpu->die,
                           x->cpu->llc,    x->cpu->core, x->cpu->thread,  x->cpu->id.v };
    const uint32_t q[] = { y->socket_rank, y->node,      y->cpu->package, y->cpu->die,
                           y->cpu->llc,    y->cpu->core, y->cpu->thread,  y->cpu->id.v };

    for (size_t i = 0; i < ARRAY_SIZE(p); i++)
        if (p[i] != q[i])
            return p[i] < q[i] ? -1 : 1;
    return 0;
}

static int sort_cpus(struct from_host *f, struct errctx *ec)
{
    const struct host_topo *host = f->host;
    uint32_t first_package[GUEST_MAX_VNODES];

    memset(first_package, 0xff, sizeof(first_package));
    f->cpus = calloc(host->n_cpus, sizeof(*f->cpus));
    if (f->cpus == NULL)
        return errctx_set(ec, ENOMEM, "no memory for %zu CPUs", host->n_cpus);
    for (size_t i = 0; i < host->n_cpus; i++) {
        const struct host_cpu *c = &host->cpus[i];

        first_package[c->node] = MIN(first_package[c->node], c->package);
    }
    for (size_t i = 0; i < host->n_cpus; i++) {
        const struct host_cpu *c = &host->cpus[i];

        f->cpus[i] = (struct from_host_cpu){ .socket_rank = first_package[c->node],
                                             .node = (uint32_t)f->node_of[c->node],
                                             .cpu = c };
    }
    qsort(f->cpus, host->n_cpus, sizeof(*f->cpus), compare_cpus);
    return 0;
}

/* Do the machine's own numbers say the same as our order? Then the guest has them, too. */
static bool numbers_fit(const struct from_host *f)
{
    const size_t n = f->host->n_cpus;
    uint32_t lowest = 0;

    if (n > KEEP_NUMBERS_MAX || f->host->cpus[n - 1].id.v != n - 1)
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct from_host_cpu *c = &f->cpus[i];
        bool first = i == 0 || c[-1].node != c->node;

        if (first ? c->cpu->id.v < lowest : c->cpu->id.v <= c[-1].cpu->id.v)
            return false;
        if (first)
            lowest = c->cpu->id.v;
    }
    return true;
}

static void number_cpus(struct from_host *f)
{
    const bool keep = numbers_fit(f);
    bool changed = false;

    for (uint32_t i = 0; i < f->host->n_cpus; i++) {
        const uint32_t id = f->cpus[i].cpu->id.v;

        idset_add(&f->spec->nodes[f->cpus[i].node].cpus, keep ? id : i);
        changed = changed || (!keep && id != i);
    }
    if (changed)
        topo_note(f->notes,
                  "CPUs are numbered anew: node by node, the threads of a core side by side.");
}

/* What is given up, in this order, until there is a plan. */
static bool give_up(struct from_host *f, unsigned step, const struct errctx *why)
{
    struct guest_spec *spec = f->spec;

    switch (step) {
    case 0:
        for (size_t i = 0; i < spec->n_caches; i++) {
            if (spec->caches[i].span_nodes)
                spec->caches[i].cores = 0;
            spec->caches[i].span_nodes = false;
        }
        topo_note(f->notes, "Caches that span nodes are told as one for each die: %s.", why->msg);
        return true;
    case 1:
        for (size_t i = 0; i < spec->n_caches; i++)
            spec->caches[i].cores = 0;
        topo_note(f->notes, "Who shares which cache is not kept: %s.", why->msg);
        return true;
    case 2:
        spec->cores = spec->dies = spec->sockets = 0;
        topo_note(f->notes, "Sockets and dies are not kept, each node is one: %s.", why->msg);
        return true;
    case 3:
        spec->threads = 1;
        topo_note(f->notes, "Threads are told as cores: %s.", why->msg);
        return true;
    default:
        return false;
    }
}

static int settle(struct from_host *f, struct errctx *ec)
{
    static const struct host_topo nowhere = { .source = "no host" };

    for (unsigned step = 0;; step++) {
        struct topo_plan *plan = NULL;
        struct errctx why = { 0 };
        int r = topo_plan_make(f->spec, &nowhere, &plan, &why);

        topo_plan_free(plan);
        if (r == 0)
            return 0;
        if (r == -ENOMEM || !give_up(f, step, &why)) {
            if (ec != NULL)
                *ec = why;
            return r;
        }
    }
}

static int describe(struct from_host *f, struct errctx *ec)
{
    int r = add_nodes(f, ec);

    if (r == 0)
        r = sort_cpus(f, ec);
    if (r < 0)
        return r;
    number_cpus(f);
    r = from_host_shape(f, ec);
    if (r == 0)
        r = from_host_caches(f, ec);
    if (r == 0)
        r = from_host_distances(f, ec);
    return r == 0 ? settle(f, ec) : r;
}

int guest_from_host(const struct host_topo *host, struct guest_spec *ret_spec,
                    struct topo_notes *notes, struct errctx *ec)
{
    struct guest_spec spec = { 0 };
    struct from_host f = { .host = host, .spec = &spec, .notes = notes };
    int r;

    if (host->n_nodes > GUEST_MAX_VNODES)
        return errctx_set(ec, E2BIG, "%zu nodes, a guest has at most %d", host->n_nodes,
                          GUEST_MAX_VNODES);
    if (host->n_cpus > GUEST_MAX_VCPUS)
        return errctx_set(ec, E2BIG, "%zu CPUs, a guest has at most %d", host->n_cpus,
                          GUEST_MAX_VCPUS);
    if (host->n_nodes == 0 || host->n_cpus == 0)
        return errctx_set(ec, EINVAL, "there is no %s in it", host->n_nodes == 0 ? "node" : "CPU");
    r = describe(&f, ec);
    free(f.cpus);
    if (r < 0)
        guest_spec_fini(&spec);
    else
        *ret_spec = spec;
    return r;
}
