/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUID as two made-up hosts offer it, one of each vendor, cut to plans. What the guest reads is
 * compared with the plan leaf by leaf.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/kvm_para.h>
#include <stdlib.h>
#include <string.h>

#include "vcpu/x86/cpuid.h"
#include "vcpu/x86/cpuid_features.h"
#include "vmm/base/macros.h"
#include "vmm/topology/host_topo.h"

enum { INTEL_EBX = 0x756e6547, AMD_EBX = 0x68747541 };

static struct kvm_cpuid2 *host_table(bool amd, uint32_t family_eax)
{
    const struct kvm_cpuid_entry2 rows[] = {
        { .function = 0, .eax = amd ? 0x10 : 0x1f, .ebx = amd ? AMD_EBX : INTEL_EBX },
        { .function = 1, .eax = family_eax, .ebx = 0x00400800, .edx = 1u << 28 | 1u << 25 },
        { .function = 2, .eax = 0x12345601 },
        { .function = 4, .index = 0, .eax = 0xfc004121, .ebx = 0x1234 },
        { .function = 7, .index = 0, .ebx = 1u << 5, .edx = 1u << 22 | 1u << 24 | 1u << 25 },
        { .function = 0xb, .index = 0, .eax = 9, .ebx = 77 },
        { .function = 0xd, .index = 0, .eax = 0x60207 },
        { .function = 0x1f, .index = 0, .eax = 9, .ebx = 77 },
        { .function = KVM_CPUID_FEATURES, .eax = 1u << KVM_FEATURE_CLOCKSOURCE2 },
        { .function = 0x80000000, .eax = amd ? 0x80000020 : 0x80000008 },
        { .function = 0x80000001 },
        { .function = 0x80000005 },
        { .function = 0x80000006 },
        { .function = 0x80000008, .eax = 0x302e, .ecx = 0xf0ff },
        { .function = 0x8000001d, .index = 3, .eax = 0xdead },
        { .function = 0x8000001e, .eax = 0xdead },
    };
    struct kvm_cpuid2 *t = calloc(1, sizeof(*t) + sizeof(rows));

    assert_non_null(t);
    t->nent = ARRAY_SIZE(rows);
    memcpy(t->entries, rows, sizeof(rows));
    return t;
}

static struct topo_plan *make_plan(const struct guest_spec *spec)
{
    struct topo_plan *plan = NULL;
    struct errctx ec = { 0 };
    struct host_topo host;

    assert_int_equal(host_topo_from_synthetic("package:1 l3:1(size=32MB) core:8 l2:1(size=1MB) "
                                              "l1d:1(size=32KB) l1i:1(size=32KB) pu:2",
                                              &host, &ec),
                     0);
    if (topo_plan_make(spec, &host, &plan, &ec) < 0)
        fail_msg("%s", ec.msg);
    host_topo_fini(&host);
    return plan;
}

static struct kvm_cpuid2 *make_template(bool amd, uint32_t family_eax, const struct topo_plan *plan)
{
    struct kvm_cpuid2 *supported = host_table(amd, family_eax), *t = NULL;
    const struct cpuid_request req = { .supported = supported, .plan = plan, .tsc_deadline = true };

    assert_int_equal(cpuid_template_make(&req, &t, NULL), 0);
    free(supported);
    return t;
}

/* 2 sockets of 2 dies of 2 cores of 2 threads, a node each die. */
static const struct guest_spec wide = { .n_cpus = 16, .n_vnuma = 4, .memory_bytes = 1ull << 30,
                                        .threads = 2, .cores = 2, .dies = 2, .sockets = 2 };

static const struct kvm_cpuid_entry2 *get(struct kvm_cpuid2 *t, uint32_t function, uint32_t index)
{
    const struct kvm_cpuid_entry2 *e = cpuid_find(t, function, index);

    assert_non_null(e);
    return e;
}

static void assert_level(struct kvm_cpuid2 *t, uint32_t leaf, uint32_t i, uint32_t type,
                         uint32_t shift, uint32_t n, uint32_t apic_id)
{
    const struct kvm_cpuid_entry2 *e = get(t, leaf, i);

    assert_int_equal(e->eax, shift);
    assert_int_equal(e->ebx, n);
    assert_int_equal(e->ecx, i | type << 8);
    assert_int_equal(e->edx, apic_id);
}

