/* SPDX-License-Identifier: Apache-2.0 */
/* See print_placement.h and docs/placement.md. */
#include "vmm/cli/print_placement.h"

#include <stdio.h>

#include "vmm/base/macros.h"

enum { LIST_BYTES = 256 };

void print_placement(const struct machine_placement *p, bool colour)
{
    const struct {
        const char *name, *what;
        double cost;
    } terms[] = {
        { "traffic", "accesses between the guest's nodes, by distance", p->traffic },
        { "overload", "more virtual CPUs than CPUs", p->overload },
        { "stranded", "CPUs left without memory, or the reverse", p->stranded },
        { "contention", "crowded and cut caches", p->contention },
        { "broken", "nodes farther apart than the guest is told", p->broken },
        { "together", "", p->total },
    };
    char list[LIST_BYTES];

    printf("\n%sPlaces%s, cost in CPUs%s\n", colour ? "\033[1m" : "",
           p->applied ? "" : " that --pin would choose", colour ? "\033[0m" : "");
    for (size_t i = 0; i < p->n_nodes; i++)
        printf("  node %zu on host node %s\n", i, idset_format(&p->nodes[i], list, sizeof(list)));
    for (size_t i = 0; i < ARRAY_SIZE(terms); i++)
        printf("  %-10s  %9.3f%s%s\n", terms[i].name, terms[i].cost,
               terms[i].what[0] != '\0' ? "  " : "", terms[i].what);
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
