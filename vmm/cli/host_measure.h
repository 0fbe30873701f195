/* SPDX-License-Identifier: Apache-2.0 */
/* `numavisor host --measure`: measure, keep, and show how far it is. */
#ifndef VMM_CLI_HOST_MEASURE_H
#define VMM_CLI_HOST_MEASURE_H

#include "vmm/base/errctx.h"
#include "vmm/topology/host_topo.h"

/**
 * host_measure() - measure the distances of this machine, give them to @host and keep them.
 * Progress goes to stderr where that is a terminal, and at the end a line that says what was
 * measured, what was left out and where it is kept.
 * Return: 0 (also where it could not be kept, which is said), or as measure_run().
 */
int host_measure(struct host_topo *host, struct errctx *ec);

#endif
