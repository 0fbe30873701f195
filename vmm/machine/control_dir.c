/* SPDX-License-Identifier: Apache-2.0 */
/* See control_dir.h. */
#include "vmm/machine/control_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"

enum { CONTROL_BACKLOG = 16, CONTROL_FILE_MAX = 80 /* name and suffix */ };

const char *control_dir_path(char *buf, size_t size)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");

    if (runtime != NULL && runtime[0] == '/')
        (void)snprintf(buf, size, "%s/numavisor", runtime);
    else if (geteuid() == 0)
        (void)snprintf(buf, size, "/run/numavisor");
    else
        (void)snprintf(buf, size, "/tmp/numavisor-%u", (unsigned)geteuid());
    return buf;
}

int control_dir_open(const char *path, bool make, int *ret_fd, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = -1;
    struct stat st;

    if (make && mkdir(path, 0700) < 0 && errno != EEXIST)
        return errctx_set_os(ec, errno, "make %s", path);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errctx_set_os(ec, errno, "open %s", path);
    if (fstat(fd, &st) < 0)
        return errctx_set_os(ec, errno, "look at %s", path);
    /* In /tmp anybody could have made it first. */
    if (st.st_uid != geteuid())
        return errctx_set(ec, EPERM, "%s belongs to user %u, not to us", path, (unsigned)st.st_uid);
    if ((st.st_mode & 077) != 0)
        return errctx_set(ec, EPERM, "%s is open to other users (mode %o)", path,
                          (unsigned)(st.st_mode & 07777));
    *ret_fd = take_fd(&fd);
    return 0;
}

static void file_name(char *buf, const char *name, const char *suffix)
{
    (void)snprintf(buf, CONTROL_FILE_MAX, "%.64s.%s", name, suffix);
}

/* True when the descriptor is the file that now bears the name: its holder did not remove it
 * between our open and our lock. */
static bool still_named(int dir_fd, const char *file, int fd)
{
    struct stat by_name, by_fd;

    return fstatat(dir_fd, file, &by_name, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &by_fd) == 0 &&
           by_name.st_ino == by_fd.st_ino && by_name.st_dev == by_fd.st_dev;
}

int control_dir_lock(int dir_fd, const char *name, int *ret_fd, struct errctx *ec)
{
    char file[CONTROL_FILE_MAX];

    file_name(file, name, "lock");
    for (;;) { /* each turn but the last means that another machine of the name just ended */
        CLEANUP_CLOSE int fd =
            openat(dir_fd, file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

        if (fd < 0)
            return errctx_set_os(ec, errno, "open %s", file);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
            if (errno == EWOULDBLOCK)
                return errctx_set(ec, EADDRINUSE, "a machine named %s is running already", name);
            return errctx_set_os(ec, errno, "lock %s", file);
        }
        if (still_named(dir_fd, file, fd)) {
            *ret_fd = take_fd(&fd);
            return 0;
        }
    }
}

bool control_dir_is_live(int dir_fd, const char *name)
{
    char file[CONTROL_FILE_MAX];
    CLEANUP_CLOSE int fd = -1;

    file_name(file, name, "lock");
    fd = openat(dir_fd, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

void control_dir_tidy(int dir_fd, const char *name)
{
    char file[CONTROL_FILE_MAX];
    CLEANUP_CLOSE int fd = -1;

    file_name(file, name, "lock");
    fd = openat(dir_fd, file, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && still_named(dir_fd, file, fd))
        control_dir_remove(dir_fd, name);
}

static int make_address(const char *dir, const char *name, struct sockaddr_un *ret_addr,
                        struct errctx *ec)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s.sock", dir, name);

    if (n < 0 || (size_t)n >= sizeof(addr.sun_path))
        return errctx_set(ec, ENAMETOOLONG, "the socket's path %s/%s.sock exceeds %zu bytes", dir,
                          name, sizeof(addr.sun_path) - 1);
    *ret_addr = addr;
    return 0;
}

int control_dir_listen(int dir_fd, const char *dir, const char *name, int *ret_fd,
                       struct errctx *ec)
{
    CLEANUP_CLOSE int fd = -1;
    char file[CONTROL_FILE_MAX];
    struct sockaddr_un addr;
    int r = make_address(dir, name, &addr, ec);

    if (r < 0)
        return r;
    file_name(file, name, "sock");
    if (unlinkat(dir_fd, file, 0) < 0 && errno != ENOENT)
        return errctx_set_os(ec, errno, "remove the stale %s", addr.sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errctx_set_os(ec, errno, "make the control socket");
    if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
        return errctx_set_os(ec, errno, "bind %s", addr.sun_path);
    /* The folder already keeps others out; the mode says it a second time. */
    if (fchmodat(dir_fd, file, 0600, 0) < 0 || listen(fd, CONTROL_BACKLOG) < 0) {
        int code = errno;

        (void)unlinkat(dir_fd, file, 0);
        return errctx_set_os(ec, code, "listen on %s", addr.sun_path);
    }
    *ret_fd = take_fd(&fd);
    return 0;
}

void control_dir_remove(int dir_fd, const char *name)
{
    char file[CONTROL_FILE_MAX];

    file_name(file, name, "sock");
    (void)unlinkat(dir_fd, file, 0);
    file_name(file, name, "use");
    (void)unlinkat(dir_fd, file, 0);
    file_name(file, name, "lock");
    (void)unlinkat(dir_fd, file, 0);
}

int control_dir_connect(const char *dir, const char *name, int *ret_fd, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = -1;
    struct sockaddr_un addr;
    int r = make_address(dir, name, &addr, ec);

    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errctx_set_os(ec, errno, "make a socket");
    if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
        if (errno == ENOENT || errno == ECONNREFUSED)
            return errctx_set(ec, errno, "no machine named %s is running", name);
        return errctx_set_os(ec, errno, "connect to %s", addr.sun_path);
    }
    *ret_fd = take_fd(&fd);
    return 0;
}
