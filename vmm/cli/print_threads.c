/* SPDX-License-Identifier: Apache-2.0 */
/* See print_threads.h. */
#include "vmm/cli/print_threads.h"

#include <stdio.h>

enum { LIST_BYTES = 256 };

static void print_thread(const char *name, const struct machine_thread *t, const char *serves)
{
    char cpus[LIST_BYTES], nodes[LIST_BYTES];

    printf("  %-7s  %-16s  %-8s  %s\n", name,
           idset_empty(&t->host_cpus) ? "any"
                                      : idset_format(&t->host_cpus, cpus, sizeof(cpus)),
           idset_format(&t->vnodes, nodes, sizeof(nodes)), serves);
}

/* What I/O thread @i serves; the node of each device where they are on several. */
static const char *format_devices(const struct machine_config *config,
                                  const struct machine_threads *t, uint32_t i, char *buf,
                                  size_t size)
{
    const bool several = idset_count(&t->io[i].vnodes) > 1;
    char name[MACHINE_DEVICE_NAME];
    size_t len = 0;

    buf[0] = '\0';
    for (size_t d = 0; d < t->n_devices && len < size; d++) {
        if (t->device[d] != i)
            continue;
        len += (size_t)snprintf(buf + len, size - len, "%s%s", len > 0 ? ", " : "",
                                machine_device_name(config, d, name));
        if (several && len < size)
            len += (size_t)snprintf(buf + len, size - len, " on node %u",
                                    machine_device_vnode(config, d));
    }
    return buf;
}

void print_threads(const struct machine_config *config, const struct machine_threads *t,
                   bool colour)
{
    char serves[4 * LIST_BYTES], name[MACHINE_THREAD_NAME];

    printf("\n%sThreads%s\n  %-7s  %-16s  %-8s  %s\n", colour ? "\033[1m" : "",
           colour ? "\033[0m" : "", "thread", "host CPUs", "nodes", "serves");
    print_thread("main", &t->main, "console, control");
    for (uint32_t i = 0; i < t->n_io; i++) {
        if (t->io[i].n_devices == 0)
            continue;
        (void)machine_thread_name(t, i, name);
        print_thread(name, &t->io[i], format_devices(config, t, i, serves, sizeof(serves)));
    }
}
