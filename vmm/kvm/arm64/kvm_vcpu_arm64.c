/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/arm64/kvm_vcpu_arm64.h"

#include <errno.h>
#include <stddef.h>
#include <sys/ioctl.h>

#define CORE(name)                                                                                 \
    (KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(name))
#define ESR_EL1 ARM64_SYS_REG(3, 0, 5, 2, 0)
#define FAR_EL1 ARM64_SYS_REG(3, 0, 6, 0, 0)

_Static_assert(sizeof(struct kvm_vcpu_init) == 32, "as the sandbox's list counts");

int kvm_vcpu_arm64_init(const struct kvm_vm *vm, const struct kvm_vcpu *vcpu, bool off,
                        struct errctx *ec)
{
    struct kvm_vcpu_init init;

    if (ioctl(vm->fd, KVM_ARM_PREFERRED_TARGET, &init) < 0)
        return errctx_set_os(ec, errno, "KVM_ARM_PREFERRED_TARGET");
    init.features[0] = 1u << KVM_ARM_VCPU_PSCI_0_2 | (off ? 1u << KVM_ARM_VCPU_POWER_OFF : 0);
    if (ioctl(vcpu->fd, KVM_ARM_VCPU_INIT, &init) < 0)
        return errctx_set_os(ec, errno, "KVM_ARM_VCPU_INIT");
    return 0;
}

static int set_reg(const struct kvm_vcpu *vcpu, uint64_t id, uint64_t value, struct errctx *ec)
{
    const struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&value };

    if (ioctl(vcpu->fd, KVM_SET_ONE_REG, &reg) < 0)
        return errctx_set_os(ec, errno, "KVM_SET_ONE_REG");
    return 0;
}

int kvm_vcpu_arm64_start_at(const struct kvm_vcpu *vcpu, uint64_t pc, uint64_t x0,
                            struct errctx *ec)
{
    int r = set_reg(vcpu, CORE(regs.pc), pc, ec);

    return r < 0 ? r : set_reg(vcpu, CORE(regs.regs[0]), x0, ec);
}

int kvm_vcpu_arm64_place(const struct kvm_vcpu *vcpu, struct kvm_vcpu_arm64_place *ret,
                         struct errctx *ec)
{
    const struct {
        uint64_t id;
        uint64_t *to;
    } regs[] = {
        { CORE(regs.pc), &ret->pc },     { CORE(regs.pstate), &ret->pstate },
        { CORE(sp_el1), &ret->sp_el1 },  { CORE(elr_el1), &ret->elr_el1 },
        { ESR_EL1, &ret->esr_el1 },      { FAR_EL1, &ret->far_el1 },
    };

    for (size_t i = 0; i < sizeof(regs) / sizeof(regs[0]); i++) {
        const struct kvm_one_reg reg = { .id = regs[i].id, .addr = (uintptr_t)regs[i].to };

        if (ioctl(vcpu->fd, KVM_GET_ONE_REG, &reg) < 0)
            return errctx_set_os(ec, errno, "KVM_GET_ONE_REG");
    }
    return 0;
}
