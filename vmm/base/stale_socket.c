/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bound socket leaves its file behind when its process dies, and then refuses connections. One
 * that is bound and not yet listened at does the same; a process that starts at this very moment
 * may lose its file, which no means of the kernel prevents short of a lock beside each socket.
 */
#include "vmm/base/stale_socket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"

int stale_socket_remove(const char *path, struct errctx *ec)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    CLEANUP_CLOSE int fd = -1;
    struct stat st;

    if (strlen(path) >= sizeof(addr.sun_path))
        return errctx_set(ec, ENAMETOOLONG, "%s: the path exceeds %zu bytes", path,
                          sizeof(addr.sun_path) - 1);
    (void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    if (lstat(path, &st) < 0)
        return errctx_set_os(ec, errno, "look at %s", path);
    if (!S_ISSOCK(st.st_mode))
        return errctx_set(ec, EADDRINUSE, "%s exists and is no socket", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errctx_set_os(ec, errno, "socket");
    if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0 || errno == EAGAIN)
        return errctx_set(ec, EADDRINUSE, "%s is in use by a running process", path);
    if (errno != ECONNREFUSED)
        return errctx_set_os(ec, errno, "%s exists; connect to it", path);
    if (unlink(path) < 0)
        return errctx_set_os(ec, errno, "remove the stale socket %s", path);
    return 0;
}
