/* SPDX-License-Identifier: Apache-2.0 */
/* `numavisor ctl NAME move`: begin a move and follow it, cancel it, ask how it is. */
#ifndef VMM_CLI_CTL_MOVE_H
#define VMM_CLI_CTL_MOVE_H

#include "vmm/cli/cli.h"

/**
 * ctl_move() - the command line of `ctl` with the action "move".
 *
 * A move goes on in the machine whether or not anybody follows it; ending this program, by a signal
 * too, changes nothing. Returns an enum cli_status: OK when the node has arrived.
 */
int ctl_move(const struct cli_args *args);

#endif
