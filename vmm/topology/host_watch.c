/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See host_watch.h. The kernel tells the time that a CPU was used in two places, and each one falls
 * short at times: /proc/stat samples it at ticks, of which a virtual machine may miss many, and
 * /proc/schedstat adds it when a task leaves its CPU, which one that runs alone does not. So the
 * larger of the two counts, of each CPU, and never more than the time that has passed. Waiting is
 * that of /proc/schedstat, which counts it when the task gets its CPU (fields 7 and 8 of a "cpu"
 * line, Documentation/scheduler/sched-stats.rst).
 */
#include "vmm/topology/host_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/kernel_file.h"
#include "vmm/base/macros.h"
#include "vmm/topology/host_kernel.h"
#include "vmm/topology/host_memory.h"

enum {
    CPU_MILLI = 1000,
    CLOCKS_MOST = 128, /* CPUs whose clock is watched, over all nodes; but one of each */
    CLOCKS_OF_NODE = 8,
    CHUNK_BYTES = 16384,
    NOWHERE = UINT16_MAX,
};

#define CPU "/sys/devices/system/cpu/cpu%u"

/* A CPU's clock: what it may be, of what it could be. */
struct clock {
    uint32_t node;
    uint64_t most_khz;
    int allowed_fd, bios_fd;
};

struct host_watch {
    size_t n_nodes;
    uint16_t node_of[IDSET_MAX];  /* by CPU: index of the host node, or NOWHERE */
    uint16_t full_milli[IDSET_MAX];
    struct idset cpus;
    int *meminfo_fds;
    int stat_fd, schedstat_fd, online_fd, cpu_pressure_fd, memory_pressure_fd;
    long ticks; /* a second, in /proc/stat */
    struct clock *clocks;
    size_t n_clocks;
    bool any;         /* read once */
    uint64_t last_ns; /* when */
    struct used {
        uint64_t ticks_ns, left_ns; /* by /proc/stat, by /proc/schedstat; as of the last reading */
        uint64_t more_ns;           /* since the one before, the larger */
    } used[IDSET_MAX];
    uint64_t *busy_ns; /* by host node */
    char chunk[CHUNK_BYTES];
    char text[8192];
};

