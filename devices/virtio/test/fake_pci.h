/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine without a CPU for tests of PCI functions: buses, PCI host, an interrupt controller
 * that counts and doorbells that work as KVM's do. On top of it a virtio driver that finds its
 * way through configuration space, capabilities and common configuration as a guest would.
 */
#ifndef DEVICES_VIRTIO_TEST_FAKE_PCI_H
#define DEVICES_VIRTIO_TEST_FAKE_PCI_H

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/bus.h"
#include "devices/irq.h"
#include "devices/pci/pci.h"
#include "devices/virtio/test/fake_driver.h"

enum { FAKE_LINES = 512, FAKE_DOORBELLS = 512 };

struct fake_line {
    int fd; /* 0: free */
    uint64_t addr;
    uint32_t data;
    unsigned sets;
};

struct fake_doorbell {
    uint64_t addr;
    uint32_t size;
    int fd; /* 0: free */
};

struct fake_machine {
    struct fake_mem fm;
    struct bus *mem_bus, *port_bus;
    struct pci_host *host;
    struct fake_line lines[FAKE_LINES];
    unsigned lines_left; /* line_new fails when it reaches 0 */
    struct fake_doorbell bells[FAKE_DOORBELLS];
    bool no_doorbells;   /* add refuses: the machine has no ioeventfd */
    struct irq_services irq;
};

static inline int fake_line_new(void *ctx, struct msi_line *ret_line, struct errctx *ec)
{
    struct fake_machine *m = ctx;

    for (uint32_t i = 0; i < FAKE_LINES && m->lines_left > 0; i++) {
        if (m->lines[i].fd != 0)
            continue;
        m->lines[i] = (struct fake_line){ .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) };
        FAKE_MUST(m->lines[i].fd > 0);
        m->lines_left--;
        *ret_line = (struct msi_line){ .fd = m->lines[i].fd, .gsi = i };
        return 0;
    }
    return errctx_set(ec, ENOSPC, "no interrupt lines left");
}

static inline void fake_line_free(void *ctx, struct msi_line *line)
{
    struct fake_machine *m = ctx;

    (void)close(line->fd);
    m->lines[line->gsi].fd = 0;
    m->lines_left++;
}

static inline void fake_line_set(void *ctx, const struct msi_line *line, uint64_t addr,
                                 uint32_t data)
{
    struct fake_machine *m = ctx;

    m->lines[line->gsi].addr = addr;
    m->lines[line->gsi].data = data;
    m->lines[line->gsi].sets++;
}

static inline int fake_doorbell_add(void *ctx, struct gpa addr, uint32_t size, int fd)
{
    struct fake_machine *m = ctx;

    for (unsigned i = 0; i < FAKE_DOORBELLS && !m->no_doorbells; i++) {
        if (m->bells[i].fd != 0)
            continue;
        m->bells[i] = (struct fake_doorbell){ addr.v, size, fd };
        return 0;
    }
    return -ENOSPC;
}

static inline void fake_doorbell_remove(void *ctx, struct gpa addr, uint32_t size, int fd)
{
    struct fake_machine *m = ctx;

    for (unsigned i = 0; i < FAKE_DOORBELLS; i++) {
        struct fake_doorbell *b = &m->bells[i];

        if (b->fd == fd && b->addr == addr.v && b->size == size) {
            b->fd = 0;
            return;
        }
    }
    abort(); /* removed what was never added */
}

static inline unsigned fake_doorbells(const struct fake_machine *m)
{
    unsigned n = 0;

    for (unsigned i = 0; i < FAKE_DOORBELLS; i++)
        n += m->bells[i].fd != 0;
    return n;
}

static inline void fake_machine_init(struct fake_machine *m)
{
    static const struct msi_ops msi = { fake_line_new, fake_line_free, fake_line_set };
    static const struct doorbell_ops doorbell = { fake_doorbell_add, fake_doorbell_remove };
    struct pci_host_params params;

    memset(m, 0, sizeof(*m));
    m->lines_left = FAKE_LINES;
    m->irq = (struct irq_services){ .msi = &msi, .doorbell = &doorbell, .ctx = m };
    fake_mem_init(&m->fm);
    FAKE_MUST(bus_new("memory", &m->mem_bus, NULL) == 0);
    FAKE_MUST(bus_new("port", &m->port_bus, NULL) == 0);
    params = (struct pci_host_params){ .layout = &m->fm.layout,
                                       .mem_bus = m->mem_bus,
                                       .port_bus = m->port_bus };
    FAKE_MUST(pci_host_new(&params, &m->host, NULL) == 0);
}

static inline void fake_machine_fini(struct fake_machine *m)
{
    FAKE_MUST(fake_doorbells(m) == 0);
    FAKE_MUST(m->lines_left == FAKE_LINES);
    FAKE_MUST(guest_mem_leases(m->fm.mem) == 0);
    pci_host_free(m->host);
    bus_free(m->mem_bus);
    bus_free(m->port_bus);
    fake_mem_fini(&m->fm);
}

