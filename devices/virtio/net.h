/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device (virtio 1.2, 5.1), for the registry and for tests.
 *
 *   --net user[,hostfwd=tcp:[ADDR]:PORT-[GUESTADDR]:PORT]...[,restrict][,mac=..]
 *   --net tap=NAME[,queues=N][,mac=..]
 */
#ifndef DEVICES_VIRTIO_NET_H
#define DEVICES_VIRTIO_NET_H

#include "devices/registry.h"

extern const struct device_type net_device_type;

#endif
