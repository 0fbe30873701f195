/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoll with a message queue. Watches that are removed while events are being dispatched stay
 * on a list of the dead until the batch is over, because epoll may already have handed out a
 * pointer to them. Messages are a singly linked list under one mutex; an eventfd wakes the loop.
 *
 * A loop has one owner at a time: the thread in evloop_run(), from before its first message until
 * no message is left, or a thread whose evloop_call() found the loop idle, for that call. Hence
 * what is called never runs beside the loop or another call, whenever the loop begins or ends.
 */
#include "vmm/base/evloop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/evloop_poll.h"
#include "vmm/base/place.h"

enum { EVLOOP_BATCH = 64 };

struct evloop_watch {
    struct evloop *loop;
    int fd;
    bool dead;
    void (*cb)(void *ctx, uint32_t events);
    void *ctx;
    struct evloop_watch *prev, *next; /* all watches of the loop, or the dead ones */
};

struct evloop_later {
    struct evloop *loop;
    void (*cb)(void *ctx);
    void *ctx;
    struct evloop_later *next, **at; /* what points to us, while we are asked for; else NULL */
};

struct evloop_msg {
    void (*fn)(void *ctx);
    void *ctx;
    bool on_stack; /* of a thread in evloop_call(), which goes on as soon as fn has run */
    struct evloop_msg *next;
};

struct evloop {
    int epoll_fd, wake_fd;
    bool dispatching;
    struct evloop_watch *watches, *dead;
    struct evloop_later *later; /* asked for since the last look at the descriptors */
    struct evloop_later *due;   /* asked for before it */
    struct evloop_pollers pollers;
    struct place_group place;

    pthread_mutex_t lock; /* covers the fields below */
    pthread_cond_t idle;  /* nobody owns the loop any more */
    struct evloop_msg *first, **last;
    bool stop;
    bool owned;
    bool running;     /* owned by a thread in evloop_run(), which will see every message */
    pthread_t thread; /* the owner; valid while owned */
};

int evloop_new(struct evloop **ret_loop, struct errctx *ec)
{
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };
    struct evloop *loop = calloc(1, sizeof(*loop));
    int r;

    if (loop == NULL)
        return errctx_set(ec, ENOMEM, "no memory for an event loop");
    loop->wake_fd = -1;
    loop->last = &loop->first;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        r = errctx_set_os(ec, errno, "epoll_create1");
        goto err_free;
    }
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0) {
        r = errctx_set_os(ec, errno, "eventfd");
        goto err_close_epoll;
    }
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &ev) < 0) {
        r = errctx_set_os(ec, errno, "epoll_ctl");
        goto err_close_wake;
    }
    (void)pthread_mutex_init(&loop->lock, NULL);
    (void)pthread_cond_init(&loop->idle, NULL);
    place_group_init(&loop->place);
    *ret_loop = loop;
    return 0;

err_close_wake:
    (void)close(loop->wake_fd);
err_close_epoll:
    (void)close(loop->epoll_fd);
err_free:
    free(loop);
    return r;
}

static void free_list(struct evloop_watch **list)
{
    while (*list != NULL) {
        struct evloop_watch *w = *list;

        *list = w->next;
        free(w);
    }
}

struct place_group *evloop_place(struct evloop *loop)
{
    return &loop->place;
}

void evloop_free(struct evloop *loop)
{
    if (loop == NULL)
        return;
    free_list(&loop->watches);
    free_list(&loop->dead);
    evloop_pollers_free(&loop->pollers);
    while (loop->first != NULL) {
        struct evloop_msg *m = loop->first;

        loop->first = m->next;
        if (!m->on_stack)
            free(m);
    }
    (void)close(loop->wake_fd);
    (void)close(loop->epoll_fd);
    (void)pthread_cond_destroy(&loop->idle);
    place_group_fini(&loop->place);
    (void)pthread_mutex_destroy(&loop->lock);
    free(loop);
}

struct evloop_pollers *evloop_pollers(struct evloop *loop)
{
    return &loop->pollers;
}

