/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/vhost_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

int vhost_kernel_open(int *ret_fd, struct errctx *ec)
{
    const int fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return errctx_set_os(ec, errno, "open /dev/vhost-net%s",
                             errno == ENOENT || errno == ENODEV ? " (kernel module vhost_net)" : "");
    *ret_fd = fd;
    return 0;
}

int vhost_kernel_ioctl(int fd, unsigned long request, void *arg)
{
    return ioctl(fd, request, arg) < 0 ? -errno : 0;
}
