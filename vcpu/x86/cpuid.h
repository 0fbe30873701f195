/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUID as the guest sees it: what KVM can give, minus what the user took away, with topology
 * and caches from the plan.
 *
 * Pure. A template is made once per machine and patched with one vCPU's ids; only leaves 1, 0xB,
 * 0x1F, 0x8000001E and 0x80000026 differ between vCPUs. Sources: Intel SDM vol. 2A "CPUID",
 * AMD APM vol. 3 appendix E.
 */
#ifndef VCPU_X86_CPUID_H
#define VCPU_X86_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>

#include "vmm/base/errctx.h"
#include "vmm/topology/topo_plan.h"

struct cpuid_request {
    const struct kvm_cpuid2 *supported; /* from KVM_GET_SUPPORTED_CPUID */
    const struct topo_plan *plan;
    const char *const *features_off; /* names as in /proc/cpuinfo */
    size_t n_features_off;
    bool tsc_deadline;  /* KVM_CAP_TSC_DEADLINE_TIMER: KVM does not list it among the supported */
};

/**
 * cpuid_template_make() - everything that all vCPUs share.
 * Return: 0; -EINVAL when a feature name is unknown or not there to be taken away; -ENOMEM.
 * The table is owned by the caller.
 */
int cpuid_template_make(const struct cpuid_request *req, struct kvm_cpuid2 **ret_table,
                        struct errctx *ec);

/** cpuid_patch() - put one vCPU's ids into a copy of the template. */
void cpuid_patch(struct kvm_cpuid2 *table, const struct topo_plan *plan, struct vcpu_id vcpu);

/** cpuid_find() - entry of a leaf, or NULL. */
struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *table, uint32_t function, uint32_t index);

/** cpuid_phys_bits() - guest physical address width that @table announces (36 when silent). */
unsigned cpuid_phys_bits(const struct kvm_cpuid2 *table);

/** cpuid_is_amd() - AMD or Hygon: which set of topology leaves the guest will read. */
bool cpuid_is_amd(const struct kvm_cpuid2 *table);

#endif
