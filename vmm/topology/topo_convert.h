/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's topology in the forms in which machines are described elsewhere. Pure but for the FILE;
 * write errors are for ferror(@out). numactl's form is in numactl_text.h, JSON is vmm/config's.
 */
#ifndef VMM_TOPOLOGY_TOPO_CONVERT_H
#define VMM_TOPOLOGY_TOPO_CONVERT_H

#include <stdio.h>

#include "vmm/base/errctx.h"
#include "vmm/topology/topo_notes.h"
#include "vmm/topology/topo_plan.h"

/** topo_convert_xml() - as lstopo --of xml would inside the guest. Return: 0 or -ENOMEM. */
int topo_convert_xml(const struct topo_plan *plan, FILE *out, struct errctx *ec);

/** topo_convert_synthetic() - hwloc's synthetic form, one line. Return: 0, or -EINVAL with what is
 *  not the same everywhere, which the form cannot say. */
int topo_convert_synthetic(const struct topo_plan *plan, FILE *out, struct errctx *ec);

/** topo_convert_qemu() - options of qemu-system-x86_64, one a line. Nothing reads them back, so
 *  @notes gets here what they do not hold. Return: 0, or -EINVAL (a machine that QEMU cannot be). */
int topo_convert_qemu(const struct topo_plan *plan, struct topo_notes *notes, FILE *out,
                      struct errctx *ec);

/** topo_convert_losses() - a note for each kind of fact of @plan that @back, which was read from
 *  what was written of it, does not have; @form names the form in them. */
void topo_convert_losses(const struct topo_plan *plan, const struct topo_plan *back,
                         const char *form, struct topo_notes *notes);

#endif
