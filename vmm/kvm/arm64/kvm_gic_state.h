/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the GIC's registers hold at power-on, to be put there again at a reset.
 *
 * KVM resets a vCPU's registers when it is initialised, and the ITS when asked, but it has no word
 * for distributor, redistributors and CPU interfaces: their registers are written one by one. What
 * they hold at power-on is KVM's choice and differs between versions, so it is read, once, before
 * the guest's first instruction. All CPUs begin alike: the first one's registers stand for all.
 *
 * All vCPUs stand still and have been initialised: KVM finds redistributors by their MPIDR.
 */
#ifndef VMM_KVM_ARM64_KVM_GIC_STATE_H
#define VMM_KVM_ARM64_KVM_GIC_STATE_H

#include "vmm/kvm/arm64/kvm_vm_arm64.h"

struct kvm_gic_state; /* opaque */

/** kvm_gic_save() - read all of it; @mpidr is that of a CPU which ran nothing yet, @n_irqs as in
 *  struct kvm_gic_map. Return: 0, -ENOMEM, or the errno of an attribute; @ret_state is untouched
 *  then. Released with kvm_gic_state_free(). */
int kvm_gic_save(const struct kvm_gic *gic, uint32_t mpidr, uint32_t n_irqs,
                 struct kvm_gic_state **ret_state, struct errctx *ec);

/** kvm_gic_reset() - the controller as it was saved: no message is known, no interrupt is enabled,
 *  pending or active, redistributors and interfaces of the CPUs @mpidr are off. Wires keep the level
 *  that their devices drive. Return: 0 or the errno of an attribute. */
int kvm_gic_reset(const struct kvm_gic *gic, const struct kvm_gic_state *state,
                  const uint32_t *mpidr, size_t n, struct errctx *ec);

/** kvm_gic_state_free() - NULL is allowed. */
void kvm_gic_state_free(struct kvm_gic_state *state);

#endif
