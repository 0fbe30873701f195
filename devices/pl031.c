/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PrimeCell real-time clock PL031 (Arm DDI 0224): seconds since 1970 in 32 bits, and one alarm.
 * Time is the host's UTC plus an offset that the guest's writes set. The alarm's timer is on the
 * main loop, armed only while its interrupt is enabled, so an idle clock costs nothing.
 *
 * Threads: registers under the lock, from vCPU threads and the loop.
 */
#include "devices/pl031.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "devices/prime_cell.h"
#include "devices/snapshot.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum {
    DR = 0x00, MR = 0x04, LR = 0x08, CR = 0x0c, IMSC = 0x10, RIS = 0x14, MIS = 0x18, ICR = 0x1c,
    PART = 0x031, REVISION = 0,
};

#define NS_PER_S 1000000000ull

struct pl031 {
    struct device dev;
    struct evloop *loop;
    struct evloop_timer *timer; /* main loop only */
    uint32_t line;
    const struct irq_line_ops *irq;
    void *irq_ctx;

    pthread_mutex_t lock; /* covers everything below */
    uint32_t offset_s;    /* guest time minus host time, modulo 2^32 */
    uint32_t match, load;
    bool enabled, due; /* the interrupt */
    bool armed;        /* the match is still to come */
    bool posted;       /* a message to arm the timer is on its way */
};

/* Of the host, so that timers which fire right after a second's begin see that second. */
static struct timespec host_now(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return ts;
}

static uint32_t guest_now(const struct pl031 *c)
{
    return (uint32_t)host_now().tv_sec + c->offset_s;
}

static void update_irq_locked(struct pl031 *c)
{
    c->irq->set(c->irq_ctx, c->line, c->due && c->enabled);
}

/* Raise what is due and time what is to come. Loop thread. */
static void arm(void *ctx)
{
    struct pl031 *c = ctx;
    struct timespec mono, wall = host_now();
    uint64_t at = 0;
    LOCK_SCOPE(&c->lock);
    const uint32_t left = c->match - ((uint32_t)wall.tv_sec + c->offset_s);

    c->posted = false;
    /* A match of the past is one of the next round, in up to 136 years. */
    if (c->armed && (left == 0 || left > UINT32_MAX / 2)) {
        c->due = true;
        c->armed = false;
        update_irq_locked(c);
    } else if (c->armed && c->enabled) {
        (void)clock_gettime(CLOCK_MONOTONIC, &mono);
        at = (uint64_t)mono.tv_sec * NS_PER_S + (uint64_t)mono.tv_nsec + left * NS_PER_S -
             (uint64_t)wall.tv_nsec;
    }
    evloop_timer_arm(c->timer, at);
}

static void pl031_read(struct device *dev, uint64_t off, void *data, size_t size)
{
    struct pl031 *c = container_of(dev, struct pl031, dev);
    const uint64_t reg = off & ~3ull;
    uint32_t v = reg >= PRIME_CELL_ID ? prime_cell_id(reg, PART, REVISION) : 0;
    LOCK_SCOPE(&c->lock);

    switch (reg) {
    case DR:
        v = guest_now(c);
        break;
    case MR:
        v = c->match;
        break;
    case LR:
        v = c->load;
        break;
    case CR:
        v = 1; /* it runs, always */
        break;
    case IMSC:
        v = c->enabled;
        break;
    case RIS:
        v = c->due;
        break;
    case MIS:
        v = c->due && c->enabled;
        break;
    default:
        break;
    }
    prime_cell_answer(v, off, data, size);
}

/* Returns true when the timer has to be looked at. */
static bool write_reg_locked(struct pl031 *c, uint64_t off, uint32_t v)
{
    switch (off) {
    case MR:
        c->match = v;
        c->armed = v - guest_now(c) <= UINT32_MAX / 2;
        return true;
    case LR:
        c->load = v;
        c->offset_s = v - (uint32_t)host_now().tv_sec;
        c->armed = c->match - v <= UINT32_MAX / 2 && c->match != v;
        return true;
    case IMSC:
        c->enabled = v & 1;
        return true;
    case ICR:
        if (v & 1)
            c->due = false;
        return false;
    default: /* read-only, or not there; the control register starts what runs already */
        return false;
    }
}

static void pl031_write(struct device *dev, uint64_t off, const void *data, size_t size)
{
    struct pl031 *c = container_of(dev, struct pl031, dev);
    bool post = false;

    {
        LOCK_SCOPE(&c->lock);
        /* One message at a time, so that a guest cannot fill the loop's queue. */
        if (write_reg_locked(c, off, prime_cell_value(data, size)) && !c->posted)
            c->posted = post = true;
        update_irq_locked(c);
    }
    if (post && evloop_post(c->loop, arm, c) < 0) {
        LOCK_SCOPE(&c->lock);
        c->posted = false;
    }
}

static void pl031_reset(struct device *dev)
{
    struct pl031 *c = container_of(dev, struct pl031, dev);

    {
        LOCK_SCOPE(&c->lock);
        c->offset_s = c->match = c->load = 0;
        c->enabled = c->due = c->armed = false;
        update_irq_locked(c);
    }
    arm(c); /* main thread, or before the loop runs */
}

static int pl031_save(struct device *dev, struct snapshot_writer *w, struct errctx *ec)
{
    struct pl031 *c = container_of(dev, struct pl031, dev);
    LOCK_SCOPE(&c->lock);

    (void)ec;
    snapshot_put_u32(w, c->offset_s);
    snapshot_put_u32(w, c->match);
    snapshot_put_u32(w, c->load);
    snapshot_put_u8(w, (uint8_t)(c->enabled | c->due << 1 | c->armed << 2));
    return 0;
}

static int pl031_load(struct device *dev, struct snapshot_reader *r, uint32_t version,
                      struct errctx *ec)
{
    struct pl031 *c = container_of(dev, struct pl031, dev);

    (void)version;
    (void)ec;
    {
        LOCK_SCOPE(&c->lock);
        uint8_t bits;

        c->offset_s = snapshot_get_u32(r);
        c->match = snapshot_get_u32(r);
        c->load = snapshot_get_u32(r);
        bits = snapshot_get_u8(r);
        c->enabled = bits & 1;
        c->due = bits & 2;
        c->armed = bits & 4;
        update_irq_locked(c);
    }
    arm(c);
    return 0;
}

static void pl031_destroy(struct device *dev)
{
    struct pl031 *c = container_of(dev, struct pl031, dev);

    evloop_timer_free(c->timer);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

static const struct device_ops pl031_ops = {
    .type = "pl031",
    .version = 1,
    .read = pl031_read,
    .write = pl031_write,
    .reset = pl031_reset,
    .save = pl031_save,
    .load = pl031_load,
    .destroy = pl031_destroy,
};

int pl031_new(struct evloop *loop, uint32_t line, const struct irq_line_ops *irq, void *irq_ctx,
              struct device **ret_dev, struct errctx *ec)
{
    struct pl031 *c = calloc(1, sizeof(*c));
    int r;

    if (c == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the clock");
    *c = (struct pl031){ .dev = { .ops = &pl031_ops, .name = "rtc0" }, .loop = loop, .line = line,
                         .irq = irq, .irq_ctx = irq_ctx };
    r = evloop_timer_new(loop, arm, c, &c->timer, ec);
    if (r < 0) {
        free(c);
        return r;
    }
    (void)pthread_mutex_init(&c->lock, NULL);
    pl031_reset(&c->dev);
    *ret_dev = &c->dev;
    return 0;
}
