/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/lab/lab_flow.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "vmm/base/macros.h"

void lab_flow_wants(const struct lab_flow *flow, struct pollfd wants[2])
{
    const bool open = flow->from >= 0 && flow->to >= 0 && !flow->done;

    wants[0] = (struct pollfd){ .fd = open && flow->have == 0 && !flow->ended ? flow->from : -1,
                                .events = POLLIN };
    /* Without anything to write, an error tells that nobody reads any more. */
    wants[1] = (struct pollfd){ .fd = open ? flow->to : -1,
                                .events = flow->have > 0 ? POLLOUT : 0 };
}

static void take(struct lab_flow *flow)
{
    const ssize_t n = read(flow->from, flow->bytes, sizeof(flow->bytes));

    if (n > 0) {
        flow->have = (size_t)n;
        flow->at = 0;
    } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
        flow->ended = true;
    }
}

static void give(struct lab_flow *flow)
{
    const ssize_t n = write(flow->to, flow->bytes + flow->at, MIN(flow->have, PIPE_BUF));

    if (n > 0) {
        flow->at += (size_t)n;
        flow->have -= (size_t)n;
    } else if (n < 0 && errno != EINTR && errno != EAGAIN) {
        flow->error = errno != EPIPE && errno != ECONNRESET ? errno : 0;
        flow->have = 0;
        flow->done = true;
    }
}

void lab_flow_step(struct lab_flow *flow, const struct pollfd got[2])
{
    if (got[0].fd >= 0 && got[0].revents != 0)
        take(flow);
    if (got[1].fd >= 0 && (got[1].revents & POLLOUT) && flow->have > 0)
        give(flow);
    else if (got[1].fd >= 0 && (got[1].revents & (POLLERR | POLLHUP | POLLNVAL)))
        flow->done = true;
    if (flow->ended && flow->have == 0)
        flow->done = true;
}
