/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The leaves that describe topology and caches are dropped from KVM's table and written anew
 * from the plan; taking any of them from the host would let the host's sharing leak into a
 * guest whose nodes are cut differently.
 */
#include "vcpu/x86/cpuid.h"

#include <errno.h>
#include <linux/kvm_para.h>
#include <stdlib.h>
#include <string.h>

#include "vcpu/x86/cpuid_features.h"
#include "vmm/base/checked.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/topology/topo_limits.h"

enum {
    CPUID_EXTRA = 64, /* room for the leaves that we add */
    CPUID_1_ECX_X2APIC = 1u << 21,
    CPUID_1_ECX_TSC_DEADLINE = 1u << 24,
    CPUID_1_EDX_HTT = 1u << 28,
    CPUID_EXT1_ECX_CMP_LEGACY = 1u << 1,
    CPUID_EXT1_ECX_TOPOEXT = 1u << 22,
    CPUID_EXT7_EBX_OVERFLOW_RECOV = 1u << 0,
    CPUID_EXT7_EBX_SUCCOR = 1u << 1,
    LEVEL_SMT = 1, /* leaves 0xB and 0x1F */
    LEVEL_CORE = 2,
    LEVEL_DIE = 5,
    AMD_LEVEL_CORE = 1, /* leaf 0x80000026 */
    AMD_LEVEL_COMPLEX = 2,
    AMD_LEVEL_DIE = 3,
    AMD_LEVEL_SOCKET = 4,
};
#define CPUID_1_ECX_HYPERVISOR   (1u << 31)
#define CPUID_7_EDX_AMX_BF16     (1u << 22)
#define CPUID_7_EDX_AMX_TILE     (1u << 24)
#define CPUID_7_EDX_AMX_INT8     (1u << 25)
#define CPUID_7_1_EAX_AMX_FP16   (1u << 21)
#define CPUID_7_1_EDX_AMX_COMPLEX (1u << 8)
#define CPUID_D_1_EAX_XFD        (1u << 4)
#define XSTATE_TILES             (3u << 17) /* state components 17 and 18 */

struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *table, uint32_t function, uint32_t index)
{
    for (uint32_t i = 0; i < table->nent; i++)
        if (table->entries[i].function == function && table->entries[i].index == index)
            return &table->entries[i];
    return NULL;
}

static const struct kvm_cpuid_entry2 *find_const(const struct kvm_cpuid2 *table, uint32_t function)
{
    for (uint32_t i = 0; i < table->nent; i++)
        if (table->entries[i].function == function)
            return &table->entries[i];
    return NULL;
}

unsigned cpuid_phys_bits(const struct kvm_cpuid2 *table)
{
    const struct kvm_cpuid_entry2 *e = find_const(table, 0x80000008);

    return e != NULL && (e->eax & 0xff) != 0 ? e->eax & 0xff : 36;
}

bool cpuid_is_amd(const struct kvm_cpuid2 *table)
{
    const struct kvm_cpuid_entry2 *e = find_const(table, 0);

    /* "Auth"enticAMD, "Hygo"nGenuine */
    return e != NULL && (e->ebx == 0x68747541 || e->ebx == 0x6f677948);
}

static bool is_topology_leaf(uint32_t function)
{
    static const uint32_t leaves[] = { 4, 0xb, 0x1f, 0x8000001d, 0x8000001e, 0x80000026 };

    for (size_t i = 0; i < ARRAY_SIZE(leaves); i++)
        if (leaves[i] == function)
            return true;
    return false;
}

/* The table has room for CPUID_EXTRA more entries than KVM's own. */
static struct kvm_cpuid_entry2 *add(struct kvm_cpuid2 *t, uint32_t function, uint32_t index,
                                    bool indexed)
{
    struct kvm_cpuid_entry2 *e = &t->entries[t->nent++];

    *e = (struct kvm_cpuid_entry2){
        .function = function, .index = index,
        .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0
    };
    return e;
}

static void raise_max_leaf(struct kvm_cpuid2 *t, uint32_t base, uint32_t at_least)
{
    struct kvm_cpuid_entry2 *e = cpuid_find(t, base, 0);

    if (e == NULL) {
        e = add(t, base, 0, false);
        e->eax = at_least;
    }
    e->eax = MAX(e->eax, at_least);
}

