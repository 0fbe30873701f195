/* SPDX-License-Identifier: Apache-2.0 */
/* The sections of a host's table that come from the kernel's files. */
#include "vmm/topology/host_show.h"

#include <inttypes.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/topology/show_text.h"

/* "80 ns, 12 GiB/s", with a dash for what is not said. */
static const char *speed(uint32_t ns, uint64_t rate, char *buf, size_t size)
{
    char latency[32] = "-", bytes[32];

    if (ns > 0)
        (void)snprintf(latency, sizeof(latency), "%u ns", ns);
    (void)snprintf(buf, size, "%s, %s%s", latency, show_size(rate, bytes, sizeof(bytes)),
                   rate > 0 ? "/s" : "");
    return buf;
}

static void print_hmat(const struct host_topo *host, FILE *out, bool colour)
{
    char rd[64], wr[64], list[SHOW_LIST_BYTES];
    bool headed = false;

    for (size_t i = 0; i < host->n_nodes; i++) {
        const struct host_node *n = &host->nodes[i];
        const struct host_hmat *h = &n->hmat;

        if (!n->has_hmat)
            continue;
        if (!headed)
            show_heading(out, colour, "Memory as its best nodes see it, by the firmware (HMAT)");
        headed = true;
        (void)fprintf(out, "  node %u: read %s; write %s; from node %s\n", n->id.v,
                      speed(h->read_latency_ns, h->read_bytes_per_s, rd, sizeof(rd)),
                      speed(h->write_latency_ns, h->write_bytes_per_s, wr, sizeof(wr)),
                      show_set(&h->initiators, "-", list, sizeof(list)));
    }
}

/* CPUs that do the same, on one line. */
static void print_lowered(const struct host_topo *host, FILE *out)
{
    struct idset done = { 0 };
    char list[SHOW_LIST_BYTES];

    for (size_t i = 0; i < host->n_cpus; i++) {
        const struct host_cpu *c = &host->cpus[i];
        struct idset same = { 0 };

        if (c->capacity == 0 || c->capacity == c->capacity_full || idset_has(&done, c->id.v))
            continue;
        for (size_t k = i; k < host->n_cpus; k++)
            if (host->cpus[k].capacity == c->capacity &&
                host->cpus[k].capacity_full == c->capacity_full)
                idset_add(&same, host->cpus[k].id.v);
        idset_or(&done, &same);
        (void)fprintf(out, "  clock lowered to %u %% on CPUs %s (heat, power limit or setting)\n",
                      c->capacity * 100 / MAX(c->capacity_full, 1u),
                      idset_format(&same, list, sizeof(list)));
    }
}

static void print_cpus(const struct host_topo *host, FILE *out, bool colour)
{
    char list[SHOW_LIST_BYTES];
    struct idset hot = { 0 }, small = { 0 };

    if (idset_empty(&host->cpus_online))
        return;
    show_heading(out, colour, "CPUs");
    (void)fprintf(out, "  online %s", idset_format(&host->cpus_online, list, sizeof(list)));
    if (!idset_empty(&host->cpus_offline))
        (void)fprintf(out, ", offline %s", idset_format(&host->cpus_offline, list, sizeof(list)));
    (void)fprintf(out, "%s\n", !host->has_smt     ? ""
                               : host->smt_active ? ", SMT active"
                                                  : ", SMT off or not there");
    for (size_t i = 0; i < host->n_cpus; i++) {
        if (host->cpus[i].has_throttled && host->cpus[i].throttled > 0)
            idset_add(&hot, host->cpus[i].id.v);
        if (host->cpus[i].capacity_full > 0 && host->cpus[i].capacity_full < HOST_CAPACITY_FULL)
            idset_add(&small, host->cpus[i].id.v);
    }
    if (!idset_empty(&small))
        (void)fprintf(out, "  weaker than the strongest by make: %s\n",
                      idset_format(&small, list, sizeof(list)));
    print_lowered(host, out);
    if (!idset_empty(&hot))
        (void)fprintf(out, "  slowed down by heat at some time since the boot: %s\n",
                      idset_format(&hot, list, sizeof(list)));
}

