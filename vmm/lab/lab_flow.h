/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One stream of the command: bytes from one descriptor to another, in a loop that never blocks.
 *
 * Descriptors of the caller are shared with others and stay as they are, so nothing is read or
 * written but what poll() has said to be possible, and to pipes no more at once than POSIX promises
 * room for. Main thread.
 */
#ifndef VMM_LAB_LAB_FLOW_H
#define VMM_LAB_LAB_FLOW_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

enum { LAB_FLOW_BYTES = 65536 };

struct lab_flow {
    int from, to;       /* -1: not there yet, or no more */
    bool ended;         /* @from has no more */
    bool done;          /* all that there was is with @to, or nobody takes it */
    int error;          /* why @to takes no more, when it is not that nobody reads; 0: it does */
    size_t have, at;
    char bytes[LAB_FLOW_BYTES];
};

/** lab_flow_wants() - what to poll for, two entries, whose ->fd may be -1. */
void lab_flow_wants(const struct lab_flow *flow, struct pollfd wants[2]);

/** lab_flow_step() - do what the entries say is possible. ->done when it is over. */
void lab_flow_step(struct lab_flow *flow, const struct pollfd got[2]);

#endif
