/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an event loop waits: it lets its pollers look for a while, then it sleeps. For evloop.c, which
 * keeps one of these in each loop; the public side is in evloop.h. Loop thread.
 */
#ifndef VMM_BASE_EVLOOP_POLL_H
#define VMM_BASE_EVLOOP_POLL_H

#include <stdbool.h>
#include <sys/epoll.h>

#include "vmm/base/evloop.h"
#include "vmm/base/poll_time.h"

struct evloop_pollers {
    struct evloop_poller *first;
    struct poll_time time;
    bool looked; /* nobody wakes us until the pollers were told that we stopped */
};

/** evloop_pollers() - those of @loop. */
struct evloop_pollers *evloop_pollers(struct evloop *loop);

/** evloop_pollers_free() - all that are left. */
void evloop_pollers_free(struct evloop_pollers *pollers);

/** evloop_pollers_wait() - as epoll_wait() without a time limit, but returns 0 when a poller had
 *  something and has served it. */
int evloop_pollers_wait(struct evloop_pollers *pollers, int epoll_fd, struct epoll_event *evs,
                        int max);

#endif
