/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration space of a type 0 function (PCI 3.0, chapter 6): header, BARs, capabilities.
 *
 * The space is a byte array with a mask of the bits that the guest may write, which makes most
 * registers data. After a write three things may have to follow: BARs move, decoding starts or
 * stops, MSI-X is switched. A BAR that the guest put outside its bridge's window, or over another
 * one, is simply not decoded.
 *
 * Threading: vCPU threads, under the bus's mutex; see pci.h.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "devices/pci/msix.h"
#include "devices/pci/pci.h"
#include "devices/snapshot.h"
#include "vmm/base/checked.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum {
    BAR_SHIFT = 56, /* device offset on the memory bus: BAR number above, offset below */
    FIRST_CAP = PCI_STD_HEADER_SIZEOF,
    COMMAND_WRITABLE = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE,
};

static uint16_t get16(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static void put16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, sizeof(v));
}

static void put32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v)
{
    memcpy(p, &v, sizeof(v));
}

/* Offset of 64-bit BAR @i. */
static unsigned bar_reg(unsigned i)
{
    return PCI_BASE_ADDRESS_0 + 8 * i;
}

static uint64_t bar_programmed(const struct pci_func *f, unsigned i)
{
    uint64_t v;

    memcpy(&v, &f->config[bar_reg(i)], sizeof(v));
    return v & ~0xfull;
}

/* --- what the memory bus sees ---------------------------------------------------------------- */

static void bar_dev_read(struct device *dev, uint64_t off, void *data, size_t size)
{
    struct pci_func *f = container_of(dev, struct pci_func, bar_dev);
    unsigned bar = (unsigned)(off >> BAR_SHIFT);

    off &= (1ull << BAR_SHIFT) - 1;
    if (f->msix != NULL && bar == f->msix_bar)
        msix_read(f->msix, off, data, size);
    else
        f->ops->bar_read(f, bar, off, data, size);
}

static void bar_dev_write(struct device *dev, uint64_t off, const void *data, size_t size)
{
    struct pci_func *f = container_of(dev, struct pci_func, bar_dev);
    unsigned bar = (unsigned)(off >> BAR_SHIFT);

    off &= (1ull << BAR_SHIFT) - 1;
    if (f->msix != NULL && bar == f->msix_bar)
        msix_write(f->msix, off, data, size);
    else
        f->ops->bar_write(f, bar, off, data, size);
}

static const struct device_ops bar_dev_ops = {
    .type = "pci-bar",
    .read = bar_dev_read,
    .write = bar_dev_write,
};

static void bar_unmap_locked(struct pci_func *f, unsigned i)
{
    struct pci_bar *bar = &f->bar[i];

    if (f->ops->bar_mapped != NULL)
        f->ops->bar_mapped(f, i, (struct gpa){ bar->base }, false);
    bus_remove(pci_host_mem_bus(f->host), bar->base);
    bar->mapped = false;
}

static void bar_map_locked(struct pci_func *f, unsigned i, uint64_t base)
{
    struct pci_bar *bar = &f->bar[i];

    if (bus_add(pci_host_mem_bus(f->host), base, bar->size_bytes, &f->bar_dev,
                (uint64_t)i << BAR_SHIFT, NULL) < 0)
        return; /* over another one: not decoded */
    bar->base = base;
    bar->mapped = true;
    if (f->ops->bar_mapped != NULL)
        f->ops->bar_mapped(f, i, (struct gpa){ base }, true);
}

/* Make decoding follow the registers. */
static void update_bars_locked(struct pci_func *f)
{
    bool decode = get16(&f->config[PCI_COMMAND]) & PCI_COMMAND_MEMORY;

    if (f->host == NULL)
        return;
    /* First all that go, then all that come, so that two BARs can change places. */
    for (unsigned i = 0; i < PCI_MAX_BARS; i++)
        if (f->bar[i].mapped && (!decode || bar_programmed(f, i) != f->bar[i].base))
            bar_unmap_locked(f, i);
    for (unsigned i = 0; i < PCI_MAX_BARS && decode; i++) {
        uint64_t base = bar_programmed(f, i);

        if (f->bar[i].size_bytes != 0 && !f->bar[i].mapped &&
            pci_host_window_has(f->host, f->bus, base, f->bar[i].size_bytes))
            bar_map_locked(f, i, base);
    }
}

