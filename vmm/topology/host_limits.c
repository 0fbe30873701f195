/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup v2 from the process's own group up to the root, and pressure stall information
 * (Documentation/admin-guide/cgroup-v2.rst, Documentation/accounting/psi.rst).
 *
 * A limit holds for all groups below the one that sets it, so the smallest on the way up counts.
 * Sets are the other way round: the kernel's "effective" ones have what is above worked in.
 * Inside a container the mount may show a part of the tree only; what is above it, nobody here
 * can see.
 */
#include "vmm/topology/host_kernel.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/kernel_file.h"
#include "vmm/base/macros.h"

enum { MAX_DEPTH = 64, GROUP_PATH_MAX = 512 };

/* A group: where its files are, and what it is called. */
struct group {
    char dir[GROUP_PATH_MAX];   /* without the kernel root */
    size_t top;                 /* length of the mount point in dir */
    char name[GROUP_PATH_MAX];  /* "/a/b" */
};

/* mountinfo writes blanks and the like as \ooo. */
static void unescape(char *s)
{
    char *to = s;

    for (; *s != '\0'; to++) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
            s[3] >= '0' && s[3] <= '7') {
            *to = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 4;
        } else {
            *to = *s++;
        }
    }
    *to = '\0';
}

/* Where cgroup2 is mounted, and which group that mount shows at its top. */
static bool find_mount(const char *kernel_root, char root[static GROUP_PATH_MAX],
                       char point[static GROUP_PATH_MAX])
{
    char path[KERNEL_FILE_PATH_MAX];
    CLEANUP_FCLOSE FILE *f = NULL;
    CLEANUP_FREE char *line = NULL;
    size_t size = 0;

    if (!kernel_file_path(path, kernel_root, "/proc/self/mountinfo"))
        return false;
    f = fopen(path, "re");
    while (f != NULL && getline(&line, &size, f) > 0) {
        if (strstr(line, " - cgroup2 ") == NULL ||
            sscanf(line, "%*s %*s %*s %511s %511s", root, point) != 2)
            continue;
        unescape(root);
        unescape(point);
        return true;
    }
    return false;
}

/* The line of version 2 in /proc/self/cgroup: "0::/a/b". */
static bool find_own(const char *kernel_root, char name[static GROUP_PATH_MAX])
{
    char text[4096], *save = NULL;

    if (!kernel_file_text(text, sizeof(text), kernel_root, "/proc/self/cgroup"))
        return false;
    for (char *l = strtok_r(text, "\n", &save); l != NULL; l = strtok_r(NULL, "\n", &save))
        if (strncmp(l, "0::/", 4) == 0 && strlen(l + 3) < GROUP_PATH_MAX) {
            (void)snprintf(name, GROUP_PATH_MAX, "%s", l + 3);
            return true;
        }
    return false;
}

static bool find_group(const char *kernel_root, struct group *g)
{
    char root[GROUP_PATH_MAX], point[GROUP_PATH_MAX];
    const char *below;
    size_t n;
    int len;

    if (!find_own(kernel_root, g->name) || !find_mount(kernel_root, root, point))
        return false;
    /* "/.." is a group outside of our namespace: only the top of the mount is ours to see. */
    n = strcmp(root, "/") == 0 ? 0 : strlen(root);
    below = strncmp(g->name, root, n) == 0 && strstr(g->name, "/..") == NULL ? g->name + n : "";
    if (strcmp(below, "/") == 0)
        below = "";
    len = snprintf(g->dir, sizeof(g->dir), "%s%s", point, below);
    g->top = strlen(point);
    return len > 0 && (size_t)len < sizeof(g->dir);
}

bool host_cgroup_dir(const char *kernel_root, char *buf, size_t size, size_t *ret_top)
{
    struct group g;

    if (!find_group(kernel_root, &g) || strlen(g.dir) >= size)
        return false;
    (void)snprintf(buf, size, "%s", g.dir);
    *ret_top = g.top;
    return true;
}

/* Make @g its parent; false at the top. */
static bool go_up(struct group *g)
{
    char *slash = strrchr(g->dir, '/'), *name = strrchr(g->name, '/');

    if (strlen(g->dir) <= g->top || slash == NULL)
        return false;
    *slash = '\0';
    if (name != NULL)
        name[name == g->name ? 1 : 0] = '\0';
    return strlen(g->dir) >= g->top;
}

