/* SPDX-License-Identifier: Apache-2.0 */
/*
 * National Semiconductor PC16550D, as far as a guest can tell without a wire.
 *
 * Transmission takes no time while the wire takes bytes; when it does not (a stopped terminal),
 * they wait in the transmitter, 16 with FIFOs on and one without, and the guest sees LSR.THRE
 * clear until all of them are gone: drivers that saw it set write as many without asking again.
 * Baud rates only read back. In loopback mode bytes and modem control lines come straight back,
 * which drivers use to find the chip.
 *
 * Threads: registers under the device's lock; the wire is called without it.
 */
#include "devices/serial.h"

#include <errno.h>
#include <linux/serial_reg.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "devices/snapshot.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum {
    SERIAL_FIFO = 64, /* received: more than the chip's 16, so that pasted text flows */
    SERIAL_TX = 16,   /* to be sent: the chip's, which drivers count on */
    SERIAL_REGS = 9,  /* in a snapshot */
};

struct serial {
    struct device dev;
    uint32_t gsi;
    const struct irq_line_ops *irq;
    void *irq_ctx;
    const struct serial_wire_ops *wire;
    void *wire_ctx;

    pthread_mutex_t lock; /* covers everything below */
    uint8_t ier, lcr, mcr, scr, dll, dlm, fcr;
    uint8_t tx[SERIAL_TX]; /* bytes that wait for the wire, the oldest first */
    unsigned tx_len;
    bool sending;      /* some thread has offered tx to the wire and waits for its answer */
    bool again;        /* the wire got room meanwhile: its answer may be out of date */
    bool thre_pending; /* the "holding register empty" interrupt is due */
    uint8_t fifo[SERIAL_FIFO];
    unsigned fifo_head, fifo_len;
    bool overrun;
    bool level;   /* of the interrupt line */
};

static uint8_t lsr(const struct serial *s)
{
    return (uint8_t)((s->fifo_len > 0 ? UART_LSR_DR : 0) | (s->overrun ? UART_LSR_OE : 0) |
                     (s->tx_len > 0 ? 0 : UART_LSR_THRE | UART_LSR_TEMT));
}

static uint8_t msr(const struct serial *s)
{
    if (!(s->mcr & UART_MCR_LOOP))
        return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
    return (uint8_t)((s->mcr & UART_MCR_RTS ? UART_MSR_CTS : 0) |
                     (s->mcr & UART_MCR_DTR ? UART_MSR_DSR : 0) |
                     (s->mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0) |
                     (s->mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0));
}

/* The interrupt of highest priority that is enabled and due (PC16550D, table IV). */
static uint8_t iir(const struct serial *s)
{
    const uint8_t fifo = s->fcr & UART_FCR_ENABLE_FIFO ? 0xc0 : 0;

    if (s->ier & UART_IER_RLSI && s->overrun)
        return fifo | UART_IIR_RLSI;
    if (s->ier & UART_IER_RDI && s->fifo_len > 0)
        return fifo | UART_IIR_RDI;
    if (s->ier & UART_IER_THRI && s->thre_pending)
        return fifo | UART_IIR_THRI;
    return fifo | UART_IIR_NO_INT;
}

static void update_irq_locked(struct serial *s)
{
    const bool level = !(iir(s) & UART_IIR_NO_INT);

    if (level == s->level)
        return;
    s->level = level;
    s->irq->set(s->irq_ctx, s->gsi, level);
}

static bool fifo_put_locked(struct serial *s, uint8_t byte)
{
    if (s->fifo_len == SERIAL_FIFO)
        return false;
    s->fifo[(s->fifo_head + s->fifo_len) % SERIAL_FIFO] = byte;
    s->fifo_len++;
    return true;
}

static uint8_t fifo_get_locked(struct serial *s)
{
    uint8_t byte;

    if (s->fifo_len == 0)
        return 0;
    byte = s->fifo[s->fifo_head];
    s->fifo_head = (s->fifo_head + 1) % SERIAL_FIFO;
    s->fifo_len--;
    return byte;
}