static void update_msix_locked(struct pci_func *f)
{
    uint16_t flags;

    if (f->msix == NULL)
        return;
    flags = get16(&f->config[f->msix_cap + PCI_MSIX_FLAGS]);
    msix_control(f->msix, flags & PCI_MSIX_FLAGS_ENABLE, flags & PCI_MSIX_FLAGS_MASKALL);
}

/* --- accesses -------------------------------------------------------------------------------- */

void pci_config_read(struct pci_func *f, unsigned off, void *data, size_t size)
{
    uint8_t *out = data;

    if (f->ops != NULL && f->ops->config_read != NULL && f->ops->config_read(f, off, data, size))
        return;
    for (size_t i = 0; i < size; i++) {
        if (off + i < sizeof(f->config))
            out[i] = f->config[off + i];
        else
            out[i] = off + i < PCI_CONFIG_BYTES ? 0 : 0xff; /* no extended capabilities */
    }
}

static bool overlaps(unsigned off, size_t size, unsigned first, unsigned len)
{
    return off < first + len && first < off + size;
}

void pci_config_write(struct pci_func *f, unsigned off, const void *data, size_t size)
{
    const uint8_t *in = data;

    if (f->ops != NULL && f->ops->config_write != NULL && f->ops->config_write(f, off, data, size))
        return;
    for (size_t i = 0; i < size && off + i < sizeof(f->config); i++) {
        uint8_t mask = f->wmask[off + i];

        f->config[off + i] = (uint8_t)((f->config[off + i] & ~mask) | (in[i] & mask));
    }
    if (overlaps(off, size, PCI_COMMAND, 2) ||
        overlaps(off, size, PCI_BASE_ADDRESS_0, 8 * PCI_MAX_BARS))
        update_bars_locked(f);
    if (f->msix != NULL && overlaps(off, size, f->msix_cap + PCI_MSIX_FLAGS, 2))
        update_msix_locked(f);
}

/* --- building -------------------------------------------------------------------------------- */

void pci_func_init(struct pci_func *f, const struct pci_func_desc *desc,
                   const struct pci_func_ops *ops, const char *name)
{
    uint8_t *c = f->config;

    *f = (struct pci_func){ .ops = ops, .bar_dev.ops = &bar_dev_ops, .cap_end = FIRST_CAP };
    (void)strncpy(f->bar_dev.name, name, sizeof(f->bar_dev.name) - 1);
    put16(c + PCI_VENDOR_ID, desc->vendor);
    put16(c + PCI_DEVICE_ID, desc->device);
    put32(c + PCI_CLASS_REVISION, desc->class_code << 8 | desc->revision);
    put16(c + PCI_SUBSYSTEM_VENDOR_ID, desc->subsys_vendor);
    put16(c + PCI_SUBSYSTEM_ID, desc->subsys_device);
    put16(f->wmask + PCI_COMMAND, COMMAND_WRITABLE);
    f->wmask[PCI_CACHE_LINE_SIZE] = 0xff; /* no meaning, but writable (6.2.4) */
    f->wmask[PCI_INTERRUPT_LINE] = 0xff;
    for (unsigned i = 0; i < PCI_MAX_BARS; i++) {
        uint64_t size = desc->bar[i].size_bytes;

        if (size == 0)
            continue;
        f->bar[i].size_bytes = size;
        put64(c + bar_reg(i), PCI_BASE_ADDRESS_MEM_TYPE_64 |
                                  (desc->bar[i].prefetchable ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0));
        put64(f->wmask + bar_reg(i), ~(size - 1));
    }
    memcpy(f->power_on, f->config, sizeof(f->config));
}