static void print_stall(FILE *out, const char *whose, const struct host_pressure *p)
{
    const struct host_stall *s = &p->some, *f = &p->full;

    if (p->has)
        (void)fprintf(out, "  %-16s some %u.%02u %u.%02u %u.%02u   full %u.%02u %u.%02u %u.%02u\n",
                      whose, s->avg10 / 100, s->avg10 % 100, s->avg60 / 100, s->avg60 % 100,
                      s->avg300 / 100, s->avg300 % 100, f->avg10 / 100, f->avg10 % 100,
                      f->avg60 / 100, f->avg60 % 100, f->avg300 / 100, f->avg300 % 100);
}

static void print_pressure(const struct host_topo *host, FILE *out, bool colour)
{
    if (!host->cpu_pressure.has && !host->mem_pressure.has && !host->cgroup_cpu_pressure.has &&
        !host->cgroup_mem_pressure.has)
        return;
    show_heading(out, colour,
                 "Pressure: per cent of the last 10, 60, 300 s in which some or all tasks waited");
    print_stall(out, "CPUs", &host->cpu_pressure);
    print_stall(out, "memory", &host->mem_pressure);
    print_stall(out, "CPUs, cgroup", &host->cgroup_cpu_pressure);
    print_stall(out, "memory, cgroup", &host->cgroup_mem_pressure);
}

static void print_limits(const struct host_topo *host, FILE *out, bool colour)
{
    const struct host_limits *l = &host->limits;
    char list[SHOW_LIST_BYTES], size[32];

    if (!l->has_memory && !l->has_cpu && !l->has_cpus && !l->has_mems &&
        !l->pool[HOST_POOL_2M].has && !l->pool[HOST_POOL_1G].has)
        return;
    show_heading(out, colour, "This process is confined to");
    if (l->has_cpus)
        (void)fprintf(out, "  CPUs %s, by cgroup %s\n", idset_format(&l->cpus, list, sizeof(list)),
                      l->cpus_cgroup);
    if (l->has_mems)
        (void)fprintf(out, "  nodes %s, by cgroup %s\n", idset_format(&l->mems, list, sizeof(list)),
                      l->mems_cgroup);
    if (l->has_cpu)
        (void)fprintf(out, "  the time of %" PRIu64 ".%02" PRIu64 " CPUs, by cgroup %s\n",
                      l->cpu_milli / 1000, l->cpu_milli % 1000 / 10, l->cpu_cgroup);
    for (int i = 0; i < HOST_POOLS; i++)
        if (l->pool[i].has)
            (void)fprintf(out, "  %s more in pages of %s, by cgroup %s\n",
                          l->pool[i].left_bytes > 0
                              ? show_size(l->pool[i].left_bytes, size, sizeof(size))
                              : "nothing",
                          i == HOST_POOL_1G ? "1 GiB" : "2 MiB", l->pool[i].cgroup);
    if (!l->has_memory)
        return;
    (void)fprintf(out, "  %s of memory, by cgroup %s\n",
                  show_size(l->memory_max_bytes, size, sizeof(size)), l->memory_cgroup);
    (void)fprintf(out, "  %s of it not in use yet, by cgroup %s\n",
                  show_size(l->memory_left_bytes, size, sizeof(size)), l->memory_left_cgroup);
}

void host_table_kernel(const struct host_topo *host, FILE *out, bool colour)
{
    print_limits(host, out, colour);
    print_hmat(host, out, colour);
    print_cpus(host, out, colour);
    print_pressure(host, out, colour);
}

void host_table_llcs(const struct host_topo *host, FILE *out)
{
    char list[SHOW_LIST_BYTES];
    uint32_t n = 0;

    for (size_t i = 0; i < host->n_cpus; i++)
        n = MAX(n, host->cpus[i].llc + 1);
    if (host->n_caches == 0 || n < 2)
        return;
    (void)fputs("  CPUs that share a last-level cache:\n", out);
    for (uint32_t g = 0; g < n && g < SHOW_MATRIX_MAX; g++) {
        struct idset cpus = { 0 };

        for (size_t i = 0; i < host->n_cpus; i++)
            if (host->cpus[i].llc == g)
                idset_add(&cpus, host->cpus[i].id.v);
        if (!idset_empty(&cpus))
            (void)fprintf(out, "    %s\n", idset_format(&cpus, list, sizeof(list)));
    }
    if (n > SHOW_MATRIX_MAX)
        (void)fprintf(out, "    and %u more groups (--json lists all)\n", n - SHOW_MATRIX_MAX);
}
