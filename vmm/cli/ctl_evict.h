/* SPDX-License-Identifier: Apache-2.0 */
/* `numavisor ctl NAME evict`: have memory of a virtual node taken away, or ask how that is; and
 * `numavisor ctl NAME target`: have that happen by itself. */
#ifndef VMM_CLI_CTL_EVICT_H
#define VMM_CLI_CTL_EVICT_H

#include "vmm/cli/cli.h"

/**
 * ctl_evict() - the command line of `ctl` with the action "evict".
 *
 * It goes on in the machine whether or not anybody waits for it. Returns an enum cli_status: OK unless
 * it failed; that less could be had than was asked for is no failure.
 */
int ctl_evict(const struct cli_args *args);

/** ctl_target() - the same for "target": how much of a virtual node's memory may stay. Returns at once. */
int ctl_target(const struct cli_args *args);

#endif
