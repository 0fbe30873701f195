/* SPDX-License-Identifier: Apache-2.0 */
/* `numavisor ctl NAME balloon`: set what is to be in a guest's balloon, see what it gave away. */
#ifndef VMM_CLI_CTL_BALLOON_H
#define VMM_CLI_CTL_BALLOON_H

#include "vmm/cli/cli.h"

/** ctl_balloon() - the command line of `ctl` with the action "balloon". Returns an enum cli_status. */
int ctl_balloon(const struct cli_args *args);

#endif
