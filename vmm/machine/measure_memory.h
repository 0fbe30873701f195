/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of measuring that touches memory: a pointer chase for latency, streaming reads for
 * bandwidth, by threads pinned to the one node on memory bound to the other.
 */
#ifndef VMM_MACHINE_MEASURE_MEMORY_H
#define VMM_MACHINE_MEASURE_MEMORY_H

#include "vmm/machine/measure.h"

struct measure_memory;

/**
 * measure_memory_new() - nothing is bound or touched yet.
 * @host: this machine's, borrowed until measure_memory_free().
 * Return: 0 or -ENOMEM.
 */
int measure_memory_new(const struct host_topo *host, struct measure_memory **ret,
                       struct errctx *ec);
void measure_memory_free(struct measure_memory *m);

/** measure_memory_prepare(), ... - the calls of struct measure_ops; ctx is what new() made.
 *  prepare fails with -ENOSPC where a node, or our cgroup, has too little memory free, with
 *  -EXDEV where memory came from elsewhere, or the errno of mbind. */
uint64_t measure_memory_now_ns(void *ctx);
int measure_memory_prepare(void *ctx, size_t node, struct errctx *ec);
int measure_memory_latency(void *ctx, size_t from, uint64_t budget_ns, uint32_t *ret_ps,
                           struct errctx *ec);
int measure_memory_bandwidth(void *ctx, size_t from, uint64_t budget_ns, uint64_t *ret_rate,
                             struct errctx *ec);

#endif
