/* SPDX-License-Identifier: Apache-2.0 */
/* What a topology could not keep, for people. */
#ifndef VMM_CLI_PRINT_TOPOLOGY_H
#define VMM_CLI_PRINT_TOPOLOGY_H

#include "vmm/topology/topo_notes.h"

/** print_topology_notes() - each sentence on a line of its own on stderr, after "numavisor: note: ". */
void print_topology_notes(const struct topo_notes *notes);

#endif
