/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSI-X vectors. See msix.h for the rules and the locking.
 *
 * A guest can rewrite a vector in a loop, and setting a line's message costs the machine an
 * update of KVM's routing table; so the message is only handed over when the vector can fire and
 * differs from what the line has.
 */
#include "devices/pci/msix.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"

/* One entry as the guest sees it. */
struct entry {
    uint32_t addr_lo, addr_hi, data, ctrl;
};

struct vector {
    struct entry e;
    struct msi_line line;
    uint64_t line_addr; /* what the line was told last */
    uint32_t line_data;
    bool line_valid;
    bool pending;
};

struct msix {
    const struct irq_services *irq;
    pthread_mutex_t lock; /* covers everything below */
    bool enabled, mask_all;
    unsigned n;
    struct vector v[];
};

int msix_new(unsigned n, const struct irq_services *irq, struct msix **ret_msix, struct errctx *ec)
{
    struct msix *m;
    int r;

    if (n == 0 || n > MSIX_MAX_VECTORS)
        return errctx_set(ec, EINVAL, "%u MSI-X vectors, but a function has 1 to %d", n,
                          MSIX_MAX_VECTORS);
    m = calloc(1, sizeof(*m) + n * sizeof(m->v[0]));
    if (m == NULL)
        return errctx_set(ec, ENOMEM, "no memory for %u MSI-X vectors", n);
    m->irq = irq;
    (void)pthread_mutex_init(&m->lock, NULL);
    for (; m->n < n; m->n++) {
        r = irq->msi->line_new(irq->ctx, &m->v[m->n].line, ec);
        if (r < 0) {
            r = errctx_wrap(ec, r, "MSI-X vector %u of %u", m->n, n);
            goto err_free;
        }
        m->v[m->n].e.ctrl = PCI_MSIX_ENTRY_CTRL_MASKBIT;
    }
    *ret_msix = m;
    return 0;

err_free:
    msix_free(m);
    return r;
}

void msix_free(struct msix *m)
{
    if (m == NULL)
        return;
    while (m->n > 0)
        m->irq->msi->line_free(m->irq->ctx, &m->v[--m->n].line);
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
}

void msix_set_requester(struct msix *m, uint32_t requester)
{
    for (unsigned i = 0; i < m->n; i++)
        m->v[i].line.requester = requester;
}