static uint32_t threads_below(const struct topo_apic_layout *a, uint32_t level)
{
    const uint32_t per_complex = a->threads_per_core * a->cores_per_complex;
    const uint32_t per_die = per_complex * a->complexes_per_die;

    switch (level) {
    case AMD_LEVEL_CORE:
        return a->threads_per_core;
    case AMD_LEVEL_COMPLEX:
        return per_complex;
    case AMD_LEVEL_DIE:
        return per_die;
    default:
        return per_die * a->dies_per_socket;
    }
}

/* One subleaf of the extended topology leaves; all three share the layout. */
static void add_level(struct kvm_cpuid2 *t, uint32_t function, uint32_t index, uint32_t type,
                      uint32_t shift, uint32_t n_logical)
{
    struct kvm_cpuid_entry2 *e = add(t, function, index, true);

    e->eax = shift;
    e->ebx = n_logical & 0xffff;
    e->ecx = index | type << 8;
}

static void add_levels(struct kvm_cpuid2 *t, const struct topo_plan *plan, bool amd)
{
    const struct topo_apic_layout *a = &plan->apic;
    const uint32_t per_core = threads_below(a, AMD_LEVEL_CORE);
    const uint32_t per_die = threads_below(a, AMD_LEVEL_DIE);
    const uint32_t per_socket = threads_below(a, AMD_LEVEL_SOCKET);
    uint32_t i = 0;

    add_level(t, 0xb, 0, LEVEL_SMT, a->core_shift, per_core);
    add_level(t, 0xb, 1, LEVEL_CORE, a->socket_shift, per_socket);
    add_level(t, 0xb, 2, 0, 0, 0);

    add_level(t, 0x1f, i++, LEVEL_SMT, a->core_shift, per_core);
    add_level(t, 0x1f, i++, LEVEL_CORE, a->die_shift, per_die);
    if (a->dies_per_socket > 1)
        add_level(t, 0x1f, i++, LEVEL_DIE, a->socket_shift, per_socket);
    add_level(t, 0x1f, i, 0, 0, 0);
    raise_max_leaf(t, 0, 0x1f);
    if (!amd)
        return;

    i = 0;
    add_level(t, 0x80000026, i++, AMD_LEVEL_CORE, a->core_shift, per_core);
    if (a->complexes_per_die > 1)
        add_level(t, 0x80000026, i++, AMD_LEVEL_COMPLEX, a->complex_shift,
                  threads_below(a, AMD_LEVEL_COMPLEX));
    add_level(t, 0x80000026, i++, AMD_LEVEL_DIE, a->die_shift, per_die);
    add_level(t, 0x80000026, i++, AMD_LEVEL_SOCKET, a->socket_shift, per_socket);
    add_level(t, 0x80000026, i, 0, 0, 0);
    raise_max_leaf(t, 0x80000000, 0x80000026);
}

/* Leaf 4: types are the numbers of EAX[4:0]; EAX[7:5], EAX[25:14], EBX[11:0], EBX[31:22], ECX. */
_Static_assert(CACHE_DATA == 1 && CACHE_INSTRUCTION == 2 && CACHE_UNIFIED == 3 &&
                   TOPO_MAX_CACHE_LEVEL <= 0x7 && 1u << TOPO_MAX_CACHE_APIC_SHIFT <= 0x1000 &&
                   TOPO_MAX_CACHE_LINE_BYTES <= 0x1000 && TOPO_MAX_CACHE_WAYS <= 0x400 &&
                   TOPO_MAX_CACHE_SETS - 1 <= UINT32_MAX,
               "every cache of a plan can be told");

/* Leaves 4 and 0x8000001D: same fields, other vendor. */
static void add_caches(struct kvm_cpuid2 *t, const struct topo_plan *plan, bool amd)
{
    const uint32_t function = amd ? 0x8000001d : 4;
    const struct topo_apic_layout *a = &plan->apic;
    uint32_t i;

    for (i = 0; i < plan->n_caches; i++) {
        const struct topo_plan_cache *c = &plan->caches[i];
        struct kvm_cpuid_entry2 *e = add(t, function, i, true);

        e->eax = (uint32_t)c->type | c->level << 5 | 1u << 8 | /* self-initialising */
                 MIN((1u << c->apic_shift) - 1, 0xfffu) << 14;
        if (!amd)
            e->eax |= MIN((1u << (a->socket_shift - a->core_shift)) - 1, 0x3fu) << 26;
        e->ebx = ((c->line_bytes - 1) & 0xfff) | ((c->ways - 1) & 0x3ff) << 22;
        e->ecx = c->sets - 1;
    }
    (void)add(t, function, i, true); /* type 0: no more caches */
}

