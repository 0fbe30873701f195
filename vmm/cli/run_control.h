/* SPDX-License-Identifier: Apache-2.0 */
/* What the control socket of `numavisor run` asks, in the words of the machine. */
#ifndef VMM_CLI_RUN_CONTROL_H
#define VMM_CLI_RUN_CONTROL_H

#include "vmm/cli/run_share.h"
#include "vmm/machine/control.h"

struct machine;

struct run_control {
    struct machine *machine;
    const struct run_share *share;
};

/** run_control_ops - ctx: a struct run_control, filled before the loop runs. */
extern const struct control_ops run_control_ops;

#endif
