/* SPDX-License-Identifier: Apache-2.0 */
/* Counting CPUs that came up. */
#include "guest-tests/bare/lib/bare.h"

static volatile uint32_t ap_up;

void smp_arrive(void)
{
    __atomic_fetch_add(&ap_up, 1, __ATOMIC_SEQ_CST);
}

unsigned smp_arrived(void)
{
    return __atomic_load_n(&ap_up, __ATOMIC_SEQ_CST);
}

bool smp_wait(unsigned n, unsigned seconds)
{
    unsigned seen = smp_arrived();
    struct deadline d = deadline_in(seconds);

    while (smp_arrived() < n) {
        if (smp_arrived() != seen) {
            seen = smp_arrived();
            d = deadline_in(seconds);
        }
        if (deadline_over(&d))
            return false;
        cpu_pause();
    }
    return true;
}
