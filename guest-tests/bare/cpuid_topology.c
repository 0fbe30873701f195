/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Topology and cache leaves, read on every CPU and printed as facts under its APIC id. What the
 * leaves must agree on among themselves is checked here, what they must say is compared by the
 * host with the plan.
 */
#include "guest-tests/bare/lib/x86/acpi.h"
#include "guest-tests/bare/lib/bare.h"

enum { MAX_LEVELS = 6, MAX_CACHES = 8, KVM_LEAF = 0x40000000 };
enum { LEAF1_ECX_DEADLINE = 1u << 24, LEAF1_ECX_HYPERVISOR = 1u << 31 };

/* Raw leaves of one CPU. */
struct leaves {
    uint32_t apic_id; /* of the APIC, not of a leaf */
    struct cpuid_regs l1, ext[MAX_LEVELS], v2[MAX_LEVELS], amd26[MAX_LEVELS], amd1e, amd8;
    struct cpuid_regs cache[MAX_CACHES];
    uint32_t n_ext, n_v2, n_amd26, n_caches;
};

static struct leaves per_cpu[MAX_CPUS];
static uint32_t max_basic, max_extended, cache_leaf;
static volatile uint32_t collected;

/* Levels of leaf 0xB, 0x1F or 0x80000026: up to the one whose type (ECX[15:8]) is 0. */
static uint32_t collect_levels(uint32_t leaf, struct cpuid_regs *r)
{
    uint32_t n;

    for (n = 0; n < MAX_LEVELS; n++) {
        r[n] = cpuid(leaf, n);
        if ((r[n].ecx >> 8 & 0xff) == 0)
            break;
    }
    return n;
}

static void collect(unsigned number)
{
    struct leaves *l = &per_cpu[number];

    l->apic_id = apic_id();
    l->l1 = cpuid(1, 0);
    if (max_basic >= 0xb)
        l->n_ext = collect_levels(0xb, l->ext);
    if (max_basic >= 0x1f)
        l->n_v2 = collect_levels(0x1f, l->v2);
    if (max_extended >= 0x80000008)
        l->amd8 = cpuid(0x80000008, 0);
    if (cache_leaf == 0x8000001d) {
        l->amd1e = cpuid(0x8000001e, 0);
        if (max_extended >= 0x80000026)
            l->n_amd26 = collect_levels(0x80000026, l->amd26);
    }
    for (l->n_caches = 0; cache_leaf && l->n_caches < MAX_CACHES; l->n_caches++) {
        l->cache[l->n_caches] = cpuid(cache_leaf, l->n_caches);
        if ((l->cache[l->n_caches].eax & 31) == 0)
            break;
    }
    __atomic_fetch_add(&collected, 1, __ATOMIC_SEQ_CST);
}

static void print_levels(uint32_t id, const char *name, const struct cpuid_regs *r, uint32_t n)
{
    uint32_t i;

    for (i = 0; i < n; i++)
        fact("cpu.%u.%s.%u=type:%u,shift:%u,count:%u,id:%u", id, name, i, r[i].ecx >> 8 & 0xff,
             r[i].eax & 31, r[i].ebx & 0xffff, r[i].edx);
}

static void print_cpu(const struct leaves *l)
{
    uint32_t i;

    fact("cpu.%u.leaf1=id:%u,logical:%u,htt:%u", l->apic_id, l->l1.ebx >> 24, l->l1.ebx >> 16 & 255,
         l->l1.edx >> 28 & 1);
    print_levels(l->apic_id, "0xb", l->ext, l->n_ext);
    print_levels(l->apic_id, "0x1f", l->v2, l->n_v2);
    print_levels(l->apic_id, "0x80000026", l->amd26, l->n_amd26);
    if (cache_leaf == 0x8000001d)
        fact("cpu.%u.0x8000001e=id:%u,core:%u,threads:%u,node:%u,nodes:%u", l->apic_id,
             l->amd1e.eax, l->amd1e.ebx & 255, (l->amd1e.ebx >> 8 & 255) + 1, l->amd1e.ecx & 255,
             (l->amd1e.ecx >> 8 & 7) + 1);
    for (i = 0; i < l->n_caches; i++) {
        const struct cpuid_regs *c = &l->cache[i];
        uint64_t line = (c->ebx & 0xfff) + 1, parts = (c->ebx >> 12 & 0x3ff) + 1;
        uint64_t ways = (c->ebx >> 22) + 1, sets = (uint64_t)c->ecx + 1;

        fact("cpu.%u.cache.%u=level:%u,type:%u,size:%lu,line:%lu,ways:%lu,sharing:%u", l->apic_id,
             i, c->eax >> 5 & 7, c->eax & 31, line * parts * ways * sets, line, ways,
             (c->eax >> 14 & 0xfff) + 1);
    }
}

