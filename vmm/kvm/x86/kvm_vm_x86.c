/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/x86/kvm_vm_x86.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

enum {
    /* Three pages that Intel processors without unrestricted guests need, and one for the
     * identity map; inside the last 4 MiB below 4 GiB, where no RAM ever is. */
    KVM_VM_TSS_ADDR = 0xfffbd000u,
};
#define KVM_VM_IDENTITY_ADDR 0xfffbc000ull

int kvm_vm_setup_tss(const struct kvm_vm *vm, struct errctx *ec)
{
    uint64_t identity = KVM_VM_IDENTITY_ADDR;

    if (kvm_vm_check(vm, KVM_CAP_SET_IDENTITY_MAP_ADDR) &&
        ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
        return errctx_set_os(ec, errno, "KVM_SET_IDENTITY_MAP_ADDR");
    if (kvm_vm_check(vm, KVM_CAP_SET_TSS_ADDR) &&
        ioctl(vm->fd, KVM_SET_TSS_ADDR, (unsigned long)KVM_VM_TSS_ADDR) < 0)
        return errctx_set_os(ec, errno, "KVM_SET_TSS_ADDR");
    return 0;
}

int kvm_vm_setup_irqchip(const struct kvm_vm *vm, uint32_t n_pins, struct errctx *ec)
{
    struct kvm_enable_cap x2apic = {
        .cap = KVM_CAP_X2APIC_API,
        .args = { KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK },
    };
    struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { n_pins } };

    if (!kvm_vm_check(vm, KVM_CAP_SPLIT_IRQCHIP))
        return errctx_set(ec, ENOSYS, "this KVM has no split interrupt controller "
                                      "(KVM_CAP_SPLIT_IRQCHIP)");
    if (!kvm_vm_check(vm, KVM_CAP_X2APIC_API))
        return errctx_set(ec, ENOSYS, "this KVM has no 32-bit APIC ids (KVM_CAP_X2APIC_API)");
    if (ioctl(vm->fd, KVM_ENABLE_CAP, &split) < 0)
        return errctx_set_os(ec, errno, "split interrupt controller");
    if (ioctl(vm->fd, KVM_ENABLE_CAP, &x2apic) < 0)
        return errctx_set_os(ec, errno, "32-bit APIC ids");
    return 0;
}

int kvm_vm_get_clock_ns(const struct kvm_vm *vm, uint64_t *ret_ns, struct errctx *ec)
{
    struct kvm_clock_data clock;

    memset(&clock, 0, sizeof(clock));
    if (ioctl(vm->fd, KVM_GET_CLOCK, &clock) < 0)
        return errctx_set_os(ec, errno, "KVM_GET_CLOCK");
    *ret_ns = clock.clock;
    return 0;
}

int kvm_vm_set_clock_ns(const struct kvm_vm *vm, uint64_t ns, struct errctx *ec)
{
    struct kvm_clock_data clock;

    memset(&clock, 0, sizeof(clock));
    clock.clock = ns;
    if (ioctl(vm->fd, KVM_SET_CLOCK, &clock) < 0)
        return errctx_set_os(ec, errno, "KVM_SET_CLOCK");
    return 0;
}
