/* SPDX-License-Identifier: Apache-2.0 */
/* What of a description only the machine's parts can judge; the rest is vmm/config's. */
#ifndef VMM_MACHINE_MACHINE_CONFIG_H
#define VMM_MACHINE_MACHINE_CONFIG_H

#include "memory/layout.h"
#include "vmm/base/errctx.h"
#include "vmm/config/config.h"

/**
 * machine_config_check() - refuse CPU features that no host has. Pure; any thread.
 * @config: config_check() has passed it.
 * Return: 0, or -EINVAL with a sentence that names the option.
 */
int machine_config_check(const struct machine_config *config, struct errctx *ec);

/** machine_config_needs() - what all the devices need of the host while they run. Borrows from
 *  @config. */
struct device_needs machine_config_needs(const struct machine_config *config);

/** machine_config_layout() - the address map that a run on this processor would have: its
 *  physical address width decides. Return: as mem_layout_make(). */
int machine_config_layout(const struct topo_plan *plan, struct mem_layout **ret_layout,
                          struct errctx *ec);

/** machine_config_fits() - does the plan fit this processor's addresses? Return: 0, or -ERANGE
 *  with the sentence that a run would end with. */
int machine_config_fits(const struct topo_plan *plan, struct errctx *ec);

/** machine_config_domain_socket() - where the host service of a machine in a trust domain is. @buf:
 *  room for its path. Return: @buf, or @config's own. */
const char *machine_config_domain_socket(const struct machine_config *config, char *buf,
                                         size_t size);

/** machine_config_files() - decide whether the nodes' memory is of one file: where other processes
 *  (--vhost-user) map it and it would be more files than each of them takes. Pure. */
void machine_config_files(const struct machine_config *config, struct topo_plan *plan);

/** machine_config_pageable() - can the plan's memory be paged, where @config wants it to be? Pure.
 *  Return: 0, or -ENOTSUP with a sentence that names the node. */
int machine_config_pageable(const struct machine_config *config, const struct topo_plan *plan,
                            struct errctx *ec);

#endif
