/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI functions and the bus they sit on.
 *
 * One segment; one bus per root bridge, one root bridge per virtual node, bus number == vnode.
 * Devices are type 0, function 0, up to 31 per bus (device 0 is the host bridge). Configuration
 * space is reached through ECAM and through ports 0xcf8/0xcfc (mechanism #1). A function has up
 * to one MSI-X capability; INTx is not offered. BARs are 64-bit memory BARs.
 *
 * Locking: each bus has a mutex over configuration space and BAR decoding; it is taken before
 * any lock of a function and before the memory bus's lock.
 */
#ifndef DEVICES_PCI_PCI_H
#define DEVICES_PCI_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/bus.h"
#include "devices/device.h"
#include "devices/irq.h"
#include "memory/layout.h"
#include "vmm/base/errctx.h"

struct pci_host; /* ECAM, ports, all buses */
struct pci_func;
struct msix;     /* devices/pci/msix.h */

enum { PCI_CONFIG_BYTES = 4096, PCI_MAX_BARS = 3 /* 64-bit ones */, PCI_SLOTS = 32 };

struct pci_bar_desc {
    uint64_t size_bytes; /* power of two, at least 4096; 0: not there */
    bool prefetchable;
};

/* What a function is; const data of the device type plus sizes. */
struct pci_func_desc {
    uint16_t vendor, device, subsys_vendor, subsys_device;
    uint8_t revision;
    uint32_t class_code; /* 24 bits */
    struct pci_bar_desc bar[PCI_MAX_BARS];
};

struct pci_func_ops {
    /* Accesses inside BAR @bar, any thread, no lock held. */
    void (*bar_read)(struct pci_func *f, unsigned bar, uint64_t off, void *data, size_t size);
    void (*bar_write)(struct pci_func *f, unsigned bar, uint64_t off, const void *data,
                      size_t size);
    /* A BAR was mapped at @base (guest physical) or unmapped; under the bus's mutex. Optional;
     * for doorbells. */
    void (*bar_mapped)(struct pci_func *f, unsigned bar, struct gpa base, bool mapped);
    /* Capability registers beyond those the core keeps (virtio's configuration access
     * capability); @off from the start of configuration space. Optional. True when taken. */
    bool (*config_read)(struct pci_func *f, unsigned off, void *data, size_t size);
    bool (*config_write)(struct pci_func *f, unsigned off, const void *data, size_t size);
};

#endif
