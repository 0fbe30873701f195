/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/x86/kvm_sys_x86.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "vmm/base/cleanup.h"

int kvm_sys_supported_cpuid(const struct kvm_sys *sys, struct kvm_cpuid2 **ret_cpuid,
                            struct errctx *ec)
{
    for (uint32_t n = 128; n <= 4096; n *= 2) {
        CLEANUP_FREE struct kvm_cpuid2 *cpuid =
            calloc(1, sizeof(*cpuid) + n * sizeof(cpuid->entries[0]));

        if (cpuid == NULL)
            return errctx_set(ec, ENOMEM, "no memory for the CPUID table");
        cpuid->nent = n;
        if (ioctl(sys->fd, KVM_GET_SUPPORTED_CPUID, cpuid) == 0) {
            *ret_cpuid = take_ptr(cpuid);
            return 0;
        }
        if (errno != E2BIG)
            return errctx_set_os(ec, errno, "KVM_GET_SUPPORTED_CPUID");
    }
    return errctx_set(ec, E2BIG, "KVM's CPUID table is larger than 4096 entries");
}

uint64_t kvm_sys_mce_cap(const struct kvm_sys *sys)
{
    uint64_t cap = 0;

    return ioctl(sys->fd, KVM_X86_GET_MCE_CAP_SUPPORTED, &cap) < 0 ? 0 : cap;
}

int kvm_sys_msr_list(const struct kvm_sys *sys, struct kvm_msr_list **ret_list,
                     struct errctx *ec)
{
    struct kvm_msr_list probe = { 0 };
    CLEANUP_FREE struct kvm_msr_list *list = NULL;

    if (ioctl(sys->fd, KVM_GET_MSR_INDEX_LIST, &probe) < 0 && errno != E2BIG)
        return errctx_set_os(ec, errno, "KVM_GET_MSR_INDEX_LIST");
    list = calloc(1, sizeof(*list) + probe.nmsrs * sizeof(list->indices[0]));
    if (list == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the list of MSRs");
    list->nmsrs = probe.nmsrs;
    if (ioctl(sys->fd, KVM_GET_MSR_INDEX_LIST, list) < 0)
        return errctx_set_os(ec, errno, "KVM_GET_MSR_INDEX_LIST");
    *ret_list = take_ptr(list);
    return 0;
}
