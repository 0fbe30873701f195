/* SPDX-License-Identifier: Apache-2.0 */
/* Counters in the place of the interrupt controller and the machine, for the legacy devices. */
#ifndef DEVICES_TEST_LEGACY_RIG_H
#define DEVICES_TEST_LEGACY_RIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/device.h"
#include "devices/irq.h"
#include "devices/snapshot.h"
#include "devices/vm_events.h"

struct legacy_rig {
    _Atomic bool level[24];
    _Atomic unsigned rises[24];
    unsigned resets, power_offs, codes;
    uint32_t code;
};

static inline void rig_line(void *ctx, uint32_t gsi, bool level)
{
    struct legacy_rig *rig = ctx;

    if (atomic_exchange(&rig->level[gsi], level) != level && level)
        atomic_fetch_add(&rig->rises[gsi], 1);
}

static inline void rig_reset(void *ctx, const char *why)
{
    (void)why;
    ((struct legacy_rig *)ctx)->resets++;
}

static inline void rig_power_off(void *ctx)
{
    ((struct legacy_rig *)ctx)->power_offs++;
}

static inline void rig_code(void *ctx, uint32_t code)
{
    ((struct legacy_rig *)ctx)->codes++;
    ((struct legacy_rig *)ctx)->code = code;
}

static const struct irq_line_ops rig_line_ops = { .set = rig_line };
static const struct vm_events_ops rig_events_ops __attribute__((unused)) = {
    .request_reset = rig_reset, .power_off = rig_power_off, .guest_code = rig_code
};

static inline uint8_t rig_in(struct device *dev, uint64_t off)
{
    uint8_t v = 0;

    dev->ops->read(dev, off, &v, 1);
    return v;
}

static inline void rig_out(struct device *dev, uint64_t off, uint8_t v)
{
    dev->ops->write(dev, off, &v, 1);
}

static inline void rig_destroy(struct device *dev)
{
    dev->ops->destroy(dev);
}

/* Save @from, load into @to, which was created the same way. */
static inline int rig_copy(struct device *from, struct device *to, struct errctx *ec)
{
    struct snapshot_writer w = { 0 };
    int r = device_save(from, &w, ec);

    if (r == 0) {
        struct snapshot_reader rd = { .buf = w.buf, .len = w.len };

        r = device_load(to, &rd, ec);
    }
    snapshot_writer_fini(&w);
    return r;
}

#endif
