/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/lab/lab_server.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/lab/lab_parts.h"

#ifndef MOUNT_ATTR_RDONLY
#define MOUNT_ATTR_RDONLY 1
#endif
#ifndef MOUNT_ATTR_NODEV
#define MOUNT_ATTR_NODEV 4
#endif

enum { SERVED_FD = 3, MESSAGE_MAX = 200 };

/* Why there is no server. */
struct failure {
    int error;
    char text[MESSAGE_MAX];
};

const char *lab_server_program(void)
{
    static const char *const places[] = { "/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd" };

    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (access(places[i], X_OK) == 0)
            return places[i];
    return NULL;
}

/* --- in the child ----------------------------------------------------------------------------- */

/* A sentence for the parent; does not return. */
static void give_up(int report, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), noreturn));
static void give_up(int report, const char *fmt, ...)
{
    struct failure failure = { .error = errno };
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(failure.text, sizeof(failure.text), fmt, ap);
    va_end(ap);
    (void)!write(report, &failure, sizeof(failure));
    _exit(1);
}

static bool put(const char *path, const char *text)
{
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* The user is who it was, and may do in the namespace what root may in one. */
static void enter_namespaces(int report)
{
    const unsigned uid = geteuid(), gid = getegid();
    char map[64];

    if (uid == 0) {
        if (unshare(CLONE_NEWNS) != 0)
            give_up(report, "a mount namespace");
        return;
    }
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        give_up(report, "a user namespace, which this host does not give to users");
    (void)snprintf(map, sizeof(map), "%u %u 1", uid, uid);
    if (!put("/proc/self/setgroups", "deny") || !put("/proc/self/uid_map", map))
        give_up(report, "the user namespace's map");
    (void)snprintf(map, sizeof(map), "%u %u 1", gid, gid);
    if (!put("/proc/self/gid_map", map))
        give_up(report, "the user namespace's map of groups");
    /* A program that is not root's keeps only ambient ones. */
    capng_fill(CAPNG_SELECT_BOTH);
    if (capng_update(CAPNG_ADD, CAPNG_INHERITABLE, CAP_SYS_CHROOT) != 0)
        give_up(report, "capabilities of the user namespace");
    for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
        (void)capng_update(CAPNG_ADD, CAPNG_INHERITABLE, (unsigned)cap);
    if (capng_apply(CAPNG_SELECT_CAPS) != 0)
        give_up(report, "capabilities of the user namespace");
    for (unsigned long cap = 0; cap <= CAP_LAST_CAP; cap++)
        (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
}

/* See parts/noatime.c. The file has no name, and is open in the server for as long as that runs. */
static void preload(int report)
{
    const size_t len = (size_t)(lab_noatime_end - lab_noatime_start);
    const int fd = memfd_create("lab-noatime", 0);
    char path[32];

    if (fd < 0 || write(fd, lab_noatime_start, len) != (ssize_t)len)
        give_up(report, "memory for a part of itself");
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (setenv("LD_PRELOAD", path, 1) != 0)
        give_up(report, "its environment");
}

/* A copy of the mounts below @path that only this process sees, so @path need not be a mount point
 * (as the root is not in a chroot), and nothing of it reaches the namespace that it came from. It
 * lasts as long as its descriptor, which the server inherits. No device is reached through it:
 * mounts that are read-only do not keep anybody from writing to one. */
static int copy_mounts(const char *path, bool writable, int report)
{
    struct mount_attr attr = { .attr_set = MOUNT_ATTR_NODEV | (writable ? 0 : MOUNT_ATTR_RDONLY) };
    int tree = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | AT_RECURSIVE);

    if (tree == SERVED_FD) /* the number is wanted */
        tree = fcntl(tree, F_DUPFD, SERVED_FD + 1);
    if (tree < 0)
        give_up(report, "mounts of its own");
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) !=
        0)
        give_up(report, "mounts that are confined");
    return tree;
}

/* Its root is read-only, whatever it serves: changing that by chroot(2), as it does, keeps nobody
 * in who was taken over. Returns a descriptor of the folder that it serves. */
static int enter_mounts(const struct lab_server *s, int report)
{
    const int root = copy_mounts("/", false, report);
    const int folder = s->writable ? copy_mounts(s->folder, true, report) : root;

    if (fchdir(root) != 0 || chroot(".") != 0)
        give_up(report, "mounts of its own");
    return folder;
}

static void serve(const struct lab_server *s, pid_t parent, int report)
{
    char options[128], fd[16];
    const char *const args[] = { s->program, "-f", fd, "-o", options, NULL };
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    sigset_t none;
    int folder;

    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)setsid(); /* signals of the terminal are the supervisor's */
    enter_namespaces(report);
    folder = enter_mounts(s, report);
    if (!s->writable && geteuid() != 0)
        preload(report);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(1);
    (void)snprintf(fd, sizeof(fd), "--fd=%d", SERVED_FD);
    /* It looks whether that is a folder, not a link to one. */
    (void)snprintf(options, sizeof(options),
                   "source=/proc/self/fd/%d/.,sandbox=chroot,cache=auto,log_level=err", folder);
    if (dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(s->log_fd, 2) < 0)
        give_up(report, "its streams");
    if (report == SERVED_FD) /* the number is wanted */
        report = fcntl(report, F_DUPFD_CLOEXEC, SERVED_FD + 1);
    if (s->listen_fd == SERVED_FD ? fcntl(SERVED_FD, F_SETFD, 0) < 0
                                  : dup2(s->listen_fd, SERVED_FD) < 0)
        give_up(report, "its socket");
    (void)execv(s->program, (char *const *)(uintptr_t)args);
    give_up(report, "%s", s->program);
}

/* --- in the parent ---------------------------------------------------------------------------- */

int lab_server_start(const struct lab_server *server, pid_t *ret_pid, struct errctx *ec)
{
    struct failure failure;
    const pid_t self = getpid();
    int report[2];
    ssize_t n;
    pid_t pid;

    if (pipe2(report, O_CLOEXEC) != 0)
        return errctx_set_os(ec, errno, "pipe");
    pid = fork();
    if (pid == 0)
        serve(server, self, report[1]);
    (void)close(report[1]);
    n = pid > 0 ? read(report[0], &failure, sizeof(failure)) : 0; /* end of file: it runs */
    (void)close(report[0]);
    if (pid < 0)
        return errctx_set_os(ec, errno, "fork");
    if (n == (ssize_t)sizeof(failure)) {
        (void)waitpid(pid, NULL, 0);
        return errctx_set_os(ec, failure.error, "the file server for %s cannot have %s",
                             server->folder, failure.text);
    }
    *ret_pid = pid;
    return 0;
}
