/* SPDX-License-Identifier: Apache-2.0 */
/* A host service as a process of its own, which tests may kill; in a folder of its own. */
#ifndef VMM_HOST_TEST_SERVICE_CHILD_H
#define VMM_HOST_TEST_SERVICE_CHILD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/host/service.h"

struct service_child {
    char dir[64], path[80];
    pid_t pid;
    int out; /* its lines */
};

static inline void service_child_say(void *ctx, const char *line)
{
    const int *fd = ctx;

    (void)dprintf(*fd, "%s\n", line);
}

static inline _Noreturn void service_child_main(const struct service_child *c, int out)
{
    struct service *service = NULL;
    struct errctx ec = { 0 };
    sigset_t signals;
    int r;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGUSR1);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    r = service_new(&(struct service_params){ .path = c->path, .limit_bytes = 1u << 30,
                                              .say = service_child_say, .ctx = &out },
                    &service, &ec);
    (void)dprintf(out, "%s\n", r == 0 ? "here" : ec.msg);
    if (r == 0)
        r = service_run(service, &ec);
    service_free(service);
    _exit(r < 0);
}

/* It listens when this returns. */
static inline void service_child_start(struct service_child *c)
{
    char line[16] = "";
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0)
        service_child_main(c, fds[1]);
    (void)close(fds[1]);
    c->out = fds[0];
    assert_true(read(c->out, line, 5) == 5);
    assert_string_equal(line, "here\n");
}

static inline void service_child_init(struct service_child *c)
{
    (void)snprintf(c->dir, sizeof(c->dir), "/tmp/test-service-XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    (void)snprintf(c->path, sizeof(c->path), "%s/socket", c->dir);
    service_child_start(c);
}

/* Return: its status, as of waitpid(). */
static inline int service_child_end(struct service_child *c, int signal)
{
    int status = -1;

    assert_int_equal(kill(c->pid, signal), 0);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    (void)close(c->out);
    return status;
}

static inline void service_child_fini(struct service_child *c)
{
    char held[100];

    (void)snprintf(held, sizeof(held), "%s.held", c->path);
    (void)unlink(held);
    (void)unlink(c->path);
    assert_int_equal(rmdir(c->dir), 0);
}

#endif
