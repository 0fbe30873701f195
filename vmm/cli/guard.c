/* SPDX-License-Identifier: Apache-2.0 */
/* See guard.h. */
#include "vmm/cli/guard.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/stale_socket.h"
#include "vmm/machine/control_dir.h"
#include "vmm/machine/cpu_group.h"

enum { GUARD_TTY = 0, GUARD_SOCKET = 1, GUARD_PROCESS = 2 }; /* all that the guard keeps open */

enum {
    AGAIN_MS = 1000,       /* until a step is tried again */
    ANSWER_MS = 10 * 1000, /* a guard that needs longer is stopped, or in trouble */
};

/* What the guard answers. */
struct answer {
    int32_t code;
    char msg[ERRCTX_MSG_MAX];
};

/* The socket's other end closes before the dead machine's sockets and lock do. */
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

/* Do what a step asks for. @late: a step that is still to be done. */
static void serve(const struct guard_duties *duties, const struct guard_move *move,
                  struct guard_move *late, bool *has_late)
{
    struct answer answer = { 0 };
    struct errctx ec = { 0 };
    int r = 0;

    if (*has_late)
        r = duties->move(duties->ctx, late, &ec);
    *has_late = *has_late && r < 0;
    if (move == NULL)
        return;
    if (move->step != GUARD_MOVE_BEGINS) { /* later than what was late, and more than that */
        *late = *move;
        *has_late = duties->move(duties->ctx, late, NULL) < 0;
        return;
    }
    if (r == 0)
        r = duties->move(duties->ctx, move, &ec);
    answer.code = r;
    (void)snprintf(answer.msg, sizeof(answer.msg), "%s", ec.msg);
    (void)send(GUARD_SOCKET, &answer, sizeof(answer), MSG_NOSIGNAL);
}

/* Until the machine says that all is well (true), or does not exist any more (false). */
static bool serve_until_end(const struct guard_duties *duties)
{
    struct pollfd pfd = { .fd = GUARD_SOCKET, .events = POLLIN };
    struct guard_move move, late;
    bool has_late = false;

    for (;;) {
        ssize_t n = poll(&pfd, 1, has_late ? AGAIN_MS : -1);

        if (n > 0)
            n = recv(GUARD_SOCKET, &move, sizeof(move), 0);
        else if (n == 0) {
            serve(duties, NULL, &late, &has_late);
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n != sizeof(move))
            return n == 1;
        if (duties->move != NULL)
            serve(duties, &move, &late, &has_late);
    }
}

/* In the new process, which shares nothing with the machine but the terminal. */
static _Noreturn void watch_over(const struct guard_duties *duties, const struct termios *saved,
                                 int socket_fd, int process_fd, pid_t machine)
{
    bool tty = saved != NULL, all_is_well;

    (void)prctl(PR_SET_NAME, "nv-guard");
    /* A session of its own: signals typed or sent to the group pass it by, and the change of
     * modes below is not a background job's. */
    (void)setsid();
    if ((tty && dup2(duties->tty_fd, GUARD_TTY) < 0) || dup2(socket_fd, GUARD_SOCKET) < 0 ||
        (process_fd >= 0 && dup2(process_fd, GUARD_PROCESS) < 0))
        _exit(1);
    if (process_fd < 0)
        (void)close(GUARD_PROCESS);
    if (!tty)
        (void)close(GUARD_TTY); /* a reader of our output must not wait for the guard */
    (void)close_range(GUARD_PROCESS + 1, ~0u, 0);
    all_is_well = serve_until_end(duties);
    if (!all_is_well && tty)
        (void)tcsetattr(GUARD_TTY, TCSANOW, saved);
    if (!all_is_well) {
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

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return errctx_set_os(ec, errno, "make a socket to the guard");
    theirs = fds[0];
    ours = fds[1];
    process = pidfd_open(machine, 0); /* after the socket: its number must not be the socket's place */
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

static bool send_move(const struct guard *guard, enum guard_step step, struct vnode_id vnode,
                      struct hnode_id to)
{
    const struct guard_move move = { .step = step, .vnode = vnode.v, .to = to.v };

    return guard->fd >= 0 &&
           send(guard->fd, &move, sizeof(move), MSG_NOSIGNAL) == (ssize_t)sizeof(move);
}

int guard_ask(const struct guard *guard, struct vnode_id vnode, struct hnode_id to,
              struct errctx *ec)
{
    struct pollfd pfd = { .fd = guard->fd, .events = POLLIN };
    struct answer answer;
    int n;

    while (recv(guard->fd, &answer, sizeof(answer), MSG_DONTWAIT) > 0)
        ; /* to a question that was given up */
    if (!send_move(guard, GUARD_MOVE_BEGINS, vnode, to))
        return errctx_set(ec, EIO, "the process that would ask for room is gone");
    do
        n = poll(&pfd, 1, ANSWER_MS);
    while (n < 0 && errno == EINTR);
    if (n <= 0 || recv(guard->fd, &answer, sizeof(answer), 0) != (ssize_t)sizeof(answer))
        return errctx_set(ec, EIO, "the process that asks for room does not answer");
    answer.msg[sizeof(answer.msg) - 1] = '\0';
    return answer.code < 0 ? errctx_set(ec, -answer.code, "%s", answer.msg) : 0;
}

void guard_tell(const struct guard *guard, struct vnode_id vnode, struct hnode_id to, bool arrived)
{
    (void)send_move(guard, arrived ? GUARD_MOVE_ARRIVED : GUARD_MOVE_STAYED, vnode, to);
}

void guard_dismiss(struct guard *guard)
{
    if (guard->fd < 0)
        return;
    (void)send(guard->fd, "", 1, MSG_NOSIGNAL); /* a guard that is gone already needs no word */
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
