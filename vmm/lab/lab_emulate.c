/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/lab/lab_emulate.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/lab/lab_server.h"

enum { FIXED_WORDS = 20 };

/* --- the program ------------------------------------------------------------------------------ */

int lab_emulate_find(const char *self, char ret_rig[static PATH_MAX], struct errctx *ec)
{
    static const char *const below[] = { "guest-tests/rig/run",
                                         "share/numavisor/guest-tests/rig/run" };
    char dir[PATH_MAX], path[PATH_MAX];
    const char *slash;

    if (strlen(self) >= sizeof(dir))
        return errctx_set(ec, ENAMETOOLONG, "the path of this program is too long");
    (void)strcpy(dir, self);
    /* BUILD/numavisor, build/KIND/numavisor, PREFIX/bin/numavisor: the folder above, or one more */
    for (int up = 0; up < 3 && (slash = strrchr(dir, '/')) != NULL; up++) {
        dir[slash - dir] = '\0';
        for (size_t i = 0; i < ARRAY_SIZE(below); i++) {
            const int n = snprintf(path, sizeof(path), "%s/%s", dir, below[i]);

            if (n < (int)sizeof(path) && access(path, X_OK) == 0) {
                (void)strcpy(ret_rig, path);
                return 0;
            }
        }
    }
    return errctx_set(ec, ENOENT,
                      "the emulated host is not to be had: there is neither %s in the source tree "
                      "of %.200s nor %s where it is installed",
                      below[0], self, below[1]);
}

/* --- file servers ----------------------------------------------------------------------------- */

/* A listening socket and the far end of the one connection that will be made to it. It has a name
 * for that moment only. */
static int make_pair(int *ret_listen, int *ret_connected, struct errctx *ec)
{
    char dir[] = "/tmp/numavisor-lab-XXXXXX";
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    CLEANUP_CLOSE int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CLEANUP_CLOSE int connected = socket(AF_UNIX, SOCK_STREAM, 0); /* inherited */
    int r = 0;

    if (listening < 0 || connected < 0)
        return errctx_set_os(ec, errno, "a socket for a file server");
    if (mkdtemp(dir) == NULL)
        return errctx_set_os(ec, errno, "make a folder in /tmp");
    (void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/fs", dir);
    if (bind(listening, (const struct sockaddr *)&sun, sizeof(sun)) < 0 ||
        listen(listening, 1) < 0 ||
        connect(connected, (const struct sockaddr *)&sun, sizeof(sun)) < 0)
        r = errctx_set_os(ec, errno, "a socket for a file server");
    (void)unlink(sun.sun_path);
    (void)rmdir(dir);
    if (r < 0)
        return r;
    *ret_listen = take_fd(&listening);
    *ret_connected = take_fd(&connected);
    return 0;
}

/* It ends with this process, whatever that becomes. */
static int serve(const struct lab_emulation *e, const char *folder, bool writable, int *ret_fd,
                 pid_t *ret_pid, struct errctx *ec)
{
    CLEANUP_CLOSE int listening = -1, connected = -1;
    CLEANUP_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct lab_server server = { .program = e->program, .folder = folder, .writable = writable };
    int r = null < 0 ? errctx_set_os(ec, errno, "/dev/null")
                     : make_pair(&listening, &connected, ec);

    if (r < 0)
        return r;
    server.listen_fd = listening;
    server.log_fd = null;
    r = lab_server_start(&server, ret_pid, ec);
    if (r == 0)
        *ret_fd = take_fd(&connected);
    return r;
}

/* --- the whole -------------------------------------------------------------------------------- */

/* Words for the program, up to a NULL. */
struct words {
    char **at;
    size_t n;
};

static int add(struct words *w, struct errctx *ec, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int add(struct words *w, struct errctx *ec, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&w->at[w->n], fmt, ap);
    va_end(ap);
    if (n < 0) {
        w->at[w->n] = NULL;
        return errctx_set(ec, ENOMEM, "no memory for a command line");
    }
    w->n++;
    return 0;
}

/* The servers are started on the way. */
static int add_servers(const struct lab_emulation *e, struct words *w, struct errctx *ec)
{
    pid_t pid;
    int fd, r = serve(e, "/", false, &fd, &pid, ec);

    if (r == 0)
        r = add(w, ec, "--root=%d", fd);
    if (r == 0)
        r = add(w, ec, "--root-server=%d", (int)pid);
    for (size_t i = 0; r == 0 && i < e->n_shares; i++) {
        r = serve(e, e->shares[i], true, &fd, &pid, ec);
        if (r == 0)
            r = add(w, ec, "--root-share=%s=%d", e->shares[i], fd);
        if (r == 0)
            r = add(w, ec, "--root-server=%d", (int)pid);
    }
    return r;
}

static int add_words(const struct lab_emulation *e, struct words *w, struct errctx *ec)
{
    int r = add(w, ec, "%s", e->rig);

    if (r == 0)
        r = add_servers(e, w, ec);
    if (r == 0 && e->file_fd >= 0)
        r = add(w, ec, "--root-file=%s=%d", e->file_path, e->file_fd);
    if (r == 0)
        r = add(w, ec, "--nodes=%" PRIu32, e->nodes);
    if (r == 0)
        r = add(w, ec, "--memory=%" PRIu64 "M", e->nodes * (e->node_bytes >> 20));
    if (r == 0)
        r = add(w, ec, "--lost-status=%d", e->lost_status);
    if (r == 0)
        r = add(w, ec, "--server-status=%d", e->server_status);
    if (r == 0)
        r = add(w, ec, "--time-limit=1e9"); /* the lab inside has its own */
    if (r == 0)
        r = add(w, ec, "--env=" LAB_EMULATED "=1");
    if (r == 0 && e->network)
        r = add(w, ec, "--net");
    if (r == 0)
        r = add(w, ec, "--");
    for (size_t i = 0; r == 0 && i < e->n_command; i++)
        r = add(w, ec, "%s", e->command[i]);
    return r;
}

int lab_emulate(const struct lab_emulation *e, struct errctx *ec)
{
    struct words w = { .at = calloc(FIXED_WORDS + 2 * e->n_shares + e->n_command, sizeof(*w.at)) };
    int r = w.at == NULL ? errctx_set(ec, ENOMEM, "no memory for a command line")
                         : add_words(e, &w, ec);

    if (r == 0) {
        (void)execv(e->rig, w.at);
        r = errctx_set_os(ec, errno, "%s", e->rig);
    }
    for (size_t i = 0; i < w.n; i++)
        free(w.at[i]);
    free(w.at);
    return r;
}
