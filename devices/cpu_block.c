/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte for each CPU. What the guest may do is take notes back, and take a CPU away that is there;
 * putting one there is ours. Bits that say nothing here, and bytes of CPUs that cannot be plugged, are
 * ignored and read as zero.
 */
#include "devices/cpu_block.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "devices/platform.h"
#include "devices/snapshot.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

struct cpu_block {
    struct device dev;
    const struct cpu_block_ops *ops;
    void *ctx;
    struct idset cpus;
    pthread_mutex_t lock; /* covers what follows; a leaf but for what ->gone takes */
    uint8_t state[PLATFORM_CPU_LEN]; /* as the guest reads it */
    bool asked[PLATFORM_CPU_LEN];
};

static void cpu_block_read(struct device *dev, uint64_t off, void *data, size_t size)
{
    struct cpu_block *cb = container_of(dev, struct cpu_block, dev);
    uint8_t *bytes = data;
    LOCK_SCOPE(&cb->lock);

    for (size_t i = 0; i < size; i++)
        bytes[i] = off + i < PLATFORM_CPU_LEN ? cb->state[off + i] : 0;
}

static void remove_locked(struct cpu_block *cb, uint32_t cpu)
{
    if ((cb->state[cpu] & PLATFORM_CPU_THERE) == 0)
        return;
    cb->state[cpu] = 0;
    cb->asked[cpu] = false;
    cb->ops->gone(cb->ctx, cpu);
}

static void cpu_block_write(struct device *dev, uint64_t off, const void *data, size_t size)
{
    struct cpu_block *cb = container_of(dev, struct cpu_block, dev);
    const uint8_t v = *(const uint8_t *)data;
    LOCK_SCOPE(&cb->lock);

    if (size != 1 || off >= PLATFORM_CPU_LEN)
        return;
    cb->state[off] &= (uint8_t)~(v & (PLATFORM_CPU_COMES | PLATFORM_CPU_ASKED));
    if (v & PLATFORM_CPU_GONE)
        remove_locked(cb, (uint32_t)off);
}

static int judge(const struct cpu_block *cb, uint32_t cpu, bool there, struct errctx *ec)
{
    if (!idset_has(&cb->cpus, cpu))
        return errctx_set(ec, ENOENT, "CPU %u cannot be plugged (hotplug-cpus=)", cpu);
    if (((cb->state[cpu] & PLATFORM_CPU_THERE) != 0) != there)
        return errctx_set(ec, EALREADY, "CPU %u is %sthere", cpu, there ? "not " : "");
    return 0;
}

int cpu_block_plug(struct device *dev, uint32_t cpu, struct errctx *ec)
{
    struct cpu_block *cb = container_of(dev, struct cpu_block, dev);
    int r;
    LOCK_SCOPE(&cb->lock);

    r = judge(cb, cpu, false, ec);
    if (r == 0)
        cb->state[cpu] = PLATFORM_CPU_THERE | PLATFORM_CPU_COMES;
    return r;
}

int cpu_block_ask(struct device *dev, uint32_t cpu, struct errctx *ec)
{
    struct cpu_block *cb = container_of(dev, struct cpu_block, dev);
    int r;
    LOCK_SCOPE(&cb->lock);

    r = judge(cb, cpu, true, ec);
    if (r < 0)
        return r;
    cb->state[cpu] |= PLATFORM_CPU_ASKED;
    cb->asked[cpu] = true;
    return 0;
}

bool cpu_block_look(struct device *dev, uint32_t cpu, struct cpu_block_cpu *ret_cpu)
{
    struct cpu_block *cb = container_of(dev, struct cpu_block, dev);
    LOCK_SCOPE(&cb->lock);

    if (!idset_has(&cb->cpus, cpu))
        return false;
    *ret_cpu = (struct cpu_block_cpu){
        .there = (cb->state[cpu] & PLATFORM_CPU_THERE) != 0,
        .asked = cb->asked[cpu],
        .told = (cb->state[cpu] & (PLATFORM_CPU_COMES | PLATFORM_CPU_ASKED)) == 0,
    };
    return true;
}

static void cpu_block_reset(struct device *dev)
{
    struct cpu_block *cb = container_of(dev, struct cpu_block, dev);
    LOCK_SCOPE(&cb->lock);

    for (uint32_t cpu = 0; cpu < PLATFORM_CPU_LEN; cpu++)
        remove_locked(cb, cpu);
}

static int cpu_block_save(struct device *dev, struct snapshot_writer *w, struct errctx *ec)
{
    const struct cpu_block *cb = container_of(dev, struct cpu_block, dev);

    (void)ec;
    IDSET_FOREACH (cpu, &cb->cpus) {
        snapshot_put_u8(w, cb->state[cpu]);
        snapshot_put_u8(w, cb->asked[cpu]);
    }
    return 0;
}

static int cpu_block_load(struct device *dev, struct snapshot_reader *r, uint32_t version,
                          struct errctx *ec)
{
    struct cpu_block *cb = container_of(dev, struct cpu_block, dev);

    (void)version;
    (void)ec;
    IDSET_FOREACH (cpu, &cb->cpus) {
        cb->state[cpu] = snapshot_get_u8(r) &
                         (PLATFORM_CPU_THERE | PLATFORM_CPU_COMES | PLATFORM_CPU_ASKED);
        cb->asked[cpu] = snapshot_get_u8(r) != 0;
    }
    return 0;
}

static void cpu_block_destroy(struct device *dev)
{
    struct cpu_block *cb = container_of(dev, struct cpu_block, dev);

    (void)pthread_mutex_destroy(&cb->lock);
    free(cb);
}

static const struct device_ops cpu_block_ops_table = {
    .type = "cpu-block",
    .version = 1,
    .read = cpu_block_read,
    .write = cpu_block_write,
    .reset = cpu_block_reset,
    .save = cpu_block_save,
    .load = cpu_block_load,
    .destroy = cpu_block_destroy,
};

int cpu_block_new(const struct idset *cpus, const struct cpu_block_ops *ops, void *ctx,
                  struct device **ret_dev, struct errctx *ec)
{
    struct cpu_block *cb = calloc(1, sizeof(*cb));

    if (cb == NULL)
        return errctx_set(ec, ENOMEM, "cpu-block: no memory for device state");
    cb->dev = (struct device){ .ops = &cpu_block_ops_table, .name = "cpu-block" };
    cb->ops = ops;
    cb->ctx = ctx;
    cb->cpus = *cpus;
    (void)pthread_mutex_init(&cb->lock, NULL);
    *ret_dev = &cb->dev;
    return 0;
}
