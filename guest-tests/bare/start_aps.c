/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every CPU that the MADT lists starts by INIT and start-up IPIs and knows its own APIC id. With
 * "xapic" on the command line all are started at once by the memory-mapped APIC's broadcast, as
 * kvm-unit-tests do it.
 */
#include "guest-tests/bare/lib/x86/acpi.h"
#include "guest-tests/bare/lib/bare.h"

enum { SECONDS_WITHOUT_ARRIVAL = 20 };

static volatile uint32_t arrived_id[MAX_CPUS];
static volatile uint32_t reported;

static void report(unsigned number)
{
    arrived_id[number] = apic_id();
    __atomic_fetch_add(&reported, 1, __ATOMIC_SEQ_CST);
}

struct tally {
    unsigned listed, enabled, missing, twice, leaf_wrong;
    unsigned n_arrived;
};

static void count(const struct acpi_cpu *cpu, void *arg)
{
    struct tally *t = arg;
    unsigned i, hits = 0;

    t->listed++;
    if (!cpu->enabled)
        return;
    t->enabled++;
    for (i = 0; i <= t->n_arrived; i++)
        hits += arrived_id[i] == cpu->apic_id;
    t->missing += hits == 0;
    t->twice += hits > 1;
}

void guest_main(void)
{
    struct tally t = { 0 };
    struct deadline d = deadline_in(SECONDS_WITHOUT_ARRIVAL);
    unsigned called;

    arrived_id[0] = apic_id();
    if (!ok(acpi_table("APIC") != NULL, "there is a MADT"))
        tap_done();
    called = text_has(boot.cmdline, "xapic") ? smp_broadcast(report) : smp_start_all(report);
    smp_wait(called, SECONDS_WITHOUT_ARRIVAL);
    while (reported < smp_arrived() && !deadline_over(&d))
        cpu_pause();
    t.n_arrived = smp_arrived();
    acpi_each_cpu(count, &t);
    fact("cpus.enabled=%u", t.enabled);
    fact("cpus.arrived=%u", t.n_arrived + 1);
    ok(t.n_arrived == called, "all %u other CPUs arrived", called);
    ok(t.missing == 0, "no APIC id of the MADT is missing (%u are)", t.missing);
    ok(t.twice == 0, "no APIC id is taken by two CPUs (%u are)", t.twice);
    tap_done();
}
