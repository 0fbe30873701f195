/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deciding again on a recorded trace of rebalancing (balance_trace.h), line by line, and comparing.
 * Pure; one thread at a time for each replay.
 */
#ifndef VMM_MACHINE_BALANCE_REPLAY_H
#define VMM_MACHINE_BALANCE_REPLAY_H

#include "vmm/machine/balance_trace.h"

struct balance_replay;

/** balance_replay_new() - before the first line. Return: 0 or -ENOMEM. */
int balance_replay_new(struct balance_replay **ret_replay, struct errctx *ec);
void balance_replay_free(struct balance_replay *replay);

/**
 * balance_replay_line() - take the next line.
 * Return: 1 when something was decided on it, for balance_replay_last(); 0 when not; -EINVAL for a
 * line that is none of a trace's; -EILSEQ when the machine decided something else, or nothing, or
 * this replay did not; -ENOMEM. After a failure no more lines can be taken.
 */
int balance_replay_line(struct balance_replay *replay, const char *text, size_t len,
                        struct errctx *ec);

/** balance_replay_head() - the first line; all 0 before it. */
const struct balance_head *balance_replay_head(const struct balance_replay *replay);

/** balance_replay_last() - what was decided last, and when after the first snapshot. After a line
 *  that returned 1. */
const struct balance_decision *balance_replay_last(const struct balance_replay *replay,
                                                   uint64_t *ret_after_ns);

/** balance_replay_log() - as balance_log(). balance_replay_counts() - snapshots and decisions. */
const struct balance_decision *balance_replay_log(const struct balance_replay *replay, size_t i);
void balance_replay_counts(const struct balance_replay *replay, size_t *ret_snapshots,
                           size_t *ret_decisions);

#endif