static uint8_t read_reg_locked(struct serial *s, unsigned reg)
{
    const bool dlab = s->lcr & UART_LCR_DLAB;
    uint8_t v;

    switch (reg) {
    case UART_RX:
        return dlab ? s->dll : fifo_get_locked(s);
    case UART_IER:
        return dlab ? s->dlm : s->ier;
    case UART_IIR:
        v = iir(s);
        if ((v & UART_IIR_ID) == UART_IIR_THRI)
            s->thre_pending = false; /* reading it acknowledges it */
        return v;
    case UART_LCR:
        return s->lcr;
    case UART_MCR:
        return s->mcr;
    case UART_LSR:
        v = lsr(s);
        s->overrun = false;
        return v;
    case UART_MSR:
        return msr(s);
    default:
        return s->scr;
    }
}

static void serial_read(struct device *dev, uint64_t off, void *data, size_t size)
{
    struct serial *s = container_of(dev, struct serial, dev);
    LOCK_SCOPE(&s->lock);

    memset(data, 0xff, size);
    *(uint8_t *)data = read_reg_locked(s, off & 7);
    update_irq_locked(s);
}

/* Returns true when @byte has to go to the wire. */
static bool transmit_locked(struct serial *s, uint8_t byte)
{
    if (s->mcr & UART_MCR_LOOP) {
        if (!fifo_put_locked(s, byte))
            s->overrun = true;
        s->thre_pending = true;
        return false;
    }
    if (s->tx_len >= (s->fcr & UART_FCR_ENABLE_FIFO ? SERIAL_TX : 1u))
        return false; /* written over a full transmitter: the byte is lost, as on the chip */
    s->tx[s->tx_len++] = byte;
    s->thre_pending = false; /* filling the register withdraws its interrupt */
    return true;
}

/* The wire took the @n oldest bytes; a reset may have dropped them meanwhile. */
static void drop_sent_locked(struct serial *s, size_t n)
{
    if (s->tx_len == 0)
        return;
    n = MIN(n, s->tx_len);
    s->tx_len -= (unsigned)n;
    memmove(s->tx, s->tx + n, s->tx_len);
    s->thre_pending |= s->tx_len == 0;
}

/*
 * Offer the waiting bytes to the wire. Called without the lock, by the vCPU that wrote them and by
 * the loop when there is room; one of them offers at a time, or bytes would go out twice.
 */
static void flush(struct serial *s)
{
    uint8_t bytes[SERIAL_TX];
    size_t len, sent;

    (void)pthread_mutex_lock(&s->lock);
    if (s->sending) {
        s->again = true;
        (void)pthread_mutex_unlock(&s->lock);
        return;
    }
    while (s->tx_len > 0) {
        len = s->tx_len;
        memcpy(bytes, s->tx, len);
        s->sending = true;
        s->again = false;
        (void)pthread_mutex_unlock(&s->lock);
        sent = s->wire->send(s->wire_ctx, bytes, len);
        (void)pthread_mutex_lock(&s->lock);
        s->sending = false;
        drop_sent_locked(s, sent);
        update_irq_locked(s);
        if (sent < len && !s->again)
            break;
    }
    (void)pthread_mutex_unlock(&s->lock);
}

static bool write_reg_locked(struct serial *s, unsigned reg, uint8_t v)
{
    const bool dlab = s->lcr & UART_LCR_DLAB;

    switch (reg) {
    case UART_TX:
        if (!dlab)
            return transmit_locked(s, v);
        s->dll = v;
        break;
    case UART_IER:
        if (dlab) {
            s->dlm = v;
            break;
        }
        /* Enabling the transmitter interrupt while the register is empty raises it at once. */
        if (v & UART_IER_THRI && !(s->ier & UART_IER_THRI) && s->tx_len == 0)
            s->thre_pending = true;
        s->ier = v & 0x0f;
        break;
    case UART_FCR:
        if (v & UART_FCR_CLEAR_RCVR)
            s->fifo_len = 0;
        s->fcr = v & UART_FCR_ENABLE_FIFO;
        break;
    case UART_LCR:
        s->lcr = v;
        break;
    case UART_MCR:
        s->mcr = v & 0x1f;
        break;
    case UART_SCR:
        s->scr = v;
        break;
    default: /* LSR and MSR are read-only */
        break;
    }
    return false;
}

static void serial_write(struct device *dev, uint64_t off, const void *data, size_t size)
{
    struct serial *s = container_of(dev, struct serial, dev);
    bool send;

    (void)size; /* wider writes reach the first register only */
    {
        LOCK_SCOPE(&s->lock);
        send = write_reg_locked(s, off & 7, *(const uint8_t *)data);
        if (!send) /* else once the wire has answered: no edge a byte while it is free */
            update_irq_locked(s);
    }
    if (send)
        flush(s);
}

