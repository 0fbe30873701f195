/* SPDX-License-Identifier: Apache-2.0 */
/* See cpu_group.h; Documentation/admin-guide/cgroup-v2.rst. */
#include "vmm/machine/cpu_group.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/kernel_file.h"
#include "vmm/topology/host_limits.h"

enum {
    PERIOD_US = 100000,
    QUOTA_LEAST_US = 1000, /* the kernel's limit */
    REMOVE_TRIES = 200,
    REMOVE_WAIT_NS = 10 * 1000 * 1000,
    FILE_MAX = 1024,
};

static int write_file(const char *dir, const char *file, const char *text)
{
    char path[FILE_MAX];
    CLEANUP_CLOSE int fd = -1;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, file);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* Is the cpu controller in the list that @file holds? */
static bool lists_cpu(const char *dir, const char *file)
{
    char text[FILE_MAX], *save = NULL;

    if (!kernel_file_text(text, sizeof(text), dir, "/%s", file))
        return false;
    for (char *w = strtok_r(text, " \n", &save); w != NULL; w = strtok_r(NULL, " \n", &save))
        if (strcmp(w, "cpu") == 0)
            return true;
    return false;
}

/* Whether the controller can be handed down is known for sure only once it is. */
static int hand_down(const char *dir, bool for_certain)
{
    char path[FILE_MAX], text[16];
    bool root, empty;

    if (for_certain)
        return -write_file(dir, "cgroup.subtree_control", "+cpu");
    (void)snprintf(path, sizeof(path), "%s/cgroup.subtree_control", dir);
    if (access(path, W_OK) < 0)
        return errno;
    (void)snprintf(path, sizeof(path), "%s/cgroup.type", dir);
    root = access(path, F_OK) < 0; /* which may have both processes and children */
    empty = !kernel_file_text(text, sizeof(text), dir, "/cgroup.procs") || text[0] == '\0';
    return root || empty ? 0 : EBUSY;
}

/* May a child be made in @dir, get the controller, and receive this process? */
static bool usable(const char *dir, bool for_certain, int *ret_why)
{
    char procs[FILE_MAX];

    (void)snprintf(procs, sizeof(procs), "%s/cgroup.procs", dir);
    *ret_why = 0;
    if (access(dir, W_OK) < 0 || access(procs, W_OK) < 0)
        *ret_why = errno;
    else if (!lists_cpu(dir, "cgroup.controllers"))
        *ret_why = ENODEV;
    else if (!lists_cpu(dir, "cgroup.subtree_control"))
        *ret_why = hand_down(dir, for_certain);
    return *ret_why == 0;
}

static int no_group(int why, struct errctx *ec)
{
    if (why == ENODEV)
        return errctx_set(ec, ENOTSUP, "no cgroup of ours has the cpu controller");
    if (why == EBUSY)
        return errctx_set(ec, ENOTSUP, "our cgroup has processes of its own and cannot be divided");
    return errctx_set(ec, ENOTSUP, "no cgroup was handed over to us (%s)", strerror(why));
}

/* The folder below which a group can be made. */
static int find_parent(const char *kernel_root, bool for_certain, char dir[static CPU_GROUP_PATH],
                       struct errctx *ec)
{
    char own[CPU_GROUP_PATH];
    size_t top, root = strlen(kernel_root);
    int why = ENODEV, first = 0, n;

    if (!host_cgroup_dir(kernel_root, own, sizeof(own), &top))
        return errctx_set(ec, ENOTSUP, "there is no cgroup of version 2");
    n = snprintf(dir, CPU_GROUP_PATH, "%s%s", kernel_root, own);
    if (n < 0 || n >= CPU_GROUP_PATH)
        return errctx_set(ec, ENOTSUP, "the path of our cgroup is too long");
    while (!usable(dir, for_certain, &why)) {
        char *slash = strrchr(dir, '/');

        first = first == 0 ? why : first;
        if (strlen(dir) <= root + top || slash == NULL)
            return no_group(first, ec);
        *slash = '\0';
    }
    return 0;
}

int cpu_group_possible(const char *kernel_root, struct errctx *ec)
{
    char dir[CPU_GROUP_PATH];

    return find_parent(kernel_root, false, dir, ec);
}

int cpu_group_choose(const char *kernel_root, const char *name, pid_t pid,
                     struct cpu_group *ret_group, struct errctx *ec)
{
    struct cpu_group group = CPU_GROUP_NONE;
    char dir[CPU_GROUP_PATH];
    int r = find_parent(kernel_root, true, dir, ec), n;

