/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every device is to the rest of the machine.
 *
 * Life cycle:  create -> (quiesce <-> resume) -> reset -> destroy,  plus save and load.
 *
 *   created   answers register accesses, does no I/O before the guest asks
 *   quiesced  no in-flight I/O, no lease held, no interrupt raised, no guest memory touched;
 *             requests that arrive stay pending (in rings, eventfds, kernel buffers)
 *   reset     state as after create; backends (files, TAPs, sockets) stay open; called on a
 *             quiesced device, which stays quiesced
 *   save/load on a quiesced device; load on one created with the same parameters
 *
 * read and write run on vCPU threads, under the device's own lock where it needs one. A guest
 * decides when and how often: they never block on I/O, allocate without bound, exit, or log
 * above debug. quiesce and resume run on the device's loop, or on the machine's thread while nobody
 * runs that; reset, save, load and destroy on the machine's thread. All of them while no vCPU runs.
 */
#ifndef DEVICES_DEVICE_H
#define DEVICES_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

struct device;
struct evloop;
struct snapshot_writer; /* devices/snapshot.h */
struct snapshot_reader;

struct device_ops {
    const char *type; /* "serial"; also the section name in a saved state */
    uint32_t version; /* of the saved state; a loader refuses a higher one */

    /* @off from the start of the region; @size 1, 2, 4 or 8 (any size for strings of PIO is
     * split by the caller). Required for devices on a bus. A read fills all of @data. */
    void (*read)(struct device *dev, uint64_t off, void *data, size_t size);
    void (*write)(struct device *dev, uint64_t off, const void *data, size_t size);

    void (*quiesce)(struct device *dev); /* optional: nothing runs behind the guest's back */
    void (*resume)(struct device *dev);  /* optional, with quiesce */
    void (*reset)(struct device *dev);   /* required */
    int (*save)(struct device *dev, struct snapshot_writer *w, struct errctx *ec);
    int (*load)(struct device *dev, struct snapshot_reader *r, uint32_t version,
                struct errctx *ec);
    void (*destroy)(struct device *dev); /* required; on a quiesced device; frees @dev */
};

/* Embedded in each device's own struct. */
struct device {
    const struct device_ops *ops;
    const struct evloop *loop; /* where it lives; NULL: on the machine's thread */
    char name[32]; /* unique in the machine: "serial0", "disk1"; for sentences and saved state */
};

#endif
