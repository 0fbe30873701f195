/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process whose memory is limited, by a memory cgroup of its own, while a test wants that: then the
 * kernel refuses it pages (ENOMEM) instead of ending it. A second process, outside the group, sets
 * the limit, since who has no memory cannot be relied on to do it.
 */
#ifndef MEMORY_PAGER_TEST_STARVE_H
#define MEMORY_PAGER_TEST_STARVE_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STARVE_SECONDS = 100 }; /* and the whole test ends */

/* Version 1 of the kernel's interface has a switch to refuse memory; version 2 spares who may not be
 * ended (oom_score_adj), which wants CAP_SYS_RESOURCE. */
struct starve_kind {
    const char *line, *root; /* of /proc/self/cgroup; where groups are */
    const char *limit, *usage, *none;
    const char *no_kill; /* a file of the group that wants a 1; NULL: oom_score_adj */
};

static const struct starve_kind starve_kinds[] = {
    { ":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "-1",
      "memory.oom_control" },
    { "0::", "/sys/fs/cgroup", "memory.max", "memory.current", "max", NULL },
};

static struct starve {
    _Atomic bool wanted, is; /* limited */
    char why[512];           /* it cannot be; "": it can */
} *starve; /* shared by both processes */

static inline bool starve_write(const char *path, const char *text)
{
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    const bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    const int code = errno;

    if (fd >= 0)
        (void)close(fd);
    errno = code;
    return good;
}

/* Give up, for this reason, where nothing was said yet. */
static inline bool starve_cannot(const char *what, const char *path)
{
    if (starve->why[0] == '\0')
        (void)snprintf(starve->why, sizeof(starve->why), "%s %s: %s", what, path, strerror(errno));
    return false;
}

/* A group below the one that this process is in, with this process in it. */
static inline bool starve_enter(const struct starve_kind *kind, char *ret_dir, size_t size)
{
    char line[256], path[512], own[256] = "";
    FILE *f = fopen("/proc/self/cgroup", "re");

    while (f != NULL && own[0] == '\0' && fgets(line, sizeof(line), f) != NULL) {
        const char *at = strstr(line, kind->line);

        if (at != NULL)
            (void)snprintf(own, sizeof(own), "%s", at + strlen(kind->line));
    }
    if (f != NULL)
        (void)fclose(f);
    own[strcspn(own, "\n")] = '\0';
    errno = ENOENT;
    if (own[0] == '\0')
        return starve_cannot("find", "a memory cgroup");
    (void)snprintf(ret_dir, size, "%s%s/numavisor-test-%d", kind->root,
                   strcmp(own, "/") == 0 ? "" : own, (int)getpid());
    if (mkdir(ret_dir, 0755) < 0)
        return starve_cannot("make", ret_dir);
    (void)snprintf(path, sizeof(path), "%s/%s", ret_dir, kind->limit);
    if (access(path, W_OK) < 0)
        return starve_cannot("write", path);
    if (kind->no_kill != NULL)
        (void)snprintf(path, sizeof(path), "%s/%s", ret_dir, kind->no_kill);
    else
        (void)snprintf(path, sizeof(path), "/proc/self/oom_score_adj");
    if (!starve_write(path, kind->no_kill != NULL ? "1" : "-1000"))
        return starve_cannot("write", path);
    if (mlockall(MCL_CURRENT) < 0) /* the kernel would take the program's own pages first */
        return starve_cannot("keep the pages of", "this program");
    (void)snprintf(path, sizeof(path), "%s/cgroup.procs", ret_dir);
    return starve_write(path, "0") || starve_cannot("write", path);
}

/* All that it has now and no more, or as much as it wants. */
static inline void starve_set(const struct starve_kind *kind, const char *dir, bool limited)
{
    char limit[512], usage[512], text[32];

    (void)snprintf(limit, sizeof(limit), "%s/%s", dir, kind->limit);
    (void)snprintf(usage, sizeof(usage), "%s/%s", dir, kind->usage);
    while (limited) { /* version 1 takes no limit below the usage, which goes up and down */
        FILE *f = fopen(usage, "re");

        if (f == NULL || fgets(text, sizeof(text), f) == NULL)
            abort();
        (void)fclose(f);
        if (starve_write(limit, text))
            return;
    }
    if (!starve_write(limit, kind->none))
        abort();
}

/* The second process: do what the first wants until that ends. Return: its exit status. */
static inline int starve_guard(const struct starve_kind *kind, const char *dir, pid_t child)
{
    int status = 0;

    for (int i = 0; waitpid(child, &status, WNOHANG) == 0; i++) {
        const bool wanted = atomic_load(&starve->wanted);

        if (wanted != atomic_load(&starve->is)) {
            starve_set(kind, dir, wanted);
            atomic_store(&starve->is, wanted);
        }
        if (i == STARVE_SECONDS * 1000) {
            starve_set(kind, dir, false);
            (void)kill(child, SIGKILL);
        }
        (void)usleep(1000);
    }
    (void)rmdir(dir);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/**
 * starve_main() - run @tests in a process that starve_now() limits. Where there can be no such
 * process starve->why says why. Return: what @tests returns.
 */
static inline int starve_main(int (*tests)(void))
{
    const struct starve_kind *kind = &starve_kinds[access(starve_kinds[0].root, F_OK) == 0 ? 0 : 1];
    char *dir;
    pid_t child;

    starve = mmap(NULL, sizeof(*starve) + 512, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                  -1, 0);
    if (starve == MAP_FAILED)
        abort();
    dir = (char *)(starve + 1);
    atomic_store(&starve->is, true); /* until the child is where it should be */
    child = fork();
    if (child < 0)
        abort();
    if (child == 0) {
        if (!starve_enter(kind, dir, 512) && dir[0] != '\0')
            (void)rmdir(dir);
        atomic_store(&starve->is, false);
        exit(tests());
    }
    while (atomic_load(&starve->is))
        (void)usleep(1000);
    return starve_guard(kind, dir, child);
}

/** starve_now() - from now on, or no more: the kernel has no page for this process. */
static inline void starve_now(bool limited)
{
    atomic_store(&starve->wanted, limited);
    while (atomic_load(&starve->is) != limited)
        (void)usleep(1000);
}

#endif