static bool can_fire_locked(const struct msix *m, const struct vector *v)
{
    return m->enabled && !m->mask_all && !(v->e.ctrl & PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

static void fire_locked(struct vector *v)
{
    uint64_t one = 1;

    /* An eventfd refuses only when its counter is full, and then it has been raised. */
    (void)!write(v->line.fd, &one, sizeof(one));
}

/* The entry or a mask changed: bring the line up to date and deliver what waited. */
static void refresh_locked(struct msix *m, struct vector *v)
{
    uint64_t addr = (uint64_t)v->e.addr_hi << 32 | v->e.addr_lo;

    if (!can_fire_locked(m, v))
        return;
    if (!v->line_valid || v->line_addr != addr || v->line_data != v->e.data) {
        m->irq->msi->line_set(m->irq->ctx, &v->line, addr, v->e.data);
        v->line_valid = true;
        v->line_addr = addr;
        v->line_data = v->e.data;
    }
    if (v->pending) {
        v->pending = false;
        fire_locked(v);
    }
}

void msix_control(struct msix *m, bool enable, bool mask_all)
{
    LOCK_SCOPE(&m->lock);

    if (m->enabled == enable && m->mask_all == mask_all)
        return;
    m->enabled = enable;
    m->mask_all = mask_all;
    for (unsigned i = 0; i < m->n; i++)
        refresh_locked(m, &m->v[i]);
}

bool msix_notify(struct msix *m, unsigned vector)
{
    LOCK_SCOPE(&m->lock);

    if (vector >= m->n || !m->enabled)
        return m->enabled;
    if (can_fire_locked(m, &m->v[vector]))
        fire_locked(&m->v[vector]);
    else
        m->v[vector].pending = true;
    return true;
}

/* --- the BAR --------------------------------------------------------------------------------- */

static uint32_t table_read_locked(const struct msix *m, uint64_t off)
{
    const struct entry *e = &m->v[off / PCI_MSIX_ENTRY_SIZE].e;

    switch (off % PCI_MSIX_ENTRY_SIZE) {
    case PCI_MSIX_ENTRY_LOWER_ADDR:
        return e->addr_lo;
    case PCI_MSIX_ENTRY_UPPER_ADDR:
        return e->addr_hi;
    case PCI_MSIX_ENTRY_DATA:
        return e->data;
    default:
        return e->ctrl;
    }
}

static uint32_t read32_locked(const struct msix *m, uint64_t off)
{
    uint32_t bits = 0;

    if (off < (uint64_t)m->n * PCI_MSIX_ENTRY_SIZE)
        return table_read_locked(m, off);
    if (off < MSIX_PBA_OFF || off >= MSIX_BAR_BYTES)
        return 0;
    for (unsigned bit = 0; bit < 32; bit++) {
        uint64_t vector = (off - MSIX_PBA_OFF) * 8 + bit;

        if (vector < m->n && m->v[vector].pending)
            bits |= 1u << bit;
    }
    return bits;
}

static void write32_locked(struct msix *m, uint64_t off, uint32_t val)
{
    struct vector *v;

    if (off >= (uint64_t)m->n * PCI_MSIX_ENTRY_SIZE)
        return; /* pending bits are read-only */
    v = &m->v[off / PCI_MSIX_ENTRY_SIZE];
    switch (off % PCI_MSIX_ENTRY_SIZE) {
    case PCI_MSIX_ENTRY_LOWER_ADDR:
        v->e.addr_lo = val & ~3u;
        break;
    case PCI_MSIX_ENTRY_UPPER_ADDR:
        v->e.addr_hi = val;
        break;
    case PCI_MSIX_ENTRY_DATA:
        v->e.data = val;
        break;
    default:
        v->e.ctrl = val & PCI_MSIX_ENTRY_CTRL_MASKBIT;
        break;
    }
}

static bool served(uint64_t off, size_t size)
{
    return (size == 4 || size == 8) && off % size == 0;
}

void msix_read(struct msix *m, uint64_t off, void *data, size_t size)
{
    LOCK_SCOPE(&m->lock);

    memset(data, 0, size);
    if (!served(off, size))
        return;
    for (size_t i = 0; i < size; i += 4) {
        uint32_t val = read32_locked(m, off + i);

        memcpy((uint8_t *)data + i, &val, sizeof(val));
    }
}

void msix_write(struct msix *m, uint64_t off, const void *data, size_t size)
{
    LOCK_SCOPE(&m->lock);

    if (!served(off, size) || off >= (uint64_t)m->n * PCI_MSIX_ENTRY_SIZE)
        return;
    for (size_t i = 0; i < size; i += 4) {
        uint32_t val;

        memcpy(&val, (const uint8_t *)data + i, sizeof(val));
        write32_locked(m, off + i, val);
    }
    refresh_locked(m, &m->v[off / PCI_MSIX_ENTRY_SIZE]);
}

/* --- life cycle ------------------------------------------------------------------------------ */

void msix_reset(struct msix *m)
{
    LOCK_SCOPE(&m->lock);

    m->enabled = m->mask_all = false;
    for (unsigned i = 0; i < m->n; i++) {
        m->v[i].e = (struct entry){ .ctrl = PCI_MSIX_ENTRY_CTRL_MASKBIT };
        m->v[i].pending = false;
    }
}

void msix_save(struct msix *m, struct snapshot_writer *w)
{
    LOCK_SCOPE(&m->lock);

    snapshot_put_u32(w, m->n);
    snapshot_put_u8(w, m->enabled);
    snapshot_put_u8(w, m->mask_all);
    for (unsigned i = 0; i < m->n; i++) {
        snapshot_put_u32(w, m->v[i].e.addr_lo);
        snapshot_put_u32(w, m->v[i].e.addr_hi);
        snapshot_put_u32(w, m->v[i].e.data);
        snapshot_put_u32(w, m->v[i].e.ctrl);
        snapshot_put_u8(w, m->v[i].pending);
    }
}

int msix_load(struct msix *m, struct snapshot_reader *r, struct errctx *ec)
{
    LOCK_SCOPE(&m->lock);
    uint32_t n = snapshot_get_u32(r);

    if (n != m->n)
        return errctx_set(ec, EINVAL, "saved state has %u MSI-X vectors, the device has %u", n,
                          m->n);
    m->enabled = snapshot_get_u8(r) & 1;
    m->mask_all = snapshot_get_u8(r) & 1;
    for (unsigned i = 0; i < n; i++) {
        m->v[i].e.addr_lo = snapshot_get_u32(r) & ~3u;
        m->v[i].e.addr_hi = snapshot_get_u32(r);
        m->v[i].e.data = snapshot_get_u32(r);
        m->v[i].e.ctrl = snapshot_get_u32(r) & PCI_MSIX_ENTRY_CTRL_MASKBIT;
        m->v[i].pending = snapshot_get_u8(r) & 1;
        m->v[i].line_valid = false;
        refresh_locked(m, &m->v[i]);
    }
    return 0;
}
