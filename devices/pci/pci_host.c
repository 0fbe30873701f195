/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root of PCI: ECAM (PCI Express 5.0, 7.2.2), configuration mechanism #1 (PCI 3.0,
 * 3.2.2.3.2), one bus per root bridge.
 *
 * Device 0 of each bus is a host bridge function without registers of its own: Linux looks for
 * one on bus 0 before it believes in mechanism #1. What a bridge forwards is fixed by the layout
 * and told to the guest by _CRS.
 *
 * Locking: see pci.h. The address latch of mechanism #1 is one word for all vCPUs, as in
 * hardware; guests lock around it themselves.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "devices/pci/msix.h"
#include "devices/pci/pci.h"
#include "devices/platform.h"
#include "devices/snapshot.h"
#include "vmm/base/checked.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

#define PORTS_OFF (1ull << 40) /* device offset of port 0xcf8; ECAM lies below */

enum {
    ECAM_BUS_SHIFT = 20,
    ECAM_BUS_BYTES = 1 << ECAM_BUS_SHIFT,
    PORTS_LEN = 8,
    PORT_DATA = 4, /* 0xcfc */
};

#define LATCH_ENABLE 0x80000000u

struct pci_bus {
    pthread_mutex_t lock; /* covers configuration and decoding of the functions in slot[] */
    const struct layout_bridge *bridge;
    struct pci_func *slot[PCI_SLOTS]; /* set while the machine is built, before vCPUs run */
    uint64_t next_base;               /* where the next BAR is placed */
    struct pci_func host_bridge;
};

struct pci_host {
    struct device dev;
    struct pci_host_params params;
    _Atomic uint32_t latch;
    size_t n_buses;
    struct pci_bus buses[]; /* index == bus number */
};

/* --- configuration accesses ------------------------------------------------------------------ */

/* The function an address names; only function 0 of a device exists. */
static struct pci_func *find(struct pci_host *host, uint64_t bus, unsigned devfn)
{
    return bus < host->n_buses && devfn % 8 == 0 ? host->buses[bus].slot[devfn / 8] : NULL;
}

static void config_access(struct pci_host *host, uint64_t bus, unsigned devfn, unsigned reg,
                          void *to, const void *from, size_t size)
{
    struct pci_func *f = find(host, bus, devfn);

    if (f == NULL) {
        if (to != NULL)
            memset(to, 0xff, size); /* master abort */
        return;
    }
    LOCK_SCOPE(f->lock);
    if (to != NULL)
        pci_config_read(f, reg, to, size);
    else
        pci_config_write(f, reg, from, size);
}

static void ecam_access(struct pci_host *host, uint64_t off, void *to, const void *from,
                        size_t size)
{
    config_access(host, off >> ECAM_BUS_SHIFT, (off >> 12) & 0xff, off & 0xfff, to, from, size);
}

static void port_read(struct pci_host *host, unsigned port, void *data, size_t size)
{
    uint32_t latch = atomic_load_explicit(&host->latch, memory_order_relaxed);
    struct device *cf9 = host->params.port_cf9;

    memset(data, 0xff, size);
    if (port == 0 && size == sizeof(latch))
        memcpy(data, &latch, sizeof(latch));
    else if (port == 1 && size == 1 && cf9 != NULL)
        cf9->ops->read(cf9, 0, data, size);
    else if (port >= PORT_DATA && (latch & LATCH_ENABLE))
        config_access(host, (latch >> 16) & 0xff, (latch >> 8) & 0xff,
                      (latch & 0xfc) + (port - PORT_DATA), data, NULL, size);
}

static void port_write(struct pci_host *host, unsigned port, const void *data, size_t size)
{
    uint32_t latch = atomic_load_explicit(&host->latch, memory_order_relaxed);
    struct device *cf9 = host->params.port_cf9;

    if (port == 0 && size == sizeof(latch)) {
        memcpy(&latch, data, sizeof(latch));
        atomic_store_explicit(&host->latch, latch & ~0x7f000003u, memory_order_relaxed);
    } else if (port == 1 && size == 1 && cf9 != NULL) {
        cf9->ops->write(cf9, 0, data, size);
    } else if (port >= PORT_DATA && (latch & LATCH_ENABLE)) {
        config_access(host, (latch >> 16) & 0xff, (latch >> 8) & 0xff,
                      (latch & 0xfc) + (port - PORT_DATA), NULL, data, size);
    }
}