void pci_func_fini(struct pci_func *f)
{
    msix_free(f->msix);
    f->msix = NULL;
}

int pci_func_add_cap(struct pci_func *f, uint8_t id, const void *body, size_t len,
                     const void *wmask, struct errctx *ec)
{
    uint8_t at = f->cap_end;

    /* A capability starts on a dword (6.7). */
    if (align_up(len + 2, 4) > sizeof(f->config) - at)
        return errctx_set(ec, ENOSPC, "%s: no room for capability 0x%02x of %zu bytes",
                          f->bar_dev.name, id, len + 2);
    f->config[at + PCI_CAP_LIST_ID] = id;
    memcpy(&f->config[at + PCI_CAP_FLAGS], body, len);
    if (wmask != NULL)
        memcpy(&f->wmask[at + PCI_CAP_FLAGS], wmask, len);
    if (f->last_cap == 0) {
        f->config[PCI_CAPABILITY_LIST] = at;
        f->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    } else {
        f->config[f->last_cap + PCI_CAP_LIST_NEXT] = at;
    }
    f->last_cap = at;
    f->cap_end = (uint8_t)MIN(at + align_up(len + 2, 4), UINT8_MAX);
    memcpy(f->power_on, f->config, sizeof(f->config));
    return at;
}

int pci_func_add_msix(struct pci_func *f, unsigned bar, unsigned n_vectors,
                      const struct irq_services *irq, struct errctx *ec)
{
    uint8_t body[PCI_CAP_MSIX_SIZEOF - 2] = { 0 }, wmask[sizeof(body)] = { 0 };
    struct msix *msix = NULL;
    int r = msix_new(n_vectors, irq, &msix, ec);

    if (r < 0)
        return errctx_wrap(ec, r, "%s", f->bar_dev.name);
    put16(body, (uint16_t)(n_vectors - 1));
    put16(wmask, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    put32(body + PCI_MSIX_TABLE - 2, MSIX_TABLE_OFF | 2 * bar);
    put32(body + PCI_MSIX_PBA - 2, MSIX_PBA_OFF | 2 * bar);
    r = pci_func_add_cap(f, PCI_CAP_ID_MSIX, body, sizeof(body), wmask, ec);
    if (r < 0) {
        msix_free(msix);
        return r;
    }
    f->msix = msix;
    f->msix_bar = bar;
    f->msix_cap = (uint8_t)r;
    return 0;
}

/* --- life cycle ------------------------------------------------------------------------------ */

void pci_func_reset(struct pci_func *f)
{
    LOCK_SCOPE(f->lock);

    memcpy(f->config, f->power_on, sizeof(f->config));
    update_bars_locked(f);
    if (f->msix != NULL)
        msix_reset(f->msix);
}

int pci_func_save(struct pci_func *f, struct snapshot_writer *w, struct errctx *ec)
{
    LOCK_SCOPE(f->lock);

    (void)ec;
    snapshot_put_bytes(w, f->config, sizeof(f->config));
    if (f->msix != NULL)
        msix_save(f->msix, w);
    return 0;
}

int pci_func_load(struct pci_func *f, struct snapshot_reader *r, struct errctx *ec)
{
    uint8_t config[PCI_BASE_CONFIG_BYTES];
    LOCK_SCOPE(f->lock);

    snapshot_get_bytes(r, config, sizeof(config));
    if (!snapshot_reader_ok(r))
        return errctx_set(ec, EINVAL, "%s: saved configuration space is cut short",
                          f->bar_dev.name);
    for (size_t i = 0; i < sizeof(config); i++)
        if ((config[i] ^ f->config[i]) & ~f->wmask[i] & 0xff)
            return errctx_set(ec, EINVAL,
                              "%s: saved configuration space is another function's (byte %zu)",
                              f->bar_dev.name, i);
    memcpy(f->config, config, sizeof(config));
    update_bars_locked(f);
    return f->msix != NULL ? msix_load(f->msix, r, ec) : 0;
}
