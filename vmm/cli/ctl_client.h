/* SPDX-License-Identifier: Apache-2.0 */
/* The asking side of a control socket (vmm/machine/control.h), with a time limit. */
#ifndef VMM_CLI_CTL_CLIENT_H
#define VMM_CLI_CTL_CLIENT_H

#include <jansson.h>

#include "vmm/base/errctx.h"

/* A machine is silent for as long as its devices take to stop, which with --vhost-user is another
 * process's affair, for 10 s each. */
enum { CTL_TIMEOUT_MS = 30000, CTL_REPLY_MAX = 4 * 1024 * 1024 };

/**
 * ctl_client_ask() - send one command, wait for the reply.
 * @dir: folder of the sockets; NULL: control_dir_path().
 * @timeout_ms: for the whole exchange.
 * @ret_result: the reply's "result", a new reference.
 * Return: 0; -ENOENT when no such machine runs; -ETIMEDOUT; -EPROTO when the answer makes no
 * sense; -ECANCELED with the machine's own sentence when it refused; or a call's errno.
 */
int ctl_client_ask(const char *dir, const char *name, const char *command, int timeout_ms,
                   json_t **ret_result, struct errctx *ec);

/** ctl_client_request() - the same for a whole request, which may have more members. */
int ctl_client_request(const char *dir, const char *name, const json_t *request, int timeout_ms,
                       json_t **ret_result, struct errctx *ec);

#endif
