/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots of rebalancing as JSON, one object a line, so that decisions can be replayed:
 *
 *   {"time": ns, "nodes": [[capacity, others, memory, free], ...], "distances": [...],
 *    "vnodes": [[demand, home, fixed], ...], "at": [...], "told": [...]}
 *
 * Units and orders are those of struct balance_snapshot; "told" may be absent. Pure; any thread.
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

/** balance_trace_to_json() - NULL without memory. */
json_t *balance_trace_to_json(const struct balance_snapshot *snap);

/**
 * balance_trace_from_json() - @ret_line: untouched on failure; release with balance_line_fini().
 * Return: 0, -ENOMEM, or -EINVAL with a sentence for what is no snapshot that balance_check()
 * takes.
 */
int balance_trace_from_json(const json_t *json, struct balance_line *ret_line, struct errctx *ec);
void balance_line_fini(struct balance_line *line);

#endif
