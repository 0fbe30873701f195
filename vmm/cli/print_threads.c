/* SPDX-License-Identifier: Apache-2.0 */
/* See print_threads.h. */
#include "vmm/cli/print_threads.h"

#include <stdio.h>

enum { LIST_BYTES = 256 };

static void print_thread(const char *name, const struct machine_thread *t, const char *serves)
{
    char cpus[LIST_BYTES], nodes[LIST_BYTES];

    printf("  %-6s  %-16s  %-8s  %s\n", name,
           idset_empty(&t->host_cpus) ? "any"
                                      : idset_format(&t->host_cpus, cpus, sizeof(cpus)),
           idset_format(&t->vnodes, nodes, sizeof(nodes)), serves);
}

void print_threads(const struct machine_config *config, const struct machine_threads *t,
                   bool colour)
{
    char serves[LIST_BYTES], name[MACHINE_DEVICE_NAME];

    printf("\n%sThreads%s\n  %-6s  %-16s  %-8s  %s\n", colour ? "\033[1m" : "",
           colour ? "\033[0m" : "", "thread", "host CPUs", "nodes", "serves");
    print_thread("main", &t->main, "console, control");
    for (uint32_t i = 0; i < t->n_io; i++) {
        size_t len = 0;

        if (t->io[i].n_devices == 0)
            continue;
        for (size_t d = 0; d < t->n_devices && len < sizeof(serves); d++)
            if (t->device[d] == i)
                len += (size_t)snprintf(serves + len, sizeof(serves) - len, "%s%s",
                                        len > 0 ? ", " : "", machine_device_name(config, d, name));
        (void)snprintf(name, sizeof(name), "io%u", i);
        print_thread(name, &t->io[i], serves);
    }
}