static void pci_host_read(struct device *dev, uint64_t off, void *data, size_t size)
{
    struct pci_host *host = container_of(dev, struct pci_host, dev);

    if (off >= PORTS_OFF)
        port_read(host, (unsigned)(off - PORTS_OFF), data, size);
    else
        ecam_access(host, off, data, NULL, size);
}

static void pci_host_write(struct device *dev, uint64_t off, const void *data, size_t size)
{
    struct pci_host *host = container_of(dev, struct pci_host, dev);

    if (off >= PORTS_OFF)
        port_write(host, (unsigned)(off - PORTS_OFF), data, size);
    else
        ecam_access(host, off, NULL, data, size);
}

/* --- functions on buses ---------------------------------------------------------------------- */

struct bus *pci_host_mem_bus(const struct pci_host *host)
{
    return host->params.mem_bus;
}

static bool inside(uint64_t base, uint64_t len, uint64_t window, uint64_t window_len)
{
    return base >= window && checked_range(base - window, len, window_len);
}

bool pci_host_window_has(const struct pci_host *host, uint8_t bus, uint64_t base, uint64_t len)
{
    const struct layout_bridge *b = host->buses[bus].bridge;

    return inside(base, len, b->mmio64_base, b->mmio64_len) ||
           inside(base, len, b->mmio32_base, b->mmio32_len);
}

/* Give every BAR of @f an address. Nothing is changed when one finds no room. */
static int place_bars(struct pci_bus *bus, struct pci_func *f, struct errctx *ec)
{
    uint64_t base[PCI_MAX_BARS] = { 0 }, next = bus->next_base;

    for (unsigned i = 0; i < PCI_MAX_BARS; i++) {
        uint64_t size = f->bar[i].size_bytes;

        if (size == 0)
            continue;
        if (!checked_align_up(next, size, &base[i]) ||
            !inside(base[i], size, bus->bridge->mmio64_base, bus->bridge->mmio64_len))
            return errctx_set(ec, ENOSPC, "%s: the PCI window of node %u has no room for BAR %u",
                              f->bar_dev.name, bus->bridge->vnode.v, 2 * i);
        next = base[i] + size;
    }
    bus->next_base = next;
    for (unsigned i = 0; i < PCI_MAX_BARS; i++) {
        uint8_t *reg = &f->config[0x10 + 8 * i];
        uint64_t v;

        if (f->bar[i].size_bytes == 0)
            continue;
        memcpy(&v, reg, sizeof(v));
        v = (v & 0xf) | base[i];
        memcpy(reg, &v, sizeof(v));
    }
    memcpy(f->power_on, f->config, sizeof(f->config));
    return 0;
}

int pci_host_add_func(struct pci_host *host, uint8_t bus_nr, struct pci_func *f, struct errctx *ec)
{
    struct pci_bus *bus;
    unsigned slot = 0;
    int r;

    if (bus_nr >= host->n_buses)
        return errctx_set(ec, ENOENT, "%s: there is no PCI bus %u", f->bar_dev.name, bus_nr);
    bus = &host->buses[bus_nr];
    LOCK_SCOPE(&bus->lock);
    while (slot < PCI_SLOTS && bus->slot[slot] != NULL)
        slot++;
    if (slot == PCI_SLOTS)
        return errctx_set(ec, ENOSPC, "%s: PCI bus %u has no free slot", f->bar_dev.name, bus_nr);
    r = place_bars(bus, f, ec);
    if (r < 0)
        return r;
    f->host = host;
    f->lock = &bus->lock;
    f->bus = bus_nr;
    f->slot = (uint8_t)slot;
    bus->slot[slot] = f;
    if (f->msix != NULL)
        msix_set_requester(f->msix, (uint32_t)bus_nr << 8 | slot << 3);
    return 0;
}

void pci_host_remove_func(struct pci_func *f)
{
    if (f->host == NULL)
        return;
    pci_func_reset(f); /* unmaps its BARs */
    {
        LOCK_SCOPE(f->lock);
        f->host->buses[f->bus].slot[f->slot] = NULL;
    }
    f->host = NULL;
}

/* --- life cycle ------------------------------------------------------------------------------ */

static void pci_host_reset(struct device *dev)
{
    struct pci_host *host = container_of(dev, struct pci_host, dev);

    atomic_store_explicit(&host->latch, 0, memory_order_relaxed);
    for (size_t i = 0; i < host->n_buses; i++)
        pci_func_reset(&host->buses[i].host_bridge);
}

