/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI functions and the bus they sit on.
 *
 * One segment; one bus per root bridge, one root bridge per virtual node, bus number == vnode.
 * Devices are type 0, function 0, up to 31 per bus (device 0 is the host bridge). Configuration
 * space is reached through ECAM and through ports 0xcf8/0xcfc (mechanism #1). A function has up
 * to one MSI-X capability; INTx is not offered. BARs are 64-bit memory BARs.
 *
 * BARs are placed at creation inside the 64-bit window of the bus's root bridge, so a guest without
 * PCI code of its own finds addresses; decoding starts when it sets the command register's memory
 * bit. A guest may move BARs, but only inside that window and not over each other: anything else
 * is not decoded, as a bridge forwards nothing outside its window.
 *
 * Locking: each bus has a mutex over configuration space and BAR decoding; it is taken before
 * any lock of a function and before the memory bus's lock.
 */
#ifndef DEVICES_PCI_PCI_H
#define DEVICES_PCI_PCI_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/bus.h"
#include "devices/device.h"
#include "devices/irq.h"
#include "memory/layout.h"
#include "vmm/base/errctx.h"

struct pci_host; /* ECAM, ports, all buses */
struct pci_func;
struct msix; /* devices/pci/msix.h */

enum {
    PCI_CONFIG_BYTES = 4096,
    PCI_MAX_BARS = 3, /* 64-bit ones; BAR @i is register pair 2i, 2i+1 */
    PCI_SLOTS = 32,
    PCI_BASE_CONFIG_BYTES = 256, /* the part with content; the rest reads as zero */
};

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
    /* Accesses inside BAR @bar, any thread, no lock held (but see config_read). */
    void (*bar_read)(struct pci_func *f, unsigned bar, uint64_t off, void *data, size_t size);
    void (*bar_write)(struct pci_func *f, unsigned bar, uint64_t off, const void *data,
                      size_t size);
    /* A BAR was mapped at @base (guest physical) or unmapped; under the bus's mutex. Optional;
     * for doorbells. */
    void (*bar_mapped)(struct pci_func *f, unsigned bar, struct gpa base, bool mapped);
    /* Capability registers beyond those the core keeps (virtio's configuration access
     * capability); @off from the start of configuration space; under the bus's mutex. Optional.
     * True when taken. */
    bool (*config_read)(struct pci_func *f, unsigned off, void *data, size_t size);
    bool (*config_write)(struct pci_func *f, unsigned off, const void *data, size_t size);
};

struct pci_bar {
    uint64_t size_bytes; /* 0: not there */
    uint64_t base;       /* where it is decoded now; valid while mapped */
    bool mapped;
};

/* Embedded in each function's own struct. Filled by pci_func_init() and pci_host_add_func();
 * content is covered by the bus's mutex once the function sits on a bus. */
struct pci_func {
    const struct pci_func_ops *ops;
    struct device bar_dev; /* what the memory bus sees; its name is the function's */
    struct pci_host *host; /* NULL: not on a bus */
    pthread_mutex_t *lock; /* the bus's mutex */
    uint8_t bus, slot;
    struct pci_bar bar[PCI_MAX_BARS];
    uint8_t config[PCI_BASE_CONFIG_BYTES];   /* as the guest reads it */
    uint8_t wmask[PCI_BASE_CONFIG_BYTES];    /* bits that the guest may write */
    uint8_t power_on[PCI_BASE_CONFIG_BYTES]; /* what a reset restores */
    uint8_t last_cap;                        /* offset of the capability added last; 0: none */
    uint8_t cap_end;                         /* next free offset for a capability */
    struct msix *msix;                       /* owned; NULL: none */
    unsigned msix_bar;
    uint8_t msix_cap;
};

/* --- functions: devices/pci/config_space.c --------------------------------------------------- */

/**
 * pci_func_init() - a type 0 function that is on no bus yet.
 * @name: copied; for sentences.
 * @ops: NULL for a function without BARs.
 */
