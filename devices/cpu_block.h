/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block of CPUs: what ACPI methods read and write of CPUs that are plugged in and out
 * (devices/platform.h has the byte's bits, firmware/x86/dsdt_cpus.c the methods). Any thread.
 */
#ifndef DEVICES_CPU_BLOCK_H
#define DEVICES_CPU_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/device.h"
#include "vmm/base/errctx.h"
#include "vmm/base/idset.h"

struct cpu_block_ops {
    /* The guest, or a reset, took a CPU away: it must not run from now on. On a vCPU's thread, or
     * the main one while all vCPUs stand. */
    void (*gone)(void *ctx, uint32_t cpu);
};

struct cpu_block_cpu {
    bool there;
    bool asked; /* it was asked to go, whether the guest knows or not */
    bool told;  /* the guest has taken note of what was asked last */
};

/** cpu_block_new() - PLATFORM_CPU_LEN bytes. @cpus: that can be plugged, below
 *  PLATFORM_CPU_LEN; none is there at first, nor after a reset. */
int cpu_block_new(const struct idset *cpus, const struct cpu_block_ops *ops, void *ctx,
                  struct device **ret_dev, struct errctx *ec);

/** cpu_block_plug() - it is there; the caller tells the guest to look (PLATFORM_GED_CPU).
 *  Return: 0; -ENOENT (none that can be plugged); -EALREADY (it is there). */
int cpu_block_plug(struct device *dev, uint32_t cpu, struct errctx *ec);

/** cpu_block_ask() - it is to go, likewise. Return: 0; -ENOENT; -EALREADY (it is not there). */
int cpu_block_ask(struct device *dev, uint32_t cpu, struct errctx *ec);

/** cpu_block_look() - false: @cpu cannot be plugged. */
bool cpu_block_look(struct device *dev, uint32_t cpu, struct cpu_block_cpu *ret_cpu);

#endif
