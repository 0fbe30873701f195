/* SPDX-License-Identifier: Apache-2.0 */
/* The threads beside the vCPUs, as `plan` shows them. */
#ifndef VMM_CLI_PRINT_THREADS_H
#define VMM_CLI_PRINT_THREADS_H

#include <stdbool.h>

#include "vmm/machine/machine_threads.h"

void print_threads(const struct machine_config *config, const struct machine_threads *threads,
                   bool colour);

#endif
