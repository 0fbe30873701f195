/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RAM and distances of nodes (the kernel's binding numa.txt, numa-distance-map-v1).
 *
 * The whole matrix is told, row by row: Linux takes the way back to be as far until it reads an
 * entry for it, and with rows in order that entry comes later.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "firmware/fdt_parts.h"

static int append_distances(struct fdt_out *w, const struct topo_plan *plan, struct errctx *ec)
{
    const size_t n = plan->n_nodes;
    uint32_t *cells = calloc(n * n, 3 * sizeof(*cells));

    if (cells == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the device tree");
    for (size_t i = 0; i < n * n; i++) {
        cells[3 * i] = plan->nodes[i / n].vnode.v;
        cells[3 * i + 1] = plan->nodes[i % n].vnode.v;
        cells[3 * i + 2] = plan->distances[i];
    }
    fdt_out_begin(w, "distance-map");
    fdt_out_text(w, "compatible", "numa-distance-map-v1");
    fdt_out_cells(w, "distance-matrix", cells, 3 * n * n);
    fdt_out_end(w);
    free(cells);
    return 0;
}

int fdt_memory_append(struct fdt_out *w, const struct fdt_input *in, struct errctx *ec)
{
    for (size_t i = 0; i < in->layout->n_ranges; i++) {
        const struct layout_range *range = &in->layout->ranges[i];

        if (range->kind == LAYOUT_HOTPLUG)
            return errctx_set(ec, ENOTSUP,
                              "virtual node %u: hotplug=: a device tree cannot tell a guest which "
                              "node memory belongs to that is plugged later",
                              range->vnode.v);
        fdt_out_begin(w, "memory@%" PRIx64, range->base.v);
        fdt_out_text(w, "device_type", "memory");
        fdt_out_reg(w, range->base.v, range->len_bytes);
        fdt_out_u32(w, "numa-node-id", range->vnode.v);
        fdt_out_end(w);
    }
    return append_distances(w, in->plan, ec);
}
