/* SPDX-License-Identifier: Apache-2.0 */
/* `numavisor ctl NAME shrink node=N by=SIZE`. */
#ifndef VMM_CLI_CTL_SHRINK_H
#define VMM_CLI_CTL_SHRINK_H

#include "vmm/cli/commands.h"

/** ctl_shrink() - run it. Return: the exit status. */
int ctl_shrink(const struct cli_args *args);

#endif