/* The id in every level of a leaf is the APIC's own, and shifts and counts grow. */
static bool levels_agree(const struct cpuid_regs *r, uint32_t n, uint32_t id)
{
    uint32_t i;
    bool good = true;

    for (i = 0; i < n; i++) {
        good &= r[i].edx == id && (r[i].ecx & 0xff) == i;
        if (i > 0)
            good &= (r[i].eax & 31) >= (r[i - 1].eax & 31);
    }
    return good;
}

static void check_cpu(const struct leaves *l, unsigned *ret_bad)
{
    bool good = (l->l1.ebx >> 24) == (l->apic_id & 255);

    good &= levels_agree(l->ext, l->n_ext, l->apic_id);
    good &= levels_agree(l->v2, l->n_v2, l->apic_id);
    good &= levels_agree(l->amd26, l->n_amd26, l->apic_id);
    if (cache_leaf == 0x8000001d)
        good &= l->amd1e.eax == l->apic_id;
    if (!good)
        note("APIC id %u: its leaves name another id, or their levels are out of order",
             l->apic_id);
    *ret_bad += !good;
}

static void hypervisor(void)
{
    struct cpuid_regs r = cpuid(KVM_LEAF, 0);
    char name[13] = { 0 };

    memcpy(name, &r.ebx, 4);
    memcpy(name + 4, &r.ecx, 4);
    memcpy(name + 8, &r.edx, 4);
    ok((per_cpu[0].l1.ecx & LEAF1_ECX_HYPERVISOR) != 0, "the hypervisor bit is set");
    fact("kvm.signature=%s", name);
    ok(memcmp(name, "KVMKVMKVM", 9) == 0, "leaf 0x40000000 names KVM");
    r = cpuid(KVM_LEAF + 1, 0);
    fact("kvm.features=%x", r.eax);
    ok((r.eax & 1u << 3) != 0, "kvmclock is offered (KVM_FEATURE_CLOCKSOURCE2)");
    fact("kvm.msi-ext-dest-id=%u", r.eax >> 15 & 1);
    fact("kvm.tsc-stable=%u", r.eax >> 24 & 1);
    ok((per_cpu[0].l1.ecx & 1u << 21) != 0, "x2APIC is offered");
    ok((per_cpu[0].l1.ecx & LEAF1_ECX_DEADLINE) != 0, "the TSC deadline timer is offered");
}

void guest_main(void)
{
    struct cpuid_regs r = cpuid(0, 0);
    unsigned called, i, bad = 0, n;
    bool amd;

    max_basic = r.eax;
    amd = r.ebx == 0x68747541 || r.ebx == 0x6f677948; /* "Auth", "Hygo" */
    max_extended = cpuid(0x80000000, 0).eax;
    cache_leaf = amd ? (max_extended >= 0x8000001e ? 0x8000001d : 0) : (max_basic >= 4 ? 4 : 0);
    collect(0);
    called = smp_start_all(collect);
    smp_wait(called, 20);
    n = smp_arrived();
    for (i = 0; i < 1000000 && collected < n + 1; i++)
        cpu_pause();
    ok(collected == called + 1, "every CPU read its leaves (%u of %u)", collected, called + 1);
    fact("vendor=%s", amd ? "amd" : "intel");
    fact("cpus=%u", n + 1);
    for (i = 0; i <= n; i++)
        print_cpu(&per_cpu[i]);
    for (i = 0; i <= n; i++)
        check_cpu(&per_cpu[i], &bad);
    ok(bad == 0, "on every CPU its leaves name its own APIC id");
    ok(per_cpu[0].n_ext > 0, "leaf 0xB is there");
    ok(per_cpu[0].n_caches > 0, "there are cache leaves");
    hypervisor();
    tap_done();
}
