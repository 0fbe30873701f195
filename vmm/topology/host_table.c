/* SPDX-License-Identifier: Apache-2.0 */
/* A host as a table for people. */
#include "vmm/topology/show.h"

#include <inttypes.h>
#include <stdlib.h>

#include "vmm/base/macros.h"
#include "vmm/base/units.h"
#include "vmm/topology/host_show.h"
#include "vmm/topology/show_text.h"

static void print_summary(const struct host_topo *host, FILE *out)
{
    uint32_t packages = 0, cores = 0, llcs = 0;
    uint64_t mem = 0;
    char b[32];

    for (size_t i = 0; i < host->n_cpus; i++) {
        packages = MAX(packages, host->cpus[i].package + 1);
        cores = MAX(cores, host->cpus[i].core + 1);
        llcs = MAX(llcs, host->cpus[i].llc + 1);
    }
    for (size_t i = 0; i < host->n_nodes; i++)
        mem += host->nodes[i].mem_bytes;
    (void)fprintf(out, "Host: %s\n", host->source);
    (void)fprintf(out, "nodes %zu, CPUs %zu, cores %u, packages %u, ", host->n_nodes, host->n_cpus,
                  cores, packages);
    if (host->n_caches > 0) /* without any, every CPU counts as a group of its own */
        (void)fprintf(out, "last-level caches %u, ", llcs);
    (void)fprintf(out, "memory %s\n", show_size(mem, b, sizeof(b)));
}

static void print_mem_caches(const struct host_node *n, FILE *out)
{
    char size[32];

    for (uint32_t k = 0; k < n->n_mem_caches; k++)
        (void)fprintf(out, "  %4s  memory-side cache %u: %s, lines of %u bytes, %s, write-%s\n", "",
                      n->mem_cache[k].level,
                      show_size(n->mem_cache[k].size_bytes, size, sizeof(size)),
                      n->mem_cache[k].line_bytes,
                      n->mem_cache[k].direct_mapped ? "direct-mapped" : "indexed",
                      n->mem_cache[k].write_through ? "through" : "back");
}

static void print_nodes(const struct host_topo *host, FILE *out, bool colour)
{
    char mem[32], avail[32], page[32], cpus[SHOW_LIST_BYTES];

    show_heading(out, colour, "Nodes");
    (void)fprintf(out, "  %4s  %10s  %10s  %s\n", "node", "memory", "free", "CPUs");
    for (size_t i = 0; i < host->n_nodes; i++) {
        const struct host_node *n = &host->nodes[i];

        (void)fprintf(out, "  %4u  %10s  %10s  %s\n", n->id.v,
                      show_size(n->mem_bytes, mem, sizeof(mem)),
                      show_size(n->mem_free_bytes, avail, sizeof(avail)),
                      show_set(&n->cpus, "-", cpus, sizeof(cpus)));
        print_mem_caches(n, out);
        for (uint32_t k = 0; k < n->n_pools; k++)
            if (n->pool[k].total_pages > 0)
                (void)fprintf(out, "  %4s  huge pages of %s: %" PRIu64 ", free %" PRIu64 "\n", "",
                              show_size(n->pool[k].page_bytes, page, sizeof(page)),
                              n->pool[k].total_pages, n->pool[k].free_pages);
    }
}

static void print_caches(const struct host_topo *host, FILE *out, bool colour)
{
    char size[32], line[32], list[SHOW_LIST_BYTES];

    show_heading(out, colour, "CPU caches");
    if (host->n_caches == 0)
        (void)fputs("  not known\n", out);
    else
        (void)fprintf(out, "  %-5s  %9s  %5s  %5s  %9s  %s\n", "cache", "size", "line", "ways",
                      "instances", "the first serves CPUs");
    for (size_t i = 0; i < host->n_caches; i++) {
        const struct host_cache *c = &host->caches[i];
        size_t same = 1;

        /* Kinds come together; one line for each run of equal ones. */
        while (i + same < host->n_caches && host->caches[i + same].level == c->level &&
               host->caches[i + same].type == c->type &&
               host->caches[i + same].size_bytes == c->size_bytes &&
               host->caches[i + same].ways == c->ways)
            same++;
        (void)snprintf(line, sizeof(line), "%u B", c->line_bytes);
        (void)fprintf(out, "  %-5s  %9s  %5s  %5u  %9zu  %s\n", show_cache_name(c->level, c->type),
                      show_size(c->size_bytes, size, sizeof(size)), line, c->ways, same,
                      idset_format(&c->cpus, list, sizeof(list)));
        i += same - 1;
    }
}

void host_topo_print_table(const struct host_topo *host, FILE *out, bool colour)
{
    uint32_t *ids = calloc(host->n_nodes, sizeof(*ids));

    print_summary(host, out);
    print_nodes(host, out, colour);
    host_table_kernel(host, out, colour);
    print_caches(host, out, colour);
    host_table_llcs(host, out);
    show_heading(out, colour,
                 host->has_distances ? "Distances, from row to column"
                                     : "Distances are not known, assumed");
    for (size_t i = 0; ids != NULL && i < host->n_nodes; i++)
        ids[i] = host->nodes[i].id.v;
    show_distances(out, host->distances, host->n_nodes, ids); /* positions when out of memory */
    free(ids);
    host_table_measured(host, out, colour);
}