/* Run every message that is queued now. Returns whether the loop was asked to stop. */
static bool serve_messages(struct evloop *loop)
{
    for (;;) {
        struct evloop_msg *m;
        bool stop, on_stack;

        (void)pthread_mutex_lock(&loop->lock);
        m = loop->first;
        if (m != NULL) {
            loop->first = m->next;
            if (loop->first == NULL)
                loop->last = &loop->first;
        }
        stop = loop->stop;
        (void)pthread_mutex_unlock(&loop->lock);
        if (m == NULL)
            return stop;
        on_stack = m->on_stack;
        m->fn(m->ctx);
        if (!on_stack)
            free(m);
    }
}

static void own(struct evloop *loop)
{
    LOCK_SCOPE(&loop->lock);

    while (loop->owned)
        (void)pthread_cond_wait(&loop->idle, &loop->lock);
    loop->owned = loop->running = true;
    loop->thread = pthread_self();
}

static void release_locked(struct evloop *loop)
{
    loop->owned = loop->running = false;
    (void)pthread_cond_broadcast(&loop->idle);
}

/* Give the loop up unless there is a message to serve first. Returns whether it did. */
static bool release_if_empty(struct evloop *loop)
{
    LOCK_SCOPE(&loop->lock);

    if (loop->first != NULL)
        return false;
    loop->stop = false;
    release_locked(loop);
    return true;
}

static void serve_events(struct evloop *loop, const struct epoll_event *evs, int n)
{
    loop->dispatching = true;
    for (int i = 0; i < n; i++) {
        struct evloop_watch *w = evs[i].data.ptr;
        uint64_t count;

        if (w == NULL)
            (void)!read(loop->wake_fd, &count, sizeof(count));
        else if (!w->dead)
            w->cb(w->ctx, evs[i].events);
    }
    loop->dispatching = false;
    free_list(&loop->dead);
}

static void serve_due(struct evloop *loop)
{
    while (loop->due != NULL) {
        struct evloop_later *later = loop->due;

        evloop_later_cancel(later);
        later->cb(later->ctx);
    }
}

int evloop_run(struct evloop *loop, struct errctx *ec)
{
    struct epoll_event evs[EVLOOP_BATCH];
    int r = 0;

    own(loop);
    while (!serve_messages(loop)) {
        int n = loop->later != NULL
                    ? epoll_wait(loop->epoll_fd, evs, EVLOOP_BATCH, 0)
                    : evloop_pollers_wait(&loop->pollers, loop->epoll_fd, evs, EVLOOP_BATCH);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            r = errctx_set_os(ec, errno, "epoll_wait");
            break;
        }
        loop->due = loop->later;
        loop->later = NULL;
        if (loop->due != NULL)
            loop->due->at = &loop->due;
        serve_events(loop, evs, n);
        serve_due(loop);
    }

    while (!release_if_empty(loop)) /* what came since the last look */
        (void)serve_messages(loop);
    return r;
}

static void wake(struct evloop *loop)
{
    uint64_t one = 1;

    (void)!write(loop->wake_fd, &one, sizeof(one));
}

void evloop_stop(struct evloop *loop)
{
    {
        LOCK_SCOPE(&loop->lock);
        loop->stop = true;
    }
    wake(loop);
}

int evloop_watch_fd(struct evloop *loop, int fd, uint32_t events,
                    void (*cb)(void *ctx, uint32_t events), void *ctx,
                    struct evloop_watch **ret_watch, struct errctx *ec)
{
    struct evloop_watch *w = calloc(1, sizeof(*w));
    struct epoll_event ev = { .events = events, .data.ptr = w };

    if (w == NULL)
        return errctx_set(ec, ENOMEM, "no memory to watch a descriptor");
    *w = (struct evloop_watch){ .loop = loop, .fd = fd, .cb = cb, .ctx = ctx };
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
        int r = errctx_set_os(ec, errno, "watch descriptor %d", fd);

        free(w);
        return r;
    }
    w->next = loop->watches;
    if (w->next != NULL)
        w->next->prev = w;
    loop->watches = w;
    *ret_watch = w;
    return 0;
}

void evloop_watch_set(struct evloop_watch *watch, uint32_t events)
{
    struct epoll_event ev = { .events = events, .data.ptr = watch };

    (void)epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &ev);
}

