/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/x86/kvm_state.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/ioctl.h>

/* One ioctl with an argument and a sentence; the getters and setters below are this. */
static int issue(const struct kvm_vcpu *vcpu, unsigned long request, const void *arg,
                 const char *name, struct errctx *ec)
{
    int r = ioctl(vcpu->fd, request, arg);

    return r < 0 ? errctx_set_os(ec, errno, "%s", name) : r;
}

int kvm_vcpu_set_cpuid(const struct kvm_vcpu *vcpu, const struct kvm_cpuid2 *cpuid,
                       struct errctx *ec)
{
    return issue(vcpu, KVM_SET_CPUID2, cpuid, "KVM_SET_CPUID2", ec);
}

int kvm_vcpu_get_regs(const struct kvm_vcpu *vcpu, struct kvm_regs *ret_regs, struct errctx *ec)
{
    return issue(vcpu, KVM_GET_REGS, ret_regs, "KVM_GET_REGS", ec);
}

int kvm_vcpu_set_regs(const struct kvm_vcpu *vcpu, const struct kvm_regs *regs, struct errctx *ec)
{
    return issue(vcpu, KVM_SET_REGS, regs, "KVM_SET_REGS", ec);
}

int kvm_vcpu_get_sregs(const struct kvm_vcpu *vcpu, struct kvm_sregs *ret_sregs,
                       struct errctx *ec)
{
    return issue(vcpu, KVM_GET_SREGS, ret_sregs, "KVM_GET_SREGS", ec);
}

int kvm_vcpu_set_sregs(const struct kvm_vcpu *vcpu, const struct kvm_sregs *sregs,
                       struct errctx *ec)
{
    return issue(vcpu, KVM_SET_SREGS, sregs, "KVM_SET_SREGS", ec);
}

int kvm_vcpu_get_msrs(const struct kvm_vcpu *vcpu, struct kvm_msrs *msrs, struct errctx *ec)
{
    return issue(vcpu, KVM_GET_MSRS, msrs, "KVM_GET_MSRS", ec);
}

int kvm_vcpu_set_msrs(const struct kvm_vcpu *vcpu, const struct kvm_msrs *msrs,
                      struct errctx *ec)
{
    return issue(vcpu, KVM_SET_MSRS, msrs, "KVM_SET_MSRS", ec);
}

int kvm_vcpu_get_lapic(const struct kvm_vcpu *vcpu, struct kvm_lapic_state *ret,
                       struct errctx *ec)
{
    return issue(vcpu, KVM_GET_LAPIC, ret, "KVM_GET_LAPIC", ec);
}

int kvm_vcpu_set_lapic(const struct kvm_vcpu *vcpu, const struct kvm_lapic_state *lapic,
                       struct errctx *ec)
{
    return issue(vcpu, KVM_SET_LAPIC, lapic, "KVM_SET_LAPIC", ec);
}

int kvm_vcpu_get_events(const struct kvm_vcpu *vcpu, struct kvm_vcpu_events *ret,
                        struct errctx *ec)
{
    return issue(vcpu, KVM_GET_VCPU_EVENTS, ret, "KVM_GET_VCPU_EVENTS", ec);
}

int kvm_vcpu_set_events(const struct kvm_vcpu *vcpu, const struct kvm_vcpu_events *events,
                        struct errctx *ec)
{
    return issue(vcpu, KVM_SET_VCPU_EVENTS, events, "KVM_SET_VCPU_EVENTS", ec);
}

int kvm_vcpu_get_xsave(const struct kvm_vcpu *vcpu, struct kvm_xsave *ret, struct errctx *ec)
{
    return issue(vcpu, KVM_GET_XSAVE, ret, "KVM_GET_XSAVE", ec);
}

int kvm_vcpu_set_xsave(const struct kvm_vcpu *vcpu, const struct kvm_xsave *xsave,
                       struct errctx *ec)
{
    return issue(vcpu, KVM_SET_XSAVE, xsave, "KVM_SET_XSAVE", ec);
}

int kvm_vcpu_get_xcrs(const struct kvm_vcpu *vcpu, struct kvm_xcrs *ret, struct errctx *ec)
{
    return issue(vcpu, KVM_GET_XCRS, ret, "KVM_GET_XCRS", ec);
}

int kvm_vcpu_set_xcrs(const struct kvm_vcpu *vcpu, const struct kvm_xcrs *xcrs,
                      struct errctx *ec)
{
    return issue(vcpu, KVM_SET_XCRS, xcrs, "KVM_SET_XCRS", ec);
}

int kvm_vcpu_get_debugregs(const struct kvm_vcpu *vcpu, struct kvm_debugregs *ret,
                           struct errctx *ec)
{
    return issue(vcpu, KVM_GET_DEBUGREGS, ret, "KVM_GET_DEBUGREGS", ec);
}

int kvm_vcpu_set_debugregs(const struct kvm_vcpu *vcpu, const struct kvm_debugregs *regs,
                           struct errctx *ec)
{
    return issue(vcpu, KVM_SET_DEBUGREGS, regs, "KVM_SET_DEBUGREGS", ec);
}

int kvm_vcpu_set_mp_state(const struct kvm_vcpu *vcpu, uint32_t mp_state, struct errctx *ec)
{
    const struct kvm_mp_state state = { .mp_state = mp_state };

    return issue(vcpu, KVM_SET_MP_STATE, &state, "KVM_SET_MP_STATE", ec);
}

int kvm_vcpu_get_nested(const struct kvm_vcpu *vcpu, struct kvm_nested_state *ret,
                        struct errctx *ec)
{
    *ret = (struct kvm_nested_state){ .size = sizeof(*ret) };
    return issue(vcpu, KVM_GET_NESTED_STATE, ret, "KVM_GET_NESTED_STATE", ec);
}

int kvm_vcpu_set_nested(const struct kvm_vcpu *vcpu, const struct kvm_nested_state *state,
                        struct errctx *ec)
{
    return issue(vcpu, KVM_SET_NESTED_STATE, state, "KVM_SET_NESTED_STATE", ec);
}

int kvm_vcpu_setup_mce(const struct kvm_vcpu *vcpu, uint64_t cap, struct errctx *ec)
{
    return issue(vcpu, KVM_X86_SETUP_MCE, &cap, "KVM_X86_SETUP_MCE", ec);
}

int kvm_vcpu_set_mce(const struct kvm_vcpu *vcpu, const struct kvm_x86_mce *mce, struct errctx *ec)
{
    return issue(vcpu, KVM_X86_SET_MCE, mce, "KVM_X86_SET_MCE", ec);
}

int kvm_vcpu_translate(const struct kvm_vcpu *vcpu, uint64_t linear, struct gpa *ret_addr,
                       struct errctx *ec)
{
    struct kvm_translation t = { .linear_address = linear };
    int r = issue(vcpu, KVM_TRANSLATE, &t, "KVM_TRANSLATE", ec);

    if (r < 0)
        return r;
    if (!t.valid)
        return errctx_set(ec, EFAULT, "linear address 0x%" PRIx64 " is not mapped", linear);
    *ret_addr = (struct gpa){ t.physical_address };
    return 0;
}

void kvm_vcpu_kvmclock_ctrl(const struct kvm_vcpu *vcpu)
{
    (void)ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, 0);
}
