/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of a device tree, a file each. Private to firmware/. */
#ifndef FIRMWARE_FDT_PARTS_H
#define FIRMWARE_FDT_PARTS_H

#include "firmware/fdt.h"

/** fdt_cpus_append() - /cpus: CPUs, caches, cpu-map. Return: 0, -ENOMEM, -ENOTSUP, -ERANGE. */
int fdt_cpus_append(struct fdt_out *w, const struct fdt_arch *arch, const struct fdt_input *in,
                    struct errctx *ec);

/* CPUs by their place, and for each cache level from 2 on which instance a CPU is behind. */
struct fdt_cpu_order {
    const struct topo_plan *plan;
    uint32_t *by_place; /* vCPU numbers, by APIC id */
    size_t n_levels;
    const struct topo_plan_cache *level[TOPO_PLAN_MAX_CACHES]; /* the first of each level */
    uint32_t *group; /* n_levels * n_vcpus: instance of the level, from 0 in order of places */
};

/** fdt_caches_check() - can the tree say these? Return: 0, -ENOTSUP or -ERANGE. */
int fdt_caches_check(const struct topo_plan *plan, struct errctx *ec);
/** fdt_caches_of_cpu() - properties of a CPU's node: its level 1, and which cache is next. */
void fdt_caches_of_cpu(struct fdt_out *w, const struct fdt_cpu_order *order, uint32_t vcpu);
/** fdt_caches_append() - a node for each instance from level 2 on. */
void fdt_caches_append(struct fdt_out *w, const struct fdt_cpu_order *order);

/** fdt_memory_append() - RAM, a node per range, and the distances of nodes. Return: 0, -ENOTSUP
 *  (memory that is plugged later), -ENOMEM. */
int fdt_memory_append(struct fdt_out *w, const struct fdt_input *in, struct errctx *ec);

/** fdt_pci_append() - a host bridge for each virtual node. */
void fdt_pci_append(struct fdt_out *w, const struct fdt_arch *arch, const struct fdt_input *in);

#endif
