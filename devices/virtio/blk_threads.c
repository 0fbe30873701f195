/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block I/O by a small fixed pool of threads, for hosts where io_uring is forbidden.
 *
 * Requests are collected by submit() without a lock and go to the threads as one list in
 * flush(). Finished ones wait in a list; an eventfd tells the loop when that list stops being
 * empty, so a batch of completions costs one wake-up. Flushes may overtake writes that are
 * still in flight: virtio asks of a flush only that it covers writes completed before it.
 *
 * The threads live as long as the backend and are made before any sandbox: they need no more
 * than preadv2, pwritev2, fdatasync, fallocate, futex and write to an eventfd.
 */
#include "devices/virtio/blk_backend.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/virtio/blk_syscall.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/landlock.h"
#include "vmm/base/macros.h"
#include "vmm/base/place.h"
#include "vmm/base/privilege.h"

enum { BLK_THREADS = 4, BLK_THREADS_STACK = 256 * KIB };

struct blk_io_list {
    struct blk_io *first, **tail;
};

struct blk_threads {
    struct blk_backend be;
    int fd, buffered_fd, event_fd;
    struct evloop_watch *watch;
    struct place_group *place; /* the loop's: the threads go where it goes */
    void (*ready)(void *ctx);
    void *ctx;
    pthread_t threads[BLK_THREADS];
    unsigned n_threads;

    /* Loop thread. */
    struct blk_io_list batch;   /* submitted, not flushed */
    struct blk_io_list harvest; /* finished, taken from @done, not reaped */
    unsigned n_batch, in_flight;

    pthread_mutex_t lock; /* covers the rest */
    pthread_cond_t work;  /* @queue has something, or @stop */
    pthread_cond_t some_done;
    struct blk_io_list queue, done;
    bool stop;
};

static struct blk_threads *blk_threads_of(struct blk_backend *be)
{
    return container_of(be, struct blk_threads, be);
}

static void blk_io_list_init(struct blk_io_list *l)
{
    l->first = NULL;
    l->tail = &l->first;
}

static void blk_io_list_add(struct blk_io_list *l, struct blk_io *io)
{
    io->next = NULL;
    *l->tail = io;
    l->tail = &io->next;
}

static struct blk_io *blk_io_list_take(struct blk_io_list *l)
{
    struct blk_io *io = l->first;

    if (io != NULL) {
        l->first = io->next;
        if (l->first == NULL)
            l->tail = &l->first;
    }
    return io;
}

/* Append all of @src to @dst; @src is empty afterwards. */
static void blk_io_list_move(struct blk_io_list *dst, struct blk_io_list *src)
{
    if (src->first == NULL)
        return;
    *dst->tail = src->first;
    dst->tail = src->tail;
    blk_io_list_init(src);
}

