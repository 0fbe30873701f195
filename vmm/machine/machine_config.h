/* SPDX-License-Identifier: Apache-2.0 */
/* What of a description only the machine's parts can judge; the rest is vmm/config's. */
#ifndef VMM_MACHINE_MACHINE_CONFIG_H
#define VMM_MACHINE_MACHINE_CONFIG_H

#include "vmm/base/errctx.h"
#include "vmm/config/config.h"

/**
 * machine_config_check() - refuse CPU features that no host has. Pure; any thread.
 * @config: config_check() has passed it.
 * Return: 0, or -EINVAL with a sentence that names the option.
 */
int machine_config_check(const struct machine_config *config, struct errctx *ec);

#endif