static void levels_and_ids_follow_the_plan(void **state)
{
    struct topo_plan *plan = make_plan(&wide);

    (void)state;
    for (int amd = 0; amd < 2; amd++) {
        struct kvm_cpuid2 *t = make_template(amd, amd ? 0x00a00f11 : 0x000806f8, plan);

        for (uint32_t v = 0; v < plan->n_vcpus; v++) {
            const uint32_t id = plan->vcpus[v].apic_id;

            cpuid_patch(t, plan, (struct vcpu_id){ v });
            assert_int_equal(get(t, 1, 0)->ebx >> 24, id);
            assert_int_equal(get(t, 1, 0)->ebx >> 16 & 0xff, 8); /* ids of a socket */
            assert_level(t, 0xb, 0, 1, 1, 2, id);
            assert_level(t, 0xb, 1, 2, 3, 8, id);
            assert_level(t, 0xb, 2, 0, 0, 0, id);
            assert_level(t, 0x1f, 0, 1, 1, 2, id);
            assert_level(t, 0x1f, 1, 2, 2, 4, id);
            assert_level(t, 0x1f, 2, 5, 3, 8, id);
            assert_level(t, 0x1f, 3, 0, 0, 0, id);
            if (!amd)
                continue;
            assert_level(t, 0x80000026, 0, 1, 1, 2, id);
            assert_level(t, 0x80000026, 1, 3, 2, 4, id);
            assert_level(t, 0x80000026, 2, 4, 3, 8, id);
            assert_int_equal(get(t, 0x8000001e, 0)->eax, id);
            assert_int_equal(get(t, 0x8000001e, 0)->ebx, (id >> 1 & 3) | 1 << 8);
            assert_int_equal(get(t, 0x8000001e, 0)->ecx, plan->vcpus[v].vnode.v | 1 << 8);
        }
        assert_true(get(t, 0, 0)->eax >= 0x1f);
        free(t);
    }
    topo_plan_free(plan);
}

static void caches_follow_the_plan_and_nothing_is_left_of_the_hosts(void **state)
{
    struct topo_plan *plan = make_plan(&wide);

    (void)state;
    for (int amd = 0; amd < 2; amd++) {
        struct kvm_cpuid2 *t = make_template(amd, 0x00a00f11, plan);
        const uint32_t leaf = amd ? 0x8000001d : 4;

        assert_true(plan->n_caches > 2);
        for (uint32_t i = 0; i < plan->n_caches; i++) {
            const struct topo_plan_cache *c = &plan->caches[i];
            const struct kvm_cpuid_entry2 *e = get(t, leaf, i);

            assert_int_equal(e->eax & 0x1f, c->type);
            assert_int_equal(e->eax >> 5 & 7, c->level);
            assert_int_equal(e->eax >> 14 & 0xfff, (1u << c->apic_shift) - 1);
            assert_int_equal((uint64_t)((e->ebx & 0xfff) + 1) * ((e->ebx >> 22) + 1) *
                                 (e->ecx + 1ull),
                             c->size_bytes);
        }
        assert_int_equal(get(t, leaf, (uint32_t)plan->n_caches)->eax, 0);
        assert_null(cpuid_find(t, leaf, (uint32_t)plan->n_caches + 1));
        assert_null(cpuid_find(t, amd ? 4 : 0x8000001d, 0));
        assert_null(cpuid_find(t, amd ? 4 : 0x8000001d, 3));
        free(t);
    }
    topo_plan_free(plan);
}

static void a_lone_thread_is_told_so(void **state)
{
    const struct guest_spec one = { .n_cpus = 1, .memory_bytes = 1ull << 30 };
    struct topo_plan *plan = make_plan(&one);
    struct kvm_cpuid2 *t = make_template(false, 0x000806f8, plan);

    (void)state;
    cpuid_patch(t, plan, (struct vcpu_id){ 0 });
    assert_int_equal(get(t, 1, 0)->edx >> 28 & 1, 0); /* HTT */
    assert_level(t, 0xb, 0, 1, 0, 1, 0);
    assert_level(t, 0xb, 1, 2, 0, 1, 0);
    assert_null(cpuid_find(t, 0x1f, 3)); /* no die level for one die */
    free(t);
    topo_plan_free(plan);
}

static void old_families_count_no_nodes_per_processor(void **state)
{
    struct topo_plan *plan = make_plan(&wide);
    struct kvm_cpuid2 *t = make_template(true, 0x00060fb1, plan); /* family 0xf */

    (void)state;
    cpuid_patch(t, plan, (struct vcpu_id){ 15 });
    assert_int_equal(get(t, 0x8000001e, 0)->ecx >> 8, 0);
    free(t);
    topo_plan_free(plan);
}

