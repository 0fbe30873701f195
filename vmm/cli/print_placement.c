/* SPDX-License-Identifier: Apache-2.0 */
/* See print_placement.h and docs/placement.md. */
#include "vmm/cli/print_placement.h"

#include <stdio.h>

#include "vmm/base/units.h"
#include "vmm/topology/places_svg.h"

enum { LIST_BYTES = 256 };

/* One line for each reason; a dash where no number of nodes would do. */
static void print_sized(const struct guest_auto *w, bool colour)
{
    const char *cpus = w->by_threads ? "hardware threads" : "cores";
    char guest[32], host[32], a[16] = "-", b[16] = "-";

    if (w->by_cpus > 0)
        (void)snprintf(a, sizeof(a), "%u", w->by_cpus);
    if (w->by_memory > 0)
        (void)snprintf(b, sizeof(b), "%u", w->by_memory);
    printf("\n%sNodes that the host suggests%s\n", colour ? "\033[1m" : "",
           colour ? "\033[0m" : "");
    printf("  by CPUs    %4s  for %u %s, where a host node has up to %u\n", a, w->cpus, cpus,
           w->host_cpus);
    printf("  by memory  %4s  for %s, where a host node has up to %s %s\n", b,
           units_format_human(w->memory_bytes, guest, sizeof(guest)),
           units_format_human(w->host_memory_bytes, host, sizeof(host)),
           w->by_total ? "in all" : "free");
    printf("  together   %4u%s\n", w->nodes,
           w->too_large ? "  as many as the host has: the guest is larger than it" : "");
}

enum { TERMS = 5 };

static void fill_terms(const struct machine_placement *p, struct places_term terms[static TERMS])
{
    terms[0] = (struct places_term){ "traffic", "accesses between the guest's nodes, by distance",
                                     p->traffic };
    terms[1] = (struct places_term){ "overload", "more virtual CPUs than CPUs", p->overload };
    terms[2] = (struct places_term){ "stranded", "CPUs left without memory, or the reverse",
                                     p->stranded };
    terms[3] = (struct places_term){ "contention", "crowded and cut caches", p->contention };
    terms[4] = (struct places_term){ "broken", "nodes farther apart than the guest is told",
                                     p->broken };
}

void print_placement_svg(const struct machine_placement *p, const struct topo_plan *plan,
                         const struct host_topo *host, FILE *out)
{
    struct places_term terms[TERMS];
    const struct places places = { .nodes = p->nodes,
                                   .terms = terms,
                                   .n_terms = TERMS,
                                   .total = p->total,
                                   .bound = p->bound,
                                   .proved = p->proved,
                                   .kept = p->kept,
                                   .applied = p->applied };

    fill_terms(p, terms);
    places_write_svg(&places, plan, host, out);
}

void print_placement(const struct machine_placement *p, bool colour)
{
    struct places_term terms[TERMS];
    char list[LIST_BYTES];

    if (p->sized.nodes > 0)
        print_sized(&p->sized, colour);
    printf("\n%sPlaces%s, cost in CPUs%s\n", colour ? "\033[1m" : "",
           p->applied ? "" : " that --pin would choose", colour ? "\033[0m" : "");
    for (size_t i = 0; i < p->n_nodes; i++)
        printf("  node %zu on host node %s\n", i, idset_format(&p->nodes[i], list, sizeof(list)));
    fill_terms(p, terms);
    for (size_t i = 0; i < TERMS; i++)
        printf("  %-10s  %9.3f  %s\n", terms[i].name, terms[i].cost, terms[i].what);
    printf("  %-10s  %9.3f\n", "together", p->total);
    if (p->proved)
        printf("  No other places cost less: proved.\n");
    else
        printf("  No places cost less than %.3f; whether any cost less than these is not known.\n",
               p->bound);
    printf("  What the guest is told of its distances %s on this host.\n",
           p->kept ? "holds" : "does not hold");
}

json_t *print_placement_json(const struct machine_placement *p)
{
    json_t *nodes = json_array();
    char list[LIST_BYTES];

    for (size_t i = 0; i < p->n_nodes; i++) {
        json_t *node = json_string(idset_format(&p->nodes[i], list, sizeof(list)));

        if (json_array_append_new(nodes, node) < 0) {
            json_decref(nodes);
            return NULL;
        }
    }
    return json_pack("{sb so s{sf sf sf sf sf} sf sf sb sb si}", "applied", p->applied, "nodes",
                     nodes, "terms", "traffic", p->traffic, "overload", p->overload, "stranded",
                     p->stranded, "contention", p->contention, "broken", p->broken, "total",
                     p->total, "bound", p->bound, "proved", p->proved, "kept", p->kept, "expanded",
                     (int)p->expanded);
}
