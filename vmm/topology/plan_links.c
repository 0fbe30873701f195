/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links as the guest will read them (ACPI 6.5, 5.2.28.4). Pure.
 *
 * The HMAT has 16 bits for each value and one unit for all latencies, one for all bandwidths.
 * The unit is the greatest common divisor of what was asked, so values are exact whenever the
 * largest is at most GUEST_LINK_ENTRY_MAX units; otherwise it is the smallest unit that lets the
 * largest fit, and every value is rounded to a multiple. The plan holds the rounded values.
 */
#include <inttypes.h>

#include "vmm/base/macros.h"
#include "vmm/topology/plan_parts.h"

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* guest_spec_check() keeps values below 2^52, and 0 means that nothing was said. */
static uint64_t round_to(uint64_t value, uint64_t unit)
{
    uint64_t entry = (value + unit / 2) / unit;

    return MIN(entry, (uint64_t)GUEST_LINK_ENTRY_MAX) * unit;
}

static uint64_t latency(const struct guest_link_spec *l)
{
    return l->latency_ns;
}

/* In whole MiB/s, the least that the table can say. */
static uint64_t bandwidth(const struct guest_link_spec *l)
{
    return (l->bandwidth_bytes_per_s + MIB / 2) / MIB;
}

static uint64_t common_unit(const struct guest_spec *spec,
                            uint64_t (*value)(const struct guest_link_spec *l))
{
    uint64_t unit = 0, max = 0;

    for (size_t i = 0; i < spec->n_links; i++) {
        unit = gcd(unit, value(&spec->links[i]));
        max = MAX(max, value(&spec->links[i]));
    }
    if (unit != 0 && max / unit > GUEST_LINK_ENTRY_MAX)
        unit = max / GUEST_LINK_ENTRY_MAX + (max % GUEST_LINK_ENTRY_MAX != 0);
    return unit;
}

void plan_links_fill(const struct guest_spec *spec, struct topo_plan *plan)
{
    uint64_t ns = common_unit(spec, latency), mib = common_unit(spec, bandwidth);
    bool rounded_ns = false, rounded_mib = false;

    plan->latency_unit_ns = ns;
    plan->bandwidth_unit_mib = mib;
    for (size_t i = 0; i < spec->n_links; i++) {
        const struct guest_link_spec *said = &spec->links[i];
        struct topo_plan_link *l = &plan->links[said->from * plan->n_nodes + said->to];

        if (said->latency_ns != 0)
            l->latency_ns = round_to(said->latency_ns, ns);
        if (said->bandwidth_bytes_per_s != 0)
            l->bandwidth_bytes_per_s = round_to(bandwidth(said), mib) * MIB;
        rounded_ns |= l->latency_ns != said->latency_ns;
        rounded_mib |= l->bandwidth_bytes_per_s != said->bandwidth_bytes_per_s;
    }
    if (rounded_ns)
        plan_note(plan,
                  "Latencies are rounded to multiples of %" PRIu64
                  " ns: the guest's table has 16 bits for each.",
                  ns);
    if (rounded_mib)
        plan_note(plan,
                  "Bandwidths are rounded to multiples of %" PRIu64
                  " MiB/s: the guest's table has 16 bits for each.",
                  mib);
}