static void what_we_add_and_what_we_take_away(void **state)
{
    struct topo_plan *plan = make_plan(&wide);
    struct kvm_cpuid2 *t = make_template(false, 0x000806f8, plan);

    (void)state;
    assert_int_equal(get(t, 1, 0)->ecx >> 31, 1);     /* hypervisor */
    assert_int_equal(get(t, 1, 0)->ecx >> 24 & 1, 1); /* TSC deadline */
    assert_int_equal(get(t, 1, 0)->ecx >> 21 & 1, 1); /* x2APIC */
    assert_int_equal(get(t, KVM_CPUID_FEATURES, 0)->eax,
                     1u << KVM_FEATURE_CLOCKSOURCE2 | 1u << KVM_FEATURE_MSI_EXT_DEST_ID);
    assert_int_equal(get(t, 7, 0)->edx, 0); /* AMX */
    assert_int_equal(get(t, 0xd, 0)->eax, 0x207);
    assert_int_equal(cpuid_phys_bits(t), 0x2e);
    free(t);
    topo_plan_free(plan);
}

/* Of either vendor, whatever the topology and whatever is taken away beside. */
static void asynchronous_page_faults_are_offered_as_kvm_offers_them(void **state)
{
    static const uint32_t bits[] = { 1u << KVM_FEATURE_ASYNC_PF, 1u << KVM_FEATURE_ASYNC_PF_VMEXIT,
                                     1u << KVM_FEATURE_ASYNC_PF_INT };
    static const struct guest_spec plain = { .n_cpus = 2, .memory_bytes = 1ull << 30 };
    static const struct guest_spec *const specs[] = { &plain, &wide };
    static const char *const aes[] = { "aes" };

    (void)state;
    for (unsigned i = 0; i < 2 * 2 * 2 * 2 * 8; i++) {
        struct kvm_cpuid2 *supported = host_table(i & 1, 0x000806f8), *t = NULL;
        struct topo_plan *plan = make_plan(specs[i >> 1 & 1]);
        const struct cpuid_request req = { .supported = supported, .plan = plan,
                                           .features_off = aes, .n_features_off = i >> 2 & 1,
                                           .tsc_deadline = i >> 3 & 1 };
        uint32_t offered = 0, all = bits[0] | bits[1] | bits[2];

        for (unsigned k = 0; k < ARRAY_SIZE(bits); k++)
            offered |= (i >> (4 + k) & 1) != 0 ? bits[k] : 0;
        cpuid_find(supported, KVM_CPUID_FEATURES, 0)->eax |= offered;
        cpuid_find(supported, 1, 0)->ecx |= 1u << 25; /* aes */
        assert_int_equal(cpuid_template_make(&req, &t, NULL), 0);
        cpuid_patch(t, plan, (struct vcpu_id){ 1 });
        assert_int_equal(get(t, KVM_CPUID_FEATURES, 0)->eax & all, offered);
        assert_int_equal(get(t, 1, 0)->ecx >> 25 & 1, (i >> 2 & 1) == 0);
        free(t);
        free(supported);
        topo_plan_free(plan);
    }
}

static void features_can_be_taken_away_by_name(void **state)
{
    static const char *const avx2[] = { "avx2" }, *const unknown[] = { "warp" },
                      *const absent[] = { "avx512f" };
    struct topo_plan *plan = make_plan(&wide);
    struct kvm_cpuid2 *supported = host_table(false, 0x000806f8), *t = NULL;
    struct cpuid_request req = { .supported = supported, .plan = plan, .n_features_off = 1 };
    struct errctx ec = { 0 };

    (void)state;
    req.features_off = unknown;
    assert_int_equal(cpuid_template_make(&req, &t, &ec), -EINVAL);
    assert_string_equal(ec.msg, "--cpu-feature -warp: no feature of that name can be taken away");
    req.features_off = absent;
    assert_int_equal(cpuid_template_make(&req, &t, &ec), -EINVAL);
    assert_string_equal(ec.msg,
                        "--cpu-feature -avx512f: this host does not offer it to guests");
    assert_null(t);
    req.features_off = avx2;
    assert_int_equal(cpuid_template_make(&req, &t, &ec), 0);
    assert_int_equal(get(t, 7, 0)->ebx, 0);
    assert_int_equal(cpuid_find(supported, 7, 0)->ebx, 1u << 5); /* the host's is untouched */
    free(t);
    free(supported);
    topo_plan_free(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_and_ids_follow_the_plan),
        cmocka_unit_test(caches_follow_the_plan_and_nothing_is_left_of_the_hosts),
        cmocka_unit_test(a_lone_thread_is_told_so),
        cmocka_unit_test(old_families_count_no_nodes_per_processor),
        cmocka_unit_test(what_we_add_and_what_we_take_away),
        cmocka_unit_test(asynchronous_page_faults_are_offered_as_kvm_offers_them),
        cmocka_unit_test(features_can_be_taken_away_by_name),
    };

    return cmocka_run_group_tests_name("vcpu/cpuid", tests, NULL, NULL);
}