static void set_counts(struct kvm_cpuid2 *t, const struct topo_plan *plan, bool amd)
{
    const struct topo_apic_layout *a = &plan->apic;
    const uint32_t per_socket = threads_below(a, AMD_LEVEL_SOCKET);
    struct kvm_cpuid_entry2 *e = cpuid_find(t, 1, 0);

    if (e != NULL) {
        e->ebx = (e->ebx & 0x0000ffff) | MIN(1u << a->socket_shift, 255u) << 16;
        e->edx &= ~(uint32_t)CPUID_1_EDX_HTT;
        if (per_socket > 1)
            e->edx |= CPUID_1_EDX_HTT;
    }
    e = cpuid_find(t, 0x80000001, 0);
    if (e != NULL && amd) {
        e->ecx &= ~(uint32_t)CPUID_EXT1_ECX_CMP_LEGACY;
        e->ecx |= CPUID_EXT1_ECX_TOPOEXT | (per_socket > 1 ? CPUID_EXT1_ECX_CMP_LEGACY : 0);
    }
    e = cpuid_find(t, 0x80000008, 0);
    if (e != NULL && amd)
        e->ecx = (e->ecx & 0xffff0f00) | MIN(per_socket - 1, 255u) | MIN(a->socket_shift, 15u) << 12;
    e = cpuid_find(t, 2, 0);
    if (e != NULL && !amd) /* one descriptor: "see leaf 4" */
        *e = (struct kvm_cpuid_entry2){ .function = 2, .flags = e->flags, .eax = 0x00feff01 };
}

/* AMD's old cache leaves carry sizes only; keep them from contradicting the new ones. */
static void set_amd_sizes(struct kvm_cpuid2 *t, const struct topo_plan *plan)
{
    struct kvm_cpuid_entry2 *l1 = cpuid_find(t, 0x80000005, 0);
    struct kvm_cpuid_entry2 *l23 = cpuid_find(t, 0x80000006, 0);

    for (size_t i = 0; i < plan->n_caches; i++) {
        const struct topo_plan_cache *c = &plan->caches[i];
        const uint32_t kib = (uint32_t)(c->size_bytes / KIB);
        const uint32_t l1_word = MIN(kib, 255u) << 24 | MIN(c->ways, 255u) << 16 | 1u << 8 |
                                 (c->line_bytes & 0xff);

        if (c->level == 1 && l1 != NULL && c->type != CACHE_INSTRUCTION)
            l1->ecx = l1_word;
        if (c->level == 1 && l1 != NULL && c->type != CACHE_DATA)
            l1->edx = l1_word;
        /* Associativity 9: "see leaf 0x8000001D". */
        if (c->level == 2 && l23 != NULL)
            l23->ecx = MIN(kib, 0xffffu) << 16 | 9u << 12 | 1u << 8 | (c->line_bytes & 0xff);
        if (c->level == 3 && l23 != NULL)
            l23->edx = MIN(kib / 512, 0x3fffu) << 18 | 9u << 12 | 1u << 8 | (c->line_bytes & 0xff);
    }
}

/* AMD's guests do not even try to recover from lost memory unless told that they can: by SUCCOR,
 * and that an error which comes before the last was read is not worse than that. The monitor tells
 * them of errors, whatever the host's processor does. */
static void set_recovery(struct kvm_cpuid2 *t)
{
    struct kvm_cpuid_entry2 *e = cpuid_find(t, 0x80000007, 0);

    if (e != NULL)
        e->ebx |= CPUID_EXT7_EBX_OVERFLOW_RECOV | CPUID_EXT7_EBX_SUCCOR;
}

static void set_hypervisor(struct kvm_cpuid2 *t, const struct cpuid_request *req)
{
    struct kvm_cpuid_entry2 *e = cpuid_find(t, 1, 0);

    if (e != NULL) {
        e->ecx |= CPUID_1_ECX_HYPERVISOR | CPUID_1_ECX_X2APIC;
        if (req->tsc_deadline)
            e->ecx |= CPUID_1_ECX_TSC_DEADLINE;
    }
    e = cpuid_find(t, KVM_CPUID_FEATURES, 0);
    if (e != NULL) /* our routes understand the extended destination, so we may say so */
        e->eax |= 1u << KVM_FEATURE_MSI_EXT_DEST_ID;
}

/*
 * AMX needs a permission for guests that we do not ask for, and more state than a reset restores.
 * KVM leaves its state components out of leaf 0xD then, but may list the instructions; a guest
 * would believe the latter.
 */
