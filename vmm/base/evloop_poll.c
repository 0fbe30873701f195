/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/evloop_poll.h"

#include <errno.h>
#include <stdlib.h>

struct evloop_poller {
    struct evloop_pollers *all;
    const struct evloop_poller_ops *ops;
    void *ctx;
    struct evloop_poller *next;
};

static bool look_at_all(struct evloop_pollers *pollers)
{
    bool any = false;

    pollers->looked = true;
    for (struct evloop_poller *p = pollers->first; p != NULL; p = p->next)
        any |= p->ops->look(p->ctx);
    return any;
}

static bool end_all(struct evloop_pollers *pollers)
{
    bool any = false;

    if (!pollers->looked)
        return false;
    pollers->looked = false;
    for (struct evloop_poller *p = pollers->first; p != NULL; p = p->next)
        any |= p->ops->end(p->ctx);
    return any;
}

int evloop_pollers_wait(struct evloop_pollers *pollers, int epoll_fd, struct epoll_event *evs,
                        int max)
{
    struct poll_time *time = &pollers->time;
    uint64_t start, now;
    int n;

    if (pollers->first == NULL || time->max_ns == 0)
        return epoll_wait(epoll_fd, evs, max, -1);
    start = now = evloop_now_ns();
    while (now - start < poll_time_allowed(time, now)) {
        bool any = look_at_all(pollers);

        n = epoll_wait(epoll_fd, evs, max, 0);
        if (any || n != 0) {
            poll_time_looked(time, now, now - start, true); /* serving is no waiting */
            return n;
        }
        now = evloop_now_ns();
    }
    poll_time_looked(time, now, now - start, false);
    if (end_all(pollers))
        return 0;
    n = epoll_wait(epoll_fd, evs, max, -1);
    poll_time_slept(time, evloop_now_ns() - start);
    return n;
}

int evloop_poller_new(struct evloop *loop, const struct evloop_poller_ops *ops, void *ctx,
                      struct evloop_poller **ret_poller, struct errctx *ec)
{
    struct evloop_pollers *all = evloop_pollers(loop);
    struct evloop_poller *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a poller");
    *p = (struct evloop_poller){ .all = all, .ops = ops, .ctx = ctx, .next = all->first };
    all->first = p;
    *ret_poller = p;
    return 0;
}

void evloop_poller_free(struct evloop_poller *poller)
{
    struct evloop_poller **at;

    if (poller == NULL)
        return;
    for (at = &poller->all->first; *at != poller; at = &(*at)->next)
        ;
    *at = poller->next;
    free(poller);
}

void evloop_pollers_free(struct evloop_pollers *pollers)
{
    while (pollers->first != NULL)
        evloop_poller_free(pollers->first);
}

void evloop_set_poll(struct evloop *loop, uint64_t max_ns)
{
    evloop_pollers(loop)->time = (struct poll_time){ .max_ns = max_ns };
}
