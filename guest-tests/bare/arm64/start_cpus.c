/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PSCI: every CPU of the tree starts under its own MPIDR, is off before and after, and starts
 * again; what makes no sense is refused.
 */
#include "guest-tests/bare/lib/arm64/tree.h"
#include "guest-tests/bare/lib/bare.h"

enum { SECONDS = 60, STATE_ON = 0, STATE_OFF = 1, VERSION_MIN = 2, NOWHERE = 0xff };

static struct {
    uint64_t mpidr[MAX_CPUS];
    unsigned n;
} cpus;
static uint64_t seen[MAX_CPUS];
static volatile uint32_t stay;

static void take(const struct tree_node *node, void *arg)
{
    (void)arg;
    if (tree_is(node, "device_type", "cpu") && cpus.n < MAX_CPUS)
        cpus.mpidr[cpus.n++] = tree_cell(node, "reg", 0, 0);
}

static int64_t state_of(uint64_t mpidr)
{
    return psci(PSCI_AFFINITY, mpidr, 0, 0);
}

static void say_hello(unsigned number)
{
    seen[number] = cpu_mpidr();
    barrier();
    while (stay)
        cpu_wait();
}

/* All but the boot CPU, one round. */
static void round_of(const char *name, unsigned before)
{
    unsigned i, refused = 0, twice = 0, on = 0, wrong = 0, left = 0;
    struct deadline late;

    memset(seen, 0xff, sizeof(seen));
    stay = 1;
    barrier();
    for (i = 1; i < cpus.n; i++)
        refused += smp_start(cpus.mpidr[i], i, say_hello) != 0;
    ok(refused == 0, "%s: CPU_ON of %u CPUs (%u refused)", name, cpus.n - 1, refused);
    ok(smp_wait(before + cpus.n - 1, SECONDS), "%s: they arrive", name);
    for (i = 1; i < cpus.n; i++) {
        twice += smp_start(cpus.mpidr[i], i, say_hello) == PSCI_ALREADY_ON;
        on += state_of(cpus.mpidr[i]) == STATE_ON;
    }
    ok(twice == cpus.n - 1 && on == cpus.n - 1, "%s: they are on, and cannot be started", name);
    stay = 0;
    cpu_wake();
    late = deadline_in(SECONDS);
    for (i = 1; i < cpus.n; i++) {
        while (state_of(cpus.mpidr[i]) != STATE_OFF && !deadline_over(&late))
            cpu_pause();
        left += state_of(cpus.mpidr[i]) != STATE_OFF;
        wrong += seen[i] != cpus.mpidr[i];
    }
    ok(left == 0, "%s: CPU_OFF of all (%u are on)", name, left);
    ok(wrong == 0, "%s: each has the MPIDR of its node in the tree (%u have not)", name, wrong);
}

void guest_main(void)
{
    int64_t version = psci(PSCI_VERSION, 0, 0, 0);
    unsigned i, off = 0;

    ok(boot.level == 1, "the boot CPU is at EL%lu", boot.level);
    ok(tree_each(take, NULL) && cpus.n > 0, "the tree names %u CPUs", cpus.n);
    ok(version >> 16 >= 1 || version >= VERSION_MIN, "PSCI is version %ld.%ld", version >> 16,
       version & 0xffff);
    ok(cpus.mpidr[0] == cpu_mpidr(), "the boot CPU is the tree's first");
    for (i = 1; i < cpus.n; i++)
        off += state_of(cpus.mpidr[i]) == STATE_OFF;
    ok(off == cpus.n - 1, "the others are off (%u of %u)", off, cpus.n - 1);
    ok(smp_start(cpus.mpidr[0], 1, say_hello) == PSCI_ALREADY_ON, "the boot CPU is on");
    ok(smp_start((uint64_t)NOWHERE << 16, 1, say_hello) == PSCI_INVALID &&
           state_of((uint64_t)NOWHERE << 16) == PSCI_INVALID,
       "a CPU that is not there is refused");
    ok(psci(0x8400ffff, 0, 0, 0) == PSCI_NOT_SUPPORTED, "an unknown function is refused");
    round_of("first", 0);
    round_of("again", cpus.n - 1);
    tap_done();
}
