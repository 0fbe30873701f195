/* SPDX-License-Identifier: Apache-2.0 */
/* Starting CPUs, and time by the virtual counter, whose frequency it tells. */
#include "guest-tests/bare/lib/bare.h"

extern const char ap_start[];

static void (*ap_fn)(unsigned number);

void ap_entry(unsigned number);

void ap_entry(unsigned number)
{
    if (!gic_cpu_on()) {
        out("not ok - no redistributor is MPIDR %lx's\n", cpu_mpidr());
        exit_with(1);
    }
    smp_arrive();
    ap_fn(number);
    (void)psci(PSCI_OFF, 0, 0, 0);
}

int64_t smp_start(uint64_t mpidr, unsigned number, void (*fn)(unsigned number))
{
    ap_fn = fn;
    barrier();
    return psci(PSCI_ON, mpidr, phys(ap_start), number);
}

struct deadline deadline_in(unsigned seconds)
{
    return (struct deadline){ .last = sys_read("cntvct_el0"), .left = seconds };
}

bool deadline_over(struct deadline *d)
{
    d->polls++;
    return sys_read("cntvct_el0") - d->last > d->left * sys_read("cntfrq_el0");
}
