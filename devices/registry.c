/* SPDX-License-Identifier: Apache-2.0 */
/* The device types, in build order. See registry.h; a new device adds its row here. */
#include "devices/registry.h"

#include <string.h>

#include "devices/virtio/balloon.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/console.h"
#include "devices/virtio/net.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/vhost_user.h"
#include "devices/virtio/vsock.h"

static const struct device_type *const types[] = {
    &blk_device_type,
    &net_device_type,
    &rng_device_type,
    &console_device_type,
    &vsock_device_type,
    &vhost_user_device_type,
    &balloon_device_type,
    NULL,
};

const struct device_type *const *registry_types(void)
{
    return types;
}

const struct device_type *registry_find(const char *name)
{
    for (size_t i = 0; types[i] != NULL; i++)
        if (strcmp(types[i]->name, name) == 0)
            return types[i];
    return NULL;
}
