/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Landlock knows no right to remove one file: removing is allowed in a folder and beneath it.
 * Hence the folder of the control sockets, which is ours alone, and the one that the user named
 * for the socket device's.
 */
#include "vmm/machine/sandbox_files.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/landlock.h"

static const char resolv_conf[] = "/etc/resolv.conf"; /* libslirp knows no other */

void sandbox_files_resolver(char *path)
{
    static const char run[] = "/run/";
    char *slash = strrchr(path, '/');

    if (strncmp(path, run, sizeof(run) - 1) == 0 && slash > path + sizeof(run) - 1)
        *slash = '\0';
}

/* What is not there needs no rule; there is nothing to remove or read. */
static int allow(int ruleset, const char *path, uint64_t rights, struct errctx *ec)
{
    struct errctx why = { 0 };
    int r = landlock_allow(ruleset, path, rights, &why);

    return r == 0 || r == -ENOENT ? 0 : errctx_set(ec, -r, "%s", why.msg);
}

static int allow_resolver(int ruleset, struct errctx *ec)
{
    CLEANUP_FREE char *path = realpath(resolv_conf, NULL);

    if (path == NULL) /* none, or one that we cannot reach: the guest has no name server either */
        return errno == ENOMEM ? errctx_set(ec, ENOMEM, "no memory for a path") : 0;
    sandbox_files_resolver(path);
    return allow(ruleset, path, LANDLOCK_ACCESS_FS_READ_FILE, ec);
}

static int allow_beside(int ruleset, const char *socket, uint64_t rights, struct errctx *ec)
{
    CLEANUP_FREE char *path = strdup(socket);
    const char *dir = path;
    char *slash;

    if (path == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a path");
    slash = strrchr(path, '/');
    if (slash == NULL)
        dir = ".";
    else
        slash[slash == path] = '\0'; /* of "/name" the "/" stays */
    return allow(ruleset, dir, rights, ec);
}

/* PATH is removed at the end; PATH_PORT is connected to, which newer kernels ask a right for. */
static int allow_vsock(int ruleset, const char *socket, struct errctx *ec)
{
    return allow_beside(ruleset, socket,
                        LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_RESOLVE_UNIX, ec);
}

int sandbox_files_new(const struct sandbox_request *req, int *ret_ruleset, struct errctx *ec)
{
    CLEANUP_CLOSE int ruleset = -1;
    int r = landlock_new(&ruleset, ec);

    if (r == 0 && req->control_dir != NULL)
        r = allow(ruleset, req->control_dir, LANDLOCK_ACCESS_FS_REMOVE_FILE, ec);
    if (r == 0 && req->vsock_socket != NULL)
        r = allow_vsock(ruleset, req->vsock_socket, ec);
    /* A back end that comes back makes its socket anew: the folder is what lasts. */
    for (size_t i = 0; r == 0 && i < req->n_peers; i++)
        r = allow_beside(ruleset, req->peers[i], LANDLOCK_ACCESS_FS_RESOLVE_UNIX, ec);
    if (r == 0 && req->service_socket != NULL)
        r = allow_beside(ruleset, req->service_socket, LANDLOCK_ACCESS_FS_RESOLVE_UNIX, ec);
    if (r == 0 && req->user_network)
        r = allow_resolver(ruleset, ec);
    if (r == 0)
        *ret_ruleset = take_fd(&ruleset);
    return r;
}
