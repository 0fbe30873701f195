/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests as processes: so many at a time, each with a time limit, its words kept. See suite.h.
 *
 * A slot is one test that runs: -> free -> running -> (late or stopped: asked to end -> killed) ->
 * free.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/macros.h"
#include "vmm/suite/suite.h"
#include "vmm/suite/suite_child.h"
#include "vmm/suite/suite_tail.h"

enum { TIMEOUT_S = 90, GRACE_S = 5, FDS = 3 };

#define SECOND_NS UINT64_C(1000000000)

struct slot {
    bool busy, late, asked;
    size_t index;
    struct suite_child child;
    struct suite_tail out, err;
    uint64_t start_ns, due_ns; /* when it is asked to end, and then killed */
};

struct runner {
    const struct suite *suite;
    const struct suite_run *run;
    struct suite_result *results;
    struct slot *slots;
    struct pollfd *fds; /* the signals', and FDS for each slot */
    size_t next, n_done, n_running;
    int signal_fd;
    bool stopped;
};

static uint64_t now_ns(void)
{
    struct timespec t = { 0 };

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static void told(const struct runner *r)
{
    if (r->run->progress != NULL)
        r->run->progress(r->run->ctx, r->n_done, r->n_running);
}

/* --- one test ------------------------------------------------------------------------------------
 */

static int start(struct runner *r, struct slot *s, size_t index, struct errctx *ec)
{
    const struct suite_test *t = &r->suite->tests[index];
    const uint32_t seconds = t->timeout_s > 0        ? t->timeout_s
                             : r->run->timeout_s > 0 ? r->run->timeout_s
                                                     : (uint32_t)TIMEOUT_S;
    int e;

    *s = (struct slot){ .index = index, .start_ns = now_ns() };
    e = suite_child_start(t, r->run->program, r->run->dir, index, &s->child, ec);
    if (e < 0)
        return e;
    s->busy = true;
    r->results[index].limit_s = seconds;
    s->due_ns = s->start_ns + seconds * SECOND_NS;
    r->n_running++;
    return 0;
}

/* First it is asked, so that it leaves nothing behind. */
static void end_child(struct slot *s)
{
    (void)pidfd_send_signal(s->child.pidfd, s->asked ? SIGKILL : SIGTERM, NULL, 0);
    s->due_ns = now_ns() + GRACE_S * SECOND_NS;
    s->asked = true;
}

static void collect(struct runner *r, struct slot *s)
{
    struct suite_result *result = &r->results[s->index];
    int status = 0;

    if (waitpid(s->child.pid, &status, WNOHANG) != s->child.pid)
        return;
    (void)suite_tail_read(&s->out, s->child.out_fd);
    (void)suite_tail_read(&s->err, s->child.err_fd);
    result->seconds = (double)(now_ns() - s->start_ns) / (double)SECOND_NS;
    result->out = suite_tail_text(&s->out);
    result->err = suite_tail_text(&s->err);
    suite_child_close(&s->child);
    s->busy = false;
    r->n_running--;
    if (r->stopped)
        return; /* it was not its own end */
    suite_judge(&r->suite->tests[s->index], status, s->late, result);
    r->n_done++;
    if (r->run->ended != NULL)
        r->run->ended(r->run->ctx, s->index);
}

static void read_one(struct pollfd *p, struct suite_tail *tail, int *fd)
{
    if (p->revents == 0 || suite_tail_read(tail, *fd))
        return;
    (void)close(*fd);
    *fd = -1;
}

static void serve(struct runner *r, struct slot *s, struct pollfd *p)
{
    read_one(&p[1], &s->out, &s->child.out_fd);
    read_one(&p[2], &s->err, &s->child.err_fd);
    if (p[0].revents != 0)
        collect(r, s);
    if (!s->busy || now_ns() < s->due_ns)
        return;
    s->late = s->late || !s->asked;
    end_child(s);
}

/* --- all -----------------------------------------------------------------------------------------
 */

static int fill(struct runner *r, struct errctx *ec)
{
    for (unsigned i = 0; !r->stopped && i < r->run->jobs; i++) {
        int e;

        while (r->next < r->suite->n && r->suite->tests[r->next].skip != NULL)
            r->next++;
        if (r->next == r->suite->n)
            break;
        if (r->slots[i].busy)
            continue;
        e = start(r, &r->slots[i], r->next, ec);
        if (e < 0)
            return e;
        r->next++;
        told(r);
    }
    return 0;
}

static int wait_ms(const struct runner *r)
{
    uint64_t first = UINT64_MAX;
    const uint64_t now = now_ns();

    for (unsigned i = 0; i < r->run->jobs; i++)
        if (r->slots[i].busy)
            first = MIN(first, r->slots[i].due_ns);
    return first <= now ? 0 : (int)MIN((first - now) / 1000000 + 1, UINT64_C(60000));
}

static void stop_all(struct runner *r)
{
    struct signalfd_siginfo info;

    (void)!read(r->signal_fd, &info, sizeof(info));
    r->stopped = true;
    for (unsigned i = 0; i < r->run->jobs; i++)
        if (r->slots[i].busy)
            end_child(&r->slots[i]);
}

static int turn(struct runner *r, struct errctx *ec)
{
    const size_t n = 1 + (size_t)r->run->jobs * FDS;
    const size_t done = r->n_done;

    r->fds[0] = (struct pollfd){ .fd = r->signal_fd, .events = POLLIN };
    for (unsigned i = 0; i < r->run->jobs; i++) {
        const struct slot *s = &r->slots[i];
        struct pollfd *p = &r->fds[1 + i * FDS];

        p[0] = (struct pollfd){ .fd = s->busy ? s->child.pidfd : -1, .events = POLLIN };
        p[1] = (struct pollfd){ .fd = s->busy ? s->child.out_fd : -1, .events = POLLIN };
        p[2] = (struct pollfd){ .fd = s->busy ? s->child.err_fd : -1, .events = POLLIN };
    }
    if (poll(r->fds, n, wait_ms(r)) < 0 && errno != EINTR)
        return errctx_set_os(ec, errno, "poll");
    if (r->fds[0].revents != 0)
        stop_all(r);
    for (unsigned i = 0; i < r->run->jobs; i++)
        if (r->slots[i].busy)
            serve(r, &r->slots[i], &r->fds[1 + i * FDS]);
    if (r->n_done != done)
        told(r);
    return 0;
}

static int run_all(struct runner *r, struct errctx *ec)
{
    int e = fill(r, ec);

    while (e == 0 && r->n_running > 0) {
        e = turn(r, ec);
        if (e == 0)
            e = fill(r, ec);
    }
    return e;
}

/* After a failure of ours nobody is left to run on. */
static void kill_all(struct runner *r)
{
    for (unsigned i = 0; i < r->run->jobs; i++) {
        struct slot *s = &r->slots[i];

        if (!s->busy)
            continue;
        (void)pidfd_send_signal(s->child.pidfd, SIGKILL, NULL, 0);
        (void)waitpid(s->child.pid, NULL, 0);
        suite_child_close(&s->child);
        free(suite_tail_text(&s->out));
        free(suite_tail_text(&s->err));
    }
}

int suite_run(const struct suite *suite, const struct suite_run *run, struct suite_result *results,
              struct errctx *ec)
{
    struct runner r = { .suite = suite, .run = run, .results = results, .signal_fd = -1 };
    sigset_t set;
    int e;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    r.slots = calloc(run->jobs, sizeof(*r.slots));
    r.fds = calloc(1 + (size_t)run->jobs * FDS, sizeof(*r.fds));
    r.signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (r.slots == NULL || r.fds == NULL)
        e = errctx_set(ec, ENOMEM, "no memory for %u jobs", run->jobs);
    else if (r.signal_fd < 0)
        e = errctx_set_os(ec, errno, "signalfd");
    else
        e = run_all(&r, ec);
    if (e < 0 && r.slots != NULL)
        kill_all(&r);
    if (e == 0 && r.stopped)
        e = errctx_set(ec, EINTR, "stopped by a signal");
    if (r.signal_fd >= 0)
        (void)close(r.signal_fd);
    free(r.slots);
    free(r.fds);
    return e;
}

void suite_result_fini(struct suite_result *result)
{
    free(result->out);
    free(result->err);
    *result = (struct suite_result){ .done = false };
}
