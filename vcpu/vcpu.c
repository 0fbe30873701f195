/* SPDX-License-Identifier: Apache-2.0 */
#include "vcpu/vcpu.h"

#include <errno.h>
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
    vcpu->host_cpus = params->host_cpus;
    vcpu->ops = params->ops;
    vcpu->ops_ctx = params->ops_ctx;
    vcpu->gate = params->gate;
    (void)pthread_mutex_init(&vcpu->kick_lock, NULL);
    r = kvm_vcpu_create(sys, vm, params->kvm_id, &vcpu->kvm, ec);
    if (r < 0)
        goto err_free;
    *ret_vcpu = vcpu;
    return 0;

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
