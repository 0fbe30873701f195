/* SPDX-License-Identifier: Apache-2.0 */
/* See terminal.h. */
#include "vmm/cli/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/base/macros.h"
#include "vmm/cli/terminal_escape.h"

enum {
    TERMINAL_PENDING_MAX = 64 * KIB, /* typed or piped, not yet taken by the guest */
    TERMINAL_READ_MAX = 4096,
    TERMINAL_RETRY_NS = 2 * 1000 * 1000, /* a 16550 FIFO empties in about that time */
};

struct terminal {
    struct evloop *loop;
    int in_fd, signal_fd;
    const struct terminal_ops *ops;
    void *ctx;
    bool is_tty, raw;
    struct termios saved;
    struct terminal_escape escape;
    struct evloop_watch *in_watch, *signal_watch;
    struct evloop_timer *timer; /* offers pending bytes again; reads what epoll cannot watch */
    bool polled;                /* in_fd is a plain file */
    bool ended;                 /* in_fd has no more bytes */
    size_t n_pending;
    uint8_t pending[TERMINAL_PENDING_MAX];
};

static const struct {
    int number;
    const char *name; /* why to leave; NULL: job control */
} terminal_signals[] = {
    { SIGINT, "SIGINT" },   { SIGTERM, "SIGTERM" }, { SIGHUP, "SIGHUP" },
    { SIGQUIT, "SIGQUIT" }, { SIGTSTP, NULL },      { SIGCONT, NULL },
};

static void signal_set(sigset_t *set)
{
    (void)sigemptyset(set);
    for (size_t i = 0; i < ARRAY_SIZE(terminal_signals); i++)
        (void)sigaddset(set, terminal_signals[i].number);
}

int terminal_block_signals(struct errctx *ec)
{
    sigset_t set;
    int r;

    signal_set(&set);
    r = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (r != 0)
        return errctx_set_os(ec, r, "block signals");
    /* Ignoring SIGCHLD has the kernel reap the guard: we have no other child to wait for. */
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGCHLD, SIG_IGN) == SIG_ERR)
        return errctx_set_os(ec, errno, "ignore a signal");
    return 0;
}

const char *terminal_signal(void)
{
    sigset_t pending;

    (void)sigpending(&pending);
    for (size_t i = 0; i < ARRAY_SIZE(terminal_signals); i++)
        if (terminal_signals[i].name != NULL && sigismember(&pending, terminal_signals[i].number) == 1)
            return terminal_signals[i].name;
    return NULL;
}

static int make_raw(struct terminal *t, struct errctx *ec)
{
    struct termios raw = t->saved;

    if (!t->is_tty || t->raw)
        return 0;
    cfmakeraw(&raw);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(t->in_fd, TCSANOW, &raw) < 0)
        return errctx_set_os(ec, errno, "put the terminal into raw mode");
    t->raw = true;
    return 0;
}

static void restore(struct terminal *t)
{
    if (t->raw)
        (void)tcsetattr(t->in_fd, TCSANOW, &t->saved); /* TCSADRAIN could wait for ever */
    t->raw = false;
}

static void explain(void)
{
    static const char text[] = "\r\n[Ctrl-A x leaves, Ctrl-A p presses the power button, "
                               "Ctrl-A Ctrl-A sends Ctrl-A]\r\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);

    (void)n; /* an explanation nobody can read needs no further step */
}

/* Append to what waits for the guest; what has no room is lost (terminals only). */
static void queue_byte(struct terminal *t, uint8_t byte)
{
    if (t->n_pending < TERMINAL_PENDING_MAX)
        t->pending[t->n_pending++] = byte;
}

static void take_typed(struct terminal *t, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        switch (t->is_tty ? terminal_escape_feed(&t->escape, data[i]) : TERMINAL_SEND) {
        case TERMINAL_SEND:
            queue_byte(t, data[i]);
            break;
        case TERMINAL_LEAVE:
            t->ops->leave(t->ctx, "escape key");
            break;
        case TERMINAL_POWER:
            t->ops->power(t->ctx);
            break;
        case TERMINAL_HELP:
            explain();
            break;
        case TERMINAL_DROP:
            break;
        }
    }
}

/* Offer what waits. */
static void flush_pending(struct terminal *t)
{
    size_t n = t->n_pending > 0 ? t->ops->input(t->ctx, t->pending, t->n_pending) : 0;

    n = MIN(n, t->n_pending);
    t->n_pending -= n;
    memmove(t->pending, t->pending + n, t->n_pending);
}

