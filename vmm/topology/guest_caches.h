/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU caches as far as the description alone decides them. Private to vmm/topology.
 */
#ifndef VMM_TOPOLOGY_GUEST_CACHES_H
#define VMM_TOPOLOGY_GUEST_CACHES_H

#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/topology/guest_shape.h"
#include "vmm/topology/guest_spec.h"

/**
 * guest_caches_check() - refuse caches that contradict themselves, each other or the shape.
 * Whether sizes go together with what the host supplies is found out by topo_plan_make().
 * Return: 0, -EINVAL or -ERANGE with a sentence that names the cache.
 */
int guest_caches_check(const struct guest_spec *spec, const struct guest_shape *sh,
                       struct errctx *ec);

/** guest_cache_name() - "--l3", "caches: L1 data": how sentences call a cache. */
const char *guest_cache_name(uint32_t level, enum cache_type type);

/** guest_cache_type() - the type with its default: unified above level 1. 0 when not said. */
enum cache_type guest_cache_type(const struct guest_cache_spec *c);

/**
 * guest_caches_complex() - cores of a complex: those that share the last-level cache where that
 * is less than a die (levels 3 and 4 only), else the cores of the largest die.
 */
uint32_t guest_caches_complex(const struct guest_spec *spec, const struct guest_shape *sh);

#endif
