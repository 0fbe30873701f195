/* SPDX-License-Identifier: Apache-2.0 */
/* The ACPI tables that a machine with this plan would get, as files. No guest memory is made. Each
 * architecture has its own. */
#ifndef VMM_MACHINE_PLAN_ACPI_H
#define VMM_MACHINE_PLAN_ACPI_H

#include "vmm/base/errctx.h"
#include "vmm/topology/topo_plan.h"

/**
 * plan_acpi_write() - RSDP.dat, XSDT.dat, ... below @dir, which is made if missing.
 *
 * The tables are those that a run on this processor would put into guest memory, at the same
 * addresses: its physical address width decides where the PCI windows lie.
 *
 * Return: 0, what mem_layout_make() or acpi_build() return, a file operation's errno, or -ENOTSUP
 * where machines have none.
 */
int plan_acpi_write(const struct topo_plan *plan, const char *dir, struct errctx *ec);

#endif
