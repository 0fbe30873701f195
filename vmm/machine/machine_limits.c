/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/machine/machine_limits.h"

#include <errno.h>
#include <linux/kvm.h>
#include <unistd.h>

#include "vmm/base/units.h"
#include "vmm/machine/machine_arch.h"

enum { BYTES_PER_MAPPED_BYTE = 4096 / 8 };

static uint32_t capability(const struct kvm_sys *sys, long cap)
{
    const int v = kvm_sys_check(sys, cap);

    return v > 0 ? (uint32_t)v : 0;
}

void machine_limits_read(const struct kvm_sys *sys, const char *root,
                         struct machine_limits *ret_limits)
{
    const long pages = sysconf(_SC_PHYS_PAGES);

    *ret_limits = (struct machine_limits){
        .max_vcpus = capability(sys, KVM_CAP_MAX_VCPUS),
        .ram_bytes = pages > 0 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0,
    };
    machine_arch_limits(sys, root, ret_limits);
}

static int check_maps(const struct machine_limits *limits, const struct topo_plan *plan,
                      struct errctx *ec)
{
    uint64_t guest = 0, maps;
    char a[32], b[32], c[32];

    for (size_t i = 0; i < plan->n_nodes; i++)
        guest += plan->nodes[i].ram_bytes;
    maps = guest / BYTES_PER_MAPPED_BYTE;
    if (!limits->shadow_maps || limits->ram_bytes == 0 || maps <= limits->ram_bytes / 2)
        return 0;
    return errctx_set(ec, ENOSPC,
                      "KVM without hardware page tables would allocate %s for the page maps of a "
                      "guest with %s of memory, and this host has %s in all: make the guest smaller",
                      units_format_human(maps, a, sizeof(a)),
                      units_format_human(guest, b, sizeof(b)),
                      units_format_human(limits->ram_bytes, c, sizeof(c)));
}

int machine_limits_check(const struct machine_limits *limits, const struct topo_plan *plan,
                         struct errctx *ec)
{
    if (limits->max_vcpus > 0 && plan->n_vcpus > limits->max_vcpus)
        return errctx_set(ec, ERANGE, "%zu vCPUs are more than the %u that this host's KVM allows",
                          plan->n_vcpus, limits->max_vcpus);
    if (limits->max_vcpu_id > 0 && plan->max_apic_id >= limits->max_vcpu_id)
        return errctx_set(ec, ERANGE,
                          "the highest APIC id, %u, is above the %u that this host's KVM allows "
                          "(KVM_CAP_MAX_VCPU_ID)",
                          plan->max_apic_id, limits->max_vcpu_id - 1);
    return check_maps(limits, plan, ec);
}
