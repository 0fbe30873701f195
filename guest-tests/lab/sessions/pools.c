/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pools [--ask] - a pool of memory for each node, as servers make them at their start.
 *
 * The nodes are taken for 0 to the highest one, and each for one with memory, which holds on most
 * machines. With --ask the program reads which nodes have memory, and a node without gets its pool
 * from the next that has. Status 0: all pools are made and written.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_NODES = 1024, POOL_BYTES = 4 << 20, WORD_BITS = 8 * sizeof(unsigned long) };

/* Marks the nodes of a list such as "0,2-3". Returns the highest one, or -1. */
static int read_list(const char *name, bool ret_has[MAX_NODES])
{
    char path[64];
    int first, last, highest = -1;
    FILE *f;

    (void)snprintf(path, sizeof(path), "/sys/devices/system/node/%s", name);
    f = fopen(path, "re");
    if (f == NULL)
        return -1;
    while (fscanf(f, "%d", &first) == 1) {
        if (fscanf(f, "-%d", &last) != 1)
            last = first;
        for (int n = first; n >= 0 && n <= last && n < MAX_NODES; n++)
            ret_has[highest = n] = true;
        if (fgetc(f) != ',')
            break;
    }
    (void)fclose(f);
    return highest;
}

/* Memory of @node, written. Return: 0 or -errno. */
static int make_pool(int node)
{
    unsigned long mask[MAX_NODES / WORD_BITS] = { 0 };
    void *pool = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (pool == MAP_FAILED)
        return -errno;
    mask[(unsigned)node / WORD_BITS] = 1ul << ((unsigned)node % WORD_BITS);
    if (syscall(SYS_mbind, pool, POOL_BYTES, MPOL_BIND, mask, MAX_NODES, 0) != 0)
        return -errno;
    memset(pool, 1, POOL_BYTES);
    return 0;
}

int main(int argc, char **argv)
{
    const bool ask = argc > 1 && strcmp(argv[1], "--ask") == 0;
    bool online[MAX_NODES] = { false }, memory[MAX_NODES] = { false };
    const int highest = read_list("online", online), last = read_list("has_memory", memory);

    for (int node = 0; node <= highest; node++) {
        int from = node, r;

        while (ask && !memory[from] && last >= 0)
            from = (from + 1) % (last + 1);
        r = make_pool(from);
        if (r < 0) {
            (void)fprintf(stderr, "pools: node %d: mbind: %s\n", node, strerror(-r));
            return 1;
        }
        (void)printf("pool of node %d: memory of node %d\n", node, from);
    }
    return 0;
}
