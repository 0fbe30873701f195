/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A picture of where a guest's nodes are on their host, and of what the places cost: the terms of
 * docs/placement.md. Pure but for the FILE, which is the caller's.
 */
#ifndef VMM_TOPOLOGY_PLACES_SVG_H
#define VMM_TOPOLOGY_PLACES_SVG_H

#include <stdbool.h>
#include <stdio.h>

#include "vmm/base/idset.h"
#include "vmm/topology/host_topo.h"
#include "vmm/topology/topo_plan.h"

struct places_term {
    const char *name, *what; /* borrowed */
    double cost;             /* in CPUs */
};

struct places {
    const struct idset *nodes; /* per virtual node: host nodes, the kernel's numbers */
    const struct places_term *terms;
    size_t n_terms;
    double total, bound; /* no places cost less than @bound */
    bool proved;         /* nor less than these */
    bool kept;           /* what the guest is told of its distances holds */
    bool applied;        /* the plan follows it */
};

/** places_write_svg() - host nodes with the virtual nodes on them and the CPUs that these want, and
 * a bar for each term. Light background, no fonts or scripts from elsewhere. Write errors are for
 *  ferror(@out). */
void places_write_svg(const struct places *places, const struct topo_plan *plan,
                      const struct host_topo *host, FILE *out);

#endif
