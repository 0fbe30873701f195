/* SPDX-License-Identifier: Apache-2.0 */
/* See print_share.h and docs/placement.md. */
#include "vmm/cli/print_share.h"

#include <inttypes.h>
#include <stdio.h>

#include "vmm/machine/cpu_group.h"

enum { MILLI = 1000 };

static void print_keeper(const struct guest_cpu_share *s)
{
    struct errctx why = { 0 };

    if (cpu_group_possible("", &why) == 0)
        printf("  kept by   a cgroup of the machine's own\n");
    else
        printf("  kept by   %s%s%s: %s\n", s->max_milli > 0 ? "the machine itself" : "",
               s->max_milli > 0 && s->weight + s->reserve_milli > 0 ? ", " : "",
               s->weight + s->reserve_milli > 0 ? "nice values" : "", why.msg);
}

void print_share(const struct machine_config *config, bool here, bool colour)
{
    const struct guest_cpu_share *s = &config->spec.share;
    const bool any = s->weight > 0 || s->max_milli > 0 || s->reserve_milli > 0;

    if (!any && !config->has_halt_poll)
        return;
    printf("\n%sCPU time%s\n", colour ? "\033[1m" : "", colour ? "\033[0m" : "");
    if (s->weight > 0)
        printf("  weight    %" PRIu32 ", others have 100\n", s->weight);
    if (s->max_milli > 0)
        printf("  at most   %g CPUs\n", (double)s->max_milli / MILLI);
    if (s->reserve_milli > 0)
        printf("  reserved  %g CPUs\n", (double)s->reserve_milli / MILLI);
    if (any && here)
        print_keeper(s);
    if (config->has_halt_poll)
        printf("  polling   %" PRIu64 " ns for a CPU that halted\n", config->halt_poll_ns);
}
