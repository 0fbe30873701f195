/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's vhost-net: the only file with its system calls, which tests put their own in place of.
 */
#ifndef DEVICES_VIRTIO_VHOST_KERNEL_H
#define DEVICES_VIRTIO_VHOST_KERNEL_H

#include "vmm/base/errctx.h"

/** vhost_kernel_open() - an instance, of two rings, in *@ret_fd. Return: 0, or the errno of open, the
 *  sentence naming device and module. */
int vhost_kernel_open(int *ret_fd, struct errctx *ec);

/** vhost_kernel_ioctl() - VHOST_* of linux/vhost.h. Return: 0 or -errno. No sentence. */
int vhost_kernel_ioctl(int fd, unsigned long request, void *arg);

#endif
