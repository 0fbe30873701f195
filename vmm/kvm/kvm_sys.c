/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/kvm_sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"

int kvm_sys_open(const char *path, struct kvm_sys *ret_sys, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    int version, size;

    if (fd < 0)
        return errctx_set_os(ec, errno, "open %s", path);
    version = ioctl(fd, KVM_GET_API_VERSION, 0);
    if (version < 0)
        return errctx_set(ec, ENOSYS, "%s is not KVM's device", path);
    if (version != KVM_API_VERSION)
        return errctx_set(ec, ENOSYS, "%s speaks version %d of KVM's interface, not %d", path,
                          version, KVM_API_VERSION);
    size = ioctl(fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (size < (int)sizeof(struct kvm_run))
        return errctx_set_os(ec, errno, "KVM_GET_VCPU_MMAP_SIZE");
    ret_sys->run_bytes = (size_t)size;
    ret_sys->fd = take_fd(&fd);
    return 0;
}

void kvm_sys_close(struct kvm_sys *sys)
{
    if (sys->fd >= 0)
        (void)close(sys->fd);
    sys->fd = -1;
}

int kvm_sys_check(const struct kvm_sys *sys, unsigned cap)
{
    int v = ioctl(sys->fd, KVM_CHECK_EXTENSION, (unsigned long)cap);

    return v < 0 ? 0 : v;
}
