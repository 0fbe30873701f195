/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sleep control (ACPI 6.5, 4.8.3.7): SLP_EN with the S5 type switches the machine off; other
 * sleep types are not announced and ignored. Event register: bits stay set until the guest's
 * _EVT method reads them and writes them back; the line is edge-triggered, so it is raised for
 * each new event and dropped when nothing is pending. An edge that comes while the guest has the
 * line masked, which it has until its driver is there, is lost: so there is another one while an
 * event is pending, after AGAIN_NS and then less and less often.
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
    struct evloop_timer *again;
    uint64_t again_ns;    /* of the loop: the last pause between two edges */
    pthread_mutex_t lock; /* covers pending and the order of line changes */
    uint8_t pending;
};

#define AGAIN_NS     250000000ull
#define AGAIN_MAX_NS 8000000000ull

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

/* A fresh edge, also for a repeat. False: nothing is pending. */
static bool tell(struct power_block *pb, uint8_t events)
{
    LOCK_SCOPE(&pb->lock);

    pb->pending |= events;
    if (pb->pending == 0)
        return false;
    pb->irq->set(pb->irq_ctx, pb->line, false);
    pb->irq->set(pb->irq_ctx, pb->line, true);
    return true;
}

static void remind_in(struct power_block *pb, uint64_t ns)
{
    pb->again_ns = ns;
    evloop_timer_arm(pb->again, evloop_now_ns() + ns);
}

static void remind(void *ctx)
{
    struct power_block *pb = ctx;

    if (tell(pb, 0))
        remind_in(pb, MIN(2 * pb->again_ns, AGAIN_MAX_NS));
}

void power_block_raise(struct device *dev, uint8_t events)
{
    struct power_block *pb = container_of(dev, struct power_block, dev);

    if (tell(pb, events))
        remind_in(pb, AGAIN_NS);
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

static void power_block_quiesce(struct device *dev)
{
    evloop_timer_arm(container_of(dev, struct power_block, dev)->again, 0);
}

/* Also after a load. */
static void power_block_resume(struct device *dev)
{
    remind_in(container_of(dev, struct power_block, dev), AGAIN_NS);
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

    evloop_timer_free(pb->again);
    (void)pthread_mutex_destroy(&pb->lock);
    free(pb);
}

static const struct device_ops power_block_ops = {
    .type = "power-block",
    .version = 1,
    .read = power_block_read,
    .write = power_block_write,
    .quiesce = power_block_quiesce,
    .resume = power_block_resume,
    .reset = power_block_reset,
    .save = power_block_save,
    .load = power_block_load,
    .destroy = power_block_destroy,
};

int power_block_new(struct evloop *loop, const struct power_block_wires *wires,
                    struct device **ret_dev, struct errctx *ec)
{
    struct power_block *pb = calloc(1, sizeof(*pb));
    int r;

    if (pb == NULL)
        return errctx_set(ec, ENOMEM, "power-block: no memory for device state");
    *pb = (struct power_block){
        .dev = { .ops = &power_block_ops, .name = "power-block" },
        .events = wires->events, .events_ctx = wires->events_ctx,
        .irq = wires->irq, .irq_ctx = wires->irq_ctx, .line = wires->line,
    };
    r = evloop_timer_new(loop, remind, pb, &pb->again, ec);
    if (r < 0) {
        free(pb);
        return errctx_wrap(ec, r, "power-block");
    }
    (void)pthread_mutex_init(&pb->lock, NULL);
    *ret_dev = &pb->dev;
    return 0;
}
