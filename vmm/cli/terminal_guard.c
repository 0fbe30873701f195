/* SPDX-License-Identifier: Apache-2.0 */
/* See terminal_guard.h. */
#include "vmm/cli/terminal_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "vmm/base/macros.h"

/* In the new process, which shares nothing with the machine but the terminal. */
static _Noreturn void watch_over(int tty_fd, int pipe_fd, const struct termios *saved)
{
    char byte;
    ssize_t n;

    (void)prctl(PR_SET_NAME, "nv-terminal");
    /* A session of its own: signals typed or sent to the group pass it by, and the change of
     * modes below is not a background job's. */
    (void)setsid();
    if (dup2(tty_fd, 0) < 0 || dup2(pipe_fd, 1) < 0)
        _exit(1);
    (void)close_range(2, ~0u, 0);
    do {
        n = read(1, &byte, 1);
    } while (n < 0 && errno == EINTR);
    if (n == 0) /* nobody said that all is well */
        (void)tcsetattr(0, TCSANOW, saved);
    _exit(0);
}

int terminal_guard_start(int tty_fd, const struct termios *saved, int *ret_fd, struct errctx *ec)
{
    int fds[2];
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return errctx_set_os(ec, errno, "make a pipe to the terminal's guard");
    pid = fork();
    if (pid < 0) {
        int code = errno;

        (void)close(fds[0]);
        (void)close(fds[1]);
        return errctx_set_os(ec, code, "start the terminal's guard");
    }
    if (pid == 0) {
        (void)close(fds[1]); /* dup2 below must not be confused by it */
        watch_over(tty_fd, fds[0], saved);
    }
    (void)close(fds[0]);
    *ret_fd = fds[1];
    return 0;
}

void terminal_guard_dismiss(int fd)
{
    ssize_t n = write(fd, "", 1);

    (void)n; /* a guard that is gone already needs no word; SIGPIPE is ignored */
    (void)close(fd);
}
