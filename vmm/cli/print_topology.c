/* SPDX-License-Identifier: Apache-2.0 */
/* See print_topology.h. */
#include "vmm/cli/print_topology.h"

#include <stdio.h>
#include <string.h>

void print_topology_notes(const struct topo_notes *notes)
{
    for (const char *at = notes->text; *at != '\0';) {
        const int len = (int)strcspn(at, "\n");

        (void)fprintf(stderr, "numavisor: note: %.*s\n", len, at);
        at += len + (at[len] == '\n');
    }
}
