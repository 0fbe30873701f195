/* SPDX-License-Identifier: Apache-2.0 */
/* The tree's frame, and what it leaves out. */
#include "firmware/fdt.h"

#include <stdlib.h>

#include "firmware/fdt_parts.h"

static void append_chosen(struct fdt_out *w, const struct fdt_arch *arch,
                          const struct fdt_input *in)
{
    fdt_out_begin(w, "chosen");
    if (in->cmdline != NULL)
        fdt_out_text(w, "bootargs", in->cmdline);
    fdt_out_text(w, "stdout-path", arch->console);
    if (in->initrd_end > in->initrd_start) {
        fdt_out_u64(w, "linux,initrd-start", in->initrd_start);
        fdt_out_u64(w, "linux,initrd-end", in->initrd_end);
    }
    fdt_out_end(w);
}

static int append_all(struct fdt_out *w, const struct fdt_arch *arch, const struct fdt_input *in,
                      struct errctx *ec)
{
    int r;

    fdt_out_begin(w, "%s", "");
    fdt_out_u32(w, "#address-cells", 2);
    fdt_out_u32(w, "#size-cells", 2);
    arch->platform(w, in);
    append_chosen(w, arch, in);
    r = fdt_cpus_append(w, arch, in, ec);
    if (r == 0)
        r = fdt_memory_append(w, in, ec);
    if (r == 0)
        fdt_pci_append(w, arch, in);
    fdt_out_end(w);
    return r;
}

int fdt_build(const struct fdt_arch *arch, const struct fdt_input *in, void **ret_blob,
              size_t *ret_len, struct errctx *ec)
{
    struct fdt_out w;
    void *blob;
    size_t len;
    int r, ended;

    fdt_out_start(&w, FDT_LIMIT_BYTES);
    r = append_all(&w, arch, in, ec);
    ended = fdt_out_finish(&w, &blob, &len, r == 0 ? ec : NULL);
    if (r < 0 && ended == 0)
        free(blob);
    if (r < 0 || ended < 0)
        return r < 0 ? r : ended;
    *ret_blob = blob;
    *ret_len = len;
    return 0;
}

void fdt_note_losses(const struct topo_plan *plan, struct topo_notes *notes)
{
    bool initiators = false, caches = false, devices = false;

    for (size_t i = 0; i < plan->n_nodes; i++) {
        const struct topo_plan_node *n = &plan->nodes[i];

        initiators = initiators || (n->has_initiator && (n->initiator.v != n->vnode.v ||
                                                         idset_empty(&n->cpus)));
        caches = caches || n->n_mem_caches > 0;
        devices = devices || n->generic_initiator;
    }
    if (plan->links != NULL)
        topo_note(notes, "A device tree cannot say latencies and bandwidths: the guest is told "
                         "distances only.");
    if (initiators)
        topo_note(notes, "A device tree cannot say which node's CPUs are nearest to a node "
                         "without CPUs: the guest goes by distances.");
    if (devices)
        topo_note(notes, "A device tree cannot say which nodes have a generic initiator: a node "
                         "without CPUs and memory is not there.");
    if (caches)
        topo_note(notes, "A device tree cannot say caches in front of a node's memory: the guest "
                         "is not told of them.");
}
