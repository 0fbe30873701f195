/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/poll_time.h"

#include "vmm/base/macros.h"

uint64_t poll_time_allowed(const struct poll_time *pt, uint64_t now_ns)
{
    return now_ns < pt->rest_until_ns ? 0 : pt->ns;
}

void poll_time_slept(struct poll_time *pt, uint64_t waited_ns)
{
    if (waited_ns > pt->max_ns)
        pt->ns = 0;
    else if (waited_ns > pt->ns)
        pt->ns = MIN(MAX(pt->ns * 2, (uint64_t)POLL_TIME_FIRST_NS), pt->max_ns);
}

void poll_time_looked(struct poll_time *pt, uint64_t now_ns, uint64_t looked_ns, bool found)
{
    if (looked_ns / 2 > pt->max_ns) {
        pt->ns = 0;
        pt->rest_until_ns = now_ns + POLL_TIME_REST_NS;
    } else if (found) {
        poll_time_slept(pt, looked_ns);
    }
}
