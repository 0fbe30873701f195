/* SPDX-License-Identifier: Apache-2.0 */
/* `numavisor ctl NAME grow|shrink node=N by=SIZE`: plug memory into a virtual node, or out of it. */
#ifndef VMM_CLI_CTL_PLUG_H
#define VMM_CLI_CTL_PLUG_H

#include <stdbool.h>

#include "vmm/cli/cli.h"

/** ctl_plug() - the command line of `ctl` with the action "grow", or "shrink". Returns an enum
 *  cli_status: OK when all of it was delivered. */
int ctl_plug(const struct cli_args *args, bool grow);

#endif
