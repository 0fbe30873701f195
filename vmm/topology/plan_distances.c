/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Distances (ACPI 6.5, 5.2.17): a partial list is completed. Pure.
 */
#include "vmm/topology/plan_parts.h"

void plan_distances_fill(const struct guest_spec *spec, struct topo_plan *plan)
{
    uint32_t *d = plan->distances;
    size_t n = plan->n_nodes, assumed = 0, mirrored = 0;

    for (size_t i = 0; i < spec->n_distances; i++)
        d[spec->distances[i].from * n + spec->distances[i].to] = spec->distances[i].value;
    for (size_t i = 0; i < spec->n_distances; i++) {
        const struct guest_distance_spec *said = &spec->distances[i];

        if (d[said->to * n + said->from] != 0)
            continue;
        d[said->to * n + said->from] = said->value;
        mirrored++;
    }
    for (size_t i = 0; i < n * n; i++) {
        if (d[i] != 0)
            continue;
        d[i] = i / n == i % n ? GUEST_DISTANCE_LOCAL : GUEST_DISTANCE_REMOTE;
        assumed += i / n != i % n;
    }
    if (mirrored > 0)
        plan_note(plan, "%zu of %zu distance%s %s for both.", mirrored, spec->n_distances,
                  spec->n_distances == 1 ? "" : "s",
                  mirrored == 1 ? "was given for one direction and holds"
                                : "were given for one direction and hold");
    if (assumed > 0 && spec->n_distances > 0)
        plan_note(plan, "%zu of %zu distances between nodes %s not given and %s %d.", assumed,
                  n * n - n, assumed == 1 ? "was" : "were", assumed == 1 ? "is" : "are",
                  GUEST_DISTANCE_REMOTE);
}
