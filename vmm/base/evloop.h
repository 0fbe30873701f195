/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event loop: one thread that waits for descriptors, timers and messages from other threads.
 *
 * Everything that a loop watches is touched on its own thread only; other threads reach it
 * through evloop_post() and evloop_call(), which is what makes device code free of locks of its
 * own against the loop. Callbacks may add and remove watches, their own included.
 */
#ifndef VMM_BASE_EVLOOP_H
#define VMM_BASE_EVLOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

struct evloop;
struct evloop_watch;
struct evloop_timer;
struct evloop_later;
struct evloop_poller;
struct place_group;

/** evloop_new() - a loop that no thread runs yet. Return: 0 or the errno of epoll/eventfd. */
int evloop_new(struct evloop **ret_loop, struct errctx *ec);

/** evloop_free() - after evloop_run() returned. Watches and timers left over are released, the
 *  descriptors stay open. NULL is allowed. */
void evloop_free(struct evloop *loop);

/** evloop_run() - serve until evloop_stop(); the calling thread becomes the loop's thread, once a
 *  call that found the loop idle is done. Messages posted before the stop are all served, and
 *  calls as long as it has not returned. Not from a callback of the same loop. Return: 0 or the
 *  errno of epoll_wait. */
int evloop_run(struct evloop *loop, struct errctx *ec);

/** evloop_stop() - make evloop_run() return soon. Any thread; not from signal handlers. */
void evloop_stop(struct evloop *loop);

/**
 * evloop_watch_fd() - call @cb(ctx, events) when @fd is ready.
 * @events: EPOLLIN, EPOLLOUT, EPOLLET, ...; 0 watches for errors only.
 * Loop thread, or any thread before evloop_run(). The caller keeps owning @fd and removes the
 * watch before closing it. Return: 0, -ENOMEM, or the errno of epoll_ctl.
 */
int evloop_watch_fd(struct evloop *loop, int fd, uint32_t events,
                    void (*cb)(void *ctx, uint32_t events), void *ctx,
                    struct evloop_watch **ret_watch, struct errctx *ec);
void evloop_watch_set(struct evloop_watch *watch, uint32_t events);
/** evloop_unwatch() - no call of its callback happens after this. NULL is allowed. */
void evloop_unwatch(struct evloop_watch *watch);

/** evloop_timer_new() - a timer that is not armed. Same threads as evloop_watch_fd(). */
int evloop_timer_new(struct evloop *loop, void (*cb)(void *ctx), void *ctx,
                     struct evloop_timer **ret_timer, struct errctx *ec);
/** evloop_timer_arm() - fire once at @deadline_ns of CLOCK_MONOTONIC; 0 disarms. Loop thread. */
void evloop_timer_arm(struct evloop_timer *timer, uint64_t deadline_ns);
void evloop_timer_free(struct evloop_timer *timer);

/** evloop_later_new() - something that is done once, on the loop's thread, each time that it was
 *  asked for. Same threads as evloop_watch_fd(). Return: 0 or -ENOMEM. */
int evloop_later_new(struct evloop *loop, void (*cb)(void *ctx), void *ctx,
                     struct evloop_later **ret_later, struct errctx *ec);
/** evloop_later_ask() - call cb when the loop has looked at all descriptors once more and served
 *  what they had; it does not sleep before. Costs no system call. Asked for twice, called once.
 *  Loop thread. */
void evloop_later_ask(struct evloop_later *later);
/** evloop_later_cancel() - no call comes for what was asked before. Loop thread. */
void evloop_later_cancel(struct evloop_later *later);
/** evloop_later_free() - as evloop_timer_free(). NULL is allowed. */
void evloop_later_free(struct evloop_later *later);

/*
 * Something that the loop looks at by itself for a while before it sleeps, so that nobody has to
 * wake it: shared memory that another thread, or a guest, writes to. Loop thread; neither call
 * may free the poller.
 */
struct evloop_poller_ops {
    /* Ask for no wake-ups any more and serve what is new. False: nothing was. */
    bool (*look)(void *ctx);
    /* The loop is about to sleep: ask for wake-ups again, and serve what came before that took
     * effect. False: nothing did. Called after at least one look. */
    bool (*end)(void *ctx);
};

/** evloop_poller_new() - same threads as evloop_watch_fd(). Return: 0 or -ENOMEM. */
int evloop_poller_new(struct evloop *loop, const struct evloop_poller_ops *ops, void *ctx,
                      struct evloop_poller **ret_poller, struct errctx *ec);
/** evloop_poller_free() - NULL is allowed. */
void evloop_poller_free(struct evloop_poller *poller);

/** evloop_set_poll() - look for at most @max_ns before each sleep, for how long see poll_time.h; 0,
 *  the value of a new loop: never. Descriptors and messages are served meanwhile. Same
 *  threads as evloop_watch_fd(). */
void evloop_set_poll(struct evloop *loop, uint64_t max_ns);

/** evloop_place() - where the loop's thread runs, and those that work for it: whoever sends the
 * group wakes the loop's thread by a message of its own. */
struct place_group *evloop_place(struct evloop *loop);

/** evloop_post() - run @fn(ctx) on the loop's thread, in order, without waiting. Any thread.
 *  Return: 0 or -ENOMEM. */
int evloop_post(struct evloop *loop, void (*fn)(void *ctx), void *ctx);

/**
 * evloop_call() - run @fn(ctx) and wait until it ran.
 *
 * On the loop's thread, in order with its messages, while there is one, up to the very end of
 * evloop_run(). At once when called on that thread itself. On the caller's thread while no thread
 * runs the loop: one call at a time, and neither beside a loop that begins nor one that ends, so
 * that @fn is alone with what the loop watches in any case.
 *
 * Any thread. The caller holds no lock that @fn may take, and @fn waits for no other caller.
 */
void evloop_call(struct evloop *loop, void (*fn)(void *ctx), void *ctx);

/** evloop_now_ns() - CLOCK_MONOTONIC. */
uint64_t evloop_now_ns(void);

#endif
