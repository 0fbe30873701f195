/* SPDX-License-Identifier: Apache-2.0 */
/* See plan_fdt.h. */
#include "vmm/machine/plan_fdt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "firmware/fdt_arches.h"
#include "memory/layout.h"
#include "vmm/base/cleanup.h"
#include "vmm/machine/machine_arch.h"

static int write_file(const void *bytes, size_t len, const char *path, struct errctx *ec)
{
    CLEANUP_FCLOSE FILE *out = fopen(path, "we");

    if (out == NULL)
        return errctx_set_os(ec, errno, "%s", path);
    if (fwrite(bytes, 1, len, out) != len || fflush(out) != 0)
        return errctx_set_os(ec, errno, "write %s", path);
    return 0;
}

int plan_fdt_choose(const char *name, const struct fdt_arch **ret_arch, struct errctx *ec)
{
    return fdt_arch_choose(fdt_arches, machine_arch_tree(), name, ret_arch, ec);
}

int plan_fdt_write(const struct fdt_arch *arch, const struct topo_plan *plan, const char *cmdline,
                   const char *path, struct topo_notes *notes, struct errctx *ec)
{
    CLEANUP_FREE void *blob = NULL;
    struct mem_layout *layout;
    size_t len;
    int r = mem_layout_make(arch->map, plan, arch->phys_bits, &layout, ec);

    if (r == -ERANGE)
        r = mem_layout_make(arch->map, plan, arch->phys_bits_most, &layout, ec);
    if (r < 0)
        return r;
    r = fdt_build(arch,
                  &(struct fdt_input){ .plan = plan, .layout = layout, .cmdline = cmdline },
                  &blob, &len, ec);
    mem_layout_free(layout);
    if (r == 0)
        r = write_file(blob, len, path, ec);
    if (r < 0)
        return r;
    topo_note(notes, "%s is the tree of an %s machine, which it has on an %s host.", path,
              arch->name, arch->name);
    fdt_note_losses(plan, notes);
    return 0;
}
