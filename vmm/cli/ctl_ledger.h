/* SPDX-License-Identifier: Apache-2.0 */
/* `numavisor ctl NAME ledger`: what the guest was told, what is real, as table, JSON and picture. */
#ifndef VMM_CLI_CTL_LEDGER_H
#define VMM_CLI_CTL_LEDGER_H

#include "vmm/cli/cli.h"

/** ctl_ledger() - the command line of `ctl` with the action "ledger". Returns an enum cli_status: OK
 *  whatever the ledger says. */
int ctl_ledger(const struct cli_args *args);

#endif
