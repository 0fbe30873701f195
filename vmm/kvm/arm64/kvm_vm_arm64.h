/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What arm64 VMs have of their own: width of addresses, and the GIC as KVM's device
 * (Documentation/virt/kvm/devices/arm-vgic-v3.rst and arm-vgic-its.rst).
 *
 * Order: VM, gic_make, vCPUs, gic_start; KVM takes no vCPU after a GIC was started, and no irqfd
 * before. Threads: as kvm_vm.h.
 */
#ifndef VMM_KVM_ARM64_KVM_VM_ARM64_H
#define VMM_KVM_ARM64_KVM_VM_ARM64_H

#include "vmm/kvm/kvm_vm.h"

enum { KVM_VM_ARM64_BITS = 40 }; /* of guest physical addresses, when not asked for others */

/** kvm_sys_arm64_bits() - the most bits that a guest's physical addresses can have here. */
unsigned kvm_sys_arm64_bits(const struct kvm_sys *sys);

/** kvm_vm_arm64_type() - for kvm_vm_create(): a VM with @bits. */
unsigned long kvm_vm_arm64_type(unsigned bits);

/* Where the parts of the controller answer; one redistributor for each of @n_vcpus. */
struct kvm_gic_map {
    uint64_t dist, redist, its;
    uint32_t n_vcpus;
    uint32_t n_irqs; /* interrupts in all, private ones included: a multiple of 32 from 64 on */
};

struct kvm_gic {
    int fd, its_fd; /* -1: none */
};

/** kvm_gic_check() - does this host have a GICv3 and an ITS for guests? Return: 0, or -ENOTSUP with
 *  a sentence. */
int kvm_gic_check(const struct kvm_vm *vm, struct errctx *ec);

/** kvm_gic_make() - Return: 0 or the errno of KVM_CREATE_DEVICE or of an attribute. */
int kvm_gic_make(const struct kvm_vm *vm, const struct kvm_gic_map *map, struct kvm_gic *ret_gic,
                 struct errctx *ec);
void kvm_gic_close(struct kvm_gic *gic);

/** kvm_gic_start() - once all vCPUs are there. */
int kvm_gic_start(const struct kvm_gic *gic, struct errctx *ec);

/** kvm_vm_irq_line() - set shared interrupt @spi, counted from 0. */
void kvm_vm_irq_line(const struct kvm_vm *vm, uint32_t spi, bool level);

#endif
