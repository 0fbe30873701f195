/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file server of the lab: Debian's virtiofsd for one folder of the host.
 *
 * It runs as the calling user, in a user namespace of its own unless that user is root, where it
 * may change its root folder and nothing else that the user could not. Owners other than the user
 * show as nobody then. Main thread.
 */
#ifndef VMM_LAB_LAB_SERVER_H
#define VMM_LAB_LAB_SERVER_H

#include <stdbool.h>
#include <sys/types.h>

#include "vmm/base/errctx.h"

/** lab_server_program() - where virtiofsd is, or NULL. */
const char *lab_server_program(void);

struct lab_server {
    const char *program;
    const char *folder; /* what it serves */
    bool writable;      /* else its mounts are read-only, all of them */
    int listen_fd;      /* borrowed: a listening Unix socket */
    int log_fd;         /* borrowed: what it says on standard error */
};

/** lab_server_start() - make it a child, which dies with the calling thread. Return: 0, or the
 * errno of fork or of what the child could not do, with a sentence. */
int lab_server_start(const struct lab_server *server, pid_t *ret_pid, struct errctx *ec);

#endif
