/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user network's sockets and timers.
 *
 * libslirp wants to be told which of its sockets are ready, all in one call, so they live in an
 * epoll set of their own and the loop watches that set: one call per batch, however many sockets
 * there are. After each call into libslirp net_slirp_sync() asks what it waits for and touches
 * only what changed.
 */
#include "devices/virtio/net_slirp_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum { SLIRP_EVENTS = 64 };

/* One outside pointer for each timer of libslirp. */
struct slirp_timer {
    struct evloop_timer *timer;
};

static struct slirp_fd *slirp_fd(struct net_slirp *s, int fd)
{
    size_t n = (size_t)fd + 1;

    if (n > s->n_fds) {
        struct slirp_fd *fds = realloc(s->fds, n * sizeof(*fds));

        if (fds == NULL)
            return NULL;
        memset(fds + s->n_fds, 0, (n - s->n_fds) * sizeof(*fds));
        s->fds = fds;
        s->n_fds = n;
    }
    return &s->fds[fd];
}

static void slirp_fd_set(struct net_slirp *s, int fd, uint32_t events)
{
    struct slirp_fd *f = &s->fds[fd];
    struct epoll_event ev = { .events = events, .data.fd = fd };
    int op = events == 0 ? EPOLL_CTL_DEL : f->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

    if (f->events == events)
        return;
    /* A number that was closed and opened again is in the set when we think it is not, or the
     * other way round. */
    if (epoll_ctl(s->epoll_fd, op, fd, &ev) == 0 ||
        (errno == EEXIST && epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, fd, &ev) == 0) ||
        (errno == ENOENT && epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0))
        f->events = events;
    else
        f->events = 0;
}

/* What to wait for is said by slirp_pollfds_fill() later; here the socket is counted. */
void net_slirp_register_fd(int fd, void *opaque)
{
    struct net_slirp *s = opaque;
    struct slirp_fd *f = slirp_fd(s, fd);

    if (f != NULL && !f->open) {
        f->open = true;
        s->n_open++;
    }
}

void net_slirp_unregister_fd(int fd, void *opaque)
{
    struct net_slirp *s = opaque;

    if ((size_t)fd < s->n_fds) {
        slirp_fd_set(s, fd, 0);
        s->fds[fd].revents = 0;
        s->n_open -= s->fds[fd].open;
        s->fds[fd].open = false;
    }
}

/* The same bits under two names. */
static const struct {
    int slirp;
    uint32_t epoll;
} slirp_events[] = {
    { SLIRP_POLL_IN, EPOLLIN },   { SLIRP_POLL_OUT, EPOLLOUT }, { SLIRP_POLL_PRI, EPOLLPRI },
    { SLIRP_POLL_ERR, EPOLLERR }, { SLIRP_POLL_HUP, EPOLLHUP },
};

static int slirp_add_poll(int fd, int events, void *opaque)
{
    struct slirp_fd *f = slirp_fd(opaque, fd);

    if (f == NULL)
        return -1; /* not watched this time; the next call tries again */
    for (size_t i = 0; i < ARRAY_SIZE(slirp_events); i++) {
        if (events & slirp_events[i].slirp)
            f->wanted |= slirp_events[i].epoll;
    }
    return fd;
}

static int slirp_get_revents(int idx, void *opaque)
{
    const struct net_slirp *s = opaque;
    int events = 0;

    if (idx < 0 || (size_t)idx >= s->n_fds)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(slirp_events); i++) {
        if (s->fds[idx].revents & slirp_events[i].epoll)
            events |= slirp_events[i].slirp;
    }
    return events;
}

/* After every call into libslirp: what it waits for now, and until when. */
void net_slirp_sync(struct net_slirp *s)
{
    bool polling = s->running && s->backlog_at == s->backlog_end;
    uint32_t timeout_ms = UINT32_MAX;
    uint64_t deadline;

    for (size_t i = 0; i < s->n_fds; i++)
        s->fds[i].wanted = 0;
    s->lib.pollfds_fill(s->slirp, &timeout_ms, slirp_add_poll, s);
    for (size_t i = 0; i < s->n_fds; i++)
        slirp_fd_set(s, (int)i, s->fds[i].wanted);

    if (polling != s->polling)
        evloop_watch_set(s->watch, polling ? EPOLLIN : 0);
    s->polling = polling;

    if (timeout_ms == UINT32_MAX || !s->running)
        return;
    /* A timer that fires early costs one more look; arming it for each packet costs more. */
    deadline = evloop_now_ns() + (uint64_t)timeout_ms * 1000000u;
    if (s->deadline_ns == 0 || deadline < s->deadline_ns) {
        s->deadline_ns = deadline;
        evloop_timer_arm(s->timer, deadline);
    }
}

void net_slirp_expire(struct net_slirp *s)
{
    s->lib.pollfds_poll(s->slirp, 0, slirp_get_revents, s);
}

static void slirp_serve(struct net_slirp *s)
{
    s->lib.pollfds_poll(s->slirp, 0, slirp_get_revents, s);
    net_rx_end(&s->be.dev->pairs[0]);
    net_slirp_sync(s);
}

void net_slirp_ready(void *ctx, uint32_t events)
{
    struct epoll_event evs[SLIRP_EVENTS];
    struct net_slirp *s = ctx;
    int n;

    (void)events;
    if (!s->polling)
        return;
    n = epoll_wait(s->epoll_fd, evs, SLIRP_EVENTS, 0);
    for (int i = 0; i < n; i++)
        s->fds[evs[i].data.fd].revents = evs[i].events;
    slirp_serve(s);
    for (int i = 0; i < n; i++)
        s->fds[evs[i].data.fd].revents = 0;
}

void net_slirp_timeout(void *ctx)
{
    struct net_slirp *s = ctx;

    s->deadline_ns = 0;
    if (s->running)
        slirp_serve(s);
}

void *net_slirp_timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
    struct net_slirp *s = opaque;
    struct slirp_timer *t = calloc(1, sizeof(*t));

    if (t != NULL && evloop_timer_new(s->loop, cb, cb_opaque, &t->timer, NULL) < 0) {
        free(t);
        return NULL;
    }
    return t;
}

void net_slirp_timer_free(void *timer, void *opaque)
{
    struct slirp_timer *t = timer;

    (void)opaque;
    if (t != NULL)
        evloop_timer_free(t->timer);
    free(t);
}

void net_slirp_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    struct slirp_timer *t = timer;

    (void)opaque;
    if (t != NULL)
        evloop_timer_arm(t->timer, (uint64_t)MAX(expire_ms, 1) * 1000000u);
}
