/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intel 82093AA with the EOI register of version 0x20.
 *
 * An interrupt leaves as a message (Intel SDM vol. 3, 11.11): the redirection entry's fields go
 * to the address and data bits of the same meaning, bits 55:49 of the entry become bits 11:5 of
 * the address, the extended destination that KVM announces to guests, so that 15-bit APIC ids
 * can be reached without interrupt remapping.
 *
 * A level-triggered pin keeps remote IRR until the vector's end of interrupt arrives and then
 * fires again if the line is still high.
 */
#include "devices/ioapic.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "devices/platform.h"
#include "devices/snapshot.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum {
    REG_SELECT = 0x00,
    REG_WINDOW = 0x10,
    REG_EOI = 0x40,
    IDX_ID = 0x00,
    IDX_VERSION = 0x01,
    IDX_ARB = 0x02,
    IDX_TABLE = 0x10,
    VERSION = 0x20,
};

#define RTE_VECTOR     0xffull
#define RTE_DELIVERY   (7ull << 8)
#define RTE_DEST_LOGIC (1ull << 11)
#define RTE_STATUS     (1ull << 12) /* read-only */
#define RTE_REMOTE_IRR (1ull << 14) /* read-only */
#define RTE_LEVEL      (1ull << 15)
#define RTE_MASKED     (1ull << 16)

struct ioapic {
    struct device dev;
    const struct ioapic_ops *ops;
    void *ctx;

    /* Held from a change of the table until ops->route() was told of it, so that two vCPUs which
     * change a pin at the same time leave the later one's message behind. Taken before lock. */
    pthread_mutex_t route_lock;
    pthread_mutex_t lock; /* covers everything below; never held while ops are called */
    uint8_t select, id;
    uint64_t rte[PLATFORM_IOAPIC_PINS];
    uint32_t lines; /* input levels, a bit each */
};

struct message {
    uint64_t addr;
    uint32_t data;
};

static struct message message_of(uint64_t rte)
{
    return (struct message){
        .addr = 0xfee00000u | (rte >> 56) << 12 | (rte >> 49 & 0x7f) << 5 |
                (rte & RTE_DEST_LOGIC ? 1u << 2 : 0),
        .data = (uint32_t)(rte & (RTE_VECTOR | RTE_DELIVERY)) |
                (rte & RTE_LEVEL ? 1u << 15 | 1u << 14 : 0),
    };
}

/* Whether the pin fires now; sets remote IRR for level pins. */
static bool fire_locked(struct ioapic *io, uint32_t pin, struct message *ret_msg)
{
    uint64_t *rte = &io->rte[pin];

    if (*rte & RTE_MASKED || (*rte & RTE_LEVEL && *rte & RTE_REMOTE_IRR))
        return false;
    if (*rte & RTE_LEVEL)
        *rte |= RTE_REMOTE_IRR;
    *ret_msg = message_of(*rte);
    return true;
}

void ioapic_set_pin(struct device *dev, uint32_t pin, bool level)
{
    struct ioapic *io = container_of(dev, struct ioapic, dev);
    struct message msg;
    bool fire = false;

    if (pin >= PLATFORM_IOAPIC_PINS)
        return;
    {
        LOCK_SCOPE(&io->lock);
        const bool was = io->lines >> pin & 1;

        io->lines = (io->lines & ~(1u << pin)) | (uint32_t)level << pin;
        if (level && (!was || io->rte[pin] & RTE_LEVEL))
            fire = fire_locked(io, pin, &msg);
    }
    if (fire)
        io->ops->send(io->ctx, msg.addr, msg.data);
}

