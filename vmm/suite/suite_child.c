/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/suite/suite_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"

enum { WORD_MAX = 512, ARGS_MAX = 16, EXEC_FAILED = 1 };

/* What the child is given; descriptors are closed at exec but for these two. */
struct ground {
    int config_fd, env_fd; /* -1: none */
    int out[2], err[2];    /* pipes */
};

static void close_ground(struct ground *g)
{
    int *const fds[] = {
        &g->config_fd, &g->env_fd, &g->out[0], &g->out[1], &g->err[0], &g->err[1]
    };

    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (*fds[i] >= 0)
            (void)close(*fds[i]);
}

/* A file without a name; "" needs none. */
static int make_file(const char *name, const char *text, int *ret_fd, struct errctx *ec)
{
    const size_t len = text != NULL ? strlen(text) : 0;
    CLEANUP_CLOSE int fd = -1;

    if (len == 0)
        return 0;
    fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0 || write(fd, text, len) != (ssize_t)len)
        return errctx_set_os(ec, errno, "memory for the %s of a test", name);
    *ret_fd = take_fd(&fd);
    return 0;
}

static int make_ground(const struct suite_test *t, struct ground *g, struct errctx *ec)
{
    int r = make_file("description", t->config, &g->config_fd, ec);

    if (r == 0)
        r = make_file("environment", t->env, &g->env_fd, ec);
    if (r == 0 &&
        (pipe2(g->out, O_CLOEXEC) < 0 || pipe2(g->err, O_CLOEXEC) < 0 ||
         fcntl(g->out[0], F_SETFL, O_NONBLOCK) < 0 || fcntl(g->err[0], F_SETFL, O_NONBLOCK) < 0))
        r = errctx_set_os(ec, errno, "pipe");
    return r;
}

/* In the child; only what is allowed after fork(). */
static void __attribute__((noreturn))
be_test(const struct ground *g, const char *dir, pid_t parent, char *const *args)
{
    static const char failed[] = "numavisor: the test's process could not be made\n";
    const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    sigset_t none;

    (void)sigemptyset(&none);
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == parent && setpgid(0, 0) == 0 &&
        null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(g->out[1], STDOUT_FILENO) >= 0 &&
        dup2(g->err[1], STDERR_FILENO) >= 0 && chdir(dir) == 0 &&
        (g->config_fd < 0 || fcntl(g->config_fd, F_SETFD, 0) == 0) &&
        (g->env_fd < 0 || fcntl(g->env_fd, F_SETFD, 0) == 0) &&
        sigprocmask(SIG_SETMASK, &none, NULL) == 0)
        (void)execv(args[0], args);
    (void)!write(STDERR_FILENO, failed, sizeof(failed) - 1);
    _exit(EXEC_FAILED);
}

/* Words that the arguments point to. */
struct words {
    char name[64], config[32], env[32], image[WORD_MAX];
    const char *args[ARGS_MAX];
};

static void make_words(const struct suite_test *t, const struct ground *g, const char *program,
                       size_t index, struct words *w)
{
    size_t n = 0;

    (void)snprintf(w->name, sizeof(w->name), "suite-%d-%zu", (int)getpid(), index);
    (void)snprintf(w->image, sizeof(w->image), "./%s", t->image);
    (void)snprintf(w->config, sizeof(w->config), "/dev/fd/%d", g->config_fd);
    (void)snprintf(w->env, sizeof(w->env), "/dev/fd/%d", g->env_fd);
    w->args[n++] = program;
    w->args[n++] = "run";
    if (g->config_fd >= 0) {
        w->args[n++] = "--config";
        w->args[n++] = w->config;
    }
    if (g->env_fd >= 0) {
        w->args[n++] = "--initrd";
        w->args[n++] = w->env;
    }
    if (!t->says_on_reset) {
        w->args[n++] = "--on-reset";
        w->args[n++] = "exit";
    }
    w->args[n++] = "--name";
    w->args[n++] = w->name;
    w->args[n++] = "--kernel";
    w->args[n++] = w->image;
    w->args[n] = NULL;
}

int suite_child_start(const struct suite_test *t, const char *program, const char *dir,
                      size_t index, struct suite_child *ret_child, struct errctx *ec)
{
    struct ground g = { .config_fd = -1, .env_fd = -1, .out = { -1, -1 }, .err = { -1, -1 } };
    const pid_t parent = getpid();
    struct words words;
    int r = make_ground(t, &g, ec), pidfd;
    pid_t pid = -1;

    if (r == 0) {
        make_words(t, &g, program, index, &words);
        pid = fork();
        if (pid < 0)
            r = errctx_set_os(ec, errno, "fork");
    }
    if (pid == 0)
        be_test(&g, dir, parent, (char *const *)(const void *)words.args);
    if (r == 0) {
        pidfd = pidfd_open(pid, 0);
        if (pidfd < 0) {
            r = errctx_set_os(ec, errno, "pidfd_open");
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, NULL, 0);
        }
    }
    if (r == 0) {
        *ret_child = (struct suite_child){
            .pid = pid, .pidfd = pidfd, .out_fd = take_fd(&g.out[0]), .err_fd = take_fd(&g.err[0])
        };
    }
    close_ground(&g);
    return r;
}

void suite_child_close(struct suite_child *c)
{
    (void)close(c->pidfd);
    if (c->out_fd >= 0)
        (void)close(c->out_fd);
    if (c->err_fd >= 0)
        (void)close(c->err_fd);
    *c = (struct suite_child){ .pid = -1, .pidfd = -1, .out_fd = -1, .err_fd = -1 };
}
