/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Debug exit: four bytes, at port 0xf4 where there are ports, as bare-metal test suites expect
 * them. The value of any write, 1 to 4 bytes wide, becomes the run's code. Reads give zero. No state.
 */
#include "devices/debug_exit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"

struct debug_exit {
    struct device dev;
    const struct vm_events_ops *events;
    void *events_ctx;
};

static void debug_exit_read(struct device *dev, uint64_t off, void *data, size_t size)
{
    (void)dev;
    (void)off;
    memset(data, 0, size);
}

static void debug_exit_write(struct device *dev, uint64_t off, const void *data, size_t size)
{
    struct debug_exit *de = container_of(dev, struct debug_exit, dev);
    uint32_t code = 0;

    (void)off;
    memcpy(&code, data, MIN(size, sizeof(code)));
    de->events->guest_code(de->events_ctx, code);
}

static void debug_exit_reset(struct device *dev)
{
    (void)dev; /* nothing to forget */
}

static int debug_exit_save(struct device *dev, struct snapshot_writer *w, struct errctx *ec)
{
    (void)dev;
    (void)w;
    (void)ec;
    return 0;
}

static int debug_exit_load(struct device *dev, struct snapshot_reader *r, uint32_t version,
                           struct errctx *ec)
{
    (void)dev;
    (void)r;
    (void)version;
    (void)ec;
    return 0;
}

static void debug_exit_destroy(struct device *dev)
{
    free(container_of(dev, struct debug_exit, dev));
}

static const struct device_ops debug_exit_ops = {
    .type = "debug-exit",
    .version = 1,
    .read = debug_exit_read,
    .write = debug_exit_write,
    .reset = debug_exit_reset,
    .save = debug_exit_save,
    .load = debug_exit_load,
    .destroy = debug_exit_destroy,
};

int debug_exit_new(const struct vm_events_ops *events, void *events_ctx, struct device **ret_dev,
                   struct errctx *ec)
{
    struct debug_exit *de = calloc(1, sizeof(*de));

    if (de == NULL)
        return errctx_set(ec, ENOMEM, "debug-exit: no memory for device state");
    de->dev = (struct device){ .ops = &debug_exit_ops, .name = "debug-exit" };
    de->events = events;
    de->events_ctx = events_ctx;
    *ret_dev = &de->dev;
    return 0;
}
