/* SPDX-License-Identifier: Apache-2.0 */
/* KVM on arm64 has no emulator of guest kernels: where there is KVM the processor runs them. */
#include "vmm/kvm/kvm_probe.h"

int kvm_probe_kernel_code(const struct kvm_sys *sys, bool *ret_native, struct errctx *ec)
{
    (void)sys;
    (void)ec;
    *ret_native = true;
    return 0;
}
