/* SPDX-License-Identifier: Apache-2.0 */
/* Unix sockets whose owner died without removing them. No state; any thread. */
#ifndef VMM_BASE_STALE_SOCKET_H
#define VMM_BASE_STALE_SOCKET_H

#include "vmm/base/errctx.h"

/**
 * stale_socket_remove() - unlink @path if it is a stream socket that nobody listens at.
 * Return: 0 when it is gone; -EADDRINUSE when it is no socket, which stays, or when a process
 * serves it; or the errno of the call that failed, -ENOENT and -ENAMETOOLONG among them.
 */
int stale_socket_remove(const char *path, struct errctx *ec);

#endif
