/* SPDX-License-Identifier: Apache-2.0 */
/* Timers of an event loop: a timerfd each, watched like any other descriptor. Loop thread. */
#include "vmm/base/evloop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

struct evloop_timer {
    struct evloop_watch *watch;
    int fd;
    void (*cb)(void *ctx);
    void *ctx;
};

static void timer_fired(void *ctx, uint32_t events)
{
    struct evloop_timer *timer = ctx;
    uint64_t expirations;

    (void)events;
    if (read(timer->fd, &expirations, sizeof(expirations)) == sizeof(expirations))
        timer->cb(timer->ctx);
}

int evloop_timer_new(struct evloop *loop, void (*cb)(void *ctx), void *ctx,
                     struct evloop_timer **ret_timer, struct errctx *ec)
{
    struct evloop_timer *timer = calloc(1, sizeof(*timer));
    int r;

    if (timer == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a timer");
    timer->cb = cb;
    timer->ctx = ctx;
    timer->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (timer->fd < 0) {
        r = errctx_set_os(ec, errno, "timerfd_create");
        goto err_free;
    }
    r = evloop_watch_fd(loop, timer->fd, EPOLLIN, timer_fired, timer, &timer->watch, ec);
    if (r < 0)
        goto err_close;
    *ret_timer = timer;
    return 0;

err_close:
    (void)close(timer->fd);
err_free:
    free(timer);
    return r;
}

void evloop_timer_arm(struct evloop_timer *timer, uint64_t deadline_ns)
{
    struct itimerspec at = {
        .it_value = { .tv_sec = (time_t)(deadline_ns / 1000000000u),
                      .tv_nsec = (long)(deadline_ns % 1000000000u) },
    };

    (void)timerfd_settime(timer->fd, TFD_TIMER_ABSTIME, &at, NULL);
}

void evloop_timer_free(struct evloop_timer *timer)
{
    if (timer == NULL)
        return;
    evloop_unwatch(timer->watch);
    (void)close(timer->fd);
    free(timer);
}