static int pci_host_save(struct device *dev, struct snapshot_writer *w, struct errctx *ec)
{
    struct pci_host *host = container_of(dev, struct pci_host, dev);
    int r = 0;

    snapshot_put_u32(w, atomic_load_explicit(&host->latch, memory_order_relaxed));
    snapshot_put_u32(w, (uint32_t)host->n_buses);
    for (size_t i = 0; i < host->n_buses && r == 0; i++)
        r = pci_func_save(&host->buses[i].host_bridge, w, ec);
    return r;
}

static int pci_host_load(struct device *dev, struct snapshot_reader *rd, uint32_t version,
                         struct errctx *ec)
{
    struct pci_host *host = container_of(dev, struct pci_host, dev);
    uint32_t latch = snapshot_get_u32(rd), n = snapshot_get_u32(rd);
    int r = 0;

    (void)version;
    if (n != host->n_buses)
        return errctx_set(ec, EINVAL, "saved state has %u PCI buses, the machine has %zu", n,
                          host->n_buses);
    for (size_t i = 0; i < host->n_buses && r == 0; i++)
        r = pci_func_load(&host->buses[i].host_bridge, rd, ec);
    if (r == 0)
        atomic_store_explicit(&host->latch, latch, memory_order_relaxed);
    return r;
}

static void pci_host_destroy(struct device *dev)
{
    pci_host_free(container_of(dev, struct pci_host, dev));
}

static const struct device_ops pci_host_ops = {
    .type = "pci-host",
    .version = 1,
    .read = pci_host_read,
    .write = pci_host_write,
    .reset = pci_host_reset,
    .save = pci_host_save,
    .load = pci_host_load,
    .destroy = pci_host_destroy,
};

/* Ids of the generic virtual host bridge, which no driver binds to. */
static const struct pci_func_desc host_bridge_desc = {
    .vendor = 0x1b36,
    .device = 0x0008,
    .subsys_vendor = 0x1af4,
    .subsys_device = 0x1100,
    .class_code = 0x060000,
};

int pci_host_new(const struct pci_host_params *params, struct pci_host **ret_host,
                 struct errctx *ec)
{
    size_t n = params->layout->n_bridges;
    struct pci_host *host = calloc(1, sizeof(*host) + n * sizeof(host->buses[0]));
    int r;

    if (host == NULL)
        return errctx_set(ec, ENOMEM, "no memory for %zu PCI buses", n);
    host->dev.ops = &pci_host_ops;
    (void)strcpy(host->dev.name, "pci-host");
    host->params = *params;
    host->n_buses = n;
    for (size_t i = 0; i < n; i++) {
        struct pci_bus *bus = &host->buses[i];

        (void)pthread_mutex_init(&bus->lock, NULL);
        bus->bridge = &params->layout->bridges[i];
        bus->next_base = bus->bridge->mmio64_base;
        pci_func_init(&bus->host_bridge, &host_bridge_desc, NULL, "host bridge");
        (void)pci_host_add_func(host, (uint8_t)i, &bus->host_bridge, NULL); /* slot 0 is free */
    }
    r = bus_add(params->mem_bus, params->layout->ecam_base, n * ECAM_BUS_BYTES, &host->dev, 0, ec);
    if (r < 0)
        goto err_free;
    if (params->port_bus != NULL)
        r = bus_add(params->port_bus, PLATFORM_PCI_CF8, PORTS_LEN, &host->dev, PORTS_OFF, ec);
    if (r < 0)
        goto err_ecam;
    *ret_host = host;
    return 0;

err_ecam:
    bus_remove(params->mem_bus, params->layout->ecam_base);
err_free:
    for (size_t i = 0; i < n; i++)
        (void)pthread_mutex_destroy(&host->buses[i].lock);
    free(host);
    return r;
}

struct device *pci_host_device(struct pci_host *host)
{
    return &host->dev;
}

void pci_host_free(struct pci_host *host)
{
    if (host == NULL)
        return;
    if (host->params.port_bus != NULL)
        bus_remove(host->params.port_bus, PLATFORM_PCI_CF8);
    bus_remove(host->params.mem_bus, host->params.layout->ecam_base);
    for (size_t i = 0; i < host->n_buses; i++)
        (void)pthread_mutex_destroy(&host->buses[i].lock);
    free(host);
}