    if (r < 0)
        return r;
    n = snprintf(group.dir, sizeof(group.dir), "%s/numavisor-%.64s.%d", dir, name, (int)pid);
    if (n < 0 || (size_t)n >= sizeof(group.dir))
        return errctx_set(ec, ENOTSUP, "the path of our cgroup is too long");
    *ret_group = group;
    return 0;
}

int cpu_group_set_weight(const char *dir, uint32_t weight)
{
    char text[16];

    (void)snprintf(text, sizeof(text), "%" PRIu32, weight);
    return write_file(dir, "cpu.weight", text);
}

static int set_max(const char *dir, uint32_t max_milli)
{
    uint64_t quota = (uint64_t)max_milli * PERIOD_US / 1000;
    char text[48];

    if (quota < QUOTA_LEAST_US)
        quota = QUOTA_LEAST_US;
    (void)snprintf(text, sizeof(text), "%" PRIu64 " %d", quota, PERIOD_US);
    return write_file(dir, "cpu.max", text);
}

/* Where this process is now, to be gone back to. */
static int open_home(void)
{
    char own[CPU_GROUP_PATH], path[FILE_MAX];
    size_t top;
    int fd;

    if (!host_cgroup_dir("", own, sizeof(own), &top))
        return -ENOENT;
    (void)snprintf(path, sizeof(path), "%s/cgroup.procs", own);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int open_read(const char *dir, const char *file)
{
    char path[FILE_MAX];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, file);
    return open(path, O_RDONLY | O_CLOEXEC);
}

int cpu_group_enter(struct cpu_group *g, uint32_t weight, uint32_t max_milli, struct errctx *ec)
{
    CLEANUP_CLOSE int home = open_home();
    int r = 0;

    if (mkdir(g->dir, 0755) < 0 && errno != EEXIST)
        return errctx_set_os(ec, errno, "make the cgroup %s", g->dir);
    if (weight > 0)
        r = cpu_group_set_weight(g->dir, weight);
    if (r == 0 && max_milli > 0)
        r = set_max(g->dir, max_milli);
    if (r == 0)
        r = write_file(g->dir, "cgroup.procs", "0");
    if (r < 0) {
        (void)rmdir(g->dir);
        return errctx_set_os(ec, -r, "use the cgroup %s", g->dir);
    }
    g->stat_fd = open_read(g->dir, "cpu.stat"); /* -1: no counters */
    g->weight_fd = open_read(g->dir, "cpu.weight");
    g->home_fd = home >= 0 ? take_fd(&home) : -1;
    g->max_milli = max_milli;
    g->entered = true;
    return 0;
}

bool cpu_group_leave(struct cpu_group *g)
{
    bool out = !g->entered || (g->home_fd >= 0 && write(g->home_fd, "0", 1) == 1);

    if (g->home_fd >= 0)
        (void)close(g->home_fd);
    if (g->stat_fd >= 0)
        (void)close(g->stat_fd);
    if (g->weight_fd >= 0)
        (void)close(g->weight_fd);
    g->home_fd = g->stat_fd = g->weight_fd = -1;
    g->entered = false;
    return out;
}

void cpu_group_remove(const char *dir)
{
    const struct timespec wait = { .tv_nsec = REMOVE_WAIT_NS };

    for (int i = 0; i < REMOVE_TRIES && rmdir(dir) < 0 && errno == EBUSY; i++)
        (void)nanosleep(&wait, NULL);
}

static bool read_text(int fd, char *buf, size_t size)
{
    const ssize_t len = fd >= 0 ? pread(fd, buf, size - 1, 0) : -1;

    if (len > 0)
        buf[len] = '\0';
    return len > 0;
}

json_t *cpu_group_status(const struct cpu_group *g)
{
    json_t *status = json_object();
    char text[32];

    if (!g->entered)
        return status;
    (void)json_object_set_new(status, "cgroup", json_string(g->dir));
    if (read_text(g->weight_fd, text, sizeof(text)))
        (void)json_object_set_new(status, "weight", json_integer(strtoll(text, NULL, 10)));
    if (g->max_milli > 0)
        (void)json_object_set_new(status, "max", json_real(g->max_milli / 1000.0));
    return status;
}

json_t *cpu_group_stat(const struct cpu_group *g)
{
    json_t *stat = json_object();
    char text[FILE_MAX], *save = NULL;

    if (!read_text(g->stat_fd, text, sizeof(text)))
        return stat;
    for (char *l = strtok_r(text, "\n", &save); l != NULL; l = strtok_r(NULL, "\n", &save)) {
        char *space = strchr(l, ' ');

        if (space == NULL)
            continue;
        *space = '\0';
        (void)json_object_set_new(stat, l, json_integer(strtoll(space + 1, NULL, 10)));
    }
    return stat;
}
