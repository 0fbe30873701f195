/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's own words are passed on wherever it has some (lists, distances), so that what reads
 * them decides; only sums and sorted lists are made here. Memory is what zones have present: what
 * the firmware gave, before the kernel took its own part.
 */
#include "vmm/lab/parts/facts.h"

#include <ctype.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_LEN = 256, TEXT_LEN = 16384, ID_MAX = 8192, PCI_MAX = 1024 };

/* The first line of a file, without blanks at its end; "-" when it is empty. NULL: there is none. */
static char *line_of(char *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static char *line_of(char *text, const char *fmt, ...)
{
    char path[PATH_LEN];
    va_list ap;
    FILE *f;
    size_t len;

    va_start(ap, fmt);
    (void)vsnprintf(path, sizeof(path), fmt, ap);
    va_end(ap);
    f = fopen(path, "re");
    if (f == NULL)
        return NULL;
    if (fgets(text, TEXT_LEN, f) == NULL)
        text[0] = '\0';
    (void)fclose(f);
    len = strlen(text);
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        text[--len] = '\0';
    if (len == 0)
        (void)snprintf(text, TEXT_LEN, "-");
    return text;
}

/* The next number of a list such as "0-3,8"; -1 at its end. *at and *last start at NULL and -1. */
static int next_id(const char *list, const char **at, int *id, int *last)
{
    char *end;

    if (*at == NULL)
        *at = list;
    if (*id >= 0 && *id < *last)
        return ++*id;
    if (!isdigit((unsigned char)**at))
        return *id = -1;
    *id = (int)strtol(*at, &end, 10);
    *last = *id;
    if (*end == '-')
        *last = (int)strtol(end + 1, &end, 10);
    *at = end;
    if (**at == ',')
        ++*at;
    return *id < ID_MAX ? *id : (*id = -1);
}

/* --- nodes ------------------------------------------------------------------------------------ */

static void write_present(const char *proc, FILE *out)
{
    char path[PATH_LEN], line[256];
    const unsigned long long page_kib = (unsigned long long)sysconf(_SC_PAGESIZE) / 1024;
    uint64_t pages = 0;
    int node = -1, told = -1;
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/zoneinfo", proc);
    f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        unsigned long long present;

        if (sscanf(line, "Node %d,", &node) == 1 && node != told) {
            if (told >= 0)
                (void)fprintf(out, "node%d.memory %llu\n", told, (unsigned long long)pages * page_kib);
            told = node;
            pages = 0;
        } else if (sscanf(line, " present %llu", &present) == 1) {
            pages += present;
        }
    }
    if (told >= 0)
        (void)fprintf(out, "node%d.memory %llu\n", told, (unsigned long long)pages * page_kib);
    if (f != NULL)
        (void)fclose(f);
}

static void write_access(const char *sys, int node, FILE *out)
{
    static const char *const values[] = { "read_latency", "write_latency", "read_bandwidth",
                                          "write_bandwidth" };
    char text[TEXT_LEN];

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        if (line_of(text, "%s/devices/system/node/node%d/access0/initiators/%s", sys, node,
                    values[i]) != NULL)
            (void)fprintf(out, "node%d.%s %s\n", node, values[i], text);
}

static void write_mem_caches(const char *sys, int node, FILE *out)
{
    char text[4][TEXT_LEN];

    for (int k = 1; k <= 8; k++) {
        static const char *const files[] = { "size", "line_size", "indexing", "write_policy" };
        int n = 0;

        while (n < 4 && line_of(text[n], "%s/devices/system/node/node%d/memory_side_cache/index%d/%s",
                                sys, node, k, files[n]) != NULL)
            n++;
        if (n == 4)
            (void)fprintf(out, "node%d.memory_cache%d size=%s line=%s indexing=%s write=%s\n", node,
                          k, text[0], text[1], text[2], text[3]);
    }
}

static void write_nodes(const char *sys, const char *proc, FILE *out)
{
    char nodes[TEXT_LEN], text[TEXT_LEN];
    const char *at = NULL;
    int id = -1, last = -1;

    if (line_of(nodes, "%s/devices/system/node/online", sys) == NULL)
        return;
    (void)fprintf(out, "nodes %s\n", nodes);
    if (line_of(text, "%s/devices/system/node/has_generic_initiator", sys) != NULL &&
        strcmp(text, "-") != 0)
        (void)fprintf(out, "generic_initiators %s\n", text);
    while (next_id(nodes, &at, &id, &last) >= 0) {
        if (line_of(text, "%s/devices/system/node/node%d/cpulist", sys, id) != NULL)
            (void)fprintf(out, "node%d.cpus %s\n", id, text);
        if (line_of(text, "%s/devices/system/node/node%d/distance", sys, id) != NULL)
            (void)fprintf(out, "node%d.distance %s\n", id, text);
        write_access(sys, id, out);
        write_mem_caches(sys, id, out);
    }
    write_present(proc, out);
}