/* @fmt: may have one %u, for @id. */
static int open_below(const char *root, const char *fmt, unsigned id)
{
    char path[KERNEL_FILE_PATH_MAX];

    if (!kernel_file_path(path, root, fmt, id))
        return -1;
    return open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

/* The text of an open file as it is now, without the last new line; false when there is none. */
static bool text_of(int fd, char *buf, size_t size)
{
    const ssize_t n = fd >= 0 ? pread(fd, buf, size - 1, 0) : -1;

    if (n < 0)
        return false;
    buf[n > 0 && buf[n - 1] == '\n' ? n - 1 : n] = '\0';
    return true;
}

static bool number_of(int fd, uint64_t *ret)
{
    char text[32];

    return text_of(fd, text, sizeof(text)) && sscanf(text, "%" SCNu64, ret) == 1;
}

/* --- opening ---------------------------------------------------------------------------------- */

static void open_clocks(struct host_watch *w, const char *root, const struct topo_plan_host *host,
                        uint32_t node, size_t most)
{
    size_t n = 0;

    IDSET_FOREACH(cpu, &host->cpus) {
        struct clock c = { .node = node };

        if (n == most)
            break;
        if (!kernel_file_u64(&c.most_khz, root, CPU "/cpufreq/cpuinfo_max_freq", cpu) ||
            c.most_khz == 0 || c.most_khz > UINT32_MAX)
            break; /* none of them has one */
        c.allowed_fd = open_below(root, CPU "/cpufreq/scaling_max_freq", cpu);
        c.bios_fd = open_below(root, CPU "/cpufreq/bios_limit", cpu);
        w->clocks[w->n_clocks++] = c;
        n++;
    }
}

static void know_cpus(struct host_watch *w, const char *root, const struct topo_plan_host *host,
                      uint16_t node)
{
    bool differ = true; /* most machines have no such file: one that lacks it stands for its node */

    IDSET_FOREACH(cpu, &host->cpus) {
        uint64_t full = HOST_CAPACITY_FULL;

        differ = differ && kernel_file_u64(&full, root, CPU "/cpu_capacity", cpu);
        if (!differ || full == 0 || full > HOST_CAPACITY_FULL)
            full = HOST_CAPACITY_FULL;
        w->node_of[cpu] = node;
        w->full_milli[cpu] = (uint16_t)(full * CPU_MILLI / HOST_CAPACITY_FULL);
        idset_add(&w->cpus, cpu);
    }
}

static void free_watch(struct host_watch *w)
{
    if (w == NULL)
        return;
    free(w->meminfo_fds);
    free(w->clocks);
    free(w->busy_ns);
    free(w);
}

int host_watch_new(const char *kernel_root, const struct topo_plan_host *hosts, size_t n,
                   struct host_watch **ret_watch, struct errctx *ec)
{
    const size_t each = MIN(MAX((size_t)CLOCKS_MOST / MAX(n, (size_t)1), (size_t)1),
                            (size_t)CLOCKS_OF_NODE);
    struct host_watch *w = calloc(1, sizeof(*w));

    if (w != NULL) {
        w->meminfo_fds = malloc((n + 1) * sizeof(w->meminfo_fds[0]));
        w->clocks = calloc(n * each + 1, sizeof(w->clocks[0]));
        w->busy_ns = calloc(n + 1, sizeof(w->busy_ns[0]));
    }
    if (w == NULL || w->meminfo_fds == NULL || w->clocks == NULL || w->busy_ns == NULL) {
        free_watch(w);
        return errctx_set(ec, ENOMEM, "no memory to watch the host");
    }
    w->n_nodes = n;
    w->ticks = sysconf(_SC_CLK_TCK);
    memset(w->node_of, 0xff, sizeof(w->node_of));
    for (size_t i = 0; i < n; i++) {
        w->meminfo_fds[i] =
            open_below(kernel_root, "/sys/devices/system/node/node%u/meminfo", hosts[i].id.v);
        know_cpus(w, kernel_root, &hosts[i], (uint16_t)i);
        open_clocks(w, kernel_root, &hosts[i], (uint32_t)i, each);
    }
    w->stat_fd = open_below(kernel_root, "/proc/stat", 0);
    w->schedstat_fd = open_below(kernel_root, "/proc/schedstat", 0);
    w->online_fd = open_below(kernel_root, "/sys/devices/system/cpu/online", 0);
    w->cpu_pressure_fd = open_below(kernel_root, "/proc/pressure/cpu", 0);
    w->memory_pressure_fd = open_below(kernel_root, "/proc/pressure/memory", 0);
    *ret_watch = w;
    return 0;
}

static void close_one(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

void host_watch_free(struct host_watch *w)
{
    if (w == NULL)
        return;
    for (size_t i = 0; i < w->n_nodes; i++)
        close_one(w->meminfo_fds[i]);
    for (size_t i = 0; i < w->n_clocks; i++) {
        close_one(w->clocks[i].allowed_fd);
        close_one(w->clocks[i].bios_fd);
    }
    close_one(w->stat_fd);
    close_one(w->schedstat_fd);
    close_one(w->online_fd);
    close_one(w->cpu_pressure_fd);
    close_one(w->memory_pressure_fd);
    free_watch(w);
}

/* --- reading ---------------------------------------------------------------------------------- */

static bool is_online(const struct host_reading *r, uint32_t cpu)
{
    return idset_empty(&r->online) || idset_has(&r->online, cpu);
}

static void read_capacity(struct host_watch *w, struct host_reading *r)
{
    IDSET_FOREACH(cpu, &w->cpus)
        if (is_online(r, cpu))
            r->nodes[w->node_of[cpu]].capacity_milli += w->full_milli[cpu];
    for (size_t i = 0; i < w->n_clocks;) {
        const uint32_t node = w->clocks[i].node;
        uint64_t most = 0, now = 0;

        for (; i < w->n_clocks && w->clocks[i].node == node; i++) {
            const struct clock *c = &w->clocks[i];
            uint64_t allowed, bios;

            if (!number_of(c->allowed_fd, &allowed))
                continue; /* offline */
            if (number_of(c->bios_fd, &bios))
                allowed = MIN(allowed, bios);
            most += c->most_khz;
            now += MIN(allowed, c->most_khz);
        }
        if (most > 0)
            r->nodes[node].capacity_milli =
                (uint32_t)(r->nodes[node].capacity_milli * now / most);
    }
}

/* Call @each for every line; what of a line does not fit is dropped. */
static void each_line(struct host_watch *w, int fd, struct host_reading *r,
                      void (*each)(struct host_watch *w, const char *line, struct host_reading *r))
{
    size_t have = 0;
    off_t off = 0;
    ssize_t n;

    while (fd >= 0 && (n = pread(fd, w->chunk + have, sizeof(w->chunk) - 1 - have, off)) > 0) {
        char *line = w->chunk, *end;

        off += n;
        have += (size_t)n;
        w->chunk[have] = '\0';
        while ((end = memchr(line, '\n', have - (size_t)(line - w->chunk))) != NULL) {
            *end = '\0';
            each(w, line, r);
            line = end + 1;
        }
        have -= (size_t)(line - w->chunk);
        memmove(w->chunk, line, have);
        if (have == sizeof(w->chunk) - 1)
            have = 0; /* a line without end: its head was no "cpu" line's, its tail is none */
    }
}

/* The number behind "cpu"; false for the line of all CPUs together. */
static bool cpu_of_line(const struct host_watch *w, const char *line, uint32_t *ret_cpu)
{
    return strncmp(line, "cpu", 3) == 0 && line[3] >= '0' && line[3] <= '9' &&
           sscanf(line + 3, "%4u", ret_cpu) == 1 && *ret_cpu < IDSET_MAX &&
           w->node_of[*ret_cpu] != NOWHERE;
}

/* A counter of CPU time went on to @now_ns. */
static void count_used(struct used *u, uint64_t *last_ns, uint64_t now_ns)
{
    if (now_ns > *last_ns)
        u->more_ns = MAX(u->more_ns, now_ns - *last_ns);
    *last_ns = now_ns;
}

/* "cpu3 user nice system idle iowait irq softirq steal ..." in ticks; guests are part of user. */
static void used_line(struct host_watch *w, const char *line, struct host_reading *r)
{
    uint64_t user, nice, sys, irq, soft;
    uint32_t cpu;

    (void)r;
    if (!cpu_of_line(w, line, &cpu) || w->ticks <= 0 ||
        sscanf(line, "%*s %" SCNu64 " %" SCNu64 " %" SCNu64 " %*u %*u %" SCNu64 " %" SCNu64, &user,
               &nice, &sys, &irq, &soft) != 5)
        return;
    count_used(&w->used[cpu], &w->used[cpu].ticks_ns,
               (user + nice + sys + irq + soft) * (UINT64_C(1000000000) / (uint64_t)w->ticks));
}

static void wait_line(struct host_watch *w, const char *line, struct host_reading *r)
{
    uint64_t used, waited;
    uint32_t cpu;

    if (!cpu_of_line(w, line, &cpu) ||
        sscanf(line, "%*s %*u %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64, &used, &waited) != 2)
        return;
    count_used(&w->used[cpu], &w->used[cpu].left_ns, used);
    r->nodes[w->node_of[cpu]].wait_ns += waited;
}

static void read_loads(struct host_watch *w, uint64_t now_ns, struct host_reading *r)
{
    const uint64_t passed_ns = w->any ? now_ns - w->last_ns : 0;

    each_line(w, w->stat_fd, r, used_line);
    each_line(w, w->schedstat_fd, r, wait_line);
    IDSET_FOREACH(cpu, &w->cpus) {
        w->busy_ns[w->node_of[cpu]] += MIN(w->used[cpu].more_ns, passed_ns);
        w->used[cpu].more_ns = 0;
    }
    for (size_t i = 0; i < w->n_nodes; i++)
        r->nodes[i].busy_ns = w->busy_ns[i];
    w->any = true;
    w->last_ns = now_ns;
}

static void read_memory(struct host_watch *w, struct host_reading *r)
{
    for (size_t i = 0; i < w->n_nodes; i++)
        if (text_of(w->meminfo_fds[i], w->text, sizeof(w->text)))
            host_meminfo_parse(w->text, &r->nodes[i].mem_bytes, &r->nodes[i].free_bytes);
}

int host_watch_read(struct host_watch *w, uint64_t now_ns, struct host_reading *ret,
                    struct errctx *ec)
{
    struct host_reading r = { .n_nodes = w->n_nodes,
                              .nodes = calloc(w->n_nodes + 1, sizeof(r.nodes[0])) };

    if (r.nodes == NULL)
        return errctx_set(ec, ENOMEM, "no memory to look at the host");
    if (text_of(w->online_fd, w->text, sizeof(w->text)))
        (void)idset_parse(w->text, &r.online, NULL);
    read_capacity(w, &r);
    read_loads(w, now_ns, &r);
    read_memory(w, &r);
    if (text_of(w->cpu_pressure_fd, w->text, sizeof(w->text)))
        host_pressure_parse(w->text, &r.cpu);
    if (text_of(w->memory_pressure_fd, w->text, sizeof(w->text)))
        host_pressure_parse(w->text, &r.memory);
    *ret = r;
    return 0;
}

void host_reading_fini(struct host_reading *r)
{
    free(r->nodes);
    *r = (struct host_reading){ 0 };
}
