/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/kvm_vm.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/ioctl.h>
#include <unistd.h>

int kvm_vm_create(const struct kvm_sys *sys, unsigned long type, struct kvm_vm *ret_vm,
                  struct errctx *ec)
{
    int fd;

    do {
        fd = ioctl(sys->fd, KVM_CREATE_VM, type);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return errctx_set_os(ec, errno, "KVM_CREATE_VM");
    ret_vm->fd = fd;
    return 0;
}

void kvm_vm_close(struct kvm_vm *vm)
{
    if (vm->fd >= 0)
        (void)close(vm->fd);
    vm->fd = -1;
}

int kvm_vm_check(const struct kvm_vm *vm, unsigned cap)
{
    int v = ioctl(vm->fd, KVM_CHECK_EXTENSION, (unsigned long)cap);

    return v < 0 ? 0 : v;
}

int kvm_vm_halt_poll(const struct kvm_vm *vm, uint32_t ns, struct errctx *ec)
{
    struct kvm_enable_cap cap = { .cap = KVM_CAP_HALT_POLL, .args = { ns } };

    if (!kvm_vm_check(vm, KVM_CAP_HALT_POLL))
        return errctx_set(ec, ENOSYS, "this KVM has one time for all machines (KVM_CAP_HALT_POLL)");
    if (ioctl(vm->fd, KVM_ENABLE_CAP, &cap) < 0)
        return errctx_set_os(ec, errno, "KVM_CAP_HALT_POLL");
    return 0;
}

int kvm_vm_map(const struct kvm_vm *vm, uint32_t slot, struct gpa base, uint64_t len_bytes,
               void *host, struct errctx *ec)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot,
        .guest_phys_addr = base.v,
        .memory_size = len_bytes,
        .userspace_addr = (uintptr_t)host,
    };

    if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return errctx_set_os(ec, errno, "map guest memory at 0x%" PRIx64, base.v);
    return 0;
}

int kvm_vm_set_routes(const struct kvm_vm *vm, const struct kvm_irq_routing *table,
                      struct errctx *ec)
{
    if (ioctl(vm->fd, KVM_SET_GSI_ROUTING, table) < 0)
        return errctx_set_os(ec, errno, "KVM_SET_GSI_ROUTING");
    return 0;
}

int kvm_vm_irqfd(const struct kvm_vm *vm, int eventfd, uint32_t gsi, bool add,
                 struct errctx *ec)
{
    struct kvm_irqfd irqfd = {
        .fd = (uint32_t)eventfd, .gsi = gsi, .flags = add ? 0 : KVM_IRQFD_FLAG_DEASSIGN
    };

    if (ioctl(vm->fd, KVM_IRQFD, &irqfd) < 0)
        return errctx_set_os(ec, errno, "KVM_IRQFD for GSI %u", gsi);
    return 0;
}

int kvm_vm_ioeventfd(const struct kvm_vm *vm, struct gpa addr, uint32_t size, int eventfd,
                     bool add, struct errctx *ec)
{
    struct kvm_ioeventfd e = {
        .addr = addr.v,
        .len = size,
        .fd = eventfd,
        .flags = add ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN,
    };

    if (ioctl(vm->fd, KVM_IOEVENTFD, &e) < 0)
        return errctx_set_os(ec, errno, "KVM_IOEVENTFD at 0x%" PRIx64, addr.v);
    return 0;
}

int kvm_vm_signal_msi(const struct kvm_vm *vm, const struct kvm_msi *msi)
{
    struct kvm_msi copy = *msi;
    int r = ioctl(vm->fd, KVM_SIGNAL_MSI, &copy);

    return r < 0 ? -errno : r;
}
