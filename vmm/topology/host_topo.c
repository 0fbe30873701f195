/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and releasing a host snapshot; filling one is host_discover.c's part. */
#include "vmm/topology/host_topo.h"

#include <stdlib.h>
#include <string.h>

void host_topo_fini(struct host_topo *host)
{
    free(host->nodes);
    free(host->cpus);
    free(host->caches);
    free(host->distances);
    free(host->told);
    free(host->measured);
    free(host->samples);
    memset(host, 0, sizeof(*host));
}

uint32_t host_topo_distance(const struct host_topo *host, size_t from, size_t to)
{
    return host->distances[from * host->n_nodes + to];
}

const struct host_link *host_topo_measured(const struct host_topo *host, size_t from, size_t to)
{
    const struct host_link *l;

    if (!host->has_measured)
        return NULL;
    l = &host->measured[from * host->n_nodes + to];
    return l->by == HOST_MEASURED_NOT ? NULL : l;
}

int host_topo_node_index(const struct host_topo *host, struct hnode_id id)
{
    for (size_t i = 0; i < host->n_nodes; i++)
        if (host->nodes[i].id.v == id.v)
            return (int)i;
    return -1;
}
