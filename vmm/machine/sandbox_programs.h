/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The finished seccomp programs. The build makes them: vmm/tools/sandbox_compile.c has libseccomp
 * compile the lists of sandbox_rules.c, one program for each combination, and writes them down as
 * an array. So a start neither loads libseccomp nor waits for it (docs/decisions/start-up.md).
 */
#ifndef VMM_MACHINE_SANDBOX_PROGRAMS_H
#define VMM_MACHINE_SANDBOX_PROGRAMS_H

#include <linux/filter.h>
#include <stdbool.h>

#include "vmm/machine/sandbox_rules.h"

struct sandbox_program {
    const struct sock_filter *insns; /* compare with SANDBOX_OWN_PID in one place */
    unsigned short n;
};

/* By role, user network, vsock; the same for a vCPU whatever the devices are. */
extern const struct sandbox_program sandbox_programs[SANDBOX_ROLES][2][2];

#endif