/* --- CPUs ------------------------------------------------------------------------------------- */

static void write_cache(const char *sys, int cpu, int index, FILE *out, char *names, size_t max)
{
    static const char *const files[] = { "size", "coherency_line_size", "ways_of_associativity",
                                         "shared_cpu_list" };
    char level[TEXT_LEN], type[TEXT_LEN], text[4][TEXT_LEN], name[16];
    const size_t len = strlen(names);

    if (line_of(level, "%s/devices/system/cpu/cpu%d/cache/index%d/level", sys, cpu, index) == NULL ||
        line_of(type, "%s/devices/system/cpu/cpu%d/cache/index%d/type", sys, cpu, index) == NULL)
        return;
    (void)snprintf(name, sizeof(name), "l%.3s%s", level,
                   strcmp(type, "Data") == 0          ? "d"
                   : strcmp(type, "Instruction") == 0 ? "i"
                                                      : "");
    for (int i = 0; i < 4; i++)
        if (line_of(text[i], "%s/devices/system/cpu/cpu%d/cache/index%d/%s", sys, cpu, index,
                    files[i]) == NULL)
            return;
    (void)snprintf(names + len, max - len, "%s%s", len > 0 ? "," : "", name);
    (void)fprintf(out, "cpu%d.%s size=%s line=%s ways=%s cpus=%s\n", cpu, name, text[0], text[1],
                  text[2], text[3]);
}

static void write_cpus(const char *sys, FILE *out)
{
    static const struct {
        const char *fact, *file;
    } groups[] = {
        { "package", "package_cpus_list" },
        { "die", "die_cpus_list" },
        { "cluster", "cluster_cpus_list" },
        { "core", "core_cpus_list" },
    };
    char cpus[TEXT_LEN], text[TEXT_LEN];
    const char *at = NULL;
    int id = -1, last = -1;

    if (line_of(cpus, "%s/devices/system/cpu/online", sys) == NULL)
        return;
    (void)fprintf(out, "cpus %s\n", cpus);
    while (next_id(cpus, &at, &id, &last) >= 0) {
        char names[64] = "";

        for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
            if (line_of(text, "%s/devices/system/cpu/cpu%d/topology/%s", sys, id,
                        groups[i].file) != NULL)
                (void)fprintf(out, "cpu%d.%s %s\n", id, groups[i].fact, text);
        for (int index = 0; index < 10; index++)
            write_cache(sys, id, index, out, names, sizeof(names));
        (void)fprintf(out, "cpu%d.caches %s\n", id, names[0] != '\0' ? names : "-");
    }
}

/* --- devices ---------------------------------------------------------------------------------- */

struct function {
    int device, node;
};

static int by_device(const void *a, const void *b)
{
    const struct function *x = a, *y = b;

    return x->device != y->device ? (x->device > y->device) - (x->device < y->device)
                                  : (x->node > y->node) - (x->node < y->node);
}

static size_t find_virtio(const char *sys, struct function *list)
{
    char path[PATH_LEN], text[TEXT_LEN];
    struct dirent *entry;
    size_t n = 0;
    DIR *dir;

    (void)snprintf(path, sizeof(path), "%s/bus/pci/devices", sys);
    dir = opendir(path);
    while (dir != NULL && n < PCI_MAX && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.' ||
            line_of(text, "%s/%.40s/vendor", path, entry->d_name) == NULL ||
            strcmp(text, "0x1af4") != 0 ||
            line_of(text, "%s/%.40s/device", path, entry->d_name) == NULL)
            continue;
        list[n].device = (int)strtol(text, NULL, 16);
        if (line_of(text, "%s/%.40s/numa_node", path, entry->d_name) == NULL)
            continue;
        list[n++].node = atoi(text);
    }
    if (dir != NULL)
        (void)closedir(dir);
    return n;
}

/* Where the virtio devices of one kind are: a node for each, sorted. */
static void write_devices(const char *sys, FILE *out)
{
    static struct function list[PCI_MAX];
    const size_t n = find_virtio(sys, list);

    qsort(list, n, sizeof(list[0]), by_device);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || list[i].device != list[i - 1].device)
            (void)fprintf(out, "%spci.%04x ", i > 0 ? "\n" : "", (unsigned)list[i].device);
        else
            (void)fputc(',', out);
        (void)fprintf(out, "%d", list[i].node);
    }
    if (n > 0)
        (void)fputc('\n', out);
}

void facts_write(const char *sys, const char *proc, FILE *out)
{
    write_nodes(sys, proc, out);
    write_cpus(sys, out);
    write_devices(sys, out);
}

void facts_write_places(const char *sys, const char *proc, FILE *out)
{
    char cpus[TEXT_LEN];

    write_nodes(sys, proc, out);
    if (line_of(cpus, "%s/devices/system/cpu/online", sys) != NULL)
        (void)fprintf(out, "cpus %s\n", cpus);
}
