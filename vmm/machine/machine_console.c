/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/machine/machine_console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum { CONSOLE_RING = 64 * KIB, CONSOLE_DELAY_NS = 1000000, CONSOLE_CHUNK = 4 * KIB };

struct machine_console {
    struct evloop *loop;
    struct evloop_timer *timer;
    struct evloop_watch *watch; /* for room in the file; NULL when it cannot be waited for */
    int fd;
    void (*room)(void *ctx);
    void *ctx;

    pthread_mutex_t lock; /* covers everything below */
    uint8_t ring[CONSOLE_RING];
    size_t head, len;
    bool scheduled; /* the loop knows that there is something */
    bool starved;   /* send() fell short */
};

/* Write what the ring holds until it is empty or the file takes no more. True when empty. */
static bool drain(struct machine_console *c)
{
    for (;;) {
        uint8_t chunk[CONSOLE_CHUNK];
        ssize_t written;
        size_t n;

        {
            LOCK_SCOPE(&c->lock);
            n = MIN(MIN(c->len, sizeof(chunk)), CONSOLE_RING - c->head);
            for (size_t i = 0; i < n; i++)
                chunk[i] = c->ring[c->head + i];
            if (n == 0) {
                c->scheduled = false;
                return true;
            }
        }
        written = write(c->fd, chunk, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EAGAIN)
            return false;
        LOCK_SCOPE(&c->lock);
        /* A reader that went away for good must not stop the guest: its bytes are dropped. */
        n = written < 0 ? c->len : (size_t)written;
        c->head = (c->head + n) % CONSOLE_RING;
        c->len -= n;
    }
}

static void serve(struct machine_console *c)
{
    const bool empty = drain(c);
    bool starved;

    if (c->watch != NULL)
        evloop_watch_set(c->watch, empty ? 0 : EPOLLOUT);
    else if (!empty)
        evloop_timer_arm(c->timer, evloop_now_ns() + CONSOLE_DELAY_NS);
    {
        LOCK_SCOPE(&c->lock);
        starved = c->starved && c->len < CONSOLE_RING / 2;
        if (starved)
            c->starved = false;
    }
    if (starved)
        c->room(c->ctx);
}

static void on_timer(void *ctx)
{
    serve(ctx);
}

static void on_writable(void *ctx, uint32_t events)
{
    struct machine_console *c = ctx;

    if (events & (EPOLLERR | EPOLLHUP)) { /* would be reported without end */
        evloop_unwatch(c->watch);
        c->watch = NULL;
    }
    serve(c);
}

static void schedule(void *ctx)
{
    struct machine_console *c = ctx;

    evloop_timer_arm(c->timer, evloop_now_ns() + CONSOLE_DELAY_NS);
}

size_t machine_console_send(struct machine_console *c, const void *data, size_t len)
{
    const uint8_t *p = data;
    bool post = false;
    size_t n;

    if (c->fd < 0)
        return len;
    {
        LOCK_SCOPE(&c->lock);
        n = MIN(len, CONSOLE_RING - c->len);
        for (size_t i = 0; i < n; i++)
            c->ring[(c->head + c->len + i) % CONSOLE_RING] = p[i];
        c->len += n;
        c->starved |= n < len;
        if (!c->scheduled)
            c->scheduled = post = true;
    }
    if (post && evloop_post(c->loop, schedule, c) < 0) {
        LOCK_SCOPE(&c->lock);
        c->scheduled = false; /* the next byte tries again */
    }
    return n;
}

/*
 * A description of our own, so that O_NONBLOCK does not change what our parent shares with us.
 * A regular file is never waited for and keeps the shared description, whose offset tells the
 * next writer where to go on.
 */
static int open_nonblocking(int fd)
{
    char path[32];
    struct stat st;
    int own = -1;

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode))
        own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    return own >= 0 ? own : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

int machine_console_new(struct evloop *main_loop, int out_fd, void (*room)(void *ctx), void *ctx,
                        struct machine_console **ret_console, struct errctx *ec)
{
    struct machine_console *c = calloc(1, sizeof(*c));
    int r;

    if (c == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the console");
    c->loop = main_loop;
    c->room = room;
    c->ctx = ctx;
    c->fd = -1;
    (void)pthread_mutex_init(&c->lock, NULL);
    r = evloop_timer_new(main_loop, on_timer, c, &c->timer, ec);
    if (r < 0)
        goto err_free;
    if (out_fd >= 0) {
        c->fd = open_nonblocking(out_fd);
        if (c->fd < 0) {
            r = errctx_set_os(ec, errno, "standard output");
            goto err_timer;
        }
        /* Regular files are always ready and refuse to be watched. */
        (void)evloop_watch_fd(main_loop, c->fd, 0, on_writable, c, &c->watch, NULL);
    }
    *ret_console = c;
    return 0;

err_timer:
    evloop_timer_free(c->timer);
err_free:
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
    return r;
}

void machine_console_free(struct machine_console *c)
{
    const uint64_t deadline = evloop_now_ns() + 1000000000u;

    if (c == NULL)
        return;
    while (c->fd >= 0 && !drain(c) && evloop_now_ns() < deadline) {
        struct pollfd p = { .fd = c->fd, .events = POLLOUT };

        (void)poll(&p, 1, 100);
    }
    evloop_unwatch(c->watch);
    evloop_timer_free(c->timer);
    if (c->fd >= 0)
        (void)close(c->fd);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}
