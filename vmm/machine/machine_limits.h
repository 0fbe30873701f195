/* SPDX-License-Identifier: Apache-2.0 */
/* What this host's KVM cannot do for a plan, found before anything is made. */
#ifndef VMM_MACHINE_MACHINE_LIMITS_H
#define VMM_MACHINE_MACHINE_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/kvm/kvm_sys.h"
#include "vmm/topology/topo_plan.h"

/* The host's side; 0 where KVM states no limit. */
struct machine_limits {
    uint32_t max_vcpus;   /* KVM_CAP_MAX_VCPUS */
    uint32_t max_vcpu_id; /* KVM_CAP_MAX_VCPU_ID: ids below it */
    uint64_t ram_bytes;   /* of this host */
    bool shadow_maps;     /* KVM keeps a reverse map of every guest page from the start */
};

/** machine_limits_read() - ask KVM and the kernel below @root ("" for this machine). */
void machine_limits_read(const struct kvm_sys *sys, const char *root,
                         struct machine_limits *ret_limits);

/**
 * machine_limits_check() - refuse a plan that goes beyond them. Pure.
 *
 * Where KVM builds shadow page tables it allocates 8 bytes for each 4 KiB of guest memory when a
 * memory slot is made (struct kvm_rmap_head), whether the guest ever touches them or not; a guest
 * that is hundreds of times larger than the host would take the whole host's memory by that.
 * Return: 0, -ERANGE (vCPUs, APIC ids) or -ENOSPC (memory); the sentence has the limit.
 */
int machine_limits_check(const struct machine_limits *limits, const struct topo_plan *plan,
                         struct errctx *ec);

#endif
