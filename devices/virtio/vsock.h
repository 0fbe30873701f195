/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket device (virtio 1.2, 5.10), for the registry and for tests.
 *
 *   --vsock cid=N,socket=PATH
 */
#ifndef DEVICES_VIRTIO_VSOCK_H
#define DEVICES_VIRTIO_VSOCK_H

#include <stdint.h>

#include "devices/registry.h"

extern const struct device_type vsock_device_type;

/**
 * vsock_new() - the device of guest @cid, with its listening socket at @path.
 * Return: 0; -EINVAL (cid reserved, path too long); -EADDRINUSE (a live process listens there);
 * the errno of socket, bind or listen; -ENOMEM.
 */
int vsock_new(const struct device_env *env, uint64_t cid, const char *path,
              struct virtio_dev **ret_dev, struct errctx *ec);

#endif
