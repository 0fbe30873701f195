/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Free memory and huge pages per host node. hwloc knows totals only.
 *
 * A kernel without NUMA has no node folders; its one node is described by /proc/meminfo and
 * /sys/kernel/mm/hugepages.
 */
#include "vmm/topology/host_memory.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum { PATH_BYTES = 512 };

/* The value behind @name in a line of a meminfo file, in bytes; a node's lines begin with its
 * number. */
static bool meminfo_value(const char *line, const char *name, uint64_t *ret_bytes)
{
    const char *hit = strstr(line, name);
    uint64_t kib;

    if (hit == NULL || (hit != line && hit[-1] != ' ') ||
        sscanf(hit + strlen(name), " %" SCNu64, &kib) != 1)
        return false;
    *ret_bytes = kib * KIB;
    return true;
}

/* Free memory, and the files' pages that could be: shared memory is not among these. */
static bool read_free(const char *path, struct host_node *node)
{
    CLEANUP_FCLOSE FILE *f = fopen(path, "re");
    bool found = false;
    char line[256];
    uint64_t bytes;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (meminfo_value(line, "MemFree:", &node->mem_free_bytes))
            found = true;
        else if (meminfo_value(line, "Active(file):", &bytes) ||
                 meminfo_value(line, "Inactive(file):", &bytes))
            node->mem_cache_bytes += bytes;
    }
    return found;
}

void host_meminfo_parse(const char *text, uint64_t *ret_all_bytes, uint64_t *ret_free_bytes)
{
    *ret_all_bytes = *ret_free_bytes = 0;
    while (*text != '\0') {
        const size_t len = strcspn(text, "\n");
        char line[256];
        uint64_t bytes;

        (void)snprintf(line, sizeof(line), "%.*s", (int)MIN(len, sizeof(line) - 1), text);
        if (meminfo_value(line, "MemTotal:", &bytes))
            *ret_all_bytes = bytes;
        else if (meminfo_value(line, "MemFree:", &bytes) ||
                 meminfo_value(line, "Active(file):", &bytes) ||
                 meminfo_value(line, "Inactive(file):", &bytes))
            *ret_free_bytes += bytes;
        text += len + (text[len] == '\n');
    }
    *ret_free_bytes = MIN(*ret_free_bytes, *ret_all_bytes);
}

bool host_meminfo_tables(const char *text, uint64_t *ret_bytes)
{
    const char *hit = strstr(text, " SecPageTables:");

    return hit != NULL && meminfo_value(hit + 1, "SecPageTables:", ret_bytes);
}

static uint64_t read_number(const char *dir, const char *name)
{
    char path[PATH_BYTES * 2];
    CLEANUP_FCLOSE FILE *f = NULL;
    uint64_t v = 0;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "re");
    if (f == NULL || fscanf(f, "%" SCNu64, &v) != 1)
        return 0;
    return v;
}

/* The pools below @dir ("hugepages-2048kB"), smallest pages first. */
static void read_pools(const char *dir, struct host_node *node)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    uint32_t n = 0;

    if (d == NULL)
        return;
    while (n < HOST_MAX_PAGE_POOLS && (e = readdir(d)) != NULL) {
        char path[PATH_BYTES + 300];
        struct host_page_pool pool;
        uint64_t kib;
        uint32_t at = n;

        if (sscanf(e->d_name, "hugepages-%" SCNu64 "kB", &kib) != 1)
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        pool = (struct host_page_pool){ .page_bytes = kib * KIB,
                                        .total_pages = read_number(path, "nr_hugepages"),
                                        .free_pages = read_number(path, "free_hugepages") };
        for (; at > 0 && node->pool[at - 1].page_bytes > pool.page_bytes; at--)
            node->pool[at] = node->pool[at - 1];
        node->pool[at] = pool;
        n++;
    }
    (void)closedir(d);
    node->n_pools = n;
}

void host_memory_read(const char *kernel_root, struct host_topo *host)
{
    char path[PATH_BYTES];

    for (size_t i = 0; i < host->n_nodes; i++) {
        struct host_node *node = &host->nodes[i];

        (void)snprintf(path, sizeof(path), "%s/sys/devices/system/node/node%u/meminfo", kernel_root,
                       node->id.v);
        node->mem_cache_bytes = 0;
        if (!read_free(path, node) && host->n_nodes == 1) {
            (void)snprintf(path, sizeof(path), "%s/proc/meminfo", kernel_root);
            (void)read_free(path, node);
        }
        (void)snprintf(path, sizeof(path), "%s/sys/devices/system/node/node%u/hugepages",
                       kernel_root, node->id.v);
        read_pools(path, node);
        if (node->n_pools > 0 || host->n_nodes > 1)
            continue;
        (void)snprintf(path, sizeof(path), "%s/sys/kernel/mm/hugepages", kernel_root);
        read_pools(path, node);
    }
}