/* --- accesses as vCPUs make them ------------------------------------------------------------- */

static inline uint64_t fake_mmio_read(struct fake_machine *m, uint64_t addr, size_t size)
{
    uint64_t v = 0;

    (void)bus_read(m->mem_bus, addr, &v, size);
    return v;
}

static inline void fake_mmio_write(struct fake_machine *m, uint64_t addr, uint64_t v, size_t size)
{
    for (unsigned i = 0; i < FAKE_DOORBELLS; i++) {
        const struct fake_doorbell *b = &m->bells[i];
        uint64_t one = 1;

        if (b->fd != 0 && b->addr == addr && (b->size == 0 || b->size == size)) {
            FAKE_MUST(write(b->fd, &one, sizeof(one)) == sizeof(one));
            return;
        }
    }
    (void)bus_write(m->mem_bus, addr, &v, size);
}

static inline uint64_t fake_ecam(unsigned bus, unsigned slot, unsigned off)
{
    return test_map.ecam_base + ((uint64_t)bus << 20) + (slot << 15) + off;
}

/* Interrupts delivered by line @gsi since the last call. */
static inline uint64_t fake_line_fired(struct fake_machine *m, unsigned gsi)
{
    uint64_t n = 0;

    (void)!read(m->lines[gsi].fd, &n, sizeof(n));
    return n;
}

/* --- a virtio driver ------------------------------------------------------------------------- */

struct fake_vdrv {
    struct fake_machine *m;
    uint64_t config; /* address of its configuration space */
    uint64_t common, isr, device, notify; /* addresses of the structures; 0: not there */
    uint32_t notify_mult;
    uint64_t msix_table, msix_pba;
    unsigned msix_cap, window_cap;
    struct fake_queue q[VIRTIO_MAX_QUEUES];
};

static inline uint64_t fake_bar(struct fake_vdrv *d, unsigned reg)
{
    return fake_mmio_read(d->m, d->config + PCI_BASE_ADDRESS_0 + 4 * reg, 8) & ~0xfull;
}

static inline void fake_vdrv_cap(struct fake_vdrv *d, unsigned cap)
{
    uint64_t at = d->config + cap;
    unsigned type = (unsigned)fake_mmio_read(d->m, at + 3, 1);
    uint64_t addr = fake_bar(d, (unsigned)fake_mmio_read(d->m, at + 4, 1)) +
                    fake_mmio_read(d->m, at + 8, 4);

    if (type == VIRTIO_PCI_CAP_COMMON_CFG)
        d->common = addr;
    else if (type == VIRTIO_PCI_CAP_ISR_CFG)
        d->isr = addr;
    else if (type == VIRTIO_PCI_CAP_DEVICE_CFG)
        d->device = addr;
    else if (type == VIRTIO_PCI_CAP_PCI_CFG)
        d->window_cap = cap;
    else if (type == VIRTIO_PCI_CAP_NOTIFY_CFG) {
        d->notify = addr;
        d->notify_mult = (uint32_t)fake_mmio_read(d->m, at + 16, 4);
    }
}

