/* SPDX-License-Identifier: Apache-2.0 */
/* For tests that have nothing else to do until all vCPUs stand. */
#ifndef VCPU_TEST_GATE_WAIT_H
#define VCPU_TEST_GATE_WAIT_H

#include <sched.h>

#include "vcpu/run_gate.h"

static inline void gate_wait(struct run_gate *gate)
{
    while (!run_gate_is_parked(gate))
        (void)sched_yield();
}

#endif