/* Whoever makes a group names it: nothing of it may steer a terminal or spoil JSON. */
static void set_name(char into[static HOST_CGROUP_NAME_MAX], const struct group *g)
{
    (void)snprintf(into, HOST_CGROUP_NAME_MAX, "%.*s", HOST_CGROUP_NAME_MAX - 1, g->name);
    for (char *p = into; *p != '\0'; p++)
        if (*p < 0x20 || *p > 0x7e)
            *p = '?';
}

static void read_memory(const char *root, const struct group *g, struct host_limits *l)
{
    uint64_t max, used = 0, left;

    if (!kernel_file_u64(&max, root, "%s/memory.max", g->dir)) /* "max": no limit */
        return;
    (void)kernel_file_u64(&used, root, "%s/memory.current", g->dir);
    left = used < max ? max - used : 0;
    if (!l->has_memory || max < l->memory_max_bytes) {
        l->memory_max_bytes = max;
        set_name(l->memory_cgroup, g);
    }
    if (!l->has_memory || left < l->memory_left_bytes) {
        l->memory_left_bytes = left;
        set_name(l->memory_left_cgroup, g);
    }
    l->has_memory = true;
}

/* A shared mapping is charged as reserved when it is made and as used page by page. */
static void read_pools(const char *root, const struct group *g, struct host_limits *l)
{
    static const char *const sizes[HOST_POOLS] = { [HOST_POOL_2M] = "2MB", [HOST_POOL_1G] = "1GB" };
    static const char *const kinds[] = { "", ".rsvd" };

    for (int i = 0; i < HOST_POOLS; i++)
        for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
            struct host_pool_limit *p = &l->pool[i];
            uint64_t max, used = 0, left;

            if (!kernel_file_u64(&max, root, "%s/hugetlb.%s%s.max", g->dir, sizes[i], kinds[k]))
                continue;
            (void)kernel_file_u64(&used, root, "%s/hugetlb.%s%s.current", g->dir, sizes[i],
                                  kinds[k]);
            left = used < max ? max - used : 0;
            if (p->has && left >= p->left_bytes)
                continue;
            p->has = true;
            p->left_bytes = left;
            set_name(p->cgroup, g);
        }
}

static void read_cpu(const char *root, const struct group *g, struct host_limits *l)
{
    uint64_t quota, period, milli;
    char text[64];

    if (!kernel_file_text(text, sizeof(text), root, "%s/cpu.max", g->dir) ||
        sscanf(text, "%" SCNu64 " %" SCNu64, &quota, &period) != 2 || period == 0 ||
        quota > UINT64_MAX / 1000)
        return;
    milli = quota * 1000 / period;
    if (l->has_cpu && milli >= l->cpu_milli)
        return;
    l->has_cpu = true;
    l->cpu_milli = milli;
    set_name(l->cpu_cgroup, g);
}

/* The innermost set is the one that holds; the outermost equal one is whose doing it is. */
static void read_set(const char *root, const struct group *g, const char *file, bool *has,
                     struct idset *set, char name[static HOST_CGROUP_NAME_MAX])
{
    struct idset here;

    if (!kernel_file_set(&here, root, "%s/%s", g->dir, file) || idset_empty(&here))
        return;
    if (*has && !idset_equal(set, &here))
        return;
    *has = true;
    *set = here;
    set_name(name, g);
}

static bool read_stall(const char *text, const char *word, struct host_stall *s)
{
    const char *at = strstr(text, word);
    unsigned a, b, c, d, e, f;

    if (at == NULL || sscanf(at + strlen(word), " avg10=%3u.%2u avg60=%3u.%2u avg300=%3u.%2u", &a,
                             &b, &c, &d, &e, &f) != 6)
        return false;
    *s = (struct host_stall){ a * 100 + b, c * 100 + d, e * 100 + f };
    return true;
}

void host_pressure_parse(const char *text, struct host_pressure *ret)
{
    ret->has = read_stall(text, "some", &ret->some);
    if (ret->has)
        (void)read_stall(text, "full", &ret->full); /* not there for the CPU before 5.13 */
}

static void read_pressure(const char *root, const char *path, struct host_pressure *p)
{
    char text[256];

    if (kernel_file_text(text, sizeof(text), root, "%s", path))
        host_pressure_parse(text, p);
}

