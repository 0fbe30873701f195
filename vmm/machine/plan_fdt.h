/* SPDX-License-Identifier: Apache-2.0 */
/* The device tree that a guest with this plan would get, as a file, on any host. */
#ifndef VMM_MACHINE_PLAN_FDT_H
#define VMM_MACHINE_PLAN_FDT_H

#include "vmm/base/errctx.h"
#include "vmm/topology/topo_notes.h"
#include "vmm/topology/topo_plan.h"

struct fdt_arch;

/** plan_fdt_choose() - the architecture called @name; NULL: this host's, or the only one that there
 *  is. Return: 0, or -EINVAL with a sentence that names those that there are. */
int plan_fdt_choose(const char *name, const struct fdt_arch **ret_arch, struct errctx *ec);

/**
 * plan_fdt_write() - the tree's bytes into @path.
 * @arch:    whose machine.
 * @cmdline: the guest's, or NULL to leave it out. An initrd's place is known at a start only.
 * @notes:   receives what the tree leaves out, and for which machine it is.
 *
 * Addresses are those of a host whose KVM gives its guests as many bits as when not asked for
 * more, or the most that it can where the guest's memory needs them.
 *
 * Return: 0, what mem_layout_make() or fdt_build() return, or a file operation's errno.
 */
int plan_fdt_write(const struct fdt_arch *arch, const struct topo_plan *plan, const char *cmdline,
                   const char *path, struct topo_notes *notes, struct errctx *ec);

#endif
