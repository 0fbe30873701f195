/* SPDX-License-Identifier: Apache-2.0 */
/* Why nodes are where they are, for people and for tools. */
#ifndef VMM_CLI_PRINT_PLACEMENT_H
#define VMM_CLI_PRINT_PLACEMENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "vmm/machine/machine_plan.h"

/** print_placement() - on standard output. @colour: terminal escapes for the heading. */
void print_placement(const struct machine_placement *placement, bool colour);

/** print_placement_svg() - as a picture (places_svg.h); write errors are for ferror(@out). */
void print_placement_svg(const struct machine_placement *placement, const struct topo_plan *plan,
                         const struct host_topo *host, FILE *out);

/**
 * print_placement_json() - { "applied", "nodes": [list of host nodes], "terms": { "traffic",
 * "overload", "stranded", "contention", "broken" }, "total", "bound", "proved", "kept",
 * "expanded" }, costs in CPUs. Return: a new reference, or NULL without memory.
 */
json_t *print_placement_json(const struct machine_placement *placement);

#endif