void ioapic_eoi(struct device *dev, uint8_t vector)
{
    struct ioapic *io = container_of(dev, struct ioapic, dev);
    struct message msgs[PLATFORM_IOAPIC_PINS];
    unsigned n = 0;

    {
        LOCK_SCOPE(&io->lock);
        for (uint32_t pin = 0; pin < PLATFORM_IOAPIC_PINS; pin++) {
            uint64_t *rte = &io->rte[pin];

            if ((*rte & RTE_VECTOR) != vector || !(*rte & RTE_LEVEL))
                continue;
            *rte &= ~RTE_REMOTE_IRR;
            if (io->lines >> pin & 1 && fire_locked(io, pin, &msgs[n]))
                n++;
        }
    }
    for (unsigned i = 0; i < n; i++)
        io->ops->send(io->ctx, msgs[i].addr, msgs[i].data);
}

static uint32_t read_index_locked(const struct ioapic *io)
{
    const unsigned entry = (io->select - IDX_TABLE) / 2u;

    if (io->select >= IDX_TABLE && entry < PLATFORM_IOAPIC_PINS)
        return (uint32_t)(io->rte[entry] >> (io->select & 1 ? 32 : 0));
    switch (io->select) {
    case IDX_ID:
    case IDX_ARB:
        return (uint32_t)io->id << 24;
    case IDX_VERSION:
        return VERSION | (PLATFORM_IOAPIC_PINS - 1) << 16;
    default:
        return 0;
    }
}

static void ioapic_read(struct device *dev, uint64_t off, void *data, size_t size)
{
    struct ioapic *io = container_of(dev, struct ioapic, dev);
    uint32_t v = 0;
    LOCK_SCOPE(&io->lock);

    if (off == REG_SELECT)
        v = io->select;
    else if (off == REG_WINDOW)
        v = read_index_locked(io);
    memset(data, 0, size);
    memcpy(data, &v, MIN(size, sizeof(v)));
}

/* Returns true when entry *ret_pin changed. */
static bool write_index_locked(struct ioapic *io, uint32_t v, uint32_t *ret_pin)
{
    const unsigned entry = (io->select - IDX_TABLE) / 2u;
    const uint64_t read_only = RTE_STATUS | RTE_REMOTE_IRR;
    uint64_t rte;

    if (io->select == IDX_ID)
        io->id = v >> 24 & 0xf;
    if (io->select < IDX_TABLE || entry >= PLATFORM_IOAPIC_PINS)
        return false;
    rte = io->rte[entry];
    rte = io->select & 1 ? (rte & 0xffffffffu) | (uint64_t)v << 32
                         : (rte & ~0xffffffffull) | v;
    rte = (rte & ~read_only) | (io->rte[entry] & read_only);
    if (!(rte & RTE_LEVEL))
        rte &= ~RTE_REMOTE_IRR; /* switching to edge forgets it, as drivers count on */
    io->rte[entry] = rte;
    *ret_pin = entry;
    return true;
}

/* With route_lock held, and lock not. */
static void tell_route(struct ioapic *io, uint32_t pin)
{
    struct message msg;
    bool masked;

    {
        LOCK_SCOPE(&io->lock);
        msg = message_of(io->rte[pin]);
        masked = io->rte[pin] & RTE_MASKED;
    }
    io->ops->route(io->ctx, pin, msg.addr, msg.data, masked);
}

/* Returns true when entry *ret_pin changed, with *ret_fire when it fires by that. */
static bool change_entry(struct ioapic *io, uint32_t v, uint32_t *ret_pin, bool *ret_fire,
                         struct message *ret_msg)
{
    LOCK_SCOPE(&io->lock);

    if (!write_index_locked(io, v, ret_pin))
        return false;
    *ret_fire = io->rte[*ret_pin] & RTE_LEVEL && io->lines >> *ret_pin & 1 &&
                fire_locked(io, *ret_pin, ret_msg);
    return true;
}

static void write_window(struct ioapic *io, uint32_t v)
{
    struct message msg;
    uint32_t pin;
    bool fire;
    LOCK_SCOPE(&io->route_lock);

    if (!change_entry(io, v, &pin, &fire, &msg))
        return;
    tell_route(io, pin);
    if (fire)
        io->ops->send(io->ctx, msg.addr, msg.data);
}

