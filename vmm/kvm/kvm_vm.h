/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One KVM virtual machine: memory slots, interrupt routing, doorbells.
 *
 * The interrupt controller is always split: local APICs in the kernel, I/O APIC in devices/, so
 * that one vCPU and a thousand take the same path. All functions may be called from any thread;
 * the caller serialises changes of the same table.
 */
#ifndef VMM_KVM_KVM_VM_H
#define VMM_KVM_KVM_VM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"
#include "vmm/kvm/kvm_sys.h"

struct kvm_vm {
    int fd;
};

/** kvm_vm_create() - an empty VM. Return: 0 or the errno of KVM_CREATE_VM. */
int kvm_vm_create(const struct kvm_sys *sys, struct kvm_vm *ret_vm, struct errctx *ec);
void kvm_vm_close(struct kvm_vm *vm);

/** kvm_vm_check() - KVM_CHECK_EXTENSION on the VM, 0 when absent. */
int kvm_vm_check(const struct kvm_vm *vm, unsigned cap);

/** kvm_vm_halt_poll() - for how long KVM looks for work for a halted vCPU of this VM, at most; 0:
 *  not at all. Return: 0, -ENOSYS (Linux before 5.8 knows one value for all machines), an errno. */
int kvm_vm_halt_poll(const struct kvm_vm *vm, uint32_t ns, struct errctx *ec);

/** kvm_vm_setup_tss() - the pages that Intel processors want for real mode and for protected
 *  mode without paging. Before the first vCPU. Return: 0 or an errno. */
int kvm_vm_setup_tss(const struct kvm_vm *vm, struct errctx *ec);

/**
 * kvm_vm_setup_irqchip() - split irqchip with @n_pins reserved routes, and 32-bit x2APIC ids.
 * Before the first vCPU.
 * Return: 0, -ENOSYS (KVM lacks a capability; the sentence names it) or an errno.
 */
int kvm_vm_setup_irqchip(const struct kvm_vm *vm, uint32_t n_pins, struct errctx *ec);

/** kvm_vm_map() - slot @slot maps @len_bytes, less than 8 TiB, at @base to @host; len 0
 *  removes it, wherever it is. */
int kvm_vm_map(const struct kvm_vm *vm, uint32_t slot, struct gpa base, uint64_t len_bytes,
               void *host, struct errctx *ec);

/** kvm_vm_set_routes() - replace the whole GSI routing table. */
int kvm_vm_set_routes(const struct kvm_vm *vm, const struct kvm_irq_routing *table,
                      struct errctx *ec);

/** kvm_vm_irqfd() - let writes to @eventfd raise @gsi, or stop that. */
int kvm_vm_irqfd(const struct kvm_vm *vm, int eventfd, uint32_t gsi, bool add,
                 struct errctx *ec);

/** kvm_vm_ioeventfd() - let guest writes to @addr signal @eventfd; @size 0 for any width. */
int kvm_vm_ioeventfd(const struct kvm_vm *vm, struct gpa addr, uint32_t size, int eventfd,
                     bool add, struct errctx *ec);

/** kvm_vm_signal_msi() - deliver now. Return: 1 delivered, 0 blocked by the guest, -errno. */
int kvm_vm_signal_msi(const struct kvm_vm *vm, const struct kvm_msi *msi);

/** kvm_vm_get_clock_ns() / kvm_vm_set_clock_ns() - the guest's kvmclock, for pause and reset. */
int kvm_vm_get_clock_ns(const struct kvm_vm *vm, uint64_t *ret_ns, struct errctx *ec);
int kvm_vm_set_clock_ns(const struct kvm_vm *vm, uint64_t ns, struct errctx *ec);

#endif
