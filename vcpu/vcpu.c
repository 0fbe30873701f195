/* SPDX-License-Identifier: Apache-2.0 */
#include "vcpu/vcpu.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "vcpu/vcpu_private.h"

int vcpu_new(const struct kvm_sys *sys, const struct kvm_vm *vm, const struct vcpu_params *params,
             struct vcpu **ret_vcpu, struct errctx *ec)
{
    struct vcpu *vcpu = calloc(1, sizeof(*vcpu));
    int r;

    if (vcpu == NULL)
        return errctx_set(ec, ENOMEM, "vCPU %u: no memory", params->id.v);
    vcpu->id = params->id;
    vcpu->apic_id = params->apic_id;
    vcpu->host_cpus = params->host_cpus;
    vcpu->ops = params->ops;
    vcpu->ops_ctx = params->ops_ctx;
    vcpu->gate = params->gate;
    (void)pthread_mutex_init(&vcpu->kick_lock, NULL);
    r = kvm_vcpu_create(sys, vm, params->apic_id, &vcpu->kvm, ec);
    if (r < 0)
        goto err_free;
    r = kvm_vcpu_set_cpuid(&vcpu->kvm, params->cpuid, ec);
    if (r < 0)
        goto err_close;
    *ret_vcpu = vcpu;
    return 0;

err_close:
    kvm_vcpu_close(&vcpu->kvm);
err_free:
    (void)pthread_mutex_destroy(&vcpu->kick_lock);
    free(vcpu);
    return errctx_wrap(ec, r, "vCPU %u", params->id.v);
}

void vcpu_free(struct vcpu *vcpu)
{
    if (vcpu == NULL)
        return;
    kvm_vcpu_close(&vcpu->kvm);
    (void)pthread_mutex_destroy(&vcpu->kick_lock);
    free(vcpu);
}

const struct kvm_vcpu *vcpu_kvm(const struct vcpu *vcpu)
{
    return &vcpu->kvm;
}

uint64_t vcpu_exit_count(const struct vcpu *vcpu, uint32_t kind)
{
    return kind < VCPU_EXIT_KINDS ? atomic_load_explicit(&vcpu->exits[kind], memory_order_relaxed)
                                  : 0;
}

int vcpu_where(const struct vcpu *vcpu, struct gpa *ret_addr)
{
    struct kvm_regs regs = { 0 };
    struct kvm_sregs sregs = { 0 };
    int r = kvm_vcpu_get_regs(&vcpu->kvm, &regs, NULL);

    if (r == 0)
        r = kvm_vcpu_get_sregs(&vcpu->kvm, &sregs, NULL);
    /* A code segment's base counts for nothing in 64-bit code, and KVM has 0 there. */
    return r < 0 ? r : kvm_vcpu_translate(&vcpu->kvm, sregs.cs.base + regs.rip, ret_addr, NULL);
}

void vcpu_dump(const struct vcpu *vcpu, char *buf, size_t size)
{
    struct kvm_regs r = { 0 };
    struct kvm_sregs s = { 0 };

    if (kvm_vcpu_get_regs(&vcpu->kvm, &r, NULL) < 0 || kvm_vcpu_get_sregs(&vcpu->kvm, &s, NULL) < 0) {
        (void)snprintf(buf, size, "registers cannot be read");
        return;
    }
    (void)snprintf(buf, size,
                   "rip 0x%" PRIx64 " rsp 0x%" PRIx64 " cs 0x%x cr0 0x%" PRIx64 " cr3 0x%" PRIx64
                   " cr4 0x%" PRIx64 " efer 0x%" PRIx64,
                   (uint64_t)r.rip, (uint64_t)r.rsp, s.cs.selector, (uint64_t)s.cr0,
                   (uint64_t)s.cr3, (uint64_t)s.cr4, (uint64_t)s.efer);
}
