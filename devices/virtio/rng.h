/* SPDX-License-Identifier: Apache-2.0 */
/* Entropy device (virtio 1.2, 5.4). */
#ifndef DEVICES_VIRTIO_RNG_H
#define DEVICES_VIRTIO_RNG_H

#include "devices/registry.h"

/* --rng: no keys of its own. */
extern const struct device_type rng_device_type;

#endif