void evloop_unwatch(struct evloop_watch *watch)
{
    struct evloop *loop;

    if (watch == NULL)
        return;
    loop = watch->loop;
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    if (watch->prev != NULL)
        watch->prev->next = watch->next;
    else
        loop->watches = watch->next;
    if (watch->next != NULL)
        watch->next->prev = watch->prev;
    if (!loop->dispatching) {
        free(watch);
        return;
    }
    watch->dead = true;
    watch->next = loop->dead;
    loop->dead = watch;
}

int evloop_later_new(struct evloop *loop, void (*cb)(void *ctx), void *ctx,
                     struct evloop_later **ret_later, struct errctx *ec)
{
    struct evloop_later *later = calloc(1, sizeof(*later));

    if (later == NULL)
        return errctx_set(ec, ENOMEM, "no memory for later work");
    *later = (struct evloop_later){ .loop = loop, .cb = cb, .ctx = ctx };
    *ret_later = later;
    return 0;
}

void evloop_later_ask(struct evloop_later *later)
{
    struct evloop *loop = later->loop;

    if (later->at != NULL)
        return;
    later->next = loop->later;
    if (later->next != NULL)
        later->next->at = &later->next;
    later->at = &loop->later;
    loop->later = later;
}

void evloop_later_cancel(struct evloop_later *later)
{
    if (later->at == NULL)
        return;
    *later->at = later->next;
    if (later->next != NULL)
        later->next->at = later->at;
    later->at = NULL;
}

void evloop_later_free(struct evloop_later *later)
{
    if (later == NULL)
        return;
    evloop_later_cancel(later);
    free(later);
}

int evloop_post(struct evloop *loop, void (*fn)(void *ctx), void *ctx)
{
    struct evloop_msg *m = calloc(1, sizeof(*m));

    if (m == NULL)
        return -ENOMEM;
    m->fn = fn;
    m->ctx = ctx;
    {
        LOCK_SCOPE(&loop->lock);
        *loop->last = m;
        loop->last = &m->next;
    }
    wake(loop);
    return 0;
}

struct call {
    void (*fn)(void *ctx);
    void *ctx;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
};

static void run_call(void *ctx)
{
    struct call *c = ctx;

    c->fn(c->ctx);
    LOCK_SCOPE(&c->lock);
    c->done = true;
    (void)pthread_cond_signal(&c->cond);
}

/* What a call came to when it looked at the loop. */
enum call_way {
    CALL_NESTED, /* the loop is ours already */
    CALL_QUEUED, /* its thread will run it */
    CALL_OWNER,  /* the loop was idle and is ours now */
};

static enum call_way enter_call(struct evloop *loop, struct evloop_msg *m)
{
    LOCK_SCOPE(&loop->lock);

    while (loop->owned) {
        if (pthread_equal(loop->thread, pthread_self()))
            return CALL_NESTED;
        if (loop->running) {
            *loop->last = m;
            loop->last = &m->next;
            return CALL_QUEUED;
        }
        (void)pthread_cond_wait(&loop->idle, &loop->lock);
    }
    loop->owned = true;
    loop->thread = pthread_self();
    return CALL_OWNER;
}

static void await_call(struct evloop *loop, struct call *c)
{
    wake(loop);
    LOCK_SCOPE(&c->lock);
    while (!c->done)
        (void)pthread_cond_wait(&c->cond, &c->lock);
}

void evloop_call(struct evloop *loop, void (*fn)(void *ctx), void *ctx)
{
    struct call c = { .fn = fn, .ctx = ctx };
    struct evloop_msg m = { .fn = run_call, .ctx = &c, .on_stack = true };

    (void)pthread_mutex_init(&c.lock, NULL);
    (void)pthread_cond_init(&c.cond, NULL);
    switch (enter_call(loop, &m)) {
    case CALL_NESTED:
        fn(ctx);
        break;
    case CALL_QUEUED:
        await_call(loop, &c);
        break;
    case CALL_OWNER:
        fn(ctx);
        LOCK_SCOPE(&loop->lock);
        release_locked(loop);
        break;
    }
    (void)pthread_cond_destroy(&c.cond);
    (void)pthread_mutex_destroy(&c.lock);
}

uint64_t evloop_now_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
