/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PrimeCell UART PL011 (Arm DDI 0183), as far as a guest can tell without a wire.
 *
 * FIFOs hold 64 bytes whatever the guest sets; transmission takes no time while the wire takes
 * bytes, and otherwise they wait and the guest sees the FIFO fill up. The transmit interrupt is due
 * whenever the FIFO has run empty, the receive one (and the timeout, at once) while a byte is there.
 * Baud rates only read back; no DMA, no modem lines but a clear-to-send.
 *
 * Threads: registers under the device's lock; the wire is called without it.
 */
#include "devices/pl011.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "devices/prime_cell.h"
#include "devices/snapshot.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum {
    DR = 0x00, RSR = 0x04, FR = 0x18, ILPR = 0x20, IBRD = 0x24, FBRD = 0x28, LCR_H = 0x2c,
    CR = 0x30, IFLS = 0x34, IMSC = 0x38, RIS = 0x3c, MIS = 0x40, ICR = 0x44, DMACR = 0x48,
    FR_CTS = 1, FR_RXFE = 0x10, FR_TXFF = 0x20, FR_RXFF = 0x40, FR_TXFE = 0x80,
    INT_RX = 0x10, INT_TX = 0x20, INT_RT = 0x40, INT_OE = 0x400, INT_ALL = 0x7ff,
    CR_LOOP = 0x080, CR_TX = 0x100, CR_RX = 0x200,
    CR_POWER_ON = CR_TX | CR_RX, IFLS_POWER_ON = 0x12,
    DR_OVERRUN = 0x800, RSR_OVERRUN = 8,
    FIFO_BYTES = 64, PART = 0x011, REVISION = 1,
};

struct fifo {
    uint8_t bytes[FIFO_BYTES];
    unsigned head, len;
};

struct pl011 {
    struct device dev;
    uint32_t line;
    const struct irq_line_ops *irq;
    void *irq_ctx;
    const struct serial_wire_ops *wire;
    void *wire_ctx;

    pthread_mutex_t lock; /* covers everything below */
    uint32_t ilpr, ibrd, fbrd, lcr_h, cr, ifls, imsc, dmacr;
    uint32_t raised; /* of the interrupts that stay until they are cleared: transmit, overrun */
    bool overrun;
    bool sending, again; /* somebody offers tx to the wire; it got room meanwhile */
    bool level;
    struct fifo rx, tx;
};

static bool fifo_put(struct fifo *f, uint8_t byte)
{
    if (f->len == FIFO_BYTES)
        return false;
    f->bytes[(f->head + f->len++) % FIFO_BYTES] = byte;
    return true;
}

static void fifo_drop(struct fifo *f, unsigned n)
{
    n = MIN(n, f->len); /* a reset may have emptied it meanwhile */
    f->head = (f->head + n) % FIFO_BYTES;
    f->len -= n;
}

static uint32_t raw_interrupts(const struct pl011 *u)
{
    return u->raised | (u->rx.len > 0 ? INT_RX | INT_RT : 0);
}

static void update_irq_locked(struct pl011 *u)
{
    const bool level = (raw_interrupts(u) & u->imsc) != 0;

    if (level == u->level)
        return;
    u->level = level;
    u->irq->set(u->irq_ctx, u->line, level);
}

static uint32_t flags(const struct pl011 *u)
{
    return FR_CTS | (u->rx.len == 0 ? FR_RXFE : 0) | (u->rx.len == FIFO_BYTES ? FR_RXFF : 0) |
           (u->tx.len == 0 ? FR_TXFE : 0) | (u->tx.len == FIFO_BYTES ? FR_TXFF : 0);
}

static uint32_t take_byte_locked(struct pl011 *u)
{
    uint32_t v = u->overrun ? DR_OVERRUN : 0;

    if (u->rx.len > 0)
        v |= u->rx.bytes[u->rx.head];
    fifo_drop(&u->rx, 1);
    u->overrun = false;
    return v;
}

