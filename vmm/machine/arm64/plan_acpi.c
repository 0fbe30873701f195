/* SPDX-License-Identifier: Apache-2.0 */
/* See plan_acpi.h. */
#include "vmm/machine/plan_acpi.h"

#include <errno.h>

int plan_acpi_write(const struct topo_plan *plan, const char *dir, struct errctx *ec)
{
    (void)plan;
    (void)dir;
    return errctx_set(ec, ENOTSUP, "machines of this architecture are described by a device tree, "
                      "which --fdt writes");
}
