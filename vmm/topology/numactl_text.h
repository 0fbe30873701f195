/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `numactl -H` prints, read as a machine and written for a guest. Pure.
 *
 * It tells nodes, their CPUs, their memory in MiB and distances: no sockets, cores or caches.
 */
#ifndef VMM_TOPOLOGY_NUMACTL_TEXT_H
#define VMM_TOPOLOGY_NUMACTL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "vmm/base/errctx.h"
#include "vmm/topology/host_topo.h"
#include "vmm/topology/topo_plan.h"

/** numactl_text_is() - does @text have the line with which the output begins? */
bool numactl_text_is(const char *text, size_t len);

/**
 * numactl_text_read() - a machine from the pasted output. Lines before "available:" are skipped,
 * every other one must be one that numactl prints. @text may hold any bytes.
 * @ret_host: as host_topo_from_xml()'s; each CPU is a core of its own, each node a package.
 *            host_topo_fini() it. Untouched on failure.
 * Return: 0, -EINVAL or -ERANGE with a sentence that names the line, -ENOMEM.
 */
int numactl_text_read(const char *text, size_t len, struct host_topo *ret_host, struct errctx *ec);

/** numactl_text_write() - as numactl would print it inside the guest, with all memory free. Write
 *  errors are for ferror(@out). */
void numactl_text_write(const struct topo_plan *plan, FILE *out);

#endif