/* Whether more input may be read: always from people, from pipes once the guest took it all. */
static bool may_read(const struct terminal *t)
{
    return !t->ended && (t->is_tty || t->n_pending == 0);
}

static void read_input(struct terminal *t)
{
    uint8_t buf[TERMINAL_READ_MAX];
    ssize_t n = read(t->in_fd, buf, sizeof(buf));

    if (n > 0)
        take_typed(t, buf, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        t->ended = true; /* a hang-up comes as SIGHUP; the end of a file means nothing */
}

/* After any step: watch what can be read, come back for what waits. */
static void rearm(struct terminal *t)
{
    bool again = t->n_pending > 0 || (t->polled && may_read(t));

    if (t->in_watch != NULL && t->ended) {
        evloop_unwatch(t->in_watch);
        t->in_watch = NULL;
    }
    if (t->in_watch != NULL)
        evloop_watch_set(t->in_watch, may_read(t) ? EPOLLIN : 0);
    evloop_timer_arm(t->timer, again ? evloop_now_ns() + TERMINAL_RETRY_NS : 0);
}

static void input_ready(void *ctx, uint32_t events)
{
    struct terminal *t = ctx;

    if (may_read(t))
        read_input(t);
    else if ((events & (EPOLLHUP | EPOLLERR)) != 0)
        t->polled = true; /* epoll would report it for ever; the timer reads the rest */
    if (t->polled) {
        evloop_unwatch(t->in_watch);
        t->in_watch = NULL;
    }
    flush_pending(t);
    rearm(t);
}

static void retry(void *ctx)
{
    struct terminal *t = ctx;

    flush_pending(t);
    if (t->polled && may_read(t)) {
        read_input(t);
        flush_pending(t);
    }
    rearm(t);
}

static void handle_signal(struct terminal *t, int number)
{
    const char *why = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(terminal_signals); i++)
        if (terminal_signals[i].number == number)
            why = terminal_signals[i].name;
    if (why != NULL) {
        t->ops->leave(t->ctx, why);
    } else if (number == SIGTSTP) {
        restore(t);
        (void)raise(SIGSTOP);
    } else {
        (void)make_raw(t, NULL); /* SIGCONT; the terminal may be gone, which SIGHUP tells */
    }
}

static void signal_ready(void *ctx, uint32_t events)
{
    struct terminal *t = ctx;
    struct signalfd_siginfo info;

    (void)events;
    while (read(t->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        handle_signal(t, (int)info.ssi_signo);
}

int terminal_new(struct evloop *loop, int in_fd, const struct terminal_ops *ops, void *ctx,
                 struct terminal **ret_terminal, struct errctx *ec)
{
    struct terminal *t = calloc(1, sizeof(*t));
    sigset_t set;
    int r = 0;

    if (t == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the terminal");
    t->loop = loop;
    t->in_fd = in_fd;
    t->signal_fd = -1;
    t->ops = ops;
    t->ctx = ctx;
    t->is_tty = in_fd >= 0 && tcgetattr(in_fd, &t->saved) == 0;
    t->ended = in_fd < 0;

    signal_set(&set);
    t->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (t->signal_fd < 0)
        r = errctx_set_os(ec, errno, "signalfd");
    if (r == 0)
        r = evloop_timer_new(loop, retry, t, &t->timer, ec);
    if (r == 0)
        r = evloop_watch_fd(loop, t->signal_fd, EPOLLIN, signal_ready, t, &t->signal_watch, ec);
    if (r < 0) {
        terminal_free(t);
        return r;
    }
    *ret_terminal = t;
    return 0;
}

int terminal_start(struct terminal *t, struct errctx *ec)
{
    int r;

    if (t->in_fd < 0)
        return 0;
    r = evloop_watch_fd(t->loop, t->in_fd, EPOLLIN, input_ready, t, &t->in_watch, ec);
    if (r == -EPERM) { /* plain files and /dev/null are always ready; epoll does not take them */
        t->polled = true;
        evloop_timer_arm(t->timer, evloop_now_ns() + TERMINAL_RETRY_NS);
        r = 0;
    }
    return r < 0 ? r : make_raw(t, ec);
}

void terminal_free(struct terminal *t)
{
    if (t == NULL)
        return;
    restore(t);
    evloop_unwatch(t->in_watch);
    evloop_unwatch(t->signal_watch);
    evloop_timer_free(t->timer);
    if (t->signal_fd >= 0)
        (void)close(t->signal_fd);
    free(t);
}