static uint32_t read_reg_locked(struct pl011 *u, uint64_t reg)
{
    switch (reg) {
    case DR:
        return take_byte_locked(u);
    case RSR:
        return u->overrun ? RSR_OVERRUN : 0;
    case FR:
        return flags(u);
    case ILPR:
        return u->ilpr;
    case IBRD:
        return u->ibrd;
    case FBRD:
        return u->fbrd;
    case LCR_H:
        return u->lcr_h;
    case CR:
        return u->cr;
    case IFLS:
        return u->ifls;
    case IMSC:
        return u->imsc;
    case RIS:
        return raw_interrupts(u);
    case MIS:
        return raw_interrupts(u) & u->imsc;
    case DMACR:
        return u->dmacr;
    default:
        return reg >= PRIME_CELL_ID ? prime_cell_id(reg, PART, REVISION) : 0;
    }
}

static void pl011_read(struct device *dev, uint64_t off, void *data, size_t size)
{
    struct pl011 *u = container_of(dev, struct pl011, dev);
    LOCK_SCOPE(&u->lock);

    prime_cell_answer(read_reg_locked(u, off & ~3ull), off, data, size);
    update_irq_locked(u);
}

/* --- out --- */

/* Offer what waits to the wire; one thread at a time, or bytes would go out twice. */
static void flush(struct pl011 *u)
{
    uint8_t bytes[FIFO_BYTES];

    (void)pthread_mutex_lock(&u->lock);
    u->again = true;
    while (!u->sending && u->again && u->tx.len > 0) {
        const unsigned len = u->tx.len;
        size_t sent;

        for (unsigned i = 0; i < len; i++)
            bytes[i] = u->tx.bytes[(u->tx.head + i) % FIFO_BYTES];
        u->sending = true;
        u->again = false;
        (void)pthread_mutex_unlock(&u->lock);
        sent = u->wire->send(u->wire_ctx, bytes, len);
        (void)pthread_mutex_lock(&u->lock);
        u->sending = false;
        u->again |= sent == len; /* what came meanwhile */
        fifo_drop(&u->tx, (unsigned)sent);
        if (u->tx.len == 0)
            u->raised |= INT_TX;
        update_irq_locked(u);
    }
    (void)pthread_mutex_unlock(&u->lock);
}

/* Returns true when there is something for the wire. */
static bool put_byte_locked(struct pl011 *u, uint8_t byte)
{
    if (u->cr & CR_LOOP) {
        if (!fifo_put(&u->rx, byte)) {
            u->overrun = true;
            u->raised |= INT_OE;
        }
        u->raised |= INT_TX;
        return false;
    }
    u->raised &= ~(uint32_t)INT_TX;
    (void)fifo_put(&u->tx, byte); /* over a full FIFO: lost, as on the chip */
    return true;
}

static bool write_reg_locked(struct pl011 *u, uint64_t reg, uint32_t v)
{
    switch (reg) {
    case DR:
        return put_byte_locked(u, (uint8_t)v);
    case RSR:
        u->overrun = false;
        break;
    case ILPR:
        u->ilpr = v & 0xff;
        break;
    case IBRD:
        u->ibrd = v & 0xffff;
        break;
    case FBRD:
        u->fbrd = v & 0x3f;
        break;
    case LCR_H:
        u->lcr_h = v & 0xff;
        break;
    case CR:
        u->cr = v & 0xff87;
        break;
    case IFLS:
        u->ifls = v & 0x3f;
        break;
    case IMSC:
        u->imsc = v & INT_ALL;
        break;
    case ICR:
        u->raised &= ~v;
        break;
    case DMACR:
        u->dmacr = v & 7;
        break;
    default: /* read-only, or not there */
        break;
    }
    return false;
}

static void pl011_write(struct device *dev, uint64_t off, const void *data, size_t size)
{
    struct pl011 *u = container_of(dev, struct pl011, dev);
    bool send;

    if (off & 3)
        return;
    {
        LOCK_SCOPE(&u->lock);
        send = write_reg_locked(u, off, prime_cell_value(data, size));
        if (!send)
            update_irq_locked(u);
    }
    if (send)
        flush(u);
}

size_t pl011_receive(struct device *dev, const void *data, size_t len)
{
    struct pl011 *u = container_of(dev, struct pl011, dev);
    const uint8_t *p = data;
    size_t n = 0;
    LOCK_SCOPE(&u->lock);

    while (n < len && fifo_put(&u->rx, p[n]))
        n++;
    update_irq_locked(u);
    return n;
}