/* Find the capabilities of the function at @bus:@slot and switch decoding on. */
static inline void fake_vdrv_probe(struct fake_vdrv *d, struct fake_machine *m, unsigned bus,
                                   unsigned slot)
{
    unsigned cap, left = 48;

    memset(d, 0, sizeof(*d));
    d->m = m;
    d->config = fake_ecam(bus, slot, 0);
    FAKE_MUST(fake_mmio_read(m, d->config + PCI_VENDOR_ID, 2) == 0x1af4);
    for (cap = (unsigned)fake_mmio_read(m, d->config + PCI_CAPABILITY_LIST, 1); cap != 0;
         cap = (unsigned)fake_mmio_read(m, d->config + cap + 1, 1)) {
        uint32_t table, pba;

        FAKE_MUST(left-- > 0);
        if (fake_mmio_read(m, d->config + cap, 1) == PCI_CAP_ID_VNDR)
            fake_vdrv_cap(d, cap);
        if (fake_mmio_read(m, d->config + cap, 1) != PCI_CAP_ID_MSIX)
            continue;
        table = (uint32_t)fake_mmio_read(m, d->config + cap + PCI_MSIX_TABLE, 4);
        pba = (uint32_t)fake_mmio_read(m, d->config + cap + PCI_MSIX_PBA, 4);
        d->msix_cap = cap;
        d->msix_table = fake_bar(d, table & 7) + (table & ~7u);
        d->msix_pba = fake_bar(d, pba & 7) + (pba & ~7u);
    }
    fake_mmio_write(m, d->config + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static inline uint8_t fake_vdrv_status(struct fake_vdrv *d)
{
    return (uint8_t)fake_mmio_read(d->m, d->common + VIRTIO_PCI_COMMON_STATUS, 1);
}

static inline void fake_vdrv_set_status(struct fake_vdrv *d, uint8_t status)
{
    fake_mmio_write(d->m, d->common + VIRTIO_PCI_COMMON_STATUS, status, 1);
}

/* Write 0 and wait until it reads back; false after about @timeout_ms. */
static inline bool fake_vdrv_reset(struct fake_vdrv *d, unsigned timeout_ms)
{
    uint64_t deadline = evloop_now_ns() + timeout_ms * 1000000ull;

    fake_vdrv_set_status(d, 0);
    while (fake_vdrv_status(d) != 0) {
        struct timespec nap = { .tv_nsec = 50000 };

        if (evloop_now_ns() > deadline)
            return false;
        (void)nanosleep(&nap, NULL);
    }
    return true;
}

static inline uint64_t fake_vdrv_features(struct fake_vdrv *d)
{
    uint64_t f;

    fake_mmio_write(d->m, d->common + VIRTIO_PCI_COMMON_DFSELECT, 0, 4);
    f = fake_mmio_read(d->m, d->common + VIRTIO_PCI_COMMON_DF, 4);
    fake_mmio_write(d->m, d->common + VIRTIO_PCI_COMMON_DFSELECT, 1, 4);
    return f | fake_mmio_read(d->m, d->common + VIRTIO_PCI_COMMON_DF, 4) << 32;
}

/* Up to FEATURES_OK with @features; what the status says then. */
static inline uint8_t fake_vdrv_negotiate(struct fake_vdrv *d, uint64_t features)
{
    uint8_t s = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

    fake_vdrv_set_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    fake_vdrv_set_status(d, s);
    fake_mmio_write(d->m, d->common + VIRTIO_PCI_COMMON_GFSELECT, 0, 4);
    fake_mmio_write(d->m, d->common + VIRTIO_PCI_COMMON_GF, (uint32_t)features, 4);
    fake_mmio_write(d->m, d->common + VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
    fake_mmio_write(d->m, d->common + VIRTIO_PCI_COMMON_GF, features >> 32, 4);
    fake_vdrv_set_status(d, s | VIRTIO_CONFIG_S_FEATURES_OK);
    return fake_vdrv_status(d);
}

/* Tell the device where queue @i is, with vector @i + 1, and enable it. */
static inline void fake_vdrv_queue(struct fake_vdrv *d, unsigned i, uint16_t size)
{
    struct fake_queue *q = &d->q[i];

    fake_queue_init(q, d->m->fm.mem, FAKE_RING_BASE + (uint64_t)i * FAKE_RING_STRIDE, size);
    fake_mmio_write(d->m, d->common + VIRTIO_PCI_COMMON_Q_SELECT, i, 2);
    fake_mmio_write(d->m, d->common + VIRTIO_PCI_COMMON_Q_SIZE, size, 2);
    fake_mmio_write(d->m, d->common + VIRTIO_PCI_COMMON_Q_MSIX, i + 1, 2);
    fake_mmio_write(d->m, d->common + VIRTIO_PCI_COMMON_Q_DESCLO, (uint32_t)q->desc_addr, 4);
    fake_mmio_write(d->m, d->common + VIRTIO_PCI_COMMON_Q_DESCHI, q->desc_addr >> 32, 4);
    fake_mmio_write(d->m, d->common + VIRTIO_PCI_COMMON_Q_AVAILLO, q->avail_addr, 8);
    fake_mmio_write(d->m, d->common + VIRTIO_PCI_COMMON_Q_USEDLO, q->used_addr, 8);
    fake_mmio_write(d->m, d->common + VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
}

static inline void fake_vdrv_driver_ok(struct fake_vdrv *d)
{
    fake_mmio_write(d->m, d->common + VIRTIO_PCI_COMMON_MSIX, 0, 2);
    fake_vdrv_set_status(d, fake_vdrv_status(d) | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* Enable MSI-X with @n vectors unmasked; vector v delivers data 0x100 + v. */
static inline void fake_vdrv_msix(struct fake_vdrv *d, unsigned n)
{
    for (unsigned v = 0; v < n; v++) {
        fake_mmio_write(d->m, d->msix_table + 16 * v, 0xfee00000, 4);
        fake_mmio_write(d->m, d->msix_table + 16 * v + 4, 0, 4);
        fake_mmio_write(d->m, d->msix_table + 16 * v + 8, 0x100 + v, 4);
        fake_mmio_write(d->m, d->msix_table + 16 * v + 12, 0, 4);
    }
    fake_mmio_write(d->m, d->config + d->msix_cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
}

static inline void fake_vdrv_notify(struct fake_vdrv *d, unsigned i)
{
    fake_mmio_write(d->m, d->notify + (uint64_t)i * d->notify_mult, i, 2);
}

static inline bool fake_vdrv_wait_used(struct fake_vdrv *d, unsigned i, uint32_t *ret_head,
                                       uint32_t *ret_len, unsigned timeout_ms)
{
    uint64_t deadline = evloop_now_ns() + timeout_ms * 1000000ull;

    while (!fake_queue_used(&d->q[i], ret_head, ret_len)) {
        struct timespec nap = { .tv_nsec = 50000 };

        if (evloop_now_ns() > deadline)
            return false;
        (void)nanosleep(&nap, NULL);
    }
    return true;
}

#endif
