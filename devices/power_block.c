/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sleep control (ACPI 6.5, 4.8.3.7): SLP_EN with the S5 type switches the machine off; other
 * sleep types are not announced and ignored. Event register: bits stay set until the guest's
 * _EVT method reads them and writes them back; the line is edge-triggered, so it is raised for
 * each new event and dropped when nothing is pending.
 */
#include "devices/power_block.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "devices/platform.h"
#include "devices/snapshot.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum {
    OFF_CONTROL = PLATFORM_SLEEP_CONTROL_OFF,
    OFF_EVENTS = PLATFORM_GED_OFF,
    SLP_EN = 1u << 5,
    SLP_TYP_SHIFT = 2,
    SLP_TYP_MASK = 7,
};

struct power_block {
    struct device dev;
    const struct vm_events_ops *events;
    void *events_ctx;
    const struct irq_line_ops *irq;
    void *irq_ctx;
    uint32_t line;
    pthread_mutex_t lock; /* covers pending and the order of line changes */
    uint8_t pending;
};

static void power_block_read(struct device *dev, uint64_t off, void *data, size_t size)
{
    struct power_block *pb = container_of(dev, struct power_block, dev);
    LOCK_SCOPE(&pb->lock);

    memset(data, 0, size);
    if (off == OFF_EVENTS)
        *(uint8_t *)data = pb->pending;
}

static void power_block_write(struct device *dev, uint64_t off, const void *data, size_t size)
{
    struct power_block *pb = container_of(dev, struct power_block, dev);
    const uint8_t v = *(const uint8_t *)data;

    if (size != 1)
        return;
    if (off == OFF_CONTROL && v & SLP_EN &&
        (v >> SLP_TYP_SHIFT & SLP_TYP_MASK) == PLATFORM_S5_TYPE)
        pb->events->power_off(pb->events_ctx);
    if (off != OFF_EVENTS)
        return;
    LOCK_SCOPE(&pb->lock);
    pb->pending &= (uint8_t)~v;
    if (pb->pending == 0)
        pb->irq->set(pb->irq_ctx, pb->line, false);
}

void power_block_raise(struct device *dev, uint8_t events)
{
    struct power_block *pb = container_of(dev, struct power_block, dev);
    LOCK_SCOPE(&pb->lock);

    pb->pending |= events;
    pb->irq->set(pb->irq_ctx, pb->line, false); /* a fresh edge, also for a repeat */
    pb->irq->set(pb->irq_ctx, pb->line, true);
}

void power_block_press(struct device *dev)
{
    power_block_raise(dev, PLATFORM_GED_POWER);
}

static void power_block_reset(struct device *dev)
{
    struct power_block *pb = container_of(dev, struct power_block, dev);
    LOCK_SCOPE(&pb->lock);

    pb->pending = 0;
    pb->irq->set(pb->irq_ctx, pb->line, false);
}

static int power_block_save(struct device *dev, struct snapshot_writer *w, struct errctx *ec)
{
    (void)ec;
    snapshot_put_u8(w, container_of(dev, struct power_block, dev)->pending);
    return 0;
}

static int power_block_load(struct device *dev, struct snapshot_reader *r, uint32_t version,
                            struct errctx *ec)
{
    (void)version;
    (void)ec;
    container_of(dev, struct power_block, dev)->pending = snapshot_get_u8(r);
    return 0;
}

static void power_block_destroy(struct device *dev)
{
    struct power_block *pb = container_of(dev, struct power_block, dev);

    (void)pthread_mutex_destroy(&pb->lock);
    free(pb);
}

static const struct device_ops power_block_ops = {
    .type = "power-block",
    .version = 1,
    .read = power_block_read,
    .write = power_block_write,
    .reset = power_block_reset,
    .save = power_block_save,
    .load = power_block_load,
    .destroy = power_block_destroy,
};

int power_block_new(const struct vm_events_ops *events, void *events_ctx, uint32_t line,
                    const struct irq_line_ops *irq, void *irq_ctx, struct device **ret_dev,
                    struct errctx *ec)
{
    struct power_block *pb = calloc(1, sizeof(*pb));

    if (pb == NULL)
        return errctx_set(ec, ENOMEM, "power-block: no memory for device state");
    *pb = (struct power_block){
        .dev = { .ops = &power_block_ops, .name = "power-block" },
        .events = events, .events_ctx = events_ctx, .irq = irq, .irq_ctx = irq_ctx,
        .line = line,
    };
    (void)pthread_mutex_init(&pb->lock, NULL);
    *ret_dev = &pb->dev;
    return 0;
}
