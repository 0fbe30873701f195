/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A large machine shrunk onto a small one: less memory, fewer cores, the same shape. Pure.
 *
 * Nodes, sockets, dies and threads stay; every die keeps at least one core, and every node that
 * has memory at least 2 MiB. docs/topology-language.md has the rules.
 */
#ifndef VMM_TOPOLOGY_GUEST_SCALE_H
#define VMM_TOPOLOGY_GUEST_SCALE_H

#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/topology/guest_spec.h"

struct guest_scale {
    uint32_t memory_by, memory_of; /* memory_by / memory_of of the memory; memory_of 0: all */
    uint32_t cpus_by, cpus_of;
};

/** guest_scale_parse() - "memory=1/64,cpus=1/4". Return: 0, -EINVAL or -ERANGE with a sentence. */
int guest_scale_parse(const char *text, struct guest_scale *ret_scale, struct errctx *ec);

/** guest_scale_apply() - shrink @spec, which guest_spec_check() accepts. -EINVAL, -ENOMEM. */
int guest_scale_apply(struct guest_spec *spec, const struct guest_scale *scale, struct errctx *ec);

/**
 * guest_scale_memory() - give the nodes of @spec @total_bytes in the proportions they have.
 * @total_bytes: a multiple of 2 MiB.
 * Return: 0, -EINVAL (less than 2 MiB for each node that has memory).
 */
int guest_scale_memory(struct guest_spec *spec, uint64_t total_bytes, struct errctx *ec);

#endif
