/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk (virtio 1.2, 5.2): a disk on a raw file or a block device.
 *
 *   --disk FILE[,ro][,queues=N][,serial=TEXT][,direct=on][,sync=on]
 *
 *   file=PATH    raw image or block device; its size is the disk's capacity
 *   ro           the guest cannot write; several machines may share the file
 *   queues=N     request queues, 1 .. 64; all are served on the device's one I/O thread
 *   serial=TEXT  up to 20 bytes; Linux shows it in /sys/block/vdX/serial
 *   direct=on    go past the host's page cache (O_DIRECT)
 *   sync=on      every write is on stable storage before the guest hears that it is done
 */
#ifndef DEVICES_VIRTIO_BLK_H
#define DEVICES_VIRTIO_BLK_H

#include "devices/registry.h"

extern const struct device_type blk_device_type;

#endif
