/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One KVM virtual machine: memory slots, interrupt routing, doorbells. Interrupt controllers are
 * in a folder per architecture.
 *
 * All functions may be called from any thread; the caller serialises changes of the same table.
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

/** kvm_vm_create() - an empty VM of kind @type, which is 0 or the architecture's own.
 *  Return: 0 or the errno of KVM_CREATE_VM. */
int kvm_vm_create(const struct kvm_sys *sys, unsigned long type, struct kvm_vm *ret_vm,
                  struct errctx *ec);
void kvm_vm_close(struct kvm_vm *vm);

/** kvm_vm_check() - KVM_CHECK_EXTENSION on the VM, 0 when absent. */
int kvm_vm_check(const struct kvm_vm *vm, unsigned cap);

/** kvm_vm_halt_poll() - for how long KVM looks for work for a halted vCPU of this VM, at most; 0:
 *  not at all. Return: 0, -ENOSYS (Linux before 5.8 knows one value for all machines), an errno. */
int kvm_vm_halt_poll(const struct kvm_vm *vm, uint32_t ns, struct errctx *ec);

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

#endif
