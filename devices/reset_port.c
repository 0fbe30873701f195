/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reset control register, one byte at I/O port 0xcf9.
 *
 * Guests use it through the FADT's reset register, or when they do not trust that one. The real
 * chip distinguishes soft, hard and full resets; a guest cannot tell them apart from inside a
 * VM, so every rising edge of the trigger bit becomes one reset request and the mode bits only
 * read back. Handlers run on vCPU threads; the latch is one atomic byte.
 */
#include "devices/reset_port.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "devices/snapshot.h"
#include "vmm/base/macros.h"

enum {
    RST_MODE_HARD = 1u << 1, /* kept only so that it reads back */
    RST_TRIGGER = 1u << 2,   /* 0 -> 1 starts the reset */
};

struct reset_port {
    struct device dev;
    const struct vm_events_ops *events; /* borrowed; outlives the device */
    void *events_ctx;
    _Atomic uint8_t latch; /* last byte written */
};

static void reset_port_read(struct device *dev, uint64_t off, void *data, size_t size)
{
    struct reset_port *rp = container_of(dev, struct reset_port, dev);

    memset(data, 0xff, size); /* bytes we do not back float high, as on the bus */
    if (off == 0)
        *(uint8_t *)data = atomic_load(&rp->latch);
}

static void reset_port_write(struct device *dev, uint64_t off, const void *data, size_t size)
{
    struct reset_port *rp = container_of(dev, struct reset_port, dev);
    uint8_t val, old;

    if (off != 0 || size != 1)
        return;
    val = *(const uint8_t *)data;
    old = atomic_exchange(&rp->latch, val & (RST_MODE_HARD | RST_TRIGGER));
    if (val & ~old & RST_TRIGGER)
        rp->events->request_reset(rp->events_ctx, "port 0xcf9");
}

static void reset_port_reset(struct device *dev)
{
    atomic_store(&container_of(dev, struct reset_port, dev)->latch, 0);
}

static int reset_port_save(struct device *dev, struct snapshot_writer *w, struct errctx *ec)
{
    (void)ec;
    snapshot_put_u8(w, atomic_load(&container_of(dev, struct reset_port, dev)->latch));
    return 0;
}

static int reset_port_load(struct device *dev, struct snapshot_reader *r, uint32_t version,
                           struct errctx *ec)
{
    (void)version;
    (void)ec;
    atomic_store(&container_of(dev, struct reset_port, dev)->latch, snapshot_get_u8(r));
    return 0;
}

static void reset_port_destroy(struct device *dev)
{
    free(container_of(dev, struct reset_port, dev));
}

static const struct device_ops reset_port_ops = {
    .type = "reset-port",
    .version = 1,
    .read = reset_port_read,
    .write = reset_port_write,
    .reset = reset_port_reset,
    .save = reset_port_save,
    .load = reset_port_load,
    .destroy = reset_port_destroy,
};

int reset_port_new(const struct vm_events_ops *events, void *events_ctx, struct device **ret_dev,
                   struct errctx *ec)
{
    struct reset_port *rp = calloc(1, sizeof(*rp));

    if (rp == NULL)
        return errctx_set(ec, ENOMEM, "reset-port: no memory for device state");
    rp->dev = (struct device){ .ops = &reset_port_ops, .name = "reset-port" };
    rp->events = events;
    rp->events_ctx = events_ctx;
    *ret_dev = &rp->dev;
    return 0;
}