static void clear_amx(struct kvm_cpuid2 *t)
{
    struct kvm_cpuid_entry2 *e = cpuid_find(t, 7, 0);

    if (e != NULL)
        e->edx &= ~(CPUID_7_EDX_AMX_BF16 | CPUID_7_EDX_AMX_TILE | CPUID_7_EDX_AMX_INT8);
    e = cpuid_find(t, 7, 1);
    if (e != NULL) {
        e->eax &= ~CPUID_7_1_EAX_AMX_FP16;
        e->edx &= ~CPUID_7_1_EDX_AMX_COMPLEX;
    }
    e = cpuid_find(t, 0xd, 0);
    if (e != NULL)
        e->eax &= ~XSTATE_TILES;
    e = cpuid_find(t, 0xd, 1);
    if (e != NULL)
        e->eax &= ~CPUID_D_1_EAX_XFD;
}

int cpuid_template_make(const struct cpuid_request *req, struct kvm_cpuid2 **ret_table,
                        struct errctx *ec)
{
    const bool amd = cpuid_is_amd(req->supported);
    CLEANUP_FREE struct kvm_cpuid2 *t = calloc(
        1, sizeof(*t) + (req->supported->nent + CPUID_EXTRA) * sizeof(req->supported->entries[0]));

    if (t == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the CPUID table");
    for (uint32_t i = 0; i < req->supported->nent; i++)
        if (!is_topology_leaf(req->supported->entries[i].function))
            t->entries[t->nent++] = req->supported->entries[i];
    set_hypervisor(t, req);
    clear_amx(t);
    set_counts(t, req->plan, amd);
    add_levels(t, req->plan, amd);
    add_caches(t, req->plan, amd);
    if (amd) {
        set_amd_sizes(t, req->plan);
        set_recovery(t);
        (void)add(t, 0x8000001e, 0, false);
    }
    for (size_t i = 0; i < req->n_features_off; i++) {
        int r = cpuid_feature_remove(t, req->features_off[i], ec);

        if (r < 0)
            return r;
    }
    *ret_table = take_ptr(t);
    return 0;
}

/* Virtual nodes that have CPUs in @socket. */
static uint32_t nodes_in_socket(const struct topo_plan *plan, uint32_t socket)
{
    uint32_t n = 0, last = UINT32_MAX;

    for (size_t i = 0; i < plan->n_vcpus; i++) {
        const struct topo_plan_vcpu *v = &plan->vcpus[i];

        if (v->socket == socket && v->vnode.v != last) {
            n++;
            last = v->vnode.v;
        }
    }
    return n;
}

/* Processor family with its extension (Intel SDM vol. 2A, CPUID leaf 1). */
static uint32_t family(struct kvm_cpuid2 *t)
{
    const struct kvm_cpuid_entry2 *e = cpuid_find(t, 1, 0);
    const uint32_t base = e != NULL ? e->eax >> 8 & 0xf : 0;

    return base == 0xf ? base + (e->eax >> 20 & 0xff) : base;
}

/*
 * Nodes per processor, as 0x8000001E counts them (one less). Only from family 0x17 on: for older
 * ones Linux divides its cores per die, which it has from leaf 0x1F, by this number, and takes a
 * divide error when a die has fewer cores than the processor has nodes.
 */
static uint32_t nodes_field(struct kvm_cpuid2 *t, const struct topo_plan *plan, uint32_t socket)
{
    return family(t) < 0x17 ? 0 : MIN(nodes_in_socket(plan, socket) - 1, 7u);
}

void cpuid_patch(struct kvm_cpuid2 *table, const struct topo_plan *plan, struct vcpu_id vcpu)
{
    const struct topo_apic_layout *a = &plan->apic;
    const struct topo_plan_vcpu *v = &plan->vcpus[vcpu.v];

    for (uint32_t i = 0; i < table->nent; i++) {
        struct kvm_cpuid_entry2 *e = &table->entries[i];

        switch (e->function) {
        case 1:
            e->ebx = (e->ebx & 0x00ffffff) | v->apic_id << 24;
            break;
        case 0xb:
        case 0x1f:
        case 0x80000026:
            e->edx = v->apic_id;
            break;
        case 0x8000001e:
            e->eax = v->apic_id;
            e->ebx = ((v->apic_id >> a->core_shift) & ((1u << (a->socket_shift - a->core_shift)) - 1) &
                      0xff) | (a->threads_per_core - 1) << 8;
            e->ecx = (v->vnode.v & 0xff) | nodes_field(table, plan, v->socket) << 8;
            break;
        default:
            break;
        }
    }
}