static void read_groups(const char *root, struct host_topo *host)
{
    struct host_limits *l = &host->limits;
    char path[GROUP_PATH_MAX + 32];
    struct group g;

    if (!find_group(root, &g))
        return;
    set_name(l->cgroup, &g);
    if (strlen(g.dir) > g.top) { /* the root's is the machine's */
        (void)snprintf(path, sizeof(path), "%s/cpu.pressure", g.dir);
        read_pressure(root, path, &host->cgroup_cpu_pressure);
        (void)snprintf(path, sizeof(path), "%s/memory.pressure", g.dir);
        read_pressure(root, path, &host->cgroup_mem_pressure);
    }
    for (int depth = 0; depth < MAX_DEPTH; depth++) {
        read_memory(root, &g, l);
        read_pools(root, &g, l);
        read_cpu(root, &g, l);
        read_set(root, &g, "cpuset.cpus.effective", &l->has_cpus, &l->cpus, l->cpus_cgroup);
        read_set(root, &g, "cpuset.mems.effective", &l->has_mems, &l->mems, l->mems_cgroup);
        if (!go_up(&g))
            break;
    }
    /* All there is is no confinement. */
    l->has_cpus = l->has_cpus && !idset_subset(&host->cpus_online, &l->cpus);
    l->has_mems = l->has_mems && !idset_subset(&host->nodes_online, &l->mems);
}

/* Keep only the CPUs in @allowed. */
static void drop_cpus(struct host_topo *host, const struct idset *allowed)
{
    size_t kept = 0;

    for (size_t i = 0; i < host->n_cpus; i++) {
        if (idset_has(allowed, host->cpus[i].id.v))
            host->cpus[kept++] = host->cpus[i];
        else
            idset_del(&host->nodes[host->cpus[i].node].cpus, host->cpus[i].id.v);
    }
    host->n_cpus = kept;
    for (size_t i = 0; i < host->n_caches; i++)
        idset_and(&host->caches[i].cpus, allowed);
}

/* CPUs beside memory that we may not use have none of their own: nothing is planned on them as
 * long as there are others. */
static void drop_homeless(const char *root, struct host_topo *host)
{
    struct idset own = { 0 }, foreign;

    for (size_t i = 0; i < host->n_cpus; i++)
        idset_add(&own, host->cpus[i].id.v);
    IDSET_FOREACH(id, &host->nodes_online)
        if (!idset_has(&host->limits.mems, id) &&
            kernel_file_set(&foreign, root, "/sys/devices/system/node/node%u/cpulist", id))
            IDSET_FOREACH(cpu, &foreign)
                idset_del(&own, cpu);
    if (!idset_empty(&own))
        drop_cpus(host, &own);
}

/* Without @gone: its row, its column, and it; CPUs hold indices of nodes. CPUs that it still has
 * go to the nearest node that stays. */
static void drop_node(struct host_topo *host, size_t gone)
{
    const size_t n = host->n_nodes;
    size_t to = 0, heir = gone == 0 ? 1 : 0;

    for (size_t i = 0; i < n; i++)
        if (i != gone && host_topo_distance(host, gone, i) < host_topo_distance(host, gone, heir))
            heir = i;
    for (size_t i = 0; i < host->n_cpus; i++) {
        struct host_cpu *c = &host->cpus[i];

        if (c->node == gone) {
            c->node = (uint32_t)heir;
            idset_add(&host->nodes[heir].cpus, c->id.v);
        }
        c->node -= c->node > gone;
    }
    for (size_t i = 0; i < n * n; i++)
        if (i / n != gone && i % n != gone)
            host->distances[to++] = host->distances[i];
    memmove(&host->nodes[gone], &host->nodes[gone + 1], (n - gone - 1) * sizeof(host->nodes[0]));
    host->n_nodes--;
}

void host_limits_read(const char *kernel_root, struct host_topo *host)
{
    read_pressure(kernel_root, "/proc/pressure/cpu", &host->cpu_pressure);
    read_pressure(kernel_root, "/proc/pressure/memory", &host->mem_pressure);
    read_groups(kernel_root, host);
    if (host->limits.has_cpus)
        drop_cpus(host, &host->limits.cpus);
    if (!host->limits.has_mems)
        return;
    drop_homeless(kernel_root, host);
    for (size_t i = host->n_nodes; i-- > 0;)
        if (!idset_has(&host->limits.mems, host->nodes[i].id.v) && host->n_nodes > 1)
            drop_node(host, i);
}