void pci_func_init(struct pci_func *f, const struct pci_func_desc *desc,
                   const struct pci_func_ops *ops, const char *name);

/** pci_func_fini() - after pci_host_remove_func(). Releases MSI-X. */
void pci_func_fini(struct pci_func *f);

/**
 * pci_func_add_cap() - append a capability (PCI 3.0, 6.7).
 * @id: capability id; @body: the bytes after id and next pointer; @wmask: bits of @body that the
 * guest may write, NULL for none. Before the function is on a bus.
 * Return: its offset, or -ENOSPC.
 */
int pci_func_add_cap(struct pci_func *f, uint8_t id, const void *body, size_t len,
                     const void *wmask, struct errctx *ec);

/** pci_func_add_msix() - give the function @n_vectors (at most MSIX_MAX_VECTORS) with table and
 *  pending bits in BAR @bar, which @desc made MSIX_BAR_BYTES large and which then is the core's.
 *  Return: 0, -ENOSPC, -ENOMEM, or what line_new() said. */
int pci_func_add_msix(struct pci_func *f, unsigned bar, unsigned n_vectors,
                      const struct irq_services *irq, struct errctx *ec);

/** pci_func_reset() - registers, BARs and MSI-X as at creation; nothing is decoded. */
void pci_func_reset(struct pci_func *f);

/** pci_func_save() / pci_func_load() - configuration space, BAR places, MSI-X. While no vCPU
 *  runs. Load maps BARs again. -EINVAL when the state is not one of this function. */
int pci_func_save(struct pci_func *f, struct snapshot_writer *w, struct errctx *ec);
int pci_func_load(struct pci_func *f, struct snapshot_reader *r, struct errctx *ec);

/** pci_config_read() / pci_config_write() - a guest's access to configuration space, under the
 *  bus's mutex. Any @off and @size (1, 2, 4); what lies past the end reads as ones. */
void pci_config_read(struct pci_func *f, unsigned off, void *data, size_t size);
void pci_config_write(struct pci_func *f, unsigned off, const void *data, size_t size);

/* --- the host: devices/pci/pci_host.c -------------------------------------------------------- */

struct pci_host_params {
    const struct mem_layout *layout; /* borrowed, outlives the host; one bus per bridge */
    struct bus *mem_bus;             /* gets the ECAM region and BARs */
    struct bus *port_bus;            /* gets 0xcf8-0xcff; NULL: no mechanism #1 */
    /* The device behind the byte at 0xcf9 (reset control), which lies inside mechanism #1's
     * range and therefore cannot be on the bus itself. NULL: reads as ones. Borrowed. */
    struct device *port_cf9;
};

/**
 * pci_host_new() - ECAM at the layout's place, mechanism #1 and a host bridge function at device 0
 * of every bus.
 * Return: 0, -ENOMEM, or what bus_add() said.
 */
int pci_host_new(const struct pci_host_params *params, struct pci_host **ret_host,
                 struct errctx *ec);

/** pci_host_free() - after every function was removed and no vCPU runs. NULL is allowed. */
void pci_host_free(struct pci_host *host);

/** pci_host_device() - the host as a device of the machine, for reset, save and load; its
 *  destroy is pci_host_free(). */
struct device *pci_host_device(struct pci_host *host);

/**
 * pci_host_add_func() - put @f into the first free slot of bus @bus and place its BARs.
 * Return: 0, -ENOENT (no such bus), -ENOSPC (no slot, or no room in the bridge's window).
 */
int pci_host_add_func(struct pci_host *host, uint8_t bus, struct pci_func *f, struct errctx *ec);

/** pci_host_remove_func() - take @f off its bus; nothing when it is on none. */
void pci_host_remove_func(struct pci_func *f);

/** pci_host_window_has() - does [@base, @base+@len) lie in a window of @bus's bridge? With
 *  pci_host_mem_bus() for config_space.c. */
bool pci_host_window_has(const struct pci_host *host, uint8_t bus, uint64_t base, uint64_t len);
struct bus *pci_host_mem_bus(const struct pci_host *host);

#endif
