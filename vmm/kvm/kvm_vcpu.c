/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/kvm_vcpu.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"

int kvm_vcpu_create(const struct kvm_sys *sys, const struct kvm_vm *vm, uint32_t kvm_id,
                    struct kvm_vcpu *ret_vcpu, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)kvm_id);
    void *run;

    if (fd < 0)
        return errctx_set_os(ec, errno, "KVM_CREATE_VCPU with id %u", kvm_id);
    run = mmap(NULL, sys->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (run == MAP_FAILED)
        return errctx_set_os(ec, errno, "map the run area of vCPU id %u", kvm_id);
    *ret_vcpu = (struct kvm_vcpu){ .fd = take_fd(&fd), .run = run, .run_bytes = sys->run_bytes };
    return 0;
}

void kvm_vcpu_close(struct kvm_vcpu *vcpu)
{
    if (vcpu->run == NULL)
        return;
    (void)munmap(vcpu->run, vcpu->run_bytes);
    (void)close(vcpu->fd);
    *vcpu = (struct kvm_vcpu){ .fd = -1 };
}

int kvm_vcpu_enter(const struct kvm_vcpu *vcpu)
{
    return ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? -errno : 0;
}