/* Hand @io back. The wake-up is written under the lock so that the eventfd outlives it. */
static void blk_threads_finish_locked(struct blk_threads *t, struct blk_io *io)
{
    bool wake = t->done.first == NULL;
    uint64_t one = 1;

    blk_io_list_add(&t->done, io);
    if (wake) {
        (void)pthread_cond_signal(&t->some_done);
        while (write(t->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
            ;
    }
}

static void *blk_threads_main(void *arg)
{
    struct blk_threads *t = arg;
    struct blk_io *io;
    unsigned place = 0;

    /* They are made before the machine's other threads, which inherit having none. */
    if (privilege_drop(NULL) == 0)
        (void)landlock_enter_nothing(NULL);
    (void)pthread_mutex_lock(&t->lock);
    for (;;) {
        while (!t->stop && t->queue.first == NULL)
            (void)pthread_cond_wait(&t->work, &t->lock);
        io = blk_io_list_take(&t->queue);
        if (io == NULL)
            break; /* told to stop */
        (void)pthread_mutex_unlock(&t->lock);
        place_group_follow(t->place, &place);
        io->res = blk_syscall_run(io, io->buffered ? t->buffered_fd : t->fd);
        (void)pthread_mutex_lock(&t->lock);
        blk_threads_finish_locked(t, io);
    }
    (void)pthread_mutex_unlock(&t->lock);
    return NULL;
}

static void blk_threads_submit(struct blk_backend *be, struct blk_io *io)
{
    struct blk_threads *t = blk_threads_of(be);

    blk_io_list_add(&t->batch, io);
    t->n_batch++;
    t->in_flight++;
}

static int blk_threads_flush(struct blk_backend *be)
{
    struct blk_threads *t = blk_threads_of(be);
    unsigned n = t->n_batch;

    if (n == 0)
        return 0;
    t->n_batch = 0;
    {
        LOCK_SCOPE(&t->lock);
        blk_io_list_move(&t->queue, &t->batch);
    }
    if (n >= t->n_threads)
        (void)pthread_cond_broadcast(&t->work);
    else
        while (n-- > 0)
            (void)pthread_cond_signal(&t->work);
    return 0;
}

static struct blk_io *blk_threads_reap(struct blk_backend *be)
{
    struct blk_threads *t = blk_threads_of(be);
    struct blk_io *io;

    if (t->in_flight == 0)
        return NULL;
    if (t->harvest.first == NULL) {
        LOCK_SCOPE(&t->lock);
        blk_io_list_move(&t->harvest, &t->done);
    }
    io = blk_io_list_take(&t->harvest);
    if (io != NULL)
        t->in_flight--;
    return io;
}

static void blk_threads_wait(struct blk_backend *be)
{
    struct blk_threads *t = blk_threads_of(be);

    (void)blk_threads_flush(be);
    if (t->in_flight == 0 || t->harvest.first != NULL)
        return;
    LOCK_SCOPE(&t->lock);
    while (t->done.first == NULL)
        (void)pthread_cond_wait(&t->some_done, &t->lock);
}

static void blk_threads_event(void *ctx, uint32_t events)
{
    struct blk_threads *t = ctx;
    uint64_t count;

    (void)events;
    if (read(t->event_fd, &count, sizeof(count)) < 0)
        return; /* somebody reaped before us */
    t->ready(t->ctx);
}

static void blk_threads_stop(struct blk_threads *t)
{
    {
        LOCK_SCOPE(&t->lock);
        t->stop = true;
    }
    (void)pthread_cond_broadcast(&t->work);
    for (unsigned i = 0; i < t->n_threads; i++)
        (void)pthread_join(t->threads[i], NULL);
}

static void blk_threads_free(struct blk_backend *be)
{
    struct blk_threads *t = blk_threads_of(be);

    evloop_unwatch(t->watch);
    blk_threads_stop(t);
    (void)close(t->event_fd);
    (void)pthread_cond_destroy(&t->some_done);
    (void)pthread_cond_destroy(&t->work);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

static const struct blk_backend_ops blk_threads_ops = {
    .name = "threads",
    .batch = 256,
    .submit = blk_threads_submit,
    .flush = blk_threads_flush,
    .reap = blk_threads_reap,
    .wait = blk_threads_wait,
    .free = blk_threads_free,
};

/* The threads take no signal: those belong to the threads that ask for them. */
static int blk_threads_start(struct blk_threads *t, struct errctx *ec)
{
    sigset_t all, old;
    pthread_attr_t attr;
    int code = pthread_attr_init(&attr);

    if (code != 0)
        return errctx_set_os(ec, code, "block I/O threads: attributes");
    (void)pthread_attr_setstacksize(&attr, BLK_THREADS_STACK);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    while (code == 0 && t->n_threads < BLK_THREADS) {
        code = pthread_create(&t->threads[t->n_threads], &attr, blk_threads_main, t);
        if (code == 0)
            (void)pthread_setname_np(t->threads[t->n_threads++], "blk-io");
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)pthread_attr_destroy(&attr);
    return code == 0 ? 0 : errctx_set_os(ec, code, "block I/O threads: pthread_create");
}

int blk_threads_new(const struct blk_backend_cfg *cfg, struct blk_backend **ret_be,
                    struct errctx *ec)
{
    struct blk_threads *t = calloc(1, sizeof(*t));
    int r;

    if (t == NULL)
        return errctx_set(ec, ENOMEM, "no memory for block I/O threads");
    t->be.ops = &blk_threads_ops;
    t->fd = cfg->fd;
    t->buffered_fd = cfg->buffered_fd;
    t->ready = cfg->ready;
    t->ctx = cfg->ctx;
    t->place = evloop_place(cfg->loop);
    blk_io_list_init(&t->batch);
    blk_io_list_init(&t->harvest);
    blk_io_list_init(&t->queue);
    blk_io_list_init(&t->done);
    (void)pthread_mutex_init(&t->lock, NULL);
    (void)pthread_cond_init(&t->work, NULL);
    (void)pthread_cond_init(&t->some_done, NULL);
    t->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (t->event_fd < 0) {
        r = errctx_set_os(ec, errno, "block I/O threads: eventfd");
        goto destroy;
    }
    r = evloop_watch_fd(cfg->loop, t->event_fd, EPOLLIN, blk_threads_event, t, &t->watch, ec);
    if (r < 0)
        goto close_event;
    r = blk_threads_start(t, ec);
    if (r < 0)
        goto stop;
    *ret_be = &t->be;
    return 0;

stop:
    blk_threads_stop(t);
    evloop_unwatch(t->watch);
close_event:
    (void)close(t->event_fd);
destroy:
    (void)pthread_cond_destroy(&t->some_done);
    (void)pthread_cond_destroy(&t->work);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
    return r;
}
