/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices that another process serves through vhost-user, for the registry.
 *
 *   --vhost-user fs,socket=PATH,tag=NAME     --vhost-user blk,socket=PATH     --vhost-user net,...
 */
#ifndef DEVICES_VIRTIO_VHOST_USER_H
#define DEVICES_VIRTIO_VHOST_USER_H

#include "devices/registry.h"

extern const struct device_type vhost_user_device_type;

#endif
