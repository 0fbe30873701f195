/* SPDX-License-Identifier: Apache-2.0 */
/* See ctl_wait.h. */
#include "vmm/cli/ctl_wait.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "vmm/base/evloop.h"

enum { LOOK_MS = 100 };

int ctl_wait_begin(struct ctl_wait *w, unsigned patience_s, struct errctx *ec)
{
    sigset_t set;

    *w = (struct ctl_wait){ .patience_ns = patience_s * 1000000000ull };
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    w->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (w->fd < 0)
        return errctx_set_os(ec, errno, "signalfd");
    (void)pthread_sigmask(SIG_BLOCK, &set, &w->before);
    ctl_wait_fresh(w);
    return 0;
}

void ctl_wait_fresh(struct ctl_wait *w)
{
    w->since_ns = evloop_now_ns();
    w->seen = UINT64_MAX;
}

/* The first signal is ours; the next one ends us. */
static void take_signal(struct ctl_wait *w)
{
    struct signalfd_siginfo info;

    if (read(w->fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    w->cancelled = true;
    (void)pthread_sigmask(SIG_SETMASK, &w->before, NULL);
}

bool ctl_wait_more(struct ctl_wait *w, uint64_t seen)
{
    struct pollfd p = { .fd = w->fd, .events = POLLIN };

    if (w->cancelled)
        return false;
    if (seen != w->seen) {
        ctl_wait_fresh(w);
        w->seen = seen;
    }
    if (poll(&p, 1, LOOK_MS) > 0)
        take_signal(w);
    return !w->cancelled && evloop_now_ns() - w->since_ns < w->patience_ns;
}

void ctl_wait_show(const char *fmt, ...)
{
    va_list ap;

    if (!isatty(STDERR_FILENO))
        return;
    (void)fputc('\r', stderr);
    if (fmt != NULL) {
        va_start(ap, fmt);
        (void)vfprintf(stderr, fmt, ap);
        va_end(ap);
    }
    (void)fputs("\033[K", stderr);
    (void)fflush(stderr);
}

void ctl_wait_end(struct ctl_wait *w)
{
    (void)pthread_sigmask(SIG_SETMASK, &w->before, NULL);
    (void)close(w->fd);
}
