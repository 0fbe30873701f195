/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small process that tidies up when ours died without doing so: killed, crashed, or ended by
 * the system call filter. It waits on a pipe whose other end only we hold, so our end, of
 * whatever kind, wakes it; it then gives the terminal its modes back, removes the control socket,
 * a device's socket and the machine's cgroup, and ends too. The cgroup it removes in any case, once
 * we are out of it.
 */
#ifndef VMM_CLI_GUARD_H
#define VMM_CLI_GUARD_H

#include <sys/types.h>

#include "vmm/base/errctx.h"

struct guard {
    int fd; /* our end of the pipe, close-on-exec; -1: no guard */
    pid_t pid;
};

struct guard_duties {
    int tty_fd;       /* whose present modes are to be restored; -1, or no terminal: none */
    const char *name; /* of the machine whose socket is to be removed; NULL: none */
    const char *dir;  /* that socket's folder; NULL: control_dir_path() */
    const char *socket; /* a device's socket, removed if nobody serves it; NULL: none */
    const char *cgroup; /* folder of a cgroup to be removed, also when dismissed; NULL: none */
};

/**
 * guard_start() - before any thread is made and before the control socket's lock is taken, which
 * the guard must not share.
 * Return: 0 or the errno of pipe, pidfd_open or fork.
 */
int guard_start(const struct guard_duties *duties, struct guard *ret_guard, struct errctx *ec);

/** guard_dismiss() - all is tidy: the guard removes the cgroup, ends without touching anything else,
 *  and is waited for, so that nothing of us is left. Does nothing without a guard. SIGPIPE is ignored by then. */
void guard_dismiss(struct guard *guard);

/** guard_leave() - all is tidy but the cgroup that we are still in: the guard acts when we are gone. */
void guard_leave(struct guard *guard);

#endif