static void ioapic_write(struct device *dev, uint64_t off, const void *data, size_t size)
{
    struct ioapic *io = container_of(dev, struct ioapic, dev);
    uint32_t v = 0;

    memcpy(&v, data, MIN(size, sizeof(v)));
    if (off == REG_SELECT) {
        LOCK_SCOPE(&io->lock);
        io->select = (uint8_t)v;
    } else if (off == REG_WINDOW) {
        write_window(io, v);
    } else if (off == REG_EOI) {
        ioapic_eoi(dev, (uint8_t)v);
    }
}

static void clear(struct ioapic *io)
{
    LOCK_SCOPE(&io->lock);

    io->select = 0;
    io->id = PLATFORM_IOAPIC_ID;
    io->lines = 0;
    for (unsigned i = 0; i < PLATFORM_IOAPIC_PINS; i++)
        io->rte[i] = RTE_MASKED;
}

static void ioapic_reset(struct device *dev)
{
    struct ioapic *io = container_of(dev, struct ioapic, dev);
    LOCK_SCOPE(&io->route_lock);

    clear(io);
    for (uint32_t i = 0; i < PLATFORM_IOAPIC_PINS; i++)
        io->ops->route(io->ctx, i, 0, 0, true);
}

static int ioapic_save(struct device *dev, struct snapshot_writer *w, struct errctx *ec)
{
    struct ioapic *io = container_of(dev, struct ioapic, dev);
    LOCK_SCOPE(&io->lock);

    (void)ec;
    snapshot_put_u8(w, io->select);
    snapshot_put_u8(w, io->id);
    snapshot_put_u32(w, io->lines);
    for (unsigned i = 0; i < PLATFORM_IOAPIC_PINS; i++)
        snapshot_put_u64(w, io->rte[i]);
    return 0;
}

static void get_state(struct ioapic *io, struct snapshot_reader *r)
{
    LOCK_SCOPE(&io->lock);

    io->select = snapshot_get_u8(r);
    io->id = snapshot_get_u8(r);
    io->lines = snapshot_get_u32(r);
    for (unsigned i = 0; i < PLATFORM_IOAPIC_PINS; i++)
        io->rte[i] = snapshot_get_u64(r);
}

static int ioapic_load(struct device *dev, struct snapshot_reader *r, uint32_t version,
                       struct errctx *ec)
{
    struct ioapic *io = container_of(dev, struct ioapic, dev);
    LOCK_SCOPE(&io->route_lock);

    (void)version;
    (void)ec;
    get_state(io, r);
    for (uint32_t i = 0; i < PLATFORM_IOAPIC_PINS; i++)
        tell_route(io, i);
    return 0;
}

static void ioapic_destroy(struct device *dev)
{
    struct ioapic *io = container_of(dev, struct ioapic, dev);

    (void)pthread_mutex_destroy(&io->lock);
    (void)pthread_mutex_destroy(&io->route_lock);
    free(io);
}

static const struct device_ops ioapic_ops = {
    .type = "ioapic",
    .version = 1,
    .read = ioapic_read,
    .write = ioapic_write,
    .reset = ioapic_reset,
    .save = ioapic_save,
    .load = ioapic_load,
    .destroy = ioapic_destroy,
};

int ioapic_new(const struct ioapic_ops *ops, void *ctx, struct device **ret_dev,
               struct errctx *ec)
{
    struct ioapic *io = calloc(1, sizeof(*io));

    if (io == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the I/O APIC");
    io->dev = (struct device){ .ops = &ioapic_ops, .name = "ioapic" };
    io->ops = ops;
    io->ctx = ctx;
    (void)pthread_mutex_init(&io->route_lock, NULL);
    (void)pthread_mutex_init(&io->lock, NULL);
    ioapic_reset(&io->dev);
    *ret_dev = &io->dev;
    return 0;
}
