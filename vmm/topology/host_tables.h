/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where second-level page tables are: those that KVM makes for all guests of a host, by host node,
 * as the kernel counts them (SecPageTables in each node's meminfo, from Linux 6.1). The kernel's
 * count is up to a second old.
 *
 * Files are opened once, before a sandbox closes around the process; reading needs pread(2) and
 * nothing else. One thread at a time.
 */
#ifndef VMM_TOPOLOGY_HOST_TABLES_H
#define VMM_TOPOLOGY_HOST_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/topology/topo_plan.h"

struct host_tables;

/**
 * host_tables_new() - open the files of @n host nodes, in their order.
 * @kernel_root: "" for this machine, or the folder of an archived tree.
 * Return: 0 or -ENOMEM. Files that are missing are no failure.
 */
int host_tables_new(const char *kernel_root, const struct topo_plan_host *hosts, size_t n,
                    struct host_tables **ret_tables, struct errctx *ec);
void host_tables_free(struct host_tables *tables);

/** host_tables_read() - of the @i-th node. False, and nothing is changed, where the kernel does not
 *  say. */
bool host_tables_read(const struct host_tables *tables, size_t i, uint64_t *ret_bytes);

#endif