size_t serial_receive(struct device *dev, const void *data, size_t len)
{
    struct serial *s = container_of(dev, struct serial, dev);
    const uint8_t *p = data;
    size_t n = 0;
    LOCK_SCOPE(&s->lock);

    while (n < len && fifo_put_locked(s, p[n]))
        n++;
    update_irq_locked(s);
    return n;
}

void serial_output_ready(struct device *dev)
{
    flush(container_of(dev, struct serial, dev));
}

/* A byte that waited when the state was saved has nobody else to offer it. */
static void serial_resume(struct device *dev)
{
    flush(container_of(dev, struct serial, dev));
}

static void serial_reset(struct device *dev)
{
    struct serial *s = container_of(dev, struct serial, dev);
    LOCK_SCOPE(&s->lock);

    s->ier = s->mcr = s->scr = s->dlm = s->fcr = 0;
    s->lcr = UART_LCR_WLEN8;
    s->dll = 1; /* 115200 baud */
    s->thre_pending = s->overrun = false;
    s->tx_len = 0;
    s->fifo_len = s->fifo_head = 0;
    update_irq_locked(s);
}

static int serial_save(struct device *dev, struct snapshot_writer *w, struct errctx *ec)
{
    struct serial *s = container_of(dev, struct serial, dev);
    LOCK_SCOPE(&s->lock);

    (void)ec;
    const uint8_t regs[SERIAL_REGS] = { s->ier, s->lcr, s->mcr, s->scr, s->dll,
                                        s->dlm, s->fcr, s->thre_pending, s->overrun };
    snapshot_put_bytes(w, regs, sizeof(regs));
    snapshot_put_u8(w, (uint8_t)s->tx_len);
    snapshot_put_bytes(w, s->tx, s->tx_len);
    snapshot_put_u8(w, (uint8_t)s->fifo_len);
    for (unsigned i = 0; i < s->fifo_len; i++)
        snapshot_put_u8(w, s->fifo[(s->fifo_head + i) % SERIAL_FIFO]);
    return 0;
}

static int serial_load(struct device *dev, struct snapshot_reader *r, uint32_t version,
                       struct errctx *ec)
{
    struct serial *s = container_of(dev, struct serial, dev);
    uint8_t regs[SERIAL_REGS], tx_len, len;
    LOCK_SCOPE(&s->lock);

    (void)version;
    snapshot_get_bytes(r, regs, sizeof(regs));
    tx_len = snapshot_get_u8(r);
    if (tx_len > SERIAL_TX)
        return errctx_set(ec, EINVAL, "more bytes than the transmit FIFO holds");
    snapshot_get_bytes(r, s->tx, tx_len);
    len = snapshot_get_u8(r);
    if (len > SERIAL_FIFO)
        return errctx_set(ec, EINVAL, "more bytes than the receive FIFO holds");
    snapshot_get_bytes(r, s->fifo, len);
    s->ier = regs[0] & 0x0f;
    s->lcr = regs[1];
    s->mcr = regs[2] & 0x1f;
    s->scr = regs[3];
    s->dll = regs[4];
    s->dlm = regs[5];
    s->fcr = regs[6];
    s->thre_pending = regs[7] != 0;
    s->overrun = regs[8] != 0;
    s->tx_len = tx_len;
    s->fifo_head = 0;
    s->fifo_len = len;
    update_irq_locked(s);
    return 0;
}

static void serial_destroy(struct device *dev)
{
    struct serial *s = container_of(dev, struct serial, dev);

    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

static const struct device_ops serial_ops = {
    .type = "serial",
    .version = 1,
    .read = serial_read,
    .write = serial_write,
    .resume = serial_resume,
    .reset = serial_reset,
    .save = serial_save,
    .load = serial_load,
    .destroy = serial_destroy,
};

int serial_new(uint32_t gsi, const struct irq_line_ops *irq, void *irq_ctx,
               const struct serial_wire_ops *wire, void *wire_ctx, struct device **ret_dev,
               struct errctx *ec)
{
    struct serial *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the serial port");
    *s = (struct serial){ .dev = { .ops = &serial_ops, .name = "serial0" }, .gsi = gsi,
                          .irq = irq, .irq_ctx = irq_ctx, .wire = wire, .wire_ctx = wire_ctx };
    (void)pthread_mutex_init(&s->lock, NULL);
    serial_reset(&s->dev);
    *ret_dev = &s->dev;
    return 0;
}