void pl011_output_ready(struct device *dev)
{
    flush(container_of(dev, struct pl011, dev));
}

/* --- life cycle --- */

static void pl011_reset(struct device *dev)
{
    struct pl011 *u = container_of(dev, struct pl011, dev);
    LOCK_SCOPE(&u->lock);

    u->ilpr = u->ibrd = u->fbrd = u->lcr_h = u->imsc = u->dmacr = u->raised = 0;
    u->cr = CR_POWER_ON;
    u->ifls = IFLS_POWER_ON;
    u->overrun = false;
    u->rx = u->tx = (struct fifo){ 0 };
    update_irq_locked(u);
}

static void fifo_save(const struct fifo *f, struct snapshot_writer *w)
{
    snapshot_put_u8(w, (uint8_t)f->len);
    for (unsigned i = 0; i < f->len; i++)
        snapshot_put_u8(w, f->bytes[(f->head + i) % FIFO_BYTES]);
}

static int fifo_load(struct fifo *f, struct snapshot_reader *r, struct errctx *ec)
{
    const uint8_t len = snapshot_get_u8(r);

    if (len > FIFO_BYTES)
        return errctx_set(ec, EINVAL, "more bytes than a FIFO holds");
    snapshot_get_bytes(r, f->bytes, len);
    f->head = 0;
    f->len = len;
    return 0;
}

static uint32_t *saved_reg(struct pl011 *u, unsigned i)
{
    uint32_t *const regs[] = { &u->ilpr, &u->ibrd, &u->fbrd, &u->lcr_h, &u->cr,
                               &u->ifls, &u->imsc, &u->dmacr, &u->raised };

    return i < ARRAY_SIZE(regs) ? regs[i] : NULL;
}

static int pl011_save(struct device *dev, struct snapshot_writer *w, struct errctx *ec)
{
    struct pl011 *u = container_of(dev, struct pl011, dev);
    LOCK_SCOPE(&u->lock);

    (void)ec;
    for (unsigned i = 0; saved_reg(u, i) != NULL; i++)
        snapshot_put_u32(w, *saved_reg(u, i));
    snapshot_put_u8(w, u->overrun);
    fifo_save(&u->rx, w);
    fifo_save(&u->tx, w);
    return 0;
}

static int pl011_load(struct device *dev, struct snapshot_reader *r, uint32_t version,
                      struct errctx *ec)
{
    struct pl011 *u = container_of(dev, struct pl011, dev);
    int result;
    LOCK_SCOPE(&u->lock);

    (void)version;
    for (unsigned i = 0; saved_reg(u, i) != NULL; i++)
        *saved_reg(u, i) = snapshot_get_u32(r);
    u->imsc &= INT_ALL;
    u->overrun = snapshot_get_u8(r) != 0;
    result = fifo_load(&u->rx, r, ec);
    if (result == 0)
        result = fifo_load(&u->tx, r, ec);
    update_irq_locked(u);
    return result;
}

static void pl011_destroy(struct device *dev)
{
    struct pl011 *u = container_of(dev, struct pl011, dev);

    (void)pthread_mutex_destroy(&u->lock);
    free(u);
}

static const struct device_ops pl011_ops = {
    .type = "pl011",
    .version = 1,
    .read = pl011_read,
    .write = pl011_write,
    .resume = pl011_output_ready, /* a byte that waited when the state was saved */
    .reset = pl011_reset,
    .save = pl011_save,
    .load = pl011_load,
    .destroy = pl011_destroy,
};

int pl011_new(uint32_t line, const struct irq_line_ops *irq, void *irq_ctx,
              const struct serial_wire_ops *wire, void *wire_ctx, struct device **ret_dev,
              struct errctx *ec)
{
    struct pl011 *u = calloc(1, sizeof(*u));

    if (u == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the serial port");
    *u = (struct pl011){ .dev = { .ops = &pl011_ops, .name = "serial0" }, .line = line, .irq = irq,
                         .irq_ctx = irq_ctx, .wire = wire, .wire_ctx = wire_ctx };
    (void)pthread_mutex_init(&u->lock, NULL);
    pl011_reset(&u->dev);
    *ret_dev = &u->dev;
    return 0;
}
