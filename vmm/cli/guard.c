/* SPDX-License-Identifier: Apache-2.0 */
/* See guard.h. */
#include "vmm/cli/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/stale_socket.h"
#include "vmm/machine/control_dir.h"
#include "vmm/machine/cpu_group.h"

enum { GUARD_TTY = 0, GUARD_PIPE = 1, GUARD_PROCESS = 2 }; /* all that the guard keeps open */

/* The pipe's other end closes before the dead machine's sockets and lock do. */
static void wait_for_its_end(pid_t machine, bool has_pidfd)
{
    struct pollfd pfd = { .fd = GUARD_PROCESS, .events = POLLIN };

    while (has_pidfd && poll(&pfd, 1, -1) < 0 && errno == EINTR)
        ;
    while (!has_pidfd && getppid() == machine) /* we are handed on when all else of it is gone */
        (void)poll(NULL, 0, 10);
}

/* Remove what a dead machine left, unless another of the name runs by now. */
static void sweep_socket(const struct guard_duties *duties)
{
    char path[256];
    const char *dir = duties->dir != NULL ? duties->dir : control_dir_path(path, sizeof(path));
    int dir_fd, lock_fd;

    if (control_dir_open(dir, false, &dir_fd, NULL) < 0)
        return;
    if (control_dir_lock(dir_fd, duties->name, &lock_fd, NULL) == 0)
        control_dir_remove(dir_fd, duties->name);
}

/* In the new process, which shares nothing with the machine but the terminal. */
static _Noreturn void watch_over(const struct guard_duties *duties, const struct termios *saved,
                                 int pipe_fd, int process_fd, pid_t machine)
{
    bool tty = saved != NULL;
    char byte;
    ssize_t n;

    (void)prctl(PR_SET_NAME, "nv-guard");
    /* A session of its own: signals typed or sent to the group pass it by, and the change of
     * modes below is not a background job's. */
    (void)setsid();
    if ((tty && dup2(duties->tty_fd, GUARD_TTY) < 0) || dup2(pipe_fd, GUARD_PIPE) < 0 ||
        (process_fd >= 0 && dup2(process_fd, GUARD_PROCESS) < 0))
        _exit(1);
    if (process_fd < 0)
        (void)close(GUARD_PROCESS);
    if (!tty)
        (void)close(GUARD_TTY); /* a reader of our output must not wait for the guard */
    (void)close_range(GUARD_PROCESS + 1, ~0u, 0);
    do {
        n = read(GUARD_PIPE, &byte, 1);
    } while (n < 0 && errno == EINTR);
    if (n == 0 && tty) /* nobody said that all is well */
        (void)tcsetattr(GUARD_TTY, TCSANOW, saved);
    if (n == 0) {
        wait_for_its_end(machine, process_fd >= 0);
        if (duties->name != NULL)
            sweep_socket(duties);
        if (duties->socket != NULL)
            (void)stale_socket_remove(duties->socket, NULL);
    }
    if (duties->cgroup != NULL)
        cpu_group_remove(duties->cgroup);
    _exit(0);
}

int guard_start(const struct guard_duties *duties, struct guard *ret_guard, struct errctx *ec)
{
    struct termios saved;
    /* Here and not in the guard, which may come to run after the modes were changed. */
    bool tty = duties->tty_fd >= 0 && tcgetattr(duties->tty_fd, &saved) == 0;
    CLEANUP_CLOSE int ours = -1, theirs = -1, process = -1;
    const pid_t machine = getpid();
    int fds[2];
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return errctx_set_os(ec, errno, "make a pipe to the guard");
    theirs = fds[0];
    ours = fds[1];
    process = pidfd_open(machine, 0); /* after the pipe: its number must not be the pipe's place */
    if (process < 0 && errno != ENOSYS) /* before Linux 5.3, and under valgrind */
        return errctx_set_os(ec, errno, "make a process descriptor for the guard");
    pid = fork();
    if (pid < 0)
        return errctx_set_os(ec, errno, "start the guard");
    if (pid == 0) {
        (void)close(ours); /* or it would wait for itself */
        watch_over(duties, tty ? &saved : NULL, theirs, process, machine);
    }
    *ret_guard = (struct guard){ .fd = take_fd(&ours), .pid = pid };
    return 0;
}

void guard_dismiss(struct guard *guard)
{
    ssize_t n;

    if (guard->fd < 0)
        return;
    n = write(guard->fd, "", 1);
    (void)n; /* a guard that is gone already needs no word */
    (void)close(guard->fd);
    while (waitpid(guard->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    guard->fd = -1;
}

void guard_leave(struct guard *guard)
{
    if (guard->fd >= 0)
        (void)close(guard->fd);
    guard->fd = -1;
}
