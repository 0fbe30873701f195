/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measuring distances between host nodes: which pairs, in which time. What touches memory is
 * behind a table of calls, so that the order of work and the time limit are tested with a clock
 * and a machine made up.
 */
#ifndef VMM_MACHINE_MEASURE_H
#define VMM_MACHINE_MEASURE_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/topology/host_topo.h"

/* Nodes are indices of the host's. All calls come from the thread that called measure_run(). */
struct measure_ops {
    uint64_t (*now_ns)(void *ctx); /* monotonic */
    /* Make memory on @node the one that the next calls read. -errno: that node is left out. */
    int (*prepare)(void *ctx, size_t node, struct errctx *ec);
    /* One dependent load by a CPU of @from, in picoseconds. -errno: the pair is left out. */
    int (*latency)(void *ctx, size_t from, uint64_t budget_ns, uint32_t *ret_ps, struct errctx *ec);
    /* All cores of @from reading, bytes per second. */
    int (*bandwidth)(void *ctx, size_t from, uint64_t budget_ns, uint64_t *ret_rate,
                     struct errctx *ec);
    void (*progress)(void *ctx, size_t done, size_t n); /* NULL: none */
};

struct measure_params {
    uint64_t budget_ns;
    uint64_t seed;
    size_t max_pairs;
};

enum { MEASURE_MAX_PAIRS = 1024 };

struct measure_result {
    struct host_sample *samples; /* owned by the caller: free() */
    size_t n;
    size_t n_chosen;    /* pairs that were to be measured */
    size_t n_left_out;  /* of them, because of failures; the others for lack of time */
    struct errctx why;  /* of the first failure */
    uint64_t took_ns;
};

/**
 * measure_run() - measure the pairs that stand for all, until done or out of time.
 * @host: at least one node.
 * @ret: untouched on failure.
 * The time is shared out over the pairs that are left, and no pair is begun that would, judged by
 * the dearest one so far, end beyond the budget.
 * Return: 0 with one sample at least, -ENOMEM, -ENODEV (nothing to measure), or the failure of
 * the first pair when none could be measured.
 */
int measure_run(const struct host_topo *host, const struct measure_params *params,
                const struct measure_ops *ops, void *ctx, struct measure_result *ret,
                struct errctx *ec);

#endif
