/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What x86 VMs have of their own: reserved pages, interrupt controller, kvmclock.
 *
 * The interrupt controller is always split: local APICs in the kernel, I/O APIC in devices/, so
 * that one vCPU and a thousand take the same path.
 */
#ifndef VMM_KVM_X86_KVM_VM_X86_H
#define VMM_KVM_X86_KVM_VM_X86_H

#include "vmm/kvm/kvm_vm.h"

/** kvm_vm_setup_tss() - the pages that Intel processors want for real mode and for protected
 *  mode without paging. Before the first vCPU. Return: 0 or an errno. */
int kvm_vm_setup_tss(const struct kvm_vm *vm, struct errctx *ec);

/**
 * kvm_vm_setup_irqchip() - split irqchip with @n_pins reserved routes, and 32-bit x2APIC ids.
 * Before the first vCPU.
 * Return: 0, -ENOSYS (KVM lacks a capability; the sentence names it) or an errno.
 */
int kvm_vm_setup_irqchip(const struct kvm_vm *vm, uint32_t n_pins, struct errctx *ec);

/** kvm_vm_get_clock_ns() / kvm_vm_set_clock_ns() - the guest's kvmclock, for pause and reset. */
int kvm_vm_get_clock_ns(const struct kvm_vm *vm, uint64_t *ret_ns, struct errctx *ec);
int kvm_vm_set_clock_ns(const struct kvm_vm *vm, uint64_t ns, struct errctx *ec);

#endif
