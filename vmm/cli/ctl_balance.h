/* SPDX-License-Identifier: Apache-2.0 */
/* `numavisor ctl NAME balance [off|advise|on]`: how rebalancing stands. */
#ifndef VMM_CLI_CTL_BALANCE_H
#define VMM_CLI_CTL_BALANCE_H

#include "vmm/cli/cli.h"

/** ctl_balance() - returns an enum cli_status. */
int ctl_balance(const struct cli_args *args);

#endif
