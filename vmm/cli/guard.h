/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small process that tidies up when ours died without doing so: killed, crashed, or ended by
 * the system call filter. It waits on a socket whose other end only we hold, so our end, of
 * whatever kind, wakes it; it then gives the terminal its modes back, removes the control socket,
 * a device's socket and the machine's cgroup, and ends too. The cgroup it removes in any case, once
 * we are out of it.
 *
 * It stays outside of the sandbox, and so does for us what a move of a virtual node needs of files:
 * asking whether its target has room, and telling others. What we say is a step and two numbers,
 * since we may be anybody's by then; what follows from them it works out itself, from what it knew
 * when it was made.
 */
#ifndef VMM_CLI_GUARD_H
#define VMM_CLI_GUARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"

struct guard {
    int fd; /* our end of the socket, close-on-exec; -1: no guard */
    pid_t pid;
};

enum guard_step { GUARD_MOVE_BEGINS, GUARD_MOVE_ARRIVED, GUARD_MOVE_STAYED };

/* A move of virtual node @vnode to host node @to. */
struct guard_move {
    uint32_t step, vnode, to;
};

struct guard_duties {
    int tty_fd;       /* whose present modes are to be restored; -1, or no terminal: none */
    const char *name; /* of the machine whose socket is to be removed; NULL: none */
    const char *dir;  /* that socket's folder; NULL: control_dir_path() */
    const char *socket; /* a device's socket, removed if nobody serves it; NULL: none */
    const char *cgroup; /* folder of a cgroup to be removed, also when dismissed; NULL: none */
    /* Called in the guard, whose memory is a copy of ours at its start. 0, or a negative errno with
     * a sentence: of a move that begins it is the answer, other steps are tried again until 0.
     * NULL: the guard is told of no moves. */
    int (*move)(void *ctx, const struct guard_move *move, struct errctx *ec);
    void *ctx;
};

/**
 * guard_start() - before any thread is made and before the control socket's lock is taken, which
 * the guard must not share.
 * Return: 0 or the errno of socketpair, pidfd_open or fork.
 */
int guard_start(const struct guard_duties *duties, struct guard *ret_guard, struct errctx *ec);

/** guard_ask() - may a move begin? Waits for the answer. Return: 0; what duties.move says; -EIO with
 *  a sentence when there is no guard any more, or it does not answer. */
int guard_ask(const struct guard *guard, struct vnode_id vnode, struct hnode_id to,
              struct errctx *ec);

/** guard_tell() - how a move ended that had begun. A guard that is gone learns nothing. */
void guard_tell(const struct guard *guard, struct vnode_id vnode, struct hnode_id to, bool arrived);

/** guard_dismiss() - all is tidy: the guard removes the cgroup, ends without touching anything else,
 *  and is waited for, so that nothing of us is left. Does nothing without a guard. */
void guard_dismiss(struct guard *guard);

/** guard_leave() - all is tidy but the cgroup that we are still in: the guard acts when we are gone. */
void guard_leave(struct guard *guard);

#endif
