/* SPDX-License-Identifier: Apache-2.0 */
/* See host_hwloc.h. */
#include "vmm/topology/host_hwloc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An environment variable and what it was. */
struct env_change {
    const char *name;
    char *before; /* NULL: it was not set */
};

static int env_set(struct env_change *e, const char *value)
{
    const char *now = getenv(e->name);

    e->before = now != NULL ? strdup(now) : NULL;
    return (now != NULL && e->before == NULL) || setenv(e->name, value, 1) < 0 ? -ENOMEM : 0;
}

static void env_restore(struct env_change *e)
{
    if (e->before != NULL)
        (void)setenv(e->name, e->before, 1);
    else
        (void)unsetenv(e->name);
    free(e->before);
}

int host_hwloc_load(hwloc_topology_t topo)
{
    struct env_change locality = { .name = "HWLOC_USE_NUMA_DISTANCES" };
    int r = -1, code = ENOMEM;

    if (env_set(&locality, "1") == 0) { /* 1: read distances, and draw no conclusions */
        r = hwloc_topology_load(topo);
        code = errno;
    }
    env_restore(&locality);
    errno = code;
    return r;
}

int host_hwloc_load_below(hwloc_topology_t topo, const char *root, struct errctx *ec)
{
    struct env_change fsroot = { .name = "HWLOC_FSROOT" }, only = { .name = "HWLOC_COMPONENTS" };
    int r;

    r = env_set(&fsroot, root);
    if (r == 0) {
        r = env_set(&only, "linux,stop");
        if (r == 0)
            r = host_hwloc_load(topo) < 0 ? -EIO : 0;
        env_restore(&only);
    }
    env_restore(&fsroot);
    return r < 0 ? errctx_set(ec, -r, "hwloc cannot read the machine below %s", root) : 0;
}
