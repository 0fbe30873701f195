/* SPDX-License-Identifier: Apache-2.0 */
/* See host_tables.h. */
#include "vmm/topology/host_tables.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "vmm/base/kernel_file.h"
#include "vmm/topology/host_memory.h"

struct host_tables {
    size_t n;
    int fd[]; /* a meminfo, or -1 */
};

int host_tables_new(const char *kernel_root, const struct topo_plan_host *hosts, size_t n,
                    struct host_tables **ret_tables, struct errctx *ec)
{
    struct host_tables *t = calloc(1, sizeof(*t) + n * sizeof(t->fd[0]));
    char path[KERNEL_FILE_PATH_MAX];

    if (t == NULL)
        return errctx_set(ec, ENOMEM, "no memory to look at page tables");
    t->n = n;
    for (size_t i = 0; i < n; i++)
        t->fd[i] = kernel_file_path(path, kernel_root, "/sys/devices/system/node/node%u/meminfo",
                                    hosts[i].id.v)
                       ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
                       : -1;
    *ret_tables = t;
    return 0;
}

void host_tables_free(struct host_tables *t)
{
    for (size_t i = 0; t != NULL && i < t->n; i++)
        if (t->fd[i] >= 0)
            (void)close(t->fd[i]);
    free(t);
}

bool host_tables_read(const struct host_tables *t, size_t i, uint64_t *ret_bytes)
{
    char text[8192];
    const ssize_t len = i < t->n && t->fd[i] >= 0 ? pread(t->fd[i], text, sizeof(text) - 1, 0) : -1;

    if (len < 0)
        return false;
    text[len] = '\0';
    return host_meminfo_tables(text, ret_bytes);
}
