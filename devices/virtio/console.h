/* SPDX-License-Identifier: Apache-2.0 */
/* Console device (virtio 1.2, 5.3), one port. */
#ifndef DEVICES_VIRTIO_CONSOLE_H
#define DEVICES_VIRTIO_CONSOLE_H

#include "devices/registry.h"

/*
 * --console: no keys of its own. Needs struct device_env to name a terminal (or a pipe or file)
 * for output; input is optional. SIGPIPE is ignored by the process.
 */
extern const struct device_type console_device_type;

#endif
