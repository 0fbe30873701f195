/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decisions of rebalancing in words and as JSON, the same for a running machine and for a trace of
 * one. Pure; any thread.
 */
#ifndef VMM_MACHINE_BALANCE_SAY_H
#define VMM_MACHINE_BALANCE_SAY_H

#include <jansson.h>
#include <stddef.h>

#include "vcpu/policy/balance.h"

enum { BALANCE_TEXT = 640 }; /* room for every step in words */

/** balance_say() - "virtual node 1 from host node 0 to 2 (64 MiB in all): gains 0.85 CPUs, 0.31
 *  needed" in @buf. @hosts: the kernel's number of each host node. */
const char *balance_say(const struct balance_decision *d, const uint32_t *hosts, char *buf,
                        size_t size);

/** balance_say_outcome() - "gained 0.8 CPUs of 0.85 expected", "did not arrive", "not known
 *  yet". */
const char *balance_say_outcome(const struct balance_decision *d, char *buf, size_t size);

/**
 * balance_decision_json() - {"time", "moves": [{"vnode", "from", "to"}], "bytes", "predicted",
 * "threshold" (CPUs), "ping_pong", "outcome" (waiting, done, not done), "achieved" (CPUs; null
 * unless done)}; from and to are the kernel's numbers. NULL without memory.
 */
json_t *balance_decision_json(const struct balance_decision *d, const uint32_t *hosts);

#endif
