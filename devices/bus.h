/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address decoding: which device answers at an I/O port or a memory-mapped address.
 *
 * One bus each for ports and memory. Lookups take a read lock, changes (a guest moving a BAR) a
 * write lock; the lock is not held while the device runs, so a handler may change the bus. A
 * device whose region was just removed may therefore still see one late access; it must answer
 * it harmlessly. Devices outlive every vCPU thread.
 */
#ifndef DEVICES_BUS_H
#define DEVICES_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/device.h"
#include "vmm/base/errctx.h"

struct bus;

/** bus_new() - @name is "port" or "memory", for sentences. */
int bus_new(const char *name, struct bus **ret_bus, struct errctx *ec);
void bus_free(struct bus *bus);

/**
 * bus_add() - let @dev answer [@base, @base+@len).
 * @dev_off: added to the offset handed to the device, so that one device can have several
 *           regions told apart by their offset.
 * Return: 0, -EEXIST (overlap; the sentence names both), -ERANGE (empty or wraps), -ENOMEM.
 */
int bus_add(struct bus *bus, uint64_t base, uint64_t len, struct device *dev, uint64_t dev_off,
            struct errctx *ec);

/** bus_remove() - the region that starts at @base; nothing happens when there is none. */
void bus_remove(struct bus *bus, uint64_t base);

/** bus_read() / bus_write() - an access by a vCPU. An access that no region covers whole reads
 *  all ones and is dropped on write. Return: true when a device answered. */
bool bus_read(struct bus *bus, uint64_t addr, void *data, size_t size);
bool bus_write(struct bus *bus, uint64_t addr, const void *data, size_t size);

#endif
