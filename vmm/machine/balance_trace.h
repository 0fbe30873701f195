/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A trace of rebalancing as JSON, one object a line, so that decisions can be replayed:
 *
 *   {"trace": "numavisor balance", "version": 1, "hosts": [number of each host node],
 *    "params": {"horizon", "residency" (ns), "speed" (bytes/s), "min_gain", "gib_gain", "confirm",
 *               "most_stall"}}
 *   {"time": ns, "nodes": [[capacity, others, memory, free], ...], "distances": [...],
 *    "vnodes": [[demand, home, fixed], ...], "at": [...], "told": [...], "stall": n}
 *   {"decided": {...}}          what was decided on the line before, as balance_say.h makes it
 *
 * Units and orders are those of struct balance_params and struct balance_snapshot. "distances" and
 * "told" are left out where they are those of the line before. Pure; any thread.
 */
#ifndef VMM_MACHINE_BALANCE_TRACE_H
#define VMM_MACHINE_BALANCE_TRACE_H

#include <jansson.h>

#include "vcpu/policy/balance.h"

/* A snapshot with arrays of its own. */
struct balance_line {
    struct balance_snapshot snap;
    struct balance_node *nodes;
    struct balance_vnode *vnodes;
    uint32_t *distances, *told;
    uint64_t *at;
};

/** balance_line_init() - arrays of these sizes, all 0. Return: 0, -EINVAL (sizes), -ENOMEM. */
int balance_line_init(struct balance_line *line, size_t n_nodes, size_t n_vnodes,
                      struct errctx *ec);
void balance_line_fini(struct balance_line *line);

/** balance_trace_to_json() - NULL without memory. @before: the line before, or NULL. */
json_t *balance_trace_to_json(const struct balance_snapshot *snap,
                              const struct balance_snapshot *before);

/**
 * balance_trace_from_json() - @before: the line before, or NULL. @ret_line: untouched on failure;
 * release with balance_line_fini().
 * Return: 0, -ENOMEM, or -EINVAL with a sentence for what is no snapshot that balance_check()
 * takes.
 */
int balance_trace_from_json(const json_t *json, const struct balance_line *before,
                            struct balance_line *ret_line, struct errctx *ec);

/* The first line. */
struct balance_head {
    struct balance_params params;
    uint32_t n_hosts;
    uint32_t hosts[BALANCE_MAX_NODES]; /* the kernel's number of each */
};

/** balance_head_to_json() - NULL without memory. balance_head_from_json() - 0 or -EINVAL with a
 *  sentence. */
json_t *balance_head_to_json(const struct balance_head *head);
int balance_head_from_json(const json_t *json, struct balance_head *ret_head, struct errctx *ec);

#endif
