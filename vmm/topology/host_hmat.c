/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Latency, bandwidth and memory-side caches, which the kernel takes from ACPI's HMAT.
 *
 * access0 is the class of the best initiators of a kind whatever, and shows their values only:
 * how far a node is from the other ones, the kernel does not tell.
 */
#include "vmm/topology/host_kernel.h"

#include <dirent.h>
#include <stdio.h>

#include "vmm/base/checked.h"
#include "vmm/base/kernel_file.h"
#include "vmm/base/macros.h"

#define NODE "/sys/devices/system/node/node%u"
#define BEST NODE "/access0/initiators"

/* Latencies are nanoseconds, bandwidths MiB per second. */
static bool read_latency(const char *root, uint32_t node, const char *name, uint32_t *ret_ns)
{
    uint64_t v;

    if (!kernel_file_u64(&v, root, BEST "/%s_latency", node, name) || v > UINT32_MAX)
        return false;
    *ret_ns = (uint32_t)v;
    return true;
}

static bool read_bandwidth(const char *root, uint32_t node, const char *name, uint64_t *ret_rate)
{
    uint64_t v;

    return kernel_file_u64(&v, root, BEST "/%s_bandwidth", node, name) &&
           checked_mul(v, MIB, ret_rate);
}

static void read_initiators(const char *root, uint32_t node, struct idset *set)
{
    char path[KERNEL_FILE_PATH_MAX];
    const struct dirent *e;
    unsigned id;
    DIR *d;

    if (!kernel_file_path(path, root, BEST, node))
        return;
    d = opendir(path);
    if (d == NULL)
        return;
    while ((e = readdir(d)) != NULL)
        if (sscanf(e->d_name, "node%u", &id) == 1)
            idset_add(set, id);
    (void)closedir(d);
}

static void read_attributes(const char *root, struct host_node *node)
{
    struct host_hmat *h = &node->hmat;
    const uint32_t id = node->id.v;
    bool has = read_latency(root, id, "read", &h->read_latency_ns);

    has = read_latency(root, id, "write", &h->write_latency_ns) || has;
    has = read_bandwidth(root, id, "read", &h->read_bytes_per_s) || has;
    node->has_hmat = read_bandwidth(root, id, "write", &h->write_bytes_per_s) || has;
    if (node->has_hmat)
        read_initiators(root, id, &h->initiators);
}

/* Levels are numbered from the memory's side, from 1. */
static void read_caches(const char *root, struct host_node *node)
{
    for (uint32_t level = 1; level <= HOST_MAX_MEM_CACHES; level++) {
        uint64_t size, line = 0, indexing = 0, policy = 0;
        const uint32_t id = node->id.v;

        if (!kernel_file_u64(&size, root, NODE "/memory_side_cache/index%u/size", id, level))
            continue;
        (void)kernel_file_u64(&line, root, NODE "/memory_side_cache/index%u/line_size", id, level);
        (void)kernel_file_u64(&indexing, root, NODE "/memory_side_cache/index%u/indexing", id,
                              level);
        (void)kernel_file_u64(&policy, root, NODE "/memory_side_cache/index%u/write_policy", id,
                              level);
        node->mem_cache[node->n_mem_caches++] = (struct host_mem_cache){
            .level = level,
            .size_bytes = size,
            .line_bytes = line <= UINT32_MAX ? (uint32_t)line : 0,
            .direct_mapped = indexing == 0,
            .write_through = policy != 0,
        };
    }
}

void host_hmat_read(const char *kernel_root, struct host_topo *host)
{
    for (size_t i = 0; i < host->n_nodes; i++) {
        read_attributes(kernel_root, &host->nodes[i]);
        read_caches(kernel_root, &host->nodes[i]);
    }
}
